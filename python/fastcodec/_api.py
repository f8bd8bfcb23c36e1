# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The public calls: checks of arguments, the kinds of arrays that come in and go out, messages."""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _core, container, flow, images
from .codecs import CODECS, DEFAULT, by_id, by_name
from .container import Limits
from .errors import BackendError, CodecError, ModelError

if TYPE_CHECKING:
    from .packed_model import PackedModel

Data: TypeAlias = "bytes | bytearray | memoryview"

_NETWORKS = ("auto", "on", "off")
_CONTAINERS = ("fcd", "jpeg")
_TUNES = ("psnr", "ssim")
_OUTPUTS = ("numpy", "torch", "pil")
MAX_THREADS = 256  # of the native core


@dataclass(frozen=True)
class Info:
    """What a stream says about itself.

    `mode` is L, LA, RGB or RGBA; `scale` the denominator of the inner image's size, 1 or 2; `model` the
    model id in hexadecimal and `level` its row, both None without networks; `payload_bytes` the
    codec's part of `total_bytes`; `bpp` total bits a pixel; icc, exif and xmp the metadata, or None.
    """

    width: int
    height: int
    mode: str
    codec: str
    quality: int
    networks: bool
    scale: int
    level: int | None
    model: str | None
    model_name: str | None
    container: str
    version: int
    total_bytes: int
    payload_bytes: int
    alpha_bytes: int
    metadata_bytes: int
    bpp: float
    icc: bytes | None = field(default=None, repr=False)
    exif: bytes | None = field(default=None, repr=False)
    xmp: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Status:
    """Whether a codec or backend can be used here; `reason` says why not and what to install."""

    name: str
    available: bool
    reason: str


# ---------------------------------------------------------------- encode


def encode(
    x: Any,
    *,
    codec: str | None = None,
    quality: int | None = None,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    model: str | os.PathLike[str] | PackedModel | None = None,
    networks: str = "auto",
    scale: int | str = "auto",
    subsampling: str = "auto",
    tune: str = "psnr",
    container: str = "fcd",
    codec_options: dict[str, Any] | None = None,
    metadata: bool = True,
    device: str | None = None,
    threads: int | None = None,
) -> bytes | list[bytes]:
    """Compresses an image.

    Codec range is our own, a learned one. Around any other the encoder tries the bare codec, RecCNN on its payload, and
    ComCNN, codec and RecCNN at half size, decodes each, and keeps the best: the result is never worse than the bare
    codec at equal payload bytes.

    Args:
        x: uint8 image: NumPy (H, W) or (H, W, C) with C 1 to 4 (grey, grey and alpha, RGB, RGBA), torch
            (C, H, W), a PIL image, or an object with DLPack or an array interface, laid out as NumPy's.
            A list, a torch batch (N, C, H, W) or a NumPy batch (N, H, W, C) gives a list of streams.
        codec: a name of codecs(). None: that of `model`, or the library's default, or jpeg where networks="off",
            scale, subsampling or container asks for what only an image codec has.
        quality: 1 to 100; 75 without any target, for range 60. For an image codec it sets the payload's budget, the
            bare codec's bytes at that quality; for range it is a place among the model's levels.
        target_bytes, target_bpp: largest size of the whole stream; target_psnr: smallest dB over all
            channels but alpha. At most one of quality and these.
        model: name, packed model file or PackedModel; the codec's default without it.
        networks: "auto" keeps them where they help, "on" always, "off" never; range always has them.
        scale: 1, 2 or "auto": the size of the inner image, full or half.
        subsampling: chroma format of the inner codec: "4:2:0", "4:4:4" or "auto".
        tune: "psnr" or "ssim" (Wang et al. 2004): what the choice among networks, sizes and chroma formats is by;
            where SSIM differs by less than 0.003, or a side has less than its window of 11, PSNR decides.
        container: "fcd", or "jpeg": a plain JPEG that every viewer opens, with the network's part inside.
        codec_options: more options of the inner codec; an unknown one is an error that lists the known.
        metadata: keep ICC profile, EXIF and XMP of a PIL image. Its EXIF orientation is always applied.
        device: "cpu", "cuda" or "cuda:N". It must be there; the encoder's networks run on the CPU for now, and the
            bytes do not depend on it.
        threads: at most so many threads.

    Returns:
        The stream, or a list of them.

    Raises:
        TypeError, ValueError: an argument does not fit, or the target is out of reach.
        CodecError, ModelError, BackendError: the codec, model or device is missing.

    Example:
        >>> import fastcodec, numpy as np
        >>> x = np.zeros((40, 60, 3), np.uint8)
        >>> data = fastcodec.encode(x, quality=60)
        >>> fastcodec.decode(data).shape
        (40, 60, 3)
    """
    _check_device(device)
    _require_backend(device)
    if not isinstance(metadata, bool):
        raise TypeError(f"metadata must be True or False, got {metadata!r}")
    settings = settings_for(codec, model, networks, scale, subsampling, tune, container, codec_options, threads)
    items, many = images.split(x)
    if many:
        targets = (quality, target_bytes, target_bpp, target_psnr)
        return [_encode_one(item, settings, targets, metadata) for item in items]
    return _encode_one(items[0], settings, (quality, target_bytes, target_bpp, target_psnr), metadata)


