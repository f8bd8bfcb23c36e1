# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The inner codecs: every entry of the table, their trimmed payloads, hostile files."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import struct
import subprocess
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fastcodec import CodecError, Error, FormatError, Limits, codecs, container, encode, trim
from fastcodec.codecs import ALPHA_CODECS, CODECS, Codec, _module_reason, by_id, by_name
from fastcodec.heads import av1_size, jxl_size
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

ALL = [pytest.param(codec, id=codec.name) for codec in CODECS.values() if codec.kind == "image"]
TRIMMED = [pytest.param(codec, id=codec.name) for codec in CODECS.values() if codec.trimmer]
SIZES = [(1, 1), (1, 70), (61, 2), (8, 8), (17, 31), (67, 53), (64, 96)]


def picture(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise: what codecs are made for."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 90 * np.sin(x / (9 + 3 * c) + c) * np.cos(y / (7 + c)) for c in range(channels)]
    noise = np.random.default_rng(seed).normal(0, 4, (height, width, channels))
    return np.clip(np.stack(waves, 2) + noise, 0, 255).astype(np.uint8)


def usable(codec: Codec) -> Codec:
    if reason := codec.reason():
        pytest.skip(reason)
    return codec


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(65025 / max(1e-9, np.mean((a.astype(float) - b) ** 2))))


def test_ids_and_names_are_those_of_format_md() -> None:
    names = {1: "jpeg", 2: "jpeg2000", 3: "webp", 4: "avif", 5: "heic", 6: "jxl", 7: "range"}
    assert {codec.id: name for name, codec in CODECS.items()} == names
    assert all(by_id(number) is by_name(name) for number, name in names.items())


