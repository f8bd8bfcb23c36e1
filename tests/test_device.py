# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The bodies of the CUDA kernels in the emulator; test_gpu.py runs the kernels themselves."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import cases
import interpreter
import numpy as np
import pytest
from fastcodec import _core, packed_model
from fastcodec.errors import BackendError, LimitError
from fastcodec.packed_model import Program
from hypothesis import given, settings
from hypothesis import strategies as st

Region = tuple[int, int, int, int]
ROOT = Path(__file__).parent.parent
GOLDEN_MODELS = ROOT / "tests" / "golden" / "models"

EMULATED = range(15)  # order of threads (5) + 5 * kind of GPU: like sm_80, sm_89, sm_90a
SM_90A = range(10, 15)


def emulate(
    program: Program,
    picture: np.ndarray,
    level: int,
    size: tuple[int, int],
    region: Region | None = None,
    *,
    index: int = 0,
    sparse: bool = False,
) -> np.ndarray:
    x, y, w, h = region or (0, 0, size[1], size[0])
    out = np.full((h, w, program.channels), 77, program.dtype)
    address, target = picture.ctypes.data, out.ctypes.data
    if sparse:
        native = _core.DeviceProgram(program.native, "emulator", index, sparse=True)
        native.run(address, picture.shape[:2], target, level, size, (x, y), (h, w))
        return out
    program.run_device(
        address, picture.shape[:2], target, level, size, region=(x, y, w, h), device="emulator", index=index
    )
    return out


def steps(program: Program, index: int, sparse: bool = False) -> list[str]:
    return _core.DeviceProgram(program.native, "emulator", index, sparse=sparse).steps


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
def test_the_emulator_notices_faults(tmp_path: Path) -> None:
    """Those planted in tests/native/check_emulator.cpp."""
    program = tmp_path / "check_emulator"
    sources = ["tests/native/check_emulator.cpp", "csrc/kernels/cuda/emulate.cpp"]
    subprocess.run(["c++", "-std=c++17", "-O1", "-Icsrc", *sources, "-o", str(program)], cwd=ROOT, check=True)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    index=st.sampled_from(EMULATED),
    typed=st.booleans(),
    data=st.data(),
)
def test_random_programs(seed: int, height: int, width: int, index: int, typed: bool, data: st.DataObject) -> None:
    spec, tensors = cases.random_program(seed, typed=typed)
    picture = cases.input_for(spec, height, width, seed)
    size = cases.out_size(spec, height, width)
    level = seed % len(spec["levels"])
    expected = interpreter.run(spec, tensors, picture, level, size)
    program = Program(spec, tensors)
    np.testing.assert_array_equal(emulate(program, picture, level, size, index=index), expected)
    x, y = data.draw(st.integers(0, size[1] - 1)), data.draw(st.integers(0, size[0] - 1))
    region = (x, y, data.draw(st.integers(1, size[1] - x)), data.draw(st.integers(1, size[0] - y)))
    got = emulate(program, picture, level, size, region, index=index)
    np.testing.assert_array_equal(got, expected[y : y + region[3], x : x + region[2]])


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 8, 9, 33, 130])
def test_channels_and_types(channels: int) -> None:
    for index, dtype in enumerate(("u8", "i8")):
        b = cases.ProgramBuilder(channels, (10, 20), seed=channels)
        x = b.conv("image", channels, dtype=dtype, extreme=True)
        y = b.conv(b.depthwise(x, dtype=dtype, add=x), 5, kernel=1, stride=2)
        picture = cases.image(7, 9, channels)
        expected = interpreter.run(b.program(y), b.tensors, picture, 1, (4, 5))
        got = emulate(Program(b.program(y), b.tensors), picture, 1, (4, 5), index=3 * index)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("index", [0, 6, 13])