_Targets: TypeAlias = "tuple[int | None, int | None, float | None, float | None]"


def _encode_one(x: Any, settings: flow.Settings, targets: _Targets, metadata: bool) -> bytes:
    source = images.read(x)
    height, width = source.image.shape[:2]
    target = _target(targets, width * height, settings.codec.default_quality)
    kept = source.metadata if metadata else {}
    if sum(map(len, kept.values())) > Limits.max_metadata:
        raise ValueError(
            f"the image has {sum(map(len, kept.values()))} bytes of ICC, EXIF and XMP, decoders accept "
            f"{Limits.max_metadata}; use metadata=False"
        )
    return flow.encode_image(source.image, source.alpha, kept, settings, target)


def _target(targets: _Targets, pixels: int, default_quality: int) -> flow.Target:
    names = ("quality", "target_bytes", "target_bpp", "target_psnr")
    given = [(name, value) for name, value in zip(names, targets, strict=True) if value is not None]
    if len(given) > 1:
        raise ValueError(f"at most one of {', '.join(names)}, got {' and '.join(name for name, _ in given)}")
    name, value = given[0] if given else ("quality", default_quality)
    if name in ("quality", "target_bytes"):
        number = _int(name, value)
        if name == "quality" and not 1 <= number <= 100:
            raise ValueError(f"quality must be 1 to 100, got {number}")
        if number < 1:
            raise ValueError(f"{name} must be at least 1, got {number}")
        return flow.Target("quality" if name == "quality" else "bytes", number)
    amount = _positive(name, value)
    if name == "target_bpp":
        return flow.Target("bytes", max(1, int(min(amount * pixels / 8, 2.0**62))))
    return flow.Target("psnr", amount)


def settings_for(
    codec: str | None, model: Any, networks: str, scale: int | str, subsampling: str, tune: str,
    container_name: str, codec_options: dict[str, Any] | None, threads: int | None,
) -> flow.Settings:  # fmt: skip
    """The checked arguments of encode. Raises as encode does."""
    _choice("networks", networks, _NETWORKS)
    _choice("container", container_name, _CONTAINERS)
    _choice("tune", tune, _TUNES)
    if not isinstance(scale, str):
        scale = _int("scale", scale)
    if scale not in ("auto", 1, 2):
        raise ValueError(f"scale must be 'auto', 1 or 2, got {scale!r}")
    given = None if model is None else _given_model(model)
    if codec is None:
        codec = default_codec(given, networks, scale, subsampling, container_name)
    _choice("codec", codec, tuple(CODECS))
    entry = by_name(codec)
    if entry.kind != "range":  # which says itself that it needs a model
        entry.require()
    if scale == 2 and networks == "off":
        raise ValueError("scale=2 needs the networks; use networks='auto' or 'on', or scale=1")
    if container_name == "jpeg" and (codec != "jpeg" or scale == 2):
        raise ValueError("container='jpeg' takes codec='jpeg' at scale 1 or 'auto'; use container='fcd'")
    if entry.kind == "range" and (networks == "off" or scale == 2):
        raise ValueError("codec range is made of networks and has one size; use networks='auto' and scale='auto'")
    if entry.kind == "range" and tune != "psnr":
        raise ValueError(f"codec range has nothing to choose from by {tune}; use tune='psnr', or codec='jpeg'")
    if not isinstance(codec_options, (Mapping, type(None))):
        raise TypeError(f"codec_options must be a dict, got {codec_options!r}")
    options = dict(codec_options or {})
    if container_name == "jpeg" and options.get("colours") == "adapted":
        raise ValueError("container='jpeg' is for every viewer, which do not know colours='adapted'; drop that option")
    entry.check_options(subsampling, options)
    return flow.Settings(
        entry, _model(given, codec, networks), networks, None if isinstance(scale, str) else scale,
        subsampling, container_name, options, _threads(threads), _model(given, codec, networks, "rec2"),
        tune,
    )  # fmt: skip


