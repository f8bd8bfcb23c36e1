# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Networks P, F and D beside torch, onnxruntime and OpenVINO on one thread, as `fastcodec bench networks` measures
them; and the 1x1-heavy network S with and without zero blocks.

    pytest -s bench/bench_networks.py

On a small image, so that it takes a minute; `fastcodec bench networks` measures at 768x512.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
import timing
from fastcodec import _core, bench_networks
from fastcodec.packed_model import Program

SIZE = (256, 384)
VECTOR_BACKENDS = [
    name for name, available, _ in _core.backends() if available and name in ("avx2", "avxvnni", "avx512")
]


@pytest.mark.parametrize("name", bench_networks.NETWORKS)
def test_network(name: str) -> None:
    pytest.importorskip("torch", reason="the peers need torch: pip install fastcodec[bench]")
    result = bench_networks.bench([bench_networks.network(name)], size=SIZE, repeats=3)
    print(bench_networks.markdown(result))
    assert result["networks"][0]["times_faster"] > 1


@pytest.mark.parametrize("backend", VECTOR_BACKENDS)
def test_zero_blocks(backend: str) -> None:
    half = "S50x16" if backend == "avx512" else "S50"  # blocks of the size that the backend skips
    networks = {share: bench_networks.network(name) for share, name in ((0.0, "S"), (0.5, half))}
    programs = {share: Program(one.spec, one.tensors, backend=backend) for share, one in networks.items()}
    image = bench_networks.sample_image(SIZE, 3)
    calls = {str(share): lambda p=p: p.run(image, 0, SIZE, threads=1) for share, p in programs.items()}
    times = {share: float(np.median(s)) for share, s in timing.interleaved(calls, 9, time.thread_time).items()}
    print(f"{backend}: dense {times['0.0'] * 1e3:.2f} ms, half of the blocks zero {times['0.5'] * 1e3:.2f} ms")
    assert times["0.5"] < times["0.0"]
