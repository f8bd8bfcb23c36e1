# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Random programs, model files and images, shared by tests and benchmarks. Everything follows from a seed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
CPU_BACKENDS = ("amx", "avx512", "avxvnni", "avx2", "scalar", "reference")
NO_QUALITIES = (50,)


def image(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    """A smooth picture with edges and noise, u8 [height, width, channels]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = [
        128 + 90 * np.sin(x / rng.uniform(5, 40) + c) * np.cos(y / rng.uniform(5, 40)) + 40 * ((x // 13 + y // 17) % 2)
        for c in range(channels)
    ]
    noisy = np.stack(planes, axis=-1) + rng.normal(0, 6, (height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def noise(height: int, width: int, channels: int, dtype: str, seed: int = 0) -> Array:
    """An array of a program's input type, [height, width, channels], over most of the type's range, with its ends."""
    low, high = {"u8": (0, 255), "i8": (-128, 127), "i16": (-32768, 32767)}[dtype]
    rng = np.random.default_rng(seed)
    x = np.rint(rng.normal((low + high) / 2, (high - low) / 5, (height, width, channels)))
    ends = rng.random(x.shape)
    x = np.where(ends < 0.02, low, np.where(ends > 0.98, high, x))
    return np.clip(x, low, high).astype({"u8": np.uint8, "i8": np.int8, "i16": np.int16}[dtype])


def input_for(spec: dict[str, Any], height: int, width: int, seed: int = 0) -> Array:
    """What a program takes: a picture, or noise of another type."""
    (given,) = spec["inputs"].values()
    if isinstance(given, int):
        return image(height, width, given, seed)
    return noise(height, width, given["channels"], given["type"], seed)


def input_of(program: Any, height: int, width: int, seed: int = 0) -> Array:
    """The same for a loaded program."""
    if program.in_dtype == np.uint8:
        return image(height, width, program.in_channels, seed)
    return noise(height, width, program.in_channels, {"int8": "i8", "int16": "i16"}[program.in_dtype.name], seed)


def result_size(program: Any, height: int, width: int) -> tuple[int, int]:
    """Size of a loaded program's result, where it is not cropped and no size between is odd."""
    h, w = (math.ceil(n * program.scale) for n in (height, width))
    return h, w


class ProgramBuilder:
    """Puts a program together; each method adds one operation and returns the name of its value."""

    def __init__(self, channels: int, levels: tuple[int, ...] = NO_QUALITIES, seed: int = 0, prefix: str = "",
                 dtype: str = "u8") -> None:  # fmt: skip
        self.rng = np.random.default_rng(seed)
        self.prefix = prefix
        self.levels = levels
        self.inputs: dict[str, Any] = {"image": channels if dtype == "u8" else {"channels": channels, "type": dtype}}
        self.ops: list[dict[str, Any]] = []
        self.tensors: dict[str, Array] = {}
        self.channels = {"image": channels}
        self.dtypes = {"image": dtype}

    def _add(self, op: dict[str, Any], channels: int, dtype: str) -> str:
        name = f"v{len(self.ops)}"
        self.ops.append({**op, "out": name})
        self.channels[name] = channels
        self.dtypes[name] = dtype
        return name

    def _tensor(self, suffix: str, data: Array) -> str:
        name = f"{self.prefix}{len(self.ops)}.{suffix}"
        self.tensors[name] = data
        return name

    def conv(
        self,
        x: str,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dtype: str = "u8",
        add: str | None = None,
        depthwise: bool = False,
        groups: int = 1,
        extreme: bool = False,
    ) -> str:
        """A convolution whose results fill most of the range of `dtype`; `extreme`: all weights +-127 or -128."""
        rng, c_in = self.rng, self.channels[x] // groups
        shape = (out_channels, 3, 3) if depthwise else (out_channels, kernel, kernel, c_in)
        weight = np.clip(np.rint(rng.normal(0, 40, shape)), -128, 127)
        if extreme:
            weight = rng.choice([-128, 127], shape) if rng.random() < 0.5 else np.full(shape, rng.choice([-128, 127]))
        if self.dtypes[x] == "i16":  # so that sum|w| * 32768 + |bias| < 2^31
            weight = np.clip(weight, -(60000 // c_in), 60000 // c_in)
        activation = 90 if self.dtypes[x] != "i16" else 8000
        rows = len(self.levels) if len(self.levels) > 1 and rng.random() < 0.8 else 1
        spread = float(np.sqrt(np.prod(shape[1:]))) * max(float(np.sqrt(np.mean(weight**2.0))), 0.1) * activation
        spread = min(spread, 1e8)
        reach = {"u8": 110, "i8": 60, "i16": 700}[dtype] / spread
        bias = rng.normal(0.3 * spread, 0.3 * spread, (rows, out_channels))
        mult = np.clip(reach * 2.0**32 * rng.uniform(0.5, 1.5, (rows, out_channels)), 1, 2**31 - 1)
        op: dict[str, Any] = {
            "op": "depthwise" if depthwise else "conv", "in": [x],
            "weight": self._tensor("w", weight.astype(np.int8)),
            "bias": self._tensor("b", bias.astype(np.int32)),
            "mult": self._tensor("m", mult.astype(np.int32)),
            "stride": stride, "type": dtype,
        }  # fmt: skip
        if add is not None:
            op["add"] = add
        if groups > 1:
            op["groups"] = groups
        return self._add(op, out_channels, dtype)

    def scale(self, x: str, dtype: str = "i8") -> str:
        """A requantisation whose results fill most of the range of `dtype`."""
        rng, channels = self.rng, self.channels[x]
        rows = len(self.levels) if len(self.levels) > 1 and rng.random() < 0.8 else 1
        spans = {"u8": 256, "i8": 256, "i16": 65536}
        ratio = spans[dtype] / spans[self.dtypes[x]] * rng.uniform(0.5, 3, (rows, channels))
        bias = rng.normal(0, 2.0**16 * spans[dtype] / 8, (rows, channels))
        op = {"op": "scale", "in": [x], "type": dtype,
              "mult": self._tensor("m", np.clip(ratio * 2.0**16, 1, 2**31 - 1).astype(np.int32)),
              "bias": self._tensor("b", np.clip(bias, -(2**31), 2**31 - 1).astype(np.int32))}  # fmt: skip
        return self._add(op, channels, dtype)

    def lookup(self, x: str, dtype: str = "u8", *, shared: bool = True) -> str:
        """An activation by table, one for all channels or one for each."""
        low, high = (0, 256) if dtype == "u8" else (-128, 128)
        table = self.rng.integers(low, high, (1 if shared else self.channels[x], 256))
        op = {"op": "lookup", "in": [x], "type": dtype,
              "table": self._tensor("t", table.astype(np.uint8 if dtype == "u8" else np.int8))}  # fmt: skip
        return self._add(op, self.channels[x], dtype)

    def depthwise(self, x: str, **options: Any) -> str:
        return self.conv(x, self.channels[x], depthwise=True, **options)

    def unshuffle(self, x: str) -> str:
        return self._add({"op": "pixel_unshuffle", "in": [x], "factor": 2}, self.channels[x] * 4, self.dtypes[x])

    def shuffle(self, x: str) -> str:
        return self._add({"op": "pixel_shuffle", "in": [x], "factor": 2}, self.channels[x] // 4, self.dtypes[x])

    def phase(self, x: str, planes: int = 1, period: int = 8) -> str:
        table = self.rng.integers(0, 256, (2, planes, period)).astype(np.uint8)
        return self._add(
            {"op": "phase", "in": [x], "table": self._tensor("ph", table)}, self.channels[x] + 2 * planes, "u8"
        )

    def up2(self, x: str, dtype: str = "i16") -> str:
        return self._add({"op": "bicubic_up2", "in": [x], "type": dtype}, self.channels[x], dtype)

    def down2(self, x: str, dtype: str = "i16") -> str:
        return self._add({"op": "bicubic_down2", "in": [x], "type": dtype}, self.channels[x], dtype)

    def residual(self, d: str, base: str) -> str:
        return self._add({"op": "residual", "in": [d, base]}, self.channels[d], "u8")

    def program(self, output: str) -> dict[str, Any]:
        return {"inputs": self.inputs, "output": output, "levels": list(self.levels), "ops": self.ops}


def body(b: ProgramBuilder, x: str, width: int, blocks: int, groups: int = 1) -> str:
    """3x3 convolutions, each second one with a residual connection; with groups, activations by table before them."""
    x = b.conv(x, width)
    for i in range(blocks):
        skip = x
        x = b.lookup(x, shared=i % 2 == 0) if groups > 1 else x
        x = b.conv(x, width, add=skip if i % 2 else None, groups=groups)
    return x


def restore(b: ProgramBuilder, channels: int, scale: int, width: int, blocks: int, groups: int = 1) -> str:
    """A RecCNN: scale 1 works in half resolution by pixel-unshuffle; scale 2 (half-size image) has a bicubic base."""
    base = "image" if scale == 1 else b.up2("image")
    x = b.unshuffle("image") if scale == 1 else "image"
    x = body(b, b.phase(x, planes=2, period=8), width, blocks, groups)
    return b.residual(b.shuffle(b.conv(x, 4 * channels, dtype="i16")), base)


def compact(b: ProgramBuilder, channels: int, width: int, blocks: int) -> str:
    """A ComCNN of scale 2: bicubic downsampling plus a residual."""
    x = body(b, b.unshuffle("image"), width, blocks)
    return b.residual(b.conv(x, channels, dtype="i16"), b.down2("image"))


def network_f(width: int = 32, blocks: int = 8, seed: int = 0) -> tuple[dict[str, Any], dict[str, Array]]:
    """Network F of the speed comparison: 16 -> width, `blocks` x width -> width, width -> 12 at half resolution."""
    b = ProgramBuilder(3, seed=seed)
    x = b.conv(b.phase(b.unshuffle("image"), planes=2), width)
    for _ in range(blocks):
        x = b.conv(x, width)
    y = b.residual(b.shuffle(b.conv(x, 12, dtype="i16")), "image")
    return b.program(y), b.tensors


def network_fast(width: int = 32, blocks: int = 4) -> tuple[dict[str, Any], dict[str, Array]]:
    """The fast RecCNN as it ships: residual blocks of two convolutions, the second adds the block's input."""
    b = ProgramBuilder(3, (10, 50, 90), seed=width)
    x = b.conv(b.phase(b.unshuffle("image"), planes=2), width)
    for _ in range(blocks):
        x = b.conv(b.conv(x, width), width, add=x)
    y = b.residual(b.shuffle(b.conv(x, 12, dtype="i16")), "image")
    return b.program(y), b.tensors


def network_depthwise(width: int = 48, layers: int = 8) -> tuple[dict[str, Any], dict[str, Array]]:
    """Network D of the speed comparison: as F with a depthwise and a 1x1 convolution a layer."""
    b = ProgramBuilder(3)
    x = b.conv(b.phase(b.unshuffle("image"), planes=2), width)
    for _ in range(layers):
        x = b.conv(b.depthwise(x), width, kernel=1)
    y = b.residual(b.shuffle(b.conv(x, 12, dtype="i16")), "image")
    return b.program(y), b.tensors


def network_paper(widths: tuple[int, ...] = (64,) * 19) -> tuple[dict[str, Any], dict[str, Array]]:
    """The paper's RecCNN: a plain chain at full size."""
    b = ProgramBuilder(3)
    x = "image"
    for width in widths:
        x = b.conv(x, width)
    y = b.residual(b.conv(x, 3, dtype="i16"), "image")
    return b.program(y), b.tensors


def two_of_four(tensors: dict[str, Array], seed: int = 0) -> dict[str, Array]:
    """The tensors with 2:4 weights: of each four neighbouring input channels two at random become zero, or more."""
    rng = np.random.default_rng(seed)
    kept = {}
    for name, tensor in tensors.items():
        if tensor.dtype == np.int8 and tensor.ndim == 4:
            groups = (*tensor.shape[:3], -(-tensor.shape[3] // 4), 4)
            mask = (rng.random(groups).argsort(-1) < 2).reshape(*tensor.shape[:3], -1)[..., : tensor.shape[3]]
            tensor = tensor * mask * (rng.random(tensor.shape) < 0.9)
        kept[name] = tensor.astype(tensors[name].dtype)
    return kept


def _coefficient_block(b: ProgramBuilder, x: str, hidden: int) -> str:
    h = b.conv(b.scale(x), hidden, kernel=1)
    return b.conv(b.conv(h, hidden), b.channels[x], kernel=1, dtype="i16", add=x)


def _pixel_trunk(b: ProgramBuilder, x: str, width: int, blocks: int) -> str:
    h = b.conv(b.scale(x), width)
    for _ in range(blocks):
        h = b.conv(b.conv(h, width), width, add=h)
    return b.conv(h, b.channels[x], dtype="i16", add=x)


def range_synthesis(latent: int = 320, width: int = 64, hidden: int = 320, blocks: int = 2
                    ) -> tuple[dict[str, Any], dict[str, Array]]:  # fmt: skip
    """Codec range's synthesis with random weights: blocks on coefficients, trunk on pixels at 1/4, result at 16."""
    b = ProgramBuilder(latent, (0, 1, 2), seed=latent, dtype="i16")
    x = "image"
    for _ in range(blocks):
        x = _coefficient_block(b, x, hidden)
    x = b.shuffle(b.shuffle(b.conv(x, 768, kernel=1, dtype="i16")))
    x = b.shuffle(b.shuffle(_pixel_trunk(b, x, width, blocks)))
    return b.program(b.scale(x, "u8")), b.tensors


def range_analysis(latent: int = 320, width: int = 64, hidden: int = 320, blocks: int = 2
                   ) -> tuple[dict[str, Any], dict[str, Array]]:  # fmt: skip
    """The inverse."""
    b = ProgramBuilder(3, (0, 1, 2), seed=latent)
    x = b.scale(b.unshuffle(b.unshuffle("image")), "i16")
    x = b.unshuffle(b.unshuffle(_pixel_trunk(b, x, width, blocks)))
    x = b.conv(x, latent, kernel=1, dtype="i16")
    for _ in range(blocks):
        x = _coefficient_block(b, x, hidden)
    return b.program(x), b.tensors


def write_model(path: Path, codec: str = "jpeg", *, variant: str = "random", width: int = 16, blocks: int = 2,
                levels: tuple[int, ...] = (10, 30, 50, 70, 90), seed: int = 0, groups: int = 1) -> Path:  # fmt: skip
    """Writes a packed model with random weights, shaped like the shipped ones (rec1, com2, rec2, each rgb and grey)."""
    from safetensors.numpy import save_file

    programs: dict[str, Any] = {}
    tensors: dict[str, Array] = {}
    for i, (color, channels) in enumerate((("rgb", 3), ("grey", 1))):
        for j, kind in enumerate(("rec1", "com2", "rec2")):
            b = ProgramBuilder(channels, levels, seed=seed + 10 * i + j, prefix=f"{kind}_{color}.")
            if kind == "com2":
                y = compact(b, channels, width, blocks)
            else:
                y = restore(b, channels, int(kind[-1]), width, blocks, groups)
            programs[f"{kind}_{color}"] = b.program(y)
            tensors.update(b.tensors)
    meta = {"format": 1, "name": f"{codec}-{variant}", "codec": codec, "variant": variant, "programs": programs}
    save_file(tensors, path, metadata={"fastcodec": json.dumps(meta)})
    return path


def random_program(seed: int, max_width: int = 40, typed: bool = False) -> tuple[dict[str, Any], dict[str, Array]]:
    """A random valid program: any operations in any order the rules allow.

    typed: also with `scale`, convolutions of i16, input and result of any type and more changes of size; else from u8
    to u8, with what every device can do.
    """
    rng = np.random.default_rng(seed)
    channels = int(rng.choice([1, 1, 3, 3, 4, int(rng.integers(1, 20))]))
    levels = NO_QUALITIES if rng.random() < 0.5 else (20, 50, 80)
    b = ProgramBuilder(channels, levels, seed=seed, dtype=str(rng.choice(["u8", "i8", "i16"])) if typed else "u8")
    max_ups, max_downs = (2, 4) if typed else (1, 2)

    def width() -> int:
        if typed and rng.random() < 0.2:
            return int(rng.choice([48, 64, 65, 96, 130, 132]))
        return int(rng.choice([1, 3, 8, 12, 16, 17, 31, 32, 33, int(rng.integers(1, max_width))]))

    x = "image"
    scale = (0, 0)  # (downs, ups) of the value x
    same_scale: dict[tuple[int, int], list[str]] = {scale: []}
    for _ in range(int(rng.integers(1, 7))):
        downs, ups = scale
        kind = rng.choice(
            ["conv", "conv", "conv", "conv", "depthwise", "unshuffle", "phase", "shuffle", "up2", "down2"]
            + ["scale", "scale", "lookup", "lookup"] * typed
        )
        if kind in ("phase", "up2", "down2") and b.dtypes[x] != "u8":
            kind = "conv"
        if kind == "lookup" and b.dtypes[x] == "i16":
            kind = "scale"
        if kind == "unshuffle" and b.dtypes[x] != "u8" and not typed:
            kind = "conv"
        if kind == "shuffle" and (b.channels[x] % 4 or ups >= max_ups):
            kind = "conv"
        if kind in ("unshuffle", "down2") and (downs >= max_downs or b.channels[x] > 32):
            kind = "conv"
        if kind == "up2" and ups >= max_ups:
            kind = "conv"
        kernel = 3 if kind == "depthwise" else int(rng.choice([1, 3]))
        if kind in ("conv", "depthwise"):
            if b.dtypes[x] == "i16" and typed:
                kind, kernel = "conv", 1
            elif b.dtypes[x] == "i16":
                x = "image"
                downs, ups = 0, 0
            stride = 2 if rng.random() < 0.2 and downs < 2 else 1
            if stride == 2:
                downs, ups = (downs, ups - 1) if ups else (downs + 1, 0)
            out = b.channels[x] if kind == "depthwise" else width()
            adds = [v for v in same_scale.get((downs, ups), []) if b.channels[v] == out]
            both = math.gcd(b.channels[x], out)
            split = typed and kind == "conv" and rng.random() < 0.25
            x = b.conv(
                x,
                out,
                groups=int(rng.choice([g for g in range(1, both + 1) if both % g == 0])) if split else 1,
                kernel=kernel,
                stride=stride,
                dtype=str(rng.choice(["u8", "u8", "i8", "i16"])),
                depthwise=kind == "depthwise",
                add=str(rng.choice(adds)) if adds and rng.random() < 0.7 else None,
                extreme=rng.random() < 0.2,
            )
        elif kind == "unshuffle" or kind == "down2":
            downs, ups = (downs, ups - 1) if ups else (downs + 1, 0)
            x = b.unshuffle(x) if kind == "unshuffle" else b.down2(x, str(rng.choice(["u8", "i16"])))
        elif kind == "shuffle" or kind == "up2":
            ups += 1
            x = b.shuffle(x) if kind == "shuffle" else b.up2(x, str(rng.choice(["u8", "i16"])))
        elif kind == "scale":
            x = b.scale(x, str(rng.choice(["u8", "i8", "i16"])))
        elif kind == "lookup":
            x = b.lookup(x, str(rng.choice(["u8", "i8"])), shared=bool(rng.random() < 0.5))
        else:
            x = b.phase(x, planes=int(rng.integers(1, 4)), period=int(rng.integers(1, 20)))
        scale = (downs, ups)
        same_scale.setdefault(scale, []).append(x)
    if typed:
        x = b.scale(x, "i16") if x == "image" or rng.random() < 0.2 else x
    elif b.dtypes[x] == "i16":
        x = b.residual(x, x)
    elif b.dtypes[x] == "i8":
        x = b.conv(x, width())
    return prune(b.program(x)), b.tensors


def prune(program: dict[str, Any]) -> dict[str, Any]:
    """Drops operations whose values nothing reads."""
    wanted, kept = {program["output"]}, []
    for op in reversed(program["ops"]):
        if op["out"] in wanted:
            wanted.update(op["in"])
            wanted.update([op["add"]] if "add" in op else [])
            kept.append(op)
    return {**program, "ops": kept[::-1]}


def out_size(program: dict[str, Any], height: int, width: int) -> tuple[int, int]:
    """Size of the result for an image of that size (the largest, where it may be cropped)."""
    size: dict[str, tuple[int, int]] = dict.fromkeys(program["inputs"], (height, width))
    for op in program["ops"]:
        sizes = [size[name] for name in op["in"]]
        h, w = min(s[0] for s in sizes), min(s[1] for s in sizes)
        if op["op"] in ("pixel_unshuffle", "bicubic_down2") or op.get("stride") == 2:
            h, w = -(-h // 2), -(-w // 2)
        elif op["op"] in ("pixel_shuffle", "bicubic_up2"):
            h, w = 2 * h, 2 * w
        size[op["out"]] = (h, w)
    return size[program["output"]]
