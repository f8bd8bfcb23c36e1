# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The range coder beside its peers: pytest bench/bench_rans.py -s

Each coder codes the same symbols with the same scales; what does not come back exactly fails. Runs of all coders
alternate and times are CPU times of the process, so that ratios hold on a busy machine; the tables have medians. Peers
that are not installed (pip install constriction torch-ans compressai zstandard) are left out and named.
FASTCODEC_BENCH_ROUNDS sets the number of rounds (default 7); FASTCODEC_BENCH_RESULTS names a folder for rans.json and
rans.md (the kept ones are in bench/results/rans).
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timing
from fastcodec import _core, rans

ROUNDS = int(os.environ.get("FASTCODEC_BENCH_ROUNDS", "7"))
SIZE = 4_096_000
TABLES: list[dict[str, Any]] = []
Coder = tuple[Callable[[], Any], Callable[[Any], np.ndarray], Callable[[Any], int]]  # encode, decode, size in bytes


def workload(bits: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(symbols int16, index, sigma) of 160 channels of 160 x 160: a level a channel, a coarse field and detail."""
    rng = np.random.default_rng(20240607)
    level = np.sort(rng.normal(size=160))[::-1, None] * 1.1
    coarse = rng.normal(size=(160, 20, 20)).repeat(8, 1).repeat(8, 2).reshape(160, -1)
    field = level + 0.9 * coarse + 0.15 * rng.normal(size=(160, 25_600))
    normal = rng.normal(size=SIZE)
    entropy = np.array([-(p * np.log2(np.maximum(p, 1e-300))).sum() for p in map(exact_pmf, rans.SIGMAS)])
    low, high = -6.0, 6.0
    for _ in range(25):
        middle = (low + high) / 2
        few = rans.scale_index(np.exp(field[:, ::64] + middle).astype(np.float32))
        if entropy[few].mean() < bits:
            low = middle
        else:
            high = middle
    index = rans.scale_index(np.exp(field + middle).astype(np.float32)).ravel()
    sigma = np.array(rans.SIGMAS)[index]
    return np.rint(normal * sigma).astype(np.int16), index, sigma.astype(np.float32)


def ideal_bytes(symbols: np.ndarray, index: np.ndarray) -> float:
    """What the symbols cost under the exact Gaussians."""
    bits = -np.log2(np.maximum([exact_pmf(sigma) for sigma in rans.SIGMAS], 1e-300))
    return float(bits[index, symbols.astype(np.int64) + 600].sum()) / 8


def exact_pmf(sigma: float, radius: int = 600) -> np.ndarray:
    edges = (np.arange(radius + 1) + 0.5) / sigma
    above = rans._normal_above_0(edges)
    side = np.diff(above)
    return np.concatenate([side[::-1], [2 * above[0]], side])


def measure(coders: dict[str, Coder], expected: np.ndarray) -> dict[str, tuple[float, float, int]]:
    """Median seconds of encoding and decoding, and bytes, of each coder, all of them in turn in each round."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in coders}
    sizes = {}
    for turn in range(ROUNDS + 1):
        for name, (encode, decode, size) in coders.items():
            start = time.process_time()
            data = encode()
            middle = time.process_time()
            if turn == 0:
                sizes[name] = size(data)  # before decoding: torch_ans takes its stream apart
            between = time.process_time()
            back = decode(data)
            end = time.process_time()
            if turn == 0:  # warms up, and is checked
                np.testing.assert_array_equal(np.asarray(back).ravel(), expected, err_msg=name)
            else:
                times[name][0].append(middle - start)
                times[name][1].append(end - between)
    return {n: (statistics.median(e), statistics.median(d), sizes[n]) for n, (e, d) in times.items()}


def report(title: str, results: dict[str, tuple[float, float, int]], n: int, ideal: float, unit: str) -> None:
    """Keeps a table for `results`, and prints it."""
    rows = {
        name: {"encode": n / encode / 1e6, "decode": n / decode / 1e6, "bytes": size, "over": size / ideal - 1}
        for name, (encode, decode, size) in results.items()
    }
    TABLES.append({"title": title, "items": n, "rounds": ROUNDS, "unit": unit, "rows": rows})
    print("\n" + markdown(TABLES[-1]))


def markdown(table: dict[str, Any]) -> str:
    lines = [
        f"{table['title']} ({table['items']:,} items, {table['rounds']} rounds):\n",
        f"| coder | encode {table['unit']} | decode {table['unit']} | over the entropy |",
        "|---|---|---|---|",
    ]
    for name, row in table["rows"].items():
        over = f"{100 * row['over']:.2f} %" if "over" in row else ""
        lines.append(f"| {name} | {row['encode']:.0f} | {row['decode']:.0f} | {over} |")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module", autouse=True)
def results() -> Iterator[None]:
    """Writes what was measured, with the machine and its load, when all is done."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    yield
    folder = os.environ.get("FASTCODEC_BENCH_RESULTS")
    if not folder or not TABLES:
        return
    machine = timing.machine() | {"cpus": str(os.cpu_count()), "load_at_start": f"{load:.1f}"}
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    (where / "rans.json").write_text(json.dumps({"machine": machine, "tables": TABLES}, indent=1) + "\n")
    head = ", ".join(f"{key} {value}" for key, value in machine.items())
    text = f"# The range coder beside its peers\n\n{head}. Medians; all coders in turn in each round.\n\n"
    (where / "rans.md").write_text(text + "\n".join(map(markdown, TABLES)))


def constriction_coder(symbols: np.ndarray, index: np.ndarray) -> Coder:
    """constriction's fastest way to use a table a symbol: sorted by table, one call a table; the sort is timed."""
    import constriction

    stream = constriction.stream
    models = [stream.model.QuantizedGaussian(-400, 400, 0.0, sigma) for sigma in rans.SIGMAS]
    wide = symbols.astype(np.int32)

    def spans() -> tuple[np.ndarray, np.ndarray]:
        return np.argsort(index, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(index, minlength=64))])

    def encode() -> np.ndarray:
        order, ends = spans()
        ordered, coder = wide[order], stream.stack.AnsCoder()
        for t in range(63, -1, -1):
            if ends[t] < ends[t + 1]:
                coder.encode_reverse(ordered[ends[t] : ends[t + 1]], models[t])
        return coder.get_compressed()

    def decode(data: np.ndarray) -> np.ndarray:
        order, ends = spans()
        coder = stream.stack.AnsCoder(data)
        parts = [coder.decode(models[t], int(ends[t + 1] - ends[t])) for t in range(64) if ends[t] < ends[t + 1]]
        out = np.empty(wide.size, np.int32)
        out[order] = np.concatenate(parts)
        return out

    return encode, decode, lambda data: data.nbytes


