# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Packed programs as a whole: random programs, threads, bands, regions, malformed programs, model files."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cases
import interpreter
import numpy as np
import pytest
from fastcodec import _core, packed_model, rans
from fastcodec.errors import LimitError, ModelError
from fastcodec.packed_model import Program
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

AVAILABLE = [name for name, available, _ in _core.backends() if available and name != "cuda"]


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 70), width=st.integers(1, 70), data=st.data())
def test_random_programs(seed: int, height: int, width: int, data: st.DataObject) -> None:
    """Every backend, thread count and region gives what the interpreter gives."""
    program, tensors = cases.random_program(seed)
    rng = np.random.default_rng(seed)
    picture = cases.image(height, width, program["inputs"]["image"], seed)
    if rng.random() < 0.4:
        picture = rng.choice([0, 255], picture.shape).astype(np.uint8)
    level = int(rng.integers(len(program["levels"])))
    out_h, out_w = cases.out_size(program, height, width)
    expected = interpreter.run(program, tensors, picture, level, (out_h, out_w))
    x, y = data.draw(st.integers(0, out_w - 1)), data.draw(st.integers(0, out_h - 1))
    region = (x, y, data.draw(st.integers(1, out_w - x)), data.draw(st.integers(1, out_h - y)))
    crop = expected[y : y + region[3], x : x + region[2]]
    for backend in AVAILABLE:
        native = Program(program, tensors, backend=backend)
        for threads in (1, 2):
            np.testing.assert_array_equal(
                native.run(picture, level, (out_h, out_w), threads=threads), expected, backend
            )
            got = native.run(picture, level, (out_h, out_w), region=region, threads=threads)
            np.testing.assert_array_equal(got, crop, f"{backend} {region}")


def real_program(kind: str, channels: int = 3) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    b = cases.ProgramBuilder(channels, (20, 60), seed=4)
    y = cases.compact(b, channels, 24, 3) if kind == "com2" else cases.restore(b, channels, int(kind[-1]), 24, 3)
    return b.program(y), b.tensors