@pytest.mark.parametrize("channels", [1, 9, 16, 48, 65, 130])
def test_depthwise_with_the_1x1_behind_it(channels: int, index: int) -> None:
    """One kernel for both, of any channels in, up to 64 out and any type; two where it cannot be one."""
    for n_out, dtype, extreme in (
        (1, "u8", False),
        (17, "i8", True),
        (48, "i16", False),
        (64, "u8", True),
        (70, "u8", False),
    ):
        b = cases.ProgramBuilder(channels, (10, 20), seed=n_out)
        add = b.conv("image", n_out, kernel=1, dtype=dtype)
        x = b.conv(b.depthwise("image", extreme=extreme), n_out, kernel=1, dtype=dtype, add=add, extreme=extreme)
        x = b.conv(b.depthwise(b.depthwise(x, dtype="i8"), add=x), 5, kernel=1) if dtype == "u8" else x
        picture = cases.image(21, 35, channels)
        if extreme:
            picture = np.where(picture > 127, 255, 0).astype(np.uint8)
        check(b, x, picture, index, level=1)
        fused = steps(Program(b.program(x), b.tensors), index).count("depthwise + conv")
        assert fused == (n_out <= 64)


@pytest.mark.parametrize("index", [0, 6, 11])
def test_groups_and_tables(index: int) -> None:
    for groups, n_in, n_out in ((2, 16, 16), (3, 5, 7), (4, 1, 33)):
        b = cases.ProgramBuilder(groups * n_in, seed=groups)
        x = b.conv(
            b.lookup("image", "i8", shared=False), groups * n_out, groups=groups, dtype="i8", stride=groups % 2 + 1
        )
        y = b.conv(b.lookup(x, "u8"), groups * n_out, kernel=1, groups=groups, dtype="i16", add=x)
        picture = cases.image(19, 23, groups * n_in)
        check(b, b.lookup(b.scale(y, "i8"), "u8", shared=False), picture, index)


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_one_convolution(kernel: int, stride: int, extreme: bool) -> None:
    """All channel counts around the sizes of a product, several blocks, odd sizes, inputs 0 and 255."""
    rng = np.random.default_rng(kernel + 10 * stride + extreme)
    shapes = [(1, 1), (16, 16), (17, 33), (32, 65), (48, 12), (64, 64), (130, 5), (5, 130)]
    for index, (n_in, n_out) in enumerate(shapes):
        b = cases.ProgramBuilder(n_in, seed=index)
        dtype = str(rng.choice(["u8", "i8"]))
        first = b.conv("image", n_out, kernel=kernel, stride=stride, dtype=dtype, extreme=extreme)
        y = b.conv(first, n_out, kernel=1, add=first)
        height, width = (int(n) for n in rng.integers(1, 50, 2))
        picture = cases.image(height, width, n_in)
        if extreme:
            picture = np.where(picture > 127, 255, 0).astype(np.uint8)
        program = Program(b.program(y), b.tensors, backend="reference")
        size = cases.out_size(b.program(y), height, width)
        got = emulate(program, picture, 0, size, index=index)
        np.testing.assert_array_equal(got, program.run(picture, 0, size))


CHANNELS = [1, 3, 4, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64, 65, 96, 130]
TYPES = ("u8", "i8", "i16")


def check(b: cases.ProgramBuilder, output: str, picture: np.ndarray, index: int, level: int = 0) -> None:
    """The program in the emulator, whole and in part, beside the meaning of each operation."""
    spec = cases.prune(b.program(output))
    size = cases.out_size(spec, *picture.shape[:2])
    expected = interpreter.run(spec, b.tensors, picture, level, size)
    program = Program(spec, b.tensors)
    np.testing.assert_array_equal(emulate(program, picture, level, size, index=index), expected)
    y, x = size[0] // 2, size[1] // 3
    got = emulate(program, picture, level, size, (x, y, size[1] - x, size[0] - y), index=index)
    np.testing.assert_array_equal(got, expected[y:, x:])


@pytest.mark.parametrize("channels", CHANNELS)
def test_scale(channels: int) -> None:
    """All types to all types, from the caller's values and from planes; multipliers and additions at their ends too."""
    for turn, (dtype, wanted) in enumerate(itertools.product(TYPES, TYPES)):
        b = cases.ProgramBuilder(channels, (10, 20), seed=channels, dtype=dtype)
        once = b.scale("image", wanted)
        twice = b.scale(once, dtype)
        ends = {"m": [1, 2**31 - 1, 1 << 15, 1 << 16], "b": [-(2**31), 2**31 - 1, 0, 1 << 15]}
        for name, tensor in b.tensors.items():
            chosen = b.rng.random(tensor.shape) < 0.3
            b.tensors[name] = np.where(chosen, b.rng.choice(ends[name[-1]], tensor.shape), tensor).astype(np.int32)
        picture = cases.noise(7, 9, channels, dtype, turn)
        for output in (once, twice):
            check(b, output, picture, turn, level=turn % 2)