def shared_cdfs(bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cdf, sizes, offsets) in the layout of CompressAI: symbols -63..63 and an escape, monotone, to 2**bits."""
    cdf = np.full((64, 129), 1 << bits, np.int32)
    for t, sigma in enumerate(rans.SIGMAS):
        inside = exact_pmf(sigma)[600 - 63 : 600 + 64]
        freq = rans._round_to_sum(np.append(inside, max(1 - inside.sum(), 1e-9)), 1 << bits)
        cdf[t] = np.concatenate([[0], np.cumsum(freq)])
    return cdf, np.full(64, 129, np.int32), np.full(64, -63, np.int32)


def torch_ans_coder(symbols: np.ndarray, index: np.ndarray, *, lanes: int, as_bytes: bool) -> Coder:
    """torch_ans with 64-bit states, the faster kind, and eight rows.

    Its tensor interface ends with one buffer a row and makes no bytes; encode_with_indexes does, as everyone else here.
    """
    import torch
    from torch_ans import utils

    torch.set_num_threads(1)
    coder = utils.TorchANSInterface(
        impl="rans64", freq_precision=16, device="cpu", num_interleaves=lanes, inverse_cdf_precision=None
    )
    coder.set_cdfs(*map(torch.from_numpy, shared_cdfs(16)))
    x = torch.from_numpy(symbols.astype(np.int32).reshape(8, -1))
    t = torch.from_numpy(index.astype(np.int32).reshape(8, -1))
    if as_bytes:
        return lambda: coder.encode_with_indexes(x, t), lambda data: coder.decode_with_indexes(data, t).numpy(), len
    tables = {"cdfs": coder.cdfs, "cdfs_sizes": coder.cdfs_sizes, "offsets": coder.offsets}
    return (
        lambda: coder.encode(x, dist_indexes=t, **tables),
        lambda data: coder.decode(stream=data, dist_indexes=t, **tables).numpy(),
        lambda data: sum(map(len, coder._native.rans_stream_to_byte_strings(data))),
    )


def compressai_coder(symbols: np.ndarray, index: np.ndarray) -> Coder:
    """CompressAI's rANS, the lists that it wants already made."""
    from compressai import ans

    cdf, sizes, offsets = shared_cdfs(16)
    values, tables = symbols.tolist(), (index.tolist(), cdf.tolist(), sizes.tolist(), offsets.tolist())
    encoder, decoder = ans.RansEncoder(), ans.RansDecoder()
    return (
        lambda: encoder.encode_with_indexes(values, *tables),
        lambda data: np.array(decoder.decode_with_indexes(data, *tables), np.int16),
        len,
    )


