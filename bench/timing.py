# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Timing of several contenders in one run, interleaved, so that a change of the machine's load hits all alike."""

from __future__ import annotations

import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call, `repeats` for each contender, one of each in turn; one call of each beforehand."""
    for call in contenders.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, call in contenders.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return seconds


def summary(seconds: list[float]) -> dict[str, float]:
    """Median, minimum and spread (interquartile range over median) of some times, in ms."""
    ordered = sorted(seconds)
    n = len(ordered)
    median = statistics.median(ordered)
    spread = (ordered[(3 * n) // 4] - ordered[n // 4]) / median
    return {"median_ms": median * 1e3, "min_ms": ordered[0] * 1e3, "spread": spread}


def machine() -> dict[str, str]:
    """What a result must say about where it comes from: CPU, Python, commit."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    ).stdout.strip()
    return {"cpu": cpu, "python": platform.python_version(), "commit": commit or "unknown"}
