# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""One image by several codecs at the same number of bytes: a table and one HTML page.

The budget is the size of a JPEG file (optimised Huffman tables, the best of progressive or sequential, 4:2:0
or 4:4:4): the best one that is not above what was asked for. Nobody else may use a byte more,
so that the steps between JPEG's qualities never count against JPEG.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, features

import fastcodec
from fastcodec import machine, metrics, packed_model, report
from fastcodec.codecs import by_name

#: Rows of the table: bare codecs first, then fastcodec around some of them.
BARE = ("jpeg", "webp", "avif", "jpeg2000")
WRAPPED = ("jpeg", "avif", "range")
TITLES = {
    "jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jpeg2000": "JPEG 2000", "heic": "HEIC", "jxl": "JPEG XL",
    "range": "range",
}  # fmt: skip
#: Larger images are shown as a crop from the middle, so that the page stays a few megabytes.
SHOWN_SIZE = (1600, 1200)
DEFAULT_BPP = 0.3

Json = dict[str, Any]
Bytes = bytes  # the row has a field of that name


@dataclasses.dataclass(frozen=True)
class Entry:
    """One row: a file of `bytes` bytes and what came out of it."""

    key: str
    title: str
    settings: str
    bytes: int
    bpp: float
    psnr_rgb: float
    psnr_luma: float
    ssim: float | None
    ms_ssim: float | None
    encode_s: float
    decode_s: float
    wrapped: bool
    ending: str
    decoded: metrics.Image = dataclasses.field(repr=False)
    data: Bytes = dataclasses.field(repr=False)

    def row(self) -> Json:
        """The row without pixels and file contents."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: report.plain(value) for name, value in values.items() if name not in ("decoded", "data")}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found: rows in order, and codecs that took no part with the reason."""

    name: str
    image: metrics.Image = dataclasses.field(repr=False)
    requested_bytes: int
    budget_bytes: int
    entries: list[Entry]
    missing: dict[str, str]

    def as_json(self) -> Json:
        height, width = self.image.shape[:2]
        return {
            "image": self.name,
            "width": width,
            "height": height,
            "requested_bytes": self.requested_bytes,
            "budget_bytes": self.budget_bytes,
            "entries": [entry.row() for entry in self.entries],
            "missing": self.missing,
            "machine": machine.describe(),
        }


