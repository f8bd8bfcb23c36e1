# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The bytes of a stream: the .fcd container and the plain-JPEG container. FORMAT.md is the authority.

Everything read here is hostile: each length is checked against the bytes that are there, and against
the caller's limits, before anything is sliced or allocated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ._core import crc32c
from .errors import ChecksumError, FormatError, LimitError, TruncatedError

MAGIC = b"\xfcCD"
VERSION = 1

# Section types. Below 128: critical, a reader that does not know it must refuse the stream.
PAYLOAD, OUTSIDE, ALPHA = 1, 2, 3
ICC, EXIF, XMP = 128, 129, 130
METADATA_NAMES = {ICC: "icc", EXIF: "exif", XMP: "xmp"}
_NAMES = {PAYLOAD: "payload", OUTSIDE: "outside", ALPHA: "alpha", **METADATA_NAMES}
_FIRST_OPTIONAL = 128

_COLOR, _ALPHA, _NETWORKS, _HALF, _TRIMMED = 1, 2, 4, 8, 16
_KNOWN_FLAGS = 31
MAX_SIDE = (1 << 31) - 1
MAX_QUALITY = 100
MODEL_ID_BYTES = 8

_APP0, _APP10, _SOS = 0xE0, 0xEA, 0xDA
_MAX_SEGMENTS = 4096
_JPEG_ID = b"fastcodec\0"
_JPEG_CHUNK = 65533 - len(_JPEG_ID) - 2
_EXIF_ID, _XMP_ID, _ICC_ID = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"


@dataclass(frozen=True)
class Limits:
    """What a decoder may spend on one stream; each is checked before anything is allocated.

    Args:
        max_pixels: width times height of the image.
        max_bytes: size of the stream.
        max_memory: estimate of the bytes that decoding holds at its peak.
        max_metadata: ICC, EXIF, XMP and unknown optional sections together.
        max_sections: number of sections.
    """

    max_pixels: int = 1 << 28
    max_bytes: int = 1 << 30
    max_memory: int = 4 << 30
    max_metadata: int = 16 << 20
    max_sections: int = 64

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"Limits.{item.name} must be an int of 0 or more, got {value!r}")

    def check(self, name: str, value: int, what: str) -> None:
        """Raises LimitError when `value` is above the limit `name`; `what` says what asked for it."""
        limit = getattr(self, name)
        if value > limit:
            raise LimitError(
                f"{what} needs {value}, {name} allows {limit}; if you trust the stream, "
                f"pass limits=Limits({name}={value})"
            )


@dataclass(frozen=True)
class Networks:
    """How the networks take part: scale denominator (1 or 2), row of the level tables, model id."""

    scale: int
    level: int
    model_id: bytes


@dataclass(frozen=True)
class Header:
    """What a stream says about its image.

    `channels` is 1 or 3, alpha not counted. `inner_crc` is the CRC-32C of the image that the inner
    codec decodes, rows from the top, channels interleaved; of codec range, that of the first tile's latents.
    """

    width: int
    height: int
    channels: int
    codec: int
    quality: int
    inner_crc: int
    alpha: bool = False
    trimmed: bool = False
    networks: Networks | None = None

    @property
    def scale(self) -> int:
        """1, or 2 where the inner image has half of the size."""
        return 1 if self.networks is None else self.networks.scale

    @property
    def inner_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the image inside the payload."""
        s = self.scale
        return (-(-self.height // s), -(-self.width // s), self.channels)


@dataclass(frozen=True)
class Stream:
    """A parsed stream; the buffers are views of the caller's bytes where that is possible."""

    header: Header
    payload: bytes | memoryview
    total_bytes: int
    container: str = "fcd"
    alpha: bytes | memoryview | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)
    version: int = VERSION


# ---------------------------------------------------------------- reader and writer of the parts


