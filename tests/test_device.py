# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The CUDA kernels: their bodies in the emulator, and on a GPU where there is one."""

from __future__ import annotations

import cases
import interpreter
import numpy as np
import pytest
from fastcodec import _core
from fastcodec.errors import BackendError, LimitError
from fastcodec.packed_model import Program
from hypothesis import given, settings
from hypothesis import strategies as st

Region = tuple[int, int, int, int]


def emulate(
    program: Program, picture: np.ndarray, level: int, size: tuple[int, int], region: Region | None = None
) -> np.ndarray:
    x, y, w, h = region or (0, 0, size[1], size[0])
    out = np.full((h, w, program.channels), 77, np.uint8)
    program.run_device(
        picture.ctypes.data, picture.shape[:2], out.ctypes.data, level, size, region=(x, y, w, h), device="emulator"
    )
    return out


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40), data=st.data())
def test_bodies_on_random_programs(seed: int, height: int, width: int, data: st.DataObject) -> None:
    spec, tensors = cases.random_program(seed)
    picture = cases.image(height, width, spec["inputs"]["image"], seed)
    size = cases.out_size(spec, height, width)
    level = seed % len(spec["levels"])
    expected = interpreter.run(spec, tensors, picture, level, size)
    program = Program(spec, tensors)
    np.testing.assert_array_equal(emulate(program, picture, level, size), expected)
    x, y = data.draw(st.integers(0, size[1] - 1)), data.draw(st.integers(0, size[0] - 1))
    region = (x, y, data.draw(st.integers(1, size[1] - x)), data.draw(st.integers(1, size[0] - y)))
    got = emulate(program, picture, level, size, region)
    np.testing.assert_array_equal(got, expected[y : y + region[3], x : x + region[2]])


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 8, 9, 33, 130])
def test_bodies_channels_and_types(channels: int) -> None:
    for dtype in ("u8", "i8"):
        b = cases.ProgramBuilder(channels, (10, 20), seed=channels)
        x = b.conv("image", channels, dtype=dtype, extreme=True)
        y = b.conv(b.depthwise(x, dtype=dtype, add=x), 5, kernel=1, stride=2)
        picture = cases.image(7, 9, channels)
        expected = interpreter.run(b.program(y), b.tensors, picture, 1, (4, 5))
        np.testing.assert_array_equal(emulate(Program(b.program(y), b.tensors), picture, 1, (4, 5)), expected)


def test_device_errors() -> None:
    spec, tensors = cases.network_f(width=8, blocks=1)
    program = Program(spec, tensors)
    picture = cases.image(16, 16)
    out = np.empty_like(picture)
    address, target, size = picture.ctypes.data, out.ctypes.data, (16, 16)
    with pytest.raises(BackendError, match="use one of: cuda, emulator"):
        program.run_device(address, size, target, 0, size, device="tpu")
    with pytest.raises(ValueError, match="addresses"):
        program.run_device(0, size, target, 0, size, device="emulator")
    with pytest.raises(ValueError, match="out_size"):
        program.run_device(address, size, target, 0, (20, 20), device="emulator")
    with pytest.raises(ValueError, match="region"):
        program.run_device(address, size, target, 0, size, region=(8, 8, 9, 8), device="emulator")
    with pytest.raises(LimitError, match="limit of 100"):
        program.run_device(address, size, target, 0, size, device="emulator", max_memory=100)


def test_out_of_memory() -> None:
    """More memory than any machine can address: MemoryError, before anything is touched."""
    b = cases.ProgramBuilder(1024)
    program = Program(b.program(b.conv("image", 1, kernel=1)), b.tensors)
    size = (1 << 20, 1 << 20)
    with pytest.raises(MemoryError):
        program.run_device(64, size, 64, 0, size, device="emulator")


def test_cuda_says_why_not() -> None:
    reason = next(reason for name, _, reason in _core.backends() if name == "cuda")
    if not reason:
        pytest.skip("there is a GPU")
    program = Program(*cases.network_f(width=8, blocks=1))
    with pytest.raises(BackendError, match="use device='cpu'"):
        program.run_device(1, (16, 16), 1, 0, (16, 16))


@pytest.mark.gpu
@pytest.mark.parametrize("seed", range(40))
def test_gpu_random_programs(seed: int) -> None:
    torch = pytest.importorskip("torch")
    spec, tensors = cases.random_program(seed)
    height, width = 61 + seed, 300 - 3 * seed
    picture = cases.image(height, width, spec["inputs"]["image"], seed)
    size = cases.out_size(spec, height, width)
    program = Program(spec, tensors)
    expected = program.run(picture, 0, size)
    image = torch.from_numpy(picture).cuda()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        out = program.run_torch(image, 0, size)
        region = (1, 0, size[1] - 1, size[0] // 2)
        part = program.run_torch(image, 0, size, region=region)
    stream.synchronize()
    np.testing.assert_array_equal(out.cpu().numpy(), expected)
    np.testing.assert_array_equal(part.cpu().numpy(), expected[: size[0] // 2, 1:])


def test_torch_on_the_cpu() -> None:
    torch = pytest.importorskip("torch")
    program = Program(*cases.network_f(width=8, blocks=1))
    picture = cases.image(20, 30)
    got = program.run_torch(torch.from_numpy(picture), 0, (20, 30), region=(1, 2, 3, 4))
    np.testing.assert_array_equal(got.numpy(), program.run(picture, 0, (20, 30))[2:6, 1:4])
    with pytest.raises(TypeError, match="contiguous uint8"):
        program.run_torch(torch.zeros(20, 30, 3), 0, (20, 30))
    with pytest.raises(ValueError, match="3 channels, got 1"):
        program.run_torch(torch.zeros(20, 30, 1, dtype=torch.uint8), 0, (20, 30))
    with pytest.raises(ValueError, match=r"use x\.cpu\(\)"):
        program.run_torch(torch.zeros(20, 30, 3, dtype=torch.uint8, device="meta"), 0, (20, 30))
