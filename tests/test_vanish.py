# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Channels that do nothing vanish, and the programs give the same as with them."""

from __future__ import annotations

from typing import Any

import cases
import numpy as np
import pytest
from fastcodec.packed_model import Program
from fastcodec.train.vanish import remove_dead_channels

Array = np.ndarray


def prune_at_random(tensors: dict[str, Array], seed: int) -> dict[str, Array]:
    """Zero outputs and zero inputs of every layer's weights at random; biases so low or high that results clamp."""
    rng = np.random.default_rng(seed)
    out = {name: tensor.copy() for name, tensor in tensors.items()}
    for name, tensor in out.items():
        if name.endswith(".w"):
            tensor[rng.random(len(tensor)) < rng.choice([0, 0.3, 0.6, 1], p=[0.3, 0.4, 0.2, 0.1])] = 0
            if tensor.ndim == 4:
                tensor[..., rng.random(tensor.shape[3]) < rng.choice([0, 0.4, 1], p=[0.4, 0.5, 0.1])] = 0
        elif name.endswith(".b"):
            tensor[:, rng.random(tensor.shape[1]) < 0.2] = rng.choice([-(2**27), 2**27])
    return out


def same(spec: dict[str, Any], before: dict[str, Array], after: dict[str, Array], seed: int) -> None:
    """The results are equal, at every level, on images down to one pixel."""
    first, second = Program(spec, before), Program(spec, after)
    for size in ((13, 11), (1, 1), (2, 5)):
        image = cases.input_for(spec, *size, seed=seed)
        out_size = cases.out_size(spec, *size)
        for level in range(len(spec["levels"])):
            np.testing.assert_array_equal(first.run(image, level, out_size), second.run(image, level, out_size))


def count(tensors: dict[str, Array]) -> int:
    return sum(t.size for t in tensors.values())


def test_random_programs() -> None:
    smaller = 0
    for seed in range(120):
        spec, tensors = cases.random_program(seed, typed=seed % 2 == 0)
        pruned = prune_at_random(tensors, seed)
        kept = {name: tensor.copy() for name, tensor in pruned.items()}
        after = remove_dead_channels({"p": spec}, pruned)
        for name, tensor in kept.items():
            np.testing.assert_array_equal(pruned[name], tensor, err_msg="the caller's tensors have changed")
        same(spec, pruned, after, seed)
        smaller += count(after) < count(pruned)
    assert smaller > 40


def test_pruned_filters_vanish_with_what_reads_them() -> None:
    b = cases.ProgramBuilder(3, (20, 50, 80), seed=1)
    x = b.conv(b.conv(b.conv("image", 24), 40), 32)
    spec = b.program(b.residual(b.conv(x, 3, dtype="i16"), "image"))
    tensors = {name: t.copy() for name, t in b.tensors.items()}
    tensors["1.w"][5:25] = 0
    after = remove_dead_channels({"p": spec}, tensors)
    assert after["1.w"].shape == (20, 3, 3, 24)
    assert after["1.b"].shape[1] == after["1.m"].shape[1] == 20
    assert after["2.w"].shape == (32, 3, 3, 20)
    assert not np.array_equal(after["2.b"], tensors["2.b"]), "what the filters' biases gave must go into the next bias"
    same(spec, tensors, after, 0)


def test_what_only_dead_channels_read_vanishes_too() -> None:
    b = cases.ProgramBuilder(3, seed=2)
    x = b.conv(b.conv(b.conv("image", 24), 40), 32)
    spec = b.program(b.residual(b.conv(x, 3, dtype="i16"), "image"))
    tensors = {name: t.copy() for name, t in b.tensors.items()}
    tensors["1.w"][8:] = 0
    tensors["1.w"][:8, ..., 4:] = 0  # the first eight filters read four channels
    after = remove_dead_channels({"p": spec}, tensors)
    assert [after[f"{i}.w"].shape for i in range(4)] == [(4, 3, 3, 3), (8, 3, 3, 4), (32, 3, 3, 8), (3, 3, 3, 32)]
    same(spec, tensors, after, 0)