def compare(
    image: metrics.Image,
    name: str,
    *,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Codes one image by every method within one byte budget.

    Args:
        image: uint8 (h, w, 3) or (h, w, 1).
        name: the image's name, for the page.
        target_bytes: largest file; or
        target_bpp: the same in bits per pixel; neither: DEFAULT_BPP.
        threads: threads a decode may use.
        progress: called with each method's title before it runs.

    Raises:
        ValueError: both targets, or a target that is not positive.
    """
    if target_bytes is not None and target_bpp is not None:
        raise ValueError("give target_bytes or target_bpp, got both")
    pixels = image.shape[0] * image.shape[1]
    requested = target_bytes if target_bytes is not None else int((target_bpp or DEFAULT_BPP) * pixels / 8)
    if target_bytes is not None and target_bytes < 1:
        raise ValueError(f"target_bytes must be at least 1, got {target_bytes}")
    if requested < 1:
        raise ValueError(f"{target_bpp or DEFAULT_BPP} bits per pixel of {pixels} pixels are less than a byte")
    entries: list[Entry] = []
    missing: dict[str, str] = {}
    budget = requested
    for key, wrapped in [*((codec, False) for codec in BARE), *((codec, True) for codec in WRAPPED)]:
        title = f"fastcodec {TITLES[key]}" if wrapped else TITLES[key]
        if progress:
            progress(title)
        reason = by_name(key).reason()
        if reason:
            missing[title] = reason
            continue
        make = _wrapped_entry if wrapped else _bare_entry
        found = make(image, key, title, budget, threads)
        if found is None:
            missing[title] = f"cannot write this image in {budget} bytes"
            continue
        if key == "jpeg" and not wrapped:
            budget = found.bytes
        entries.append(found)
    if not entries:
        raise ValueError(f"no codec can write {name} in {requested} bytes; raise the budget")
    return Comparison(name, image, requested, budget, entries, missing)


def endings() -> list[str]:
    """Of the files that the entries of a comparison hold."""
    return [_ending(codec, False) for codec in BARE] + [_ending(codec, True) for codec in WRAPPED]


def _ending(codec: str, wrapped: bool) -> str:
    return f".{codec}.fcd" if wrapped else by_name(codec).extension


def _bare_entry(image: metrics.Image, codec: str, title: str, budget: int, threads: int | None) -> Entry | None:
    """The best bare file within the budget, over the codec's sub-sampling settings."""
    best: Entry | None = None
    for method in report.methods_for(codec):
        if method.wrapped or (image.shape[2] == 1 and method.subsampling not in ("auto", "4:2:0")):
            continue
        found = _largest_quality(image, method, budget)
        if found is None:
            continue
        quality, data, seconds = found
        note = f"quality {quality}"
        if method.subsampling != "auto" and image.shape[2] == 3:
            note += f", {method.subsampling}"
        if codec == "jpeg":
            note += ", optimised, sequential" if method.sequential else ", optimised, progressive"
        entry = _entry(image, codec, title, note, data, seconds, method, threads)
        if best is None or entry.psnr_rgb > best.psnr_rgb:
            best = entry
    return best


def _largest_quality(image: metrics.Image, method: report.Method, budget: int) -> tuple[int, bytes, float] | None:
    """Bisection over 1..100 for the largest quality whose file fits; None when none does.

    The seconds are those of the one encode that was kept, not of the search.
    """
    low, high = 1, 100
    best: tuple[int, bytes, float] | None = None
    while low <= high:
        middle = (low + high) // 2
        start = time.perf_counter()
        data = method.encode(image, middle, None)
        seconds = time.perf_counter() - start
        if len(data) <= budget:
            best, low = (middle, data, seconds), middle + 1
        else:
            high = middle - 1
    return best


def _wrapped_entry(image: metrics.Image, codec: str, title: str, budget: int, threads: int | None) -> Entry | None:
    method = report.Method(codec, True)
    packed_model.load_for(codec)  # or the time would count it
    start = time.perf_counter()
    try:
        data = report.encode_one(image, codec=codec, target_bytes=budget, threads=threads)
    except ValueError as error:
        if "out of reach" in str(error):
            return None
        raise
    seconds = time.perf_counter() - start
    return _entry(image, codec, title, _describe(fastcodec.info(data)), data, seconds, method, threads)


def _describe(info: Any) -> str:
    """A stream's choices in words."""
    if info.codec == "range":
        return f"level {info.level}, model {info.model_name}"
    size = "half size" if info.scale == 2 else "full size"
    return f"quality {info.quality}, {size}, networks {'on' if info.networks else 'off'}"


def _entry(
    image: metrics.Image,
    codec: str,
    title: str,
    settings: str,
    data: bytes,
    seconds: float,
    method: report.Method,
    threads: int | None,
) -> Entry:
    start = time.perf_counter()
    decoded = method.decode(data, (image.shape[0], image.shape[1], image.shape[2]), threads).reshape(image.shape)
    decode_s = time.perf_counter() - start
    values = report.quality_of(image, decoded)
    return Entry(
        key=("fastcodec-" if method.wrapped else "") + codec,
        title=title,
        settings=settings,
        bytes=len(data),
        bpp=8 * len(data) / (image.shape[0] * image.shape[1]),
        psnr_rgb=values["psnr_rgb"] or 0.0,
        psnr_luma=values["psnr_luma"] or 0.0,
        ssim=values["ssim"],
        ms_ssim=values["ms_ssim"],
        encode_s=seconds,
        decode_s=decode_s,
        wrapped=method.wrapped,
        ending=_ending(codec, method.wrapped),
        decoded=decoded,
        data=data,
    )


def html(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs no other file and no network."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fastcodec"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    height, width = comparison.image.shape[:2]
    left, top, right, bottom = _shown(width, height)
    views = [{"key": "original", "title": "Original", "uri": _data_uri(comparison.image[top:bottom, left:right])}]
    views += [
        {"key": entry.key, "title": entry.title, "uri": _data_uri(entry.decoded[top:bottom, left:right])}
        for entry in comparison.entries
    ]
    values = [entry.psnr_rgb for entry in comparison.entries]
    floor = min(values, default=0.0) - 1.0
    span = max(max(values, default=1.0) - floor, 1e-9)
    keys = {entry.key for entry in comparison.entries}
    return environment.get_template("compare.html").render(
        name=comparison.name,
        width=width,
        height=height,
        shown={
            "width": right - left,
            "height": bottom - top,
            "cropped": (right - left, bottom - top) != (width, height),
        },
        requested=comparison.requested_bytes,
        budget=comparison.budget_bytes,
        bpp=8 * comparison.budget_bytes / (width * height),
        raw=comparison.image.size,
        entries=[
            {**entry.row(), "bar": round(100 * (entry.psnr_rgb - floor) / span, 1)} for entry in comparison.entries
        ],
        best=max(values, default=None),
        missing=comparison.missing,
        views=views,
        first="jpeg" if "jpeg" in keys else "original",
        second="fastcodec-jpeg" if "fastcodec-jpeg" in keys else views[-1]["key"],
        machine=machine.describe(),
    )


def _shown(width: int, height: int) -> tuple[int, int, int, int]:
    """The part of the image on the page: left, top, right, bottom."""
    w, h = min(width, SHOWN_SIZE[0]), min(height, SHOWN_SIZE[1])
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _data_uri(image: metrics.Image) -> str:
    """Pixels as a lossless data URI: WebP where Pillow has it (smaller), else PNG."""
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    buffer = io.BytesIO()
    if features.check("webp"):
        picture.save(buffer, "WEBP", lossless=True, method=2)
        kind = "webp"
    else:
        picture.save(buffer, "PNG")
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def demo_image(name: str) -> metrics.Image:
    """A photograph that scikit-image brings along: uint8 (h, w, 3).

    Raises:
        ImportError: scikit-image is missing; the message names the extra.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise ImportError("scikit-image is not installed; run: pip install 'fastcodec[demo]'") from error
    photographs: dict[str, Callable[[], Any]] = {
        "astronaut": data.astronaut,
        "coffee": data.coffee,
        "cat": data.chelsea,
    }
    return np.ascontiguousarray(photographs[name]())
