# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The rate-distortion bench, the comparison's rules, and files that appear whole or not at all."""

from __future__ import annotations

import copy
import doctest
import importlib.util
import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import cases
import fastcodec
import numpy as np
import pytest
from fastcodec import compare, machine, matched, metrics, report, report_page
from PIL import Image

QUALITIES = (5, 15, 30, 50, 70)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures with some detail: colour and grey."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    for name, planes in (("colour.png", 3), ("grey.png", 1)):
        y, x = np.mgrid[:176, :192]
        waves = [np.sin(x * fx + y * fy + c) for c, (fx, fy) in enumerate(rng.uniform(0.01, 0.5, (planes, 2)))]
        image = 127 + 60 * np.stack(waves, axis=2) + rng.normal(0, 9, (176, 192, 1))
        image = np.clip(image, 0, 255).astype(np.uint8)
        Image.fromarray(image if planes == 3 else image[:, :, 0]).save(path / name)
    return path


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("rd")
    calls: list[tuple[int, int, str]] = []
    result = report.bench_rd(
        sorted(folder.iterdir()), out, codec_names=["jpeg", "webp"], qualities=QUALITIES, plot=False,
        progress=lambda *call: calls.append(call),
    )  # fmt: skip
    names = ["", "jpeg colour.png", "jpeg grey.png", "webp colour.png", "webp grey.png"]
    assert calls == [(done, 4, name) for done, name in enumerate(names)]
    return out, result


def test_points_are_real_files(folder: Path, measured: tuple[Path, dict[str, Any]]) -> None:
    _, result = measured
    image = report.read_image(folder / "colour.png")
    points = {(p["method"], p["quality"]): p for p in result["images"][0]["points"]}
    for subsampling in ("4:2:0", "4:4:4"):
        for progressive in (True, False):
            buffer = io.BytesIO()
            Image.fromarray(image).save(
                buffer, "JPEG", quality=30, subsampling=subsampling, optimize=True, progressive=progressive
            )
            point = points[f"jpeg {subsampling}" + ("" if progressive else " sequential"), 30]
            assert point["bytes"] == len(buffer.getvalue())
            assert point["bpp"] == pytest.approx(8 * len(buffer.getvalue()) / (176 * 192))
            assert point["psnr_rgb"] == metrics.psnr(image, np.asarray(Image.open(buffer)))
    data = fastcodec.encode(image, codec="jpeg", quality=30)
    assert isinstance(data, bytes)
    point = points["fastcodec[jpeg]", 30]
    assert point["bytes"] == len(data) == point["stream"]["total_bytes"]
    assert point["psnr_rgb"] == metrics.psnr(image, fastcodec.decode(data))
    assert 0 < point["ms_ssim"] <= 1


def test_report_files(measured: tuple[Path, dict[str, Any]]) -> None:
    out, result = measured
    assert json.loads((out / "rd.json").read_text(encoding="utf-8")) == result
    assert result["machine"]["versions"]["fastcodec"] == fastcodec.__version__
    assert result["machine"]["cores"] == os.cpu_count()
    text = (out / "rd.md").read_text(encoding="utf-8")
    assert result["machine"]["cpu"] in text
    for codec, part in result["codecs"].items():
        assert f"| fastcodec[{codec}] | {part['anchor']} |" in text
        for curve in part["curves"].values():
            assert [row["quality"] for row in curve] == list(QUALITIES)
            assert sorted(row["bpp"] for row in curve) == [row["bpp"] for row in curve]
    curve = result["codecs"]["webp"]["curves"]["webp"]
    rows = [image["points"][2] for image in result["images"][2:]]
    assert curve[2]["bpp"] == pytest.approx(np.mean([row["bpp"] for row in rows]))
    assert curve[2]["psnr_luma"] == pytest.approx(np.mean([row["psnr_luma"] for row in rows]))


