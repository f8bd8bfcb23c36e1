# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden streams of the range coder and its fuzz targets' seeds: python tests/make_rans_golden.py --write.

Each case is symbols made from a fixed integer sequence, so that the streams can be checked without any other file. Old
streams must decode for ever; a change of bytes needs a new version in FORMAT.md and a note in CHANGELOG.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fastcodec import _core, rans

FOLDER = Path(__file__).parent / "golden" / "rans"
SEEDS = Path(__file__).parent / "native"


def sequence(n: int, seed: int) -> np.ndarray:
    """n integers in 0..2^31 - 1: a 64-bit linear congruential sequence, the same on every machine and NumPy."""
    with np.errstate(over="ignore"):
        steps = np.full(n, 6364136223846793005, np.uint64)
        powers = np.cumprod(steps, dtype=np.uint64)
        sums = np.concatenate([[np.uint64(1)], np.cumsum(powers, dtype=np.uint64)[:-1] + np.uint64(1)])
        return ((powers * np.uint64(seed) + sums * np.uint64(1442695040888963407)) >> np.uint64(33)).astype(np.int64)


def latents(n: int, seed: int, dtype: str = "int16") -> tuple[np.ndarray, np.ndarray]:
    """(symbols, index): sums of four uniform numbers, scaled by the table's sigma, with a rare far outlier."""
    index = (sequence(n, seed) % 64).astype(np.uint8)
    total = sum(sequence(n, seed + k) % 4096 for k in range(1, 5)) - 2 * 4095
    milli_sigma = np.array([round(1000 * s) for s in rans.SIGMAS])[index]
    symbols = (total * milli_sigma + 2365 * 500) // (2365 * 1000)
    far = sequence(n, seed + 9) % 997 == 0
    symbols[far] = (sequence(n, seed + 10)[far] % 65536) - 32768
    if dtype == "int32":
        symbols[::5000] = 2**31 - 1
        symbols[1::5000] = -(2**31)
    return symbols.astype(dtype), index


def own_tables() -> rans.Tables:
    return rans.tables_from_pmf([[1, 2, 3, 2, 1], [5, 1], list(range(1, 120))], [-2, 0, -60])


def cases() -> dict[str, tuple[Callable[[], bytes], Callable[[bytes], np.ndarray], np.ndarray]]:
    """Of each: encode it, decode a stream of it, what must come out."""
    found = {}
    for name, n, chunk, dtype in (
        ("empty", 0, 1 << 16, "int16"),
        ("one", 1, 1 << 16, "int16"),
        ("tail_only", 2047, 1 << 16, "int16"),
        ("rows", 2048, 1 << 16, "int16"),
        ("three_chunks", 3 * (1 << 14) - 13, 1 << 14, "int16"),
        ("chunk_64k", (1 << 16) + 5000, 1 << 16, "int16"),
        ("wide", 9000, 1 << 18, "int32"),
    ):
        symbols, index = latents(n, n + 7, dtype)
        found[name] = (
            lambda s=symbols, i=index, c=chunk: rans.encode(s, i, chunk=c),
            lambda data, i=index: rans.decode(data, i),
            symbols,
        )
    tables = own_tables()
    symbols, index = latents(5000, 3)
    index %= 3
    found["own_tables"] = (
        lambda: rans.encode(symbols, index, tables),
        lambda data: rans.decode(data, index, tables),
        symbols,
    )
    for name, raw in (
        ("bytes", (sequence(20000, 1) % 17 * (sequence(20000, 2) % 5)).astype(np.uint8)),
        ("bytes_lone", np.full(5000, 7, np.uint8)),
        ("bytes_stored", (sequence(300, 4) % 256).astype(np.uint8)),
    ):
        found[name] = (lambda r=raw: rans.encode_bytes(r), rans.decode_bytes, raw)
    return found


def head_size(stream: bytes) -> int:
    """Size of a stream's head without its CRC: the place where the CRC of all before stands."""
    return next(
        at
        for at in range(2, len(stream) - 3, 2)
        if stream[at : at + 4] == _core.crc32c(stream[:at]).to_bytes(4, "little")
    )


def decode_seeds() -> dict[str, bytes]:
    """Valid inputs of tests/native/fuzz_range_decode.cpp, for its tables and indexes: options, size of head, stream."""
    plain = [(-1, 0, [1, 4000, 90, 4, 1]), (5, 0, [2000, 95, 1, 2000])]
    plain += [(-126, 0, [16] * 255), (0, 3, [1, 1, 4000, 93, 1])]
    plain[2][2][100] = 4096 - 254 * 16
    bare = [(0, 0, [0, 4095, 1, 0]), (-3, 0, [0, 1000, 3000, 96, 0])]
    seeds = {}
    for options, tables in (
        (0, rans.gaussian_tables().native),
        (66, rans.gaussian_tables().native),
        (2, plain),
        (4, bare),
    ):
        native = tables if options in (0, 66) else _core.RansTables(tables, bytes([1, 2, 3, 4]))
        for n in (0, 3, 70, 2048, 2500):
            state = (options * 2654435761 + 1) % 2**32
            index = np.empty(n, np.uint8)
            for i in range(n):
                state = (state * 1664525 + 1013904223) % 2**32
                index[i] = (state >> 16 & 255) % len(native)
            symbols = (sequence(n, options + n) % 9 // 4).astype(np.int32)
            if options == 66 and n:
                symbols[:: max(1, n // 20)] = 2**31 - 1 - 65536 * np.arange(symbols[:: max(1, n // 20)].size)
            elif options == 4:
                symbols = np.where(index == 0, symbols % 2, -1 - symbols)
            elif n:
                symbols[7::40] = 5000
                symbols[9::40] = -20000
            symbols = symbols.astype(np.int32)
            stream = _core.rans_encode(symbols, 4, index, native, 1 << 14, 1, "")
            seeds[f"symbols_{options}_{n}"] = bytes([options, head_size(stream)]) + stream
    for n in (0, 5, 40, 3000):
        for step in (3, 40):
            stream = rans.encode_bytes((sequence(n, n) % 256 // step).astype(np.uint8), chunk=1 << 14)
            seeds[f"bytes_{step}_{n}"] = bytes([0, head_size(stream)]) + stream
    return seeds


def round_trip_seeds() -> dict[str, bytes]:
    """Inputs of tests/native/fuzz_range_round_trip.cpp: kind, number of symbols, material."""
    sizes = (0, 1, 33, 2047, 2048, 2079, 4096 + 17, 16384, 16385, 19999)
    return {
        f"{what}_{n}": bytes([what])
        + n.to_bytes(2, "little")
        + (sequence(64, what + n) % 256).astype(np.uint8).tobytes()
        for what in range(7)
        for n in sizes[what % 2 :: 2]
    }


def main() -> None:
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(__doc__)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (encode, decode, expected) in cases().items():
        data = encode()
        if not np.array_equal(decode(data), expected):
            raise SystemExit(f"{name}: does not decode to what was coded")
        (FOLDER / f"{name}.rans").write_bytes(data)
        print(f"{name}: {expected.size} symbols, {len(data)} bytes")
    for target, seeds in (("range_decode", decode_seeds()), ("range_round_trip", round_trip_seeds())):
        folder = SEEDS / f"seeds_{target}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
