# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Network F (phase planes, 16 -> 32, 8 x 32 -> 32, 32 -> 12 at half resolution) on 768x512, one thread, beside torch.

    pytest bench/bench_networks.py

Each backend is first compared with the reference kernels. The peer is torch eager in fp32 with the same layers, default
and channels_last; it does the convolutions alone. Times are CPU time of the one thread, so that other work on the
machine counts little. Ratios of the least times, GMAC/s and the machine are in extra_info.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import cases
import numpy as np
import pytest
import timing
from fastcodec import _core
from fastcodec.packed_model import Program

SIZE = (512, 768)
BACKENDS = [name for name, available, _ in _core.backends() if available and name not in ("cuda", "reference")]


@pytest.fixture(scope="module")
def network() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return cases.network_f()


@pytest.fixture(scope="module")
def torch_seconds(network: tuple[dict[str, Any], dict[str, np.ndarray]]) -> dict[str, float]:
    """Least seconds of torch eager fp32, by memory format."""
    torch = pytest.importorskip("torch", reason="the peer is torch: pip install fastcodec[bench]")
    spec, tensors = network
    layers: list[Any] = []
    for op in spec["ops"]:
        if op["op"] == "conv":
            weight = torch.from_numpy(tensors[op["weight"]]).permute(0, 3, 1, 2).float().contiguous()
            layer = torch.nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1, padding_mode="zeros")
            layer.weight.data.copy_(weight)
            layers += [layer, torch.nn.ReLU()] if op["type"] == "u8" else [layer]
    x = torch.rand(1, 16, SIZE[0] // 2, SIZE[1] // 2)

    def eager(memory_format: Any) -> Callable[[], object]:
        model = copy.deepcopy(torch.nn.Sequential(*layers)).eval().to(memory_format=memory_format)
        image = x.to(memory_format=memory_format)
        return lambda: model(image)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            contenders = {
                "default": eager(torch.contiguous_format),
                "channels_last": eager(torch.channels_last),
            }
            times = timing.interleaved(contenders, 7, clock=time.thread_time)
    finally:
        torch.set_num_threads(before)
    return {name: min(seconds) for name, seconds in times.items()}


@pytest.mark.benchmark(timer=time.thread_time)
@pytest.mark.parametrize("backend", BACKENDS)
def test_network_f(
    benchmark: Any, backend: str, network: tuple[dict[str, Any], dict[str, np.ndarray]], torch_seconds: dict[str, float]
) -> None:
    small = cases.image(50, 70)
    program, reference = (Program(*network, backend=name) for name in (backend, "reference"))
    np.testing.assert_array_equal(program.run(small, 0, (50, 70)), reference.run(small, 0, (50, 70)))
    picture = cases.image(*SIZE)
    slow = backend == "scalar"
    benchmark.pedantic(
        program.run, (picture, 0, SIZE), {"threads": 1}, rounds=1 if slow else 20, warmup_rounds=0 if slow else 2
    )
    least = benchmark.stats.stats.min
    benchmark.extra_info.update(
        gmacs=program.native.macs(*SIZE) / least / 1e9,
        work_space_bytes=program.native.work_space_bytes(SIZE, SIZE, SIZE, 1),
        **{f"times_faster_than_torch_{name}": seconds / least for name, seconds in torch_seconds.items()},
        **{f"torch_{name}_ms": seconds * 1e3 for name, seconds in torch_seconds.items()},
        **timing.machine(),
    )
    assert least < 0.25 or slow
