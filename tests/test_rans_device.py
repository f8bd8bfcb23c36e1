# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The range coder's CUDA kernels: their bodies in the emulator, thread by thread, and on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import make_rans_golden as golden
import numpy as np
import pytest
import range_oracle as oracle
from fastcodec import _core, rans
from fastcodec.errors import BackendError, FormatError

ORDERS = range(4)  # forward, backward, shuffled, one warp as far as it can go; 0 and 2 with the tables in shared memory


class Emulated:
    """The device's calls on NumPy arrays."""

    def __init__(self, tables: rans.Tables, order: int):
        self.native = _core.RansDevice(tables.native, "emulator", 0, order)

    def encode(self, symbols: np.ndarray, index: np.ndarray, chunk: int = 1 << 14) -> bytes:
        out = np.empty(0, np.uint8)

        def make(size: int) -> int:
            nonlocal out
            out = np.full(size, 0x5A, np.uint8)
            return out.ctypes.data

        where = symbols.ctypes.data, symbols.itemsize, index.ctypes.data
        self.native.encode(*where, symbols.size, chunk, 0, make)
        return out.tobytes()

    def decode(self, stream: bytes, index: np.ndarray, as_type: int = 0, odd: bool = False) -> np.ndarray:
        # Exactly as long as the stream, and at an odd address if asked for.
        room = np.frombuffer(b"x" * odd + stream, np.uint8).copy()[odd:]
        out = np.empty(0, np.int16)

        def make(wide: bool) -> int:
            nonlocal out
            out = np.full(index.size, 0x5A5A, np.int32 if wide else np.int16)
            return out.ctypes.data

        self.native.decode(room.ctypes.data, room.size, index.ctypes.data, index.size, as_type, 0, make)
        return out


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [0, 1, 31, 33, 2047, 2048, 2079, 2081, 16384, 2 * 16384 + 2050, 5 * 16384 + 77])
@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_the_bodies_write_and_read_the_same_bytes(n: int, dtype: str, order: int) -> None:
    if n > 20_000 and (order + (dtype == "int32")) % 2:
        pytest.skip("the long ones run in half of the combinations, to save time")
    symbols, index = golden.latents(n, n + 3, dtype)
    device = Emulated(rans.gaussian_tables(), order)
    stream = rans.encode(symbols, index, chunk=1 << 14)
    assert device.encode(symbols, index) == stream
    np.testing.assert_array_equal(device.decode(stream, index, odd=bool(n % 2)), symbols)
    np.testing.assert_array_equal(device.decode(stream, index, as_type=4), symbols)


@pytest.mark.parametrize("order", ORDERS)
def test_plain_tables_wide_symbols_and_escapes(order: int) -> None:
    rng = np.random.default_rng(21)
    tables = rans.tables_from_pmf([rng.random(k) + 0.01 for k in (1, 2, 60, 253)], [0, -1, -30, -126])
    index = rng.integers(0, 4, 5000).astype(np.uint8)
    symbols = np.array(rng.integers(-140, 140, 5000), np.int16)
    device = Emulated(tables, order)
    stream = rans.encode(symbols, index, tables)
    assert device.encode(symbols, index, 1 << 16) == stream
    np.testing.assert_array_equal(device.decode(stream, index), symbols)
    wide = rans.tables_from_sigmas([1.0, 40.0, 5000.0, 100_000.0])
    symbols = np.rint(rng.normal(size=5000) * np.array(wide.sigmas)[index] * 2).astype(np.int32)
    stream = rans.encode(symbols, index, wide)
    device = Emulated(wide, order)
    assert device.encode(symbols, index, 1 << 16) == stream
    np.testing.assert_array_equal(device.decode(stream, index), symbols)


@pytest.mark.parametrize("order", ORDERS)
def test_wrong_chunks_with_right_checksums_get_the_same_verdict(order: int) -> None:
    rng = np.random.default_rng(22 + order)
    tables = rans.gaussian_tables()
    device = Emulated(tables, order)
    verdicts = set()
    for n in (60, 2500):
        symbols, index = golden.latents(n, 23, "int32")
        stream = rans.encode(symbols, index)
        head = golden.head_size(stream)
        for _ in range(80):
            damaged = bytearray(stream)
            at = int(rng.integers(head + 8, min(len(stream), head + 250)))
            damaged[at] = int(rng.choice([0, 255, damaged[at] ^ 1, rng.integers(0, 256)]))
            damaged[head + 4 : head + 8] = _core.crc32c(bytes(damaged[head + 8 :])).to_bytes(4, "little")
            try:
                expected: Any = rans.decode(bytes(damaged), index, dtype="int32").tobytes()
            except FormatError as error:
                expected = type(error)
            try:
                got: Any = device.decode(bytes(damaged), index, as_type=4).tobytes()
            except FormatError as error:
                got = type(error)
                verdicts.add(str(error))
            assert got == expected, (n, at)
    assert len(verdicts) >= 4


