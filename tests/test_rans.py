# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The range coder: every backend against a plain Python reading of FORMAT.md; damaged streams, rates, tables."""

from __future__ import annotations

import math
import sys
import threading
from functools import cache

import make_rans_golden as golden
import numpy as np
import pytest
import range_oracle as oracle
from fastcodec import _core, rans
from fastcodec.errors import BackendError, ChecksumError, FormatError, LimitError, TruncatedError
from hypothesis import given, settings
from hypothesis import strategies as st

BACKENDS = [name for name, available, _ in _core.backends() if available and name != "cuda"]
EDGES = [
    0,
    1,
    31,
    32,
    33,
    65,
    2047,
    2048,
    2049,
    2079,
    2080,
    2081,
    16383,
    16384,
    16385,
    2 * 16384 + 31,
    3 * 16384 + 2050,
]


@cache
def oracle_tables(tables: rans.Tables) -> list[oracle.Table]:
    return [oracle.Table(low, k, list(f)) for low, k, f in zip(tables.lows, tables.shifts, tables.freqs, strict=True)]


def gaussian(n: int, seed: int, low: int = 0, high: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """(int16 symbols, index) that follow tables low..high-1 of the default set."""
    rng = np.random.default_rng(seed)
    index = rng.integers(low, high, n).astype(np.uint8)
    return np.rint(rng.normal(size=n) * np.array(rans.SIGMAS)[index]).astype(np.int16), index


def ideal_bytes(symbols: np.ndarray, index: np.ndarray) -> float:
    """Entropy under the exact Gaussians, from libm's erfc."""
    sigma = np.array(rans.SIGMAS)[index] * math.sqrt(2)
    size = np.abs(symbols.astype(np.float64))
    erfc = np.vectorize(math.erfc)
    p = (erfc((size - 0.5) / sigma) - erfc((size + 0.5) / sigma)) / 2
    return float(-np.log2(np.maximum(p, 1e-300)).sum() / 8)


# ---- same bytes everywhere -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", EDGES)
def test_every_backend_writes_and_reads_the_same_bytes(n: int) -> None:
    symbols, index = gaussian(n, n)
    symbols[::700] = 32767
    symbols[5::911] = -32768
    for values in (symbols, symbols.astype(np.int32)):
        streams = [rans.encode(values, index, chunk=1 << 14, backend=b) for b in BACKENDS]
        for backend, stream in zip(BACKENDS, streams, strict=True):
            assert stream == streams[-1], f"{backend} writes other bytes than {BACKENDS[-1]}"
        for backend in BACKENDS:
            for dtype in ("int16", "int32"):
                got = rans.decode(streams[0], index, dtype=dtype, backend=backend)
                np.testing.assert_array_equal(got, symbols, err_msg=f"{backend} {dtype}")
        assert len(streams[0]) <= rans.max_encoded_size(n, 1 << 14)


@pytest.mark.parametrize("n", [0, 1, 33, 2047, 2048, 2095, 16384 + 2077])
def test_the_bytes_are_those_of_the_format_page(n: int) -> None:
    tables = rans.gaussian_tables()
    symbols, index = golden.latents(n, n + 1, "int32")
    stream = rans.encode(symbols, index, chunk=1 << 14)
    assert stream == oracle.encode(symbols.tolist(), index.tolist(), oracle_tables(tables), tables.digest[:4], 1 << 14)
    assert oracle.decode(stream, index.tolist(), oracle_tables(tables), tables.digest[:4]) == symbols.tolist()


@pytest.mark.parametrize("table", range(64))
def test_every_default_table(table: int) -> None:
    symbols, index = gaussian(2100, table, table, table + 1)
    tables = rans.gaussian_tables()
    edge = (-tables.lows[table] + 1) << tables.shifts[table]
    symbols[:8] = [edge, -edge, edge - 1, 1 - edge, edge + 1, -edge - 1, 0, 32767]
    symbols[-4:] = [-32768, 32767, edge, -edge]
    stream = rans.encode(symbols, index)
    assert stream == oracle.encode(symbols.tolist(), index.tolist(), oracle_tables(tables), tables.digest[:4], 1 << 16)
    for backend in BACKENDS:
        assert rans.encode(symbols, index, backend=backend) == stream
        np.testing.assert_array_equal(rans.decode(stream, index, backend=backend), symbols)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("what", ["all escape", "far escapes", "no words", "most words", "all wide"])
def test_extreme_symbols(backend: str, what: str) -> None:
    n = 5000
    index = np.zeros(n, np.uint8)
    symbols = np.zeros(n, np.int32)
    if what == "all escape":
        symbols[:] = np.where(np.arange(n) % 3 == 0, 1, -1)  # table 0 has slots for 0 only
    elif what == "far escapes":
        symbols[:] = np.where(np.arange(n) % 2 == 0, 2**31 - 1, -(2**31))
    elif what == "most words":
        index[:] = 20
        symbols[:] = 4  # a slot or so
    elif what == "all wide":
        index[:] = 63
        symbols[:] = np.arange(n) - n // 2
    stream = rans.encode(symbols, index, backend=backend)
    np.testing.assert_array_equal(rans.decode(stream, index, backend=backend), symbols)
    assert stream == rans.encode(symbols, index, backend="scalar")
    assert len(stream) <= rans.max_encoded_size(n)


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_tables(backend: str) -> None:
    rng = np.random.default_rng(5)
    for n_tables in (1, 2, 17, 256):
        sizes = rng.integers(2, 254, n_tables)
        lows = [int(rng.integers(-126, 127 - size + 1)) for size in sizes]
        pmfs = [rng.random(size) ** 8 * (rng.random(size) < 0.5) + (np.arange(size) == 0) for size in sizes]
        for escape in (True, False):
            tables = rans.tables_from_pmf(pmfs, lows, escape=escape)
            index = rng.integers(0, n_tables, 3000).astype(np.uint8)
            symbols = np.array([lows[t] + rng.integers(0, sizes[t]) for t in index], np.int16)
            if escape:
                symbols[::50] = rng.integers(-300, 300, 60)
            stream = rans.encode(symbols, index, tables, backend=backend)
            expected = oracle.encode(
                symbols.tolist(), index.tolist(), oracle_tables(tables), tables.digest[:4], 1 << 16
            )
            assert stream == expected
            np.testing.assert_array_equal(rans.decode(stream, index, tables, backend=backend), symbols)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_the_bytes(threads: int) -> None:
    symbols, index = gaussian(150_000, 8)
    stream = rans.encode(symbols, index, chunk=1 << 14, threads=threads)
    assert stream == rans.encode(symbols, index, chunk=1 << 14, threads=1)
    np.testing.assert_array_equal(rans.decode(stream, index, threads=threads), symbols)


def test_calls_from_several_python_threads() -> None:
    symbols, index = gaussian(60_000, 9)
    wanted = rans.encode(symbols, index)
    tables = rans.tables_from_sigmas(rans.SIGMAS)  # its look-up table is made by whoever comes first
    results: list[bool] = []

    def work() -> None:
        for _ in range(5):
            same = rans.encode(symbols, index, tables) == wanted
            results.append(same and np.array_equal(rans.decode(wanted, index, tables), symbols))

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [True] * 20


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1) | st.integers(-200, 200), st.integers(0, 63)), max_size=80),
    st.integers(0, 60),
)
def test_any_symbols_round_trip(pairs: list[tuple[int, int]], repeat: int) -> None:
    symbols = np.array([s for s, _ in pairs] * (repeat + 1), np.int32)
    index = np.array([t for _, t in pairs] * (repeat + 1), np.uint8)
    stream = rans.encode(symbols, index, chunk=1 << 14)
    for backend in BACKENDS:
        assert rans.encode(symbols, index, chunk=1 << 14, backend=backend) == stream
        np.testing.assert_array_equal(rans.decode(stream, index, dtype="int32", backend=backend), symbols)


