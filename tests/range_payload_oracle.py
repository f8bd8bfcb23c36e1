# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The decoder of codec range in plain Python and NumPy, written from FORMAT.md: what the native one is compared with.

Nothing here is shared with the library but the reading of model files and the numbers of the default tables.
"""

from __future__ import annotations

from pathlib import Path

import interpreter
import numpy as np
from fastcodec import packed_model, rans
from range_oracle import LANES, LOW, Reader, Table, bit_string, crc32c

Array = np.ndarray


def tables() -> list[Table]:
    t = rans.gaussian_tables()
    return [Table(low, shift, list(freqs)) for low, shift, freqs in zip(t.lows, t.shifts, t.freqs, strict=True)]


class Symbols:
    """The symbols of one tile, segment by segment."""

    def __init__(self, tile: bytes, default: list[Table]) -> None:
        self.tile, self.tables = tile, default
        self.reader, self.back = Reader(tile), len(tile)
        self.tail_rows = self.reader.number(1) - 1
        self.lanes = self.tail_rows >= 0
        self.carried = Reader(b"")
        if self.lanes:
            lengths = int.from_bytes(self.reader.take(16), "little")
            sizes = [15 + (lengths >> 4 * lane) % 16 for lane in range(LANES)]
            bits = int.from_bytes(self.reader.take((sum(sizes) + 7) // 8), "little")
            self.states = []
            for size in sizes:
                self.states.append(1 << size | bits % (1 << size))
                bits >>= size
            assert bits == 0
        else:
            self.state = self.reader.number(4)
            assert LOW <= self.state < 1 << 31

    def word(self) -> int:
        return (self.carried if self.carried.at < len(self.carried.data) else self.reader).number(2)

    def pop(self, x: int, table: Table) -> tuple[int, int]:
        symbol, freq, start = table.symbol_of(x % 4096)
        return symbol, freq * (x // 4096) + x % 4096 - start

    def one_by_one(self, index: list[int]) -> list[int]:
        out = []
        for t in index:
            symbol, self.state = self.pop(self.state, self.tables[t])
            if self.state < LOW:
                self.state = self.state << 16 | self.word()
            out.append(symbol)
        return out

    def segment(self, index: list[int], last: bool) -> list[int]:
        if self.lanes:
            filled = index + [0] * (-len(index) % LANES)
            tail = LANES * self.tail_rows if last else 0
            assert tail <= len(filled)
            parts: list[int] = []
            for row in range(0, len(filled) - tail, LANES):
                for lane in range(LANES):
                    symbol, self.states[lane] = self.pop(self.states[lane], self.tables[filled[row + lane]])
                    parts.append(symbol)
                for lane in range(LANES):
                    if self.states[lane] < LOW:
                        self.states[lane] = self.states[lane] << 16 | self.reader.number(2)
            if last:
                assert all(LOW <= s < 2 * LOW for s in self.states)
                self.carried = Reader(bit_string([(s - LOW, 15) for s in self.states]))
                self.state = self.carried.number(4) if self.tail_rows else LOW
                parts += self.one_by_one(filled[len(filled) - tail :])
            assert not any(parts[len(index) :])
            parts = parts[: len(index)]
        else:
            parts = self.one_by_one(index)
        symbols = self.finish(parts, index)
        if last:
            assert self.state == LOW
            assert not any(self.carried.take(len(self.carried.data) - self.carried.at))
            assert self.reader.at == self.back
        return symbols

    def side(self) -> int:
        assert self.back > self.reader.at
        self.back -= 1
        return self.tile[self.back]

    def finish(self, parts: list[int], index: list[int]) -> list[int]:
        n_low = sum(self.tables[t].shift for t in index)
        low_bits = int.from_bytes(bytes(self.side() for _ in range((n_low + 7) // 8)), "little")
        out = []
        for part, t in zip(parts, index, strict=True):
            table = self.tables[t]
            if not table.low <= part <= table.high:
                distance = shift = 0
                while True:
                    byte = self.side()
                    distance |= (byte & 127) << shift
                    shift += 7
                    if byte < 128:
                        break
                part = table.low - 1 - distance if part < table.low else table.high + 1 + distance
            out.append(part << table.shift | low_bits % (1 << table.shift))
            low_bits >>= table.shift
        assert low_bits == 0
        assert all(-32768 <= s <= 32767 for s in out)
        return out


def _pass_of(i: Array, j: Array, c: Array, m: int, passes: int) -> Array:
    """The pass of each element, as lists of places."""
    if passes == 1:
        return np.zeros_like(i)
    if passes == 2:
        return (i + j + (c >= m // 2)) % 2
    orders = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]  # of the channel quarters, in four squares
    square = np.array([[0, 2], [3, 1]])[i % 2, j % 2]
    quarter = (c >= m // 4).astype(int) + (c >= m // 2) + (c >= 3 * m // 4)
    return np.array([[order.index(q) for q in range(4)] for order in orders])[square, quarter]


def decode(payload: bytes, inner_crc: int, shape: tuple[int, int, int], model: Path, level: int) -> Array:
    """The pixels u8 [h, w, C] of a payload."""
    meta, tensors, _ = packed_model.read(model)
    parameters = meta["range"]
    default = tables()

    def run(name: str, x: Array, size: tuple[int, int]) -> Array:
        return interpreter.run(meta["programs"][name], tensors, x, level, size)

    def clamp(x: Array) -> Array:
        return np.clip(x, -32768, 32767)

    h16, w16 = (-(-n // 16) for n in shape[:2])
    m, z_channels = parameters["latent"], parameters["hyper"]
    reader = Reader(payload)
    side = 4 * reader.number(1)
    skip = parameters["skip"] if side else 0
    side = side or 4 * reader.number(1)
    boxes = [(i, j) for i in range(0, h16, side) for j in range(0, w16, side)]
    sizes = [reader.varint() for _ in boxes[1:]]
    checks = [inner_crc, *(reader.number(4) for _ in boxes[1:])]
    sizes.append(len(payload) - reader.at - sum(sizes))
    plane = np.zeros((h16, w16, m), np.int16)
    for (top, left), size, check in zip(boxes, sizes, checks, strict=True):
        h, w = min(side, h16 - top), min(side, w16 - left)
        symbols = Symbols(reader.take(size), default)
        hz, wz = -(-h // 4), -(-w // 4)
        z_index = tensors[parameters["z_index"]][level].tolist() * (hz * wz)
        z = np.array(symbols.segment(z_index, False), np.int16).reshape(hz, wz, z_channels)
        features = run("hyper_synthesis", z, (h, w))
        y_hat = np.zeros((h, w, m), np.int16)
        for k in range(parameters["passes"]):
            known = features if k == 0 else np.concatenate([features, y_hat], axis=2)
            prior = run(f"prior_{k}", known, (h, w)).astype(np.int64)
            mean, index = prior[..., :m], np.clip(prior[..., m:], 0, 63)
            i, j, c = np.indices((h, w, m))
            mine = _pass_of(i, j, c, m, parameters["passes"]) == k
            coded = mine & (index >= skip)
            r = np.zeros((h, w, m), np.int64)
            r[coded] = symbols.segment(index[coded].tolist(), k == parameters["passes"] - 1)
            q = clamp(16 * r + mean)
            dequant = tensors[parameters["dequant"]][level].astype(np.int64)
            y_hat = np.where(mine, clamp((q * dequant + 2**15) >> 16), y_hat).astype(np.int16)
        assert crc32c(y_hat.astype("<i2").tobytes()) == check
        plane[top : top + h, left : left + w] = y_hat
    assert reader.at == len(payload)
    return run("synthesis_rgb" if shape[2] == 3 else "synthesis_grey", plane, shape[:2])
