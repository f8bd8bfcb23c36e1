# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Images as callers have them, to and from uint8 arrays (H, W, C) with alpha and metadata apart."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import BackendError

Array = npt.NDArray[np.uint8]

_ORIENTATION, _SHORT = 0x0112, 3
_EXIF_ID = b"Exif\0\0"
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# What a TIFF file says of its picture: description, make, model, software, date, artist and copyright.
_TIFF_TAGS, _EXIF_DIRECTORIES = (270, 271, 272, 305, 306, 315, 33432), (0x8769, 0x8825)


@dataclass(frozen=True)
class Source:
    """An image to encode: (H, W, 1 or 3), alpha (H, W) or None, metadata by name (icc, exif, xmp)."""

    image: Array
    alpha: Array | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)


def _is_torch(x: object) -> bool:
    return type(x).__module__.split(".")[0] == "torch"


def _is_pil(x: object) -> bool:
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(x).__mro__)


def split(x: Any) -> tuple[list[Any], bool]:
    """The images in `x`, and whether it was a list or batch."""
    if isinstance(x, (list, tuple)):
        return list(x), True
    if not _is_pil(x) and getattr(x, "ndim", None) == 4:
        return [x[number] for number in range(x.shape[0])], True
    return [x], False


def read(x: Any) -> Source:
    """One image of any accepted kind.

    Raises:
        TypeError: not an image, or not of 8 bits.
        ValueError: a shape that is no image.
    """
    if _is_pil(x):
        return _read_pil(x)
    if _is_torch(x):
        return _from_array(_torch_to_hwc(x))
    if isinstance(x, np.ndarray):
        return _from_array(x)
    if hasattr(x, "__dlpack__") or hasattr(x, "__cuda_array_interface__"):
        return _from_array(_from_device(x))
    if hasattr(x, "__array_interface__") or hasattr(x, "__array__"):
        return _from_array(np.asarray(x))
    raise TypeError(
        f"x must be a NumPy array, torch tensor, PIL image or an object with DLPack or an array interface, "
        f"got {type(x).__name__}; open a file with PIL.Image.open(path)"
    )


# ---------------------------------------------------------------- arrays


def _from_device(x: Any) -> npt.NDArray[Any]:
    """DLPack or CUDA array interface to a host array; the GPU's memory needs torch to be copied."""
    device_type = x.__dlpack_device__()[0] if hasattr(x, "__dlpack_device__") else 2
    if int(device_type) == 1:
        return np.from_dlpack(x)
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise BackendError("x lies on a GPU; copying it to the host needs torch: pip install torch") from None
    try:
        tensor = torch.from_dlpack(x) if hasattr(x, "__dlpack__") else torch.as_tensor(x, device="cuda")
        array: npt.NDArray[Any] = tensor.cpu().numpy()
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA, or no such device
        raise BackendError(f"x lies on a GPU that torch cannot read from: {str(error).splitlines()[0]}") from error
    return array


def _torch_to_hwc(x: Any) -> npt.NDArray[Any]:
    if str(x.dtype) != "torch.uint8":
        raise TypeError(
            _wrong_type(str(x.dtype), "x.mul(255).round().clamp(0, 255).to(torch.uint8)", "x.to(torch.uint8)")
        )
    if x.ndim != 3 or x.shape[0] not in (1, 2, 3, 4):
        hint = "; use x.permute(2, 0, 1)" if x.ndim == 3 and x.shape[2] in (1, 2, 3, 4) else ""
        raise ValueError(f"a torch image must be (C, H, W) with C 1 to 4, got {tuple(x.shape)}{hint}")
    array: npt.NDArray[Any] = x.detach().cpu().permute(1, 2, 0).numpy()
    return array


def _wrong_type(dtype: str, from_float: str, from_int: str) -> str:
    if "float" in dtype:
        remedy = f"if it holds 0 to 1, use {from_float}"
    elif "bool" in dtype:
        remedy = f"use 255 * {from_int}"
    elif "uint16" in dtype:
        remedy = "scale its 16 bits down to 8 first: x // 257, then convert to uint8"
    elif "int" in dtype:
        remedy = f"if it holds 0 to 255, use {from_int}"
    else:
        remedy = "make it numbers from 0 to 255 first"
    return f"x must be uint8, got {dtype}; {remedy}"


def _from_array(x: npt.NDArray[Any]) -> Source:
    if x.dtype != np.uint8:
        raise TypeError(
            _wrong_type(str(x.dtype), "(x * 255).round().clip(0, 255).astype(np.uint8)", "x.astype(np.uint8)")
        )
    if x.ndim == 2:
        x = x[..., None]
    if x.ndim != 3 or x.shape[2] not in (1, 2, 3, 4):
        hint = "; use x.transpose(1, 2, 0)" if x.ndim == 3 and x.shape[0] in (1, 2, 3, 4) else ""
        raise ValueError(f"an image must be (H, W) or (H, W, C) with C 1 to 4, got {x.shape}{hint}")
    if 0 in x.shape:
        raise ValueError(f"an image must have at least one pixel, got {x.shape}")
    if x.shape[2] in (1, 3):
        return Source(np.ascontiguousarray(x))
    return Source(np.ascontiguousarray(x[..., :-1]), np.ascontiguousarray(x[..., -1]))


# ---------------------------------------------------------------- PIL