# ---- bytes -----------------------------------------------------------------------------------------------------------


def byte_cases() -> list[np.ndarray]:
    rng = np.random.default_rng(6)
    cases = [np.full(n, 255, np.uint8) for n in (1, 100, 5000)]
    cases += [rng.integers(0, 256, n).astype(np.uint8) for n in (0, 1, 40, 3000)]
    cases += [np.minimum(rng.geometric(0.2, n) - 1, 255).astype(np.uint8) for n in (*EDGES, 300_000)]
    cases.append(np.repeat(np.arange(256), np.r_[100_000, np.ones(255, int)]).astype(np.uint8))
    cases.append(rng.normal(size=50_000).clip(-4, 4).__mul__(30).astype(np.int8).view(np.uint8))
    return cases


@pytest.mark.parametrize("case", range(len(byte_cases())))
def test_bytes_round_trip_on_every_backend(case: int) -> None:
    raw = byte_cases()[case]
    stream = rans.encode_bytes(raw, chunk=1 << 14)
    assert len(stream) <= min(rans.max_encoded_size(raw.size, 1 << 14), raw.size + 24)
    for backend in BACKENDS:
        assert rans.encode_bytes(raw.tobytes(), chunk=1 << 14, backend=backend) == stream
        np.testing.assert_array_equal(rans.decode_bytes(stream, backend=backend), raw)


