# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Takes the predictable head and tail off an inner codec's file, and puts them back.

A small JPEG, WebP, AVIF, HEIC or JPEG 2000 file spends 20 to 390 bytes on fields that our header says already
(size, quality) or that one encoder always writes alike. `trim` compares the file with the head that
this module builds; only on an exact match it leaves the head out, so `restore` gives the file back
byte by byte. FORMAT.md ("Trimmed payloads") is the authority.

Shapes are (height, width, channels) of the image inside the file; channels is 1 or 3.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from .container import Reader, varint
from .errors import FormatError

Shape = tuple[int, int, int]

# ---------------------------------------------------------------- JPEG (T.81: example tables of annex K)

_ZIGZAG = (
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61,
    54, 47, 55, 62, 63,
)  # fmt: skip
_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99,
) + (99,) * 36  # fmt: skip
# Steps for the least squared error of photographs, by search: they grow with frequency far less than annex K's, which
# are for the eye.
_TUNED_LUMA = (
    13, 17, 19, 22, 24, 27, 29, 31, 18, 18, 20, 22, 25, 29, 30, 31, 20, 20, 21, 24, 27, 29, 31, 31, 21, 22, 23, 25,
    28, 31, 32, 32, 23, 24, 26, 29, 30, 33, 34, 33, 25, 27, 29, 30, 32, 34, 34, 34, 29, 30, 32, 32, 34, 35, 35, 35,
    32, 33, 33, 34, 35, 34, 35, 35,
)  # fmt: skip
_TUNED_CHROMA = (
    9, 15, 17, 21, 26, 28, 29, 31, 15, 16, 17, 23, 26, 28, 29, 31, 17, 17, 21, 25, 27, 28, 30, 31, 21, 23, 25, 26,
    28, 29, 30, 32, 26, 26, 27, 28, 29, 30, 31, 32, 28, 28, 28, 29, 30, 31, 32, 33, 29, 29, 30, 30, 31, 32, 33, 34,
    31, 31, 31, 32, 32, 33, 34, 35,
)  # fmt: skip
_STEPS = ((_LUMA, _CHROMA), (_TUNED_LUMA, _TUNED_CHROMA))
_JFIF = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")


