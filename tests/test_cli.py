# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The command line as its users meet it: in a process of its own, by bytes, files and exit codes."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cases
import fastcodec
import numpy as np
import pytest
from fastcodec import container
from fastcodec.codecs import DEFAULT
from PIL import Image

OK, BAD_DATA, USAGE, MISSING, SYSTEM = 0, 1, 2, 3, 4
COMMAND = [sys.executable, "-m", "fastcodec"]


def run(*arguments: str | Path, cwd: Path, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], input=stdin, capture_output=True, cwd=cwd, timeout=120,
        env={**os.environ, "FASTCODEC_MODELS": "", **env}, check=False,
    )  # fmt: skip


def done(*arguments: str | Path, cwd: Path, stdin: bytes = b"", **env: str) -> bytes:
    """stdout of a command that must succeed without a word on stderr."""
    result = run(*arguments, cwd=cwd, stdin=stdin, **env)
    assert (result.returncode, result.stderr) == (OK, b""), result
    return result.stdout


def refused(code: int, *arguments: str | Path, cwd: Path, stdin: bytes = b"", **env: str) -> str:
    """The message of a command that must fail with `code` and one clean line."""
    result = run(*arguments, cwd=cwd, stdin=stdin, **env)
    message = result.stderr.decode()
    assert result.returncode == code, result
    assert re.fullmatch(r"fastcodec: error: [^\n]+\n", message), message
    assert b"Traceback" not in result.stderr
    return message


def picture(height: int = 40, width: int = 50, seed: int = 3) -> Image.Image:
    return Image.fromarray(cases.image(height, width, 3, seed))


def encoded(path: Path, seed: int = 3, **options: Any) -> bytes:
    data = fastcodec.encode(picture(seed=seed), **options)
    assert isinstance(data, bytes)
    path.write_bytes(data)
    return data


def pixels(data: bytes | Path) -> np.ndarray:
    return np.asarray(Image.open(data if isinstance(data, Path) else io.BytesIO(data)))