class Reader:
    """Takes fields off the front of a buffer; every step checks that the bytes are there."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.at = 0

    def take(self, n: int, what: str) -> memoryview:
        """The next n bytes; TruncatedError, which says `what`, where there are fewer."""
        if n > len(self.data) - self.at:
            raise TruncatedError(
                f"{what}: {n} bytes expected at offset {self.at}, the stream has {len(self.data) - self.at} left; "
                "it was cut off or damaged"
            )
        self.at += n
        return self.data[self.at - n : self.at]

    def byte(self, what: str) -> int:
        """The next byte."""
        return self.take(1, what)[0]

    def uint32(self, what: str) -> int:
        """The next four bytes, the lowest first."""
        return int.from_bytes(self.take(4, what), "little")

    def varint(self, what: str) -> int:
        """The next number as `varint` writes it; FormatError for 50 bits or more, or a zero byte at its end."""
        value = 0
        for shift in range(0, 49, 7):
            byte = self.byte(what)
            value |= (byte & 127) << shift
            if byte < 128:
                if byte == 0 and shift:
                    break
                return value
        raise FormatError(f"{what} at offset {self.at} is not a shortest-form varint of at most 7 bytes")

    def check_crc(self, start: int, what: str) -> None:
        """Reads a CRC-32C and compares it with that of the bytes from `start` to here."""
        found = crc32c(self.data[start : self.at])
        stored = self.uint32(f"CRC-32C of {what}")
        if found != stored:
            raise ChecksumError(f"{what}: CRC-32C {stored:08x} stored, {found:08x} found; the stream is damaged")


def varint(value: int) -> bytes:
    """7 bits a byte, the lowest first; the top bit says that another byte follows."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _with_crc(data: bytes) -> bytes:
    return data + int(crc32c(data)).to_bytes(4, "little")


def _section(kind: int, body: bytes | memoryview) -> bytes:
    return _with_crc(b"".join((bytes((kind,)), varint(len(body)), body)))


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise FormatError(f"{name} is {value}, expected {low} to {high}; the stream is damaged or hostile")


# ---------------------------------------------------------------- header


def write_header(header: Header) -> bytes:
    """The header's bytes, from the magic to its CRC-32C."""
    networks = header.networks
    flags = (
        (_COLOR if header.channels == 3 else 0)
        | (_ALPHA if header.alpha else 0)
        | (_NETWORKS if networks else 0)
        | (_HALF if header.scale == 2 else 0)
        | (_TRIMMED if header.trimmed else 0)
    )
    out = bytearray(MAGIC)
    out += bytes((VERSION, flags, header.codec))
    out += varint(header.width) + varint(header.height)
    out.append(header.quality)
    if networks:
        if len(networks.model_id) != MODEL_ID_BYTES:
            raise ValueError(f"model_id must have {MODEL_ID_BYTES} bytes, got {len(networks.model_id)}")
        out.append(networks.level)
        out += networks.model_id
    out += header.inner_crc.to_bytes(4, "little")
    return _with_crc(bytes(out))


def _read_header(reader: Reader, limits: Limits) -> Header:
    start = reader.at
    magic = bytes(reader.take(min(len(MAGIC), max(1, len(reader.data))), "magic"))
    if not MAGIC.startswith(magic):
        raise FormatError(f"not a fastcodec stream: it starts with {magic!r}, expected {MAGIC!r}")
    reader.take(len(MAGIC) - len(magic), "magic")
    version = reader.byte("version")
    if version != VERSION:
        raise FormatError(f"format version is {version}, this build reads {VERSION}; a newer fastcodec may read it")
    flags = reader.byte("flags")
    codec = reader.byte("codec id")
    width, height = reader.varint("width"), reader.varint("height")
    quality = reader.byte("quality")
    networks = None
    if flags & _NETWORKS:
        level = reader.byte("level")
        networks = Networks(2 if flags & _HALF else 1, level, bytes(reader.take(MODEL_ID_BYTES, "model id")))
    inner_crc = reader.uint32("CRC-32C of the inner image")
    reader.check_crc(start, "header")

    if flags & ~_KNOWN_FLAGS:
        raise FormatError(f"flags are {flags:#x}, bits above {_KNOWN_FLAGS:#x} are unknown; a newer fastcodec may know")
    if flags & _HALF and networks is None:
        raise FormatError("flags ask for scale 2 without networks, which nothing can undo")
    _check_range("width", width, 1, MAX_SIDE)
    _check_range("height", height, 1, MAX_SIDE)
    _check_range("quality", quality, 1, MAX_QUALITY)
    limits.check("max_pixels", width * height, f"image of {width} x {height}")
    return Header(
        width, height, 3 if flags & _COLOR else 1, codec, quality, inner_crc,
        alpha=bool(flags & _ALPHA), trimmed=bool(flags & _TRIMMED), networks=networks,
    )  # fmt: skip


# ---------------------------------------------------------------- .fcd


def _write_stream(header: Header, kind: int, body: bytes, alpha: bytes | None, metadata: dict[str, bytes]) -> bytes:
    if header.alpha != (alpha is not None):
        raise ValueError("header.alpha must say whether there is an alpha section")
    parts = [write_header(header)]
    parts += [_section(number, metadata[name]) for number, name in METADATA_NAMES.items() if metadata.get(name)]
    if alpha is not None:
        parts.append(_section(ALPHA, alpha))
    parts.append(_section(kind, body))
    return b"".join(parts)


