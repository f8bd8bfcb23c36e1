# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the golden streams of the range coder: python tests/make_rans_golden.py --write.

Each case is symbols made from a fixed integer sequence, so that the streams can be checked without any other file. Old
streams must decode for ever; a change of bytes needs a new version in FORMAT.md and a note in CHANGELOG.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fastcodec import rans

FOLDER = Path(__file__).parent / "golden" / "rans"


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


if __name__ == "__main__":
    main()
