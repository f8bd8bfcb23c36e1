# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Measurements for people: rate-distortion over a folder, and one image at equal bytes.

Every byte count is the size of a file that was written, and every quality was measured on what
was decoded from that file. Inner codecs run with the settings of `fastcodec.codecs`, so that the
bare codec and the codec inside fastcodec are the same program with the same options.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fastcodec
from fastcodec import machine, matched, metrics, packed_model, report_page
from fastcodec.codecs import CODECS, by_name
from fastcodec.images import read

#: Rates in bits per pixel over which the headline BD-rate is taken (see `metrics.bd_interval`).
RATES = (0.15, 1.0)
#: Codec qualities of the curves. They reach below and above RATES on photographs.
QUALITIES = {
    "jpeg": (4, 6, 8, 11, 15, 20, 28, 38, 50, 62, 72, 80),
    "webp": (1, 5, 10, 20, 30, 45, 60, 70, 78, 84, 90),
    "avif": (12, 18, 24, 30, 36, 42, 50, 58, 66, 74),
}
DEFAULT_QUALITIES = (5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90)
#: Codecs whose bare curves are measured at each chroma sub-sampling; the rest have one curve.
CHROMA_CHOICE = ("jpeg", "avif", "heic")
#: What is measured. The first is the headline.
METRICS = ("psnr_rgb", "psnr_luma", "ssim", "ms_ssim")
IMAGE_SUFFIXES = (".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")
_POINT_FORMAT = 4
_MODEL = "model "  # before a model's name, in the label of its curve beside another's

Json = dict[str, Any]


# One measured file ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Method:
    """A way to write an image: a bare codec (`wrapped` False) or fastcodec around it."""

    codec: str
    wrapped: bool
    subsampling: str = "auto"
    sequential: bool = False
    model: str | None = None

    @property
    def label(self) -> str:
        if self.wrapped:
            return f"fastcodec[{self.codec}]"
        parts = [self.codec, "" if self.subsampling == "auto" else self.subsampling]
        return " ".join([part for part in parts if part] + ["sequential"] * self.sequential)

    def encode(self, image: metrics.Image, quality: int, threads: int | None) -> bytes:
        if self.wrapped:
            return encode_one(image, codec=self.codec, quality=quality, model=self.model, threads=threads)
        scans = {"progressive": not self.sequential} if self.codec == "jpeg" else {}
        return by_name(self.codec).encode(image, quality, self.subsampling, scans)

    def decode(self, data: bytes, shape: tuple[int, int, int], threads: int | None) -> metrics.Image:
        if self.wrapped:
            return np.asarray(fastcodec.decode(data, threads=threads))
        return by_name(self.codec).decode(data, shape)


def encode_one(image: Any, **options: Any) -> bytes:
    """`fastcodec.encode` of one image."""
    data = fastcodec.encode(image, **options)
    if not isinstance(data, bytes):
        raise TypeError(f"encode of one image must give bytes, got {type(data).__name__}")
    return data


def methods_for(codec: str, model: str | None = None) -> list[Method]:
    """The bare settings of a codec and fastcodec around it (with a model of that name), in the order of the report.

    JPEG is measured with progressive scans and with one sequential scan, which is smaller at low rates; fastcodec
    takes the smaller. Codec range is nothing but fastcodec.
    """
    if by_name(codec).kind == "range":
        return [Method(codec, True, model=model)]
    settings = by_name(codec).subsamplings if codec in CHROMA_CHOICE else ("auto",)
    scans = (False, True) if codec == "jpeg" else (False,)
    bare = [Method(codec, False, setting, sequential) for sequential in scans for setting in settings]
    return [*bare, Method(codec, True, model=model)]


def quality_of(image: metrics.Image, decoded: metrics.Image) -> dict[str, float | None]:
    """All METRICS of a decoded image; None where the image is too small for a metric."""
    small = min(image.shape[:2])
    return {
        "psnr_rgb": metrics.psnr(image, decoded),
        "psnr_luma": metrics.psnr_luma(image, decoded),
        "ssim": metrics.ssim(image, decoded) if small >= 11 else None,
        "ms_ssim": metrics.ms_ssim(image, decoded) if small >= 161 else None,
    }


def measure(image: metrics.Image, method: Method, quality: int, folder: Path, threads: int | None) -> Json:
    """Writes one file into `folder`, reads and decodes it; returns the measured point."""
    path = folder / "measured"
    start = time.perf_counter()
    data = method.encode(image, quality, threads)
    encoded = time.perf_counter()
    path.write_bytes(data)
    stored = path.read_bytes()
    read = time.perf_counter()
    decoded = method.decode(stored, _shape(image), threads)
    done = time.perf_counter()
    point: Json = {
        "method": method.label,
        "quality": quality,
        "bytes": len(stored),
        "bpp": 8.0 * len(stored) / (image.shape[0] * image.shape[1]),
        **quality_of(image, decoded.reshape(image.shape)),
        "encode_s": encoded - start,
        "decode_s": done - read,
    }
    if method.wrapped:
        point["stream"] = info_json(stored)
    return point


