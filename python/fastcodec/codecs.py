# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The table of codecs: inner ones, which stand between ComCNN and RecCNN, and our own.

One entry a codec; to add one, append it to `CODECS` and to FORMAT.md. An image codec turns a uint8
array (H, W, C), C 1 or 3, into a file of its own format at a quality 1..100, and back. Files to decode
are hostile: their size and kind are compared with what our header says before pixels are decoded, and
whatever the library behind it raises becomes CodecError.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from . import colours, heads, trim
from .errors import CodecError, Error, FormatError

Image = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]
Options = Mapping[str, Any]
EncodeFile = Callable[[Image, float, str, Options], bytes]
DecodeFile = Callable[[bytes, Shape], Image]

_MAX_JPEG_SCANS = 100
_ADAPTED = b"\xff\xff"  # begins what nine bytes of a matrix follow; no file and no trimmed payload begins so
_PLANES_DB = 4.78  # what their length in 8 bits costs adapted planes


@dataclass(frozen=True)
class Option:
    """One key of codec_options: an int in low..high, a bool, one of `choices`, or a str-to-str mapping."""

    kind: type
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What it takes, in a word."""
        words = {int: f"{self.low}..{self.high}", bool: "true|false", dict: "{...}"}
        return words.get(self.kind) or "|".join(self.choices)

    def check(self, name: str, value: object) -> None:
        """Raises TypeError or ValueError that says what the option takes."""
        if self.kind is dict:
            if not isinstance(value, Mapping) or not all(isinstance(s, str) for kv in value.items() for s in kv):
                raise TypeError(f"codec_options[{name!r}] must map str to str, got {value!r}")
        elif type(value) is not self.kind:
            raise TypeError(f"codec_options[{name!r}] must be {self.kind.__name__}, got {type(value).__name__}")
        elif self.choices and value not in self.choices:
            raise ValueError(f"codec_options[{name!r}] must be one of {', '.join(self.choices)}, got {value!r}")
        elif self.kind is int and not self.low <= int(str(value)) <= self.high:
            raise ValueError(f"codec_options[{name!r}] must be {self.low} to {self.high}, got {value}")


@dataclass(frozen=True)
class Codec:
    """One inner codec.

    Args:
        name: what users write; id: what streams carry; extension: of its own files.
        max_side: largest width or height.
        encode_file: (image, quality, subsampling, options) -> file.
        decode_file: (file, shape) -> image of exactly that shape.
        subsamplings: chroma formats it can write, the default first; empty when it has no choice.
        reason: "" when it can be used here, else why not and what to install.
        trimmer: leaves out the predictable part of its files.
        either: name of a bool option that changes the bytes, but not the pixels; "" when there is none.
        parts: (n, options): where these options are chosen, quality may be in n parts of 1.
        planes: the codec as it takes any three planes for colours, with the option colours="adapted"; None when there
            is no such option.
        kind: "image": the payload is an 8-bit image. "range": our own codec, which range_codec.py codes from pixels to
            payload; it has no files of its own.
        default_quality: where the caller says neither quality nor target.
    """

    name: str
    id: int
    extension: str
    max_side: int
    encode_file: EncodeFile
    decode_file: DecodeFile
    reason: Callable[[], str]
    subsamplings: tuple[str, ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)
    trimmer: trim.Trimmer | None = None
    either: str = ""
    parts: tuple[int, Mapping[str, str]] = (1, {})
    planes: Codec | None = None
    kind: str = "image"
    default_quality: int = 75

    def with_planes(self, encode_file: EncodeFile, decode_file: DecodeFile, trimmer: trim.Trimmer) -> Codec:
        """This codec with `planes`: itself, but for these."""
        return replace(self, planes=replace(self, encode_file=encode_file, decode_file=decode_file, trimmer=trimmer))

    def steps(self, options: Options) -> int:
        """In how many steps quality may rise by 1 with these options."""
        return self.parts[0] if self.parts[1].items() <= options.items() else 1

    def check_options(self, subsampling: str, options: Options) -> None:
        """Raises TypeError or ValueError for options that this codec does not take."""
        if subsampling != "auto" and subsampling not in self.subsamplings:
            allowed = ", ".join(("auto", *self.subsamplings))
            raise ValueError(f"subsampling must be one of {allowed} for codec {self.name}, got {subsampling!r}")
        for name, value in options.items():
            if name not in self.options:
                known = ", ".join(sorted(self.options)) or "none"
                raise ValueError(f"codec_options[{name!r}] is unknown to codec {self.name}; it takes: {known}")
            self.options[name].check(name, value)

    def encode(self, image: Image, quality: float, subsampling: str = "auto", options: Options | None = None) -> bytes:
        """The file of `image` (H, W, C) uint8 at `quality` 1..100, see `steps`: the smallest of `encode_all`.

        Raises:
            CodecError: the codec is missing or fails on this image.
        """
        return min(self.encode_all(image, quality, subsampling, options), key=len)

    def encode_all(
        self, image: Image, quality: float, subsampling: str = "auto", options: Options | None = None
    ) -> list[bytes]:
        """Files of the same pixels: one with the option `either` on and one with it off, unless `options` has it.

        Raises: as `encode`.
        """
        self.require()
        if subsampling == "auto":
            subsampling = self.subsamplings[0] if self.subsamplings else ""
        codec, image, options, head = self.prepare(image, options or {})
        return [head + file for file in codec._files(image, quality, subsampling, options)]

    def prepare(self, image: Image, options: Options) -> tuple[Codec, Image, Options, bytes]:
        """What `encode_all` does before quality matters, the same for all: (codec, image, options, head).

        With these the codec makes files of the image, before which the head goes: where options say colours="adapted",
        that is `planes`, the image's planes, and how they become colours.
        """
        rest = {name: value for name, value in options.items() if name != "colours"}
        if options.get("colours", "fixed") == "fixed" or self.planes is None or image.shape[2] != 3:
            return self, image, rest, b""
        matrix = colours.adapted(image)
        return self.planes, colours.to_planes(image, matrix), rest, _ADAPTED + matrix.tobytes()

    def _files(self, image: Image, quality: float, subsampling: str, options: Options) -> list[bytes]:
        choices = [options] if self.either in ("", *options) else [{**options, self.either: on} for on in (True, False)]
        try:
            return [self.encode_file(image, quality, subsampling, choice) for choice in choices]
        except Error:
            raise
        except Exception as error:
            raise CodecError(f"{self.name} could not encode {_show(image.shape)}: {_said(error)}") from error

    def decode(self, file: bytes, shape: Shape) -> Image:
        """The image in `file`, uint8, C-contiguous, of exactly `shape` (H, W, C).

        Raises:
            CodecError: the codec is missing, or the file is damaged or holds something else.
        """
        self.require()
        head, rest = self._split(memoryview(file), shape)
        if head and self.planes:
            return colours.from_planes(self.planes.decode(bytes(rest), shape), colours.read(head[len(_ADAPTED) :]))
        if max(shape[:2]) > self.max_side:
            raise CodecError(f"{self.name} takes sides up to {self.max_side}, the stream says {_show(shape)}")
        try:
            image = self.decode_file(file, shape)
        except Error:
            raise
        except Exception as error:  # whatever a third-party decoder throws at hostile bytes
            raise CodecError(f"{self.name} could not decode its payload: {_said(error)}") from error
        if image.shape != shape or image.dtype != np.uint8:
            raise CodecError(f"{self.name} decoded {image.dtype} {_show(image.shape)}, expected {_show(shape)}")
        return np.ascontiguousarray(image)

    def trim(self, file: bytes, shape: Shape, quality: float) -> bytes | None:
        """The file without its predictable part, or None."""
        head, rest = self._split(memoryview(file), shape)
        trimmer = self.planes.trimmer if head and self.planes else self.trimmer
        trimmed = trimmer.trim(bytes(rest), shape, quality) if trimmer else None
        return None if trimmed is None else bytes(head) + trimmed

    def _split(self, data: memoryview, shape: Shape) -> tuple[memoryview, memoryview]:
        """What says how the planes of a file or a trimmed payload become colours, or nothing; and the rest."""
        if self.planes is None or data[: len(_ADAPTED)] != _ADAPTED:
            return data[:0], data
        if shape[2] != 3 or len(data) < len(_ADAPTED) + 9:
            raise FormatError(f"adapted colours in {len(data)} bytes for {shape[2]} channels, expected 3 channels")
        return data[: len(_ADAPTED) + 9], data[len(_ADAPTED) + 9 :]

    def restore(self, payload: memoryview, shape: Shape, quality: int) -> bytes:
        """The file again; FormatError when this codec trims nothing or the payload is too short."""
        if self.trimmer is None:
            raise CodecError(f"the stream says its {self.name} payload is trimmed, which this codec never is")
        head, rest = self._split(payload, shape)
        trimmer = self.planes.trimmer if head and self.planes else self.trimmer
        assert trimmer is not None
        return bytes(head) + trimmer.restore(rest, shape, quality)

    def require(self) -> None:
        """Raises CodecError when the codec cannot be used here."""
        if reason := self.reason():
            raise CodecError(f"codec {self.name} is not available: {reason}")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _show(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


# ---------------------------------------------------------------- Pillow's codecs


@cache
def _pillow_reason(feature: str) -> str:
    from PIL import features

    if features.check(feature):
        return ""
    return f"this Pillow was built without {feature}; install a Pillow wheel from PyPI (11.3 or newer)"


def _save(image: Image, plugin: str, *, planes: str = "", **params: Any) -> bytes:
    """The file; with `planes` the image's three are called that, so that the codec leaves them as they are."""
    from PIL import Image as pil

    if planes:
        pixels = pil.frombuffer(planes, image.shape[1::-1], np.ascontiguousarray(image), "raw", planes, 0, 1)
    else:
        pixels = pil.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    out = io.BytesIO()
    pixels.save(out, plugin, **params)
    return out.getvalue()