def default_codec(model: Any, networks: str, scale: int | str, subsampling: str, container_name: str) -> str:
    """The codec of an encode that names none: see encode."""
    if model is not None:
        return _given_model(model).codec
    plain = networks == "off" or scale in (2, "2") or subsampling != "auto" or container_name == "jpeg"
    return "jpeg" if plain else DEFAULT


def _given_model(model: Any) -> PackedModel:
    """The model that the caller names: a PackedModel, a file or a name."""
    from . import packed_model

    if isinstance(model, os.PathLike) or (isinstance(model, str) and model.endswith(packed_model.SUFFIX)):
        return packed_model.load(model)
    if isinstance(model, str):
        model = packed_model.by_name(model)
    if isinstance(model, packed_model.Installed):
        return model.load()
    if isinstance(model, packed_model.PackedModel):
        return model
    raise TypeError(f"model must be a name, a .safetensors file or a PackedModel, got {type(model).__name__}")


def _model(given: PackedModel | None, codec: str, networks: str, program: str = "") -> PackedModel | None:
    """The model to use: the one given, or the codec's default among those that have the program."""
    from . import packed_model

    if given is not None and given.codec != codec:
        raise ValueError(f"model {given.name} was made for codec {given.codec}, got codec={codec!r}")
    if networks == "off":
        return None
    default = None if given else packed_model.default_for(codec, program)
    if given is None and default is None and networks == "on" and not program:
        raise ModelError(f"networks='on', but there is no model for codec {codec}; pass model=, or networks='auto'")
    return default.load() if default else given


# ---------------------------------------------------------------- decode


def decode(
    data: Data | Sequence[Data],
    *,
    out: str = "numpy",
    device: str | None = None,
    region: tuple[int, int, int, int] | None = None,
    limits: Limits | None = None,
    strict: bool = True,
    threads: int | None = None,
) -> Any:
    """Restores the image of a stream.

    Args:
        data: what encode returned, or a list of them.
        out: "numpy": (H, W) for grey, else (H, W, C); "torch": (C, H, W); "pil": an image with its
            metadata. All uint8.
        device: where a torch result lies: "cpu", "cuda" or "cuda:N". On a GPU the networks run there too, if this
            build and the GPU can, and give the same pixels.
        region: (x, y, width, height): only these pixels, equal to the same part of the whole image.
        limits: what the stream may ask for; see Limits for the defaults.
        strict: False accepts an inner codec build that decodes other pixels than the encoder's did.
        threads: at most so many threads.

    Returns:
        The image, or a list of images.

    Raises:
        FormatError: damaged or foreign bytes (TruncatedError, ChecksumError say which).
        LimitError, CodecError, ModelError, BackendError: see the message.
        TypeError, ValueError: an argument does not fit.

    Example:
        >>> import fastcodec, numpy as np
        >>> data = fastcodec.encode(np.full((8, 8), 77, np.uint8), codec="jpeg")
        >>> fastcodec.decode(data, region=(2, 3, 5, 1))
        array([[77, 77, 77, 77, 77]], dtype=uint8)
    """
    if not isinstance(strict, bool):
        raise TypeError(f"strict must be True or False, got {strict!r}")
    if isinstance(data, (list, tuple)):
        return [
            decode(d, out=out, device=device, region=region, limits=limits, strict=strict, threads=threads)
            for d in data
        ]  # fmt: skip
    _choice("out", out, _OUTPUTS)
    _check_device(device)
    if device not in (None, "cpu") and out != "torch":
        raise ValueError(f"device={device!r} needs out='torch', got out={out!r}")
    if out == "torch":
        images.require_torch(device)
    limits = _limits(limits)
    stream = container.read(_view(data), limits)
    if region is not None:
        region = _region(region, stream.header)
    image: Any = flow.decode_image(
        stream, limits, region=region, strict=strict, threads=_threads(threads),
        device=None if device == "cpu" else device,
    )  # fmt: skip
    if out == "numpy":
        return images.to_numpy(image)
    return images.to_torch(image, device) if out == "torch" else images.to_pil(image, stream.metadata)


def _region(region: Any, header: container.Header) -> flow.Region:
    if not isinstance(region, (tuple, list)) or len(region) != 4:
        raise ValueError(f"region must be (x, y, width, height), got {region!r}")
    x, y, w, h = (_int("region", value) for value in region)
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > header.width or y + h > header.height:
        raise ValueError(f"region must lie in the image of {header.width} x {header.height}, got {tuple(region)}")
    return x, y, w, h


# ---------------------------------------------------------------- info, verify, lists


