# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The command line where users meet its edges: their own files, formats that hold less, odd names, closed streams."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cases
import fastcodec
import numpy as np
import pytest
from fastcodec import container
from PIL import Image
from test_cli import BAD_DATA, COMMAND, OK, SYSTEM, USAGE, done, encoded, files, picture, pixels, refused, run


def test_compare_never_writes_over_the_image(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", quality=95)
    picture().save(tmp_path / "b.png")
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    for arguments in (["a.jpg", "--keep", "."], ["b.png", "-o", "b.png"], ["b.png", "-o", "sub/../b.png"]):
        (tmp_path / "sub").mkdir(exist_ok=True)
        message = refused(USAGE, "compare", *arguments, "--force", "--bpp", "2", cwd=tmp_path)
        assert "would be overwritten" in message
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_compare_looks_for_existing_files_before_it_codes(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a.avif").write_bytes(b"x")
    assert "a.avif exists" in refused(USAGE, "compare", "a.png", "--keep", "kept", "--bpp", "2", cwd=tmp_path)
    assert files(tmp_path) == ["a.png", "kept/a.avif"]
    assert "no codec can write a.png in 1 bytes" in refused(USAGE, "compare", "a.png", "--bytes", "1", cwd=tmp_path)
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert "bad.png: not an image" in refused(BAD_DATA, "compare", "bad.png", cwd=tmp_path)


@pytest.mark.parametrize("ending", ["bmp", "ppm", "pgm"])
def test_formats_without_alpha_refuse_it(tmp_path: Path, ending: str) -> None:
    for name, mode in (("rgba", "RGBA"), ("la", "LA")):
        image = picture().convert(mode)
        image.putalpha(Image.fromarray(cases.image(40, 50, 1, 5)[..., 0]))
        (tmp_path / f"{name}.fcd").write_bytes(fastcodec.encode(image, codec="jpeg", networks="off"))
        assert "no alpha" in refused(USAGE, "decode", f"{name}.fcd", "--format", ending, cwd=tmp_path)
    assert files(tmp_path) == ["la.fcd", "rgba.fcd"]


def test_pgm_is_for_grey_images(tmp_path: Path) -> None:
    encoded(tmp_path / "a.fcd", codec="jpeg", networks="off")
    assert ".pgm is for grey images" in refused(USAGE, "decode", "a.fcd", "--format", "pgm", cwd=tmp_path)
    (tmp_path / "g.fcd").write_bytes(fastcodec.encode(picture().convert("L"), codec="jpeg", networks="off"))
    done("decode", "g.fcd", "--format", "pgm", cwd=tmp_path)
    assert pixels(tmp_path / "g.pgm").shape == (40, 50)


def camera_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "a description", "somebody"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize("xmp", [b"", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"])
@pytest.mark.parametrize("icc", [b"", b"icc " * 40])
def test_what_a_camera_writes_reaches_a_tiff_file(tmp_path: Path, icc: bytes, xmp: bytes) -> None:
    more = {name: value for name, value in (("icc_profile", icc), ("xmp", xmp)) if value}
    picture().save(tmp_path / "a.webp", exif=camera_exif(), quality=90, **more)
    done("encode", "a.webp", cwd=tmp_path)
    done("decode", "a.fcd", "--format", "tif", cwd=tmp_path)
    with Image.open(tmp_path / "a.tif") as back:
        exif = back.getexif()
        assert (exif[0x010E], exif[0x013B]) == ("a description", "somebody")
        assert exif.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
        assert exif.get_ifd(0x8825)[1] == "N"
        assert back.info.get("icc_profile", b"") == icc
        assert back.info.get("xmp", b"") == xmp


def test_what_a_tiff_file_says_is_kept(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.tif", exif=camera_exif().tobytes())
    done("encode", "a.tif", cwd=tmp_path)
    exif = fastcodec.decode((tmp_path / "a.fcd").read_bytes(), out="pil").getexif()
    assert (exif[0x010E], exif[0x013B]) == ("a description", "somebody")
    assert exif.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert not {0x0100, 0x0111, 0x0117} & set(exif), "how the file was stored is not part of the picture"
    with Image.open(tmp_path / "a.tif") as image:
        assert fastcodec.info(fastcodec.encode(image)).exif
    picture().save(tmp_path / "plain.tif")
    done("encode", "plain.tif", cwd=tmp_path)
    assert not fastcodec.info((tmp_path / "plain.fcd").read_bytes()).exif


def png_of_16_bits(colour: int, channels: int) -> bytes:
    """A PNG file of 8 x 8 pixels of 16 bits, of a colour type."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + bytes(8 * channels * 2) for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_images_of_16_bits_are_refused(tmp_path: Path, colour: int, channels: int) -> None:
    data = png_of_16_bits(colour, channels)
    (tmp_path / "a.png").write_bytes(data)
    assert "more than 8 bits a channel" in refused(BAD_DATA, "encode", "a.png", cwd=tmp_path)
    with pytest.raises(TypeError, match="more than 8 bits a channel"):
        fastcodec.encode(Image.open(io.BytesIO(data)))


def test_limits_can_be_raised(tmp_path: Path) -> None:
    header = container.Header(width=1 << 15, height=1 << 14, channels=1, codec=1, quality=50, inner_crc=0)
    (tmp_path / "large.fcd").write_bytes(container.write_fcd(header, b"x", None, {}))
    for command in ("info", "verify", "decode"):
        message = refused(BAD_DATA, command, "large.fcd", cwd=tmp_path)
        assert "give --max-pixels 536870912" in message
        assert "Limits(" not in message
    done("info", "large.fcd", "--max-pixels", "536870912", cwd=tmp_path)
    message = refused(BAD_DATA, "verify", "large.fcd", "--max-pixels", "536870912", cwd=tmp_path)
    assert "give --max-memory" in message


def test_names_that_stdout_cannot_hold(tmp_path: Path) -> None:
    odd = os.fsdecode(b"bad\xff.png") if sys.platform == "linux" else "bad.png"
    for name in (odd, "äöü.png", "a.png"):
        picture().save(tmp_path / name, "PNG")
    for encoding in ("utf-8:strict", "ascii"):
        env = {"PYTHONIOENCODING": encoding}
        result = run("encode", odd, "äöü.png", "a.png", "-d", encoding[:2], cwd=tmp_path, **env)
        assert (result.returncode, result.stdout.count(b"bytes,")) == (OK, 3), result
        result = run("encode", odd, "äöü.png", "a.png", "-d", "j" + encoding[:2], "--json", cwd=tmp_path, **env)
        assert [row["input"] for row in json.loads(result.stdout)] == [odd, "äöü.png", "a.png"]
        assert run("compare", odd, "--bpp", "2", "--force", cwd=tmp_path, **env).returncode == OK
        assert run("info", f"{encoding[:2]}/{odd[:-4]}.fcd", cwd=tmp_path, **env).returncode == OK


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_closed_streams(tmp_path: Path) -> None:
    data = encoded(tmp_path / "a.fcd", codec="jpeg", networks="off")
    picture().save(tmp_path / "a.png")

    def shell(line: str) -> subprocess.CompletedProcess[bytes]:
        command = " ".join(COMMAND)
        return subprocess.run(["sh", "-c", f"{command} {line}"], capture_output=True, cwd=tmp_path, check=False)

    for line, message in (("decode a.fcd -o - >&-", "stdout is closed"), ("encode - -o x.fcd <&-", "stdin is closed")):
        result = shell(line)
        assert result.returncode == SYSTEM
        assert message in result.stderr.decode()
    assert shell("info a.fcd >&-").returncode == OK
    result = shell("decode nothing.fcd 2>&-")
    assert (result.returncode, result.stdout) == (USAGE, b"")
    assert shell("encode a.png -c jpeg -o b.fcd >&- 2>&- <&-").returncode == OK
    assert fastcodec.decode((tmp_path / "b.fcd").read_bytes()).shape == fastcodec.decode(data).shape


def test_libraries_do_not_talk(tmp_path: Path) -> None:
    out = io.BytesIO()
    picture().save(out, "JPEG", exif=camera_exif())
    data = bytearray(out.getvalue())
    at = data.index(b"Exif\0\0") + 6
    data[at + 8 : at + 10] = b"\xff\x00" if data[at : at + 1] == b"M" else b"\x00\xff"  # far more entries
    (tmp_path / "a.jpg").write_bytes(data)
    done("encode", "a.jpg", cwd=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["decode", "a.fcd", "--region", "0,0,51,1", "-f"], "region"),
        (["decode", "a.fcd", "--region", "\u00b2,0,1,1"], "X,Y,W,H"),
        (["encode", "a.png", "--codec-option", "tile=65", "-f"], "tile"),
        (["encode", "a.png", "-c", "avif", "--codec-option", "advanced={x"], "JSON"),
        (["encode", "a.png", "-d", "a.fcd", "-f"], "is a file, not a folder"),
    ],
)
def test_more_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    encoded(tmp_path / "a.fcd", codec="jpeg", networks="off")
    picture().save(tmp_path / "a.png")
    assert message in refused(USAGE, *arguments, cwd=tmp_path)


def test_codec_options_may_be_json(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    common = ["encode", "a.png", "-c", "avif", "--networks", "off", "-q", "50", "-f"]
    done(*common, "-o", "plain.fcd", cwd=tmp_path)
    done(*common, "-o", "other.fcd", "--codec-option", 'advanced={"tune": "ssim"}', cwd=tmp_path)
    assert (tmp_path / "plain.fcd").read_bytes() != (tmp_path / "other.fcd").read_bytes()


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    refused(BAD_DATA, "encode", "bad.png", "-d", "new/sub", cwd=tmp_path)
    assert not (tmp_path / "new").exists()


def test_a_wrong_number_of_threads_is_an_error(tmp_path: Path) -> None:
    encoded(tmp_path / "a.fcd")
    for text in ("abc", "0", "-5", "2.5"):
        message = refused(USAGE, "decode", "a.fcd", "-f", cwd=tmp_path, FASTCODEC_NUM_THREADS=text)
        assert f"FASTCODEC_NUM_THREADS must be a whole number above 0, got '{text}'" in message
    done("decode", "a.fcd", "-f", cwd=tmp_path, FASTCODEC_NUM_THREADS="2")
    done("decode", "a.fcd", "-f", cwd=tmp_path, FASTCODEC_NUM_THREADS="")


def test_a_broken_model_says_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "x.safetensors").write_bytes(b"nothing")
    message = refused(3, "models", cwd=tmp_path, FASTCODEC_MODELS=str(tmp_path / "models"))
    assert str(tmp_path / "models") in message
    assert "FASTCODEC_MODELS" in message


def test_bench_rd_names_files_that_are_no_images_before_it_measures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture().save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_bytes(b"")
    (tmp_path / "in" / "c.png").write_bytes((tmp_path / "in" / "a.png").read_bytes()[:200])
    message = refused(BAD_DATA, "bench", "rd", "in", "--no-plot", "--qualities", "50", "-d", "out", cwd=tmp_path)
    assert "2 of 3 images cannot be read: b.png (" in message
    assert "c.png (" in message
    assert not (tmp_path / "out").exists()


def is_there(group: int) -> bool:
    """Whether any process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_bench_rd_ends_at_interrupts(tmp_path: Path) -> None:
    """Two in a row, as impatient people send them to all processes of a terminal; no process is left."""
    (tmp_path / "in").mkdir()
    for seed in range(3):
        Image.fromarray(cases.image(1200, 1200, 3, seed)).save(tmp_path / "in" / f"{seed}.png")
    command = [*COMMAND, "bench", "rd", "in", "-c", "range", "-j", "2", "--no-plot", "-d", "out"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a job in the background ignores
    )  # fmt: skip
    begun = time.monotonic()
    while not (tmp_path / "out" / "points").is_dir() and time.monotonic() < begun + 60:
        time.sleep(0.1)
    time.sleep(3)  # in the middle of it
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)  # which ends when nobody holds the pipes any more
    assert process.returncode in (130, -signal.SIGINT), (out, err)  # the second may come when Python has ended
    assert err.count(b"\n") <= 1, err
    deadline = time.monotonic() + 20
    while is_there(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_there(process.pid)


def test_a_webp_may_be_larger_than_pillow_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cases.image(40, 50)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = fastcodec.encode(x, codec="webp", networks="off", quality=90)
    assert np.abs(fastcodec.decode(data).astype(int) - x).mean() < 12
    assert Image.MAX_IMAGE_PIXELS == 100