def write_fcd(header: Header, payload: bytes, alpha: bytes | None, metadata: dict[str, bytes]) -> bytes:
    """A whole .fcd stream. `metadata` maps icc, exif, xmp to bytes; empty ones are left out."""
    return _write_stream(header, PAYLOAD, payload, alpha, metadata)


def _read_sections(header: Header, reader: Reader, limits: Limits) -> dict[int, memoryview]:
    """All sections up to the last one, PAYLOAD or OUTSIDE, which must end the stream."""
    sections: dict[int, memoryview] = {}
    optional_bytes = 0
    for count in range(1, limits.max_sections + 2):
        limits.check("max_sections", count, "stream")
        start = reader.at
        kind = reader.byte("section type")
        name = _NAMES.get(kind, f"section {kind}")
        size = reader.varint(f"length of {name}")
        if kind >= _FIRST_OPTIONAL:
            optional_bytes += size
            limits.check("max_metadata", optional_bytes, "metadata")
        body = reader.take(size, name)
        reader.check_crc(start, name)
        if kind in sections:
            raise FormatError(f"{name} occurs twice at offset {start}; expected once")
        if kind < _FIRST_OPTIONAL and kind not in _NAMES:
            raise FormatError(f"unknown critical section {kind} at offset {start}; a newer fastcodec may read it")
        sections[kind] = body
        if kind in (PAYLOAD, OUTSIDE):
            break
    if reader.at != len(reader.data):
        raise FormatError(f"{len(reader.data) - reader.at} bytes follow the end of the stream; expected none")
    if header.alpha != (ALPHA in sections):
        raise FormatError(f"the header says alpha={header.alpha}, the sections say {ALPHA in sections}")
    return sections


def read(data: bytes | memoryview, limits: Limits) -> Stream:
    """Parses and checks everything but the pixels.

    Raises:
        FormatError (TruncatedError, ChecksumError): the bytes are not a valid stream.
        LimitError: the stream asks for more than `limits`.
    """
    view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
    limits.check("max_bytes", len(view), "stream")
    if len(view) and view[0] == 0xFF:
        return _read_jpeg(view, limits)
    reader = Reader(view)
    header = _read_header(reader, limits)
    sections = _read_sections(header, reader, limits)
    if PAYLOAD not in sections:
        raise FormatError("the stream points to a payload outside, which only the plain-JPEG container has")
    metadata = {name: bytes(sections[kind]) for kind, name in METADATA_NAMES.items() if kind in sections}
    return Stream(header, sections[PAYLOAD], len(view), "fcd", sections.get(ALPHA), metadata)


# ---------------------------------------------------------------- plain JPEG


def _segment(marker: int, body: bytes, what: str) -> bytes:
    if len(body) > 65533:
        raise ValueError(
            f"{what} takes {len(body)} bytes, a JPEG segment holds 65533; use container='fcd' or metadata=False"
        )
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _chunks(data: bytes, size: int, what: str) -> list[bytes]:
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    if len(parts) > 255:
        raise ValueError(f"{what} takes {len(data)} bytes, 255 JPEG segments hold {255 * size}; use container='fcd'")
    return parts


def _metadata_segments(metadata: dict[str, bytes]) -> bytes:
    out = b""
    if exif := metadata.get("exif"):
        out += _segment(0xE1, _EXIF_ID + exif, "EXIF")
    if xmp := metadata.get("xmp"):
        out += _segment(0xE1, _XMP_ID + xmp, "XMP")
    parts = _chunks(metadata.get("icc", b""), 65533 - len(_ICC_ID) - 2, "ICC profile")
    for number, part in enumerate(parts, 1):
        out += _segment(0xE2, _ICC_ID + bytes((number, len(parts))) + part, "ICC profile")
    return out


def write_jpeg(header: Header, file: bytes, alpha: bytes | None, metadata: dict[str, bytes]) -> bytes:
    """The JPEG file `file` with metadata and the stream's header in APP segments.

    Viewers show the inner image; our decoder finds the segments and runs the networks.
    """
    body_at = next(segment.start for segment in _walk_jpeg(memoryview(file)) if segment.marker != _APP0)
    rest_head = file[:body_at] + _metadata_segments(metadata)
    rest_tail = file[body_at:]
    outside = _outside(rest_head, rest_tail)
    stream = _write_stream(header, OUTSIDE, outside, alpha, {})
    parts = _chunks(stream, _JPEG_CHUNK, "alpha")
    ours = b"".join(
        _segment(_APP10, _JPEG_ID + bytes((number, len(parts))) + part, "stream") for number, part in enumerate(parts)
    )
    return rest_head + ours + rest_tail


