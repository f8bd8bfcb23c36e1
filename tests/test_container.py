# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The bytes of a stream: layout, limits, damage."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from fastcodec import ChecksumError, FormatError, LimitError, Limits, TruncatedError
from fastcodec import container as c
from fastcodec._core import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

HEADER = c.Header(width=768, height=512, channels=3, codec=1, quality=30, inner_crc=0x01020304)
NETWORKS = c.Networks(scale=2, level=3, model_id=b"8 bytes!")
PAYLOAD = bytes(range(200)) * 40


def with_crc(data: bytes) -> bytes:
    return data + crc32c(data).to_bytes(4, "little")


def section(kind: int, body: bytes, length: bytes | None = None) -> bytes:
    return with_crc(bytes((kind,)) + (bytes((len(body),)) if length is None else length) + body)


def read(data: bytes, **limits: int) -> c.Stream:
    return c.read(data, Limits(**limits))


def test_crc_is_the_one_that_the_format_names() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_the_header_is_as_format_md_says() -> None:
    head = b"\xfcCD" + bytes((1, 1 | 4 | 8, 1, 0x80, 6, 0x80, 4, 30, 3)) + b"8 bytes!" + b"\x04\x03\x02\x01"
    assert c.write_header(replace(HEADER, networks=NETWORKS)) == with_crc(head)


@pytest.mark.parametrize(("networks", "most"), [(None, 27), (NETWORKS, 36)])
def test_a_photograph_costs_at_most_36_bytes(networks: c.Networks | None, most: int) -> None:
    for payload in (PAYLOAD, PAYLOAD * 20):
        header = replace(HEADER, networks=networks)
        extra = len(c.write_fcd(header, payload, None, {})) - len(payload)
        assert extra <= most


@given(
    width=st.integers(1, c.MAX_SIDE),
    height=st.integers(1, c.MAX_SIDE),
    channels=st.sampled_from((1, 3)),
    codec=st.integers(0, 255),
    quality=st.integers(1, 100),
    inner_crc=st.integers(0, 2**32 - 1),
    trimmed=st.booleans(),
    networks=st.none()
    | st.builds(c.Networks, st.sampled_from((1, 2)), st.integers(0, 255), st.binary(min_size=8, max_size=8)),
    alpha=st.none() | st.binary(),
    metadata=st.dictionaries(st.sampled_from(("icc", "exif", "xmp")), st.binary(min_size=1, max_size=300)),
    payload=st.binary(max_size=300),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(alpha: bytes | None, metadata: dict, payload: bytes, **fields: object) -> None:
    header = c.Header(alpha=alpha is not None, **fields)
    data = c.write_fcd(header, payload, alpha, metadata)
    stream = read(data, max_pixels=1 << 62)
    assert stream.header == header
    assert (bytes(stream.payload), stream.metadata, stream.container) == (payload, metadata, "fcd")
    assert stream.alpha == alpha
    assert stream.total_bytes == len(data)


def test_every_cut_is_truncated_and_every_addition_refused() -> None:
    data = c.write_fcd(replace(HEADER, alpha=True), PAYLOAD[:90], b"alpha", {"icc": b"profile", "xmp": b"x"})
    for n in range(len(data)):
        with pytest.raises(TruncatedError):
            read(data[:n])
    with pytest.raises(FormatError, match="1 bytes follow"):
        read(data + b"\0")


def test_every_changed_bit_is_noticed() -> None:
    data = c.write_fcd(replace(HEADER, alpha=True, networks=NETWORKS), PAYLOAD[:90], b"alpha", {"exif": b"MM"})
    for at in range(8 * len(data)):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(FormatError):
            read(bytes(changed))


# ---------------------------------------------------------------- hostile headers and sections, checksums right


def header_bytes(
    flags: int = 1, version: int = 1, size: bytes = b"\x10\x10", quality: int = 9, extra: bytes = b""
) -> bytes:
    return with_crc(b"\xfcCD" + bytes((version, flags, 1)) + size + bytes((quality,)) + extra + b"\0\0\0\0")


PAY = section(1, b"pay")


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        (b"", TruncatedError, "magic"),
        (b"PNG of somebody", FormatError, "starts with b'PNG'"),
        (header_bytes(version=2) + PAY, FormatError, "version is 2"),
        (header_bytes(flags=32) + PAY, FormatError, "flags are 0x20"),
        (header_bytes(flags=8) + PAY, FormatError, "scale 2 without networks"),
        (header_bytes(size=b"\0\x10") + PAY, FormatError, "width is 0"),
        (header_bytes(size=b"\x10\0") + PAY, FormatError, "height is 0"),
        (header_bytes(size=b"\x81\x80\x80\x80\x08\x10") + PAY, FormatError, "width is 2147483649"),
        (header_bytes(size=b"\x90\0\x10") + PAY, FormatError, "shortest-form"),
        (header_bytes(size=b"\xff" * 8) + PAY, FormatError, "shortest-form"),
        (header_bytes(quality=0) + PAY, FormatError, "quality is 0"),
        (header_bytes(quality=101) + PAY, FormatError, "quality is 101"),
        (header_bytes() + section(9, b"?") + PAY, FormatError, "unknown critical section 9"),
        (header_bytes() + section(128, b"a") + section(128, b"b") + PAY, FormatError, "icc occurs twice"),
        (header_bytes(flags=3) + PAY, FormatError, "alpha=True"),
        (header_bytes() + section(3, b"\0\0") + PAY, FormatError, "alpha=False"),
        (header_bytes() + section(2, b"\0\0\0\0\0"), FormatError, "payload outside"),
        (header_bytes() + section(1, b"pay", b"\x04"), TruncatedError, "CRC-32C of payload"),
        (header_bytes() + section(1, b"pay", b"\xff\xff\xff\xff\xff\xff\x7f"), TruncatedError, "562949953421311 bytes"),
    ],
)
def test_hostile_streams(data: bytes, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        read(data)


def test_unknown_optional_sections_are_skipped() -> None:
    stream = read(header_bytes() + section(200, b"later") + section(128, b"icc") + PAY)
    assert (stream.payload, stream.metadata) == (b"pay", {"icc": b"icc"})


@pytest.mark.parametrize(
    ("limit", "needed"),
    [("max_pixels", 256), ("max_bytes", 26 + 2 * 7 + 4 + 5), ("max_metadata", 4 + 5), ("max_sections", 3)],
)
def test_limits_hold_at_the_value_and_not_below(limit: str, needed: int) -> None:
    data = header_bytes() + section(200, b"1234") + section(128, b"12345") + PAY
    needed = len(data) if limit == "max_bytes" else needed
    assert read(data, **{limit: needed}).payload == b"pay"
    with pytest.raises(LimitError, match=f"limits=Limits\\({limit}={needed}\\)"):
        read(data, **{limit: needed - 1})


@pytest.mark.parametrize("value", [-1, 1.5, True, None])
def test_limits_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match="max_pixels must be an int"):
        Limits(max_pixels=value)  # type: ignore[arg-type]


