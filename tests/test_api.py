# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""encode, decode, info, verify: kinds of input and output, metadata, alpha, regions, arguments."""

from __future__ import annotations

import doctest
import importlib
import io
import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import fastcodec
import numpy as np
import pytest
from fastcodec import CodecError, FormatError, LimitError, Limits, container, decode, encode, info, verify
from fastcodec.codecs import CODECS, Codec
from fastcodec.flow import decode_alpha, encode_alpha
from fastcodec.images import reset_orientation
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_codecs import picture, psnr

PRIMES = (71, 97, 131, 211)
side = st.one_of(st.integers(1, 70), st.sampled_from(PRIMES))


# ---------------------------------------------------------------- sizes


@given(height=side, width=side, channels=st.integers(1, 4), codec=st.sampled_from(("jpeg", "webp", "avif", "jpeg2000")))
@settings(max_examples=120, deadline=None)
def test_any_size_any_codec(height: int, width: int, channels: int, codec: str) -> None:
    x = picture(height, width, channels)
    data = encode(x, codec=codec, quality=90)
    y = decode(data)
    assert y.dtype == np.uint8
    assert y.shape == ((height, width) if channels == 1 else x.shape)
    if channels in (2, 4):
        assert np.array_equal(y[..., -1], x[..., -1])
    i = info(data)
    assert (i.width, i.height, i.mode) == (width, height, ("L", "LA", "RGB", "RGBA")[channels - 1])
    assert i.total_bytes == len(data)