def files(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_encode_info_verify_decode(tmp_path: Path) -> None:
    picture().save(tmp_path / "photo.png")
    line = done("encode", "photo.png", "--quality", "60", cwd=tmp_path).decode()
    data = (tmp_path / "photo.fcd").read_bytes()
    assert line.startswith(f"photo.png -> photo.fcd: {len(data):,} bytes")
    assert done("encode", "photo.png", "-q", "60", "-o", "-", cwd=tmp_path) == data
    line = done("encode", "photo.png", "--codec", "jpeg2000", "--networks", "off", "-o", "x.fcd", cwd=tmp_path).decode()
    assert line.endswith("networks off\n")
    (tmp_path / "x.fcd").unlink()
    assert data == fastcodec.encode(picture(), quality=60)

    (row,) = json.loads(done("info", "photo.fcd", "--json", cwd=tmp_path))
    assert (row["input"], row["width"], row["height"], row["codec"]) == ("photo.fcd", 50, 40, DEFAULT)
    assert row["total_bytes"] == len(data)
    shown = done("info", "photo.fcd", cwd=tmp_path).decode()
    assert "payload_bytes" in shown
    assert str(row["payload_bytes"]) in shown

    assert done("verify", "photo.fcd", cwd=tmp_path) == b"photo.fcd: ok\n"
    assert done("decode", "photo.fcd", "-o", "back.png", "--quiet", cwd=tmp_path) == b""
    assert np.array_equal(pixels(tmp_path / "back.png"), fastcodec.decode(data))
    assert files(tmp_path) == ["back.png", "photo.fcd", "photo.png"]


def test_stdin_to_stdout(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    data = done("encode", "-", "--bpp", "3", "--codec", "webp", cwd=tmp_path, stdin=buffer.getvalue())
    assert data == fastcodec.encode(picture(), codec="webp", target_bpp=3)
    back = done("decode", "-", "--format", "ppm", cwd=tmp_path, stdin=data)
    assert back.startswith(b"P6")
    assert np.array_equal(pixels(back), fastcodec.decode(data))
    part = done("decode", "-", "--region", "3,4,20,10", cwd=tmp_path, stdin=data)
    assert np.array_equal(pixels(part), fastcodec.decode(data)[4:14, 3:23])
    assert json.loads(done("info", "-", "--json", cwd=tmp_path, stdin=data))[0]["codec"] == "webp"
    assert files(tmp_path) == []
    assert "--json needs stdout" in refused(USAGE, "decode", "-", "--json", cwd=tmp_path, stdin=data)


def test_globs_and_output_folder(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "b.png", "c.bmp")):
        picture(seed=seed).save(tmp_path / name)
    rows = json.loads(done("encode", "*.png", "c.bmp", "-d", "out/deep", "--json", cwd=tmp_path))
    assert [row["input"] for row in rows] == ["a.png", "b.png", "c.bmp"]
    assert [row["output"] for row in rows] == [str(Path("out/deep") / f"{name}.fcd") for name in "abc"]
    done("decode", "out/deep/*.fcd", "-o", "back/", "--format", "webp", cwd=tmp_path)
    assert sorted(path.name for path in (tmp_path / "back").iterdir()) == ["a.webp", "b.webp", "c.webp"]
    expected = fastcodec.decode((tmp_path / "out/deep/c.fcd").read_bytes())
    assert np.array_equal(pixels(tmp_path / "back/c.webp"), expected)
    assert done("verify", "**/*.fcd", cwd=tmp_path).count(b": ok\n") == 3
    picture().save(tmp_path / "c.png")
    assert "two inputs would write" in refused(USAGE, "encode", "c.*", "-d", "new", cwd=tmp_path)
    assert not (tmp_path / "new").exists()


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    good = encoded(tmp_path / "a.fcd")
    (tmp_path / "b.fcd").write_bytes(good[:-5])
    encoded(tmp_path / "c.fcd", seed=5)
    result = run("decode", "a.fcd", "b.fcd", "c.fcd", "--json", cwd=tmp_path)
    assert result.returncode == BAD_DATA
    rows = json.loads(result.stdout)
    assert ["error" in row for row in rows] == [False, True, False]
    assert rows[1]["exit_code"] == BAD_DATA
    assert result.stderr.decode() == f"fastcodec: error: b.fcd: {rows[1]['error']}\n"
    assert files(tmp_path) == ["a.fcd", "a.png", "b.fcd", "c.fcd", "c.png"]


def test_overwrite_protection(tmp_path: Path) -> None:
    picture().save(tmp_path / "photo.png")
    (tmp_path / "photo.fcd").write_bytes(b"precious")
    assert "photo.fcd exists; use --force" in refused(USAGE, "encode", "photo.png", cwd=tmp_path)
    assert (tmp_path / "photo.fcd").read_bytes() == b"precious"
    done("encode", "photo.png", "--force", cwd=tmp_path)
    assert fastcodec.info((tmp_path / "photo.fcd").read_bytes()).width == 50
    assert "photo.png exists" in refused(USAGE, "decode", "photo.fcd", cwd=tmp_path)
    (tmp_path / "photo.html").write_text("precious")
    assert "photo.html exists" in refused(USAGE, "compare", "photo.png", cwd=tmp_path)


BAD_STREAMS = {
    "empty": b"",
    "foreign": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "text": b"hello, this is not a stream at all",
}


@pytest.mark.parametrize("name", BAD_STREAMS)
@pytest.mark.parametrize("command", ["decode", "verify"])
def test_bad_streams(tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "bad.fcd").write_bytes(BAD_STREAMS[name])
    assert "bad.fcd: " in refused(BAD_DATA, command, "bad.fcd", cwd=tmp_path)
    assert files(tmp_path) == ["bad.fcd"]


def test_damaged_stream_leaves_the_old_output(tmp_path: Path) -> None:
    data = bytearray(encoded(tmp_path / "a.fcd"))
    data[len(data) // 2] ^= 0x40
    (tmp_path / "a.fcd").write_bytes(data)
    (tmp_path / "a.png").write_bytes(b"precious")
    message = refused(BAD_DATA, "decode", "a.fcd", "--force", cwd=tmp_path)
    assert "CRC-32C" in message
    assert (tmp_path / "a.png").read_bytes() == b"precious"
    assert files(tmp_path) == ["a.fcd", "a.png"]
    assert "Traceback" in run("--debug", "decode", "a.fcd", "-f", cwd=tmp_path).stderr.decode()


def test_bad_images(tmp_path: Path) -> None:
    picture(300, 300).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "fine.png").write_bytes(b"")
    assert "damaged image" in refused(BAD_DATA, "encode", "cut.png", cwd=tmp_path)
    assert "not an image" in refused(BAD_DATA, "encode", "text.png", cwd=tmp_path)
    assert "8 bits" in refused(BAD_DATA, "encode", "deep.png", cwd=tmp_path)
    assert "out of reach" in refused(BAD_DATA, "encode", _saved(tmp_path / "ok.png"), "--bytes", "9", cwd=tmp_path)
    assert files(tmp_path) == ["cut.png", "deep.png", "fine.png", "ok.png", "text.png"]


def _saved(path: Path) -> Path:
    picture().save(path)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command"),
        (["encode"], "Missing argument"),
        (["encode", "none.png"], "no such file: none.png"),
        (["encode", "*.nothing"], "no file matches"),
        (["encode", "."], "is a folder"),
        (["encode", "a.png", "--quality", "0"], "--quality"),
        (["encode", "a.png", "--quality", "50", "--bpp", "1"], "give one of"),
        (["encode", "a.png", "--bpp", "0"], "--bpp must be a number above 0"),
        (["encode", "a.png", "--psnr", "inf"], "--psnr must be a number above 0"),
        (["compare", "a.png", "--bpp", "inf"], "--bpp must be a number above 0"),
        (["encode", "a.png", "-o", "c.png"], "encode writes .fcd files, got c.png"),
        (["encode", "a.png", "-c", "jpeg", "--container", "jpeg", "-o", "c.avif"], "encode writes .fcd files"),
        (["encode", "a.png", "-c", "avif", "--model", "jpeg-fast-1"], "made for codec jpeg"),
        (["encode", "a.png", "--model", "./none.safetensors"], "no such file: ./none.safetensors"),
        (["encode", "a.png", "--tune", "ssim"], "codec range has nothing to choose"),
        (["encode", "a.png", "--threads", "257"], "less than or equal to 256"),
        (["decode", "a.png", "-o", "../sub/a.png", "-f"], "a.png would be overwritten by its own output"),
        (["decode", "a.png"], "a.png would be overwritten by its own output"),
        (["encode", "a.png", "--codec", "gif"], "must be one of jpeg"),
        (["encode", "a.png", "--codec-option", "smooth"], "KEY=VALUE"),
        (["encode", "a.png", "-c", "jpeg", "--codec-option", "color=1"], "unknown to codec jpeg"),
        (["encode", "a.png", "--container", "jpeg", "--codec", "webp"], "takes codec='jpeg'"),
        (["encode", "a.png", "-o", "x.fcd", "-d", "out"], "give one of --output"),
        (["encode", "a.png", "b.png", "-o", "x.fcd"], "use --output-dir"),
        (["encode", "a.png", "-o", "none/x.fcd"], "no such folder: none"),
        (["compare", "a.png", "-o", "none/x.html"], "no such folder: none"),
        (["decode", "a.png", "-o", "x.jpg"], "lossless formats"),
        (["decode", "a.png", "--region", "1,2,3"], "X,Y,W,H"),
        (["bench", "rd", "."], "no images"),
        (["bench", "rd", "a.png", "--qualities", "5,x"], "must be numbers"),
        (["bench", "rd", "a.png", "-c", "webp", "--no-plot", "--model", "jpeg-fast-1"], "is for codec jpeg, got webp"),
        (["train", "nope", "--data", ".", "-d", "run"], "config must be a file or one of"),
        (["compare", "a.png", "--bytes", "10", "--bpp", "1"], "give one of"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    if "." not in arguments:
        for name in "ab":
            picture().save(folder / f"{name}.png")
    before = files(folder)
    assert message in refused(USAGE, *arguments, cwd=folder)
    assert files(folder) == before


def test_missing_parts_name_the_remedy(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    # A module of that name that cannot be imported stands for one that is not installed.
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("skimage", "pillow_heif"):
        (hidden / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n")
    env = {"PYTHONPATH": str(hidden)}
    assert "fastcodec[heic]" in refused(MISSING, "encode", "a.png", "--codec", "heic", cwd=tmp_path, **env)
    assert "fastcodec[demo]" in refused(MISSING, "demo", cwd=tmp_path, **env)
    assert "no model" in refused(MISSING, "encode", "a.png", "--codec", "webp", "--model", "no model", cwd=tmp_path)
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('torch', 'matplotlib') else find(name, *a)\n"
    )
    train = ["train", "config.toml", "--data", ".", "-d", "run"]
    assert "fastcodec[train]" in refused(MISSING, *train, cwd=tmp_path, **env)
    assert "fastcodec[plot]" in refused(MISSING, "bench", "rd", "a.png", cwd=tmp_path, **env)
    assert files(tmp_path) == sorted(["a.png", *(f"hidden/{path}" for path in files(hidden))])


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_is_a_system_error(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    message = refused(SYSTEM, "encode", "a.png", "-o", "/dev/full", "--force", cwd=tmp_path)
    assert "No space left" in message
    assert files(tmp_path) == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX limits")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_takes_a_part_of_stdout_is_a_system_error(tmp_path: Path, unbuffered: str) -> None:
    data = encoded(tmp_path / "a.fcd")
    code = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'fastcodec', 'decode', 'a.fcd', '-o', '-'])"
    )
    with open(tmp_path / "out.png", "wb") as out:
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, stdout=out, stderr=subprocess.PIPE, timeout=120, check=False,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )  # fmt: skip
    assert data
    assert (result.returncode, result.stderr) == (SYSTEM, b"fastcodec: error: a.fcd: File too large\n")


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_killed_command_leaves_no_file(tmp_path: Path) -> None:
    picture(700, 900).save(tmp_path / "a.png")
    process = subprocess.Popen([*COMMAND, "encode", "a.png", "--codec", "avif", "--bpp", "1"], cwd=tmp_path)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) in (OK, 128 + signal.SIGTERM, -signal.SIGTERM)
    left = files(tmp_path)
    assert left in (["a.png"], ["a.fcd", "a.png"])
    if "a.fcd" in left:
        fastcodec.verify((tmp_path / "a.fcd").read_bytes())