def test_at_the_same_bytes(folder: Path, measured: tuple[Path, dict[str, Any]]) -> None:
    out, result = measured
    for found in result["images"]:
        image = report.read_image(folder / found["image"])
        bare = [p for p in found["points"] if "stream" not in p]
        assert [row["budget"] for row in found["matched"]] == sorted({row["budget"] for row in found["matched"]})
        for row in found["matched"]:
            better = [p for p in bare if p["bytes"] <= row["budget"] and p["psnr_rgb"] > row["psnr_rgb"]]
            assert not better
            assert row["bpp"] <= report.RATES[1]
            data = fastcodec.encode(image, codec=found["codec"], target_bytes=row["budget"])
            assert isinstance(data, bytes)
            assert len(data) == row["bytes"] <= row["budget"]
            decoded = fastcodec.decode(data).reshape(image.shape)
            assert row["gain_db"] == pytest.approx(metrics.psnr(image, decoded) - row["psnr_rgb"])
    rows = [row for found in result["images"] if found["codec"] == "webp" for row in found["matched"]]
    part = result["codecs"]["webp"]["matched"]
    assert part["files"] == len(rows) > 0
    assert part["worst_file"]["gain_db"] == min(row["gain_db"] for row in rows)
    assert part["worse"] == sum(row["gain_db"] < 0 for row in rows)
    assert "| fastcodec[webp] |" in (out / "rd.md").read_text(encoding="utf-8")


def test_a_stream_out_of_reach_is_said(folder: Path, tmp_path: Path) -> None:
    image = report.read_image(folder / "grey.png")
    tiny = {"method": "jpeg", "quality": 1, "bytes": 20, "bpp": 0.01, "psnr_rgb": 9.0, "ssim": None}
    (row,) = matched.points(image, "jpeg", [tiny], tmp_path, max_bpp=1.0, threads=None)
    assert "out of reach" in row["reason"]
    assert matched.summary([{"image": "x", "matched": [row]}]) is None
    assert "no file was within reach" in matched.table({"jpeg": None}, lambda codec: True)[-1]


def test_bench_of_the_luma(folder: Path, tmp_path: Path) -> None:
    result = report.bench_rd([folder / "colour.png"], tmp_path, qualities=(20, 60), plot=False, grey=True)
    image = report.read_image(folder / "colour.png")
    luma = np.asarray(Image.fromarray(image).convert("L"))
    data = fastcodec.encode(luma, codec="jpeg", quality=20)
    point = next(p for p in result["images"][0]["points"] if "stream" in p)
    assert point["bytes"] == len(data)
    assert point["stream"]["mode"] == "L"
    assert "as grey" in (tmp_path / "rd.md").read_text(encoding="utf-8")
    assert (tmp_path / "points" / "colour.png.jpeg.grey.json").exists()


def test_bench_of_a_named_model(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"qualities": (20, 60), "plot": False}
    result = report.bench_rd([folder / "grey.png"], tmp_path, models=["jpeg-fast-1"], **options)
    assert result["codecs"]["jpeg"]["models"] == ["jpeg-fast-1"]
    with pytest.raises(ValueError, match="is for codec jpeg, got webp"):
        report.bench_rd([folder / "grey.png"], tmp_path, codec_names=["webp"], models=["jpeg-fast-1"], **options)
    with pytest.raises(fastcodec.ModelError, match="no model named"):
        report.bench_rd([folder / "grey.png"], tmp_path, models=["jpeg-none"], **options)