def _load(file: bytes, plugin: str, shape: Shape, *, planes: str = "") -> Image:
    """Opens `file` with one Pillow plugin and decodes it when its size and mode are as expected."""
    module = importlib.import_module(f"PIL.{plugin}ImagePlugin")
    with getattr(module, f"{plugin}ImageFile")(io.BytesIO(file)) as opened:
        if opened.size != (shape[1], shape[0]):
            raise CodecError(f"the payload says {_show(opened.size[::-1])}, the header {_show(shape)}")
        if planes:
            opened.draft(planes, opened.size)
        if opened.mode not in ((planes,) if planes else ("L", "RGB")) or getattr(opened, "n_frames", 1) != 1:
            raise CodecError(f"the payload has mode {opened.mode}, expected one frame of L or RGB")
        opened.load()
        return _pick(np.asarray(opened), shape)


def _pick(pixels: Image, shape: Shape) -> Image:
    """Grey from a codec that knows only RGB is its green channel."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    return pixels[..., 1:2] if shape[2] == 1 and pixels.shape[2] == 3 else pixels


class _Raised:
    """A number of a Pillow module that is at least what those need who use it just now."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """None is in use; in a forked child the threads that had the lock or some room are not there."""
        before: list[int | None] = getattr(self, "before", [])
        if before:
            setattr(importlib.import_module(self.module), self.name, before[0])
        self.lock, self.users = threading.Lock(), list[int]()
        self.before: list[int | None] = []

    @contextlib.contextmanager
    def to(self, n: int) -> Iterator[None]:
        module = importlib.import_module(self.module)
        with self.lock:
            if not self.users:
                self.before.append(getattr(module, self.name))
            self.users.append(n)
            if self.before[0] is not None:  # else there is no limit
                setattr(module, self.name, max(*self.users, self.before[0]))
        try:
            yield
        finally:
            with self.lock:
                self.users.remove(n)
                if not self.users:
                    setattr(module, self.name, self.before.pop())


#: Pillow writes some JPEGs into one buffer, which it makes too small for noise.
_room = _Raised("PIL.ImageFile", "MAXBLOCK")
#: Pillow's own limit, for images whose size has been checked already.
_pixels = _Raised("PIL.Image", "MAX_IMAGE_PIXELS")


def _encode_jpeg(image: Image, quality: float, subsampling: str, options: Options, *, planes: str = "") -> bytes:
    params = dict(options)
    if params.pop("tables", "annex-k") == "tuned":
        params["qtables"] = trim.jpeg_steps(quality, tuned=True)[: 1 if image.shape[2] == 1 else 2]
    else:
        params["quality"] = quality
    # The longest code of a coefficient has 27 bits; the buffer costs only what is written to it.
    with _room.to(min((1 << 31) - 1, 65536 + 4 * image.size)):
        return _save(image, "JPEG", planes=planes, subsampling=subsampling, optimize=True, **params)


def _decode_jpeg(file: bytes, shape: Shape, *, planes: str = "") -> Image:
    scans = file.count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS:
        raise CodecError(f"the payload has {scans} scans, expected at most {_MAX_JPEG_SCANS}")
    return _load(file, "Jpeg", shape, planes=planes)


def _encode_webp(image: Image, quality: float, subsampling: str, options: Options) -> bytes:
    params = {"method": 6, **options}
    params["use_sharp_yuv"] = params.pop("sharp_yuv", False)
    return _save(image, "WEBP", quality=quality, **params)


def _decode_webp(file: bytes, shape: Shape) -> Image:
    """The pixels of a still WebP, lossy or lossless; its size is read before the decoder sees it."""
    size = heads.webp_size(file)
    if size != shape[:2]:
        raise CodecError(f"the payload says {_show(size)}, the header {_show(shape)}")
    with _pixels.to(shape[0] * shape[1]):
        return _load(file, "WebP", shape)


def _encode_avif(image: Image, quality: float, subsampling: str, options: Options) -> bytes:
    chroma = {} if image.shape[2] == 1 else {"subsampling": subsampling}
    return _save(image, "AVIF", quality=quality, **{"speed": 6, **chroma, **options})


def _decode_avif(file: bytes, shape: Shape) -> Image:
    size = heads.av1_size(heads.avif_data(file))
    if size != shape[:2]:
        raise CodecError(f"the payload says {_show(size)}, the header {_show(shape)}")
    return _load(file, "Avif", shape)


def _encode_jpeg2000(
    image: Image, quality: float, subsampling: str, options: Options, *, planes: bool = False
) -> bytes:
    levels = min(6, min(image.shape[:2]).bit_length())
    file = _save(
        image, "JPEG2000", no_jp2=True, irreversible=True, mct=int(image.shape[2] == 3 and not planes),
        num_resolutions=levels, quality_mode="dB", quality_layers=[22 + 0.28 * quality + _PLANES_DB * planes],
        **options,
    )  # fmt: skip
    comment = file.find(b"\xff\x64", 0, 256)
    if comment > 0:
        file = file[:comment] + file[comment + 2 + int.from_bytes(file[comment + 2 : comment + 4], "big") :]
    return file


def _decode_jpeg2000(file: bytes, shape: Shape) -> Image:
    heads.check_jpeg2000(file, trim.jpeg2000_start(shape))
    return _load(file, "Jpeg2K", shape)


# ---------------------------------------------------------------- codecs of the extras


@cache
def _module_reason(module: str, extra: str, needed: str) -> str:
    """Why `module` cannot be used; `needed` is a name that only versions have which are new enough."""
    try:
        if hasattr(importlib.import_module(module), needed):
            return ""
        reason = f"this {module} is too old"
    except ImportError as error:
        reason = str(error)
    return f"{reason}; install it with: pip install -U 'fastcodec[{extra}]'"


def _encode_heic(image: Image, quality: float, subsampling: str, options: Options) -> bytes:
    heif = importlib.import_module("pillow_heif")
    grey = image.shape[2] == 1
    out = io.BytesIO()
    heif.encode(
        "L" if grey else "RGB", image.shape[1::-1], image.tobytes(), out, quality=quality,
        chroma=subsampling.replace(":", ""), enc_params={str(k): str(v) for k, v in options.items()},
    )  # fmt: skip
    return out.getvalue()


def _decode_heic(file: bytes, shape: Shape) -> Image:
    heif = importlib.import_module("pillow_heif")
    opened = heif.open_heif(io.BytesIO(file), convert_hdr_to_8bit=True)
    if len(opened) != 1 or opened.size != (shape[1], shape[0]) or opened.mode not in ("L", "RGB"):
        raise CodecError(f"the payload holds {opened.mode} {_show(opened.size[::-1])}, the header says {_show(shape)}")
    return _pick(np.asarray(opened), shape)


def _distance(quality: float) -> float:
    """libjxl's own map from a JPEG-like quality to its distance down to 30; then straight on to 19.7.

    From distance 20 on libjxl halves the image first, and its files become larger again.
    """
    return 0.1 + (100 - quality) * 0.09 if quality >= 30 else 6.4 + (30 - quality) * 0.46


def _encode_jxl(image: Image, quality: float, subsampling: str, options: Options) -> bytes:
    jxl = importlib.import_module("imagecodecs")
    pixels = image[..., 0] if image.shape[2] == 1 else image
    file = jxl.jpegxl_encode(
        pixels, distance=_distance(quality), lossless=False, usecontainer=False, effort=options.get("effort", 7),
        decodingspeed=options.get("decoding_speed", 0),
    )  # fmt: skip
    return bytes(file)


def _decode_jxl(file: bytes, shape: Shape) -> Image:
    size = heads.jxl_size(file)
    if size != shape[:2]:
        raise CodecError(f"the payload says {_show(size)}, the header {_show(shape)}")
    return _pick(importlib.import_module("imagecodecs").jpegxl_decode(file), shape)


# ---------------------------------------------------------------- our own


def _range_reason() -> str:
    from . import packed_model

    if packed_model.default_for("range") is not None:
        return ""
    return (
        f"no model for it is installed; put its {packed_model.SUFFIX} file into a folder named by "
        f"{packed_model.PATH_VARIABLE}"
    )


def _no_file(*_: Any) -> Any:
    raise CodecError("codec range has no files of its own; use fastcodec.encode and decode")


# ---------------------------------------------------------------- lossless, for alpha planes only


def _encode_png(plane: Image, quality: float, subsampling: str, options: Options) -> bytes:
    return _save(plane, "PNG", optimize=True)


def _decode_png(file: bytes, shape: Shape) -> Image:
    return _load(file, "Png", shape)


def _encode_webp_lossless(plane: Image, quality: float, subsampling: str, options: Options) -> bytes:
    return _save(np.repeat(plane, 3, axis=2), "WEBP", lossless=True, quality=75, method=4)


# By the method byte of an alpha section.
ALPHA_CODECS = {
    1: Codec("png", 0, ".png", 1 << 30, _encode_png, _decode_png, lambda: _pillow_reason("zlib")),
    2: Codec("webp", 0, ".webp", 16383, _encode_webp_lossless, _decode_webp, lambda: _pillow_reason("webp")),
}


# ---------------------------------------------------------------- the table

_CHROMA = ("4:2:0", "4:4:4")
_COLOURS = {"colours": Option(str, choices=("fixed", "adapted"))}

CODECS: dict[str, Codec] = {
    codec.name: codec
    for codec in (
        Codec(
            "jpeg", 1, ".jpg", 65500, _encode_jpeg, _decode_jpeg, lambda: _pillow_reason("jpg"), _CHROMA,
            {
                "smooth": Option(int, 0, 100), "restart_marker_rows": Option(int, 0, 1000), "progressive": Option(bool),
                "tables": Option(str, choices=("annex-k", "tuned")), **_COLOURS,
            },
            trim.JPEG, either="progressive", parts=(4, {"tables": "tuned"}),
        ).with_planes(partial(_encode_jpeg, planes="YCbCr"), partial(_decode_jpeg, planes="YCbCr"), trim.JPEG),
        Codec(
            "jpeg2000", 2, ".j2k", 1 << 20, _encode_jpeg2000, _decode_jpeg2000, lambda: _pillow_reason("jpg_2000"),
            (), {"progression": Option(str, choices=("LRCP", "RLCP", "RPCL", "PCRL", "CPRL")), **_COLOURS},
            trim.JPEG2000, parts=(4, {}),
        ).with_planes(partial(_encode_jpeg2000, planes=True), _decode_jpeg2000, trim.JPEG2000_PLANES),
        Codec(
            "webp", 3, ".webp", 16383, _encode_webp, _decode_webp, lambda: _pillow_reason("webp"), ("4:2:0",),
            {"method": Option(int, 0, 6), "sharp_yuv": Option(bool)}, trim.WEBP,
        ),
        Codec(
            "avif", 4, ".avif", 32768, _encode_avif, _decode_avif, lambda: _pillow_reason("avif"), _CHROMA,
            {"speed": Option(int, 0, 10), "advanced": Option(dict)}, trim.AVIF,
        ),
        Codec(
            "heic", 5, ".heic", 16384, _encode_heic, _decode_heic,
            lambda: _module_reason("pillow_heif", "heic", "open_heif"), _CHROMA,
            {"preset": Option(str, choices=("fast", "medium", "slow", "veryslow"))}, trim.HEIC,
        ),
        Codec(
            "jxl", 6, ".jxl", 1 << 20, _encode_jxl, _decode_jxl,
            lambda: _module_reason("imagecodecs", "jxl", "jpegxl_encode"), (),
            {"effort": Option(int, 1, 10), "decoding_speed": Option(int, 0, 4)}, parts=(16, {}),
        ),
        Codec(
            "range", 7, ".fcd", 1 << 20, _no_file, _no_file, _range_reason, (),
            {"tile": Option(int, 64, 16320), "dead_zone": Option(int, 0, 400), "refine": Option(int, 0, 8)},
            kind="range", default_quality=60,
        ),
    )
}  # fmt: skip
#: What encode takes where the caller names no codec.
DEFAULT = "range"
_BY_ID = {codec.id: codec for codec in CODECS.values()}


def by_name(name: str) -> Codec:
    """The codec called `name`; ValueError lists the known names."""
    if name not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, got {name!r}")
    return CODECS[name]


def by_id(number: int) -> Codec:
    """The codec that a stream names; CodecError when this build does not know it."""
    if number not in _BY_ID:
        raise CodecError(f"codec id {number} is unknown; a newer fastcodec may read this stream")
    return _BY_ID[number]