def test_metadata_and_alpha_travel(tmp_path: Path) -> None:
    image = picture().convert("RGBA")
    image.putalpha(Image.fromarray(cases.image(40, 50, 1, 9)[:, :, 0]))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image.save(tmp_path / "a.png", icc_profile=b"not really a profile", exif=exif)
    done("encode", "a.png", cwd=tmp_path)
    for ending in ("png", "tif", "webp"):
        done("decode", "a.fcd", "-o", f"b.{ending}", cwd=tmp_path)
        back = Image.open(tmp_path / f"b.{ending}")
        assert back.mode == "RGBA"
        assert np.array_equal(np.asarray(back)[:, :, 3], np.asarray(image)[:, :, 3])
        assert back.info["icc_profile"] == b"not really a profile"
        assert back.getexif()[0x010E] == "a description"
    done("encode", "a.png", "--no-metadata", "-o", "bare.fcd", cwd=tmp_path)
    assert fastcodec.info((tmp_path / "bare.fcd").read_bytes()).metadata_bytes == 0


@pytest.mark.parametrize(
    ("ending", "metadata"),
    [
        ("png", {"xmp": "\ufeff<x/>".encode("utf-16")}),
        ("tif", {"exif": b"garbage"}),
        ("tif", {"exif": b"II*\0"}),
        ("ppm", {"exif": b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08"}),
    ],
)
def test_metadata_that_the_output_cannot_hold_does_not_lock_the_picture(
    tmp_path: Path, ending: str, metadata: dict[str, bytes]
) -> None:
    plain = fastcodec.encode(picture())
    stream = container.read(plain, fastcodec.Limits())
    (tmp_path / "a.fcd").write_bytes(container.write_fcd(stream.header, bytes(stream.payload), None, metadata))
    result = run("decode", "a.fcd", "--format", ending, cwd=tmp_path)
    assert (result.returncode, b"cannot hold its metadata, left out" in result.stderr) == (OK, True), result
    assert np.array_equal(pixels(tmp_path / f"a.{ending}"), fastcodec.decode(plain))


def test_networks_through_a_model(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    cases.write_model(models / "test.safetensors")
    picture().save(tmp_path / "a.png")
    env = {"FASTCODEC_MODELS": str(models)}
    listed = json.loads(done("models", "--json", cwd=tmp_path, **env))
    (row,) = [row for row in listed if Path(row["path"]).name == "test.safetensors"]
    done("encode", "a.png", "--networks", "on", "--model", row["name"], "--scale", "2", cwd=tmp_path, **env)
    (shown,) = json.loads(done("info", "a.fcd", "--json", cwd=tmp_path, **env))
    assert (shown["networks"], shown["scale"], shown["model"]) == (True, 2, row["id"])
    one = done("decode", "a.fcd", "-o", "-", "--threads", "1", cwd=tmp_path, FASTCODEC_BACKEND="scalar", **env)
    assert one == done("decode", "a.fcd", "-o", "-", "--threads", "2", cwd=tmp_path, **env)
    assert row["id"] in refused(MISSING, "decode", "a.fcd", "-o", "x.png", cwd=tmp_path)
    assert "must name folders" in refused(
        MISSING, "decode", "a.fcd", "-o", "x.png", cwd=tmp_path, FASTCODEC_MODELS="none"
    )
    message = refused(MISSING, "decode", "a.fcd", "-o", "x.png", cwd=tmp_path, FASTCODEC_BACKEND="abacus", **env)
    assert "abacus" in message
    assert not (tmp_path / "x.png").exists()


def test_plain_jpeg_container(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    done("encode", "a.png", "--container", "jpeg", cwd=tmp_path)
    assert Image.open(tmp_path / "a.fcd.jpg").format == "JPEG"
    done("decode", "a.fcd.jpg", "-o", "b.png", cwd=tmp_path)
    assert np.array_equal(pixels(tmp_path / "b.png"), fastcodec.decode((tmp_path / "a.fcd.jpg").read_bytes()))


def test_lists(tmp_path: Path) -> None:
    assert done("--version", cwd=tmp_path).decode() == f"fastcodec {fastcodec.__version__}\n"
    assert b"encode" in done(cwd=tmp_path)
    names = [row["name"] for row in json.loads(done("backends", "--json", cwd=tmp_path))]
    assert names == [status.name for status in fastcodec.backends()]
    assert b"scalar" in done("backends", cwd=tmp_path)
    rows = json.loads(done("codecs", "--json", cwd=tmp_path))
    assert {row["name"]: row["available"] for row in rows}["jpeg"] is True
    assert "smooth=0..100" in {row["name"]: row["options"] for row in rows}["jpeg"]
    roles = {row["name"]: row["role"] for row in json.loads(done("models", "--json", cwd=tmp_path))}
    assert [roles[f"jpeg-fast-{n}"] for n in (4, 3, 1)] == ["default", "default for half size", ""]
    assert (roles["range-fast-2"], roles["range-fast-1"]) == ("default", "decodes only")


def test_compare_writes_one_self_contained_page(tmp_path: Path) -> None:
    Image.fromarray(cases.image(176, 200, 3, 1)).save(tmp_path / "a<b>.png")
    shown = json.loads(done("compare", "a<b>.png", "--bpp", "1.5", "--keep", "kept", "--json", cwd=tmp_path))
    assert shown["page"] == "a<b>.html"
    methods = {row["key"]: row for row in shown["entries"]}
    assert {"jpeg", "fastcodec-jpeg"} <= set(methods)
    assert len(methods) + len(shown["missing"]) == 7
    assert methods["jpeg"]["bytes"] == shown["budget_bytes"] <= 1.5 * 176 * 200 / 8
    for path, row in zip(shown["files"], shown["entries"], strict=True):
        assert (tmp_path / path).stat().st_size == row["bytes"] <= shown["budget_bytes"]
    page = (tmp_path / "a<b>.html").read_text(encoding="utf-8")
    assert "<b>.png" not in page  # the name is escaped
    outside = re.sub(r"data:image/(webp|png);base64,[A-Za-z0-9+/=]+", "", page)
    assert len(outside) < 40_000
    assert not re.search(r"https?:|//[a-z]|<link|@import|url\(|src=\"(?!data:)", outside)
    assert page.count("data:image/") == len(shown["entries"]) + 1
    assert "a&lt;b&gt;.png" in page
    Image.open(tmp_path / "a<b>.png").quantize(64).save(tmp_path / "palette.png")
    done("compare", "palette.png", "--bpp", "2", cwd=tmp_path)
    table = done("compare", "a<b>.png", "--bytes", "4000", "-o", "again.html", cwd=tmp_path).decode()
    assert "PSNR RGB" in table
    assert "page: again.html" in table


@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed")
def test_demo(tmp_path: Path) -> None:
    out = done("demo", "--image", "cat", "--bpp", "0.4", cwd=tmp_path).decode()
    assert "fastcodec JPEG" in out
    assert (tmp_path / "fastcodec-demo/cat.html").stat().st_size > 100_000
    fastcodec.verify((tmp_path / "fastcodec-demo/cat.jpeg.fcd").read_bytes())


README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_readme_s_python_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert re.match(r"(True|False) \d+\n.+", result.stdout), result.stdout


def test_the_readme_s_commands_exist() -> None:
    """Every `fastcodec ...` line of the readme names a command and options that its help knows."""
    from fastcodec.cli import app
    from typer.main import get_command

    shell = "".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    lines = re.findall(r"^(?:pip install .* && )?fastcodec (.*?)(?:\s+#.*)?$", shell, re.MULTILINE)
    assert len(lines) > 10
    for line in lines:
        words = line.split()
        command: Any = get_command(app)
        while words and hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if re.match(r"-[-a-z]", word)} <= known, line


def test_encode_says_that_a_codec_has_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastcodec import cli, packed_model
    from typer.testing import CliRunner

    monkeypatch.setattr(packed_model, "default_for", lambda *_: None)
    picture().save(tmp_path / "photo.png")
    result = CliRunner().invoke(cli.app, ["encode", str(tmp_path / "photo.png"), "--codec", "webp"])
    assert result.exit_code == 0
    assert "networks off (no model for webp)" in result.output