def info(data: Data, *, limits: Limits | None = None) -> Info:
    """Reads what a stream says about itself, without decoding pixels; checksums of the bytes are checked.

    Args:
        data: what encode returned; limits: as decode.

    Raises:
        FormatError, LimitError: as decode.

    Example:
        >>> import fastcodec, numpy as np
        >>> i = fastcodec.info(fastcodec.encode(np.zeros((5, 7), np.uint8), networks="off"))
        >>> i.width, i.height, i.mode, i.codec
        (7, 5, 'L', 'jpeg')
    """
    return _info(container.read(_view(data), _limits(limits)))


def verify(data: Data, *, limits: Limits | None = None, threads: int | None = None) -> Info:
    """Decodes a stream fully and strictly; returns its Info or raises what decode would.

    Args:
        data: what encode returned; limits, threads: as decode.

    Raises:
        FormatError, LimitError, CodecError, ModelError: as decode.

    Example:
        >>> import fastcodec, numpy as np
        >>> fastcodec.verify(fastcodec.encode(np.zeros((5, 7), np.uint8), codec="jpeg")).quality
        75
    """
    limits = _limits(limits)
    stream = container.read(_view(data), limits)
    flow.decode_image(stream, limits, threads=_threads(threads))
    return _info(stream)


def _info(stream: container.Stream) -> Info:
    header, networks = stream.header, stream.header.networks
    try:
        codec = by_id(header.codec).name
    except CodecError:
        codec = f"unknown ({header.codec})"
    return Info(
        width=header.width,
        height=header.height,
        mode=("RGB" if header.channels == 3 else "L") + ("A" if header.alpha else ""),
        codec=codec,
        quality=header.quality,
        networks=networks is not None,
        scale=header.scale,
        level=networks.level if networks else None,
        model=networks.model_id.hex() if networks else None,
        model_name=_model_name(networks.model_id) if networks else None,
        container=stream.container,
        version=stream.version,
        total_bytes=stream.total_bytes,
        payload_bytes=len(stream.payload),
        alpha_bytes=len(stream.alpha or b""),
        metadata_bytes=sum(map(len, stream.metadata.values())),
        bpp=8 * stream.total_bytes / (header.width * header.height),
        **stream.metadata,
    )  # fmt: skip


def _model_name(model_id: bytes) -> str | None:
    from . import packed_model

    try:
        model = packed_model.installed().get(model_id)
    except ModelError:
        return None
    return model.name if model else None


def codecs() -> list[Status]:
    """The codecs, whether each can be used here, and what to install when not.

    Example:
        >>> import fastcodec
        >>> [status.name for status in fastcodec.codecs()][:2]
        ['jpeg', 'jpeg2000']
    """
    return [Status(codec.name, not codec.reason(), codec.reason()) for codec in CODECS.values()]


def backends() -> list[Status]:
    """The compute backends, best first, and why one is missing.

    Example:
        >>> import fastcodec
        >>> any(status.available for status in fastcodec.backends())
        True
    """
    return [Status(str(name), bool(available), str(reason)) for name, available, reason in _core.backends()]


# ---------------------------------------------------------------- arguments


def _view(data: Any) -> memoryview:
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(f"data must be bytes, got {type(data).__name__}; read a file with open(path, 'rb')") from None
    if not view.c_contiguous:
        raise TypeError("data must be contiguous bytes; pass bytes(data)")
    return view.cast("B")


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _int(name: str, value: object) -> int:
    try:
        if not isinstance(value, bool):
            return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        pass
    raise TypeError(f"{name} must be an int, got {value!r}")


def _positive(name: str, value: object) -> float:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
    return number


def _threads(threads: object) -> int | None:
    if threads is None:
        return None
    number = _int("threads", threads)
    if number < 1:
        raise ValueError(f"threads must be at least 1, got {number}")
    return min(number, MAX_THREADS)


def _limits(limits: Limits | None) -> Limits:
    if limits is not None and not isinstance(limits, Limits):
        raise TypeError(f"limits must be fastcodec.Limits, got {type(limits).__name__}")
    return limits or Limits()


def _check_device(device: object) -> None:
    if device is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", str(device)):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:N', got {device!r}")


def _require_backend(device: object) -> None:
    """Raises BackendError when the networks cannot run on `device`."""
    if device is None or device == "cpu" or any(s.name == "cuda" and s.available for s in backends()):
        return
    reasons = "; ".join(s.reason for s in backends() if s.name == "cuda") or "this build has no CUDA backend"
    raise BackendError(f"device {device!r} cannot be used: {reasons}; use device='cpu'")
