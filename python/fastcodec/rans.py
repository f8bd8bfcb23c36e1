# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The range coder (rANS) by itself: integers with a probability table each, or plain bytes.

One stream format for all backends (FORMAT.md, "Range coder stream"): whatever wrote a stream, the plain loops, AVX2,
AVX-512 or CUDA, the bytes are the same, and everyone reads them. docs/range_coder.md has the method and measurements.

>>> import numpy as np
>>> from fastcodec import rans
>>> rng = np.random.default_rng(1)
>>> sigma = rng.uniform(0.2, 20, 50_000).astype(np.float32)
>>> symbols = np.rint(rng.normal(size=sigma.size) * sigma).astype(np.int16)
>>> index = rans.scale_index(sigma)
>>> data = rans.encode(symbols, index)
>>> bool((rans.decode(data, index) == symbols).all())
True
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fastcodec import _core
from fastcodec.errors import FormatError, LimitError

BITS = 12
SLOTS = 1 << BITS
CHUNK_SIZES = (1 << 14, 1 << 16, 1 << 18)

# The scales of the default tables: 0.11 * (64 / 0.11) ** (i / 63), rounded to five digits and fixed for ever.
SIGMAS = (
    0.11, 0.1217, 0.13464, 0.14895, 0.16479, 0.18231, 0.2017, 0.22315, 0.24687, 0.27313, 0.30217, 0.3343, 0.36984,
    0.40917, 0.45268, 0.50081, 0.55407, 0.61298, 0.67816, 0.75027, 0.83005, 0.91831, 1.016, 1.124, 1.2435, 1.3757,
    1.522, 1.6838, 1.8629, 2.061, 2.2801, 2.5226, 2.7908, 3.0876, 3.4159, 3.7791, 4.1809, 4.6255, 5.1173, 5.6614,
    6.2634, 6.9294, 7.6663, 8.4814, 9.3833, 10.381, 11.485, 12.706, 14.057, 15.552, 17.206, 19.035, 21.059, 23.298,
    25.776, 28.516, 31.549, 34.903, 38.615, 42.721, 47.263, 52.289, 57.849, 64.0,
)  # fmt: skip

_MAX_RADIUS = 126  # symbols -126..126 have slots of their own; 127 is the escape
_MAX_TABLE_SIGMA = 32.0  # larger scales are coded as symbol >> shift, and the low bits as they are
_LEAST_SLOTS = 0.2  # a symbol that deserves less than this part of a slot is left to the escape


@dataclass(frozen=True, eq=False)
class Tables:
    """A set of 1 to 256 probability tables, each over the integers low..high and two escapes, in 1/4096.

    Make one with `gaussian_tables`, `tables_from_sigmas` or `tables_from_pmf`.

    Attributes:
        lows: lowest symbol of each table, -126 or more.
        shifts: how many low bits of each table's symbols are coded as they are; rising from table to table.
        freqs: frequencies of each table, [below, low, ..., high, above], summing to 4096.
        sigmas: the scales, if the tables are Gaussians (else empty); `scale_index` uses them.
        digest: SHA-256 of the set's canonical form (FORMAT.md); a stream carries its first four bytes.
    """

    lows: tuple[int, ...]
    shifts: tuple[int, ...]
    freqs: tuple[tuple[int, ...], ...]
    sigmas: tuple[float, ...] = ()
    digest: bytes = b""
    native: Any = None

    def __len__(self) -> int:
        return len(self.freqs)


def _make_tables(
    lows: Sequence[int], shifts: Sequence[int], freqs: Sequence[Sequence[int]], sigmas: Sequence[float] = ()
) -> Tables:
    sha = hashlib.sha256(b"fastcodec range tables 1\0")
    for low, shift, freq in zip(lows, shifts, freqs, strict=True):
        sha.update(np.array([low], "<i2").tobytes() + bytes([shift]) + np.array([len(freq), *freq], "<u2").tobytes())
    native = _core.RansTables(
        [(low, shift, list(f)) for low, shift, f in zip(lows, shifts, freqs, strict=True)], sha.digest()[:4]
    )
    return Tables(tuple(lows), tuple(shifts), tuple(tuple(f) for f in freqs), tuple(sigmas), sha.digest(), native)