def info_json(data: bytes, limits: fastcodec.Limits | None = None) -> Json:
    """`fastcodec.info` as plain JSON values; of metadata only the sizes."""
    row: Json = {}
    for name, value in dataclasses.asdict(fastcodec.info(data, limits=limits or fastcodec.Limits())).items():
        if name in ("icc", "exif", "xmp"):
            row[f"{name}_bytes"] = len(value or b"")
        else:
            row[name] = plain(value)
    return row


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return str(value)


def read_image(path: Path) -> metrics.Image:
    """An image file as uint8 (h, w, 3), or (h, w, 1) when it is grey, upright; alpha is dropped.

    Raises:
        TypeError: it has more than 8 bits a channel.
    """
    with Image.open(path) as opened:
        return read(opened).image


def check_images(images: Sequence[Path]) -> None:
    """Reads them all, before hours are spent on the first ones. Raises ValueError naming those that cannot be read."""
    wrong = []
    for path in images:
        try:
            read_image(path)
        except Exception as error:  # Pillow's readers raise many kinds
            wrong.append(f"{path.name} ({' '.join(str(error).split())})")
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(images)} images cannot be read: {', '.join(wrong)}")


def _shape(image: metrics.Image) -> tuple[int, int, int]:
    return image.shape[0], image.shape[1], image.shape[2]


# Rate-distortion over a folder -------------------------------------------------------------------


def check_models(models: Sequence[str], codec_names: Sequence[str]) -> None:
    """Raises ValueError unless the models are different ones for the one codec, ModelError where one is missing."""
    for model in models:
        codec = packed_model.by_name(model).codec
        if {codec} != set(codec_names):
            raise ValueError(f"model {model} is for codec {codec}, got {', '.join(codec_names)}")
    if len(set(models)) != len(models):
        raise ValueError(f"models must be different, got {', '.join(models)}")


def bench_rd(
    images: Sequence[Path],
    out: Path,
    *,
    codec_names: Sequence[str] = ("jpeg",),
    qualities: Sequence[int] | None = None,
    processes: int = 1,
    threads: int | None = None,
    fresh: bool = False,
    plot: bool = True,
    grey: bool = False,
    models: Sequence[str] = (),
    same_bytes: bool = True,
    progress: Callable[[int, int, str], None] | None = None,
) -> Json:
    """Measures rate-distortion curves and writes rd.json, rd.md and rd.png into `out`.

    Each (image, codec) pair is one job whose result is kept in `out/points`; a later call with
    the same image, settings, programs and models takes it from there. With more than one process
    the jobs run side by side, so that the times are for orientation only.

    Args:
        images: image files, each read as uint8 RGB or grey.
        out: output folder, made when missing.
        codec_names: inner codecs; each gives its bare curves and one fastcodec curve.
        qualities: codec qualities of all curves; None takes QUALITIES.
        processes: processes to run side by side.
        threads: threads a decode may use; None with more than one process means 1.
        fresh: measure again what is already there.
        plot: draw rd.png.
        grey: measure the images' luma (Pillow's L) instead of their colours.
        models: names of the packed models to use for the one codec of `codec_names`, each of which gives a curve of its
            own; all but the first are compared with the first too. Empty: each codec's default.
        same_bytes: also compare with the bare codec at the same bytes, file by file, which takes most of the time.
        progress: called as progress(done, total, name) at the start and after each job.

    Returns:
        The contents of rd.json.

    Raises:
        ImportError: plot without matplotlib; the message names the extra.
        ValueError: no images, two images of one name, or some that cannot be read: nothing is measured then.
        fastcodec.CodecError: a codec is not installed here.
        fastcodec.ModelError: there is no model of that name.
    """
    check_models(models, codec_names)
    if plot and importlib.util.find_spec("matplotlib") is None:
        raise ImportError("matplotlib is not installed; run: pip install 'fastcodec[plot]', or use --no-plot")
    if not images:
        raise ValueError("images must name at least one image, got none")
    if len({path.name for path in images}) != len(images):
        raise ValueError("images must have different file names, got one name twice; bench the folders one by one")
    check_images(images)
    threads = 1 if threads is None and processes > 1 else threads
    points = out / "points"
    points.mkdir(parents=True, exist_ok=True)
    jobs = [
        _Job(
            path,
            codec,
            tuple(qualities or QUALITIES.get(codec, DEFAULT_QUALITIES)),
            points,
            threads,
            fresh,
            grey,
            model,
            same_bytes,
        )
        for codec in codec_names
        for model in models or (None,)
        for path in images
    ]
    order = [*dict.fromkeys((job.codec, job.model_name) for job in jobs)]
    results: list[Json] = []
    if progress:
        progress(0, len(jobs), "")
    for done, result in enumerate(_run_jobs(jobs, processes), start=1):
        results.append(result)
        if progress:
            progress(done, len(jobs), f"{result['codec']} {result['image']}")
    results.sort(key=lambda result: (order.index((result["codec"], result["model"])), result["image"]))
    report = {
        "what": "rate-distortion from real files; bpp counts every byte of the file",
        "rates_bpp": list(RATES),
        "machine": machine.describe(),
        "processes": processes,
        "threads": threads,
        "grey": grey,
        "same_bytes": same_bytes,
        "metrics": list(METRICS),
        "codecs": {
            f"{codec} {model}" if len(models) > 1 else codec: summary(_with_rivals(codec, model, results))
            for codec, model in order
        },
        "images": results,
    }
    machine.write_text(out / "rd.json", json.dumps(report, indent=1) + "\n")
    machine.write_text(out / "rd.md", report_page.markdown(report))
    if plot:
        report_page.draw(report, out / "rd.png")
    return report