def with_peers(coders: dict[str, Coder], peers: dict[str, Callable[..., Coder]], *data: np.ndarray) -> dict[str, Coder]:
    for name, make in peers.items():
        try:
            coders[name] = make(*data)
        except ImportError as error:
            print(f"{name}: left out, {error}")
    return coders


@pytest.mark.parametrize("bits", [1.0, 3.0])
def test_symbols_beside_peers(bits: float) -> None:
    symbols, index, sigma = workload(bits)
    ideal = ideal_bytes(symbols, index)
    backends = [name for name, ok, _ in _core.backends() if ok and name not in ("cuda", "reference")]
    coders: dict[str, Coder] = {
        f"fastcodec {name}": (
            lambda b=name: rans.encode(symbols, index, threads=1, backend=b),
            lambda data, b=name: rans.decode(data, index, threads=1, backend=b),
            len,
        )
        for name in backends
    }
    coders["fastcodec, 256 K chunks"] = (
        lambda: rans.encode(symbols, index, chunk=1 << 18, threads=1),
        lambda data: rans.decode(data, index, threads=1),
        len,
    )
    coders["fastcodec, indexes made from scales"] = (
        lambda: rans.encode(symbols, rans.scale_index(sigma), threads=1),
        lambda data: rans.decode(data, rans.scale_index(sigma), threads=1),
        len,
    )
    peers: dict[str, Callable[..., Coder]] = {
        f"torch_ans rans64, {lanes} lanes{', to bytes' if as_bytes else ', tensors'}": functools.partial(
            torch_ans_coder, lanes=lanes, as_bytes=as_bytes
        )
        for lanes in (4, 8)
        for as_bytes in (False, True)
    }
    peers |= {
        "constriction ANS (sorted by table)": constriction_coder,
        "compressai ans (lists ready)": compressai_coder,
    }
    results = measure(with_peers(coders, peers, symbols, index), symbols)
    report(f"{bits:g} bit a symbol, CPU time of one thread", results, symbols.size, ideal, "Msym/s")


def test_bytes_beside_peers() -> None:
    raw = np.minimum(np.random.default_rng(1).geometric(0.2, 16_000_000) - 1, 255).astype(np.uint8)
    p = np.bincount(raw) / raw.size
    p = p[p > 0]
    ideal = float(-(p * np.log2(p)).sum()) * raw.size / 8
    coders: dict[str, Coder] = {
        "fastcodec": (lambda: rans.encode_bytes(raw, threads=1), lambda d: rans.decode_bytes(d, threads=1), len)
    }

    def zstandard_coder(data: np.ndarray) -> Coder:
        import zstandard

        packer, unpacker = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
        return lambda: packer.compress(data), lambda d: np.frombuffer(unpacker.decompress(d), np.uint8), len

    results = measure(with_peers(coders, {"zstandard level 1": zstandard_coder}, raw), raw)
    report("Geometric bytes, CPU time of one thread", results, raw.size, ideal, "MB/s")


def test_threads() -> None:
    """Elapsed time of one and two threads in turn: it says something only on a machine with two idle cores."""
    symbols, index, _ = workload(1.0)
    stream = rans.encode(symbols, index)
    calls = {
        (what, threads): functools.partial(call, threads=threads)
        for threads in (1, 2)
        for what, call in {
            "encode": functools.partial(rans.encode, symbols, index),
            "decode": functools.partial(rans.decode, stream, index),
        }.items()
    }
    seconds = timing.interleaved(calls, 10 * ROUNDS)
    rows = {
        f"fastcodec, {threads} thread{'s' * (threads > 1)}": {
            what: symbols.size / statistics.median(seconds[what, threads]) / 1e6 for what in ("encode", "decode")
        }
        for threads in (1, 2)
    }
    title = "1 bit a symbol, elapsed time"
    TABLES.append({"title": title, "items": symbols.size, "rounds": 10 * ROUNDS, "unit": "Msym/s", "rows": rows})
    print("\n" + markdown(TABLES[-1]))
    np.testing.assert_array_equal(rans.decode(stream, index, threads=2), symbols)