# ---------------------------------------------------------------- plain JPEG


def jpeg(progressive: bool = True) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (16, 24, 3), np.uint8)
    Image.fromarray(pixels).save(out, "JPEG", quality=30, optimize=True, progressive=progressive)
    return out.getvalue()


JPEG_HEADER = c.Header(24, 16, 3, 1, 30, 7, networks=c.Networks(1, 2, b"8 bytes!"))
METADATA = {"icc": bytes(range(256)) * 600, "exif": b"II*\0\x08\0\0\0" + bytes(60), "xmp": b"<x:xmpmeta/>"}


def test_jpeg_container_round_trip() -> None:
    alpha = bytes(range(256)) * 300
    data = c.write_jpeg(replace(JPEG_HEADER, alpha=True), jpeg(), alpha, METADATA)
    stream = read(data)
    assert stream.header == replace(JPEG_HEADER, alpha=True)
    assert (stream.container, stream.payload, stream.alpha) == ("jpeg", jpeg(), alpha)
    assert stream.metadata == METADATA
    with Image.open(io.BytesIO(data)) as seen, Image.open(io.BytesIO(jpeg())) as plain:
        assert np.array_equal(np.asarray(seen), np.asarray(plain))
        assert seen.info["icc_profile"] == METADATA["icc"]
        assert seen.info["exif"] == b"Exif\0\0" + METADATA["exif"]
        assert seen.info["xmp"] == METADATA["xmp"]


def test_every_byte_of_the_jpeg_is_covered() -> None:
    data = c.write_jpeg(JPEG_HEADER, jpeg(), None, {"exif": b"II*\0"})
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x40
        with pytest.raises(FormatError):
            read(bytes(changed))
        with pytest.raises(FormatError):
            read(data[:at])
    with pytest.raises(ChecksumError):
        read(data + b"\0")


def test_a_cut_jpeg_is_truncated() -> None:
    data = c.write_jpeg(JPEG_HEADER, jpeg(), None, {})
    with pytest.raises(TruncatedError, match="expected"):
        read(data[:-1])


def test_jpeg_segments_out_of_order() -> None:
    data = c.write_jpeg(replace(JPEG_HEADER, alpha=True), jpeg(), bytes(70000), {})
    first = data.index(b"fastcodec\0\0\2") - 4
    second = data.index(b"fastcodec\0\1\2") - 4
    end = second + 2 + int.from_bytes(data[second + 2 : second + 4], "big")
    swapped = data[:first] + data[second:end] + data[first:second] + data[end:]
    with pytest.raises(FormatError, match="out of order"):
        read(swapped)
    with pytest.raises(FormatError, match="out of order"):
        read(data[:second] + data[end:])


def test_jpeg_without_our_segment() -> None:
    with pytest.raises(FormatError, match="plain JPEG without fastcodec's segment"):
        read(jpeg())


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\xff", "JPEG start"),
        (b"\xff\xd7", "not a fastcodec stream"),
        (b"\xff\xd8\xff\xe0\0\1", "length 1"),
        (b"\xff\xd8\xff\xd9", "not that of a segment"),
        (b"\xff\xd8" + b"\xff\xe1\0\2" * 5000, "more than 4096"),
    ],
)
def test_broken_jpeg(data: bytes, match: str) -> None:
    with pytest.raises(FormatError, match=match):
        read(data)


def test_jpeg_metadata_that_does_not_fit_or_is_too_much() -> None:
    with pytest.raises(ValueError, match="container='fcd' or metadata=False"):
        c.write_jpeg(JPEG_HEADER, jpeg(), None, {"exif": bytes(70000)})
    data = c.write_jpeg(JPEG_HEADER, jpeg(), None, METADATA)
    with pytest.raises(LimitError, match="max_metadata"):
        read(data, max_metadata=1000)
    foreign = b"\xff\xea\x40\0" + bytes(0x3FFE)  # APP10, but not ours
    with pytest.raises(LimitError, match="max_metadata"):
        read(c.write_jpeg(JPEG_HEADER, jpeg()[:2] + foreign + jpeg()[2:], None, {}), max_metadata=1000)