def test_bench_of_two_models_compares_them(folder: Path, tmp_path: Path) -> None:
    names = ["jpeg-fast-1", "jpeg-fast-2"]
    images = [folder / "colour.png", folder / "grey.png"]
    options: dict[str, Any] = {"qualities": (10, 30, 60), "plot": False, "same_bytes": False}
    result = report.bench_rd(images, tmp_path, models=names, **options)
    first, second = (result["codecs"][f"jpeg {name}"] for name in names)
    assert (first["models"], second["models"]) == ([names[0]], [names[1]])
    curve = [{**row, "quality": None} for row in first["curves"]["fastcodec[jpeg]"]]
    assert [{**row, "quality": None} for row in second["curves"]["model jpeg-fast-1"]] == curve
    assert "model jpeg-fast-1" not in first["curves"]
    assert "model jpeg-fast-1" not in first["bd"]
    own = [[(row["bpp"], row["psnr_rgb"]) for row in part["curves"]["fastcodec[jpeg]"]] for part in (first, second)]
    expected = metrics.bd_rate(*own, rates=report.RATES)
    assert second["bd"]["model jpeg-fast-1"]["psnr_rgb"]["bd_rate"] == pytest.approx(expected)
    assert expected != 0
    page = (tmp_path / "rd.md").read_text(encoding="utf-8")
    assert "| fastcodec[jpeg jpeg-fast-2] | model jpeg-fast-1 |" in page
    assert (first["matched"], "At the same bytes" in page) == (None, False)
    with_same_bytes = report.bench_rd(images, tmp_path, **{**options, "same_bytes": True})
    assert with_same_bytes["codecs"]["jpeg"]["matched"] is not None
    with pytest.raises(ValueError, match="different"):
        report.bench_rd(images, tmp_path, models=["jpeg-fast-1"] * 2)


def test_the_best_anchor_is_never_weaker_than_its_members(measured: tuple[Path, dict[str, Any]]) -> None:
    part = measured[1]["codecs"]["jpeg"]
    assert part["anchor"] == "best of jpeg 4:2:0, jpeg 4:4:4"
    bd = {name: entry["psnr_rgb"]["bd_rate"] for name, entry in part["bd"].items()}
    assert set(bd) == {part["anchor"], "jpeg 4:2:0", "jpeg 4:4:4", "best of all, sequential too"}
    for name in ("jpeg 4:2:0", "jpeg 4:4:4"):
        assert bd[part["anchor"]] >= bd[name] - 0.1  # the intervals differ a little
    assert bd["best of all, sequential too"] >= bd[part["anchor"]] - 0.1


