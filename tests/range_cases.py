# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""A small packed model of the `range` codec, made without training: what the tests of the codec run on.

Both transforms are the first cosines of 16 x 16 blocks, with a random branch of one 3 x 3 convolution beside them, so
that the results depend on neighbours; the hyperprior is random around the spread that such coefficients have. It is a
true codec: more bytes give better pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fastcodec import packed_model

Array = np.ndarray
LEVELS = 25
STREAM = 8  # the latent counts in eighths of a grey level of the orthonormal transform


def _table(value: Any, channels: int) -> Array:
    """int32 [1 or levels, channels] of a scalar, [channels] or [levels, channels]."""
    array = np.rint(np.asarray(value, np.float64))
    rows = len(array) if array.ndim == 2 else 1
    return np.ascontiguousarray(np.broadcast_to(array, (rows, channels)).astype(np.int32))


class Builder:
    """One program; each method adds an operation and returns the name of its value."""

    def __init__(self, prefix: str, channels: int, dtype: str) -> None:
        self.prefix, self.tensors, self.ops = prefix, {}, []  # type: ignore[var-annotated]
        self.inputs = {"x": channels if dtype == "u8" else {"channels": channels, "type": dtype}}

    def add(self, kind: str, x: str, **fields: Any) -> str:
        name = f"{self.prefix}.{len(self.ops)}"
        for key, value in fields.items():
            if isinstance(value, np.ndarray):
                self.tensors[f"{name}.{key}"] = value
                fields[key] = f"{name}.{key}"
        self.ops.append({"op": kind, "in": [x], "out": name, **fields})
        return name

    def conv(self, x: str, weight: Array, mult: Any, bias: Any, dtype: str, **fields: Any) -> str:
        """weight [O, k, k, I]; mult and bias scalars, [O] or [levels, O]; the result is (acc + bias) * mult >> 32."""
        n = weight.shape[0]
        tables = {"bias": _table(bias, n), "mult": _table(mult, n)}
        return self.add("conv", x, weight=weight.astype(np.int8), **tables, type=dtype, stride=1, **fields)

    def scale(self, x: str, channels: int, mult: Any, bias: Any, dtype: str) -> str:
        tables = {"mult": _table(mult, channels), "bias": _table(bias, channels)}
        return self.add("scale", x, **tables, type=dtype)

    def times(self, kind: str, x: str, n: int) -> str:
        for _ in range(n):
            x = self.add(kind, x, factor=2)
        return x

    def program(self, output: str, levels: int) -> dict[str, Any]:
        return {"inputs": self.inputs, "output": output, "levels": list(range(levels)), "ops": self.ops}


def _shuffled(y: int, x: int) -> int:
    """Channel that pixel (y, x) of a 16 x 16 block has after four unshuffles, of one colour."""
    return sum((y >> k & 1) << (2 * (3 - k) + 1) | (x >> k & 1) << (2 * (3 - k)) for k in range(4))


def _cosines(n: int) -> list[Array]:
    """The first n orthonormal cosines of a 16 x 16 block, low frequencies first, each [256] in shuffled order."""
    axis = np.arange(16)
    waves = [
        np.cos(np.pi * (axis + 0.5) * k / 16) * (np.sqrt(1 / 16) if k == 0 else np.sqrt(2 / 16)) for k in range(16)
    ]
    order = sorted(((v, u) for v in range(16) for u in range(16)), key=lambda f: (f[0] + f[1], f))
    place = np.array([[_shuffled(y, x) for x in range(16)] for y in range(16)])
    out = []
    for v, u in order[:n]:
        flat = np.empty(256)
        flat[place] = np.outer(waves[v], waves[u])
        out.append(flat)
    return out


