# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""What decoding really takes beside what flow.check_memory says, measured in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fastcodec import LimitError, Limits, container, flow
from fastcodec.codecs import ALPHA_CODECS, CODECS, Codec

SIDE = 1000
SLACK = 4 << 20
CHILD = """
import os, sys
import numpy as np
import fastcodec

def memory(name):  # VmRSS now, VmHWM at its highest, in bytes
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

for codec in fastcodec.codecs():  # loads what any decode needs
    if codec.available:
        networks = "auto" if codec.name == "range" else "off"
        fastcodec.decode(fastcodec.encode(np.zeros((8, 8, 4), np.uint8), codec=codec.name, networks=networks))
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    if os.fork() == 0:
        open("/proc/self/clear_refs", "w").write("5")  # the highest starts from now
        before = memory("VmRSS")
        fastcodec.decode(data, strict=False)
        print(memory("VmHWM") - before, flush=True)
        os._exit(0)
    os.wait()
"""


def estimate(data: bytes) -> int:
    """The least max_memory that decoding accepts."""
    stream = container.read(data, Limits())
    low, high = 0, 1 << 40
    while low < high:
        middle = (low + high) // 2
        try:
            flow.check_memory(stream, None, Limits(max_memory=middle))
            high = middle
        except LimitError:
            low = middle + 1
    return low


def coded(codec: Codec, x: np.ndarray) -> bytes:
    return codec.encode(x, 15, codec.subsamplings[-1] if codec.subsamplings else "auto")


def packed(codec: Codec, file: bytes, channels: int, alpha: bytes | None = None) -> bytes:
    """A stream whose header says `channels`, whatever the payload holds."""
    header = container.Header(SIDE, SIDE, channels, codec.id, 15, 0, alpha=alpha is not None)
    return container.write_fcd(header, file, alpha, {})


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc/self/clear_refs")
def test_decoding_takes_no_more_than_the_estimate(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    grey = np.ascontiguousarray(noise[..., :1])
    streams = {}
    for codec in CODECS.values():
        if codec.kind == "image" and not codec.reason():
            colour = coded(codec, noise)
            streams[f"{codec.name}, grey"] = packed(codec, coded(codec, grey), 1)
            streams[f"{codec.name}, colour"] = packed(codec, colour, 3)
            if codec.name != "jpeg2000":  # says its channels before they are decoded
                streams[f"{codec.name}, colour that the header calls grey"] = packed(codec, colour, 1)
    for method, alpha_codec in ALPHA_CODECS.items():
        alpha = bytes((method,)) + alpha_codec.encode(grey, 100)
        streams[f"alpha as {alpha_codec.name}"] = packed(CODECS["jpeg"], coded(CODECS["jpeg"], grey), 1, alpha)
    paths = []
    for number, data in enumerate(streams.values()):
        paths.append(tmp_path / str(number))
        paths[-1].write_bytes(data)
    command = [sys.executable, "-W", "ignore", "-c", CHILD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    taken = [int(word) for word in done.stdout.split()]
    assert len(taken) == len(streams), done.stderr
    too_much = {
        name: (used, expected)
        for (name, data), used in zip(streams.items(), taken, strict=True)
        if used > (expected := estimate(data)) + SLACK
    }
    assert not too_much
    assert max(taken) > 4 * SLACK  # so the measurement sees what it should
