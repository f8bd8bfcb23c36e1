# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Colour planes adapted to an image: the Karhunen-Loeve transform of its colours instead of a fixed YCbCr.

Edges of one image mostly change its colours along one line; the first plane takes that line, and the others have less
left than Cb and Cr. The decoder's side is a matrix of whole numbers, so every machine gives the same pixels.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt

UNIT = 64  # of the matrix's elements
_LENGTH = 111  # of a column, such that planes of every image fit 8 bits: 128 sqrt(3) * UNIT / _LENGTH < 128
_ROWS_AT_ONCE, _COLUMNS_AT_ONCE = 64, 8192
_PIXELS_AT_ONCE = 1 << 16
_SAMPLES = 1 << 19  # values of an image that are looked at, in strips

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.int8]


def adapted(image: Pixels) -> Matrix:
    """The decoder's matrix int8 [3, 3] for uint8 [H, W, 3]: columns are the axes of the differences of neighbours."""
    covariance = np.eye(3)
    rows = range(0, image.shape[0], _ROWS_AT_ONCE * -(-image.size // _SAMPLES))
    for y, x in product(rows, range(0, image.shape[1], _COLUMNS_AT_ONCE)):
        part = image[y : y + _ROWS_AT_ONCE, x : x + _COLUMNS_AT_ONCE].astype(np.float32)
        for axis in (0, 1):
            change = np.diff(part, axis=axis).reshape(-1, 3)
            covariance += change.T @ change
    axes = np.linalg.eigh(covariance)[1][:, ::-1]
    axes *= np.where(axes.sum(axis=0) < 0, -1, 1)
    matrix: Matrix = np.rint(_LENGTH * axes).astype(np.int8)
    return matrix


def read(data: bytes | memoryview) -> Matrix:
    """The matrix in its 9 bytes, row by row."""
    return np.frombuffer(data, np.int8).reshape(3, 3)


def to_planes(image: Pixels, matrix: Matrix) -> Pixels:
    """The planes uint8 [H, W, 3] from which `from_planes` makes `image`, nearly."""
    given = image.reshape(-1, 3)
    out = np.empty(given.shape, np.uint8)
    weights = np.ascontiguousarray(np.linalg.inv(matrix.astype(np.float64) / UNIT).T, np.float32)
    for at in range(0, len(given), _PIXELS_AT_ONCE):
        part = (given[at : at + _PIXELS_AT_ONCE].astype(np.float32) - 128) @ weights
        part += 0.5
        np.floor(part, out=part)
        part += 128
        out[at : at + _PIXELS_AT_ONCE] = part.clip(0, 255)
    return out.reshape(image.shape)


def from_planes(planes: Pixels, matrix: Matrix) -> Pixels:
    """Pixels uint8 [H, W, 3]: 128 + ((matrix (planes - 128) + 32) >> 6), clamped to 0..255; a 1x1 convolution."""
    from .packed_model import Program

    sums = matrix.astype(np.int32).sum(axis=1)
    tensors = {
        "weight": np.ascontiguousarray(matrix).reshape(3, 1, 1, 3),
        "bias": (128 * UNIT + UNIT // 2 - 128 * sums).astype(np.int32)[None],
        "mult": np.full((1, 3), (1 << 32) // UNIT, np.int32),
    }
    names = {name: name for name in tensors}
    op = {"op": "conv", "in": ["planes"], **names, "stride": 1, "type": "u8", "out": "pixels"}
    program = Program({"inputs": {"planes": 3}, "output": "pixels", "levels": [0], "ops": [op]}, tensors)
    return program.run(planes, 0, planes.shape[:2], threads=1)
