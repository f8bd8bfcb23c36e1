# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""What a packed program means: each operation in plain NumPy integers, on whole images.

Values are int64 arrays [height, width, channels]. Everything native must equal this exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray
RANGES = {"u8": (0, 255), "i8": (-128, 127), "i16": (-32768, 32767)}
DTYPES = {"u8": np.uint8, "i8": np.int8, "i16": np.int16}
UP = np.array([[-6, 58, 222, -18], [-18, 222, 58, -6]], np.int64)
DOWN = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.int64)


def clamp(x: Array, dtype: str) -> Array:
    return np.clip(x, *RANGES[dtype])


def rows_at(x: Array, index: Array, axis: int) -> Array:
    """Rows (axis 0) or columns (axis 1) at these indices; outside the image the nearest one (replicate)."""
    return np.take(x, np.clip(index, 0, x.shape[axis] - 1), axis=axis)


def taps(x: Array, kernel: int, stride: int) -> list[list[Array]]:
    """[ky][kx] -> the input under that tap, for all output pixels."""
    h, w = -(-x.shape[0] // stride), -(-x.shape[1] // stride)
    ys, xs = np.arange(h) * stride - kernel // 2, np.arange(w) * stride - kernel // 2
    return [[rows_at(rows_at(x, ys + ky, 0), xs + kx, 1) for kx in range(kernel)] for ky in range(kernel)]


def requantize(
    acc: Array, op: dict[str, Any], tensors: dict[str, Array], level: int, values: dict[str, Array]
) -> Array:
    bias, mult = (tensors[op[key]].astype(np.int64) for key in ("bias", "mult"))
    acc = acc + bias[level if len(bias) > 1 else 0]
    assert np.abs(acc).max(initial=0) < 2**31
    y = (acc * mult[level if len(mult) > 1 else 0]) >> 32
    if "add" in op:
        y = y + values[op["add"]]
    return clamp(y, op["type"])


def conv(x: Array, op: dict[str, Any], tensors: dict[str, Array], level: int, values: dict[str, Array]) -> Array:
    weight = tensors[op["weight"]].astype(np.int64)  # [O, k, k, I / groups]
    kernel, groups = weight.shape[1], op.get("groups", 1)
    acc: Any = 0
    for ky, row in enumerate(taps(x, kernel, op.get("stride", 1))):
        for kx, tap in enumerate(row):
            pairs = zip(np.split(tap, groups, axis=2), np.split(weight[:, ky, kx, :], groups), strict=True)
            acc = acc + np.concatenate([part @ own.T for part, own in pairs], axis=2)
    return requantize(acc, op, tensors, level, values)


def depthwise(x: Array, op: dict[str, Any], tensors: dict[str, Array], level: int, values: dict[str, Array]) -> Array:
    weight = tensors[op["weight"]].astype(np.int64)  # [C, 3, 3]
    acc: Any = 0
    for ky, row in enumerate(taps(x, 3, op.get("stride", 1))):
        for kx, tap in enumerate(row):
            acc = acc + tap * weight[:, ky, kx]
    return requantize(acc, op, tensors, level, values)


def scale(x: Array, op: dict[str, Any], tensors: dict[str, Array], level: int) -> Array:
    mult, bias = (tensors[op[key]].astype(np.int64) for key in ("mult", "bias"))
    y = (x * mult[level if len(mult) > 1 else 0] + bias[level if len(bias) > 1 else 0]) >> 16
    return clamp(y, op["type"])


def lookup(x: Array, table: Array, dtype: str) -> Array:
    rows = np.broadcast_to(table, (x.shape[2], 256))
    return rows[np.arange(x.shape[2]), x - RANGES[dtype][0]].astype(np.int64)


def pixel_unshuffle(x: Array) -> Array:
    h, w, channels = x.shape
    index_y, index_x = np.arange(-(-h // 2)) * 2, np.arange(-(-w // 2)) * 2
    parts = [rows_at(rows_at(x, index_y + dy, 0), index_x + dx, 1) for dy in (0, 1) for dx in (0, 1)]
    return np.stack(parts, axis=-1).reshape(len(index_y), len(index_x), channels * 4)


def pixel_shuffle(x: Array) -> Array:
    h, w, channels = x.shape
    return x.reshape(h, w, channels // 4, 2, 2).transpose(0, 3, 1, 4, 2).reshape(2 * h, 2 * w, channels // 4)


def phase(x: Array, table: Array) -> Array:
    h, w, _ = x.shape
    period = table.shape[2]
    across = table[0][:, np.arange(w) % period].T[None].repeat(h, 0)
    down = table[1][:, np.arange(h) % period].T[:, None].repeat(w, 1)
    return np.concatenate([x, across, down], axis=-1).astype(np.int64)


def up2_axis(x: Array, axis: int) -> Array:
    n = x.shape[axis]
    index = np.arange(n)
    halves = [sum(UP[d][k] * rows_at(x, index - 2 + d + k, axis) for k in range(4)) for d in (0, 1)]
    shape = list(x.shape)
    shape[axis] = 2 * n
    return np.stack(halves, axis=axis + 1).reshape(shape)


def down2_axis(x: Array, axis: int) -> Array:
    index = np.arange(-(-x.shape[axis] // 2)) * 2
    return sum(DOWN[k] * rows_at(x, index - 3 + k, axis) for k in range(8))


def round_bicubic(total: Array, dtype: str) -> Array:
    return (total + (1 << 11)) >> 12 if dtype == "i16" else clamp((total + (1 << 15)) >> 16, "u8")


def residual(d: Array, base: Array, base_dtype: str, out_size: tuple[int, int]) -> Array:
    h, w = out_size
    base16 = base * 16 if base_dtype == "u8" else base
    return clamp((base16[:h, :w] + d[:h, :w] + 8) >> 4, "u8")


def run(
    program: dict[str, Any], tensors: dict[str, Array], image: Array, level: int, out_size: tuple[int, int]
) -> Array:
    """Runs a program on image [h, w, C] of its input's type; returns [out_h, out_w, C'] of its output's type."""
    ((name, given),) = program["inputs"].items()
    values: dict[str, Array] = {name: image.astype(np.int64)}
    dtypes = {name: given["type"] if isinstance(given, dict) else "u8"}
    assert image.dtype == DTYPES[dtypes[name]]
    for op in program["ops"]:
        kind, out = op["op"], op["out"]
        x = values[op["in"][0]]
        dtypes[out] = op.get("type", "u8")
        if kind in ("conv", "depthwise"):
            values[out] = (conv if kind == "conv" else depthwise)(x, op, tensors, level, values)
        elif kind == "scale":
            values[out] = scale(x, op, tensors, level)
        elif kind == "lookup":
            values[out] = lookup(x, tensors[op["table"]], dtypes[op["in"][0]])
        elif kind == "pixel_unshuffle":
            values[out], dtypes[out] = pixel_unshuffle(x), dtypes[op["in"][0]]
        elif kind == "pixel_shuffle":
            values[out], dtypes[out] = pixel_shuffle(x), dtypes[op["in"][0]]
        elif kind == "phase":
            values[out] = phase(x, tensors[op["table"]])
        elif kind == "bicubic_up2":
            values[out] = round_bicubic(up2_axis(up2_axis(x, 0), 1), op["type"])
        elif kind == "bicubic_down2":
            values[out] = round_bicubic(down2_axis(down2_axis(x, 0), 1), op["type"])
        else:
            assert kind == "residual", kind
            values[out] = residual(x, values[op["in"][1]], dtypes[op["in"][1]], out_size)
    result = values[program["output"]][: out_size[0], : out_size[1]]
    assert result.shape[:2] == tuple(out_size)
    return result.astype(DTYPES[dtypes[program["output"]]])