def test_bench_resumes(folder: Path, measured: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    out, result = measured
    images = sorted(folder.iterdir())

    def count_measured(**changed: Any) -> int:
        calls: list[Any] = []
        real = report.measure
        monkeypatch.setattr(report, "measure", lambda *a: calls.append(a) or real(*a))
        options = {"codec_names": ["webp"], "qualities": QUALITIES, "plot": False, **changed}
        again = report.bench_rd(images, out, **options)
        monkeypatch.setattr(report, "measure", real)
        if not calls:
            assert again["images"] == result["images"][2:]
        return len(calls)

    every = 2 * 2 * len(QUALITIES)
    assert count_measured() == 0
    (out / "points" / "grey.png.webp.json").write_text('{"half": ')
    assert count_measured() == every // 2
    assert count_measured(fresh=True) == every
    assert count_measured(qualities=(10, 20)) == 2 * 2 * 2


def test_bench_in_processes_gives_the_same_points(folder: Path, tmp_path: Path) -> None:
    images, results = sorted(folder.iterdir()), []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        results.append(
            report.bench_rd(images, out, qualities=(20, 60), threads=1, processes=processes, plot=False)["images"]
        )
    for one, two in zip(*results, strict=True):
        for point in [*one["points"], *two["points"]]:
            del point["encode_s"], point["decode_s"]
        assert one == two


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_plot(measured: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    report_page.draw(measured[1], tmp_path / "rd.png")
    with Image.open(tmp_path / "rd.png") as drawn:
        assert drawn.width > drawn.height
        assert len(np.unique(np.asarray(drawn.convert("RGB")).reshape(-1, 3), axis=0)) > 50
        size = drawn.size
    assert os.listdir(tmp_path) == ["rd.png"]
    # A codec that is only contained gets no panel beside those with networks; many codecs in a panel are told apart.
    more = copy.deepcopy(measured[1])
    more["codecs"]["jxl"] = copy.deepcopy(more["codecs"]["webp"])
    for curve in more["codecs"]["jxl"]["curves"].values():
        for row in curve:
            row["networks_on"] = 0.0
    report_page.draw(more, tmp_path / "rd.png")
    with Image.open(tmp_path / "rd.png") as drawn:
        assert drawn.size == size
    labels = ["jpeg 4:2:0", "jpeg 4:4:4", "jpeg 4:2:0 sequential", "webp", "avif 4:2:0", "avif 4:4:4"]
    styles = report_page._styles(labels)
    assert len(set(styles.values())) == len(labels)
    assert styles["jpeg 4:2:0"][0] == styles["jpeg 4:4:4"][0] != styles["webp"][0]


def test_bench_arguments(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="at least one image"):
        report.bench_rd([], tmp_path)
    with pytest.raises(ValueError, match="one name twice"):
        report.bench_rd([folder / "grey.png"] * 2, tmp_path, plot=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"fastcodec\[plot\]"):
        report.bench_rd([folder / "grey.png"], tmp_path)


def test_nobody_gets_more_bytes_than_jpeg(folder: Path) -> None:
    image = report.read_image(folder / "colour.png")
    found = compare.compare(image, "colour", target_bpp=1.2)
    jpeg = found.entries[0]
    assert jpeg.title == "JPEG"
    assert jpeg.bytes == found.budget_bytes <= found.requested_bytes
    for entry in found.entries:
        assert entry.bytes == len(entry.data) <= found.budget_bytes
        assert entry.psnr_rgb == metrics.psnr(image, entry.decoded)
    # No JPEG within the request beats the one that was taken.
    for quality in range(1, 60):
        for method in report.methods_for("jpeg")[:-1]:
            data = method.encode(image, quality, None)
            if len(data) <= found.requested_bytes:
                assert metrics.psnr(image, method.decode(data, image.shape, None)) <= jpeg.psnr_rgb


def test_compare_says_who_took_no_part() -> None:
    image = cases.image(24, 24, 1, 2)
    found = compare.compare(image, "tiny", target_bytes=60)
    assert "JPEG" in found.missing
    assert "cannot write this image in 60 bytes" in found.missing["JPEG"]
    page = compare.html(found)
    assert "JPEG took no part" in page
    with pytest.raises(ValueError, match="at least 1"):
        compare.compare(image, "tiny", target_bytes=0)
    with pytest.raises(ValueError, match="got both"):
        compare.compare(image, "tiny", target_bytes=9, target_bpp=0.1)


def test_large_images_are_shown_as_a_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "SHOWN_SIZE", (32, 24))
    found = compare.compare(cases.image(60, 50, 3, 2), "large", target_bpp=4)
    page = compare.html(found)
    assert "the middle 32 &times; 24 pixels" in page
    assert "<b>50 &times; 60</b> pixels" in page


def test_atomic_writes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with machine.atomic(path) as file:
        file.write(b"first")
        assert not path.exists()
    os.chmod(path, 0o640)

    def stop_half_way() -> None:
        with machine.atomic(path) as file:
            file.write(b"half of the sec")
            file.flush()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert path.read_bytes() == b"first"
    link = tmp_path / "link"
    link.symlink_to("file")
    with machine.atomic(link) as file:
        file.write(b"second")
    assert (path.read_bytes(), link.is_symlink()) == (b"second", True)
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_atomic_writes_to_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    machine.write_text(pipe, "through")
    reader.join(timeout=10)
    assert got == [b"through"]
    assert os.listdir(tmp_path) == ["pipe"]


def test_new_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        machine.write_text(tmp_path / "file", "x")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_plain_values() -> None:
    value = {"a": b"\x01\xff", 2: (1, 2.5, float("inf"), None, True), "p": Path("x")}
    assert report.plain(value) == {"a": "01ff", "2": [1, 2.5, None, None, True], "p": "x"}


@pytest.mark.parametrize("module", [metrics, report, compare])
def test_examples_in_the_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted > 0 or module is not metrics


def test_codecs_without_networks_are_marked() -> None:
    (row,) = matched.table({"webp": None}, lambda codec: False)[2:]
    assert row.startswith("| fastcodec[webp], no networks yet | - |")
    (row,) = matched.table({"webp": None}, lambda codec: True)[2:]
    assert row.startswith("| fastcodec[webp] | - |")