def _basis(channels: int, latent: int) -> tuple[Array, Array]:
    """(orthonormal basis [latent, 256 * channels], spread of each coefficient in grey levels)."""
    rows, spreads = [], []
    colours = (
        [np.array([1.0])]
        if channels == 1
        else [np.array(c) / np.linalg.norm(c) for c in ((1, 1, 1), (1, 0, -1), (1, -2, 1))]
    )
    cosines = _cosines(256)
    at = 0
    while len(rows) < latent:
        for k, colour in enumerate(colours):
            if len(rows) < latent and (k == 0 or at % 2 == 0):
                rows.append(np.concatenate([weight * cosines[(at if k == 0 else at // 2) % 256] for weight in colour]))
                spreads.append((900.0 if at == 0 else 400.0 / (1 + at) ** 0.5) / (1 if k == 0 else 3))
        at += 1
    return np.array(rows), np.array(spreads)


def _int8(basis: Array) -> tuple[Array, Array]:
    """(int8 weights, what a row's integers must be multiplied with)."""
    step = np.abs(basis).max(1) / 127
    return np.rint(basis / step[:, None]).astype(np.int8), step


def write(
    path: Path,
    *,
    latent: int = 18,
    hyper: int = 4,
    features: int = 8,
    passes: int = 2,
    skip: int = 3,
    levels: int = LEVELS,
    seed: int = 0,
    name: str = "range-test-1000",
    variant: str = "fast",
    steps: tuple[float, float] = (300, 6),
    programs: tuple[str, ...] = (),
) -> Path:
    """Writes the model; steps of the first and last level in grey levels; `programs` leaves out all others."""
    rng = np.random.default_rng(seed)
    step_sizes = np.geomspace(*steps, levels) * STREAM  # of the symbols, in stream units
    made: dict[str, Builder] = {}
    outputs: dict[str, str] = {}
    spreads = np.zeros(latent)

    for kind, channels in (("grey", 1), ("rgb", 3)):
        basis, spreads = _basis(channels, latent)
        weight, step = _int8(basis)
        b = made[f"analysis_{kind}"] = Builder(f"analysis_{kind}", channels, "u8")
        x = b.times("pixel_unshuffle", "x", 4)
        middle = -128 * weight.astype(np.int64).sum(1)
        outputs[b.prefix] = b.conv(x, weight[:, None, None, :], step * STREAM * 2.0**32, middle, "i16")

        b = made[f"synthesis_{kind}"] = Builder(f"synthesis_{kind}", latent, "i16")
        hidden = b.scale("x", latent, 2.0**16 / 64, 1 << 15, "i8")
        hidden = b.conv(hidden, rng.integers(-20, 21, (6, 3, 3, latent)), 2.0**32 / 400, 0, "u8")
        x = b.conv(hidden, rng.integers(-4, 5, (latent, 1, 1, 6)), 2.0**32 / 60, 0, "i16", add="x")
        back, step = _int8(basis.T)
        x = b.conv(x, back[:, None, None, :], step * 2.0**32 * 2, 0, "i16")
        x = b.times("pixel_shuffle", x, 4)
        # Sixteenths of a grey level to pixels; the levels differ by half a grey, so that a wrong one is seen.
        level_bias = np.repeat((128 * 65536 + 32768 + 32768 * (np.arange(levels) % 2))[:, None], channels, 1)
        outputs[b.prefix] = b.scale(x, channels, 65536 / 16, level_bias, "u8")

    b = made["hyper_analysis"] = Builder("hyper_analysis", latent, "i16")
    x = b.scale("x", latent, 2.0**16 / 64, 1 << 15, "i8")
    x = b.add("conv", x, weight=rng.integers(-30, 31, (12, 3, 3, latent)).astype(np.int8), stride=2, type="u8",
              bias=np.full((1, 12), 5000, np.int32), mult=np.full((1, 12), 2**32 // 200, np.int32))  # fmt: skip
    level_mult = np.repeat((2.0**32 / np.geomspace(8000, 800, levels))[:, None], hyper, 1).astype(np.int32)
    outputs[b.prefix] = b.add("conv", x, weight=rng.integers(-30, 31, (hyper, 3, 3, 12)).astype(np.int8), stride=2,
                              type="i16", bias=np.zeros((1, hyper), np.int32), mult=level_mult)  # fmt: skip

    b = made["hyper_synthesis"] = Builder("hyper_synthesis", hyper, "i16")
    strength = np.repeat((2.0**32 / np.geomspace(4, 20, levels))[:, None], 16 * features, 1)
    weight = rng.integers(-60, 61, (16 * features, 1, 1, hyper))
    x = b.conv("x", weight, strength, rng.integers(-50, 51, 16 * features), "i16")
    outputs[b.prefix] = b.times("pixel_shuffle", x, 2)

    sigma = spreads[None] * STREAM / step_sizes[:, None]
    index = np.log(np.maximum(sigma, 1e-3) / 0.11) / np.log(64 / 0.11) * 63
    for k in range(passes):
        n_in = features + (latent if k else 0)
        b = made[f"prior_{k}"] = Builder(f"prior_{k}", n_in, "i16")
        weight = np.zeros((2 * latent, 1, 1, n_in), np.int64)
        weight[:, 0, 0, :features] = rng.integers(-9, 10, (2 * latent, features))
        bias = np.concatenate([np.zeros((levels, latent)), (index + 2 - k) * 256], axis=1)
        outputs[b.prefix] = b.conv("x", weight, 2.0**32 / 256, bias, "i16")

    quant = np.rint(16 * 65536 / step_sizes)[:, None].repeat(latent, 1).astype(np.int32)
    dequant = np.rint(65536 * step_sizes / 16)[:, None].repeat(latent, 1).astype(np.int32)
    z_index = np.clip(20 + rng.integers(-6, 7, (levels, hyper)) + np.arange(levels)[:, None] // 3, 0, 63)
    tensors = {"quant": quant, "dequant": dequant, "z_index": z_index.astype(np.uint8)}
    meta: dict[str, Any] = {"format": 1, "name": name, "codec": "range", "variant": variant, "programs": {}}
    for key, b in made.items():
        if not programs or key in programs:
            meta["programs"][key] = b.program(outputs[key], levels)
            tensors.update(b.tensors)
    meta["range"] = {"latent": latent, "hyper": hyper, "features": features, "passes": passes, "skip": skip,
                     "z_index": "z_index", "dequant": "dequant", "quant": "quant"}  # fmt: skip
    packed_model.save(path, meta, tensors)
    return path
