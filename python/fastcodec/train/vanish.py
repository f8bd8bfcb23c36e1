# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Channels that do nothing vanish from packed programs; what the programs give stays the same to the last bit.

A channel is constant when the bounds of its integers prove it: its weights are all zero (pruned), or its sums never
leave the side on which the activation clamps. A constant c is the same as c times the weights in the next layer's
bias, at the borders too, which repeat the nearest pixel. A channel that no weight but zero reads is then cut out of all
tables that hold it. Programs of a model share tensors, so that a channel goes only where all programs let it go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bounds = tuple[Array, Array]  # lowest and highest integer of each channel, int64 [levels, channels]
_SPAN = {"u8": (0, 255), "i8": (-128, 127), "i16": (-32768, 32767)}
_CONVS = ("conv", "depthwise")


def _is_dense(op: Mapping[str, Any]) -> bool:
    """A convolution whose outputs all read all inputs; groups stay as they are."""
    return bool(op["op"] == "conv" and op.get("groups", 1) == 1)


class _Reader(NamedTuple):
    """A dense convolution of a program, and what is known of its input."""

    weight: str
    bias: str
    low: Array
    high: Array


def remove_dead_channels(programs: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors of a packed model without channels that do nothing.

    Args:
        programs: specifications by name, as in the model file and valid; they stay as they are.
        tensors: all tensors of the model by name; those that no program names are passed on.

    Returns: new tensors, with which every program gives the same result for every image and level. Each value keeps
    at least one channel, inputs and results keep all.
    """
    before: dict[str, Array] = {}
    after = dict(tensors)
    while any(before.get(name) is not after[name] for name in after):
        before = after
        after = _without_unread(programs, _fold_constants(programs, before))
    return after


def _level(table: Array, levels: int) -> Array:
    """A level table [1 or levels, channels] as int64 [levels, channels]."""
    return np.broadcast_to(table.astype(np.int64), (levels, table.shape[1]))


def _given(spec: Mapping[str, Any]) -> tuple[str, int, str]:
    """Name, channels and type of a program's input."""
    ((name, given),) = spec["inputs"].items()
    return (name, given["channels"], given["type"]) if isinstance(given, dict) else (name, given, "u8")


def _full(kind: str, levels: int, channels: int) -> Bounds:
    low, high = _SPAN[kind]
    return np.full((levels, channels), low, np.int64), np.full((levels, channels), high, np.int64)


def _bounds(spec: Mapping[str, Any], tensors: Mapping[str, Array]) -> dict[str, Bounds]:
    """Bounds of every value of a program."""
    levels = len(spec["levels"])
    name, channels, kind = _given(spec)
    bounds = {name: _full(kind, levels, channels)}
    kinds = {name: kind}
    for op in spec["ops"]:
        low, high = bounds[op["in"][0]]
        what = op["op"]
        kinds[op["out"]] = op.get("type", kinds[op["in"][0]] if what.startswith("pixel_") else "u8")
        if what in _CONVS or what == "scale":
            bounds[op["out"]] = _requantised(op, tensors, levels, low, high, bounds)
        elif what == "pixel_unshuffle":
            bounds[op["out"]] = low.repeat(4, 1), high.repeat(4, 1)
        elif what == "pixel_shuffle":
            bounds[op["out"]] = low.reshape(levels, -1, 4).min(2), high.reshape(levels, -1, 4).max(2)
        elif what == "lookup":
            bounds[op["out"]] = _looked_up(tensors[op["table"]], low, high, _SPAN[kinds[op["in"][0]]][0])
        elif what == "phase":
            planes = _full("u8", levels, 2 * tensors[op["table"]].shape[1])
            bounds[op["out"]] = np.hstack((low, planes[0])), np.hstack((high, planes[1]))
        else:  # bicubic_up2, bicubic_down2, residual
            bounds[op["out"]] = _full(op.get("type", "u8"), levels, low.shape[1])
    return bounds


def _requantised(
    op: Mapping[str, Any], tensors: Mapping[str, Array], levels: int, low: Array, high: Array,
    bounds: Mapping[str, Bounds],
) -> Bounds:  # fmt: skip
    """Bounds of what conv, depthwise and scale give for an input in low..high."""
    mult, bias = _level(tensors[op["mult"]], levels), _level(tensors[op["bias"]], levels)
    if op["op"] == "scale":
        ends = [(x * mult + bias) >> 16 for x in (low, high)]
    else:
        weight = tensors[op["weight"]].astype(np.int64)
        if op["op"] == "conv":
            weight = _between_groups(weight, op.get("groups", 1))
        if op["op"] == "depthwise":
            up, down = (part.sum(axis=(1, 2)) for part in (weight.clip(min=0), weight.clip(max=0)))
            sums = [low * up + high * down, high * up + low * down]
        else:
            up, down = (part.sum(axis=(1, 2)).T for part in (weight.clip(min=0), weight.clip(max=0)))
            sums = [low @ up + high @ down, high @ up + low @ down]
        ends = [((total + bias) * mult) >> 32 for total in sums]
        if "add" in op:
            ends = [end + more for end, more in zip(ends, bounds[op["add"]], strict=True)]
    span = _SPAN[op["type"]]
    return ends[0].clip(*span), ends[1].clip(*span)


def _looked_up(table: Array, low: Array, high: Array, first: int) -> Bounds:
    """Bounds of what a table gives for an input in low..high, whose lowest possible value is `first`."""
    rows = np.broadcast_to(table.astype(np.int64), (low.shape[1], 256))
    places = np.arange(first, first + 256)
    inside = (places >= low[..., None]) & (places <= high[..., None])
    return np.where(inside, rows, 2**31).min(axis=2), np.where(inside, rows, -(2**31)).max(axis=2)


def _between_groups(weight: Array, groups: int) -> Array:
    """Weights [O, k, k, I / groups] as those of a dense convolution."""
    blocks = np.split(weight, groups)
    n = weight.shape[3]
    padding = [((0, 0), (0, 0), (0, 0), (g * n, (groups - 1 - g) * n)) for g in range(groups)]
    return np.concatenate([np.pad(block, pad) for block, pad in zip(blocks, padding, strict=True)])


def _fold_constants(programs: Mapping[str, Any], tensors: dict[str, Array]) -> dict[str, Array]:
    """The same model with zero weights wherever a dense convolution reads a constant, which its bias then holds."""
    readers: list[_Reader] = []
    for spec in programs.values():
        bounds = _bounds(spec, tensors)
        readers += [_Reader(op["weight"], op["bias"], *bounds[op["in"][0]]) for op in spec["ops"] if _is_dense(op)]
    out = dict(tensors)
    for name in dict.fromkeys(r.weight for r in readers):
        mine = [r for r in readers if r.weight == name]
        constant: Array = np.all([(r.low == r.high).all(axis=0) for r in mine], axis=0)
        constant = constant & tensors[name].any(axis=(0, 1, 2))
        if not constant.any():
            continue
        taps = tensors[name].astype(np.int64).sum(axis=(1, 2))[:, constant].T
        more: dict[str, list[Array]] = {}
        for r in mine:
            more.setdefault(r.bias, []).append(r.low[:, constant] @ taps)
        shared = any(r.bias in more for r in readers if r.weight != name)
        if shared or any(not np.array_equal(first, other) for first, *others in more.values() for other in others):
            continue  # a bias that several layers use cannot hold what differs between them
        for bias, (first, *_) in more.items():
            rows = first if (first != first[0]).any() else first[:1]
            out[bias] = (tensors[bias] + rows).astype(np.int32)
        out[name] = np.where(constant, 0, tensors[name]).astype(np.int8)
    return out


class _Classes:
    """Channels that must go together: union-find over (where, channel)."""

    def __init__(self) -> None:
        self.parent: dict[tuple[Any, int], tuple[Any, int]] = {}

    def find(self, item: tuple[Any, int]) -> tuple[Any, int]:
        root = item
        while (up := self.parent.setdefault(root, root)) != root:
            root = up
        while (up := self.parent[item]) != root:
            self.parent[item], item = root, up
        return root

    def join(self, a: Any, b: Any, channels: int, *, times: int = 1) -> None:
        """Channel i of b goes with channel i // times of a."""
        for i in range(channels):
            self.parent[self.find((b, i))] = self.find((a, i // times))


def _tables(op: Mapping[str, Any], tensors: Mapping[str, Array]) -> Iterator[tuple[str, int]]:
    """The tensors that have a place for each channel of an operation's result, with the axis."""
    if op["op"] == "lookup" and len(tensors[op["table"]]) > 1:
        yield op["table"], 0
    if op["op"] in _CONVS:
        yield op["weight"], 0
    if op["op"] in _CONVS or op["op"] == "scale":
        yield op["bias"], 1
        yield op["mult"], 1


def _without_unread(programs: Mapping[str, Any], tensors: dict[str, Array]) -> dict[str, Array]:
    """The tensors without channels that only weights of zero read. Raises nothing for valid programs."""
    classes = _Classes()
    sizes: dict[tuple[str, str], int] = {}  # channels of (program, value)
    pinned: set[tuple[Any, int]] = set()
    read: set[tuple[Any, int]] = set()
    axes: set[tuple[str, int]] = set()  # of tensors
    for program, spec in programs.items():
        name, channels, _ = _given(spec)
        sizes[program, name] = channels
        pinned |= {((program, name), c) for c in range(channels)}
        for op in spec["ops"]:
            source, value, what = (program, op["in"][0]), (program, op["out"]), op["op"]
            n = sizes[source]
            if what == "conv":
                n_out = len(tensors[op["weight"]])
                if _is_dense(op):
                    _join_input(classes, op["weight"], source, tensors, axes, read)
                else:
                    pinned |= {(source, c) for c in range(n)} | {(value, c) for c in range(n_out)}
                n = n_out
            elif what == "phase":
                planes = 2 * tensors[op["table"]].shape[1]
                pinned |= {(value, n + c) for c in range(planes)}
                classes.join(source, value, n)
                n += planes
            elif what == "pixel_shuffle":
                n //= 4
                classes.join(value, source, 4 * n, times=4)
            elif what == "pixel_unshuffle":
                n *= 4
                classes.join(source, value, n, times=4)
            else:
                classes.join(source, value, n)
            sizes[value] = n
            for other in [*op["in"][1:], *([op["add"]] if "add" in op else [])]:
                classes.join(value, (program, other), n)
            for table in _tables(op, tensors):
                axes.add(table)
                classes.join(value, table, n)
        output = (program, spec["output"])
        pinned |= {(output, c) for c in range(sizes[output])}
    stay = {classes.find(item) for item in pinned | read}
    for value, n in sizes.items():
        roots = [classes.find((value, c)) for c in range(n)]
        if not stay.intersection(roots):
            stay.add(roots[0])
    out = dict(tensors)
    for name, axis in axes:
        kept = [c for c in range(tensors[name].shape[axis]) if classes.find(((name, axis), c)) in stay]
        if len(kept) < tensors[name].shape[axis]:
            out[name] = np.ascontiguousarray(out[name].take(kept, axis))
    return out


def _join_input(
    classes: _Classes, weight: str, source: tuple[str, str], tensors: Mapping[str, Array],
    axes: set[tuple[str, int]], read: set[tuple[Any, int]],
) -> None:  # fmt: skip
    """The inputs of a dense convolution's weights [O, k, k, I] go with the channels that they read."""
    place = (weight, 3)
    axes.add(place)
    classes.join(source, place, tensors[weight].shape[3])
    read |= {(place, int(c)) for c in np.flatnonzero(tensors[weight].any(axis=(0, 1, 2)))}