def _exp_minus(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """e**-t for 0 <= t < 40, from + - * / only: Taylor's series at t / 1024, squared ten times."""
    y = t / 1024.0
    term = np.ones_like(y)
    total = np.ones_like(y)
    for n in range(1, 14):
        term = term * -y / n
        total = total + term
    for _ in range(10):
        total = total * total
    return total


def _normal_above_0(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """P(0 < N < x) for a standard normal N and x >= 0, to about 1e-12.

    The series phi(x) * (x + x**3/3 + x**5/(3*5) + ...) has positive terms only. It uses + - * / of float64 in this
    order, nothing from libm, so that every machine gets the same bits. Past 8.5 the value is as good as 1/2.
    """
    x = np.minimum(x, 8.5)
    square = x * x
    term = x
    total = x
    for n in range(1, 200):
        term = term * square / (2 * n + 1)
        total = total + term
    return total * (_exp_minus(square / 2) * 0.3989422804014327)


def _gaussian_freqs(sigma: float) -> tuple[int, int, list[int]]:
    """(low, shift, frequencies) of round(sigma * N), mirror-symmetric."""
    shift = 0
    while sigma > _MAX_TABLE_SIGMA:
        sigma /= 2
        shift += 1
    up_to = _normal_above_0((np.arange(_MAX_RADIUS + 1, dtype=np.float64) + 0.5) / sigma)  # P(0 < N*sigma < k + 1/2)
    wanted = np.diff(up_to, prepend=0.0) * SLOTS  # slots of k = 1, 2, ...
    radius = 0
    while radius < _MAX_RADIUS and wanted[radius + 1] >= _LEAST_SLOTS:
        radius += 1
    side = [max(1, int(w + 0.5)) for w in wanted[1 : radius + 1]]
    escape = max(1, int((0.5 - up_to[radius]) * SLOTS + 0.5))
    middle = SLOTS - 2 * (sum(side) + escape)
    while middle < 1:  # many small ones were rounded up: the largest pay
        side[side.index(max(side))] -= 1
        middle += 2
    return -radius, shift, [escape, *reversed(side), middle, *side, escape]


def tables_from_sigmas(sigmas: Sequence[float] | npt.NDArray[np.floating[Any]]) -> Tables:
    """Tables for rounded zero-mean Gaussians.

    The frequencies follow from a fixed sequence of float64 additions, multiplications and divisions, so every machine
    makes the same tables; keep the scales as the same float64 numbers.

    Args:
        sigmas: 1 to 256 rising scales, each in 0.01 .. 100000.

    Raises:
        ValueError: no, too many, falling or absurd scales.
    """
    values = [float(s) for s in sigmas]
    if not 1 <= len(values) <= 256:
        raise ValueError(f"sigmas must have 1 to 256 values, got {len(values)}")
    if not all(0.01 <= s <= 100_000 for s in values):
        raise ValueError("sigmas must be in 0.01 .. 100000")
    if any(b <= a for a, b in pairwise(values)):
        raise ValueError("sigmas must rise; sort them and drop repeated ones")
    lows, shifts, freqs = zip(*(_gaussian_freqs(s) for s in values), strict=True)
    return _make_tables(lows, shifts, freqs, values)


@cache
def gaussian_tables() -> Tables:
    """The default tables: 64 Gaussians of the scales `SIGMAS`, as constants of the library."""
    lows, shifts, freqs = zip(*_core.rans_gaussian_tables(), strict=True)
    return _make_tables(lows, shifts, freqs, SIGMAS)


def tables_from_pmf(pmfs: Sequence[npt.ArrayLike], lows: Sequence[int] | int = 0, *, escape: bool = True) -> Tables:
    """Tables from your own probabilities, rounded so that they sum to 4096 and nothing is 0.

    Args:
        pmfs: 1 to 256 vectors of probabilities or counts (non-negative, finite, not all zero), of 1 to 253 values each.
        lows: the symbol of each vector's first value (one number for all, or one each); symbols lie in -126..126.
        escape: True: one slot below and one above the range, so that every integer can be coded. False: nothing outside
            can be coded (a symbol there is a ValueError when encoding).

    Raises:
        ValueError: anything else.
    """
    if isinstance(lows, int):
        lows = [lows] * len(pmfs)
    if len(lows) != len(pmfs):
        raise ValueError(f"lows must have one value for each of the {len(pmfs)} pmfs, got {len(lows)}")
    if not all(int(low) == low and -126 <= low <= 126 for low in lows):
        raise ValueError(f"lows must be whole numbers in -126..126, got {[*lows]}")
    freqs = []
    for t, pmf in enumerate(pmfs):
        p = np.asarray(pmf, dtype=np.float64)
        if p.ndim != 1 or not 1 <= p.size <= 253:
            raise ValueError(f"pmf {t} must be a vector of 1 to 253 values, got shape {p.shape}")
        if not (np.isfinite(p).all() and (p >= 0).all() and 1e-290 < p.sum() < 1e290):
            raise ValueError(f"pmf {t} must be finite and non-negative, and its sum in 1e-290 .. 1e290")
        if p.size == 1 and not escape:
            raise ValueError(f"pmf {t} has one value and no escape: nothing is left to code")
        ends = 1 if escape else 0
        freqs.append([ends, *_round_to_sum(p, SLOTS - 2 * ends), ends])
    return _make_tables([int(low) for low in lows], [0] * len(freqs), freqs)


def _round_to_sum(p: npt.NDArray[np.float64], total: int) -> list[int]:
    """Integers >= 1 near total * p / sum(p) that sum to total: rounded down, then single slots where they matter."""
    scaled = p * (total / float(np.add.accumulate(p)[-1]))  # accumulate adds from left to right on every machine
    freq = np.maximum(np.floor(scaled), 1).astype(np.int64)
    while (left := total - int(freq.sum())) != 0:
        # A slot more or less changes the cost by about p / (freq +- 1/2).
        worth = p / (2 * freq + (1 if left > 0 else -1))
        if left < 0:
            worth[freq < 2] = np.inf
        freq[int(np.argmax(worth) if left > 0 else np.argmin(worth))] += 1 if left > 0 else -1
    return [int(f) for f in freq]


# ---- arrays of any kind ----------------------------------------------------------------------------------------------


def _is_torch(x: object) -> bool:
    return type(x).__module__.partition(".")[0] == "torch"


def _host(x: Any, name: str) -> tuple[npt.NDArray[Any], Callable[[npt.NDArray[Any]], Any]]:
    """(x as a contiguous NumPy array, not copied if possible; what turns a result into the kind of array x is)."""
    if isinstance(x, np.ndarray):
        return np.require(x, requirements=["C", "A"]), lambda a: a
    if _is_torch(x):
        return x.detach().contiguous().numpy(), sys.modules["torch"].from_numpy
    if hasattr(x, "__dlpack__"):
        return np.require(np.from_dlpack(x), requirements=["C", "A"]), lambda a: a
    raise TypeError(f"{name} must be a NumPy array, a torch tensor or a DLPack array, got {type(x).__name__}")


def _check_index(index: npt.NDArray[Any]) -> None:
    if index.dtype != np.uint8:
        raise TypeError(f"index must be uint8, got {index.dtype}; make it with scale_index or .astype(np.uint8)")


def _check_chunk(chunk: int) -> None:
    if chunk not in CHUNK_SIZES:
        raise ValueError(f"chunk must be one of {CHUNK_SIZES}, got {chunk}")


def _given(tables: Tables | None) -> Tables:
    if tables is None:
        return gaussian_tables()
    if not isinstance(tables, Tables):
        raise TypeError(
            f"tables must be Tables or None, got {type(tables).__name__}; make them with tables_from_sigmas"
        )
    return tables


def _at_most(threads: int | None) -> int:
    """The number of threads for the core, 0 where the library's setting holds."""
    if threads is None:
        return 0
    if isinstance(threads, bool) or not isinstance(threads, (int, np.integer)) or threads < 1:
        raise ValueError(f"threads must be a whole number from 1, or None, got {threads!r}")
    return int(threads)


def scale_index(sigma: Any, tables: Tables | None = None) -> Any:
    """Table of each scale: the nearest one on a logarithmic axis, decided by integer compares of the float's bits.

    Args:
        sigma: array of any shape: float32, float64 (rounded to float32), or int32 in 1/65536. Negative ones count as 0.
        tables: tables with `sigmas`; the default ones if None.

    Returns:
        uint8 array of the same shape and kind (NumPy or torch; on the GPU if sigma is there).

    Raises:
        TypeError, ValueError: another dtype; tables that are not Gaussians.
    """
    tables = _given(tables)
    if not tables.sigmas:
        raise ValueError("tables must have sigmas; make them with gaussian_tables or tables_from_sigmas")
    scales = np.array(tables.sigmas)
    thresholds = np.sqrt(scales[:-1] * scales[1:]).astype(np.float32)
    if _on_gpu(sigma):
        from fastcodec import _rans_cuda

        return _rans_cuda.scale_index(sigma, thresholds)
    array, back = _host(sigma, "sigma")
    if array.dtype == np.int32:
        array = array.astype(np.float32) * np.float32(1 / 65536)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"sigma must be float32, float64 or int32 (in 1/65536), got {array.dtype}")
    index = np.empty(array.shape, np.uint8)
    _core.rans_scale_index(np.require(array, np.float32, ["C", "A"]), thresholds, index)
    return back(index)


def _on_gpu(x: object) -> bool:
    if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack_device__"):
        return False
    return int(x.__dlpack_device__()[0]) in (2, 13)  # CUDA, CUDA managed


# ---- the coder -------------------------------------------------------------------------------------------------------


def encode(
    symbols: Any,
    index: Any,
    tables: Tables | None = None,
    *,
    chunk: int = 1 << 16,
    threads: int | None = None,
    backend: str | None = None,
) -> Any:
    """Codes integers, each with the table that its index names.

    Args:
        symbols: int16 or int32 array of any shape; any value can be coded if the tables have escapes.
        index: uint8 array of the same shape: table of each symbol.
        tables: the default Gaussian tables if None.
        chunk: symbols in a chunk: 16384 (low latency), 65536 or 262144 (smallest). Chunks are independent, so they are
            what threads share.
        threads: at most so many; None: the library's setting.
        backend: name of a CPU backend; None: the best one, or FASTCODEC_BACKEND.

    Returns:
        The stream: bytes, or for CUDA tensors a uint8 tensor on that device.

    Raises:
        TypeError, ValueError: wrong arrays, an index past the tables, a symbol outside a table without escapes.
    """
    tables = _given(tables)
    _check_chunk(chunk)
    if _on_gpu(symbols):
        from fastcodec import _rans_cuda

        return _rans_cuda.encode(symbols, index, tables, chunk)
    values, _ = _host(symbols, "symbols")
    which, _ = _host(index, "index")
    _check_index(which)
    if values.dtype not in (np.int16, np.int32):
        raise TypeError(f"symbols must be int16 or int32, got {values.dtype}; use .astype(np.int16)")
    if values.shape != which.shape:
        raise ValueError(f"index must have the shape of symbols {values.shape}, got {which.shape}")
    return _core.rans_encode(values, values.itemsize, which, tables.native, chunk, _at_most(threads), backend or "")


def decode(
    data: Any,
    index: Any,
    tables: Tables | None = None,
    *,
    dtype: str | None = None,
    threads: int | None = None,
    backend: str | None = None,
) -> Any:
    """Symbols of a stream that `encode` wrote.

    Args:
        data: the stream: bytes or anything with a buffer, or for a CUDA index a uint8 tensor on that device.
        index: uint8 array: the same indexes that the encoder had.
        tables: the same tables.
        dtype: "int16" or "int32"; None: int16, or int32 if the stream has symbols outside int16.
        threads, backend: as in `encode`.

    Returns:
        Array of index's shape and kind (NumPy or torch; on the GPU if index is there).

    Raises:
        FormatError (or its kinds TruncatedError, ChecksumError): a damaged stream, other tables, another count.
        TypeError, ValueError: wrong arguments.
    """
    tables = _given(tables)
    if dtype not in (None, "int16", "int32"):
        raise ValueError(f"dtype must be 'int16', 'int32' or None, got {dtype!r}")
    if _on_gpu(index):
        from fastcodec import _rans_cuda

        return _rans_cuda.decode(data, index, tables, dtype)
    which, back = _host(index, "index")
    _check_index(which)
    head = _core.rans_info(data)
    if head["kind"] != "symbols":
        raise FormatError("range coder stream holds bytes, expected indexed symbols; use decode_bytes")
    out = np.empty(which.shape, dtype or ("int32" if head["wide"] else "int16"))
    _core.rans_decode(data, which, tables.native, out, out.itemsize, _at_most(threads), backend or "")
    return back(out)


def encode_bytes(data: Any, *, chunk: int = 1 << 18, threads: int | None = None, backend: str | None = None) -> bytes:
    """Codes bytes with one table made from their histogram; incompressible ones are stored.

    Args:
        data: bytes, or any contiguous buffer (its bytes are coded).
        chunk, threads, backend: as in `encode`.
    """
    _check_chunk(chunk)
    return _core.rans_encode_bytes(data, chunk, _at_most(threads), backend or "")


def decode_bytes(
    data: Any, *, max_bytes: int = 1 << 32, threads: int | None = None, backend: str | None = None
) -> npt.NDArray[np.uint8]:
    """Bytes of a stream that `encode_bytes` wrote, as a uint8 array.

    Raises:
        LimitError: the stream says that it holds more than max_bytes.
        FormatError: a damaged stream; TruncatedError, ChecksumError: its kinds.
    """
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, (int, np.integer)) or max_bytes < 0:
        raise ValueError(f"max_bytes must be a whole number from 0, got {max_bytes!r}")
    head = _core.rans_info(data)
    if head["kind"] == "symbols":
        raise FormatError("range coder stream holds indexed symbols, expected bytes; use decode")
    if head["size"] > max_bytes:
        raise LimitError(
            f"max_bytes is {max_bytes}, and the stream holds {head['size']} bytes; raise max_bytes to accept it"
        )
    out = np.empty(head["size"], np.uint8)
    _core.rans_decode_bytes(data, out, _at_most(threads), backend or "")
    return out