def test_channels_that_always_clamp_vanish() -> None:
    b = cases.ProgramBuilder(3, seed=3)
    x = b.conv("image", 16)
    spec = b.program(b.residual(b.conv(x, 3, dtype="i16"), "image"))
    tensors = {name: t.copy() for name, t in b.tensors.items()}
    tensors["0.b"][0, :4], tensors["0.b"][0, 4:6] = -(2**24), 2**30
    tensors["0.m"][0, 4:6] = 2**30
    after = remove_dead_channels({"p": spec}, tensors)
    assert after["0.w"].shape[0] == after["1.w"].shape[3] == 10
    same(spec, tensors, after, 0)


@pytest.mark.parametrize("alive", [False, True])
def test_a_residual_stream_loses_a_channel_where_nothing_reads_it(alive: bool) -> None:
    spec, tensors = cases.network_fast(width=16, blocks=2)
    tensors = {name: t.copy() for name, t in tensors.items()}
    convs = [op for op in spec["ops"] if op["op"] == "conv"]
    readers = [op for op in convs if "add" not in op and op is not convs[0]]
    for op in readers[0 if not alive else 1 :]:
        tensors[op["weight"]][..., 7] = 0
    after = remove_dead_channels({"p": spec}, tensors)
    stream = [op for op in convs if "add" in op or op is convs[0]]
    assert {len(after[op["weight"]]) for op in stream} == {16 if alive else 15}
    same(spec, tensors, after, 0)


def test_programs_that_share_tensors_keep_what_one_of_them_needs() -> None:
    """Two heads before a shared layer: a channel that is constant behind one of them only must stay."""
    rgb, grey = cases.ProgramBuilder(3, seed=4), cases.ProgramBuilder(1, seed=5, prefix="grey.")
    specs = {}
    for name, b in (("rgb", rgb), ("grey", grey)):
        x = b.conv(b.conv("image", 12), 8)
        b.ops[-1].update(weight="1.w", bias="1.b", mult="1.m")
        specs[name] = b.program(b.residual(b.conv(x, b.channels["image"], dtype="i16"), "image"))
    tensors = {k: t.copy() for k, t in (grey.tensors | rgb.tensors).items()}
    tensors["0.w"][:3], tensors["grey.0.w"][1:5] = 0, 0
    for key in ("b", "m"):  # the same constants behind both
        tensors[f"grey.0.{key}"][:] = tensors[f"0.{key}"]
    after = remove_dead_channels(specs, tensors)
    assert after["1.w"].shape == (8, 3, 3, 10)
    assert after["0.w"].shape[0] == after["grey.0.w"].shape[0] == 10
    tensors["grey.0.b"][:, 1:3] += 2**20  # now other ones
    kept = remove_dead_channels(specs, tensors)
    assert kept["1.w"].shape == (8, 3, 3, 12)
    for spec in specs.values():
        same(spec, tensors, remove_dead_channels(specs, tensors), 0)


def test_constants_that_differ_by_level() -> None:
    b = cases.ProgramBuilder(3, (20, 50, 80), seed=6)
    x = b.conv("image", 8)
    spec = b.program(b.residual(b.conv(x, 3, dtype="i16"), "image"))
    tensors = {name: t.copy() for name, t in b.tensors.items()}
    tensors["0.w"][2] = 0
    tensors["0.m"] = np.full((1, 8), 2**28, np.int32)
    tensors["0.b"] = np.tile(np.array([[100], [900], [2000]], np.int32), (1, 8))
    tensors["1.b"] = tensors["1.b"][:1].copy()
    after = remove_dead_channels({"p": spec}, tensors)
    assert after["0.w"].shape[0] == 7
    assert after["1.b"].shape == (3, 3)
    same(spec, tensors, after, 0)


def test_a_dead_layer_keeps_one_channel() -> None:
    b = cases.ProgramBuilder(3, seed=7)
    x = b.conv(b.conv("image", 8), 8)
    spec = b.program(b.residual(b.conv(x, 3, dtype="i16"), "image"))
    tensors = {name: t.copy() for name, t in b.tensors.items()}
    tensors["0.w"][:] = 0
    after = remove_dead_channels({"p": spec}, tensors)
    assert after["0.w"].shape[0] == after["1.w"].shape[0] == 1
    same(spec, tensors, after, 0)
