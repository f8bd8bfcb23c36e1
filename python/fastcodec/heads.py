# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""What an inner codec's file says about its size, read before its decoder sees the file.

The libraries check less than a hostile file needs, or only after they have taken the memory. Each function
returns (height, width) or raises CodecError; what it does not know it refuses.
"""

from __future__ import annotations

import re
import struct

from .errors import CodecError


def webp_size(file: bytes) -> tuple[int, int]:
    """(height, width) of a still WebP, lossy or lossless."""
    kind, head = file[12:16], file[20:30]
    if file[:4] != b"RIFF" or file[8:12] != b"WEBP" or len(head) < 10:
        raise CodecError("the payload is not a WebP file")
    if kind == b"VP8 ":
        return int.from_bytes(head[8:10], "little") & 0x3FFF, int.from_bytes(head[6:8], "little") & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    raise CodecError(f"the payload is a WebP with a {kind!r} chunk first, expected a plain still image")


def avif_data(file: bytes) -> bytes:
    """The AV1 data of a file of the boxes ftyp, meta and mdat, whose only item is all of mdat."""
    at = start = 0
    boxes: list[bytes] = []
    while at + 8 <= len(file) and len(boxes) < 3:
        boxes.append(file[at + 4 : at + 8])
        start, at = at, at + max(8, int.from_bytes(file[at : at + 4], "big"))
    if boxes == [b"ftyp", b"meta", b"mdat"] and at == len(file):
        data = file[start + 8 :]
        places = [match.start() for match in re.finditer(b"iloc", file[:start])]
        place = bytes.fromhex("0000000044000001000100000001") + struct.pack(">II", start + 8, len(data))
        if len(places) == 1 and file[places[0] + 4 :].startswith(place):
            return data
    raise CodecError("the payload is not an AVIF file of ftyp, meta and one mdat with one item")


def av1_size(data: bytes) -> tuple[int, int]:
    """(height, width) in the only AV1 sequence header of `data`, the largest that its frames may have."""
    at = 0
    headers: list[bytes] = []
    while at < len(data):
        kind, size, shift, at = data[at], 0, 0, at + (2 if data[at] & 4 else 1)
        while kind & 2 and at < len(data) and shift < 35:
            size |= (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                break
        size = size if kind & 2 else len(data) - at
        headers += [data[at : at + size]] if kind >> 3 & 15 == 1 else []
        at += size
    if len(headers) != 1 or len(headers[0]) < 6 or at != len(data):
        raise CodecError(f"the payload's AV1 data has {len(headers)} sequence headers, expected 1")
    n_bits = 8 * len(headers[0])
    bits = int.from_bytes(headers[0], "big")

    def take(n: int) -> int:
        nonlocal n_bits
        n_bits -= n
        return bits >> n_bits & (1 << n) - 1 if n_bits >= 0 else 0

    take(4)  # profile, still picture
    if take(1):  # the short header of still pictures
        take(5)
    elif take(7):  # timing, display delay, further operating points
        raise CodecError("the payload's AV1 data is not a still picture")
    else:
        take(12)
        if take(5) > 7:
            take(1)
    w_bits, h_bits = take(4) + 1, take(4) + 1
    width, height = take(w_bits) + 1, take(h_bits) + 1
    return height, width


# Any progression; 1 layer; with or without colour transform; decompositions; code-blocks, style, wavelet; QCD.
_COD = re.compile(rb"\xff\x52\x00\x0c\x00[\x00-\x04]\x00\x01[\x00\x01][\x00-\x05]\x04\x04\x00[\x00\x01]\xff\x5c")


def check_jpeg2000(file: bytes, start: bytes) -> None:
    """Raises CodecError unless `file` is `start` (SOC and SIZ), COD, QCD and one tile-part up to EOC.

    COD must ask for one layer and code-blocks of 64 x 64 without precincts: those of 2 x 2 pixels, for example,
    would cost the decoder 1,700 bytes a pixel.
    """
    cod = _COD.match(file, len(start))
    if file.startswith(start) and cod:
        tile = cod.end() + int.from_bytes(file[cod.end() : cod.end() + 2], "big")
        sot = b"\xff\x90\0\x0a\0\0" + struct.pack(">I", max(0, len(file) - 2 - tile)) + b"\0\1\xff\x93"
        if file.startswith(sot, tile) and file.endswith(b"\xff\xd9"):
            return
    raise CodecError("the payload is not a JPEG 2000 codestream of this size in one tile without precincts")


_JXL_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def jxl_size(file: bytes) -> tuple[int, int]:
    """(height, width) in the head of a JPEG XL codestream; CodecError unless it is one plain image of 8 bits."""
    if file[:2] != b"\xff\x0a":
        raise CodecError("the payload is not a JPEG XL codestream")
    bits = int.from_bytes(file[2:18], "little")

    def take(n: int) -> int:
        nonlocal bits
        value, bits = bits & (1 << n) - 1, bits >> n
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height, ratio = side(), take(3)
    width = height * _JXL_RATIOS[ratio - 1][0] // _JXL_RATIOS[ratio - 1][1] if ratio else side()
    if not take(1):  # not all metadata is the default, which is RGB of 8 bits and nothing else
        extra_fields, is_float, depth, _, extra_channels = take(1), take(1), take(2), take(1), take(2)
        if extra_fields or is_float or depth or extra_channels:
            raise CodecError("the payload is not one plain JPEG XL image of 8 bits without extra channels")
    return height, width
