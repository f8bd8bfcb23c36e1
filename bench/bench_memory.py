# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Memory that a shipped RecCNN takes on a 100-megapixel image: pytest bench/bench_memory.py -s

The peak is ru_maxrss of a process of its own: its growth by loading the model and running it, above input and result,
which were written once before. FASTCODEC_BENCH_RESULTS names a folder for memory.json and memory.md (the kept ones are
in bench/results/networks_memory).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastcodec import _core, machine

pytest.importorskip("resource", reason="needs ru_maxrss, which Windows lacks")

MODEL, PROGRAM = "jpeg-fast-1", "rec1_rgb"
SIDE = 10_000
LIMIT = 400_000_000
BACKEND = next(name for name, available, _ in _core.backends() if available and name != "cuda")  # the best
CHILD = """
import json, resource, sys
import numpy as np
from fastcodec import packed_model

def peak():  # ru_maxrss counts KiB, on macOS bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

model, name, side, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = np.random.default_rng(1)
image = np.empty((side, side, 3), np.uint8)
for y in range(0, side, 50):  # in bands: the highest so far must be the arrays and nothing beside them
    image[y : y + 50] = rng.integers(0, 256, image[y : y + 50].shape, np.uint8)
result = np.full_like(image, 1)
start = peak()
assert start < 2 * image.nbytes + (100 << 20)  # it is that of the arrays, not of the process that started this one
del result  # run() makes its own
program = packed_model.by_name(model).load().programs[name]
result = program.run(image, 0, (side, side), threads=threads)
growth = peak() - start
part = program.run(image, 0, (side, side), region=(side - 70, side // 2, 70, 60), threads=1)
assert np.array_equal(result[side // 2 : side // 2 + 60, side - 70 :], part)
space = program.native.work_space_bytes((side, side), (side, side), (side, side), threads)
print(json.dumps({"arrays_bytes": 2 * image.nbytes, "growth_bytes": growth, "work_space_bytes": space}))
"""


def growth(backend: str, threads: int) -> dict[str, object]:
    """What one run takes, in bytes: input and result together, growth above them, the work space as planned."""
    command = [sys.executable, "-c", CHILD, MODEL, PROGRAM, str(SIDE), str(threads)]
    environment = {**os.environ, "FASTCODEC_BACKEND": backend}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    return {"backend": backend, "threads": threads, **json.loads(done.stdout)}


def markdown(where: machine.Json, rows: list[dict[str, object]]) -> str:
    lines = [
        f"# Memory of {MODEL} on {SIDE} x {SIDE} pixels",
        "",
        f"{where['cpu']}, {where['system']}; commit {where['commit']}; {where['time']}. Program {PROGRAM}. "
        "Growth of the process's peak (ru_maxrss) by loading the model and running it, above input and result; "
        "MB of 10^6 bytes.",
        "",
        "| backend | threads | input and result MB | growth MB | planned work space MB |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        sizes = " | ".join(f"{row[key] / 1e6:.1f}" for key in ("arrays_bytes", "growth_bytes", "work_space_bytes"))
        lines.append(f"| {row['backend']} | {row['threads']} | {sizes} |")
    return "\n".join(lines) + "\n"


def test_memory_of_100_megapixels() -> None:
    where = machine.describe()
    rows = [growth(BACKEND, threads) for threads in (1, 2)]
    text = markdown(where, rows)
    print("\n" + text)
    folder = os.environ.get("FASTCODEC_BENCH_RESULTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        machine.write_text(Path(folder) / "memory.json", json.dumps({"machine": where, "rows": rows}, indent=1) + "\n")
        machine.write_text(Path(folder) / "memory.md", text)
    assert max(row["growth_bytes"] for row in rows) < LIMIT
