# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Each kernel, on every backend of this machine, against the NumPy interpreter; CRC-32C; the choice of backend."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import cases
import interpreter
import numpy as np
import pytest
from fastcodec import _core
from fastcodec.errors import BackendError, ModelError
from fastcodec.packed_model import Program

AVAILABLE = [name for name, available, _ in _core.backends() if available and name != "cuda"]
# Around the blocks of 2, 6, 12 and 16 pixels and the chunks of 96, and some in between.
WIDTHS = [1, 2, 3, 5, 6, 7, 11, 12, 13, 15, 16, 17, 24, 25, 95, 96, 97, 98, 130, 193]
CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 63, 64, 65, 97, 130]


GROUPS = [(2, 16, 16), (3, 1, 16), (4, 8, 32), (2, 40, 48), (5, 17, 16), (2, 3, 5), (6, 4, 1), (16, 1, 1), (3, 32, 20)]


@pytest.fixture(params=AVAILABLE)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def check(builder: cases.ProgramBuilder, output: str, image: np.ndarray, backend: str, label: str) -> None:
    """The program gives exactly what the interpreter says; a failure names case, backend, first bad index, values."""
    program = builder.program(output)
    size = cases.out_size(program, *image.shape[:2])
    for level in range(len(builder.levels)):
        expected = interpreter.run(program, builder.tensors, image, level, size)
        got = Program(program, builder.tensors, backend=backend).run(image, level, size, threads=1)
        bad = np.argwhere(got != expected)
        if len(bad):
            at = tuple(bad[0])
            pytest.fail(
                f"{label} on {backend}, level {level}: {len(bad)} differ, first {at}: {got[at]} not {expected[at]}"
            )


def as_u8(b: cases.ProgramBuilder, x: str) -> str:
    """Makes every bit of an i8 or i16 value visible in u8 results."""
    if b.dtypes[x] == "i16":
        return b.residual(x, x)  # (2 x + 8) >> 4
    return x if b.dtypes[x] == "u8" else b.conv(x, b.channels[x], kernel=1)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (1, 2)])
def test_conv_widths(backend: str, width: int, kernel: int, stride: int) -> None:
    b = cases.ProgramBuilder(5, seed=width)
    y = b.conv(b.conv("image", 16, kernel=1), 17, kernel=kernel, stride=stride)
    check(b, y, cases.image(9, width, 5, seed=width), backend, f"conv {kernel}x{kernel}/{stride}, width {width}")


@pytest.mark.parametrize("channels", CHANNELS)
def test_conv_channels(backend: str, channels: int) -> None:
    b = cases.ProgramBuilder(channels, seed=channels)
    other = CHANNELS[(3 * channels) % len(CHANNELS)]
    y = b.conv(b.conv("image", other), channels)
    check(b, y, cases.image(6, 14, channels), backend, f"conv {channels} -> {other} -> {channels}")


@pytest.mark.parametrize("dtype", ["u8", "i8", "i16"])
@pytest.mark.parametrize("add_dtype", [None, "u8", "i8", "i16"])
@pytest.mark.parametrize("source", ["u8", "i8"])
def test_conv_types(backend: str, dtype: str, add_dtype: str | None, source: str) -> None:
    b = cases.ProgramBuilder(3, (10, 20, 30), seed=7)
    x = b.conv("image", 20, dtype=source)
    added = b.conv("image", 12, dtype=add_dtype) if add_dtype else None
    y = as_u8(b, b.conv(x, 12, dtype=dtype, add=added))
    check(b, y, cases.image(13, 29), backend, f"{source} -> {dtype} + {add_dtype}")


@pytest.mark.parametrize("dtype", ["u8", "i8", "i16"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 8, 15, 16, 17, 33])
def test_depthwise(backend: str, dtype: str, stride: int, channels: int) -> None:
    b = cases.ProgramBuilder(3, seed=channels)
    x = b.conv("image", channels, kernel=1, dtype="i8" if channels % 2 else "u8")
    y = as_u8(b, b.depthwise(x, stride=stride, dtype=dtype, add=x if stride == 1 else None))
    check(b, y, cases.image(11, 23), backend, f"depthwise {channels}/{stride} -> {dtype}")


