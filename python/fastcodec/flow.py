# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The path of an image to a stream and back: what encoders and the decoder share, and the decoder.

The encoders are wrapped_encoder.py, around a codec, and range_encoder.py. Images are uint8 (H, W, C), C 1 or 3; the
alpha plane travels beside them, uint8 (H, W).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import metrics
from ._core import crc32c, get_num_threads
from .codecs import ALPHA_CODECS, by_id
from .container import Header, Limits, Stream
from .errors import BackendError, ChecksumError, FormatError, LimitError, ModelError

if TYPE_CHECKING:
    import torch

    from .codecs import Codec, Image, Options
    from .packed_model import PackedModel, Program

Region = tuple[int, int, int, int]

_ROWS_AT_ONCE = 256
_CONSTANT = 0


@dataclass(frozen=True)
class Target:
    """What the encoder aims at: kind "quality" (1..100), "bytes" (of the whole stream) or "psnr" (dB)."""

    kind: str
    value: float


@dataclass(frozen=True)
class Settings:
    """Everything about an encode that is not the image: see fastcodec.encode for the meaning.

    `half` is the model for half size where `model` has none for it.
    """

    codec: Codec
    model: PackedModel | None
    networks: str = "auto"
    scale: int | None = None
    subsampling: str = "auto"
    container: str = "fcd"
    options: Options = field(default_factory=dict)
    threads: int | None = None
    half: PackedModel | None = None
    tune: str = "psnr"


def squared_error(a: Image, b: Image) -> int:
    """The sum of squared differences of two uint8 arrays of one shape; exact."""
    total = 0
    for at in range(0, a.shape[0], _ROWS_AT_ONCE):
        rows = slice(at, at + _ROWS_AT_ONCE)
        difference = np.subtract(a[rows], b[rows], dtype=np.int16)
        np.multiply(difference, difference, out=difference)  # 255 ** 2 wraps in int16 and fits in uint16
        total += int(difference.view(np.uint16).sum(dtype=np.uint64))
    return total


def decibels(error: int, samples: int) -> float:
    """PSNR of a squared error over so many 8-bit samples."""
    return metrics.psnr_of_mse(error / samples)


def buffer(image: Image) -> memoryview:
    return np.ascontiguousarray(image).data.cast("B")


# ---------------------------------------------------------------- programs of a model


_PROGRAM_SCALES = {"rec1": 1.0, "com1": 1.0, "rec2": 2.0, "com2": 0.5}


def checked_program(model: PackedModel, name: str, channels: int) -> Program | None:
    """The program rec1, com1, rec2 or com2 for grey or RGB; ModelError when it is not what its name says."""
    program = model.programs.get(f"{name}_{'rgb' if channels == 3 else 'grey'}")
    if program is not None and (program.scale, program.channels) != (_PROGRAM_SCALES[name], channels):
        raise ModelError(
            f"model {model.name}: program {name} gives {program.channels} channels at scale {program.scale:g}, "
            f"expected {channels} at {_PROGRAM_SCALES[name]:g}"
        )
    if program is not None and not program.in_dtype == program.dtype == np.uint8:
        raise ModelError(
            f"model {model.name}: program {name} makes {program.dtype} of {program.in_dtype}, expected uint8 of uint8"
        )
    return program


# ---------------------------------------------------------------- the encoder


def encode_image(
    image: Image, alpha: Image | None, metadata: dict[str, bytes], settings: Settings, target: Target
) -> bytes:
    """One image to one stream.

    Raises:
        ValueError: the target is out of reach, or the codec takes no image of this size.
        ModelError, CodecError: networks or codec are missing or fail.
    """
    codec = settings.codec
    if max(image.shape[:2]) > codec.max_side:
        raise ValueError(
            f"image is {image.shape[1]} x {image.shape[0]}, codec {codec.name} takes sides up to {codec.max_side}; "
            "use another codec or cut the image"
        )
    if codec.kind == "range":
        from . import range_encoder

        return range_encoder.encode_image(image, alpha, metadata, settings, target)
    from . import wrapped_encoder

    return wrapped_encoder.encode_image(image, alpha, metadata, settings, target)


# ---------------------------------------------------------------- the decoder


def check_memory(stream: Stream, region: Region | None, limits: Limits) -> None:
    """Estimates the peak of decode_image and raises LimitError above limits.max_memory.

    Counted: stream and payload, the codec's coefficients (2 bytes) and Pillow's 4 bytes a pixel beside
    two copies of the inner image, an alpha plane on its way through WebP, and the result. The inner image
    counts as colour: some codecs know only that, and a payload may hold it whatever the header says.
    """
    header = stream.header
    height, width, channels = header.inner_shape
    pixels = header.width * header.height
    result = pixels if region is None else region[2] * region[3]
    inner = height * width * 16
    alpha = pixels * 14 if header.alpha else 0
    limits.check("max_memory", 2 * stream.total_bytes + inner + alpha + result * (channels + 1), "decoding")