@given(height=side, width=side, channels=st.sampled_from((1, 3, 4)), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_region_is_a_crop(height: int, width: int, channels: int, data: Any) -> None:
    x = data.draw(st.integers(0, width - 1))
    y = data.draw(st.integers(0, height - 1))
    w = data.draw(st.integers(1, width - x))
    h = data.draw(st.integers(1, height - y))
    stream = encode(picture(height, width, channels), networks="off")
    assert np.array_equal(decode(stream, region=(x, y, w, h)), decode(stream)[y : y + h, x : x + w])


def test_grey_and_colour_are_close_to_the_original() -> None:
    for channels in (1, 3):
        x = picture(96, 128, channels)
        y = decode(encode(x, codec="jpeg", quality=95)).reshape(x.shape)
        assert psnr(x, y) > 36


# ---------------------------------------------------------------- kinds of input


X = picture(20, 30, 3)
GREY = X[..., 0]


class Interface:
    """An object with nothing but an array interface."""

    def __init__(self, x: np.ndarray) -> None:
        self.kept = x
        self.__array_interface__ = x.__array_interface__


class DLPack:
    """An object with nothing but DLPack."""

    def __init__(self, x: Any) -> None:
        self.kept = x

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.kept.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.kept.__dlpack_device__()


@pytest.mark.parametrize(
    "x",
    [
        pytest.param(np.asfortranarray(X), id="fortran"),
        pytest.param(np.repeat(X, 2, axis=1)[:, ::2], id="strided"),
        pytest.param(X[::-1][::-1], id="reversed"),
        pytest.param(Image.fromarray(X), id="pil"),
        pytest.param(Interface(X), id="array interface"),
        pytest.param(DLPack(X), id="dlpack"),
    ],
)
def test_inputs_of_the_same_pixels_give_the_same_stream(x: Any) -> None:
    assert encode(x) == encode(X)


def test_torch_inputs() -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    t = torch.from_numpy(X).permute(2, 0, 1)
    assert encode(t) == encode(X)
    assert encode(t.contiguous()) == encode(X)
    assert encode(DLPack(torch.from_numpy(X))) == encode(X)
    assert encode(torch.stack([t, t.flip(1)])) == [encode(X), encode(X[::-1])]
    assert encode(t[:1]) == encode(GREY)


class OnGPU(DLPack):
    """Pretends to lie on a GPU."""

    def __dlpack_device__(self) -> Any:
        return (2, 0)


def test_objects_on_a_gpu_come_to_the_host_through_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    fake = ModuleType("torch")
    fake.from_dlpack = lambda x: torch.from_dlpack(x.kept)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", fake)
    assert encode(OnGPU(torch.from_numpy(X))) == encode(X)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(fastcodec.BackendError, match="needs torch: pip install torch"):
        encode(OnGPU(X))


@pytest.mark.gpu
def test_cuda_tensors_in_and_out() -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    t = torch.from_numpy(X).permute(2, 0, 1).cuda()
    assert encode(t) == encode(X)
    assert encode(DLPack(t.permute(1, 2, 0))) == encode(X)
    rgba = np.dstack([X, X[..., 0]])
    for data in (encode(X), *(encode(x, codec="jpeg", networks="on") for x in (X, rgba))):
        y = decode(data, out="torch", device="cuda")
        assert y.device.type == "cuda"
        assert np.array_equal(y.cpu().permute(1, 2, 0).numpy(), decode(data))


def test_lists_and_batches() -> None:
    streams = encode([X, GREY, Image.fromarray(X)])
    assert streams == [encode(X), encode(GREY), encode(X)]
    assert [y.shape for y in decode(streams)] == [(20, 30, 3), (20, 30), (20, 30, 3)]
    assert encode(np.stack([X, X])) == [encode(X)] * 2
    assert encode([]) == []


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("1", "L"), ("L", "L"), ("LA", "LA"), ("P", "RGB"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("RGBX", "RGB"),
     ("CMYK", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB"), ("PA", "RGBA"), ("La", "LA"), ("RGBa", "RGBA")],
)  # fmt: skip
def test_pil_modes(mode: str, kept: str) -> None:
    source = Image.fromarray(np.dstack([X, picture(20, 30, 1, 4)]) if kept.endswith("A") else X)
    source = source.convert("P") if mode == "PA" else source
    source = source.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert(mode)
    y = decode(encode(source, codec="jpeg", quality=95), out="pil")
    assert y.mode == kept
    expected = np.asarray(source.convert("LA" if mode == "La" else "RGBA" if mode in ("RGBa", "PA") else kept))
    assert np.abs(np.asarray(y).astype(int) - expected).mean() < 16


def test_transparent_palettes_and_colour_keys_become_alpha() -> None:
    indexed = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 3, "P")
    indexed.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    indexed.info["transparency"] = 1
    y = decode(encode(indexed))
    assert np.array_equal(y[..., 3] == 0, np.asarray(indexed) == 1)
    grey = Image.fromarray(GREY.copy())
    grey.info["transparency"] = int(GREY[0, 0])
    y = decode(encode(grey))
    assert np.array_equal(y[..., 1] == 0, GREY[0, 0] == GREY)


@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_deep_pil_modes_say_what_to_do(mode: str) -> None:
    with pytest.raises(TypeError, match=f"mode {mode}, more than 8 bits"):
        encode(Image.new(mode, (8, 8)))


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (np.zeros((8, 8), np.float32), TypeError, r"got float32; if it holds 0 to 1, use \(x \* 255\)"),
        (np.zeros((8, 8), np.uint16), TypeError, "got uint16; scale its 16 bits"),
        (np.zeros((8, 8), np.int64), TypeError, r"got int64; if it holds 0 to 255, use x.astype\(np.uint8\)"),
        (np.zeros((3, 8, 8), np.uint8), ValueError, r"got \(3, 8, 8\); use x.transpose\(1, 2, 0\)"),
        (np.zeros((8, 8, 5), np.uint8), ValueError, r"got \(8, 8, 5\)"),
        (np.zeros((8,), np.uint8), ValueError, r"got \(8,\)"),
        (np.zeros((0, 8), np.uint8), ValueError, "at least one pixel"),
        ("photo.png", TypeError, "got str; open a file with PIL.Image.open"),
        (b"bytes", TypeError, "got bytes"),
    ],
)
def test_wrong_inputs_say_what_to_call(x: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        encode(x)


def test_wrong_torch_inputs_say_what_to_call() -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    with pytest.raises(TypeError, match=r"got torch.float32; if it holds 0 to 1, use x.mul\(255\)"):
        encode(torch.zeros(3, 8, 8))
    with pytest.raises(TypeError, match=r"got torch.int64; if it holds 0 to 255, use x.to\(torch.uint8\)"):
        encode(torch.zeros(3, 8, 8, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"got \(8, 8, 3\); use x.permute\(2, 0, 1\)"):
        encode(torch.zeros(8, 8, 3, dtype=torch.uint8))


# ---------------------------------------------------------------- outputs


def test_outputs() -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    for x in (X, GREY, np.dstack([X, GREY])):
        data = encode(x)
        y = decode(data)
        t = decode(data, out="torch", device="cpu")
        assert t.dtype == torch.uint8
        assert np.array_equal(t.permute(1, 2, 0).numpy().reshape(y.shape), y)
        assert np.array_equal(np.asarray(decode(data, out="pil")), y)
        y[0, 0] = 0  # the caller's own array


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
def test_kinds_of_data(kind: Any) -> None:
    data = encode(X)
    assert np.array_equal(decode(kind(data)), decode(data))


def test_wrong_arguments_of_decode() -> None:
    data = encode(X)
    for wrong, error, match in (
        ({"out": "jax"}, ValueError, "out must be one of numpy, torch, pil"),
        ({"device": "tpu"}, ValueError, "device must be 'cpu', 'cuda'"),
        ({"region": (0, 0, 31, 1)}, ValueError, "image of 30 x 20"),
        ({"region": (0, 0, 0, 1)}, ValueError, "region must lie"),
        ({"region": (0, 0, 1)}, ValueError, "x, y, width, height"),
        ({"region": (0.5, 0, 1, 1)}, TypeError, "region must be an int"),
        ({"threads": 0}, ValueError, "at least 1"),
        ({"limits": 7}, TypeError, "fastcodec.Limits"),
    ):
        with pytest.raises(error, match=match):
            decode(data, **wrong)
    with pytest.raises(TypeError, match="read a file with open"):
        decode("file.fcd")
    with pytest.raises(TypeError, match="contiguous"):
        decode(np.frombuffer(data * 2, np.uint8)[::2])


# ---------------------------------------------------------------- metadata and orientation


def exif_block(orientation: int, make: str = "camera") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = make
    return exif.tobytes()


def photo(orientation: int = 1, plugin: str = "PNG") -> Image.Image:
    out = io.BytesIO()
    Image.fromarray(X).save(out, plugin, exif=exif_block(orientation), icc_profile=b"profile" * 99, xmp=b"<x:xmpmeta/>")
    return Image.open(out)


@pytest.mark.parametrize("container", ["fcd", "jpeg"])
def test_metadata_is_kept(container: str) -> None:
    data = encode(photo(plugin="JPEG"), container=container)
    i = info(data)
    assert (i.icc, i.xmp) == (b"profile" * 99, b"<x:xmpmeta/>")
    y = decode(data, out="pil")
    assert y.getexif()[0x010F] == "camera"
    assert y.info["icc_profile"] == b"profile" * 99
    out = io.BytesIO()
    y.save(out, "PNG", exif=y.info["exif"])  # what we give back, Pillow's writers take
    assert Image.open(out).getexif()[0x010F] == "camera"
    bare = info(encode(photo(plugin="JPEG"), container=container, metadata=False))
    assert (bare.icc, bare.exif, bare.xmp, bare.metadata_bytes) == (None, None, None, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_reset(orientation: int) -> None:
    y = decode(encode(photo(orientation), quality=100, subsampling="4:4:4"), out="pil")
    turned = {1: X, 2: X[:, ::-1], 3: X[::-1, ::-1], 4: X[::-1], 5: X.transpose(1, 0, 2), 6: np.rot90(X, -1),
              7: X[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(X)}  # fmt: skip
    assert psnr(turned[orientation], np.asarray(y)) > 35
    assert y.getexif().get(0x0112, 1) == 1
    assert y.getexif()[0x010F] == "camera"


@given(st.binary(max_size=64), st.sampled_from((b"II*\0", b"MM\0*", b"")))
@settings(max_examples=200, deadline=None)
def test_no_exif_block_breaks_the_reset(body: bytes, start: bytes) -> None:
    exif = start + body
    after = reset_orientation(exif)
    assert len(after) == len(exif)
    assert sum(a != b for a, b in zip(after, exif, strict=True)) <= 2


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_stop_an_encode() -> None:
    x = Image.fromarray(X)
    x.info["exif"] = b"Exif\0\0II*\0\xff\xff\xff\xff"
    assert info(encode(x)).exif == b"II*\0\xff\xff\xff\xff"


def test_more_metadata_than_decoders_accept() -> None:
    x = Image.fromarray(X)
    x.info["xmp"] = bytes(17 << 20)
    with pytest.raises(ValueError, match=r"has 17825792 bytes of ICC, EXIF and XMP, .* use metadata=False"):
        encode(x)
    assert info(encode(x, metadata=False)).xmp is None


def test_a_cmyk_profile_does_not_survive_the_conversion() -> None:
    x = Image.fromarray(X).convert("CMYK")
    x.info["icc_profile"] = b"cmyk"
    assert info(encode(x)).icc is None


# ---------------------------------------------------------------- alpha


@pytest.mark.parametrize("container", ["fcd", "jpeg"])
@pytest.mark.parametrize("alpha", ["noise", "smooth", "opaque", "mask"])
def test_alpha_is_exact(alpha: str, container: str) -> None:
    plane = {
        "noise": np.random.default_rng(3).integers(0, 256, (37, 53), np.uint8),
        "smooth": picture(37, 53, 1)[..., 0],
        "opaque": np.full((37, 53), 255, np.uint8),
        "mask": (picture(37, 53, 1)[..., 0] > 128).astype(np.uint8) * 255,
    }[alpha]
    for colour in (picture(37, 53, 3), picture(37, 53, 1)):
        data = encode(np.dstack([colour, plane]), quality=20, container=container)
        assert np.array_equal(decode(data)[..., -1], plane)
        assert np.array_equal(decode(data, region=(5, 6, 7, 8))[..., -1], plane[6:14, 5:12])
    assert alpha != "opaque" or info(data).alpha_bytes == 2


def test_alpha_larger_than_webp_takes() -> None:
    plane = np.arange(16400, dtype=np.uint32).astype(np.uint8)[None] // 3
    assert np.array_equal(decode(encode(np.dstack([plane, plane])))[..., -1], plane)


@pytest.mark.parametrize("body", [b"", b"\0", b"\0ab", b"\1", b"\1\x89PNG", b"\2RIFF", b"\7abc"])
def test_broken_alpha(body: bytes) -> None:
    with pytest.raises((FormatError, CodecError)):
        decode_alpha(body, 4, 5)


def test_alpha_of_another_size() -> None:
    for plane in (picture(9, 11, 1)[..., 0], np.random.default_rng(1).integers(0, 256, (90, 110), np.uint8)):
        with pytest.raises(CodecError):
            decode_alpha(encode_alpha(plane), 11, 9)


# ---------------------------------------------------------------- arguments, limits, the rest


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        ({"quality": 0}, ValueError, "quality must be 1 to 100, got 0"),
        ({"quality": 50.5}, TypeError, "quality must be an int"),
        ({"quality": True}, TypeError, "quality must be an int"),
        ({"quality": 5, "target_bpp": 1}, ValueError, "at most one of .* got quality and target_bpp"),
        ({"target_bytes": 0}, ValueError, "at least 1"),
        ({"target_bpp": 0}, ValueError, "above 0"),
        ({"target_bpp": float("nan")}, ValueError, "finite"),
        ({"target_bpp": 10**400}, ValueError, "finite"),
        ({"target_psnr": "40"}, TypeError, "target_psnr must be a number"),
        ({"target_bpp": True}, TypeError, "target_bpp must be a number"),
        ({"target_bytes": 20, "codec": "jpeg"}, ValueError, "out of reach: the smallest with codec jpeg has"),
        ({"target_psnr": 99, "codec": "jpeg"}, ValueError, "out of reach: codec jpeg gives"),
        ({"networks": "maybe"}, ValueError, "networks must be one of auto, on, off"),
        ({"container": "zip"}, ValueError, "container must be one of fcd, jpeg"),
        ({"container": "jpeg", "codec": "webp"}, ValueError, "container='jpeg' takes codec='jpeg'"),
        ({"scale": 3}, ValueError, "scale must be 'auto', 1 or 2"),
        ({"scale": np.ones(2)}, TypeError, "scale must be an int"),
        ({"codec": ["jpeg"]}, ValueError, "codec must be one of"),
        ({"networks": ["on"]}, ValueError, "networks must be one of"),
        ({"codec_options": ["speed"]}, TypeError, "codec_options must be a dict"),
        ({"metadata": "no"}, TypeError, "metadata must be True or False"),
        ({"scale": 2, "networks": "off"}, ValueError, "scale=2 needs the networks"),
        ({"model": 3}, TypeError, "model must be a name"),
        ({"threads": -1}, ValueError, "threads must be at least 1"),
        ({"device": "gpu"}, ValueError, "device must be 'cpu'"),
        ({"device": "cuda:first"}, ValueError, "device must be 'cpu'"),
    ],
)
def test_wrong_arguments_of_encode(wrong: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        encode(X, **wrong)


def test_numbers_of_numpy_are_numbers() -> None:
    assert encode(X, target_bpp=np.float32(3)) == encode(X, target_bpp=3)
    assert encode(X, target_bpp=1e308) == encode(X, quality=100)
    assert encode(X, target_bytes=np.int16(900)) == encode(X, target_bytes=900)
    assert encode(X, quality=np.uint8(40), scale=np.int64(1), threads=1 << 40) == encode(X, quality=40, scale=1)
    assert (decode(encode(X), threads=1 << 40) == decode(encode(X))).all()


def test_a_gpu_that_torch_cannot_reach_is_a_backend_error() -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    if torch.cuda.is_available():
        pytest.skip("this torch reaches a GPU")
    there = SimpleNamespace(
        __cuda_array_interface__={"shape": (4, 4), "typestr": "|u1", "data": (16, False), "version": 3}
    )
    with pytest.raises(fastcodec.BackendError, match="x lies on a GPU that torch cannot read from"):
        encode(there)


def test_no_cuda_is_a_backend_error() -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    if not any(status.name == "cuda" and status.available for status in fastcodec.backends()):
        with pytest.raises(fastcodec.BackendError, match="use device='cpu'"):
            encode(X, device="cuda")
    if not torch.cuda.is_available():
        with pytest.raises(fastcodec.BackendError, match="use device='cpu'"):
            decode(encode(X), out="torch", device="cuda:0")


@pytest.mark.parametrize("limit", ["max_pixels", "max_bytes", "max_memory"])
@pytest.mark.parametrize("call", [decode, info, verify])
def test_limits(call: Any, limit: str) -> None:
    data = encode(X, codec="jpeg")
    if limit == "max_memory" and call is info:
        assert call(data, limits=Limits(max_memory=0)).width == 30
        return
    with pytest.raises(LimitError, match=limit):
        call(data, limits=Limits(**{limit: 100}))


def test_memory_is_limited_before_the_codec_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(np.zeros((2000, 3000, 4), np.uint8), quality=10)
    assert decode(data, limits=Limits(max_memory=250_000_000)).shape == (2000, 3000, 4)
    monkeypatch.setattr(Codec, "decode", lambda *args: pytest.fail("the codec ran"))
    with pytest.raises(LimitError, match=r"decoding needs \d+, max_memory allows 50000000"):
        decode(data, limits=Limits(max_memory=50_000_000))


def test_strict_compares_the_inner_image(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(X, networks="off")
    plain = decode(data)
    monkeypatch.setattr(Codec, "decode", lambda self, file, shape: self.decode_file(file, shape) ^ 1)
    with pytest.raises(fastcodec.ChecksumError, match="strict=False accepts"):
        decode(data)
    with pytest.raises(fastcodec.ChecksumError):
        verify(data)
    assert np.array_equal(decode(data, strict=False), plain ^ 1)


def test_info_and_verify_agree() -> None:
    data = encode(X, quality=33, networks="off")
    i = info(data)
    assert verify(data) == i
    assert (i.codec, i.quality, i.networks, i.scale, i.model, i.container, i.version) == (
        "jpeg",
        33,
        False,
        1,
        None,
        "fcd",
        1,
    )
    assert i.bpp == 8 * len(data) / 600
    assert i.payload_bytes < len(data) <= i.payload_bytes + 27


def test_an_unknown_codec_is_named() -> None:
    data = container.write_fcd(container.Header(8, 8, 3, 77, 50, 0), b"?", None, {})
    assert info(data).codec == "unknown (77)"
    with pytest.raises(CodecError, match="codec id 77 is unknown"):
        decode(data)


def test_plain_jpeg_is_seen_by_viewers() -> None:
    data = encode(X, container="jpeg", networks="off", quality=80)
    with Image.open(io.BytesIO(data)) as seen:
        assert np.array_equal(np.asarray(seen), decode(data))


def test_networks_off_costs_less_than_the_bare_file() -> None:
    for codec in ("jpeg", "avif", "jpeg2000", "webp"):
        x = picture(96, 128, 3)
        bare = CODECS[codec].encode(x, 60)
        assert len(encode(x, codec=codec, quality=60, networks="off")) <= len(bare)


@pytest.mark.parametrize("name", ["fastcodec", "fastcodec._api"])
def test_examples_in_the_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 2
    assert result.failed == 0


def test_import_loads_neither_torch_nor_codecs() -> None:
    code = "import sys, fastcodec; print(sorted({'torch', 'pillow_heif', 'imagecodecs'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
