# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""fastcodec against the bare codec at the same bytes, file by file: is it ever worse?

Every bare file that no other bare file of its image beats - all chroma formats and scans together - sets a budget, and
fastcodec writes its best stream of at most so many bytes, container included.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastcodec
from fastcodec import flow, metrics, packed_model
from fastcodec._core import crc32c
from fastcodec.codecs import Codec, Image, Options, by_name

Json = dict[str, Any]


def budgets(measured: Sequence[Json], max_bpp: float) -> list[Json]:
    """The bare points of one image that no other beats in bytes and PSNR, by rising bytes, up to `max_bpp`."""
    front: list[Json] = []
    for point in sorted((p for p in measured if "stream" not in p), key=lambda p: (p["bytes"], -p["psnr_rgb"])):
        if point["bpp"] <= max_bpp and (not front or point["psnr_rgb"] > front[-1]["psnr_rgb"]):
            front.append(point)
    return front


def remembering(codec: Codec) -> Codec:
    """The codec, but what it encoded once it does not encode again: searches at many budgets ask for the same files."""
    kept: dict[tuple[Any, ...], bytes] = {}

    def encode_file(image: Image, quality: float, subsampling: str, options: Options) -> bytes:
        pixels = np.ascontiguousarray(image)
        key = (image.shape, crc32c(pixels.data.cast("B")), quality, subsampling, tuple(sorted(options.items())))
        if key not in kept:
            kept[key] = codec.encode_file(image, quality, subsampling, options)
        return kept[key]

    return dataclasses.replace(codec, encode_file=encode_file, planes=codec.planes and remembering(codec.planes))


def points(
    image: metrics.Image, codec: str, measured: Sequence[Json], folder: Path, *, max_bpp: float, threads: int | None,
    model: str | None = None,
) -> list[Json]:  # fmt: skip
    """fastcodec's stream at the bytes of each of `budgets`, written into `folder`, read back and decoded.

    Args:
        image: uint8 (h, w, 1 or 3).
        measured: points of `report.measure` for this image and codec.
        model: name of the packed model; None: the codec's default.

    Returns:
        For each budget {"method", "quality", "budget", "bpp", "psnr_rgb", "ssim"} of the bare file and "bytes",
        "gain_db", "gain_ssim", "networks", "scale" of the stream; "reason" instead where no stream is small enough.
    """
    chosen, half = packed_model.load_for(codec, model)
    settings = flow.Settings(remembering(by_name(codec)), chosen, threads=threads, half=half)
    path, rows = folder / "matched.fcd", []
    for bare in budgets(measured, max_bpp):
        row: Json = {"budget": bare["bytes"], **{k: bare[k] for k in ("method", "quality", "bpp", "psnr_rgb", "ssim")}}
        rows.append(row)
        try:
            path.write_bytes(flow.encode_image(image, None, {}, settings, flow.Target("bytes", bare["bytes"])))
        except ValueError as error:
            row["reason"] = str(error).partition(";")[0]
            continue
        data = path.read_bytes()
        decoded = np.asarray(fastcodec.decode(data, threads=threads)).reshape(image.shape)
        about = fastcodec.info(data)
        row |= {
            "bytes": len(data),
            "gain_db": metrics.psnr(image, decoded) - bare["psnr_rgb"],
            "gain_ssim": None if bare["ssim"] is None else metrics.ssim(image, decoded) - bare["ssim"],
            "networks": about.networks,
            "scale": about.scale,
        }
    return rows


def summary(results: Sequence[Json]) -> Json | None:
    """Over all images of a codec: mean gain, the image with the least mean gain, the worst file, how many are worse.

    A file is worse when it has less PSNR than the bare one, by however little. Gains are means over images of the mean
    over an image's files.
    """
    rows = [(result["image"], row) for result in results for row in result["matched"]]
    reached = [(name, row) for name, row in rows if "reason" not in row]
    if not reached:
        return None
    gains = {name: [row["gain_db"] for other, row in reached if other == name] for name, _ in reached}
    means = {name: float(np.mean(values)) for name, values in gains.items()}
    least = min(means, key=lambda name: means[name])
    worst_name, worst = min(reached, key=lambda item: item[1]["gain_db"])
    return {
        "files": len(rows),
        "out_of_reach": len(rows) - len(reached),
        "worse": sum(row["gain_db"] < 0 for _, row in reached),
        "mean_gain_db": float(np.mean(list(means.values()))),
        "mean_gain_ssim": _mean_ssim(reached),
        "worst_image": {"image": least, "gain_db": means[least]},
        "worst_file": {"image": worst_name, **{k: worst[k] for k in ("method", "quality", "bpp", "gain_db")}},
    }


def _mean_ssim(reached: Sequence[tuple[str, Json]]) -> float | None:
    values = [row["gain_ssim"] for _, row in reached if row["gain_ssim"] is not None]
    return float(np.mean(values)) if values else None


def table(parts: dict[str, Json | None], has_model: Callable[[str], bool]) -> list[str]:
    """The summaries by codec as lines of Markdown."""
    lines = [
        "| codec | files | mean gain | SSIM | worst image, its mean | worst file | worse files | out of reach |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for codec, part in parts.items():
        title = f"fastcodec[{codec}]" + ("" if has_model(codec) else ", no networks yet")
        if part is None:
            lines.append(f"| {title} | - | no file was within reach | | | | | |")
            continue
        worst, least, ssim = part["worst_file"], part["worst_image"], part["mean_gain_ssim"]
        lines.append(
            f"| {title} | {part['files']} | {part['mean_gain_db']:+.2f} dB | "
            f"{'-' if ssim is None else f'{ssim:+.4f}'} | {least['image']} {least['gain_db']:+.2f} dB | "
            f"{worst['image']} at {worst['bpp']:.2f} bpp ({worst['method']}, quality {worst['quality']}) "
            f"{worst['gain_db']:+.2f} dB | {part['worse']} | {part['out_of_reach']} |"
        )
    return lines