@dataclasses.dataclass(frozen=True)
class _Job:
    path: Path
    codec: str
    qualities: tuple[int, ...]
    points: Path
    threads: int | None
    fresh: bool
    grey: bool = False
    model: str | None = None
    same_bytes: bool = True

    @property
    def kept(self) -> Path:
        parts = [self.path.name, self.codec, "grey" if self.grey else None, self.model, "json"]
        return self.points / ".".join(part for part in parts if part)

    @property
    def model_name(self) -> str | None:
        """Of the model that is used."""
        return self.model or (default.name if (default := packed_model.default_for(self.codec)) else None)

    def key(self) -> str:
        """Hash of everything that the result depends on."""
        parts = {
            "format": _POINT_FORMAT,
            "image": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            "methods": [method.label for method in methods_for(self.codec)],
            "qualities": self.qualities,
            "grey": self.grey,
            "model": self.model,
            "threads": self.threads,
            "versions": machine.versions(),
            "models": sorted(row["id"] for row in machine.models() if row["codec"] == self.codec),
            "backend": os.environ.get("FASTCODEC_BACKEND", ""),
        }
        if not self.same_bytes:
            parts["same_bytes"] = False
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def run(self) -> Json:
        key = self.key()
        if not self.fresh:
            with contextlib.suppress(OSError, ValueError):
                kept: Json = json.loads(self.kept.read_text(encoding="utf-8"))
                if kept["key"] == key:
                    return kept
        image = read_image(self.path)
        if self.grey and image.shape[2] == 3:
            image = np.asarray(Image.fromarray(image).convert("L"))[:, :, None]
        packed_model.load_for(self.codec, self.model)  # or the first time would count it
        with tempfile.TemporaryDirectory() as folder:
            measured = [
                measure(image, method, quality, Path(folder), self.threads)
                for method in methods_for(self.codec, self.model)
                for quality in self.qualities
            ]
            rows = []
            if self.same_bytes:
                rows = matched.points(
                    image, self.codec, measured, Path(folder), max_bpp=RATES[1], threads=self.threads, model=self.model
                )
        result = {
            "key": key,
            "image": self.path.name,
            "codec": self.codec,
            "model": self.model_name,
            "width": image.shape[1],
            "height": image.shape[0],
            "points": plain(measured),
            "matched": plain(rows),
        }
        machine.write_text(self.kept, json.dumps(result, indent=1) + "\n")
        return result


def _run_jobs(jobs: Sequence[_Job], processes: int) -> Iterator[Json]:
    if processes <= 1:
        yield from (job.run() for job in jobs)
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        with _interrupts_ignored():  # by the processes that begin here for good
            waiting: set[Future[Json]] = {pool.submit(_Job.run, job) for job in jobs}
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    except BaseException:
        with _interrupts_ignored():
            for child in active_children():
                child.terminate()
            pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, which gets them
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _with_rivals(codec: str, model: str | None, results: Sequence[Json]) -> list[Json]:
    """The results of a codec with a model, and with them what else they are compared with.

    That is fastcodec with the first of several models, and for range, which has no bare files, those of all others.
    """
    own = [result for result in results if (result["codec"], result["model"]) == (codec, model)]
    rivals = []
    for result in results:
        if by_name(codec).kind == "range":
            rivals += [(result["image"], point) for point in result["points"] if "stream" not in point]
        if result["codec"] == codec and result["model"] == results[0]["model"] != model:
            label = _MODEL + result["model"]
            rivals += [(result["image"], point | {"method": label}) for point in result["points"] if "stream" in point]
    return [
        {**result, "points": [*result["points"], *(point for image, point in rivals if image == result["image"])]}
        for result in own
    ]