SIZES = [(1, 1), (1, 9), (2, 2), (17, 1), (31, 37), (64, 61), (129, 200)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["rec1", "rec2", "com2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_codec_networks(kind: str, size: tuple[int, int], channels: int) -> None:
    """Networks shaped like the shipped ones, at odd sizes, with the sizes their codec asks for."""
    program, tensors = real_program(kind, channels)
    h, w = size
    small = (-(-h // 2), -(-w // 2))
    picture = cases.image(*(small if kind == "rec2" else size), channels)
    out = small if kind == "com2" else size
    for level in (0, 1):
        expected = interpreter.run(program, tensors, picture, level, out)
        for backend in AVAILABLE:
            got = Program(program, tensors, backend=backend).run(picture, level, out, threads=2)
            np.testing.assert_array_equal(got, expected, backend)


@pytest.mark.parametrize("size", [(37, 3000), (900, 40), (500, 1500)])
def test_strips_and_bands(size: tuple[int, int]) -> None:
    """Sizes that are cut into several strips and bands: the cuts do not show."""
    program, tensors = real_program("rec1")
    picture = cases.image(*size)
    expected = interpreter.run(program, tensors, picture, 1, size)
    for backend in AVAILABLE[:2]:
        native = Program(program, tensors, backend=backend)
        for threads in (1, 2, 5):
            np.testing.assert_array_equal(native.run(picture, 1, size, threads=threads), expected)


@pytest.mark.parametrize("typed", [False, True])
def test_bands_of_random_programs(typed: bool) -> None:
    """Bands give what one thread gives, which other tests compare with the interpreter."""
    n_cut = 0
    for seed in range(60):
        spec, tensors = cases.random_program(seed, typed=typed)
        program = Program(spec, tensors)
        rng = np.random.default_rng(seed)
        height, width = int(rng.integers(150, 400)), int(rng.choice([90, 300, 700]))
        picture = cases.input_of(program, height, width, seed)
        size = cases.out_size(spec, height, width)
        whole = program.run(picture, 0, size, threads=1)
        y, x = size[0] // 7, size[1] // 5
        part = (x, y, size[1] - x, size[0] - y - size[0] // 9)
        n_bytes = [program.native.work_space_bytes((height, width), size, size, n) for n in (1, 3)]
        n_cut += n_bytes[1] > n_bytes[0]
        for threads in (2, 3, 7):
            np.testing.assert_array_equal(program.run(picture, 0, size, threads=threads), whole, f"seed {seed}")
            got = program.run(picture, 0, size, region=part, threads=threads)
            np.testing.assert_array_equal(got, whole[y:, x:][: part[3]], f"seed {seed}, part")
    assert n_cut > 20  # else the programs are too small to tell


def test_many_strips_and_bands() -> None:
    """Seams between bands are used for one strip after another."""
    b = cases.ProgramBuilder(3, seed=1)
    x = skip = b.conv("image", 64)
    for i in range(5):
        x = b.conv(x, 64, add=skip if i == 3 else None)
    program = Program(b.program(b.conv(x, 3)), b.tensors)
    picture = cases.image(70, 3000)
    size = picture.shape[:2]
    left, right = (program.run(picture, 0, size, region=(x, 0, 1500, 70), threads=1) for x in (0, 1500))
    slow = _core.active_backend() in ("scalar", "reference")
    for threads in (1, 3, 5) if slow else (1, 2, 3, 5, 2, 3, 5):
        whole = program.run(picture, 0, size, threads=threads)
        np.testing.assert_array_equal(whole, np.concatenate((left, right), axis=1))


def test_memory_does_not_grow_with_the_image() -> None:
    native = Program(*real_program("rec1")).native
    small, tall, huge = (
        native.work_space_bytes(size=s, out_size=s, region_size=s, threads=1)
        for s in [(400, 600), (40000, 600), (20000, 30000)]
    )
    assert tall == small
    assert huge < 4 << 20


def test_memory_limit_and_region_errors() -> None:
    program = Program(*real_program("rec1"))
    picture = cases.image(64, 64)
    with pytest.raises(LimitError, match="limit of 1000"):
        program.run(picture, 0, (64, 64), max_memory=1000)
    for region in [(0, 0, 65, 1), (1, 0, 64, 1), (-1, 0, 1, 1), (0, 0, 0, 1), (0, 64, 1, 1)]:
        with pytest.raises(ValueError, match="region"):
            program.run(picture, 0, (64, 64), region=region)
    for level in (-1, 2):
        with pytest.raises(ValueError, match="level"):
            program.run(picture, level, (64, 64))
    for out_size in [(62, 64), (65, 64), (64, 0)]:
        with pytest.raises(ValueError, match=r"out_size|region"):
            program.run(picture, 0, out_size)
    with pytest.raises(ValueError, match="threads"):
        program.run(picture, 0, (64, 64), threads=0)
    with pytest.raises(TypeError, match="uint8"):
        program.run(picture.astype(np.float32), 0, (64, 64))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="contiguous"):
        program.run(picture[:, ::2], 0, (64, 32))
    with pytest.raises(ValueError, match="channels"):
        program.run(cases.image(64, 64, 1), 0, (64, 64))


def test_level_for() -> None:
    program = Program(*real_program("rec1"))  # levels 20 and 60
    assert [program.level_for(q) for q in (1, 20, 39, 40, 41, 60, 100)] == [0, 0, 0, 0, 1, 1, 1]


# ---- values of any type, and changes of size --------------------------------------------------------------------
@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 40), width=st.integers(1, 40), data=st.data())
def test_random_typed_programs(seed: int, height: int, width: int, data: st.DataObject) -> None:
    """As test_random_programs, with inputs and results of any type, which may be cropped."""
    program, tensors = cases.random_program(seed, typed=True)
    reference = Program(program, tensors, backend="reference")
    picture = cases.noise(height, width, reference.in_channels, {v: k for k, v in interpreter.DTYPES.items()}[
        reference.in_dtype.type], seed)  # fmt: skip
    level = seed % len(program["levels"])
    out_h, out_w = cases.out_size(program, height, width)
    if reference.scale > 1:
        out_h, out_w = out_h - data.draw(st.integers(0, 1)), out_w - data.draw(st.integers(0, 1))
    expected = interpreter.run(program, tensors, picture, level, (out_h, out_w))
    x, y = data.draw(st.integers(0, out_w - 1)), data.draw(st.integers(0, out_h - 1))
    region = (x, y, data.draw(st.integers(1, out_w - x)), data.draw(st.integers(1, out_h - y)))
    crop = expected[y : y + region[3], x : x + region[2]]
    for backend in AVAILABLE:
        native = Program(program, tensors, backend=backend)
        for threads in (1, 2):
            got = native.run(picture, level, (out_h, out_w), threads=threads)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected, backend)
            got = native.run(picture, level, (out_h, out_w), region=region, threads=threads)
            np.testing.assert_array_equal(got, crop, f"{backend} {region}")


def small_program(kind: str, levels: tuple[int, ...] = (20, 60)) -> cases.ProgramBuilder:
    """Shaped like the programs of an autoencoder at 1/16, and its hyperprior at 1/64; the result is the last value."""
    b = cases.ProgramBuilder({"analysis": 3, "hyper": 24, "synthesis": 24}[kind], levels, seed=len(kind),
                             dtype="u8" if kind == "analysis" else "i16")  # fmt: skip
    x = "image"
    if kind == "analysis":
        for _ in range(2):
            x = b.unshuffle(x)
        x = b.conv(b.conv(x, 24, stride=2), 20, stride=2)
        b.conv(b.conv(x, 20), 24, kernel=1, dtype="i16")
    elif kind == "hyper":
        x = b.conv(b.scale(x, "i8"), 16, stride=2)
        b.scale(b.conv(b.conv(x, 16), 17, stride=2, dtype="i16"), "i16")
    else:
        x = b.conv(b.conv(b.scale(x, "i8"), 16), 24, kernel=1, dtype="i16", add=x)
        x = b.shuffle(b.conv(x, 64, kernel=1, dtype="i16"))
        x = b.conv(b.conv(b.scale(x, "i8"), 16), 16, kernel=1, dtype="i16", add=x)
        x = b.shuffle(b.shuffle(b.shuffle(b.conv(x, 192, kernel=1, dtype="i16"))))
        b.scale(x, "u8")
    return b


@pytest.mark.parametrize("kind", ["analysis", "hyper", "synthesis"])
@pytest.mark.parametrize("size", [(1, 1), (16, 17), (37, 70), (200, 129), (300, 700)])
def test_sixteenth_of_the_size(kind: str, size: tuple[int, int]) -> None:
    """Every size of a picture comes back through 1/16, cropped; strips, bands and rows that run ahead do not show."""
    small = (-(-size[0] // 16), -(-size[1] // 16))
    takes, gives = {
        "analysis": (size, small),
        "hyper": (small, (-(-small[0] // 4), -(-small[1] // 4))),
        "synthesis": (small, size),
    }[kind]
    b = small_program(kind)
    program = b.program(b.ops[-1]["out"])
    picture = cases.noise(*takes, b.channels["image"], b.dtypes["image"], seed=1)
    expected = interpreter.run(program, b.tensors, picture, 1, gives)
    assert expected.std() > 1 or expected.size < 100
    for backend in AVAILABLE:
        native = Program(program, b.tensors, backend=backend)
        for threads in (1, 3):
            np.testing.assert_array_equal(native.run(picture, 1, gives, threads=threads), expected, backend)
    x, y = gives[1] // 3, gives[0] // 2
    region = (x, y, -(-(gives[1] - x) // 2), -(-(gives[0] - y) // 2))
    got = native.run(picture, 1, gives, region=region)
    np.testing.assert_array_equal(got, expected[y : y + region[3], x : x + region[2]])


def test_memory_of_small_values_is_bounded() -> None:
    b = small_program("synthesis")
    native = Program(b.program(b.ops[-1]["out"]), b.tensors).native
    sizes = [((25, 300), (400, 4800)), ((2500, 300), (40000, 4800)), ((1250, 3000), (20000, 48000))]
    small, tall, huge = (native.work_space_bytes(s, out, out, 1) for s, out in sizes)
    assert tall == small
    assert huge < 32 << 20


def test_crop_of_an_upsampled_result() -> None:
    b = small_program("synthesis")
    program = Program(b.program(b.ops[-1]["out"]), b.tensors)
    picture = cases.noise(2, 3, 24, "i16")
    whole = program.run(picture, 0, (32, 48))
    for size in [(17, 33), (32, 33), (31, 48)]:
        np.testing.assert_array_equal(program.run(picture, 0, size), whole[: size[0], : size[1]])
    for size in [(16, 48), (32, 32), (33, 48), (32, 49)]:
        with pytest.raises(ValueError, match="out_size must be 32 x 48 or up to 15 less a side"):
            program.run(picture, 0, size)
    b = cases.ProgramBuilder(3)
    program = Program(b.program(b.conv("image", 3)), b.tensors)
    with pytest.raises(ValueError, match="out_size must be 8 x 8 for an image of 8 x 8, got 7 x 8"):
        program.run(cases.image(8, 8), 0, (7, 8))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), data=st.data())
def test_windows_with_their_halo(seed: int, data: st.DataObject) -> None:
    """A window gives the true result where it lies `halo` pixels inside; the halo is not much too large."""
    program, tensors = cases.random_program(seed, typed=data.draw(st.booleans()))
    native = Program(program, tensors)
    align, halo = native.align, native.halo
    side = 3 * halo + 8 * align
    if side > 300:
        return
    given = program["inputs"]["image"]
    dtype = given["type"] if isinstance(given, dict) else "u8"
    picture = cases.noise(side, side, native.in_channels, dtype, seed)
    whole = native.run(picture, 0, cases.out_size(program, side, side))
    low = align * data.draw(st.integers(0, (side - halo) // align - 1))
    high = min(low + halo + align * data.draw(st.integers(1, 8)), side)
    high = high if high == side else high // align * align
    if high - low < 1:
        return
    window = np.ascontiguousarray(picture[low:high, low:high])
    part = native.run(window, 0, cases.out_size(program, high - low, high - low))
    inner_low = low + halo if low else 0
    inner_high = high - halo if high < side else side
    if inner_low >= inner_high:
        return
    first, last = int(inner_low * native.scale), int(inner_high * native.scale)
    first_part = int((inner_low - low) * native.scale)
    true = whole[first:last, first:last]
    got = part[first_part : first_part + len(true), first_part : first_part + len(true)]
    np.testing.assert_array_equal(got, true)


def test_halo_of_known_programs() -> None:
    for kind, align, halo in [("analysis", 16, 32), ("hyper", 4, 8), ("synthesis", 1, 2)]:
        b = small_program(kind)
        program = Program(b.program(b.ops[-1]["out"]), b.tensors)
        assert (kind, program.align, program.halo) == (kind, align, halo)
    assert (Program(*real_program("rec1")).align, Program(*real_program("com2")).align) == (16, 2)


# ---- malformed programs -----------------------------------------------------------------------------------------
Mutation = Callable[[dict[str, Any], dict[str, np.ndarray]], None]


def op_set(index: int, **changes: Any) -> Mutation:
    def mutate(program: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        program["ops"][index].update(changes)

    return mutate


def replace(index: int, **fields: Any) -> Mutation:
    """Another operation from the same input to the same name."""

    def mutate(program: dict[str, Any], _: dict[str, np.ndarray]) -> None:
        op = program["ops"][index]
        program["ops"][index] = {"in": op["in"], "out": op["out"], **fields}

    return mutate


def op_drop(index: int, key: str) -> Mutation:
    return lambda program, _: program["ops"][index].pop(key)


def program_set(**changes: Any) -> Mutation:
    return lambda program, _: program.update(changes)


def tensor_set(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Mutation:
    def mutate(_: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        tensors[name] = change(tensors[name])

    return mutate


def phase_of_i8(program: dict[str, Any], _: dict[str, np.ndarray]) -> None:
    program["ops"][2]["type"] = "i8"
    program["ops"].insert(3, {"op": "phase", "in": ["v2"], "out": "p", "table": "1.ph"})


# The program of rec1: 0 unshuffle, 1 phase, 2 conv, 3 .. 5 convs (4 with add), 6 conv i16, 7 pixel_shuffle, 8 residual.
MALFORMED: dict[str, tuple[str, Mutation]] = {
    "unknown operation": (r"op 2 .*unknown operation 'relu'", op_set(2, op="relu")),
    "unknown key": (r"op 2 \(conv 'v2'\): unknown key 'pad'", op_set(2, pad=1)),
    "missing key": (r"op 2 .*'bias' is missing", op_drop(2, "bias")),
    "missing op": (r"op 2.*'op' is missing", op_drop(2, "op")),
    "missing out": (r"op 2.*'out' is missing", op_drop(2, "out")),
    "empty out": (r"op 2.*'out' is empty", op_set(2, out="")),
    "op not a string": (r"op 2.*'op' must be a string", op_set(2, op=3)),
    "stride a string": (r"op 2.*'stride' must be an integer", op_set(2, stride="1")),
    "stride a float": (r"op 2.*'stride' must be an integer", op_set(2, stride=1.0)),
    "stride a bool": (r"op 2.*'stride' must be an integer", op_set(2, stride=True)),
    "stride 3": (r"op 2.*stride must be 1 or 2, got 3", op_set(2, stride=3)),
    "stride huge": (r"op 2.*out of range", op_set(2, stride=2**70)),
    "name twice": (r"op 3.*already taken", op_set(3, out="v2")),
    "name of the input": (r"op 3.*already taken", op_set(3, out="image")),
    "used before produced": (r"op 2.*'v5' is used before", op_set(2, **{"in": ["v5"]})),
    "reads itself": (r"op 2.*'v2' is used before", op_set(2, **{"in": ["v2"]})),
    "two inputs": (r"op 2.*'in' must have 1 names, got 2", op_set(2, **{"in": ["v1", "v1"]})),
    "input not a list": (r"op 2.*'in' must be a list", op_set(2, **{"in": "v1"})),
    "input of numbers": (r"op 2.*must be a string", op_set(2, **{"in": [1]})),
    "null": (r"op 2.*must be an integer", op_set(2, stride=None)),
    "add unknown": (r"op 4.*'nothing' is used before", op_set(4, add="nothing")),
    "add of other channels": (r"op 4.*'add'.*channels", op_set(4, add="v1")),
    "add of other size": (r"op 6.*'add'", op_set(6, add="image")),
    "type": (r"op 2.*'type' must be u8, i8 or i16, got 'f32'", op_set(2, type="f32")),
    "factor": (r"op 0.*factor must be 2", op_set(0, factor=3)),
    "shuffle of odd channels": (r"op 7.*multiple of 4 channels", op_set(7, **{"in": ["image"]})),
    "shuffle factor missing": (r"op 7.*'factor' is missing", op_drop(7, "factor")),
    "conv of i16": (r"op 5.*u8 or i8 \(i16 only for kernel 1\)", op_set(4, type="i16")),
    "phase as conv": (r"op 1 \(conv 'v1'\): unknown key 'table'", op_set(1, op="conv")),
    "phase of i8": (r"op 3.*its input 'v2' must be u8", phase_of_i8),
    "tensor missing": (r"op 2.*tensor 'nothing'.*not in the file", op_set(2, weight="nothing")),
    "bias is the weight": (r"op 2.*'2.w' must be int32", op_set(2, bias="2.w")),
    "weight channels": (r"op 2.*weight must have shape", tensor_set("2.w", lambda w: w[..., 1:].copy())),
    "weight kernel": (r"op 2.*kernel must be 1 or 3", tensor_set("2.w", lambda w: w[:, :2, :2].copy())),
    "weight not square": (r"op 2.*weight must have shape", tensor_set("2.w", lambda w: w[:, :, :2].copy())),
    "weight dimensions": (r"op 2.*4 dimensions, got 3", tensor_set("2.w", lambda w: w[0])),
    "weight empty": (r"op 2.*dimension of 0", tensor_set("2.w", lambda w: w[:0])),
    "weight dtype": (r"tensor '2.w' must be uint8, int8 or int32", tensor_set("2.w", lambda w: w.astype(np.int16))),
    "weight u8": (r"op 2.*'2.w' must be int8", tensor_set("2.w", lambda w: w.astype(np.uint8))),
    "bias rows": (r"op 2.*'bias' must have shape", tensor_set("2.b", lambda b: np.repeat(b[:1], 3, 0))),
    "bias columns": (r"op 2.*'bias' must have shape", tensor_set("2.b", lambda b: b[:, 1:].copy())),
    "mult zero": (r"op 2.*mult of channel 0 must be positive", tensor_set("2.m", lambda m: m * 0)),
    "mult negative": (r"op 2.*mult of channel 0 must be positive", tensor_set("2.m", lambda m: -m)),
    "bias overflow": (r"op 2.*channel 0 may overflow", tensor_set("2.b", lambda b: np.full_like(b, 2**31 - 1))),
    "bias minimum": (r"op 2.*channel 0 may overflow", tensor_set("2.b", lambda b: np.full_like(b, -(2**31)))),
    "phase table shape": (r"op 1.*table must have shape", tensor_set("1.ph", lambda t: t[:1])),
    "phase table planes": (r"op 1.*table must have shape", tensor_set("1.ph", lambda t: np.repeat(t, 40, 1))),
    "residual of u8": (r"op 8.*must be i16", op_set(8, **{"in": ["image", "image"]})),
    "residual of other channels": (r"op 8.*as many channels", op_set(8, **{"in": ["v7", "v2"]})),
    "residual of one": (r"op 8.*2 names, got 1", op_set(8, **{"in": ["v7"]})),
    "residual with a type": (r"op 8.*unknown key 'type'", op_set(8, type="u8")),
    "no ops": (r"1 to 256 ops expected, got 0", program_set(ops=[])),
    "ops not a list": (r"'ops' must be a list", program_set(ops={})),
    "op not an object": (r"op 0 must be an object", program_set(ops=[1])),
    "op key not a string": (r"op 0: each key must be a string", program_set(ops=[{1: 2}])),
    "output unknown": (r"output 'z' is not produced", program_set(output="z")),
    "output not a string": (r"'output' must be a name", program_set(output=1)),
    "unused value": (r"'v8' is produced but never used", program_set(output="v5")),
    "no input": (r"one input expected, got 0", program_set(inputs={})),
    "two program inputs": (r"one input expected, got 2", program_set(inputs={"image": 3, "b": 1})),
    "inputs not an object": (r"'inputs' must be an object", program_set(inputs=["image"])),
    "channels zero": (r"input 'image' must have 1 to 1024 channels", program_set(inputs={"image": 0})),
    "channels huge": (r"input 'image' must have 1 to 1024 channels", program_set(inputs={"image": 1025})),
    "channels a string": (r"channels of input 'image' must be an integer", program_set(inputs={"image": "3"})),
    "levels empty": (r"'levels' must be a list of ascending integers", program_set(levels=[])),
    "levels descending": (r"'levels' must be a list of ascending integers", program_set(levels=[60, 20])),
    "levels of text": (r"'levels' must be a list of ascending integers", program_set(levels=["20"])),
    "levels too many": (r"1 to 256 levels expected", program_set(levels=list(range(300)))),
    "groups zero": (r"op 2 .*groups must divide 16 inputs and 24 outputs, got 0", op_set(2, groups=0)),
    "groups negative": (r"op 2 .*groups must divide 16 inputs and 24 outputs, got -2", op_set(2, groups=-2)),
    "groups of a share": (r"op 2 .*groups must divide 16 inputs and 24 outputs, got 3", op_set(2, groups=3)),
    "groups huge": (r"op 2 .*groups must divide", op_set(2, groups=2**62)),
    "groups a string": (r"op 2 .*'groups' must be an integer", op_set(2, groups="2")),
    "groups of a dense weight": (
        r"op 2 .*weight must have shape \[24, 3, 3, 8\], got \[24, 3, 3, 16\]",
        op_set(2, groups=2),
    ),
    "unknown program key": (r"unknown keys \['extra'\]", program_set(extra=1)),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_programs(name: str) -> None:
    message, mutate = MALFORMED[name]
    program, tensors = real_program("rec1")
    Program(program, tensors)  # valid before
    program, tensors = copy.deepcopy(program), dict(tensors)
    mutate(program, tensors)
    with pytest.raises(ModelError, match=message):
        Program(program, tensors)


# The program of an autoencoder: 0 scale, 1 conv 3x3, 2 conv i16 with add, 3 conv of i16, 4 pixel_shuffle, 5 .. 8 the
# same, 9 .. 11 pixel_shuffle, 12 scale to u8.
MALFORMED_TYPED: dict[str, tuple[str, Mutation]] = {
    "input type": (r"type of input 'image' must be u8, i8 or i16, got 'i32'",
                   program_set(inputs={"image": {"channels": 24, "type": "i32"}})),
    "input type a number": (r"type of input 'image' must be a string",
                            program_set(inputs={"image": {"channels": 24, "type": 16}})),
    "input type missing": (r"input 'image' must be a number of channels, or an object of 'channels' and 'type'",
                           program_set(inputs={"image": {"channels": 24}})),
    "input key": (r"input 'image' must be a number of channels, or an object",
                  program_set(inputs={"image": {"channels": 24, "type": "i16", "x": 1}})),
    "input channels": (r"channels of input 'image' must be an integer",
                       program_set(inputs={"image": {"channels": "24", "type": "i16"}})),
    "no channels": (r"input 'image' must have 1 to 1024 channels, got 0",
                    program_set(inputs={"image": {"channels": 0, "type": "i16"}})),
    "3x3 of i16": (r"op 1 .*'image' must be u8 or i8 \(i16 only for kernel 1\), got i16",
                   op_set(1, **{"in": ["image"], "weight": "w24"})),
    "depthwise of i16": (r"op 2 .*must be u8 or i8", op_set(2, op="depthwise", weight="dw", **{"in": ["image"]})),
    "bound of i16": (r"op 3 .*channel 0 may overflow: sum\|w\| \* 32768 \+ \|b\| = \d+, must be below 2\^31",
                     tensor_set("3.b", lambda b: np.full_like(b, 2**31 - 1))),
    "phase of i16": (r"op 4 .*its input 'v3' must be u8", op_set(4, op="phase", table="w24")),
    "bicubic of i16": (r"op 4 .*its input 'v3' must be u8", op_set(4, op="bicubic_up2")),
    "lookup of i16": (r"op 0 .*its input 'image' must be u8 or i8, got i16",
                      replace(0, op="lookup", type="u8", table="t2")),
    "lookup to i16": (r"op 2 .*'type' must be u8 or i8, got 'i16'", replace(2, op="lookup", type="i16", table="w24")),
    "lookup without table": (r"op 2 .*'table' is missing", replace(2, op="lookup", type="u8")),
    "lookup table type": (r"op 2 .*tensor 'w24' must be uint8", replace(2, op="lookup", type="u8", table="w24")),
    "lookup table shape": (r"op 2 .*table must have shape \[1, 256\] or \[16, 256\], got \[2, 128\]",
                           replace(2, op="lookup", type="i8", table="t2")),
    "scale without type": (r"op 0 \(scale 'v0'\): key 'type' is missing", op_drop(0, "type")),
    "scale without mult": (r"op 0 .*'mult' is missing", op_drop(0, "mult")),
    "scale without bias": (r"op 0 .*'bias' is missing", op_drop(0, "bias")),
    "scale with weights": (r"op 0 .*unknown key 'weight'", op_set(0, weight="1.w")),
    "scale with add": (r"op 5 .*unknown key 'add'", op_set(5, add="v4")),
    "scale of two": (r"op 0 .*'in' must have 1 names, got 2", op_set(0, **{"in": ["image", "image"]})),
    "scale to f32": (r"op 0 .*'type' must be u8, i8 or i16, got 'f32'", op_set(0, type="f32")),
    "scale mult zero": (r"op 0 .*mult of channel 0 must be positive, got 0", tensor_set("0.m", lambda m: m * 0)),
    "scale mult negative": (r"op 0 .*mult of channel 0 must be positive", tensor_set("0.m", lambda m: -m)),
    "scale mult rows": (r"op 0 .*'mult' must have shape", tensor_set("0.m", lambda m: np.repeat(m[:1], 3, 0))),
    "scale mult columns": (r"op 0 .*'mult' must have shape", tensor_set("0.m", lambda m: m[:, 1:].copy())),
    "scale bias columns": (r"op 0 .*'bias' must have shape", tensor_set("0.b", lambda b: b[:, :1].copy())),
    "scale mult dtype": (r"op 0 .*'1.w' must be int32", op_set(0, mult="1.w")),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED_TYPED)
def test_malformed_typed_programs(name: str) -> None:
    message, mutate = MALFORMED_TYPED[name]
    b = small_program("synthesis")
    program = b.program(b.ops[-1]["out"])
    extra = {
        "w24": np.ones((16, 3, 3, 24), np.int8),
        "dw": np.ones((24, 3, 3), np.int8),
        "t2": np.ones((2, 128), np.int8),
    }
    Program(program, b.tensors)  # valid before
    program, tensors = copy.deepcopy(program), {**b.tensors, **extra}
    mutate(program, tensors)
    with pytest.raises(ModelError, match=message):
        Program(program, tensors)


def test_sizes_stay_between_256th_and_16_times() -> None:
    b = cases.ProgramBuilder(1024, dtype="i16")
    x = b.shuffle("image")
    for _ in range(4):
        x = b.conv(b.shuffle(x), 256, kernel=1, dtype="i16")
    with pytest.raises(ModelError, match="too many changes of scale"):
        Program(b.program(x), b.tensors)
    b = cases.ProgramBuilder(1)
    x = "image"
    for _ in range(9):
        x = b.conv(x, 1, stride=2)
    with pytest.raises(ModelError, match="too many changes of scale"):
        Program(b.program(x), b.tensors)


def test_arrays_of_another_type_are_refused() -> None:
    b = small_program("synthesis")
    program = Program(b.program(b.ops[-1]["out"]), b.tensors)
    picture = cases.noise(4, 5, 24, "i16")
    for wrong in (picture.astype(np.uint8), picture.astype(np.uint16), picture.astype(">i2"), picture.astype(float)):
        with pytest.raises(TypeError, match="image must be a C-contiguous int16 array"):
            program.run(wrong, 0, (64, 80))
    with pytest.raises(TypeError, match="C-contiguous int16"):
        program.run(picture[:, ::-1], 0, (64, 80))
    odd = np.frombuffer(b"\0" * (picture.nbytes + 1), np.uint8)[1:].view(np.int16).reshape(picture.shape)
    with pytest.raises(TypeError, match="C-contiguous int16"):
        program.run(odd, 0, (64, 80))


def test_too_many_ops_and_channels() -> None:
    b = cases.ProgramBuilder(3)
    x = "image"
    for _ in range(257):
        x = b.conv(x, 3, kernel=1)
    with pytest.raises(ModelError, match="1 to 256 ops expected, got 257"):
        Program(b.program(x), b.tensors)
    b = cases.ProgramBuilder(1000)
    with pytest.raises(ModelError, match=r"op 0 .*at most 1024 channels, got 4000"):
        Program(b.program(b.unshuffle("image")), b.tensors)


def test_residual_needs_one_scale() -> None:
    b = cases.ProgramBuilder(3)
    d = b.conv("image", 3, dtype="i16")
    with pytest.raises(ModelError, match=r"op 2 .*same scale"):
        Program(b.program(b.residual(d, b.down2("image"))), b.tensors)
    b = cases.ProgramBuilder(4)
    y = b.residual(b.conv("image", 4, dtype="i16"), "image")
    with pytest.raises(ModelError, match="can only be the output"):
        Program(b.program(b.conv(y, 4)), b.tensors)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_damaged_programs(seed: int) -> None:
    """A program with something random changed is refused with ModelError or runs; nothing else happens."""
    rng = np.random.default_rng(seed)
    program, tensors = cases.random_program(seed % 1000, typed=seed % 2 == 0)
    program, tensors = copy.deepcopy(program), dict(tensors)
    op = program["ops"][rng.integers(len(program["ops"]))]
    names = [*program["inputs"], *(o["out"] for o in program["ops"]), *tensors]
    values = [*names, 0, 1, 2, 3, -1, 2**40, "u8", "i8", "i16", "conv", "phase", "residual", "scale", [],
              ["image"], None, 1.5]  # fmt: skip
    key = rng.choice([*op, "add", "stride"])
    change = rng.integers(4)
    if change == 0:
        op.pop(key, None)
    elif change == 1 and tensors:
        name = rng.choice(list(tensors))
        shape = [int(n) for n in rng.integers(0, 4, tensors[name].ndim)]
        tensors[name] = np.ones(shape, rng.choice([np.int8, np.uint8, np.int32]))
    else:
        op[key] = values[rng.integers(len(values))] if change == 2 else [names[rng.integers(len(names))]]
    try:
        native = Program(program, tensors)
    except ModelError:
        return
    picture = cases.image(9, 10, native.in_channels).astype(native.in_dtype)
    size = (int(9 * native.scale), int(10 * native.scale))
    with contextlib.suppress(ValueError):  # the damage may have changed the size of the result
        assert native.run(picture, 0, size).shape[:2] == size


# ---- model files ------------------------------------------------------------------------------------------------
def test_model_file(tmp_path: Path) -> None:
    path = cases.write_model(tmp_path / "m.safetensors", "avif", seed=3)
    model = packed_model.load(path)
    assert model.id == hashlib.sha256(path.read_bytes()).digest()[:8]
    assert (model.name, model.codec, model.variant) == ("avif-random", "avif", "random")
    assert set(model.programs) == {f"{k}_{c}" for k in ("rec1", "com2", "rec2") for c in ("rgb", "grey")}
    assert [model.programs[f"{k}_rgb"].scale for k in ("rec1", "com2", "rec2")] == [1, 0.5, 2]
    assert [model.programs[f"rec1_{c}"].channels for c in ("rgb", "grey")] == [3, 1]
    picture = cases.image(20, 30)
    results = [model.programs["rec1_rgb"].run(picture, level, (20, 30)) for level in range(5)]
    assert len({r.tobytes() for r in results}) == 5


def test_compressed_tensors_are_the_same_tensors(tmp_path: Path) -> None:
    plain = cases.write_model(tmp_path / "plain.safetensors", seed=3)
    with safe_open(plain, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = json.loads(file.metadata()["fastcodec"])
    small = tmp_path / "small.safetensors"
    packed_model.save(small, meta, tensors)
    assert small.stat().st_size < plain.stat().st_size
    with safe_open(small, framework="numpy") as file:
        assert json.loads(file.metadata()["fastcodec"])["compressed"]
    picture = cases.image(20, 30)
    for name in ("rec1_rgb", "rec2_rgb", "com2_rgb"):
        one, two = (packed_model.load(path).programs[name] for path in (plain, small))
        size = (int(20 * one.scale), int(30 * one.scale))
        assert np.array_equal(one.run(picture, 2, size), two.run(picture, 2, size))


@pytest.mark.parametrize("rows", [1, 2, 3, 199])
def test_level_tables_are_stored_as_differences(tmp_path: Path, rows: int) -> None:
    rng = np.random.default_rng(rows)
    line = np.linspace(-(2**31), 2**31 - 1, rows)[:, None] * np.linspace(-1, 1, 50)
    tables = {
        "line": (line + rng.normal(size=line.shape)).clip(-(2**31), 2**31 - 1).astype(np.int32),
        "steps": (1000 * np.arange(rows)[:, None] + rng.integers(0, 3, (rows, 50))).astype(np.int32),
        "noise": rng.integers(-(2**31), 2**31, (rows, 50), dtype=np.int32),
        "wide": rng.integers(-9, 9, (3, 3, 3, 3), dtype=np.int32),
        "empty": np.zeros((0, 7), np.int32),
    }
    path = tmp_path / "m.safetensors"
    packed_model.save(path, {"format": 1}, tables)
    meta, got, _ = packed_model.read(path)
    for name, table in tables.items():
        assert got[name].dtype == np.int32
        np.testing.assert_array_equal(got[name], table)
    if rows == 199:
        assert len(meta["compressed"]["line"]) == len(meta["compressed"]["steps"]) == 3


CODED = np.frombuffer(rans.compress_weights(np.zeros(100, np.int8)), np.uint8)


@pytest.mark.parametrize(
    ("compressed", "message"),
    [
        ([], "'compressed' must be an object"),
        ({"other": ["int8", [100]]}, "'compressed' entry 'other' must be"),
        ({"t": "int8"}, "'compressed' entry 't' must be"),
        ({"t": ["float32", [100]]}, "'compressed' entry 't' must be"),
        ({"t": ["int8", [-1]]}, "'compressed' entry 't' must be"),
        ({"t": ["int8", [True]]}, "'compressed' entry 't' must be"),
        ({"t": ["int8", [1] * 5]}, "'compressed' entry 't' must be"),
        ({"t": ["int8", [100], 1]}, "'compressed' entry 't' must be"),
        ({"t": ["int32", [25], 3]}, "'compressed' entry 't' must be"),
        ({"t": ["int32", [25], -1]}, "'compressed' entry 't' must be"),
        ({"t": ["int32", [25], True]}, "'compressed' entry 't' must be"),
        ({"t": ["int32", [25], 1, 1]}, "'compressed' entry 't' must be"),
        ({"t": ["int32", [], 1]}, "'compressed' entry 't' must be"),
        ({"t": ["int32", [1 << 28]]}, "'t' takes the tensors beyond"),
        ({"t": ["int8", [1 << 20, 1 << 20]]}, "'t' takes the tensors beyond"),
        ({"t": ["int8", [99]]}, "tensor 't': "),
        ({"t": ["int32", [25]]}, "tensor 't': "),
    ],
)
def test_malformed_compressed_tensors_are_refused(tmp_path: Path, compressed: Any, message: str) -> None:
    path = write_meta(tmp_path / "m.safetensors", {"compressed": compressed}, {"t": CODED})
    with pytest.raises(ModelError, match=re.escape(message)):
        packed_model.load(path)


def test_damaged_compressed_tensors_are_refused(tmp_path: Path) -> None:
    for cut in range(len(CODED)):
        path = write_meta(tmp_path / "m.safetensors", {"compressed": {"t": ["int8", [100]]}}, {"t": CODED[:cut]})
        with pytest.raises(ModelError, match="tensor 't'"):
            packed_model.load(path)


def write_meta(path: Path, meta: Any, tensors: dict[str, np.ndarray] | None = None) -> Path:
    text = meta if isinstance(meta, str) else json.dumps(meta)
    save_file(tensors or {"t": np.zeros(1, np.uint8)}, path, metadata={"fastcodec": text})
    return path


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("{", "not a readable packed model"),
        ("[" * 100000, "not a readable packed model"),
        ("NaN", "not a readable packed model"),
        ({"format": 1, "name": "\ud800"}, "not a readable packed model: 'utf-8' codec can't encode"),
        ([], "metadata must be an object"),
        ({"format": 2}, "format 1 expected, got 2"),
        ({"format": 1, "name": 1, "codec": "", "variant": ""}, "'name' must be a string"),
        ({"format": 1, "name": "", "codec": "", "variant": "", "programs": {}}, "'programs' must be an object of 1 to"),
        ({"format": 1, "name": "", "codec": "", "variant": "", "programs": {"a": 1}}, "program 'a': program must be"),
    ],
)
def test_bad_model_metadata(tmp_path: Path, meta: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        packed_model.load(write_meta(tmp_path / "m.safetensors", meta))


def test_bad_model_files(tmp_path: Path) -> None:
    good = cases.write_model(tmp_path / "good.safetensors").read_bytes()
    bad = tmp_path / "bad.safetensors"
    for data in (b"", b"\0" * 7, b"\xff" * 100, good[:1000], good[: len(good) - 1], good + b"x"):
        bad.write_bytes(data)
        with pytest.raises(ModelError, match=r"bad\.safetensors"):
            packed_model.load(bad)
    head = b'{"t":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]},"__metadata__":{"fastcodec":"{}"}}'
    bad.write_bytes(len(head).to_bytes(8, "little") + head + b"\0")
    with pytest.raises(ModelError, match=r"bad\.safetensors: not a readable packed model"):
        packed_model.load(bad)
    save_file({"t": np.zeros(1, np.uint8)}, bad)
    with pytest.raises(ModelError, match="not a packed model"):
        packed_model.load(bad)
    with pytest.raises(OSError, match="missing"):
        packed_model.load(tmp_path / "missing.safetensors")


def test_installed_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = packed_model.load(cases.write_model(tmp_path / "a.safetensors", "codec-a", variant="paper"))
    b = packed_model.load(cases.write_model(tmp_path / "b.safetensors", "codec-a", variant="fast", seed=1))
    monkeypatch.setenv(packed_model.PATH_VARIABLE, str(tmp_path))
    assert packed_model.find(a.id).name == "codec-a-paper"
    assert packed_model.by_name("codec-a-fast").id == b.id
    default = packed_model.default_for("codec-a")
    assert default is not None
    assert default.id == b.id
    assert packed_model.default_for("codec-b") is None
    named = [dataclasses.replace(default, name=f"codec-a-fast-{n}") for n in (2, 10, 9)]
    monkeypatch.setattr(packed_model, "installed", lambda: {m.name: m for m in [*named, default]})
    newest = packed_model.default_for("codec-a")
    assert newest is not None
    assert newest.name == "codec-a-fast-10"
    programs = tuple(name for name in default.programs if not name.startswith("rec2"))
    named[1] = dataclasses.replace(named[1], programs=programs)
    assert packed_model.default_for("codec-a") == named[1]
    assert packed_model.default_for("codec-a", "rec2") == named[2]
    monkeypatch.undo()
    monkeypatch.setenv(packed_model.PATH_VARIABLE, str(tmp_path))
    with pytest.raises(ModelError, match=r"0102030405060708 is needed.*FASTCODEC_MODELS"):
        packed_model.find(bytes(range(1, 9)))
    with pytest.raises(ModelError, match=r"no model named 'x'; installed: .*codec-a-fast"):
        packed_model.by_name("x")


def test_a_model_is_loaded_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, broken = tmp_path / "good.safetensors", tmp_path / "broken.safetensors"
    cases.write_model(good, "codec-a", variant="paper")
    meta, tensors, _ = packed_model.read(cases.write_model(broken, "codec-a", variant="fast", seed=1))
    meta.pop("compressed", None)
    meta["programs"]["rec1_rgb"]["output"] = "nothing"
    packed_model.save(broken, meta, tensors)
    monkeypatch.setenv(packed_model.PATH_VARIABLE, str(tmp_path))
    listed = packed_model.by_name("codec-a-paper")
    model = listed.load()
    assert (model.id, tuple(sorted(model.programs))) == (listed.id, listed.programs)
    assert packed_model.by_name("codec-a-paper").load() is model is packed_model.find(listed.id)
    default = packed_model.default_for("codec-a")
    assert default is not None
    for _ in range(2):
        with pytest.raises(ModelError, match=rf"{tmp_path}: broken.safetensors: program .*take the file"):
            default.load()
    good.unlink()
    cases.write_model(good, "codec-a", variant="paper", seed=2)
    packed_model._loaded.cache_clear()
    broken.unlink()
    with pytest.raises(ModelError, match="was removed or replaced since"):
        listed.load()
    with pytest.raises(ModelError, match="was removed or replaced since"):
        default.load()
    good.rename(tmp_path / "a.safetensors")
    assert packed_model.by_name("codec-a-paper").load().id != listed.id


def test_a_relative_folder_and_a_renamed_file_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models").mkdir()
    path = cases.write_model(tmp_path / "models" / "a.safetensors", "codec-a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(packed_model.PATH_VARIABLE, "models")
    listed = packed_model.default_for("codec-a")
    assert listed is not None
    monkeypatch.chdir("/")
    assert listed.load().id == listed.id
    packed_model._loaded.cache_clear()
    monkeypatch.setenv(packed_model.PATH_VARIABLE, str(tmp_path / "models"))
    path.rename(path.with_name("b.safetensors"))
    assert listed.load().path.name == "b.safetensors"


def test_a_program_that_would_take_too_much_is_refused() -> None:
    """Many operations on the same small tensors: what they take when loaded counts."""
    b = cases.ProgramBuilder(1024)
    x = b.conv("image", 1024, groups=64)
    assert Program(b.program(x), b.tensors).native.n_bytes < 4 << 20, "groups are not kept as a dense convolution"
    b = cases.ProgramBuilder(1024, tuple(range(250)))
    x = b.conv("image", 1024, kernel=1)
    one = b.ops[0]
    for name in ("bias", "mult"):  # at all levels
        b.tensors[one[name]] = np.resize(b.tensors[one[name]], (250, 1024))
    for _ in range(250):
        x = b._add({**one, "in": [x]}, 1024, "u8")
    with pytest.raises(ModelError, match=r"op \d+ .*the program takes \d+ bytes up to here, at most 1073741824"):
        Program(b.program(x), b.tensors)


def test_multiplications_are_counted_for_images_that_there_can_be() -> None:
    native = Program(*real_program("rec1")).native
    assert native.macs(2, 2) > 0
    for size in ((0, 1), (1, -1), (1 << 21, 1)):
        with pytest.raises(ValueError, match="must be 1 to 1048576"):
            native.macs(*size)


def test_programs_that_together_take_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cases.write_model(tmp_path / "m.safetensors")
    one = max(program.native.n_bytes for program in packed_model.load(path).programs.values())
    monkeypatch.setattr(packed_model, "MAX_LOADED_BYTES", one + 1)
    with pytest.raises(ModelError, match=r"program '.*': the programs up to here take \d+ bytes, at most"):
        packed_model.load(path)
