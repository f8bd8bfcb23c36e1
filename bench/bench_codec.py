# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""End to end: fastcodec beside the bare codec that it wraps, on one image, at one codec quality.

    python -m pytest bench/bench_codec.py --benchmark-group-by=group [--benchmark-json=out.json]

The image is BENCH_IMAGE, or scikit-image's astronaut. Each time stands beside MPixel/s, bytes, bits per
pixel and PSNR over RGB in extra_info; machine and commit are written by pytest-benchmark. fastcodec decodes
with one thread unless BENCH_THREADS says otherwise. Results are checked before they are timed: the decoder
gives what the encoder measured, and fastcodec is not worse than the bare codec at equal payload bytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fastcodec
import numpy as np
import pytest
from fastcodec import compare, metrics, report
from fastcodec.codecs import CODECS

THREADS = int(os.environ.get("BENCH_THREADS", "1"))
QUALITY = int(os.environ.get("BENCH_QUALITY", "30"))
USABLE = [codec.name for codec in CODECS.values() if codec.kind == "image" and not codec.reason()]
PEAK = """
import sys
import numpy as np
import fastcodec
from fastcodec.codecs import CODECS

def memory(name):  # VmRSS now, VmHWM at its highest, in bytes
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

kind, codec, path, height, width = sys.argv[1:]
data = open(path, "rb").read()
fastcodec.decode(fastcodec.encode(np.zeros((8, 8, 3), np.uint8), codec=codec))  # loads what any decode needs
open("/proc/self/clear_refs", "w").write("5")  # the highest starts from now
before = memory("VmRSS")
if kind == "bare":
    CODECS[codec].decode(data, (int(height), int(width), 3))
else:
    fastcodec.decode(data, threads=int(kind))
print(memory("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def image() -> metrics.Image:
    path = os.environ.get("BENCH_IMAGE")
    if path:
        return report.read_image(Path(path))
    pytest.importorskip("skimage", reason="set BENCH_IMAGE, or install scikit-image for its astronaut")
    return compare.demo_image("astronaut")


def method(codec: str, kind: str) -> report.Method:
    return report.Method(codec, kind == "fastcodec")


def note(benchmark: Any, image: metrics.Image, data: bytes, decoded: metrics.Image) -> None:
    pixels = image.shape[0] * image.shape[1]
    benchmark.extra_info.update(
        threads=THREADS,
        bytes=len(data),
        bpp=round(8 * len(data) / pixels, 4),
        psnr_rgb=round(metrics.psnr(image, decoded), 3),
        mpixel_per_s=round(pixels / benchmark.stats["median"] / 1e6, 3),
    )


@pytest.mark.parametrize("kind", ["bare", "fastcodec"])
@pytest.mark.parametrize("codec", USABLE)
def test_encode(benchmark: Any, image: metrics.Image, codec: str, kind: str) -> None:
    benchmark.group = f"encode {codec}"
    way = method(codec, kind)
    data = benchmark(way.encode, image, QUALITY, THREADS)
    note(benchmark, image, data, way.decode(data, image.shape, THREADS).reshape(image.shape))


@pytest.mark.parametrize("kind", ["bare", "fastcodec"])
@pytest.mark.parametrize("codec", USABLE)
def test_decode(benchmark: Any, image: metrics.Image, codec: str, kind: str, tmp_path: Path) -> None:
    benchmark.group = f"decode {codec}"
    way = method(codec, kind)
    data = way.encode(image, QUALITY, None)
    decoded = way.decode(data, image.shape, None).reshape(image.shape)
    if kind == "fastcodec":
        bare = method(codec, "bare")
        bare_error = metrics.psnr(image, bare.decode(bare.encode(image, QUALITY, None), image.shape, None))
        assert metrics.psnr(image, decoded) >= bare_error
        one_thread = fastcodec.decode(data, threads=1).reshape(image.shape)
        assert np.array_equal(decoded, one_thread)
    benchmark(way.decode, data, image.shape, THREADS)
    note(benchmark, image, data, decoded)
    if sys.platform == "linux":
        path = tmp_path / "data"
        path.write_bytes(data)
        arguments = ["bare" if kind == "bare" else str(THREADS), codec, str(path), *map(str, image.shape[:2])]
        peak = subprocess.run([sys.executable, "-c", PEAK, *arguments], capture_output=True, text=True, check=True)
        benchmark.extra_info["peak_bytes"] = int(peak.stdout)
