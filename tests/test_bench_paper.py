# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The paper's tables: real files within the budget, the same bytes again, and what is missing is said."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cases
import fastcodec
import numpy as np
import pytest
from fastcodec import bench_paper, metrics, packed_model
from PIL import Image

SIZES = {"house": (20, 24), "lena": (96, 80)}  # the others: 48 x 56


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seven")
    for seed, name in enumerate(bench_paper.NAMES):
        image = cases.image(*SIZES.get(name, (48, 56)), 3 if name == "leaves" else 1, seed)
        Image.fromarray(image if name == "leaves" else image[:, :, 0]).save(path / f"{name.title()}.png")
    return path


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    out = tmp_path_factory.mktemp("paper")
    return out, bench_paper.bench_paper(folder, out)


def test_every_value_is_that_of_a_file_within_the_budget(folder: Path, measured: tuple[Path, dict[str, Any]]) -> None:
    out, result = measured
    assert [(part["protocol"], part["qf"]) for part in result["parts"]] == [("a", 5), ("a", 10), ("b", 5), ("b", 10)]
    files = set()
    for part in result["parts"]:
        for row in part["rows"]:
            for name, point in row["images"].items():
                if "reason" in point:
                    continue
                path = out / "files" / point["file"]
                files.add(path)
                data = path.read_bytes()
                assert len(data) == point["bytes"] <= part["budgets"][name]["bytes"]
                if path.suffix == ".jpg":
                    decoded = np.asarray(Image.open(io.BytesIO(data)))
                else:
                    assert fastcodec.info(data).codec == "jpeg"
                    with bench_paper._also_from(out / "models"):
                        decoded = fastcodec.decode(data)
                image = bench_paper.grey(folder / f"{name.title()}.png")[:, :, 0]
                assert point["psnr"] == metrics.psnr(image, decoded)
                assert point["ssim"] == metrics.ssim(image, decoded)
    assert files == {path for path in (out / "files").rglob("*") if path.is_file()}
    assert result["not_the_papers"].keys() <= set(bench_paper.NAMES)


def test_the_budget_of_protocol_b_is_the_smaller_optimised_jpeg(folder: Path) -> None:
    image = bench_paper.grey(folder / "Lena.png")
    sizes = []
    for progressive in (False, True):
        buffer = io.BytesIO()
        Image.fromarray(image[:, :, 0]).save(buffer, "JPEG", quality=10, optimize=True, progressive=progressive)
        sizes.append(len(buffer.getvalue()))
    data, setting = bench_paper.budget_file(image, "b", 10)
    assert len(data) == min(sizes)
    assert setting == ("optimised, sequential", "optimised, progressive")[sizes.index(min(sizes))]
    assert len(bench_paper.budget_file(image, "a", 10)[0]) > min(sizes)


def test_the_shipped_row_is_what_encode_gives(folder: Path, measured: tuple[Path, dict[str, Any]]) -> None:
    out, result = measured
    part = result["parts"][0]
    row = next(row for row in part["rows"] if row["key"] == "shipped")
    image = bench_paper.grey(folder / "Lena.png")
    data = fastcodec.encode(image, codec="jpeg", target_bytes=part["budgets"]["lena"]["bytes"])
    assert (out / "files" / row["images"]["lena"]["file"]).read_bytes() == data


def test_the_table_says_what_is_missing_and_what_cannot_be_reached(measured: tuple[Path, dict[str, Any]]) -> None:
    out, result = measured
    assert json.loads((out / "paper.json").read_text(encoding="utf-8")) == result
    text = (out / "paper.md").read_text(encoding="utf-8")
    assert "no model of variant `paper` for codec jpeg is installed" in text
    small = result["parts"][2]["rows"][1]["images"]["house"]  # half of 20 x 24 in the bytes of a JPEG of QF 5
    if "reason" in small:
        assert "| cannot reach |" in text
        assert small["reason"] in text
    assert any("reason" in p for part in result["parts"] for row in part["rows"] for p in row["images"].values())
    assert "*printed: both*" in text
    assert "28.83 / 0.8535" in text
    assert "average of" in text  # these are not the paper's pictures


def test_a_second_run_gives_the_same_bytes(folder: Path, measured: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, _ = measured
    command = [sys.executable, "-m", "fastcodec", "bench", "paper", str(folder), "-d", str(tmp_path / "again")]
    env = {**os.environ, "FASTCODEC_MODELS": ""}
    done = subprocess.run(command, capture_output=True, check=True, env=env, timeout=300)
    assert done.stdout.decode().startswith("# The tables of Jiang et al. 2017")

    def contents(root: Path) -> dict[str, bytes]:
        return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}

    first, second = contents(out), contents(tmp_path / "again")
    assert first.keys() == second.keys()
    assert {"paper.json", "paper.md", "paper.png", "models/only-com.safetensors"} <= first.keys()
    for name in first:
        assert first[name] == second[name], name


def test_missing_images_are_named_with_where_to_get_them(folder: Path, tmp_path: Path) -> None:
    for name in ("house", "lena"):
        (tmp_path / f"{name}.png").write_bytes((folder / f"{name.title()}.png").read_bytes())
    command = [sys.executable, "-m", "fastcodec", "bench", "paper", str(tmp_path), "-d", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    message = done.stderr.decode()
    assert done.returncode == 2
    assert message.count("\n") == 1
    assert "lacks 5 of the 7 images: butterfly, cameraman, peppers, leaves, parrots" in message
    assert "https://github.com/" in message
    assert not (tmp_path / "out").exists()
    wrong = subprocess.run([*command, "--replace", "lenna=x.png"], capture_output=True, check=False, timeout=120)
    assert wrong.returncode == 2
    assert b"--replace must be NAME=FILE" in wrong.stderr
    with pytest.raises(ValueError, match="the names are butterfly"):
        bench_paper.find_images(folder, {"lenna": folder / "Lena.png"})


def test_a_replacement_takes_the_place_of_a_file(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "x.png"
    other.write_bytes((folder / "House.png").read_bytes())
    assert bench_paper.find_images(folder, {"lena": other})["lena"] == other
    with pytest.raises(bench_paper.MissingImages, match="lena"):
        bench_paper.find_images(folder, {"lena": tmp_path / "none.png"})


def test_a_model_with_one_network_resamples_by_bicubic_on_the_other_side(tmp_path: Path) -> None:
    default = packed_model.default_for("jpeg", "rec2")
    assert default is not None
    model = default.load()
    com = bench_paper.single_network(model, "com", tmp_path / "com.safetensors")
    rec = bench_paper.single_network(model, "rec", tmp_path / "rec.safetensors")
    assert set(com.programs) == {"com2_grey", "rec2_grey"}
    assert set(rec.programs) == {"com2_grey", "rec1_grey", "rec2_grey"}
    ramp = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], 32, axis=0)
    half = rec.programs["com2_grey"].run(ramp, 3, (16, 30))
    back = com.programs["rec2_grey"].run(half, 3, (32, 60))
    inner = (slice(None), slice(8, -8))
    assert np.abs(back[inner].astype(int) - ramp[inner]).max() <= 1
    same = model.programs["com2_grey"].run(ramp, 3, (16, 30))
    assert np.array_equal(com.programs["com2_grey"].run(ramp, 3, (16, 30)), same)