def test_the_four_of_pillow_are_here() -> None:
    here = [status.name for status in codecs() if status.available]
    assert here[:4] == ["jpeg", "jpeg2000", "webp", "avif"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("codec", ALL)
def test_any_size_round_trips_through_its_trimmed_form(codec: Codec, channels: int) -> None:
    usable(codec)
    for size in SIZES:
        x = picture(*size, channels)
        for subsampling in codec.subsamplings or ("auto",):
            files = codec.encode_all(x, 85, subsampling)
            y = codec.decode(files[0], x.shape)
            assert (y.shape, y.dtype) == (x.shape, np.uint8)
            for file in files:
                trimmed = codec.trim(file, x.shape, 85)
                if trimmed is not None:
                    assert len(trimmed) < len(file)
                    assert codec.restore(memoryview(trimmed), x.shape, 85) == file
                assert np.array_equal(codec.decode(file, x.shape), y)
    assert psnr(x, y) > 25


@pytest.mark.parametrize("codec", TRIMMED)
def test_photographs_are_trimmed_at_every_quality(codec: Codec) -> None:
    usable(codec)
    least = {"jpeg": 140, "jpeg2000": 112, "webp": 27, "avif": 268, "heic": 365}[codec.name]
    for channels in (3,) if codec.name == "avif" else (1, 3):  # an old Pillow writes grey AVIF as colour
        x = picture(96, 128, channels)
        for quality in (1, 12, 49, 50, 77, 100) if codec.name != "jpeg" else range(1, 101):
            for file in codec.encode_all(x, quality):
                trimmed = codec.trim(file, x.shape, quality)
                assert trimmed is not None
                assert len(file) - len(trimmed) >= least + 70 * (codec.name == "jpeg" and trimmed[0] < 4)  # many scans


@pytest.mark.parametrize("size", [(1, 1), (10, 10), (17, 33), (61, 47), (64, 65), (66, 100), (256, 257)])
def test_heic_of_every_size_and_chroma_is_trimmed(size: tuple[int, int]) -> None:
    codec = usable(CODECS["heic"])
    for channels, subsampling in ((1, "4:2:0"), (3, "4:2:0"), (3, "4:4:4")):
        x = picture(*size, channels)
        file = codec.encode(x, 40, subsampling)
        trimmed = codec.trim(file, x.shape, 40)
        assert trimmed is not None
        assert codec.restore(memoryview(trimmed), x.shape, 40) == file
        assert codec.trim(file.replace(b"mif1", b"mif2"), x.shape, 40) is None
        for first in (2, 12, 32, 255):
            with pytest.raises(FormatError, match=f"parameters {first} "):
                codec.restore(memoryview(bytes((first,)) + trimmed[1:]), x.shape, 40)


@pytest.mark.parametrize("codec", TRIMMED)
def test_a_foreign_file_is_not_trimmed(codec: Codec) -> None:
    usable(codec)
    x = picture(64, 96, 3)
    file = codec.encode(x, 40)
    other = codec.trim(file[:30] + bytes((file[30] ^ 1,)) + file[31:], x.shape, 40)
    assert other is None or codec.restore(memoryview(other), x.shape, 40) != file
    assert codec.trim(file, (64, 97, 3), 40) is None
    assert codec.trim(b"", x.shape, 40) is None


@pytest.mark.parametrize("codec", ALL)
def test_bytes_and_psnr_grow_with_quality(codec: Codec) -> None:
    usable(codec)
    x = picture(96, 128, 3)
    files = [codec.encode(x, quality) for quality in (1, 10, 25, 50, 75, 90, 100)]
    sizes = [len(file) for file in files]
    assert all(b >= a * 0.97 for a, b in itertools.pairwise(sizes))
    assert sizes[-1] > 2 * sizes[0]
    assert psnr(codec.decode(files[-1], x.shape), x) > psnr(codec.decode(files[0], x.shape), x) + 3


@pytest.mark.parametrize("codec", ALL)
def test_a_photograph_gets_better_and_larger_with_quality(codec: Codec) -> None:
    """A codec that is called wrongly shows here: few dB for many bytes, or a curve that turns back."""
    usable(codec)
    photo = pytest.importorskip("skimage.data").astronaut()[:256, 96:352]
    for x in (np.ascontiguousarray(photo), np.ascontiguousarray(photo[..., 1:2])):
        files = [codec.encode(x, quality) for quality in (1, 5, 20, 40, 60, 80, 95)]
        assert all(len(b) > len(a) for a, b in itertools.pairwise(files))
        decibels = [psnr(codec.decode(file, x.shape), x) for file in files]
        assert all(b > a + 0.05 for a, b in itertools.pairwise(decibels))
        # JPEG of 1992 has 29.7 dB in 4,141 bytes here; who is below that is not doing what it should.
        assert max(db for file, db in zip(files, decibels, strict=True) if len(file) < 5000) > 29.5
        assert decibels[-1] > 39


def test_encoding_twice_gives_equal_bytes() -> None:
    x = picture(64, 96, 3)
    for codec in CODECS.values():
        if codec.kind == "image" and not codec.reason():
            assert codec.encode(x, 50) == codec.encode(x, 50)


def test_jpeg_is_optimised_and_the_smaller_of_progressive_and_sequential() -> None:
    jpeg, x = CODECS["jpeg"], picture(160, 240, 3)
    taken = set()
    for quality in (3, 95):
        progressive, sequential = jpeg.encode_all(x, quality)
        assert progressive.count(b"\xff\xda") == 10
        assert (sequential.count(b"\xff\xc0"), sequential.count(b"\xff\xda")) == (1, 1)
        for on, file in ((True, progressive), (False, sequential)):
            assert jpeg.encode(x, quality, options={"progressive": on}) == file
            assert jpeg.encode_all(x, quality, options={"progressive": on}) == [file]
        taken.add(jpeg.encode(x, quality) == progressive)
        assert len(jpeg.encode(x, quality)) == min(len(progressive), len(sequential))
    assert taken == {False, True}


def test_the_container_takes_what_is_smaller_once_trimmed() -> None:
    jpeg = CODECS["jpeg"]
    for quality in range(5, 100, 5):
        x = picture(64, 96, 3, quality)
        stream = container.read(encode(x, quality=quality, networks="off", subsampling="4:2:0"), Limits())
        payloads = [jpeg.trim(file, x.shape, quality) for file in jpeg.encode_all(x, quality)]
        assert len(stream.payload) == min(len(payload) for payload in payloads if payload is not None)


@pytest.mark.parametrize("name", ["jpeg", "avif"])
def test_full_chroma_is_there_when_asked_for(name: str) -> None:
    x = picture(64, 96, 3)
    x[:, ::2, 0] = 255
    codec = CODECS[name]
    full, half = (codec.decode(codec.encode(x, 95, s), x.shape) for s in ("4:4:4", "4:2:0"))
    assert psnr(full, x) > psnr(half, x) + 3


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("jpeg", {"smooth": 20, "restart_marker_rows": 1}),
        ("webp", {"method": 1, "sharp_yuv": True}),
        ("avif", {"speed": 10, "advanced": {"tune": "psnr"}}),
        ("jpeg2000", {"progression": "RPCL"}),
        ("heic", {"preset": "fast"}),
        ("jxl", {"effort": 3, "decoding_speed": 1}),
    ],
)
def test_options_reach_the_codec(codec: str, options: dict[str, Any]) -> None:
    usable(CODECS[codec])
    x = picture(96, 128, 3)
    plain, other = encode(x, codec=codec, networks="off"), encode(x, codec=codec, networks="off", codec_options=options)
    assert plain != other


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"speed": 3}, ValueError, "it takes: colours, progressive, restart_marker_rows, smooth, tables"),
        ({"smooth": 101}, ValueError, "must be 0 to 100, got 101"),
        ({"smooth": "1"}, TypeError, "must be int, got str"),
        ({"smooth": True}, TypeError, "must be int, got bool"),
    ],
)
def test_wrong_options_say_what_is_right(options: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        encode(picture(8, 8, 3), codec="jpeg", codec_options=options)


def test_wrong_choices_of_other_codecs() -> None:
    x = picture(8, 8, 3)
    with pytest.raises(ValueError, match="one of LRCP"):
        encode(x, codec="jpeg2000", codec_options={"progression": "ABCD"})
    with pytest.raises(TypeError, match="must map str to str"):
        encode(x, codec="avif", codec_options={"advanced": {"tune": 1}})
    with pytest.raises(ValueError, match="one of auto, 4:2:0 for codec webp"):
        encode(x, codec="webp", subsampling="4:4:4")
    with pytest.raises(ValueError, match="codec must be one of jpeg, "):
        encode(x, codec="png")


@pytest.mark.parametrize(("name", "module"), [("heic", "pillow_heif"), ("jxl", "imagecodecs")])
def test_a_missing_codec_names_its_extra(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    _module_reason.cache_clear()
    try:
        with pytest.raises(CodecError, match=rf"{name} is not available: .*pip install -U 'fastcodec\[{name}\]'"):
            encode(picture(8, 8, 3), codec=name)
        assert not {status.name: status.available for status in codecs()}[name]
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        _module_reason.cache_clear()
        with pytest.raises(CodecError, match=f"this {module} is too old"):
            encode(picture(8, 8, 3), codec=name)
    finally:
        _module_reason.cache_clear()


def test_a_side_above_the_codecs_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="20000 x 1, codec webp takes sides up to 16383"):
        encode(np.zeros((1, 20000), np.uint8), codec="webp")


# ---------------------------------------------------------------- hostile payloads


@pytest.mark.parametrize("codec", ALL)
def test_another_size_than_the_header_says(codec: Codec) -> None:
    usable(codec)
    file = codec.encode(picture(40, 48, 3), 50)
    for shape in ((40, 49, 3), (41, 48, 3), (48, 40, 3), (1, 1, 3), (2000, 3000, 3)):
        with pytest.raises(CodecError, match="the payload"):
            codec.decode(file, shape)


@pytest.mark.parametrize("codec", ALL)
def test_pixels_are_not_decoded_before_the_size_is_checked(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    usable(codec)
    file = codec.encode(picture(40, 48, 3), 50)

    def never(*args: object) -> None:
        raise AssertionError("decoded pixels of the wrong size")

    from PIL import ImageFile

    monkeypatch.setattr(ImageFile.ImageFile, "load", never)
    with pytest.raises(CodecError) as caught:
        codec.decode(file, (41, 48, 3))
    assert not isinstance(caught.value.__cause__, AssertionError)


@pytest.mark.parametrize("codec", ALL)
def test_foreign_bytes(codec: Codec) -> None:
    usable(codec)
    for file in (
        b"",
        b"\0" * 100,
        b"\xff\xd8\xff",
        b"RIFF\x24\0\0\0WEBPVP8X" + bytes(50),
        picture(20, 20, 3).tobytes(),
    ):
        with pytest.raises(CodecError):
            codec.decode(file, (8, 8, 3))


@pytest.mark.parametrize("codec", [*ALL, *(pytest.param(c, id=f"alpha-{c.name}") for c in ALPHA_CODECS.values())])
def test_damaged_files_give_an_error_or_an_image_of_the_right_shape(codec: Codec) -> None:
    usable(codec)
    rng = np.random.default_rng(5)
    x = picture(24, 40, 1 if codec.id == 0 else 3)
    file = codec.encode(x, 60)
    outcomes = set()
    for _ in range(250):
        damaged = bytearray(file)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        try:
            y = codec.decode(bytes(damaged[: rng.integers(len(file) // 2, len(file) + 1)]), x.shape)
            assert (y.shape, y.dtype) == (x.shape, np.uint8)
            outcomes.add("image")
        except CodecError:
            outcomes.add("error")
    assert "error" in outcomes


@pytest.mark.parametrize("codec", TRIMMED)
def test_damaged_trimmed_payloads(codec: Codec) -> None:
    usable(codec)
    rng = np.random.default_rng(6)
    x = picture(40, 64, 3)
    payloads = [codec.trim(file, x.shape, 60) or b"" for file in codec.encode_all(x, 60)]
    assert all(payloads)
    for number, payload in itertools.product(range(150), payloads):
        damaged = bytearray(payload[: number if number < 20 else rng.integers(1, len(payload) + 1)])
        if damaged:
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        with contextlib.suppress(CodecError, FormatError):
            assert codec.decode(codec.restore(memoryview(damaged), x.shape, 60), x.shape).shape == x.shape
    for shape in ((1 << 30, 3, 3), (3, 1 << 30, 3)):
        with pytest.raises(Error):
            codec.decode(codec.restore(memoryview(payload), shape, 60), shape)


def test_a_trimmed_jpeg_is_as_format_md_says() -> None:
    """The layout by hand: a grey image of one block, so that every scan is short."""
    file = CODECS["jpeg"].encode(np.full((8, 8, 1), 128, np.uint8), 50, options={"progressive": True})
    expected = b"\2"  # libjpeg notes the sampling of grey images too
    at = file.index(b"\xff\xc4")
    for number in range(1, 7):
        if number != 5:  # the refinement of the DC coefficients needs no table
            counts = file[at + 5 : at + 21]
            used = max(n for n in range(1, 17) if counts[n - 1])
            nibbles = [used - 1, *counts[:used], 0][: 2 * (used // 2 + 1)]
            expected += bytes(16 * a + b for a, b in zip(nibbles[::2], nibbles[1::2], strict=True))
            expected += file[at + 21 : at + 21 + sum(counts)]
            at += 21 + sum(counts)
        at += 10
        end = min(file.find(marker, at) % len(file) for marker in (b"\xff\xc4", b"\xff\xda", b"\xff\xd9"))
        expected += (bytes((end - at,)) if number < 6 else b"") + file[at:end]
        at = end
    assert CODECS["jpeg"].trim(file, (8, 8, 1), 50) == expected


@pytest.mark.parametrize(("channels", "sampling"), [(1, 2), (3, 2), (3, 1)])
def test_a_trimmed_sequential_jpeg_is_as_format_md_says(channels: int, sampling: int) -> None:
    x = picture(24, 40, channels)
    file = CODECS["jpeg"].encode(x, 50, "4:4:4" if sampling == 1 else "4:2:0", {"progressive": False})
    expected = bytes((sampling + 4,))
    at = file.index(b"\xff\xc4")
    for table in (0, 0x10, 1, 0x11)[: 2 if channels == 1 else 4]:
        counts = file[at + 5 : at + 21]
        assert file[at : at + 5] == struct.pack(">HHB", 0xFFC4, 19 + sum(counts), table)
        expected += trim._pack_counts(counts) + file[at + 21 : at + 21 + sum(counts)]
        at += 21 + sum(counts)
    components = {1: bytes((1, 1, 0)), 3: bytes((3, 1, 0, 2, 0x11, 3, 0x11))}[channels]
    sos = b"\xff\xda" + struct.pack(">H", 6 + 2 * channels) + components + bytes((0, 63, 0))
    assert file[at : at + len(sos)] == sos
    expected += file[at + len(sos) : -2]
    assert CODECS["jpeg"].trim(file, x.shape, 50) == expected


@given(counts=st.lists(st.integers(0, 255), min_size=16, max_size=16))
def test_huffman_counts_round_trip(counts: list[int]) -> None:
    packed = trim._pack_counts(bytes(counts))
    assert trim._read_counts(container.Reader(memoryview(packed))) == bytes(counts)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [1, 1.25, 9.5, 49.75, 50, 77.25, 99.75, 100])
def test_a_jpeg_with_tuned_tables_is_as_format_md_says(quality: float, channels: int) -> None:
    x, codec = picture(40, 56, channels), CODECS["jpeg"]
    for chroma in ("4:2:0", "4:4:4"):
        for file in codec.encode_all(x, quality, chroma, {"tables": "tuned"}):
            payload = codec.trim(file, x.shape, quality)
            assert payload is not None
            sequential = b"\xff\xc0" in file[:200]
            assert payload[0] in (
                s + 4 * sequential + 8 + 16 * round(4 * quality % 4)
                for s in ((2 if chroma == "4:2:0" else 1), channels + 1)
            )
            assert codec.restore(memoryview(payload), x.shape, int(quality)) == file
            tables = Image.open(io.BytesIO(file)).quantization
            r = round(4 * quality)
            p = 80000 // r if r < 200 else 800 - 2 * r
            for number, base in enumerate((trim._TUNED_LUMA, trim._TUNED_CHROMA)[: 1 + (channels == 3)]):
                assert list(tables[number]) == [min(255, max(1, (v * p + 200) // 400)) for v in base]


@pytest.mark.parametrize(
    ("first", "quality"), [(2 + 16, 50), (2 + 8 + 64, 50), (1 + 8 + 16, 100), (3 + 8, 50), (0, 50)]
)
def test_first_bytes_that_no_jpeg_has(first: int, quality: int) -> None:
    x, codec = picture(16, 16, 3), CODECS["jpeg"]
    payload = codec.trim(codec.encode(x, quality, options={"tables": "tuned"}), x.shape, quality)
    assert payload is not None
    with pytest.raises(FormatError, match="trimmed JPEG"):
        codec.restore(memoryview(bytes((first,)) + payload[1:]), x.shape, quality)


def test_tuned_tables_give_more_psnr_at_fewer_bytes() -> None:
    photo = pytest.importorskip("skimage.data", reason="scikit-image is not installed").astronaut()
    codec = CODECS["jpeg"]
    for quality, tuned in ((20, 20), (80, 72.25)):
        files = [codec.encode(photo, quality), codec.encode(photo, tuned, options={"tables": "tuned"})]
        better = [psnr(photo, codec.decode(file, photo.shape)) for file in files]
        assert len(files[1]) < len(files[0])
        assert better[1] > better[0] + 0.25


def test_restoring_what_is_never_trimmed() -> None:
    with pytest.raises(CodecError, match="never is"):
        CODECS["jxl"].restore(memoryview(b"abc"), (8, 8, 3), 50)


def test_a_jpeg_of_many_scans_is_refused() -> None:
    file = CODECS["jpeg"].encode(picture(16, 16, 1), 50)
    at = file.rindex(b"\xff\xda")
    bomb = file[:-2] + file[at:-2] * 200 + b"\xff\xd9"
    with pytest.raises(CodecError, match="scans, expected at most 100"):
        CODECS["jpeg"].decode(bomb, (16, 16, 1))


def test_other_colour_modes_are_refused() -> None:
    out = io.BytesIO()
    Image.new("CMYK", (8, 8)).save(out, "JPEG")
    with pytest.raises(CodecError, match="mode CMYK"):
        CODECS["jpeg"].decode(out.getvalue(), (8, 8, 3))
    colour = CODECS["jpeg"].encode(picture(8, 8, 3), 50)
    with pytest.raises(CodecError, match=r"decoded .* 8 x 8 x 1, expected 8 x 8 x 3"):
        CODECS["jpeg"].decode(CODECS["jpeg"].encode(picture(8, 8, 1), 50), (8, 8, 3))
    assert CODECS["jpeg"].decode(colour, (8, 8, 1)).shape == (8, 8, 1)


def test_animations_are_refused() -> None:
    frames = [Image.fromarray(picture(16, 16, 3, seed)) for seed in (1, 2)]
    for name, plugin in (("webp", "WEBP"), ("avif", "AVIF")):
        out = io.BytesIO()
        frames[0].save(out, plugin, save_all=True, append_images=frames[1:])
        with pytest.raises(CodecError):
            CODECS[name].decode(out.getvalue(), (16, 16, 3))


def test_an_avif_whose_boxes_lie_about_its_size() -> None:
    x = picture(40, 48, 3)
    file = CODECS["avif"].encode(x, 50)
    lie = file.replace(struct.pack(">II", 48, 40), struct.pack(">II", 4800, 4000))
    assert lie != file
    with pytest.raises(CodecError, match="payload says 40 x 48, the header 4000 x 4800"):
        CODECS["avif"].decode(lie, (4000, 4800, 3))


def test_a_jpeg2000_of_many_tiles_is_refused() -> None:
    out = io.BytesIO()
    Image.fromarray(picture(40, 48, 3)).save(out, "JPEG2000", no_jp2=True, tile_size=(8, 8))
    with pytest.raises(CodecError, match="in one tile without precincts"):
        CODECS["jpeg2000"].decode(out.getvalue(), (40, 48, 3))


def test_jpeg_xl_that_is_not_one_plain_image_is_refused() -> None:
    codec = usable(CODECS["jxl"])
    jxl = pytest.importorskip("imagecodecs")
    x = picture(40, 48, 3)
    others = {
        "alpha": np.dstack([x, x[..., :1]]),
        "16 bits": x.astype(np.uint16) * 257,
        "float": x.astype(np.float32) / 255,
        "frames": np.stack([x, 255 - x]),
    }
    for name, other in others.items():
        file = jxl.jpegxl_encode(other, usecontainer=False, distance=1.0, lossless=False)
        with pytest.raises(CodecError, match="not one plain JPEG XL image"):
            pytest.fail(f"{name}: {codec.decode(file, x.shape).shape}")
    with pytest.raises(CodecError, match="not a JPEG XL codestream"):
        codec.decode(jxl.jpegxl_encode(x, usecontainer=True), x.shape)


def test_jpeg_xl_sizes_are_read_from_the_head() -> None:
    jxl = usable(CODECS["jxl"]) and pytest.importorskip("imagecodecs")
    for size in ((1, 1), (8, 16), (30, 36), (48, 64), (50, 75), (90, 160), (64, 80), (1, 300), (9000, 1), (256, 256)):
        file = jxl.jpegxl_encode(np.zeros(size, np.uint8), usecontainer=False, effort=1)
        assert jxl_size(file) == size


@pytest.mark.parametrize("codec", ALL)
def test_noise_is_coded_at_every_quality(codec: Codec) -> None:
    """Its JPEG is larger than one byte a pixel, for which Pillow's buffer is too small."""
    usable(codec)
    x = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)
    for subsampling in codec.subsamplings or ("auto",):
        for quality in (50, 90, 100):
            assert codec.decode(codec.encode(x, quality, subsampling), x.shape).shape == x.shape
    from PIL import ImageFile

    assert ImageFile.MAXBLOCK == 65536


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_while_another_thread_encodes_can_encode() -> None:
    code = """
import importlib, os, signal
import numpy as np
from PIL import ImageFile
table = importlib.import_module("fastcodec.codecs")
with table._room.to(1 << 20):
    table._room.lock.acquire()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        table.CODECS["jpeg"].encode(np.zeros((8, 8, 3), np.uint8), 50)
        os._exit(int(ImageFile.MAXBLOCK != 65536))
    table._room.lock.release()
raise SystemExit(os.waitpid(child, 0)[1])
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], timeout=120, check=False).returncode == 0


def _avif_with(head: bytes, data: bytes, before: bytes = b"") -> bytes:
    """An AVIF file with the boxes of `head`, other data, and a box between ftyp and meta."""
    at = head.index(b"mdat") + 4
    ftyp = int.from_bytes(head[:4], "big")
    out = bytearray(head[:at])
    place = out.index(struct.pack(">II", at, len(head) - at))
    out[place : place + 8] = struct.pack(">II", at + len(before), len(data))
    out[at - 8 : at - 4] = struct.pack(">I", len(data) + 8)
    return bytes(out[:ftyp]) + before + bytes(out[ftyp:]) + data


def test_an_avif_that_hides_a_large_picture_is_refused() -> None:
    """The size must come from the data that the decoder will use, not from a decoy."""
    codec, x = CODECS["avif"], picture(40, 48, 3)
    small, large = codec.encode(x, 50), codec.encode(np.zeros((640, 640, 3), np.uint8), 50)
    data, big = (file[file.index(b"mdat") + 4 :] for file in (small, large))
    assert codec.decode(_avif_with(small, data), x.shape).shape == x.shape
    decoy = struct.pack(">I4sI", 92, b"free", 0) + small[small.index(b"mdat") :][:80]
    for name, file in {
        "decoy": _avif_with(small, big, decoy),
        "decoy with small data": _avif_with(small, data, decoy),
        "second header": _avif_with(small, data + big[2:]),
        "second header first": _avif_with(small, big + data[2:]),
        "large data": _avif_with(small, big),
        "trailing": _avif_with(small, data) + b"\0",
        "no data": _avif_with(small, b""),
        "cut header": _avif_with(small, data[:6]),
    }.items():
        with pytest.raises(CodecError, match="the payload"):
            pytest.fail(f"{name}: {codec.decode(file, x.shape).shape}")


def test_av1_sequence_headers() -> None:
    def obu(bits: str) -> bytes:
        body = int(bits.ljust(96, "0"), 2).to_bytes(12, "big")
        return b"\x12\0" + b"\x0a\x0c" + body + b"\x32\x01\0"

    size = f"{9:04b}{8:04b}{639:010b}{479:09b}"
    assert av1_size(obu("000" + "11" + f"{5:05b}" + size)) == (480, 640)
    assert av1_size(obu("000" + "10" + "0000000" + "0" * 12 + f"{5:05b}" + size)) == (480, 640)
    assert av1_size(obu("000" + "10" + "0000000" + "0" * 12 + f"{9:05b}" + "1" + size)) == (480, 640)
    with pytest.raises(CodecError, match="not a still picture"):
        av1_size(obu("000" + "10" + "1000000" + size))


def test_a_jpeg2000_whose_parts_cost_more_than_its_pixels_is_refused() -> None:
    codec, x = CODECS["jpeg2000"], picture(40, 48, 3)
    for progression in ("LRCP", "CPRL"):
        assert codec.decode(codec.encode(x, 50, options={"progression": progression}), x.shape).shape == x.shape
    file = codec.encode(x, 50)
    cod, sot = file.index(b"\xff\x52"), file.index(b"\xff\x90")
    precincts = b"\xff\x52\0\x12\1" + file[cod + 5 : cod + 14] + b"\x11" * 6

    def changed(at: int, value: bytes) -> bytes:
        return file[:at] + value + file[at + len(value) :]

    for name, other in {
        "precincts": file[:cod] + precincts + file[cod + 14 :],
        "layers": changed(cod + 6, b"\xff\xff"),
        "code-blocks": changed(cod + 10, b"\0\0"),
        "decompositions": changed(cod + 9, b"\x20"),
        "a second COD": file[:sot] + precincts + file[sot:],
        "COD in the tile": file[: sot + 12] + precincts + file[sot + 12 :],
        "parts": changed(sot + 6, b"\0\0\0\x20"),
        "no end": file[:-2],
        "only the start": file[:cod],
        "cut": file[: cod + 15],
    }.items():
        with pytest.raises(CodecError, match="one tile without precincts"):
            pytest.fail(f"{name}: {codec.decode(other, x.shape).shape}")