def summary(results: Sequence[Json]) -> Json:
    """Mean curves of one codec over its images, and BD-rates of fastcodec against the bare codec.

    A mean point is the mean over images of bpp, of each metric and of each time at one quality.
    The anchor of the headline is the best chroma sub-sampling at each quality (`metrics.best_of` the
    bare mean curves). SSIM and MS-SSIM enter BD-rates as -10 log10(1 - x).
    """
    codec = results[0]["codec"]
    curves: dict[str, list[Json]] = {}
    for index, point in enumerate(results[0]["points"]):
        rows = [result["points"][index] for result in results]
        mean: Json = {"quality": point["quality"]}
        for name in ("bytes", "bpp", *METRICS, "encode_s", "decode_s"):
            values = [row[name] for row in rows]
            mean[name] = None if None in values else float(np.mean(values))
        streams = [row["stream"] for row in rows if "stream" in row]
        if streams:
            mean["networks_on"] = float(np.mean([stream["networks"] for stream in streams]))
            mean["half_scale"] = float(np.mean([stream["scale"] == 2 for stream in streams]))
        curves.setdefault(point["method"], []).append(mean)
    wrapped = Method(codec, True).label
    anchors = _anchors(codec, curves)
    deltas: Json = {}
    for anchor, labels in anchors.items():
        bare = [curves[label] for label in labels]
        deltas[anchor] = {name: _delta(bare, curves[wrapped], name) for name in METRICS}
        deltas[anchor]["per_image_psnr_rgb"] = _per_image(results, labels, wrapped)
    return {
        "codec": codec,
        "anchor": next(iter(anchors), None),
        "models": sorted({name for result in results if (name := result["model"])}),
        "curves": curves,
        "bd": deltas,
        "matched": matched.summary(results),
    }


def _anchors(codec: str, measured: Collection[str]) -> dict[str, list[str]]:
    """What fastcodec is compared with: name -> labels of bare curves; the first is the headline.

    For range these are the headlines of the other codecs among the `measured` curves. Another model comes last.
    """
    others = {label: [label] for label in measured if label.startswith(_MODEL)}
    if by_name(codec).kind == "range":
        each = [_anchors(other.name, ()) for other in CODECS.values() if other.kind == "image"]
        found = dict(next(iter(anchors.items())) for anchors in each)
        return {name: labels for name, labels in found.items() if set(labels) <= set(measured)} | others
    bare = [method for method in methods_for(codec) if not method.wrapped]
    usual = [method.label for method in bare if not method.sequential]
    found = {"best of " + ", ".join(usual): usual} if len(usual) > 1 else {}
    found.update({label: [label] for label in usual})
    if any(method.sequential for method in bare):
        found["best of all, sequential too"] = [method.label for method in bare]
    return found | others


def _curve(points: Sequence[Json], metric: str) -> list[tuple[float, float]]:
    pairs = [(point["bpp"], point[metric]) for point in points if point[metric] is not None]
    if metric in ("ssim", "ms_ssim"):
        pairs = [(rate, -10 * float(np.log10(max(1.0 - value, 1e-12)))) for rate, value in pairs]
    return metrics.pareto_front(pairs)


def _delta(anchors: Sequence[Sequence[Json]], test: Sequence[Json], metric: str) -> Json | None:
    """BD-rate in percent, BD-quality in dB and the quality interval; None where not measurable."""
    try:
        bare = [_curve(points, metric) for points in anchors]
        pair = bare[0] if len(bare) == 1 else metrics.best_of(bare), _curve(test, metric)
        return {
            "bd_rate": metrics.bd_rate(*pair, rates=RATES),
            "bd_db": metrics.bd_psnr(*pair, rates=RATES),
            "interval_db": list(metrics.bd_interval(*pair, rates=RATES)),
        }
    except ValueError:
        return None


def _per_image(results: Sequence[Json], anchors: Sequence[str], wrapped: str) -> Json | None:
    """Mean and extremes over images of each image's own BD-rate."""
    values = []
    for result in results:
        curves: dict[str, list[Json]] = {}
        for point in result["points"]:
            curves.setdefault(point["method"], []).append(point)
        delta = _delta([curves[label] for label in anchors], curves[wrapped], "psnr_rgb")
        if delta:
            values.append(delta["bd_rate"])
    if not values:
        return None
    return {"images": len(values), "mean": float(np.mean(values)), "best": min(values), "worst": max(values)}