def test_errors_are_those_of_the_cpu() -> None:
    symbols, index = golden.latents(2100, 24)
    tables = rans.gaussian_tables()
    device = Emulated(tables, 2)
    stream = rans.encode(symbols, index)
    for n in (*range(14), 20, 900, len(stream) - 1):
        with pytest.raises(FormatError) as by_cpu:
            rans.decode(stream[:n], index)
        with pytest.raises(FormatError) as by_device:
            device.decode(stream[:n], index)
        assert by_device.type is by_cpu.type
    for bit in range(0, 8 * len(stream), 7):
        damaged = bytearray(stream)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError) as by_cpu:
            rans.decode(bytes(damaged), index)
        with pytest.raises(FormatError) as by_device:
            device.decode(bytes(damaged), index)
        assert by_device.type is by_cpu.type
    past = index.copy()
    past[1234] = 64
    with pytest.raises(ValueError, match="number of tables"):
        device.decode(stream, past)
    with pytest.raises(ValueError, match="number of tables"):
        device.encode(symbols, past)
    with pytest.raises(FormatError, match="symbols"):
        device.decode(stream, index[:-1].copy())
    with pytest.raises(ValueError, match="chunk"):
        device.encode(symbols, index, 1000)
    wide = rans.encode(np.array([70_000], np.int32), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="int32"):
        device.decode(wide, np.zeros(1, np.uint8), as_type=2)
    bare = rans.tables_from_pmf([[1, 1]], escape=False)
    ones = np.zeros(5000, np.int16)
    for at in (0, 4999):
        ones[:] = 0
        ones[at] = 9
        with pytest.raises(ValueError, match=f"position {at} "):
            Emulated(bare, 1).encode(ones, np.zeros(5000, np.uint8))
    with pytest.raises(BackendError, match="use one of"):
        _core.RansDevice(tables.native, "abacus", 0, 0)


def test_many_chunks_need_a_longer_head() -> None:
    n_chunks = 5000  # their directory alone is longer than the 4096 bytes that are looked at first
    head = bytes([16, 0]) + oracle.varint(n_chunks << 14) + rans.gaussian_tables().digest[:4] + b"\2" * n_chunks
    head += bytes(len(head) % 2)
    stream = head + oracle.u32(_core.crc32c(head)) + bytes(4 * n_chunks)
    with pytest.raises(FormatError, match=f"has {n_chunks << 14} symbols"):  # said after the whole head was read
        Emulated(rans.gaussian_tables(), 0).decode(stream, np.zeros(7, np.uint8))


@pytest.mark.gpu
def test_on_a_gpu() -> None:
    torch = pytest.importorskip("torch", reason="torch is an optional extra")
    available = {name: (ok, reason) for name, ok, reason in _core.backends()}["cuda"]
    if not available[0] or not torch.cuda.is_available():
        pytest.skip(f"no usable CUDA device: {available[1] or 'torch finds none'}")
    for n in (0, 1, 2047, 5000, 1_000_003):
        for dtype in ("int16", "int32"):
            symbols, index = golden.latents(n, n, dtype)
            x, t = torch.from_numpy(symbols).cuda(), torch.from_numpy(index).cuda()
            for chunk in rans.CHUNK_SIZES:
                stream = rans.encode(x, t, chunk=chunk)
                assert stream.device == x.device
                assert stream.cpu().numpy().tobytes() == rans.encode(symbols, index, chunk=chunk)
                assert torch.equal(rans.decode(stream, t), x)
                assert torch.equal(rans.decode(stream.cpu().numpy().tobytes(), t), x)
    sigma = torch.exp(torch.linspace(-4, 6, 5000))
    assert torch.equal(rans.scale_index(sigma.cuda()).cpu(), rans.scale_index(sigma))
