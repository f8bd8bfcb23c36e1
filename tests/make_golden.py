# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden: streams that every later version must decode to the same pixels, and bad ones.

Without --write it says which files it would change. Existing streams are never rewritten: a change of the
bytes is a new file beside the old one, with a note under "Format" in CHANGELOG.md. Needs every inner codec.

    python tests/make_golden.py [--write]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import fastcodec
import numpy as np
import range_cases
from fastcodec import container, packed_model
from fastcodec._core import crc32c
from fastcodec.codecs import CODECS
from PIL import Image
from test_codecs import picture

GOLDEN = Path(__file__).parent / "golden"
MODELS = GOLDEN / "models"
MODEL = MODELS / "jpeg-golden.safetensors"
GROUPS_MODEL = MODELS / "jpeg-groups.safetensors"
RANGE_MODEL = MODELS / "range-golden.safetensors"
# Those that are installed get streams (range-fast-1 only decodes by now; its streams are there).
RANGE_SHIPPED = ("range-fast-1", "range-fast-2")
WRAPPED_SHIPPED = (
    *(f"{codec}-fast-1" for codec in ("jpeg", "avif", "webp", "jpeg2000", "heic", "jxl")),
    *(f"{codec}-fast-2" for codec in ("jpeg", "avif", "webp", "jpeg2000")),
    *(f"{codec}-fast-{number}" for number in (3, 4) for codec in ("jpeg", "jpeg2000")),
)
HASHES = GOLDEN / "hashes.json"
ERRORS = GOLDEN / "bad" / "errors.json"
EXIF = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def pixel_hash(data: bytes, **options: Any) -> str:
    """SHA-256 over the shape and pixels that a stream decodes to."""
    pixels = fastcodec.decode(data, **options)
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def photo() -> Image.Image:
    """A picture with EXIF (orientation 6), ICC and XMP."""
    out = io.BytesIO()
    image = Image.fromarray(picture(30, 44, 3))
    image.save(
        out, "WEBP", lossless=True, exif=EXIF, icc_profile=b"icc" * 20, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    )
    return Image.open(out)


def untrimmed(x: np.ndarray) -> bytes:
    """A stream that carries the inner codec's whole file, as writers do whose codec spells its head otherwise."""
    jpeg = CODECS["jpeg"]
    file = jpeg.encode(x, 75)
    crc = crc32c(np.ascontiguousarray(jpeg.decode(file, x.shape)).data.cast("B"))
    return container.write_fcd(container.Header(x.shape[1], x.shape[0], 3, jpeg.id, 75, crc), file, None, {})


def installed(name: str) -> bool:
    return any(model.name == name for model in packed_model.installed().values())