def max_encoded_size(n: int, chunk: int = 1 << 16) -> int:
    """No stream of n symbols or bytes in chunks of `chunk` is longer than so many bytes.

    Raises:
        ValueError: n is negative, or chunk is not one that `encode` takes.
    """
    _check_chunk(chunk)
    if n < 0:
        raise ValueError(f"n must be at least 0, got {n}")
    return _core.rans_max_size(n, chunk)


# ---- weights ---------------------------------------------------------------------------------------------------------


def compress_weights(weights: npt.NDArray[Any]) -> bytes:
    """An array's bytes, coded without loss by one histogram: for int8 weights of a packed model, tensor by tensor.

    Wider items are split into planes of first, second, ... bytes, each with a histogram of its own.
    """
    planes = np.ascontiguousarray(weights).reshape(-1).view(np.uint8).reshape(-1, weights.dtype.itemsize)
    streams = [encode_bytes(np.ascontiguousarray(planes[:, k]), threads=1) for k in range(planes.shape[1])]
    sizes = np.array([len(s) for s in streams], "<u4").tobytes()
    return sizes + b"".join(streams)


def decompress_weights(data: bytes, dtype: npt.DTypeLike, shape: Sequence[int]) -> npt.NDArray[Any]:
    """The array that `compress_weights` coded; its dtype and shape are stored beside the stream, not in it.

    Raises:
        FormatError: a damaged stream, or one of another size.
    """
    kind = np.dtype(dtype)
    n = int(np.prod(np.array(shape, np.int64))) if len(shape) else 1
    n_planes = kind.itemsize
    if len(data) < 4 * n_planes:
        raise FormatError(f"compressed weights: expected at least {4 * n_planes} bytes, got {len(data)}")
    sizes = np.frombuffer(data, "<u4", n_planes).astype(np.int64)
    if 4 * n_planes + int(sizes.sum()) != len(data):
        raise FormatError(f"compressed weights: expected {4 * n_planes + int(sizes.sum())} bytes, got {len(data)}")
    planes = np.empty((n, n_planes), np.uint8)
    at = 4 * n_planes
    for k, size in enumerate(sizes):
        plane = decode_bytes(memoryview(data)[at : at + int(size)], max_bytes=n, threads=1)
        if plane.size != n:
            raise FormatError(f"compressed weights: expected {n} items, got {plane.size}")
        planes[:, k] = plane
        at += int(size)
    return planes.reshape(-1).view(kind).reshape(tuple(shape))