@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("channels", [1, 16, 17, 33, 48, 64, 80, 130])
def test_depthwise_of_bytes(backend: str, channels: int, height: int) -> None:
    """From u8 to u8 with nothing to add: every number of rows of a call, every period of the channels in a vector."""
    b = cases.ProgramBuilder(3, (10, 20), seed=channels)
    y = b.depthwise(b.conv("image", channels, kernel=1), extreme=channels == 33)
    check(b, y, cases.image(height, 23, seed=height), backend, f"depthwise {channels}, height {height}")


def long_chain(b: cases.ProgramBuilder, x: str, dtype: str) -> str:
    x = b.conv(x, 48, kernel=1)
    y = b.conv(b.conv(b.depthwise(x), 48, kernel=1, dtype=dtype), 33, kernel=1)
    return b.conv(b.conv(y, 65, kernel=1), 48, kernel=1, dtype=dtype, add=x)


def chain_at_half_size(b: cases.ProgramBuilder, x: str, dtype: str) -> str:
    y = b.conv(b.conv(x, 16, stride=2, dtype=dtype), 20, kernel=1)
    return b.conv(b.conv(y, 20, kernel=1, stride=2), 9, kernel=1, dtype=dtype)


def no_chain(b: cases.ProgramBuilder, x: str, dtype: str) -> str:
    x = b.conv(x, 20, kernel=1, dtype=dtype)
    return b.conv(x, 20, kernel=1, dtype=dtype, add=x)  # added to what is made of it


@pytest.mark.parametrize("make", [long_chain, chain_at_half_size, no_chain])
@pytest.mark.parametrize("dtype", ["u8", "i8", "i16"])
@pytest.mark.parametrize("width", [1, 15, 95, 96, 97, 111, 112, 192, 193, 250])
def test_chains(backend: str, width: int, dtype: str, make: Any) -> None:
    """Values that a 1x1 convolution alone reads, around the chunks of 96 columns."""
    b = cases.ProgramBuilder(3, (10, 20), seed=width)
    y = as_u8(b, make(b, "image", dtype))
    check(b, y, cases.image(9, width, 3, seed=width), backend, f"{make.__name__} of {dtype}, width {width}")