def test_byte_rate_and_limit() -> None:
    raw = np.minimum(np.random.default_rng(7).geometric(0.2, 1 << 20) - 1, 255).astype(np.uint8)
    counts = np.bincount(raw)
    p = counts[counts > 0] / raw.size
    stream = rans.encode_bytes(raw)
    assert len(stream) <= 1.004 * raw.size * -(p * np.log2(p)).sum() / 8
    with pytest.raises(LimitError, match="1048576"):
        rans.decode_bytes(stream, max_bytes=1000)


@pytest.mark.parametrize("dtype", ["int8", "int32", "float32"])
@pytest.mark.parametrize("shape", [(0,), (), (7,), (64, 3, 3, 33)])
def test_weights_round_trip(dtype: str, shape: tuple[int, ...]) -> None:
    weights = (np.random.default_rng(8).normal(size=shape) * 30).astype(dtype)
    data = rans.compress_weights(np.asarray(weights))
    back = rans.decompress_weights(data, dtype, shape)
    assert back.dtype == weights.dtype
    np.testing.assert_array_equal(back, weights)
    if np.prod(shape) > 1000 and dtype == "int8":
        assert len(data) < 0.9 * weights.nbytes
    for damaged in (data[:-1], data + b"\0", data[:3], bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(FormatError):
            rans.decompress_weights(damaged, dtype, shape)
    with pytest.raises(FormatError):
        rans.decompress_weights(data, dtype, (*shape, 2) if np.prod(shape) else (1,))


# ---- rates -----------------------------------------------------------------------------------------------------------


def realistic(n: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """A scale map of channels with few strong ones and a smooth field, about 1 bit a symbol for offset -1."""
    rng = np.random.default_rng(10)
    channel = np.repeat(np.sort(rng.normal(size=64))[::-1] * 1.1, n // 64)
    field = np.interp(np.arange(n), np.arange(0, n + 500, 500), rng.normal(size=n // 500 + 2))
    index = rans.scale_index(np.exp(channel + 0.8 * field + offset).astype(np.float32))
    return np.rint(rng.normal(size=n) * np.array(rans.SIGMAS)[index]).astype(np.int16), index


@pytest.mark.parametrize(("chunk", "over"), [(1 << 14, 0.03), (1 << 16, 0.008), (1 << 18, 0.003)])
def test_rate_is_close_to_the_entropy(chunk: int, over: float) -> None:
    symbols, index = realistic(1 << 20, -0.75)
    ideal = ideal_bytes(symbols, index)
    assert 0.9 < 8 * ideal / symbols.size < 1.3
    assert len(rans.encode(symbols, index, chunk=chunk)) <= (1 + over) * ideal


def test_a_short_stream_costs_little() -> None:
    for low, high in ((0, 20), (10, 64), (63, 64)):
        symbols, index = gaussian(2000, 11, low, high)
        assert len(rans.encode(symbols, index)) <= ideal_bytes(symbols, index) + 60


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_default_tables_are_constants_that_the_procedure_makes() -> None:
    default, made = rans.gaussian_tables(), rans.tables_from_sigmas(rans.SIGMAS)
    assert default.freqs == made.freqs
    assert default.shifts == made.shifts
    assert default.digest == made.digest
    assert default.digest.hex().startswith("ab12f52b")
    assert default.native.mirrored


def test_tables_follow_the_gaussian() -> None:
    sigmas = [0.01, 0.3, 1.0, 7.77, 31.9, 32.1, 500.0, 100_000.0]
    tables = rans.tables_from_sigmas(sigmas)
    for sigma, low, shift, freqs in zip(sigmas, tables.lows, tables.shifts, tables.freqs, strict=True):
        assert sum(freqs) == 4096
        assert list(freqs) == list(reversed(freqs))
        assert (sigma > 32) == (shift > 0)
        scale = sigma / 2**shift * math.sqrt(2)
        for symbol, freq in enumerate(freqs[1:-1], low):
            p = (math.erf((symbol + 0.5) / scale) - math.erf((symbol - 0.5) / scale)) / 2
            slack = 1.0 if symbol else len(freqs)  # 0 gets what the rounding of all others leaves
            assert abs(freq - 4096 * p) <= slack, (sigma, symbol)


def test_tables_from_pmf_sum_and_follow() -> None:
    pmf = np.array([0.5, 1e-9, 0.25, 0, 0.25 - 1e-9])
    (freqs,) = rans.tables_from_pmf([pmf], -2).freqs
    assert sum(freqs) == 4096
    assert min(freqs) == 1
    assert abs(freqs[1] - 2048) <= 4
    (freqs,) = rans.tables_from_pmf([[3, 1]], escape=False).freqs
    assert freqs == (0, 3072, 1024, 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rans.tables_from_sigmas([]), "1 to 256"),
        (lambda: rans.tables_from_sigmas([1.0] * 257), "1 to 256"),
        (lambda: rans.tables_from_sigmas([1.0, 1.0]), "rise"),
        (lambda: rans.tables_from_sigmas([float("nan")]), "0.01"),
        (lambda: rans.tables_from_sigmas([0.0, 1.0]), "0.01"),
        (lambda: rans.tables_from_pmf([[0.0, 0.0]]), "its sum in"),
        (lambda: rans.tables_from_pmf([[1.0, -1.0]]), "non-negative"),
        (lambda: rans.tables_from_pmf([[float("inf")]]), "finite"),
        (lambda: rans.tables_from_pmf([[1.0] * 254]), "1 to 253"),
        (lambda: rans.tables_from_pmf([[1.0]], [0, 1]), "lows"),
        (lambda: rans.tables_from_pmf([[1.0, 1.0]], 126), "-126..126"),
        (lambda: rans.tables_from_pmf([[1.0]], escape=False), "nothing is left"),
        (lambda: _core.RansTables([], b"1234"), "1..256"),
        (lambda: _core.RansTables([(0, 0, [1, 4094, 1])] * 257, b"1234"), "1..256"),
        (lambda: _core.RansTables([(0, 0, [1, 4095])], b"1234"), "expected frequencies"),
        (lambda: _core.RansTables([(0, 0, [1, 4093, 1])], b"1234"), "sum to 4096"),
        (lambda: _core.RansTables([(0, 0, [1, 0, 4094, 1])], b"1234"), "1..4095"),
        (lambda: _core.RansTables([(0, 0, [0, 4096, 0])], b"1234"), "1..4095"),
        (lambda: _core.RansTables([(-127, 0, [1, 4094, 1])], b"1234"), "-126..126"),
        (lambda: _core.RansTables([(0, 16, [1, 4094, 1])], b"1234"), "shift"),
        (lambda: _core.RansTables([(0, 1, [1, 4094, 1]), (0, 0, [1, 4094, 1])], b"1234"), "fall"),
        (lambda: _core.RansTables([(0, 0, [1, 4094, 1])], b"123"), "4 bytes"),
    ],
)
def test_bad_tables_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_scale_index_is_the_nearest_scale() -> None:
    scales = np.array(rans.SIGMAS)
    thresholds = np.sqrt(scales[:-1] * scales[1:]).astype(np.float32)
    rng = np.random.default_rng(12)
    sigma = np.exp(rng.uniform(-6, 8, 20_000)).astype(np.float32)
    sigma = np.concatenate([sigma, thresholds, np.nextafter(thresholds, np.float32(0)), scales.astype(np.float32)])
    sigma = np.concatenate([sigma, np.array([0.0, -0.0, -5.0, np.inf, -np.inf, 1e-45], np.float32)])
    index = rans.scale_index(sigma)
    np.testing.assert_array_equal(index, np.searchsorted(thresholds, sigma, side="right"))
    np.testing.assert_array_equal(rans.scale_index(scales), np.arange(64))
    np.testing.assert_array_equal(rans.scale_index(np.round(scales * 65536).astype(np.int32)), np.arange(64))
    assert rans.scale_index(np.array([np.nan], np.float32))[0] in (0, 63)
    dense = rans.tables_from_sigmas(1 + np.arange(200) / 1000)  # several thresholds in one cell
    np.testing.assert_array_equal(rans.scale_index(np.array(dense.sigmas, np.float32), dense), np.arange(200))
    assert rans.scale_index(sigma[:6].reshape(2, 3)).shape == (2, 3)
    with pytest.raises(TypeError, match="float32"):
        rans.scale_index(np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="sigmas"):
        rans.scale_index(sigma, rans.tables_from_pmf([[1, 1]]))


# ---- damaged and lying streams ---------------------------------------------------------------------------------------


def outcome(stream: bytes, index: np.ndarray, tables: rans.Tables, backend: str) -> object:
    """What a backend says of a stream: the symbols, or the error's class and message."""
    try:
        return rans.decode(stream, index, tables, dtype="int32", backend=backend).tobytes()
    except FormatError as error:
        return type(error), str(error)


def test_every_truncation_is_noticed() -> None:
    symbols, index = golden.latents(16384 + 2100, 13)
    stream = rans.encode(symbols, index, chunk=1 << 14)
    for n in [*range(400), *range(400, len(stream), 37), len(stream) - 1]:
        with pytest.raises(TruncatedError):
            rans.decode(stream[:n], index)
    with pytest.raises(FormatError, match="too many"):
        rans.decode(stream + b"\0", index)
    data = rans.encode_bytes(symbols)
    for n in [*range(400), len(data) - 1]:
        with pytest.raises(TruncatedError):
            rans.decode_bytes(data[:n])
    stored = rans.encode_bytes(b"abc")
    for n in range(len(stored)):
        with pytest.raises(TruncatedError):
            rans.decode_bytes(stored[:n])


@pytest.mark.parametrize("n", [40, 2100])
def test_every_flipped_bit_is_noticed(n: int) -> None:
    symbols, index = golden.latents(n, 14)
    stream = rans.encode(symbols, index)
    for bit in range(8 * len(stream)):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            rans.decode(bytes(damaged), index)
    data = rans.encode_bytes(symbols.astype(np.int8))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            rans.decode_bytes(bytes(damaged))


def resigned(stream: bytearray, head: int) -> bytes:
    """The one-chunk stream with both CRCs made right again; head: size of the head with its CRC."""
    stream[head - 4 : head] = _core.crc32c(bytes(stream[: head - 4])).to_bytes(4, "little")
    stream[head : head + 4] = _core.crc32c(bytes(stream[head + 4 :])).to_bytes(4, "little")
    return bytes(stream)


def test_all_backends_agree_on_wrong_chunks_with_right_checksums() -> None:
    rng = np.random.default_rng(15)
    tables = rans.gaussian_tables()
    kinds = set()
    for n in (60, 2048, 5000):
        symbols, index = golden.latents(n, 16, "int32")
        stream = rans.encode(symbols, index)
        head = len(stream) - 2 * oracle_directory(stream)[0]
        for _ in range(250):
            damaged = bytearray(stream)
            at = int(rng.integers(head + 4, min(len(stream), head + 300) if rng.random() < 0.8 else len(stream)))
            damaged[at] = int(rng.choice([0, 255, damaged[at] ^ 1, rng.integers(0, 256)]))
            damaged_stream = resigned(damaged, head)
            outcomes = [outcome(damaged_stream, index, tables, b) for b in BACKENDS]
            assert all(o == outcomes[0] for o in outcomes), (n, at, damaged[at])
            kinds.add(outcomes[0] if isinstance(outcomes[0], tuple) else "decodes")
    assert len(kinds) >= 6  # the damage reached many different checks


def oracle_directory(stream: bytes) -> list[int]:
    reader = oracle.Reader(stream)
    reader.take(2)
    n = reader.varint()
    reader.take(4)
    return [reader.varint() for _ in range(0, n, 1 << 16)]


def head_of(kind: int, flags: int, rest: bytes, crc_error: int = 0) -> bytes:
    head = bytes([kind, flags]) + rest
    head += bytes(len(head) % 2)
    return head + oracle.u32(oracle.crc32c(head) ^ crc_error)


ID = rans.gaussian_tables().digest[:4]
ONE_CHUNK = rans.encode(np.zeros(5, np.int16), np.zeros(5, np.uint8))[-8:]


@pytest.mark.parametrize(
    ("stream", "error", "message"),
    [
        (b"", TruncatedError, "ends too early"),
        (head_of(0x26, 1, b"\0" + ID), FormatError, "version 1"),
        (head_of(0x13, 1, b"\0" + ID), FormatError, "version 1"),
        (head_of(0x10, 3, b"\0" + ID), FormatError, "flags"),
        (head_of(0x10, 0x41, b"\0" + ID), FormatError, "flags"),
        (head_of(0x10, 1, b"\x85\0" + ID), FormatError, "shortest form"),
        (head_of(0x10, 1, b"\xff" * 10), FormatError, "too long"),
        (head_of(0x10, 1, b"\xff" * 8 + b"\x7f" + ID), TruncatedError, "chunks"),
        (head_of(0x10, 1, b"\x05" + ID + b"\0"), FormatError, "0 words"),
        (head_of(0x10, 1, b"\x05" + ID + b"\xff\xff\x7f"), TruncatedError, "words"),
        (head_of(0x10, 1, b"\x05" + ID + b"\x04", 1) + ONE_CHUNK, ChecksumError, "head"),
        (head_of(0x10, 1, b"\x06" + ID + b"\x04") + ONE_CHUNK, FormatError, "6 symbols"),
        (head_of(0x10, 1, b"\x05" + b"abcd" + b"\x04") + ONE_CHUNK, FormatError, "other tables"),
        (head_of(0x10, 1, b"\x05" + ID + b"\x03") + ONE_CHUNK, FormatError, "too many"),
        (head_of(0x10, 1, b"\x05" + ID + b"\x01") + b"ab", FormatError, "ends too early"),
        (head_of(0x11, 1, b"\0\x0f"), FormatError, "sum to 4096"),
        (head_of(0x11, 1, b"\0" + b"\xff" * 40), FormatError, "padding bits"),
        (head_of(0x11, 1, b"\0\xee\xff\xff\xff"), FormatError, "256 entries"),
        (rans.encode_bytes(b"aaaaa" * 100), FormatError, "decode_bytes"),
    ],
)
def test_lying_heads(stream: bytes, error: type[FormatError], message: str) -> None:
    for backend in BACKENDS:
        with pytest.raises(error, match=message) as caught:
            rans.decode(stream, np.zeros(5, np.uint8), backend=backend)
        assert caught.type is error


def test_bytes_and_symbols_are_told_apart() -> None:
    stream = rans.encode(np.zeros(5, np.int16), np.zeros(5, np.uint8))
    with pytest.raises(FormatError, match="use decode"):
        rans.decode_bytes(stream)
    assert rans.decode(stream, np.zeros(5, np.uint8)).tolist() == [0] * 5


# ---- arguments and arrays --------------------------------------------------------------------------------------------


def test_wrong_arguments() -> None:
    symbols, index = gaussian(100, 17)
    stream = rans.encode(symbols, index)
    cases = [
        (TypeError, "int16 or int32", lambda: rans.encode(symbols.astype(np.int64), index)),
        (TypeError, "uint8", lambda: rans.encode(symbols, index.astype(np.int32))),
        (TypeError, "array", lambda: rans.encode([1, 2], index)),
        (ValueError, "shape", lambda: rans.encode(symbols, index[:-1])),
        (ValueError, "chunk", lambda: rans.encode(symbols, index, chunk=1000)),
        (ValueError, "number of tables", lambda: rans.encode(symbols, np.full(100, 64, np.uint8))),
        (ValueError, "number of tables", lambda: rans.decode(stream, np.full(100, 64, np.uint8))),
        (ValueError, "dtype", lambda: rans.decode(stream, index, dtype="int8")),
        (ValueError, "n must", lambda: rans.max_encoded_size(-1)),
        (BackendError, "use one of", lambda: rans.encode(symbols, index, backend="abacus")),
        (FormatError, "100 symbols", lambda: rans.decode(stream, index[:-1])),
    ]
    for error, message, call in cases:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("position", [0, 2500, 4999])
def test_a_symbol_that_no_slot_codes(backend: str, position: int) -> None:
    tables = rans.tables_from_pmf([[1, 1]], escape=False)
    symbols = np.zeros(5000, np.int16)
    symbols[position] = -3
    with pytest.raises(ValueError, match=f"symbol -3 at position {position} is outside table 0"):
        rans.encode(symbols, np.zeros(5000, np.uint8), tables, backend=backend)


def test_wide_streams_need_int32() -> None:
    index = np.zeros(3, np.uint8)
    stream = rans.encode(np.array([0, 40_000, 1], np.int32), index)
    assert rans.decode(stream, index).dtype == np.int32
    with pytest.raises(ValueError, match="int32"):
        rans.decode(stream, index, dtype="int16")
    narrow = rans.encode(np.array([0, -32768, 1], np.int32), index)
    assert rans.decode(narrow, index).dtype == np.int16


def test_shapes_strides_and_dlpack() -> None:
    symbols, index = gaussian(2400, 18)
    stream = rans.encode(symbols, index)
    cube = rans.decode(stream, index.reshape(4, 20, 30))
    assert cube.shape == (4, 20, 30)
    np.testing.assert_array_equal(cube.ravel(), symbols)
    strided, strided_index = np.repeat(symbols, 2)[::2], np.repeat(index, 3)[::3]
    assert rans.encode(strided, strided_index) == stream
    unaligned = np.frombuffer(b"x" + symbols.tobytes(), np.int16, offset=1)
    assert rans.encode(unaligned, index) == stream
    readonly = symbols.copy()
    readonly.flags.writeable = False
    assert rans.encode(readonly, index) == stream

    class Foreign:
        def __init__(self, array: np.ndarray):
            self.array = array

        def __dlpack__(self, **kwargs: object) -> object:
            return self.array.__dlpack__(**kwargs)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    assert rans.encode(Foreign(symbols), Foreign(index)) == stream
    np.testing.assert_array_equal(rans.decode(bytearray(stream), Foreign(index)), symbols)
    np.testing.assert_array_equal(rans.decode(np.frombuffer(stream, np.uint8), index), symbols)


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch", reason="torch is an optional extra")
    symbols, index = gaussian(3000, 19)
    x, t = torch.from_numpy(symbols.reshape(3, 1000)), torch.from_numpy(index.reshape(3, 1000))
    stream = rans.encode(x, t)
    assert stream == rans.encode(symbols, index)
    back = rans.decode(stream, t)
    assert isinstance(back, torch.Tensor)
    assert torch.equal(back, x)
    sigma = torch.tensor([0.2, 3.0], requires_grad=True)
    assert torch.equal(rans.scale_index(sigma), torch.tensor([6, 33], dtype=torch.uint8))


def test_torch_is_not_imported() -> None:
    import subprocess

    code = "import sys, numpy as np\nfrom fastcodec import rans\nz = np.zeros(9, np.uint8)\n"
    code += "rans.decode(rans.encode(z.astype(np.int16), z), z)\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- golden streams --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(golden.cases()))
def test_golden(name: str) -> None:
    encode, decode, expected = golden.cases()[name]
    path = golden.FOLDER / f"{name}.rans"
    stream = path.read_bytes()  # a missing file is a failure: only make_rans_golden.py writes one
    np.testing.assert_array_equal(decode(stream), expected)
    assert encode() == stream


def test_no_golden_without_a_case() -> None:
    assert sorted(p.stem for p in golden.FOLDER.iterdir()) == sorted(golden.cases())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda s, i: rans.encode(s, i, 1.5), TypeError, "tables must be Tables or None, got float"),
        (lambda s, i: rans.encode(s, i, 0), TypeError, "tables must be Tables or None, got int"),
        (lambda s, i: rans.decode(b"", i, []), TypeError, "tables must be Tables or None, got list"),
        (
            lambda s, i: rans.encode(s, i, threads=-1),
            ValueError,
            "threads must be a whole number from 1, or None, got -1",
        ),
        (lambda s, i: rans.encode_bytes(b"", threads=True), ValueError, "threads must be .* got True"),
        (lambda s, i: rans.decode_bytes(b"", max_bytes=float("nan")), ValueError, "max_bytes must be .* got nan"),
        (lambda s, i: rans.tables_from_pmf([[5e-324, 5e-324]]), ValueError, "pmf 0 must be finite"),
        (lambda s, i: rans.tables_from_pmf([[1.0]], lows=2**70), ValueError, "lows must be whole numbers in -126..126"),
        (lambda s, i: rans.tables_from_pmf([[1.0]], lows=[1.5]), ValueError, "lows must be whole numbers in -126..126"),
    ],
)
def test_wrong_arguments_say_what_is_expected(call: object, error: type[Exception], message: str) -> None:
    assert callable(call)
    with pytest.raises(error, match=message):
        call(np.zeros(5, np.int16), np.zeros(5, np.uint8))


def test_a_table_beyond_all_symbols_is_refused() -> None:
    for low in (127, 2**31 - 1):
        with pytest.raises(ValueError, match=r"-126\.\.126"):
            _core.RansTables([(low, 0, [1, 2047, 2047, 1])], b"1234")