def decode_image(
    stream: Stream, limits: Limits, *, region: Region | None = None, strict: bool = True, threads: int | None = None,
    device: str | None = None,
) -> Image | torch.Tensor:  # fmt: skip
    """The pixels of a stream, uint8 (H, W, C) with C 1, 2 (grey, alpha), 3 or 4.

    With `region` (x, y, w, h) only those pixels: the same as in the whole image. With `device`, one that torch can
    use, RecCNN or codec range's networks run there if the device can, and the result is a tensor there; else it is an
    array as without.

    Raises:
        Error: codec or model missing, damaged payload, limits; ChecksumError when the inner codec gives
            other pixels than at encoding and `strict` is on.
    """
    header = stream.header
    codec = by_id(header.codec)
    image: Image | torch.Tensor
    if codec.kind == "range":
        image = _decode_range(stream, limits, region, threads, device)
    else:
        image = _decode_pixels(stream, codec, limits, region, strict, threads, device)
    alpha = None
    if stream.alpha is not None:
        x, y, w, h = region or (0, 0, header.width, header.height)
        alpha = decode_alpha(stream.alpha, header.height, header.width)[y : y + h, x : x + w, None]
    if not isinstance(image, np.ndarray):
        import torch

        return image if alpha is None else torch.cat((image, torch.tensor(alpha, device=image.device)), 2)
    return np.require(image if alpha is None else np.concatenate((image, alpha), axis=2), np.uint8, ["C", "W"])


def _decode_range(
    stream: Stream, limits: Limits, region: Region | None, threads: int | None, device: str | None
) -> Image | torch.Tensor:
    """The pixels of a stream of codec range, without alpha; an array where the device cannot run its networks."""
    from . import range_codec

    if device is not None:
        with contextlib.suppress(BackendError, LimitError):  # as in _run_on
            return range_codec.decode_pixels(stream, limits, region=region, threads=threads, device=device)
    return range_codec.decode_pixels(stream, limits, region=region, threads=threads)


def _decode_pixels(
    stream: Stream, codec: Codec, limits: Limits, region: Region | None, strict: bool, threads: int | None,
    device: str | None,
) -> Image | torch.Tensor:  # fmt: skip
    """The pixels of an image codec's stream, without alpha."""
    header = stream.header
    if stream.container == "jpeg" and (codec.name != "jpeg" or header.trimmed):
        raise FormatError(f"codec {codec.name} in container {stream.container} does not fit this stream")
    program = _decoder_program(header) if header.networks else None
    check_memory(stream, region, limits)
    shape = header.inner_shape
    payload = memoryview(stream.payload)
    file = codec.restore(payload, shape, header.quality) if header.trimmed else bytes(payload)
    inner = codec.decode(file, shape)
    if strict and (found := crc32c(buffer(inner))) != header.inner_crc:
        raise ChecksumError(
            f"codec {codec.name} decoded other pixels than at encoding: CRC-32C {header.inner_crc:08x} stored, "
            f"{found:08x} found; another build of its library may do that, strict=False accepts them"
        )
    x, y, w, h = region or (0, 0, header.width, header.height)
    if program is None or header.networks is None:
        return inner[y : y + h, x : x + w]
    size = (header.height, header.width)
    free = max(1, limits.max_memory - 2 * stream.total_bytes - inner.size - w * h * (header.channels + 1))
    level = header.networks.level
    tensor = None if device is None else _run_on(device, free, program, inner, level, size, region)
    return run_within(free, program, inner, level, size, region, threads) if tensor is None else tensor


def _run_on(
    device: str, max_memory: int, program: Program, image: Image, level: int, size: tuple[int, int],
    region: Region | None,
) -> torch.Tensor | None:  # fmt: skip
    """The result as a tensor on `device`; None where that cannot be used or takes more than `max_memory`."""
    import torch

    try:
        return program.run_torch(torch.tensor(image, device=device), level, size, region=region, max_memory=max_memory)
    except (BackendError, LimitError):  # the CPU is always there, and needs less where it has fewer threads
        return None


def run_within(
    max_memory: int, program: Program, image: npt.NDArray[Any], level: int, size: tuple[int, int],
    region: Region | None, threads: int | None,
) -> npt.NDArray[Any]:  # fmt: skip
    """Runs a program with as many threads as have work space in `max_memory` bytes; LimitError if not even one has."""
    while True:
        try:
            return program.run(image, level, size, region=region, threads=threads, max_memory=max_memory)
        except LimitError:  # raised before any work
            if threads == 1:
                raise
            threads = max(1, (threads or get_num_threads()) // 2)


def _decoder_program(header: Header) -> Program:
    from . import packed_model

    networks = header.networks
    assert networks is not None
    model = packed_model.find(networks.model_id)
    program = checked_program(model, f"rec{networks.scale}", header.channels)
    if program is None:
        colour = "RGB" if header.channels == 3 else "grey"
        raise ModelError(f"model {model.name} has no RecCNN for {colour} images at scale 1/{networks.scale}")
    if networks.level >= len(program.levels):
        raise FormatError(f"level is {networks.level}, model {model.name} has {len(program.levels)}")
    return program


# ---------------------------------------------------------------- alpha, always lossless


def encode_alpha(plane: Image) -> bytes:
    """The body of an alpha section: a method byte and the plane (H, W) in the smallest of three ways."""
    value = int(plane[0, 0])
    if (plane == value).all():
        return bytes((_CONSTANT, value))
    return min(
        (
            bytes((method,)) + codec.encode(plane[..., None], 100)
            for method, codec in ALPHA_CODECS.items()
            if not codec.reason() and max(plane.shape) <= codec.max_side
        ),
        key=len,
    )


def decode_alpha(body: bytes | memoryview, height: int, width: int) -> Image:
    """The plane (H, W) of an alpha section.

    Raises:
        FormatError, CodecError: the body is malformed, or not a plane of this size.
    """
    method, data = int(body[0]) if len(body) else -1, bytes(body[1:])
    if method == _CONSTANT and len(data) == 1:
        return np.full((height, width), data[0], np.uint8)
    if method in ALPHA_CODECS:
        return ALPHA_CODECS[method].decode(data, (height, width, 1))[..., 0]
    raise FormatError(f"alpha section has method {method} and {len(data)} bytes; a newer fastcodec may read it")