@pytest.mark.parametrize("channels", CHANNELS)
def test_moves(channels: int) -> None:
    """Pixels to channels and back in each type, alone and one after the other, odd sizes and a cropped result."""
    for turn, (dtype, (height, width)) in enumerate(itertools.product(TYPES, [(1, 1), (5, 8), (6, 3)])):
        b = cases.ProgramBuilder(channels, dtype=dtype)
        check(b, b.unshuffle("image"), cases.noise(height, width, channels, dtype), turn)
        if channels <= 64:
            check(b, b.unshuffle(b.unshuffle("image")), cases.noise(height, width, channels, dtype), turn)
        b = cases.ProgramBuilder(4 * channels, dtype=dtype)
        picture = cases.noise(height, width, 4 * channels, dtype)
        shuffled = b.shuffle("image")
        check(b, shuffled, picture, turn)
        spec = b.program(b.shuffle(b.scale(b.unshuffle(shuffled), dtype)))
        program, size = Program(spec, b.tensors), (2 * height - 1, 2 * width - 1)
        np.testing.assert_array_equal(
            emulate(program, picture, 0, size, index=turn), interpreter.run(spec, b.tensors, picture, 0, size)
        )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("extreme", [False, True])
def test_convolution_of_16_bits(stride: int, extreme: bool) -> None:
    """Exact at the ends of the range of x and of the sums; all channel counts around the sizes of a product."""
    shapes = [
        (1, 1),
        (3, 1),
        (16, 16),
        (17, 33),
        (32, 65),
        (33, 12),
        (48, 64),
        (64, 48),
        (65, 130),
        (130, 5),
        (320, 96),
    ]
    for turn, (n_in, n_out) in enumerate(shapes):
        b = cases.ProgramBuilder(n_in, seed=turn, dtype="i16")
        first = b.conv("image", n_out, kernel=1, stride=stride, dtype="i16", extreme=extreme)
        y = b.conv(first, n_out, kernel=1, dtype=TYPES[turn % 3], add=first)
        picture = cases.noise(11 + turn, 23 - turn, n_in, "i16", turn)
        if extreme:
            picture = np.where(picture % 3 == 0, -32768, np.where(picture % 3 == 1, 32767, 0x00FF)).astype(np.int16)
            weight = b.tensors["0.w"]
            weight[:] = np.where(weight < 0, -1, 1) * min(65535 // n_in - 1, 127)
            b.tensors["0.b"][:] = b.rng.choice([-(2**15), 2**15 - 1], b.tensors["0.b"].shape)
        check(b, y, picture, turn % 15)
        check(b, first, picture, (turn + 7) % 15)


@pytest.mark.parametrize("channels", [1, 16, 48, 130])
def test_convolution_of_signed_bytes(channels: int) -> None:
    """3x3 and 1x1 on i8 with results of all types, and i16 added."""
    for turn, wanted in enumerate(TYPES):
        b = cases.ProgramBuilder(channels, seed=turn, dtype="i16")
        x = b.scale("image", "i8")
        y = b.conv(b.conv(x, channels, dtype="i8", extreme=turn > 1), channels, kernel=1, dtype=wanted, add="image")
        check(b, y, cases.noise(19, 33, channels, "i16"), 5 * turn + turn)


@pytest.mark.parametrize("channels", [1, 3, 4, 15, 16, 17, 48])
def test_pixel_shuffle_twice(channels: int) -> None:
    """One kernel, with or without a scale after it; not where a value between is read again."""
    for turn, (dtype, then) in enumerate(itertools.product(TYPES, ["", "u8", "i16"])):
        b = cases.ProgramBuilder(16 * channels, seed=channels, dtype="i16")
        y = b.shuffle(b.shuffle(b.scale("image", dtype)))
        y = b.scale(y, then) if then else y
        program, picture = Program(b.program(y), b.tensors), cases.noise(3, 4, 16 * channels, "i16", turn)
        assert "pixel_shuffle + pixel_shuffle" + " + scale" * bool(then) in steps(program, turn)
        check(b, y, picture, turn)
        np.testing.assert_array_equal(
            emulate(program, picture, 0, (9, 15), index=turn), program.run(picture, 0, (9, 15))
        )
    b = cases.ProgramBuilder(64, dtype="u8")
    between = b.shuffle(b.scale("image", "u8"))
    y = b.conv(b.unshuffle(b.shuffle(between)), 16, add=between)
    assert "pixel_shuffle" in steps(Program(b.program(y), b.tensors), 0)
    check(b, y, cases.image(5, 6, 64), 4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_ends_of_a_network(channels: int) -> None:
    """pixel_unshuffle and phase, pixel_shuffle and residual are one kernel each, where nothing else reads between."""
    for turn, (height, width) in enumerate([(1, 1), (6, 8), (7, 9), (5, 34)]):
        b = cases.ProgramBuilder(channels)
        x = b.phase(b.unshuffle("image"), planes=2, period=3 + turn)
        once = b.residual(b.shuffle(b.conv(x, 4 * channels, kernel=1, dtype="i16")), "image")
        program, size = Program(b.program(once), b.tensors), (height, width)
        fused = steps(program, turn)
        assert ("pixel_unshuffle + phase" in fused) == (channels <= 3)
        assert ("pixel_shuffle + residual" in fused) == (channels <= 4)
        picture = cases.image(*size, channels, seed=turn)
        for index in (turn, turn + 10):
            np.testing.assert_array_equal(
                emulate(program, picture, 0, size, index=index), program.run(picture, 0, size)
            )
        region = (width // 3, height // 2, width - width // 3, height - height // 2)
        got = emulate(program, picture, 0, size, region, index=turn)
        np.testing.assert_array_equal(got, program.run(picture, 0, size)[region[1] :, region[0] :])
    for base in ("i16", "u8", "twice", "itself"):  # 2 channels up: nothing of it is "image"
        b = cases.ProgramBuilder(channels)
        moved = b.unshuffle("image")
        small = b.conv(b.phase(moved), 4 * channels, kernel=1, dtype="i16", add=moved if base == "twice" else None)
        x = b.shuffle(small)
        y = b.residual(x, {"itself": x, "twice": "image"}.get(base) or b.up2(b.down2("image", "u8"), base))
        program, picture = Program(b.program(y), b.tensors), cases.image(8, 14, channels)
        assert ("pixel_unshuffle + phase" in steps(program, 3)) == (base != "twice" and channels <= 3)
        assert ("pixel_shuffle + residual" in steps(program, 3)) == (base != "itself" and channels <= 4)
        for size in [(8, 14), (7, 14), (8, 13)]:
            given = picture[: size[0], : size[1]].copy()
            np.testing.assert_array_equal(emulate(program, given, 0, size, index=3), program.run(given, 0, size))


def models() -> list[Path]:
    return sorted([*packed_model.MODEL_FOLDER.glob("*.safetensors"), *GOLDEN_MODELS.glob("*.safetensors")])


@pytest.mark.parametrize("path", models(), ids=lambda path: path.stem)
def test_all_programs_of_models(path: Path) -> None:
    """Those that ship and the golden ones; one like a range model as it ships is in test_range_network."""
    for turn, (name, program) in enumerate(packed_model.load(path).programs.items()):
        large = program.native.macs(64, 64) > 1e9
        for height, width in [(3, 2)] if large else [(1, 1), (13, 22)]:
            picture = cases.input_of(program, height, width, turn)
            size = cases.result_size(program, height, width)
            level = turn % len(program.levels)
            got = emulate(program, picture, level, size, index=turn % 15)
            np.testing.assert_array_equal(got, program.run(picture, level, size), name)


@pytest.mark.parametrize("index", [1, 7, 13])
def test_range_network(index: int) -> None:
    """Codec range's synthesis and analysis with all their kinds of layers, over the borders of tiles; cropped."""
    for make, (height, width) in ((cases.range_synthesis, (5, 7)), (cases.range_analysis, (80, 111))):
        spec, tensors = make(latent=36, width=33, hidden=40)
        program = Program(spec, tensors)
        picture = cases.input_of(program, height, width, 2)
        size = cases.result_size(program, height, width)
        size = size if make is cases.range_analysis else (size[0] - 3, size[1] - 15)
        got = emulate(program, picture, 1, size, index=index)
        np.testing.assert_array_equal(got, program.run(picture, 1, size))


@pytest.mark.parametrize("index", EMULATED)
def test_fast_network(index: int) -> None:
    """Fused layers with residual adds, over tile borders and image borders; sizes that are no multiple of anything."""
    program = Program(*cases.network_fast())
    chosen = [step for step in steps(program, index) if "32 x" in step]
    assert chosen == (["row_pairs32 x 5", "row_pairs32 x 5"] if index in SM_90A else ["chain32 x 5", "chain32 x 5"])
    for height, width in [(1, 2), (5, 131), (110, 113)]:
        picture = cases.image(height, width, seed=height)
        expected = program.run(picture, 2, (height, width))
        np.testing.assert_array_equal(emulate(program, picture, 2, (height, width), index=index), expected)


@pytest.mark.parametrize("index", [0, *SM_90A])
def test_paper_network(index: int) -> None:
    """Two layers of 64 channels a kernel, over tile borders and image borders."""
    program = Program(*cases.network_paper(widths=(64, 64, 64, 48, 37)))
    assert steps(program, index).count("pair64 x 2") == (2 if index in SM_90A else 0)
    for height, width in [(1, 2), (33, 65), (61, 94)]:
        picture = cases.image(height, width, seed=height)
        got = emulate(program, picture, 0, (height, width), index=index)
        np.testing.assert_array_equal(got, program.run(picture, 0, (height, width)))


def pairs_that_add(width: int) -> tuple[cases.ProgramBuilder, str]:
    """Four pairs of layers, with all that they may add."""
    b = cases.ProgramBuilder(3, seed=width)
    x = b.conv("image", width, dtype="i8")
    for adds in ("in", "before", "", "own"):
        y = b.conv(x, width, kernel=1)
        mid = b.conv(y, width, add=y if adds in ("in", "own") else None)
        x = b.conv(mid, width, add={"before": y, "own": mid}.get(adds))
    return b, x


@pytest.mark.parametrize("index", SM_90A)
@pytest.mark.parametrize("width", [64, 49])
def test_pairs_that_add(width: int, index: int) -> None:
    """Each layer of a pair adds nothing, its input, or the second that of the first; over tile and image borders."""
    b, x = pairs_that_add(width)
    program = Program(b.program(x), b.tensors)
    assert steps(program, index).count("pair64 x 2") == 4
    for height, width in [(1, 2), (33, 65)]:
        picture = cases.image(height, width, seed=height)
        got = emulate(program, picture, 0, (height, width), index=index)
        np.testing.assert_array_equal(got, program.run(picture, 0, (height, width)))


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_sparse_convolutions(kernel: int, stride: int, extreme: bool) -> None:
    """2:4 weights, all channel counts around the sizes of a product; dense ones and those of i16 stay as they are."""
    rng = np.random.default_rng(kernel + 10 * stride + extreme)
    shapes = [(1, 1), (2, 3), (15, 16), (17, 33), (32, 65), (48, 12), (64, 64), (130, 5), (5, 130)]
    for index, (n_in, n_out) in enumerate(shapes):
        b = cases.ProgramBuilder(n_in, seed=index)
        dtype = str(rng.choice(["u8", "i8"]))
        y = b.conv("image", n_out, kernel=kernel, stride=stride, dtype=dtype, extreme=extreme)
        # Of u8 a 3x3 one would go into a chain.
        y = b.conv(y, n_out, kernel=kernel if dtype == "i8" else 1, dtype="i16", extreme=extreme)
        spec, tensors = b.program(b.conv(y, n_out, kernel=1)), cases.two_of_four(b.tensors, index)
        height, width = (int(n) for n in rng.integers(1, 50, 2))
        picture = cases.image(height, width, n_in)
        if extreme:
            picture = np.where(picture > 127, 255, 0).astype(np.uint8)
        program = Program(spec, tensors, backend="reference")
        size = cases.out_size(spec, height, width)
        chosen = steps(program, index, sparse=True)
        assert "sparse conv" in chosen
        assert "conv" in chosen  # from i16
        assert not any("sparse" in step for step in steps(program, index))
        if n_in >= 3:
            dense = b.tensors | {spec["ops"][0]["weight"]: np.ones((n_out, kernel, kernel, n_in), np.int8)}
            assert steps(Program(spec, dense), index, sparse=True)[0] != "sparse conv"
        got = emulate(program, picture, 0, size, index=index, sparse=True)
        np.testing.assert_array_equal(got, program.run(picture, 0, size))


@pytest.mark.parametrize("index", SM_90A)
def test_sparse_pairs(index: int) -> None:
    """Two layers with 2:4 weights in a kernel, with all that they may add; a pair with one dense layer stays dense."""
    for width in (64, 49):
        b, x = pairs_that_add(width)
        spec, tensors = b.program(x), cases.two_of_four(b.tensors, width)
        program = Program(spec, tensors)
        assert steps(program, index, sparse=True).count("sparse_pair64 x 2") == 4
        last = spec["ops"][-1]["weight"]
        mixed = steps(Program(spec, tensors | {last: b.tensors[last]}), index, sparse=True)
        assert (mixed.count("sparse_pair64 x 2"), mixed.count("pair64 x 2")) == (3, 1)
        for height, size in [(1, 2), (33, 65)]:
            picture = cases.image(height, size, seed=height)
            got = emulate(program, picture, 0, (height, size), index=index, sparse=True)
            np.testing.assert_array_equal(got, program.run(picture, 0, (height, size)))


def test_chains_with_other_adds() -> None:
    """A layer that adds its own input, a chain that must end early, widths below 32."""
    for width, index in ((32, 3), (17, 4), (5, 0), (31, 12)):
        b = cases.ProgramBuilder(3, seed=width)
        x = cases.body(b, "image", width, 4)
        early = b.conv(x, width)
        x = b.conv(b.conv(early, width), width, dtype="i8", add=early)
        y = b.conv(b.conv(x, 3), 3)
        program = Program(b.program(y), b.tensors)
        picture = cases.image(53, 47)
        got = emulate(program, picture, 0, (53, 47), index=index)
        np.testing.assert_array_equal(got, program.run(picture, 0, (53, 47)))


@pytest.mark.parametrize("index", SM_90A)
@pytest.mark.parametrize("layers", [2, 3, 4, 5])
def test_row_pairs(layers: int, index: int) -> None:
    """Chains of all lengths, what their last layer adds and gives; planes that lack; several tiles a block."""
    for turn, (last, dtype) in enumerate(itertools.product(("", "own", "before"), ("u8", "i16"))):
        b = cases.ProgramBuilder(3, seed=layers)
        before = x = b.conv("image", 16 if turn % 2 else 32, kernel=1)
        for n in range(layers):
            final = n == layers - 1
            added = {"own": x, "before": before}.get(last) if final or n % 2 else None
            width = b.channels[added] if added else 12 if final else 32
            made = b.conv(x, width, dtype=dtype if final else "u8", add=added)
            before, x = x, made
        y = b.conv(x, 3, kernel=1)
        program = Program(b.program(y), b.tensors)
        assert f"row_pairs32 x {layers}" in steps(program, index)
        height, width = (95, 121) if turn == index % 5 else (52, 63)
        picture = cases.image(height, width, seed=turn)
        got = emulate(program, picture, 0, (height, width), index=index)
        np.testing.assert_array_equal(got, program.run(picture, 0, (height, width)))


def test_workspace() -> None:
    """The caller's memory gives the same result; one byte of it less or more is never touched."""
    program = Program(*cases.network_fast(blocks=1))
    native = _core.DeviceProgram(program.native, "emulator", 0)
    picture, size = cases.image(30, 34), (30, 34)
    n_bytes = native.workspace_bytes(size, size, size)
    memory = np.full(n_bytes + 1024, 0x5A, np.uint8)
    start = -memory.ctypes.data % 256 + 256
    out = np.empty_like(picture)
    program.run_device(
        picture.ctypes.data, size, out.ctypes.data, 1, size, device="emulator", workspace=memory.ctypes.data + start
    )
    np.testing.assert_array_equal(out, program.run(picture, 1, size))
    assert (memory[:start] == 0x5A).all()
    assert (memory[start + n_bytes :] == 0x5A).all()


def test_calls_that_come_again() -> None:
    """They are replayed from a graph: with new pixels at the old address, among calls that differ."""
    program = Program(*cases.network_fast(width=8, blocks=1))
    size = (20, 24)
    picture, out = cases.image(*size), np.empty((*size, 3), np.uint8)
    native = _core.DeviceProgram(program.native, "emulator", 0)
    memory = np.empty(native.workspace_bytes(size, size, size) + 256, np.uint8)
    workspace = memory.ctypes.data + -memory.ctypes.data % 256
    for turn in range(12):
        picture[:] = cases.image(*size, seed=turn)
        for level in range(3):
            for own in (0, workspace):
                out[:] = 0
                native.run(picture.ctypes.data, size, out.ctypes.data, level, size, (0, 0), size, workspace=own)
                np.testing.assert_array_equal(out, program.run(picture, level, size))
        other = cases.image(*size, seed=turn)  # at another address, perhaps: at most 8 calls are kept
        native.run(other.ctypes.data, size, out.ctypes.data, turn % 3, size, (0, 0), size)
        np.testing.assert_array_equal(out, program.run(other, turn % 3, size))


def test_device_errors() -> None:
    spec, tensors = cases.network_f(width=8, blocks=1)
    program = Program(spec, tensors)
    picture = cases.image(16, 16)
    out = np.empty_like(picture)
    address, target, size = picture.ctypes.data, out.ctypes.data, (16, 16)
    with pytest.raises(BackendError, match="use one of: cuda, emulator"):
        program.run_device(address, size, target, 0, size, device="tpu")
    with pytest.raises(BackendError, match="0 to 14, got 15"):
        program.run_device(address, size, target, 0, size, device="emulator", index=15)
    with pytest.raises(ValueError, match="addresses"):
        program.run_device(0, size, target, 0, size, device="emulator")
    wide = cases.ProgramBuilder(3, dtype="i16")
    of_shorts = Program(wide.program(wide.scale("image")), wide.tensors)
    with pytest.raises(ValueError, match="aligned to their elements"):
        of_shorts.run_device(address + 1, size, target, 0, size, device="emulator")
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


def test_torch_on_the_cpu() -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    program = Program(*cases.network_f(width=8, blocks=1))
    picture = cases.image(20, 30)
    got = program.run_torch(torch.from_numpy(picture), 0, (20, 30), region=(1, 2, 3, 4))
    np.testing.assert_array_equal(got.numpy(), program.run(picture, 0, (20, 30))[2:6, 1:4])
    with pytest.raises(TypeError, match="contiguous uint8"):
        program.run_torch(torch.zeros(20, 30, 3), 0, (20, 30))
    b = cases.ProgramBuilder(3, dtype="i16")
    of_shorts, shorts = Program(b.program(b.scale("image")), b.tensors), cases.noise(5, 6, 3, "i16")
    result = of_shorts.run_torch(torch.from_numpy(shorts), 0, (5, 6))
    assert result.dtype == torch.int8
    np.testing.assert_array_equal(result.numpy(), of_shorts.run(shorts, 0, (5, 6)))
    with pytest.raises(TypeError, match="contiguous int16"):
        of_shorts.run_torch(torch.from_numpy(picture), 0, (20, 30))
    with pytest.raises(ValueError, match="3 channels, got 1"):
        program.run_torch(torch.zeros(20, 30, 1, dtype=torch.uint8), 0, (20, 30))
    with pytest.raises(ValueError, match=r"use x\.cpu\(\)"):
        program.run_torch(torch.zeros(20, 30, 3, dtype=torch.uint8, device="meta"), 0, (20, 30))


def test_nothing_but_launches_while_the_caller_records() -> None:
    """More calls than are kept as graphs, then others while the caller records the stream: here any stream but 0."""
    program = Program(*cases.network_fast(width=8, blocks=1))
    pictures = [cases.image(6 + i, 9, seed=i) for i in range(12)]

    def run_on(picture: np.ndarray, stream: int) -> np.ndarray:
        out = np.empty((*picture.shape[:2], 3), np.uint8)
        program.run_device(
            picture.ctypes.data,
            picture.shape[:2],
            out.ctypes.data,
            0,
            picture.shape[:2],
            device="emulator",
            stream=stream,
        )
        return out

    for picture in [*pictures[:8], *pictures[:8]]:
        run_on(picture, 0)
    for picture in pictures:
        np.testing.assert_array_equal(run_on(picture, 1), program.run(picture, 0, picture.shape[:2]))
    for picture in pictures:  # and afterwards there are graphs again
        for _ in range(3):
            np.testing.assert_array_equal(run_on(picture, 0), program.run(picture, 0, picture.shape[:2]))


def test_a_workspace_must_be_aligned() -> None:
    program = Program(*cases.network_fast(width=8, blocks=1))
    with pytest.raises(ValueError, match="workspace must be an address aligned to 256"):
        program.run_device(256, (8, 8), 256, 0, (8, 8), device="emulator", workspace=8)
