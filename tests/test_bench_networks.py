# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""`fastcodec bench networks`, and the work space of large images."""

from __future__ import annotations

import json
import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastcodec import _core, bench_networks, bench_peers, cli
from fastcodec.packed_model import Program

MEGABYTES = 10**6


@pytest.mark.parametrize("name", ["P", "F", "D"])
@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("size", [(10_000, 10_000), (3_052, 32_768), (32_768, 3_052), (128, 781_250)])
def test_work_space_of_100_megapixels(name: str, threads: int, size: tuple[int, int]) -> None:
    network = bench_networks.network(name)
    native = Program(network.spec, network.tensors).native
    n_bytes = native.work_space_bytes(size, size, size, threads)
    assert n_bytes < 400 * MEGABYTES
    if threads == 1:  # does not grow with the height
        assert n_bytes == native.work_space_bytes((2 * size[0], size[1]), (2 * size[0], size[1]), size, 1)


def test_zero_blocks_are_whole() -> None:
    weight = bench_networks.network("S50").tensors["3.w"]
    blocks = weight.reshape(8, 8, 16, 4).any(axis=(1, 3))
    assert blocks.mean() == 0.5


def test_peers_compute_the_network() -> None:
    """Away from the borders and from values above 255, where peers differ, torch fp32 gives what fastcodec gives."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install fastcodec[test]")
    network = bench_networks.network("D")
    image = bench_networks.sample_image((64, 64), 3)
    got = Program(network.spec, network.tensors).run(image, 0, (64, 64)).astype(float)
    layers, result = bench_peers.float_layers(network.spec, network.tensors, (64, 64))
    module = bench_peers.torch_module(layers, result)
    x = torch.from_numpy(image.transpose(2, 0, 1)[None].astype(np.float32))
    with torch.inference_mode():
        d = module(x).numpy()[0].transpose(1, 2, 0)
    expected = np.clip(image + d / 16, 0, 255)
    inner = (slice(22, -22), slice(22, -22))
    assert np.corrcoef((got - image)[inner].ravel(), (expected - image)[inner].ravel())[0, 1] > 0.9


def test_measures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["bench", "networks", "-n", "F", "--size", "64x32", "--repeats", "2", "--no-peers", "-d", str(tmp_path)]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*arguments, "--json"])
    assert stopped.value.code == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "networks.json").read_text())
    network = result["networks"][0]
    assert network["network"] == "F"
    assert network["gmac"] == pytest.approx(16 * 32 * (16 * 32 * 9 + 8 * 32 * 32 * 9 + 32 * 12 * 9) / 1e9)
    for row in network["rows"]:
        assert row["engine"].startswith("fastcodec ")
        assert row["ms"] > 0
        assert row["work_space_bytes"] < MEGABYTES
        assert row["of_int8_peak"] == pytest.approx(row["gmac_per_s"] / max(result["int8_peak_gmac_per_s"].values()))
        assert ("two_threads" in row) == ((os.cpu_count() or 1) > 1)
        assert row["gmac_per_s"] == pytest.approx(network["gmac"] / row["ms"] * 1e3)
        assert f"| {row['engine']} | {row['ms']:.1f} |" in (tmp_path / "networks.md").read_text()


@pytest.mark.skipif(not any(name == "avx2" and there for name, there, _ in _core.backends()), reason="needs AVX2")
def test_limited_to_an_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limited run knows its backends and its environment; onnxruntime, which has no limit, is no measure."""
    result = bench_networks.bench([bench_networks.network("F")], size=(32, 64), repeats=1, peers=False, isa="avx2")
    assert [row["engine"] for row in result["networks"][0]["rows"]] == ["fastcodec avx2"]
    assert list(result["int8_peak_gmac_per_s"]) == ["avx2", "scalar"]
    assert "ONEDNN_MAX_CPU_ISA=AVX2" in bench_networks.markdown(result)
    assert "ONEDNN_MAX_CPU_ISA" not in os.environ

    def add_peers(*arguments: Any) -> None:
        calls, rows = arguments[4:6]
        for name, ms in (("onnxruntime int8", 30), ("OpenVINO int8", 60)):
            calls[name] = lambda ms=ms: time.sleep(ms / 1e3)
            rows[name] = {"memory_bytes": 0, "checked": ""}

    monkeypatch.setattr(bench_networks, "_add_peers", add_peers)
    monkeypatch.setattr(time, "process_time", time.perf_counter)
    for isa, engine in ((None, "onnxruntime int8"), ("avx2", "OpenVINO int8")):
        one = bench_networks.measure(bench_networks.network("F"), size=(32, 64), repeats=1, isa=isa)
        ms = {row["engine"]: row["ms"] for row in one["rows"]}
        ours = min(value for name, value in ms.items() if name.startswith("fastcodec"))
        assert one["times_faster"] == ms[engine] / ours


def test_missing_peers_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    result = bench_networks.bench([bench_networks.network("F")], size=(32, 64), repeats=1)
    missing = result["networks"][0]["missing"]
    assert [row["engine"] for row in missing] == ["all peers"]
    assert "fastcodec[bench]" in bench_networks.markdown(result)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["-n", "X"], "no network 'X'"), (["--size", "30x20"], "multiples of 4"), (["--size", "big"], "--size must be")],
)
def test_wrong_usage(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", "networks", *arguments])
    assert stopped.value.code == 2
    assert why in capsys.readouterr().err


def test_onnx_files_of_values_with_any_names(tmp_path: Path) -> None:
    """Names like those that the file gives to its constants, as the networks of shipped models have them."""
    pytest.importorskip("onnx", reason="needs onnx: pip install '.[bench]'")
    weight, bias = np.ones((5, 12, 3, 3), np.float32), np.zeros(5, np.float32)
    layers = [
        bench_peers.Layer("unshuffle", ("image",), "t0"),
        bench_peers.Layer("conv", ("t0",), "w1", weight, bias),
        bench_peers.Layer("conv", ("w1",), "s0", np.ones((5, 5, 1, 1), np.float32), bias, relu=True),
    ]
    bench_peers.write_onnx(layers, "s0", (1, 3, 8, 6), tmp_path / "net.onnx")  # it checks the graph
    assert (tmp_path / "net.onnx").stat().st_size > weight.nbytes


def test_the_networks_that_are_timed_on_a_gpu_are_there() -> None:
    path = Path(__file__).parents[1] / "bench" / "bench_gpu.py"
    names = [network.name for network in runpy.run_path(str(path))["networks"]()]
    assert {"F", "P", "D", "R", "range-fast-2 synthesis_rgb"} <= set(names)