def good() -> dict[str, Callable[[], bytes]]:
    """File name to how it is made."""
    rgb, grey = picture(47, 61, 3), picture(47, 61, 1)
    rgba = np.dstack([rgb, (grey > 120) * np.uint8(200)])
    on = {"model": MODEL, "networks": "on"}
    shipped = {
        f"{name.replace('-fast-', '_fast')}_rec{scale}_{kind}.fcd": lambda name=name, scale=scale, x=x: encode(
            x, codec=name.split("-")[0], model=name, networks="on", scale=scale, quality=45
        )
        for name in WRAPPED_SHIPPED
        if installed(name)
        for scale in (1, 2)
        if f"rec{scale}_rgb" in packed_model.by_name(name).programs
        for kind, x in (("rgb", rgb), ("grey", grey))
    }
    encode: Any = fastcodec.encode
    streams: dict[str, Callable[[], bytes]] = {
        f"{name}_{kind}.fcd": lambda name=name, x=x: encode(x, codec=name, quality=55, networks="off")
        for name, codec in CODECS.items()
        if codec.kind == "image"
        for kind, x in (("rgb", rgb), ("grey", grey))
    }
    green = np.broadcast_to(np.uint8([0, 255, 0]), (80, 80, 3))  # every latent is coded
    tiled = np.dstack([picture(70, 140, 3), (picture(70, 140, 1) > 150) * np.uint8(255)])
    ours = {
        f"range_{name}_{kind}.fcd": lambda model=model, x=x, options=options: encode(x, model=model, **options)
        for name, model in (
            ("golden", RANGE_MODEL),
            *((n.replace("range-fast-", "fast"), n) for n in RANGE_SHIPPED if installed(n)),
        )
        for kind, x, options in (
            ("rgb", rgb, {"quality": 100}),
            ("grey", grey, {"quality": 60}),
            ("bytes", rgb, {"target_bytes": 125}),
            ("tiles_alpha", tiled, {"quality": 50, "codec_options": {"tile": 64}}),
        )
    } | {
        f"range_{n.replace('range-fast-', 'fast')}_green.fcd": lambda n=n: encode(green, model=n, quality=20)
        for n in RANGE_SHIPPED[1:]
    }
    return (
        streams
        | shipped
        | ours
        | {
            "jpeg_444.fcd": lambda: encode(rgb, quality=80, subsampling="4:4:4", networks="off"),
            **{
                f"jpeg_sequential_{name}.fcd": lambda x=x, chroma=chroma: encode(
                    x, quality=12, subsampling=chroma, networks="off", codec_options={"progressive": False}
                )
                for name, x, chroma in (("rgb", rgb, "4:2:0"), ("444", rgb, "4:4:4"), ("grey", grey, "auto"))
            },
            **{
                f"heic_trimmed_{name}.fcd": lambda x=x, chroma=chroma: encode(
                    x, codec="heic", quality=55, subsampling=chroma, networks="off"
                )
                for name, x, chroma in (("rgb", rgb, "4:2:0"), ("444", rgb, "4:4:4"), ("grey", grey, "auto"))
            },
            **{
                f"jpeg_tuned_{name}.fcd": lambda x=x, options=options: encode(
                    x, networks="off", codec_options={"tables": "tuned"}, **options
                )
                for name, x, options in (
                    ("rgb", rgb, {"target_bytes": 940}),
                    ("444", rgb, {"quality": 30, "subsampling": "4:4:4"}),
                    ("grey", grey, {"target_psnr": 30}),
                )
            },
            **{
                f"{codec}_adapted_{name}.fcd": lambda codec=codec, options=options, chroma=chroma: encode(
                    rgb, codec=codec, quality=40, networks="off", subsampling=chroma, codec_options=options
                )
                for codec, name, chroma, options in (
                    ("jpeg", "rgb", "4:2:0", {"colours": "adapted", "tables": "tuned"}),
                    ("jpeg", "444", "4:4:4", {"colours": "adapted", "progressive": False}),
                    ("jpeg2000", "rgb", "auto", {"colours": "adapted"}),
                )
            },
            "jpeg_untrimmed.fcd": lambda: untrimmed(rgb),
            "jpeg_one_pixel.fcd": lambda: encode(rgb[:1, :1], networks="off"),
            "jpeg_alpha.fcd": lambda: encode(rgba, quality=40, networks="off"),
            "jpeg_grey_alpha_constant.fcd": lambda: encode(np.dstack([grey, grey * 0 + 7]), networks="off"),
            "jpeg_metadata.fcd": lambda: encode(photo(), networks="off"),
            "jpeg_rec1_rgb.fcd": lambda: encode(rgb, quality=40, scale=1, **on),
            "jpeg_rec1_grey.fcd": lambda: encode(grey, quality=40, scale=1, **on),
            "jpeg_rec2_rgb.fcd": lambda: encode(rgb, quality=70, scale=2, **on),
            "jpeg_rec2_grey.fcd": lambda: encode(grey, quality=70, scale=2, **on),
            "jpeg_rec2_alpha.fcd": lambda: encode(rgba, quality=70, scale=2, **on),
            **{
                f"jpeg_groups_rec{scale}_{name}.fcd": lambda x=x, scale=scale: encode(
                    x, quality=50, scale=scale, model=GROUPS_MODEL, networks="on"
                )
                for name, x in (("rgb", rgb), ("grey", grey))
                for scale in (1, 2)
            },
            "plain.jpg": lambda: encode(photo(), container="jpeg", networks="off"),
            "plain_rec1_alpha.jpg": lambda: encode(rgba, quality=50, container="jpeg", **on),
        }
    )