def jpeg_steps(quality: float, *, tuned: bool) -> list[list[int]]:
    """Quantisation steps of luma and chroma, 64 each, row by row: libjpeg's for quality 1..100 a whole number, or the
    `tuned` ones for quality in quarters.
    """
    if tuned:
        quarters = round(4 * quality)
        share = 80000 // quarters if quarters < 200 else 800 - 2 * quarters
    else:
        share = 4 * (5000 // int(quality) if quality < 50 else 200 - 2 * int(quality))
    return [[min(255, max(1, (step * share + 200) // 400)) for step in base] for base in _STEPS[tuned]]


def _jpeg_head(shape: Shape, quality: float, sampling: int, progressive: bool, tuned: bool) -> bytes:
    """SOI, JFIF, DQT and SOF2 or SOF0; `sampling` is the luma factor, 1 (4:4:4) or 2 (4:2:0)."""
    height, width, channels = shape
    out = _JFIF
    for number, steps in enumerate(jpeg_steps(quality, tuned=tuned)[: 1 if channels == 1 else 2]):
        out += b"\xff\xdb\x00\x43" + bytes((number, *(steps[at] for at in _ZIGZAG)))
    out += struct.pack(">BBHBHHB", 0xFF, 0xC2 if progressive else 0xC0, 8 + 3 * channels, 8, height, width, channels)
    for number in range(channels):
        out += bytes((number + 1, 0x11 * (sampling if number == 0 else 1), min(number, 1)))
    return out


# libjpeg's progressive scripts: component (0: all), first and last coefficient, Ah and Al.
_SCRIPTS = {
    1: ((0, 0, 0, 0x01), (1, 1, 5, 0x02), (1, 6, 63, 0x02), (1, 1, 63, 0x21), (0, 0, 0, 0x10), (1, 1, 63, 0x10)),
    3: (
        (0, 0, 0, 0x01), (1, 1, 5, 0x02), (3, 1, 63, 0x01), (2, 1, 63, 0x01), (1, 6, 63, 0x02), (1, 1, 63, 0x21),
        (0, 0, 0, 0x10), (3, 1, 63, 0x10), (2, 1, 63, 0x10), (1, 1, 63, 0x10),
    ),
}  # fmt: skip
_ONE_SCAN = ((0, 0, 63, 0),)
_SEQUENTIAL, _TUNED, _QUARTER = 4, 8, 16  # in the payload's first byte, beside the sampling
_MARKER = re.compile(rb"\xff[^\0]")


def _scans(channels: int, progressive: bool) -> Iterator[tuple[tuple[int, ...], bytes, bool]]:
    """For each scan: the Huffman tables that precede it (class and number), its SOS, whether it is the last."""
    script = _SCRIPTS[channels] if progressive else _ONE_SCAN
    tables: tuple[int, ...]
    for number, (component, first, last, bits) in enumerate(script, 1):
        if component:
            chroma = int(component > 1)
            tables, selectors = (0x10 | chroma,), bytes((component, chroma))
        else:
            each = () if bits >= 0x10 else (0,) if last == 0 else (0, 0x10)  # a refinement needs no table
            tables = tuple(kind | chroma for chroma in range(min(channels, 2)) for kind in each)
            selector = (0, 0x10, 0x11)[len(each)]
            selectors = b"".join(bytes((c, selector if c > 1 else 0)) for c in range(1, channels + 1))
        body = bytes((len(selectors) // 2,)) + selectors + bytes((first, last, bits))
        yield tables, b"\xff\xda" + struct.pack(">H", len(body) + 2) + body, number == len(script)


def _pack_counts(counts: bytes) -> bytes:
    """16 code counts in nibbles: how many follow, less 1; then each, from 15 on as nibble 15 and two of its byte."""
    used = len(counts.rstrip(b"\0")) or 1
    digits = f"{used - 1:x}" + "".join(f"{count:x}" if count < 15 else f"f{count:02x}" for count in counts[:used])
    return bytes.fromhex(digits + "0" * (len(digits) % 2))


def _read_counts(reader: Reader) -> bytes:
    digits: list[int] = []

    def digit() -> int:
        if not digits:
            byte = reader.byte("Huffman code counts")
            digits.extend((byte & 15, byte >> 4))
        return digits.pop()

    used = digit() + 1
    counts = bytes(count if (count := digit()) < 15 else digit() << 4 | digit() for _ in range(used))
    return counts + bytes(16 - used)


def _trim_jpeg(file: bytes, shape: Shape, quality: float) -> bytes | None:
    quarter = round(4 * quality) % 4
    for tuned in (True, False):
        for sampling in (2, 1):
            for progressive in (True, False):
                head = _jpeg_head(shape, quality, sampling, progressive, tuned)
                if file.startswith(head):
                    first = sampling + _SEQUENTIAL * (not progressive) + (_TUNED + _QUARTER * quarter) * tuned
                    return _trim_scans(file, len(head), shape[2], first)
    return None


def _trim_scans(file: bytes, at: int, channels: int, first: int) -> bytes | None:
    out, progressive = bytearray((first,)), not first & _SEQUENTIAL
    for tables, sos, last in _scans(channels, progressive):
        for _ in tables:
            counts = file[at + 5 : at + 21]
            end = at + 21 + sum(counts)
            out += _pack_counts(counts) + file[at + 21 : end]
            at = end
        at += len(sos)
        marker = _MARKER.search(file, at)
        if marker is None:
            return None
        out += b"" if last else varint(marker.start() - at)
        out += file[at : marker.start()]
        at = marker.start()
    return bytes(out)


def _restore_jpeg(payload: memoryview, shape: Shape, quality: int) -> bytes:
    reader = Reader(payload)
    first = reader.byte("JPEG sampling")
    sampling, progressive, tuned = first & 3, not first & _SEQUENTIAL, bool(first & _TUNED)
    exact = quality + (first // _QUARTER) / 4
    if sampling not in (1, 2) or max(shape[:2]) > 65535:
        raise FormatError(f"trimmed JPEG has sampling {first} and size {shape[1]} x {shape[0]}")
    if first >= _QUARTER and not (tuned and exact < min(quality + 1, 100)):
        raise FormatError(f"trimmed JPEG begins with {first} at quality {quality}: no such quarter of a quality")
    parts: list[bytes | memoryview] = [_jpeg_head(shape, exact, sampling, progressive, tuned)]
    for tables, sos, last in _scans(shape[2], progressive):
        for table in tables:
            counts = _read_counts(reader)
            parts.append(struct.pack(">HHB", 0xFFC4, 19 + sum(counts), table) + counts)
            parts.append(reader.take(sum(counts), "Huffman symbols"))
        size = len(payload) - reader.at if last else reader.varint("length of a scan")
        parts += (sos, reader.take(size, "scan"))
    return b"".join((*parts, b"\xff\xd9"))


# ---------------------------------------------------------------- WebP (RFC 9649), lossy, one frame


def _trim_webp(file: bytes, shape: Shape, quality: float) -> bytes | None:
    payload = file[20:23] + file[30 : 20 + int.from_bytes(file[16:20], "little")]
    return payload if len(payload) > 3 else None


def _restore_webp(payload: memoryview, shape: Shape, quality: int) -> bytes:
    height, width, _ = shape
    tag = _field(payload, 3)
    if max(width, height) > 16383:
        raise FormatError(f"trimmed WebP has size {width} x {height}, expected at most 16383")
    size = len(payload) + 7
    pad = size & 1
    return b"".join(
        (
            struct.pack("<4sI8sI", b"RIFF", 12 + size + pad, b"WEBPVP8 ", size),
            tag, b"\x9d\x01\x2a", struct.pack("<HH", width, height), payload[3:], bytes(pad),
        )
    )  # fmt: skip


# ---------------------------------------------------------------- AVIF (ISO 23000-22), one AV1 item

_TEMPORAL_DELIMITER = b"\x12\x00"


def _box(kind: bytes, *body: bytes) -> bytes:
    data = b"".join(body)
    return struct.pack(">I", len(data) + 8) + kind + data


def _avif_head(shape: Shape, config: bytes, data_bytes: int) -> bytes:
    """All boxes before the AV1 data. `config` holds bytes 1..3 of av1C: profile and level, flags, delay."""
    height, width, channels = shape
    profile = config[0] >> 5
    brand = b"MA1B" if profile == 0 else b"MA1A"
    ftyp = _box(b"ftyp", b"avif\0\0\0\0avifmif1miaf", brand if channels == 3 else b"")
    ipco = _box(
        b"ipco",
        _box(b"ispe", struct.pack(">III", 0, width, height)),
        _box(b"pixi", struct.pack(">IB", 0, channels), b"\x08" * channels),
        _box(b"av1C", b"\x81", config),
        _box(b"colr", b"nclx\x00\x01\x00\x0d\x00\x06\x80"),
    )
    infe = _box(b"infe", bytes.fromhex("0200000000010000"), b"av01Color\0")
    ipma = _box(b"ipma", bytes.fromhex("000000000000000100010401028304"))

    def meta(offset: int) -> bytes:
        return _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8), b"pict", bytes(13)),
            _box(b"pitm", bytes.fromhex("000000000001")),
            _box(b"iloc", bytes.fromhex("0000000044000001000100000001"), struct.pack(">II", offset, data_bytes)),
            _box(b"iinf", bytes.fromhex("000000000001"), infe),
            _box(b"iprp", ipco, ipma),
        )

    offset = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(offset) + struct.pack(">I4s", data_bytes + 8, b"mdat")


def _trim_avif(file: bytes, shape: Shape, quality: float) -> bytes | None:
    at, data = file.find(b"av1C\x81"), file.find(b"mdat" + _TEMPORAL_DELIMITER)
    if at < 0 or data < at:
        return None
    return file[at + 5 : at + 8] + file[data + 6 :]


def _restore_avif(payload: memoryview, shape: Shape, quality: int) -> bytes:
    config = bytes(_field(payload, 3))
    data = payload[3:]
    if len(data) > 0xFFFFFF00:
        raise FormatError(f"trimmed AVIF has {len(data)} bytes, expected less than 2^32")
    return b"".join((_avif_head(shape, config, len(data) + 2), _TEMPORAL_DELIMITER, data))


# ---------------------------------------------------------------- HEIC (ISO 23008-12), libheif and x265, one HEVC image

# By chroma_format_idc: profile, compatibility and constraint flags; brand; chroma_format_idc in the SPS; its colours.
_HEVC = {
    0: (bytes.fromhex("04080000009ff800000000"), b"heix", "1", ""),
    1: (bytes.fromhex("0370000000900000000000"), b"heic", "010", "100000001000011010000011"),
    3: (bytes.fromhex("04080000009e3800000000"), b"heix", "001000", "100000001000011010000011"),
}
# Three choices of block sizes, which x265 makes by the size of the image.
_HEVC_BLOCKS = ("01010111", "0111001001", "001001001001")
_HEVC_TIMING = "0000001000000000000000000000000000110010000000000000000000000000000000100001"


def _golomb(value: int) -> str:
    """ue(v) of HEVC."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _escaped(data: bytes) -> bytes:
    """The bytes of a NAL unit: a 3 between two zeros and a byte of 0 to 3."""
    out, zeros = bytearray(), 0
    for byte in data:
        if zeros == 2 and byte < 4:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)


def _heic_head(shape: Shape, way: int, level: int, pps: bytes, data_bytes: int) -> bytes:
    """All boxes up to the NAL header of the slice. `way` is chroma_format_idc + 4 x the block sizes + 16 if miaf."""
    height, width, channels = shape
    chroma, blocks = way & 3, _HEVC_BLOCKS[way >> 2 & 3]
    profile, brand, chroma_bits, colours = _HEVC[chroma]
    profile += bytes((level,))
    # libheif makes sides even and at least 64, x265 multiples of 8.
    even = [max(64, side + side % 2) for side in (width, height)]
    coded = [side + -side % 8 for side in even]
    cuts = [(b - a) // (2 if chroma == 1 else 1) for a, b in zip(even, coded, strict=True)]
    window = "".join(("1", *map(_golomb, (0, cuts[0], 0, cuts[1])))) if any(cuts) else "0"
    bits = "".join(
        (
            "1", chroma_bits, *map(_golomb, coded), window, "1100101101110101", blocks, "0100110101110011011",
            colours, _HEVC_TIMING,
        )
    )  # fmt: skip
    bits += "0" * (-len(bits) % 8)
    sets = (
        b"\x40\x01\x0c\x01\xff\xff" + profile + b"\xba\x02\x40",
        b"\x42\x01\x01" + profile + int(bits, 2).to_bytes(len(bits) // 8, "big"),
    )
    config = b"\x01" + profile + bytes((0xF0, 0, 0xFC, 0xFC | chroma, 0xF8, 0xF8, 0, 0, 0x0F, 3))
    for kind, unit in zip((0x60, 0x61, 0x62), (*map(_escaped, sets), b"\x44\x01" + pps), strict=True):
        config += struct.pack(">BHH", kind, 1, len(unit)) + unit
    crop = even != [width, height]
    clap = struct.pack(">4I", width, 1, height, 1) + struct.pack(">iIiI", width - even[0], 2, height - even[1], 2)
    ipco = _box(
        b"ipco",
        _box(b"hvcC", config),
        _box(b"colr", b"nclx\x00\x01\x00\x0d\x00\x06\x80"),
        _box(b"ispe", struct.pack(">III", 0, *even)),
        _box(b"clap", clap) if crop else b"",
        _box(b"pixi", struct.pack(">IB", 0, channels), b"\x08" * channels),
    )
    properties = bytes.fromhex("058102030584" if crop else "0481020304")
    ipma = _box(b"ipma", bytes.fromhex("00000000000000010001"), properties)
    ftyp = _box(b"ftyp", brand, bytes(4), b"mif1", brand, b"miaf" if way & 16 else b"")

    def meta(offset: int) -> bytes:
        place = struct.pack(">IHII", offset, 1, 0, data_bytes + 6)
        return _box(
            b"meta",
            bytes(4),
            _box(b"hdlr", bytes(8), b"pict", bytes(13)),
            _box(b"iloc", bytes.fromhex("000000004440000100010000"), place),
            _box(b"iinf", bytes.fromhex("000000000001"), _box(b"infe", bytes.fromhex("0200000000010000"), b"hvc1\0")),
            _box(b"pitm", bytes.fromhex("000000000001")),
            _box(b"iprp", ipco, ipma),
        )

    offset = len(ftyp) + len(meta(0)) + 8
    head = ftyp + meta(offset)
    return head + struct.pack(">I4sI", data_bytes + 14, b"mdat", data_bytes + 2) + b"\x28\x01"


def _trim_heic(file: bytes, shape: Shape, quality: float) -> bytes | None:
    config, pps, data = file.find(b"hvcC"), file.find(b"\x62\0\1\0"), file.find(b"mdat")
    if config < 0 or not config < pps < data:
        return None
    size = file[pps + 4] - 2
    tail = file[pps + 7 : pps + 7 + size], file[data + 10 :]
    for blocks in range(len(_HEVC_BLOCKS)):
        way = file[config + 20] & 3 | blocks << 2 | 16 * (file[20:24] == b"miaf" or file[24:28] == b"miaf")
        payload = b"".join((bytes((way, file[config + 16], len(tail[0]))), *tail))
        with contextlib.suppress(FormatError):
            if _restore_heic(memoryview(payload), shape, int(quality)) == file:
                return payload
    return None


def _restore_heic(payload: memoryview, shape: Shape, quality: int) -> bytes:
    reader = Reader(payload)
    way, level = reader.byte("HEIC parameters"), reader.byte("HEIC level")
    if (way & 3) not in _HEVC or (way >> 2 & 3) >= len(_HEVC_BLOCKS) or way >= 32 or max(shape[:2]) > 16384:
        raise FormatError(f"trimmed HEIC has parameters {way} and size {shape[1]} x {shape[0]}")
    pps = bytes(reader.take(reader.byte("length of the PPS"), "PPS"))
    data = reader.take(len(payload) - reader.at, "slice")
    if len(data) > 0xFFFFFF00:
        raise FormatError(f"trimmed HEIC has {len(data)} bytes, expected less than 2^32")
    return b"".join((_heic_head(shape, way, level, pps, len(data)), data))


# ---------------------------------------------------------------- JPEG 2000 codestream (T.800)

# QCD of OpenJPEG for the 9/7 wavelet, 8 bits, 5 decompositions: the step of each sub-band.
_QCD = bytes.fromhex("ff5c002342772076f076f076c06f006f006ee067506750676850055005504757d357d35762")


def jpeg2000_start(shape: Shape) -> bytes:
    """SOC and SIZ of an 8-bit image in one tile without sub-sampling."""
    height, width, channels = shape
    siz = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, width, height, 0, 0, channels)
    siz += b"\x07\x01\x01" * channels
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(siz) + 2) + siz


def _jpeg2000_head(shape: Shape, planes: bool) -> bytes:
    cod = bytes.fromhex("ff52000c00000001") + bytes((shape[2] == 3 and not planes, 5, 4, 4, 0, 0))
    return jpeg2000_start(shape) + cod + _QCD


def _trim_jpeg2000(file: bytes, shape: Shape, quality: float, *, planes: bool = False) -> bytes | None:
    return file[len(_jpeg2000_head(shape, planes)) + 14 : -2]


def _restore_jpeg2000(payload: memoryview, shape: Shape, quality: int, *, planes: bool = False) -> bytes:
    if len(payload) > 0xFFFFFF00:
        raise FormatError(f"trimmed JPEG 2000 has {len(payload)} bytes, expected less than 2^32")
    sot = struct.pack(">HHHIBB", 0xFF90, 10, 0, len(payload) + 14, 0, 1)
    return b"".join((_jpeg2000_head(shape, planes), sot, b"\xff\x93", payload, b"\xff\xd9"))


# ----------------------------------------------------------------


@dataclass(frozen=True)
class Trimmer:
    """`cut` takes out what `restore` knows; it may guess, `trim` checks."""

    cut: Callable[[bytes, Shape, float], bytes | None]
    restore: Callable[[memoryview, Shape, int], bytes]

    def trim(self, file: bytes, shape: Shape, quality: float) -> bytes | None:
        """The trimmed payload, None when `restore` would not give exactly `file`."""
        payload = self.cut(file, shape, quality)
        try:
            exact = payload is not None and self.restore(memoryview(payload), shape, int(quality)) == file
        except FormatError:
            exact = False
        return payload if exact else None


JPEG = Trimmer(_trim_jpeg, _restore_jpeg)
WEBP = Trimmer(_trim_webp, _restore_webp)
AVIF = Trimmer(_trim_avif, _restore_avif)
HEIC = Trimmer(_trim_heic, _restore_heic)
JPEG2000 = Trimmer(_trim_jpeg2000, _restore_jpeg2000)
JPEG2000_PLANES = Trimmer(partial(_trim_jpeg2000, planes=True), partial(_restore_jpeg2000, planes=True))


def _field(payload: memoryview, n: int) -> memoryview:
    if len(payload) < n:
        raise FormatError(f"trimmed payload has {len(payload)} bytes, expected at least {n}")
    return payload[:n]