def _read_pil(x: Any) -> Source:
    from PIL import ImageOps

    if deep := deep_mode(x):
        remedy = "; scale it down to 8 bits first"
        if deep.startswith("I;16"):
            remedy += ": PIL.Image.fromarray((numpy.asarray(x) // 257).astype('uint8'))"
        raise TypeError(f"x has mode {deep}, more than 8 bits a channel{remedy}")
    metadata = _pil_metadata(x)
    turned = ImageOps.exif_transpose(x) if _is_turned(x) else x
    if "xmp" in metadata and isinstance(turned.info.get("xmp"), bytes):
        metadata["xmp"] = turned.info["xmp"]  # exif_transpose takes the orientation out of it
    mode = _plain_mode(turned)
    if turned.mode in ("CMYK", "LAB"):
        metadata.pop("icc", None)  # the profile speaks of the colours that the conversion leaves
    source = _from_array(np.asarray(turned if turned.mode == mode else turned.convert(mode)))
    return Source(source.image, source.alpha, metadata)


def deep_mode(x: Any) -> str:
    """The mode of a PIL image of more than 8 bits a channel, or ""; for a file that is not loaded yet, its own."""
    if x.mode in _DEEP_MODES:
        return str(x.mode)
    stored = [part for tile in getattr(x, "tile", ()) for part in tile[3:] if isinstance(part, (str, tuple))]
    names = [name for part in stored for name in ((part,) if isinstance(part, str) else part[:1])]
    return next((name for name in names if isinstance(name, str) and ";16" in name), "")


def _is_turned(x: Any) -> bool:
    try:
        return x.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # Pillow's EXIF reader throws many kinds at damaged blocks; such a block turns nothing
        return False


def _plain_mode(x: Any) -> str:
    """L, LA, RGB or RGBA: the least that holds everything in `x`."""
    grey = x.mode in ("1", "L", "LA", "La")
    return ("L" if grey else "RGB") + ("A" if x.has_transparency_data else "")


def _pil_metadata(x: Any) -> dict[str, bytes]:
    found = {"icc": x.info.get("icc_profile"), "exif": x.info.get("exif"), "xmp": x.info.get("xmp")}
    if not found["exif"] and getattr(x, "format", None) == "TIFF":
        found["exif"] = tiff_exif(x)
    metadata = {name: bytes(value) for name, value in found.items() if isinstance(value, (bytes, bytearray)) and value}
    if "exif" in metadata:
        metadata["exif"] = reset_orientation(metadata["exif"].removeprefix(_EXIF_ID))
    return metadata


def tiff_exif(x: Any) -> bytes:
    """What the directories of an opened TIFF file say of the picture, as an EXIF block; empty when they say nothing."""
    from PIL.Image import Exif

    kept = Exif()
    try:
        found = x.getexif()
        for tag in _TIFF_TAGS:
            if tag in found:
                kept[tag] = found[tag]
        for directory in _EXIF_DIRECTORIES:
            if entries := found.get_ifd(directory):
                kept.get_ifd(directory).update(entries)
        return kept.tobytes() if len(kept) or any(kept.get_ifd(d) for d in _EXIF_DIRECTORIES) else b""
    except Exception:  # as in _is_turned
        return b""


def reset_orientation(exif: bytes) -> bytes:
    """The EXIF block (a TIFF header and its directories) with orientation 1 in its first directory.

    Everything else stays as it is, makers' notes too; a block that cannot be read is returned unchanged.
    """
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return exif
    little = exif[:1] == b"I"

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], "little" if little else "big")

    directory = number(4, 4)
    for entry in range(number(directory, 2)):
        at = directory + 2 + 12 * entry
        if at + 12 > len(exif):
            break
        if number(at, 2) == _ORIENTATION and number(at + 2, 2) == _SHORT:
            one = b"\x01\x00" if little else b"\x00\x01"
            return exif[: at + 8] + one + exif[at + 10 :]
    return exif


# ---------------------------------------------------------------- results


def to_numpy(image: Array) -> Array:
    """(H, W) for grey, else (H, W, C)."""
    return image[..., 0] if image.shape[2] == 1 else image


def require_torch(device: str | None) -> Any:
    """The module torch; BackendError where there is none, or where it cannot use `device`."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise BackendError("out='torch' needs torch: pip install torch") from None
    if device not in (None, "cpu") and not torch.cuda.is_available():
        raise BackendError(f"device={device!r}: this torch sees no CUDA device; use device='cpu'")
    return torch


def to_torch(image: Any, device: str | None) -> Any:
    """A tensor (C, H, W) on `device`, of an array (H, W, C), or of a tensor (H, W, C) that lies there."""
    torch = require_torch(device)
    if not isinstance(image, np.ndarray):
        return image.permute(2, 0, 1).contiguous()
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return tensor if device is None else tensor.to(device)


def to_pil(image: Array, metadata: dict[str, bytes]) -> Any:
    """A PIL image of mode L, LA, RGB or RGBA; metadata lies in its info, where Pillow's writers find it."""
    from PIL import Image

    out = Image.fromarray(to_numpy(image))
    if "icc" in metadata:
        out.info["icc_profile"] = metadata["icc"]
    if "exif" in metadata:
        out.info["exif"] = _EXIF_ID + metadata["exif"]
    if "xmp" in metadata:
        out.info["xmp"] = metadata["xmp"]
    return out