def _outside(*parts: bytes | memoryview) -> bytes:
    """Body of an OUTSIDE section: length and CRC-32C of the file without our segments."""
    crc = 0
    for part in parts:
        crc = crc32c(part, crc)
    return varint(sum(len(part) for part in parts)) + crc.to_bytes(4, "little")


def _check_outside(body: memoryview, rest: list[memoryview]) -> None:
    reader = Reader(body)
    size, found = reader.varint("size of the JPEG file"), sum(len(part) for part in rest)
    if found < size:
        raise TruncatedError(f"the JPEG file around fastcodec's segments has {found} bytes, expected {size}")
    if body != _outside(*rest):
        raise ChecksumError("the JPEG file around fastcodec's segments was changed: its size or CRC-32C differs")


@dataclass(frozen=True)
class _Segment:
    marker: int
    start: int
    body: memoryview
    end: int


def _walk_jpeg(view: memoryview) -> list[_Segment]:
    """The marker segments of a JPEG file from SOI up to and with the first SOS."""
    reader = Reader(view)
    if bytes(reader.take(2, "JPEG start")) != b"\xff\xd8":
        raise FormatError(f"not a fastcodec stream: it starts with {bytes(view[:2])!r}")
    out: list[_Segment] = []
    while not out or out[-1].marker != _SOS:
        if len(out) == _MAX_SEGMENTS:
            raise FormatError(f"more than {_MAX_SEGMENTS} segments before the JPEG's first scan")
        start = reader.at
        mark, marker = reader.take(2, "JPEG marker")
        if mark != 0xFF or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9:
            raise FormatError(f"JPEG marker {mark:02x}{marker:02x} at offset {start} is not that of a segment")
        size = int.from_bytes(reader.take(2, "JPEG segment length"), "big")
        if size < 2:
            raise FormatError(f"JPEG segment at offset {start} has length {size}, expected at least 2")
        body = reader.take(size - 2, "JPEG segment")
        out.append(_Segment(marker, start, body, reader.at))
    return out


def _is_ours(segment: _Segment) -> bool:
    return segment.marker == _APP10 and segment.body[: len(_JPEG_ID)] == _JPEG_ID


def _is_app(segment: _Segment) -> bool:
    """Application data or a comment: nothing that the pixels need."""
    return 0xE0 <= segment.marker <= 0xEF or segment.marker == 0xFE


def _join_ours(segments: list[_Segment]) -> bytes:
    """The stream that our APP10 segments hold."""
    ours = [s for s in segments if _is_ours(s)]
    if not ours:
        raise FormatError("a plain JPEG without fastcodec's segment; open it with any JPEG reader")
    at = len(_JPEG_ID)
    for number, s in enumerate(ours):
        if len(s.body) < at + 2 or (s.body[at], s.body[at + 1]) != (number, len(ours)):
            raise FormatError(
                f"fastcodec segment at offset {s.start} is out of order, expected {number} of {len(ours)}"
            )
    return b"".join(s.body[at + 2 :] for s in ours)


def _jpeg_metadata(segments: list[_Segment]) -> dict[str, bytes]:
    out: dict[str, bytes] = {}
    icc = b""
    for s in segments:
        body = bytes(s.body) if s.marker in (0xE1, 0xE2) else b""
        if body.startswith(_EXIF_ID):
            out.setdefault("exif", body[len(_EXIF_ID) :])
        elif body.startswith(_XMP_ID):
            out.setdefault("xmp", body[len(_XMP_ID) :])
        elif body.startswith(_ICC_ID):
            icc += body[len(_ICC_ID) + 2 :]
    return {**out, **({"icc": icc} if icc else {})}


def _read_jpeg(view: memoryview, limits: Limits) -> Stream:
    segments = _walk_jpeg(view)
    reader = Reader(memoryview(_join_ours(segments)))
    header = _read_header(reader, limits)
    sections = _read_sections(header, reader, limits)
    if OUTSIDE not in sections:
        raise FormatError("the stream in the JPEG segments has its own payload; expected a pointer to the JPEG file")

    limits.check("max_metadata", sum(len(s.body) for s in segments if _is_app(s) and not _is_ours(s)), "metadata")
    rest, at = [], 0
    for s in segments:
        if _is_ours(s):
            rest.append(view[at : s.start])
            at = s.end
    rest.append(view[at:])
    _check_outside(sections[OUTSIDE], rest)

    tail = segments[-1].start
    kept = [view[s.start : s.end] for s in segments[:-1] if s.marker == _APP0 or not _is_app(s)]
    payload = b"".join([b"\xff\xd8", *kept, view[tail:]])
    return Stream(header, payload, len(view), "jpeg", sections.get(ALPHA), _jpeg_metadata(segments))