@pytest.mark.parametrize("dtype", ["u8", "i8", "i16"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [1, 4, 7, 16, 17, 33, 48, 130])
def test_conv_zero_blocks(backend: str, dtype: str, stride: int, channels: int) -> None:
    """1x1 with zero blocks of 8 outputs x 4 inputs, which each backend skips: some, none or all in a row."""
    b = cases.ProgramBuilder(3, (10, 20), seed=channels)
    other = CHANNELS[(5 * channels) % len(CHANNELS)]
    x = b.conv("image", channels, kernel=1, dtype="i8" if channels % 2 else "u8")
    added = b.conv("image", other, stride=stride, dtype=dtype) if stride == 2 else None
    weight = f"{len(b.ops)}.w"
    y = b.conv(x, other, kernel=1, stride=stride, dtype=dtype, add=added, extreme=channels == 33)
    rng = np.random.default_rng(channels)
    for first in range(0, other, 8):
        share = rng.choice([0.0, 0.6, 1.0], p=[0.2, 0.6, 0.2])
        for group in range(0, channels, 4):
            b.tensors[weight][first : first + 8, ..., group : group + 4] *= np.int8(rng.random() >= share)
    label = f"zero blocks {channels} -> {other}/{stride} {dtype}"
    check(b, as_u8(b, y), cases.image(5, 101, 3, seed=channels), backend, label)


@pytest.mark.parametrize("width", [1, 47, 48, 49, 96, 97, 145])
@pytest.mark.parametrize("channels", [3, 8, 12, 20, 64])
def test_chains_of_zero_blocks(backend: str, channels: int, width: int) -> None:
    """Passed on from one to the next, where half of each one's blocks are zero; a dense one and an addition between."""
    b = cases.ProgramBuilder(3, (10, 20), seed=channels)
    x = b.conv("image", channels, kernel=1)
    y = b.conv(x, 33, kernel=1)
    y = b.conv(y, channels, kernel=1, dtype="i8")
    y = b.conv(b.conv(b.conv(y, 17, kernel=1), channels, kernel=1, add=x), 40, kernel=1)
    y = b.conv(b.conv(y, channels, kernel=1), 12, kernel=1, dtype="i16")
    for name, weight in b.tensors.items():
        if name.endswith(".w") and name != "6.w":
            blocks = np.add.outer(np.arange(weight.shape[0]) // 8, np.arange(weight.shape[3]) // 4)
            weight *= (blocks % 2).astype(np.int8)[:, None, None, :]
    label = f"chain of zero blocks, {channels} channels, width {width}"
    check(b, as_u8(b, y), cases.image(5, width, 3, seed=width), backend, label)


def constant_conv(
    weight: int, channels: int, bias: int, mult: int, dtype: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    b = cases.ProgramBuilder(channels)
    y = b.conv("image", 3, dtype=dtype)
    b.tensors["0.w"][:] = weight
    b.tensors["0.b"][:] = bias
    b.tensors["0.m"][:] = mult
    return b.program(as_u8(b, y)), b.tensors


@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("channels", [64, 114, 115])
def test_conv_extremes(backend: str, weight: int, sign: int, channels: int) -> None:
    """The largest sums of a 3x3 convolution and the largest multiplier; bias at the edge of the accumulator bound.

    With 114 channels of weight -128 the sum stays just below 2^25, where the Winograd convolution is still exact.
    """
    edge = 2**31 - 1 - 9 * channels * abs(weight) * 255
    for dtype in ("u8", "i16"):
        program, tensors = constant_conv(weight, channels, sign * edge, 2**31 - 1, dtype)
        for value in (0, 255):
            image = np.full((5, 14, channels), value, np.uint8)
            expected = interpreter.run(program, tensors, image, 0, (5, 14))
            got = Program(program, tensors, backend=backend).run(image, 0, (5, 14))
            np.testing.assert_array_equal(got, expected)


def test_full_range_products(backend: str) -> None:
    """Random 0/255 activations with weights of -128/127: where saturating byte products would show."""
    rng = np.random.default_rng(5)
    b = cases.ProgramBuilder(32, seed=5)
    y = b.conv("image", 32, extreme=True)
    b.tensors["0.w"][:] = rng.choice([-128, 127], b.tensors["0.w"].shape)
    b.tensors["0.m"][:] = 2**32 // 30000
    check(b, y, rng.choice([0, 255], (12, 30, 32)).astype(np.uint8), backend, "0/255 times -128/127")


@pytest.mark.parametrize("dtype", ["u8", "i16"])
@pytest.mark.parametrize("source", ["u8", "i8"])
@pytest.mark.parametrize("large", [0.0, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("channels", [16, 32, 48, 500])
def test_joined_sums(backend: str, channels: int, large: float, source: str, dtype: str) -> None:
    """Weights around the edge of what fits 16 bits, 128 of one sign for two products and 257 for four, with a share of
    larger ones that need more blocks, another order of the inputs or another method; the extreme activations."""
    rng = np.random.default_rng(channels)
    b = cases.ProgramBuilder(channels, seed=channels, dtype=source)
    y = b.conv("image", 44, kernel=1, dtype=dtype)
    shape = b.tensors["0.w"].shape
    weight = rng.integers(-32, 33, shape)
    fours = weight.reshape(44, -1, 4)
    edges = np.array([(64, 64, -64, -65), (64, 64, 64, 65), (127, 1, 127, 2), (-128, 0, -127, -2), (-64, 127, 1, -65)])
    at = rng.random(fours.shape[:2]) < 0.05
    fours[at] = rng.permuted(edges[rng.integers(0, len(edges), at.sum())], axis=1)
    weight[8:16, ..., ::3] = 0
    weight[32:40, ..., : channels // 2] = 0
    replaced = rng.random(shape) < large
    weight[replaced] = rng.choice([-128, -127, 127], int(replaced.sum()))
    b.tensors["0.w"][:] = weight
    b.tensors["0.b"][:] = rng.integers(-(2**18), 2**18, b.tensors["0.b"].shape)
    values = np.array([0, 255], np.uint8) if source == "u8" else np.array([-128, 127], np.int8)
    image = rng.choice(values, (5, 103, channels))
    image[0, :40], image[1, :40] = values
    check(b, as_u8(b, y), image, backend, f"joined sums of {channels} {source} -> {dtype}, {large} large")


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 5), (8, 16), (7, 33)])
def test_row_kernels(backend: str, channels: int, size: tuple[int, int]) -> None:
    picture = cases.image(*size, channels, seed=3)
    picture[::2, ::3] = 255
    picture[1::3, 1::2] = 0
    for label in ("unshuffle", "phase", "up2 u8", "up2 i16", "down2 u8", "down2 i16", "shuffle u8", "shuffle i16"):
        b = cases.ProgramBuilder(channels, seed=2)
        if label == "unshuffle":
            y = b.unshuffle("image")
        elif label == "phase":
            y = b.phase("image", planes=2, period=5)
        elif label.startswith("shuffle"):
            y = as_u8(b, b.shuffle(b.conv("image", 4 * channels, dtype=label.split()[1])))
        else:
            name, dtype = label.split()
            y = as_u8(b, b.up2("image", dtype) if name == "up2" else b.down2("image", dtype))
        check(b, y, picture, backend, f"{label}, {channels} channels, {size}")


def check_all(builder: cases.ProgramBuilder, output: str, image: np.ndarray, label: str) -> None:
    """As check, on every backend; the result has its own type."""
    program = builder.program(output)
    size = cases.out_size(program, *image.shape[:2])
    for level in range(len(builder.levels)):
        expected = interpreter.run(program, builder.tensors, image, level, size)
        assert expected.dtype == interpreter.DTYPES[builder.dtypes[output]], label
        for backend in AVAILABLE:
            got = Program(program, builder.tensors, backend=backend).run(image, level, size, threads=1)
            assert got.dtype == expected.dtype, label
            np.testing.assert_array_equal(got, expected, f"{label} on {backend}, level {level}")


@pytest.mark.parametrize("channels", [*CHANNELS, 320, 512, 640])
def test_conv_of_i16_channels(channels: int) -> None:
    others = [*CHANNELS, 320, 512, 640]
    for k, dtype in enumerate(("u8", "i8", "i16")):
        other = others[(7 * channels + 11 * k) % len(others)]
        b = cases.ProgramBuilder(channels, (10, 20), seed=channels, dtype="i16")
        y = b.conv("image", other, kernel=1, dtype=dtype, extreme=channels % 3 == k)
        image = cases.noise(3, 7, channels, "i16", seed=channels)
        check_all(b, y, image, f"conv of i16 {channels} -> {other} {dtype}")


@pytest.mark.parametrize("add_dtype", [None, "u8", "i8", "i16"])
@pytest.mark.parametrize("width", WIDTHS)
def test_conv_of_i16_widths(width: int, add_dtype: str | None) -> None:
    """As the input of the program, whose pixels have no gaps, and as a value, whose pixels have."""
    for stride in (1, 2):
        for channels in (17, 20):
            b = cases.ProgramBuilder(channels, seed=width, dtype="i16")
            x = b.conv("image", channels, kernel=1, dtype="i16") if width % 2 else "image"
            added = b.conv("image", 33, kernel=1, stride=stride, dtype=add_dtype) if add_dtype else None
            y = b.conv(x, 33, kernel=1, stride=stride, dtype="i16", add=added)
            image = cases.noise(5, width, channels, "i16", seed=width)
            check_all(b, y, image, f"conv of i16, width {width}, stride {stride} + {add_dtype}")


@pytest.mark.parametrize("dtype", ["u8", "i8", "i16"])
@pytest.mark.parametrize("add_dtype", [None, "u8", "i8", "i16"])
@pytest.mark.parametrize("channels", [3, 32, 65])
def test_conv_results_of_every_type(channels: int, add_dtype: str | None, dtype: str) -> None:
    """Direct, Winograd and i16 convolutions to every type, with every type added."""
    for source, kernel in (("u8", 1), ("i8", 1), ("u8", 3), ("i16", 1)):
        b = cases.ProgramBuilder(20, seed=7, dtype=source)
        added = b.conv("image", channels, kernel=1, dtype=add_dtype) if add_dtype else None
        y = b.conv("image", channels, kernel=kernel, dtype=dtype, add=added)
        image = cases.noise(5, 29, 20, source, seed=channels)
        check_all(b, y, image, f"{kernel}x{kernel} {source} -> {dtype} + {add_dtype}, {channels} channels")


@pytest.mark.parametrize(
    ("channels", "weight"), [(1, -128), (2, 127), (511, -128), (512, 127), (516, -127), (640, 102)]
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_conv_of_i16_at_its_bound(channels: int, weight: int, sign: int) -> None:
    """The largest sums that the loader allows, with the largest multiplier."""
    edge = 2**31 - 1 - channels * abs(weight) * 32768
    assert edge >= 0
    b = cases.ProgramBuilder(channels, dtype="i16")
    y = b.conv("image", 3, kernel=1, dtype="i16")
    b.tensors["0.w"][:] = weight
    b.tensors["0.b"][:] = sign * edge
    for mult in (1, 1 << 16, 2**31 - 1):
        b.tensors["0.m"][:] = mult
        for value in (-32768, 32767):
            image = np.full((2, 14, channels), value, np.int16)
            check_all(b, y, image, f"{channels} x {weight} x {value} + {sign * edge}")
    b.tensors["0.b"][0, 1] += sign
    with pytest.raises(ModelError, match=r"channel 1 may overflow: sum\|w\| \* 32768"):
        Program(b.program(y), b.tensors)


@pytest.mark.parametrize("channels", [*CHANNELS, 320, 640])
def test_scale_channels(channels: int) -> None:
    """Pixels without gaps, of which several make a vector, and such with gaps."""
    for source in ("u8", "i8", "i16"):
        image = cases.noise(3, 37, channels, source, seed=channels)
        for dtype in ("u8", "i8", "i16"):
            b = cases.ProgramBuilder(channels, (10, 20, 30), seed=channels, dtype=source)
            check_all(b, b.scale("image", dtype), image, f"scale {channels} {source} -> {dtype}")
            b = cases.ProgramBuilder(channels, seed=channels, dtype=source)
            y = b.scale(b.conv("image", channels, kernel=1, dtype=source), dtype)
            check_all(b, y, image, f"scale of a convolution {channels} {source} -> {dtype}")


@pytest.mark.parametrize("dtype", ["u8", "i8", "i16"])
@pytest.mark.parametrize("source", ["u8", "i8", "i16"])
@pytest.mark.parametrize(("groups", "n_in", "n_out"), GROUPS)
def test_groups(groups: int, n_in: int, n_out: int, source: str, dtype: str) -> None:
    """Groups of which each writes whole blocks of channels, and others; with `add`, both kernels, both strides."""
    for kernel in (1,) if source == "i16" else (1, 3):
        b = cases.ProgramBuilder(groups * n_in, (10, 20), seed=n_in + n_out, dtype=source)
        x = b.conv(
            "image", groups * n_out, kernel=kernel, stride=n_in % 2 + 1, groups=groups, dtype=dtype, extreme=n_in == 8
        )
        if dtype != "i16":
            x = b.conv(b.conv(x, groups * n_out, kernel=kernel, groups=groups), groups * n_out, groups=groups, add=x)
        image = cases.noise(5, 37, groups * n_in, source, seed=groups)
        check_all(b, x, image, f"{groups} groups {n_in} -> {n_out}, {kernel}x{kernel}, {source} -> {dtype}")


def test_groups_are_less_work() -> None:
    """A grouped convolution counts the multiplications that it needs."""
    b = cases.ProgramBuilder(64, seed=1)
    y = b.conv(b.conv("image", 64, groups=4), 32, kernel=1, groups=32)
    assert Program(b.program(y), b.tensors).native.macs(10, 20) == 10 * 20 * (9 * 64 * 64 // 4 + 64)


@pytest.mark.parametrize("dtype", ["u8", "i8"])
@pytest.mark.parametrize("source", ["u8", "i8"])
@pytest.mark.parametrize("channels", [1, 3, 12, 16, 33, 130])
def test_lookup(channels: int, source: str, dtype: str) -> None:
    """Tables for all channels and for each, on values as they come in and as a convolution makes them."""
    for shared in (True, False):
        b = cases.ProgramBuilder(channels, seed=channels, dtype=source)
        x = b.lookup("image", dtype, shared=shared)
        y = b.lookup(b.conv(x, channels, kernel=1, dtype=source), dtype, shared=shared)
        image = cases.noise(4, 70, channels, source)
        image.reshape(-1)[: min(256, image.size)] = np.arange(256, dtype=np.uint8).view(image.dtype)[: image.size]
        check_all(b, y, image, f"lookup of {channels}, {source} -> {dtype}, shared {shared}")


@pytest.mark.parametrize("mult", [1, 65535, 65536, 2**31 - 1])
@pytest.mark.parametrize("bias", [-(2**31), -1, 0, 32768, 2**31 - 1])
def test_scale_extremes(mult: int, bias: int) -> None:
    for source in ("u8", "i8", "i16"):
        info = np.iinfo(interpreter.DTYPES[source])
        values = [info.min, info.min + 1, 0, 1, info.max - 1, info.max]
        image = np.array(values * 6, info.dtype).reshape(2, 6, 3)
        for dtype in ("u8", "i8", "i16"):
            b = cases.ProgramBuilder(3, dtype=source)
            y = b.scale("image", dtype)
            b.tensors["0.m"][:], b.tensors["0.b"][:] = mult, bias
            check_all(b, y, image, f"scale {source} -> {dtype}, {mult}, {bias}")


@pytest.mark.parametrize("dtype", ["u8", "i8", "i16"])
@pytest.mark.parametrize("channels", [1, 3, 4, 5, 7, 8, 12, 16, 33, 48, 130])
def test_shuffles_of_every_type(dtype: str, channels: int) -> None:
    for size in [(1, 1), (1, 2), (2, 1), (3, 5), (7, 33)]:
        b = cases.ProgramBuilder(channels, seed=2, dtype=dtype)
        image = cases.noise(*size, channels, dtype, seed=3)
        check_all(b, b.unshuffle("image"), image, f"unshuffle {dtype} {channels} {size}")
        b = cases.ProgramBuilder(4 * channels, seed=2, dtype=dtype)
        image = cases.noise(*size, 4 * channels, dtype, seed=3)
        check_all(b, b.shuffle("image"), image, f"shuffle {dtype} {channels} {size}")
        b = cases.ProgramBuilder(4 * channels, seed=2, dtype=dtype)
        y = b.shuffle(b.conv("image", 4 * channels, kernel=1, dtype=dtype))  # pixels with gaps
        check_all(b, y, image, f"shuffle of a convolution {dtype} {channels} {size}")


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 15, 16, 17, 1000])
def test_crc32c(n: int) -> None:
    data = np.random.default_rng(n).integers(0, 256, n + 3).astype(np.uint8)
    for start in (0, 1, 3):  # also misaligned
        piece = data[start : start + n].tobytes()
        crc = 0xFFFFFFFF
        for byte in piece:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        assert _core.crc32c(data[start : start + n]) == crc ^ 0xFFFFFFFF
        assert _core.crc32c(piece[n // 3 :], _core.crc32c(piece[: n // 3])) == crc ^ 0xFFFFFFFF
        assert _core.crc32c_table(piece) == crc ^ 0xFFFFFFFF


def test_crc32c_known_value() -> None:
    assert _core.crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C in the literature


def run_with_backend(value: str, code: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "FASTCODEC_BACKEND": value}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)


def test_backend_environment(backend: str) -> None:
    done = run_with_backend(backend, "from fastcodec import _core; print(_core.active_backend())")
    assert done.stdout.strip() == backend, done.stderr


def test_unknown_backend() -> None:
    done = run_with_backend("mmx", "from fastcodec import _core; _core.active_backend()")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "BackendError" in last
    assert all(name in last for name in ["mmx", *AVAILABLE])
    with pytest.raises(BackendError, match="scalar"):
        Program(*cases.random_program(1), backend="mmx")


def test_backends_say_why_not() -> None:
    listed = {name: (available, reason) for name, available, reason in _core.backends()}
    assert {"scalar", "reference", "cuda"} <= set(listed)
    assert all(bool(reason) != available for available, reason in listed.values())


def test_num_threads() -> None:
    before = _core.get_num_threads()
    _core.set_num_threads(3)
    assert _core.get_num_threads() == 3
    _core.set_num_threads(before)
    with pytest.raises(ValueError, match="at least 1"):
        _core.set_num_threads(0)
