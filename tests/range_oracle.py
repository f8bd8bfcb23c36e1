# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The range coder in plain Python, written from FORMAT.md section 6: what the native coder is compared with."""

from __future__ import annotations

SLOTS, LOW, LANES = 4096, 1 << 15, 32


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def u32(v: int) -> bytes:
    return v.to_bytes(4, "little")


def varint(v: int) -> bytes:
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes([*out, v])


def bit_string(fields: list[tuple[int, int]]) -> bytes:
    """(value, number of bits) of each field."""
    total = at = 0
    for value, n_bits in fields:
        total |= value << at
        at += n_bits
    return total.to_bytes((at + 7) // 8, "little")


class Table:
    def __init__(self, low: int, shift: int, freqs: list[int]):
        self.low, self.high, self.shift, self.freqs = low, low + len(freqs) - 3, shift, freqs
        self.starts = [sum(freqs[:i]) for i in range(len(freqs))]

    def slots(self, symbol: int) -> tuple[int, int]:
        """(freq, start) of the symbol's high part, or of the escape."""
        i = min(max((symbol >> self.shift) - self.low + 1, 0), len(self.freqs) - 1)
        return self.freqs[i], self.starts[i]

    def distance(self, symbol: int) -> int | None:
        high_part = symbol >> self.shift
        if high_part < self.low:
            return self.low - 1 - high_part
        return high_part - self.high - 1 if high_part > self.high else None

    def symbol_of(self, slot: int) -> tuple[int, int, int]:
        """(symbol or None, freq, start) of a slot; symbol is low - 1 or high + 1 for the escapes."""
        i = max(i for i, start in enumerate(self.starts) if start <= slot and self.freqs[i])
        return self.low - 1 + i, self.freqs[i], self.starts[i]


def push(x: int, freq: int, start: int, words: list[int]) -> int:
    if x >> 19 >= freq:
        words.insert(0, x & 0xFFFF)
        x >>= 16
    return x // freq * SLOTS + x % freq + start


def encode_chunk(symbols: list[int], index: list[int], tables: list[Table]) -> bytes:
    n = len(symbols)
    low_bits = [(symbols[i] & ((1 << tables[t].shift) - 1), tables[t].shift) for i, t in enumerate(index)]
    low_part = bit_string(low_bits)
    tail_words: list[int] = []
    x, i, rows = LOW, n, 0
    if n < 2048:
        for i in range(n - 1, -1, -1):
            x = push(x, *tables[index[i]].slots(symbols[i]), tail_words)
        first = 0
    else:
        first = n
        while True:
            size = 4 + 2 * len(tail_words) if first < n else 0
            if first % 32 == 0 and (size + len(low_part) >= 60 or rows == max(16, n >> 13)):
                break
            first -= 1
            x = push(x, *tables[index[first]].slots(symbols[first]), tail_words)
            rows += first % 32 == 0 and n - first >= 32 + n % 32
    inner = (u32(x) + b"".join(w.to_bytes(2, "little") for w in tail_words) if first < n else b"") + low_part
    distances = b"".join(
        varint(d) for s, t in zip(symbols, index, strict=True) if (d := tables[t].distance(s)) is not None
    )
    body = b"" if n < 2048 else bytes([(n - first) // 32])
    words: list[int] = []
    if first:
        payload = int.from_bytes(inner[:60], "little")
        states = [LOW + (payload >> 15 * lane) % LOW for lane in range(LANES)]
        for i in range(first - 1, -1, -1):
            states[i % 32] = push(states[i % 32], *tables[index[i]].slots(symbols[i]), words)
        rest = inner[60:] + distances
        lengths = bit_string([(s.bit_length() - 16, 4) for s in states])
        mantissas = bit_string([(s - (1 << (s.bit_length() - 1)), s.bit_length() - 1) for s in states])
        body += varint(len(rest)) + lengths + mantissas + rest
    else:
        rest = inner + distances
        body += varint(len(rest)) + rest
    body += bytes(len(body) % 2) + b"".join(w.to_bytes(2, "little") for w in words)
    return u32(crc32c(body)) + body


def encode(symbols: list[int], index: list[int], tables: list[Table], name: bytes, chunk: int) -> bytes:
    chunks = [encode_chunk(symbols[i : i + chunk], index[i : i + chunk], tables) for i in range(0, len(symbols), chunk)]
    wide = any(not -32768 <= s <= 32767 for s in symbols)
    head = bytes([16, {1 << 14: 0, 1 << 16: 1, 1 << 18: 2}[chunk] | (128 if wide else 0)]) + varint(len(symbols)) + name
    head += b"".join(varint(len(c) // 2) for c in chunks)
    head += bytes(len(head) % 2)
    return head + u32(crc32c(head)) + b"".join(chunks)


class Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        assert self.at + n <= len(self.data)
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, n: int) -> int:
        return int.from_bytes(self.take(n), "little")

    def varint(self) -> int:
        v = shift = 0
        while True:
            byte = self.number(1)
            v |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return v


def decode_chunk(data: bytes, index: list[int], tables: list[Table]) -> list[int]:
    n = len(index)
    reader = Reader(data)
    assert reader.number(4) == crc32c(data[4:])
    tail = n if n < 2048 else n % 32 + 32 * reader.number(1)
    n_rest = reader.varint()
    states = []
    if tail < n:
        lengths = int.from_bytes(reader.take(16), "little")
        sizes = [15 + (lengths >> 4 * lane) % 16 for lane in range(LANES)]
        bits = int.from_bytes(reader.take((sum(sizes) + 7) // 8), "little")
        for size in sizes:
            states.append(1 << size | bits % (1 << size))
            bits >>= size
        assert bits == 0
    rest = reader.take(n_rest)
    assert not any(reader.take(reader.at % 2))

    def pop(x: int, table: Table, words: Reader) -> tuple[int, int]:
        symbol, freq, start = table.symbol_of(x % SLOTS)
        x = freq * (x // SLOTS) + x % SLOTS - start
        return symbol, x

    high_parts = []
    for row in range(0, n - tail, 32):
        for lane in range(LANES):
            symbol, states[lane] = pop(states[lane], tables[index[row + lane]], reader)
            high_parts.append(symbol)
        for lane in range(LANES):
            if states[lane] < LOW:
                states[lane] = states[lane] << 16 | reader.number(2)
    assert reader.at == len(data)
    assert all(LOW <= s < 2 * LOW for s in states)
    side = Reader(bit_string([(s - LOW, 15) for s in states]) + rest)
    if tail:
        x = side.number(4)
        for i in range(n - tail, n):
            symbol, x = pop(x, tables[index[i]], side)
            if x < LOW:
                x = x << 16 | side.number(2)
            high_parts.append(symbol)
        assert x == LOW
    n_low = sum(tables[t].shift for t in index)
    low_bits = int.from_bytes(side.take((n_low + 7) // 8), "little")
    if tail < n and side.at < 60:
        assert not any(side.take(60 - side.at))
    symbols = []
    for high_part, t in zip(high_parts, index, strict=True):
        table = tables[t]
        if high_part < table.low:
            high_part -= side.varint()
        elif high_part > table.high:
            high_part += side.varint()
        symbols.append(high_part << table.shift | low_bits % (1 << table.shift))
        low_bits >>= table.shift
    assert side.at == len(side.data)
    return symbols


def decode(data: bytes, index: list[int], tables: list[Table], name: bytes) -> list[int]:
    reader = Reader(data)
    assert reader.number(1) == 16
    chunk = 1 << (14 + 2 * (reader.number(1) & 3))
    assert reader.varint() == len(index)
    assert reader.take(4) == name
    sizes = [2 * reader.varint() for _ in range(0, len(index), chunk)]
    assert not any(reader.take(reader.at % 2))
    at = reader.at
    assert reader.number(4) == crc32c(data[:at])
    symbols: list[int] = []
    for c, size in enumerate(sizes):
        symbols += decode_chunk(reader.take(size), index[c * chunk : (c + 1) * chunk], tables)
    assert reader.at == len(data)
    return symbols