def _fcd(payload: bytes = b"", **changes: Any) -> bytes:
    fields = {"width": 9, "height": 8, "channels": 3, "codec": 1, "quality": 50, "inner_crc": 0, **changes}
    return container.write_fcd(container.Header(**fields), payload, None, {})


def _patched(name: str, at: int, value: int, header_bytes: int) -> bytes:
    """A golden stream with one header byte changed and the header's checksum made right again."""
    data = bytearray((GOLDEN / name).read_bytes())
    data[at] = value
    data[header_bytes - 4 : header_bytes] = crc32c(data[: header_bytes - 4]).to_bytes(4, "little")
    return bytes(data)


def _range(kind: str, change: Callable[[bytes], bytes] = bytes, **fields: Any) -> bytes:
    """A golden stream of codec range with another payload or header fields, and right checksums."""
    found = container.read((GOLDEN / f"range_golden_{kind}.fcd").read_bytes(), fastcodec.Limits())
    alpha = None if found.alpha is None else bytes(found.alpha)
    return container.write_fcd(replace(found.header, **fields), change(bytes(found.payload)), alpha, {})


def bad() -> dict[str, tuple[str, Callable[[], bytes]]]:
    """File name to the error it must give, and how it is made from the good ones."""
    file = CODECS["jpeg"].encode(picture(8, 9, 3), 50)
    grey = (GOLDEN / "jpeg_grey.fcd").read_bytes
    plain = (GOLDEN / "plain.jpg").read_bytes
    return {
        "empty.fcd": ("TruncatedError", lambda: b""),
        "magic_only.fcd": ("TruncatedError", lambda: b"\xfcCD"),
        "png.fcd": ("FormatError", lambda: b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        "half.fcd": ("TruncatedError", lambda: grey()[: len(grey()) // 2]),
        "trailing.fcd": ("FormatError", lambda: grey() + b"\0"),
        "payload_bit.fcd": ("ChecksumError", lambda: grey()[:-9] + bytes((grey()[-9] ^ 4,)) + grey()[-8:]),
        "header_bit.fcd": ("ChecksumError", lambda: grey()[:9] + bytes((grey()[9] ^ 1,)) + grey()[10:]),
        "version_2.fcd": ("FormatError", lambda: _patched("jpeg_grey.fcd", 3, 2, 17)),
        "reserved_flag.fcd": ("FormatError", lambda: _patched("jpeg_grey.fcd", 4, 0x90, 17)),
        "half_without_networks.fcd": ("FormatError", lambda: _patched("jpeg_grey.fcd", 4, 0x18, 17)),
        "codec_99.fcd": ("CodecError", lambda: _patched("jpeg_grey.fcd", 5, 99, 17)),
        "wrong_codec.fcd": ("CodecError", lambda: _patched("jpeg_untrimmed.fcd", 5, 4, 17)),
        "wrong_width.fcd": ("CodecError", lambda: _patched("jpeg_untrimmed.fcd", 6, 62, 17)),
        "wrong_quality.fcd": ("ChecksumError", lambda: _patched("jpeg_rgb.fcd", 8, 30, 17)),
        "quality_0.fcd": ("FormatError", lambda: _patched("jpeg_rgb.fcd", 8, 0, 17)),
        "trimmed_heic.fcd": ("CodecError", lambda: _patched("heic_rgb.fcd", 4, 17, 17)),
        "unknown_model.fcd": ("ModelError", lambda: _patched("jpeg_rec1_rgb.fcd", 12, 0, 26)),
        "level_200.fcd": ("FormatError", lambda: _patched("jpeg_rec1_rgb.fcd", 9, 200, 26)),
        "other_pixels.fcd": ("ChecksumError", lambda: _fcd(file)),
        # Before there were tuned tables, a FormatError.
        "jpeg_other_scans.fcd": ("ChecksumError", lambda: _fcd(b"\12" + bytes(200), trimmed=True)),
        "jpeg_other_colours.fcd": ("FormatError", lambda: _fcd(b"\xff\xff" + bytes(8), trimmed=True)),
        "jpeg_other_quarter.fcd": ("FormatError", lambda: _fcd(b"\22" + bytes(200), trimmed=True)),
        "heic_other_parameters.fcd": ("FormatError", lambda: _fcd(b"\x0c" + bytes(200), codec=5, trimmed=True)),
        "no_payload.fcd": ("CodecError", lambda: _fcd()),
        "too_many_pixels.fcd": ("LimitError", lambda: _fcd(file, width=1 << 20, height=1 << 20)),
        "range_other_check.fcd": ("ChecksumError", lambda: _range("grey", inner_crc=1)),
        "range_other_check_of_a_tile.fcd": (
            "ChecksumError",
            lambda: _range("tiles_alpha", lambda p: p[:14] + bytes((p[14] ^ 1,)) + p[15:]),
        ),
        "range_no_model.fcd": ("FormatError", lambda: _range("grey", networks=None)),
        "range_no_tile_side.fcd": ("FormatError", lambda: _range("grey", lambda p: b"\0" + p[1:])),
        "range_empty.fcd": ("TruncatedError", lambda: _range("grey", lambda p: b"")),
        "range_cut.fcd": ("FormatError", lambda: _range("grey", lambda p: p[:-1])),
        "range_longer.fcd": ("FormatError", lambda: _range("grey", lambda p: p + b"\0")),
        "range_a_tile_too_few.fcd": ("FormatError", lambda: _range("tiles_alpha", lambda p: p[:1] + p[2:])),
        "range_other_size.fcd": ("FormatError", lambda: _range("grey", width=65)),
        "plain_cut.jpg": ("TruncatedError", lambda: plain()[:-10]),
        "plain_changed_scan.jpg": ("ChecksumError", lambda: plain()[:-30] + bytes((plain()[-30] ^ 1,)) + plain()[-29:]),
        "plain_changed_exif.jpg": ("ChecksumError", lambda: plain().replace(b"icciccicc", b"iccIccicc")),
        "plain_without_us.jpg": ("FormatError", lambda: file),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write what is missing")
    write = parser.parse_args().write
    os.environ["FASTCODEC_MODELS"] = str(MODELS)
    if write:
        for folder in (MODELS, ERRORS.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if not MODEL.exists():
            cases.write_model(MODEL, variant="golden", width=4, blocks=1, levels=(20, 40, 80))
        if not GROUPS_MODEL.exists():
            cases.write_model(GROUPS_MODEL, variant="groups", width=8, levels=(20, 80), groups=2)
        if not RANGE_MODEL.exists():
            range_cases.write(
                RANGE_MODEL, name="range-golden", variant="golden", latent=8, hyper=2, features=4, levels=5
            )
    hashes = json.loads(HASHES.read_text()) if HASHES.exists() else {}
    for name, make in good().items():
        if (GOLDEN / name).exists():
            continue
        print("new", name)
        if write:
            (GOLDEN / name).write_bytes(make())
            hashes[name] = pixel_hash((GOLDEN / name).read_bytes())
    errors = json.loads(ERRORS.read_text()) if ERRORS.exists() else {}
    for name, (error, make) in bad().items():
        if (ERRORS.parent / name).exists():
            continue
        print("new bad", name)
        if write:
            (ERRORS.parent / name).write_bytes(make())
            errors[name] = error
    if write:
        HASHES.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")
        ERRORS.write_text(json.dumps(errors, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
