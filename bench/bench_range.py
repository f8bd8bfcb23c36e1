# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Times of codec range on one image, with the shares of networks and range coder, beside CompressAI's mbt2018-mean.

    python bench/bench_range.py kodim05.png [--quality 60] [--compressai PYTHON] [--json FILE]

PYTHON is an interpreter that has torch and compressai; its model has random weights, which do for timing. All
contenders take turns in one run. The decoded pixels are compared between threads before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastcodec
import numpy as np
import timing
from fastcodec import _core, range_codec, report
from fastcodec.packed_model import Program

# CompressAI imports torchvision and torch_geometric for data sets that are not needed here: they may be missing.
PEER = """
import importlib.abc, importlib.machinery, importlib.util, sys, time, types

class Stub(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {}) if name[0].isupper() else lambda *a, **k: lambda c: c

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in missing:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
    def create_module(self, spec):
        return Stub(spec.name)
    def exec_module(self, module):
        module.__path__ = []

missing = {m for m in ("torchvision", "torch_geometric", "pyntcloud") if importlib.util.find_spec(m) is None}
sys.meta_path.insert(0, Finder())
import numpy as np, torch
from PIL import Image
from compressai.models import MeanScaleHyperprior

torch.manual_seed(0)
net = MeanScaleHyperprior(128, 192).eval()
net.update(force=True)
x = torch.from_numpy(np.array(Image.open(sys.argv[1]).convert("RGB"))).permute(2, 0, 1)[None].float() / 255
coded = net.compress(x)
print("ready", flush=True)
for line in sys.stdin:
    what, threads = line.split()
    torch.set_num_threads(int(threads))
    with torch.inference_mode():
        start = time.perf_counter()
        if what == "encode":
            net.compress(x)
        else:
            net.decompress(coded["strings"], coded["shape"])
    print(time.perf_counter() - start, flush=True)
"""


@contextmanager
def shares() -> Iterator[dict[str, float]]:
    """Seconds spent in networks and in the range coder (with dequantisation) while the block runs."""
    spent = {"networks": 0.0, "range coder": 0.0}

    def timed(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def work(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                spent[name] += time.perf_counter() - start

        return work

    class Decoder:
        def __init__(self, *args: Any) -> None:
            real = timed(_core.TileDecoder, "range coder")(*args)
            self.hyper, self.latents = (timed(f, "range coder") for f in (real.hyper, real.latents))

    core = type("Core", (), {"TileDecoder": Decoder})
    run, names = Program.run, range_codec._core
    Program.run = timed(run, "networks")  # type: ignore[method-assign]
    range_codec._core = core  # type: ignore[attr-defined]
    try:
        yield spent
    finally:
        Program.run = run  # type: ignore[method-assign]
        range_codec._core = names  # type: ignore[attr-defined]


def measure(path: Path, quality: int, peer: str | None, repeats: int) -> dict[str, Any]:
    image = report.read_image(path)
    data = fastcodec.encode(image, codec="range", quality=quality)
    decoded = [fastcodec.decode(data, threads=n) for n in (1, 2)]
    np.testing.assert_array_equal(*decoded)
    calls: dict[str, Callable[[], Any]] = {}
    for n in (1, 2):
        calls[f"fastcodec range encode, {n} threads"] = lambda n=n: fastcodec.encode(
            image, codec="range", quality=quality, threads=n
        )
        calls[f"fastcodec range decode, {n} threads"] = lambda n=n: fastcodec.decode(data, threads=n)
    other = None
    if peer:
        other = subprocess.Popen([peer, "-c", PEER, str(path)], stdin=-1, stdout=-1, text=True)
        assert other.stdin is not None and other.stdout is not None  # noqa: PT018
        assert other.stdout.readline() == "ready\n", "the peer did not start"

        def ask(what: str, n: int) -> None:
            other.stdin.write(f"{what} {n}\n")
            other.stdin.flush()
            float(other.stdout.readline())

        for n in (1, 2):
            calls[f"mbt2018-mean encode, {n} threads"] = lambda n=n: ask("encode", n)
            calls[f"mbt2018-mean decode, {n} threads"] = lambda n=n: ask("decode", n)
    seconds = timing.interleaved(calls, repeats)
    if other is not None:
        other.terminate()
    with shares() as spent:
        start = time.perf_counter()
        for _ in range(repeats):
            fastcodec.decode(data, threads=1)
        total = time.perf_counter() - start
    pixels = image.shape[0] * image.shape[1]
    return {
        **timing.machine(),
        "image": path.name,
        "size": [image.shape[1], image.shape[0]],
        "bpp": 8 * len(data) / pixels,
        "model": fastcodec.info(data).model_name,
        "times": {name: timing.summary(values) for name, values in seconds.items()},
        "shares_of_decode": {name: value / total for name, value in spent.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("image", type=Path)
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--compressai", metavar="PYTHON", help="interpreter with torch and compressai")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, help="where the results go")
    options = parser.parse_args()
    result = measure(options.image, options.quality, options.compressai, options.repeats)
    for name, t in result["times"].items():
        print(f"{name:<40} {t['median_ms']:8.1f} ms (least {t['min_ms']:.1f}, spread {t['spread']:.0%})")
    print("shares of decoding on one thread:", {k: f"{v:.1%}" for k, v in result["shares_of_decode"].items()})
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
