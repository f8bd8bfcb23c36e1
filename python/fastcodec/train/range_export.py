# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Turn a trained `range` model into one packed integer model (FORMAT.md, section 7)."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from .. import packed_model
from . import range_model as rm
from .vanish import remove_dead_channels


class Packer:
    """Collects the tensors of a model and the operations of one program after another."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.programs: dict[str, Any] = {}
        self.ops: list[dict[str, Any]] = []

    def op(self, name: str, value: str, **fields: Any) -> str:
        out = f"t{len(self.ops)}"
        self.ops.append({"op": name, "in": [value], "out": out, **fields})
        return out

    def conv(self, name: str, conv: rm.Conv, value: str, add: str | None = None) -> str:
        for key, tensor in conv.integers().items():
            self.tensors[f"{name}.{key}"] = tensor
        extra = {} if add is None else {"add": add}
        names = {"weight": f"{name}.w", "bias": f"{name}.b", "mult": f"{name}.m"}
        return self.op("conv", value, **names, stride=conv.stride, type=conv.kind, **extra)

    def scale(self, name: str, mult: Tensor, value: str, kind: str = "i8") -> str:
        self.tensors[f"{name}.m"] = torch.round(mult).to(torch.int32)
        self.tensors[f"{name}.b"] = torch.full((1, mult.shape[1]), 1 << 15, dtype=torch.int32)
        return self.op("scale", value, mult=f"{name}.m", bias=f"{name}.b", type=kind)

    def affine(self, name: str, channels: int, factor: float, addition: float, value: str, kind: str) -> str:
        """factor * x + addition for all channels alike, rounded."""
        self.tensors[f"{name}.m"] = torch.full((1, channels), round(factor * 65536), dtype=torch.int32)
        self.tensors[f"{name}.b"] = torch.full((1, channels), round(addition * 65536) + (1 << 15), dtype=torch.int32)
        return self.op("scale", value, mult=f"{name}.m", bias=f"{name}.b", type=kind)

    def exact_conv(self, name: str, weight: Tensor, mult: int, bias: int, value: str, kind: str) -> str:
        """1x1 convolution given by its integers: weight [O, I], the same multiplier and bias for all outputs."""
        outputs = weight.shape[0]
        self.tensors[f"{name}.w"] = weight.to(torch.int8)[:, None, None, :].contiguous()
        self.tensors[f"{name}.m"] = torch.full((1, outputs), mult, dtype=torch.int32)
        self.tensors[f"{name}.b"] = torch.full((1, outputs), bias, dtype=torch.int32)
        names = {"weight": f"{name}.w", "bias": f"{name}.b", "mult": f"{name}.m"}
        return self.op("conv", value, **names, stride=1, type=kind)

    def shuffle(self, kind: str, value: str, times: int = 1) -> str:
        for _ in range(times):
            value = self.op(kind, value, factor=2)
        return value

    def blocks(self, name: str, blocks: nn.ModuleList, x: str) -> str:
        for i, block in enumerate(blocks):
            assert isinstance(block, rm.Block)
            h = self.scale(f"{name}.{i}.scale", block.scale.integer_mult(), x)
            h = self.conv(f"{name}.{i}.enter", block.enter, h)
            h = self.conv(f"{name}.{i}.mix", block.mix, h)
            x = self.conv(f"{name}.{i}.leave", block.leave, h, add=x)
        return x

    def trunk(self, name: str, trunk: rm.Trunk, x: str) -> str:
        h = self.conv(f"{name}.enter", trunk.enter, self.scale(f"{name}.scale", trunk.scale.integer_mult(), x))
        for i, (first, second) in enumerate(zip(trunk.first, trunk.second, strict=True)):
            assert isinstance(first, rm.Conv)
            assert isinstance(second, rm.Conv)
            h = self.conv(f"{name}.{i}.second", second, self.conv(f"{name}.{i}.first", first, h), add=h)
        return self.conv(f"{name}.leave", trunk.leave, h, add=x)

    def finish(self, name: str, inputs: dict[str, Any]) -> None:
        self.ops[-1]["out"] = "y"
        levels = list(range(rm.LEVELS))
        self.programs[name] = {"inputs": inputs, "output": "y", "levels": levels, "ops": self.ops}
        self.ops = []


def _stream(channels: int) -> dict[str, Any]:
    return {"x": {"channels": channels, "type": "i16"}}


def rate_table(path: Path, images: list[Any]) -> list[dict[str, float]]:
    """Mean bits per pixel and PSNR of real streams of uint8 images [H, W, 3], at nine levels from end to end."""
    from ..range_encoder import rate_distortion

    model = packed_model.load(path)
    levels = [round(i * (rm.LEVELS - 1) / 8) for i in range(9)]
    points = [rate_distortion(image, model, levels) for image in images]
    pixels = [image.shape[0] * image.shape[1] for image in images]
    return [
        {
            "level": level,
            "bpp": round(sum(8 * p[i][0] / n for p, n in zip(points, pixels, strict=True)) / len(images), 5),
            "psnr": round(sum(p[i][1] for p in points) / len(images), 3),
        }
        for i, level in enumerate(levels)
    ]


@torch.no_grad()
def export(
    model: rm.RangeModel,
    config: dict[str, Any],
    path: Path,
    *,
    card: dict[str, Any] | None = None,
) -> None:
    """Write the packed model.

    Args:
        card: how it was trained; readers do not look at it.
    Raises: ModelError if the engine would not take it.
    """
    model = copy.deepcopy(model).cpu().double().eval()
    p = Packer()
    a, s = model.analysis, model.synthesis
    latent = a.down.weight.shape[0]
    for colours, suffix in ((3, "rgb"), (1, "grey")):
        x = "image"
        if colours == 1:  # the same networks: three equal colours in, their mean out
            x = p.exact_conv("grey.in", torch.full((3, 1), 4), 1 << 30, 0, x, "u8")
        x = p.affine("centre", 48, 16.0, -2040.0, p.shuffle("pixel_unshuffle", x, 2), "i16")
        x = p.shuffle("pixel_unshuffle", p.trunk("analysis.trunk", a.trunk, x), 2)
        p.blocks("analysis", a.blocks, p.conv("analysis.down", a.down, x))
        p.finish(f"analysis_{suffix}", {"image": colours})
        x = p.conv("synthesis.up", s.up, p.blocks("synthesis", s.blocks, "x"))
        x = p.trunk("synthesis.trunk", s.trunk, p.shuffle("pixel_shuffle", x, 2))
        x = p.shuffle("pixel_shuffle", x, 2)
        if colours == 1:
            x = p.exact_conv("grey.out", torch.tensor([[42, 44, 42]]), 1 << 25, 64, x, "i16")
        p.affine(f"pixels.{colours}", colours, 1 / 16, 127.5, x, "u8")
        p.finish(f"synthesis_{suffix}", _stream(latent))
    ha, hs = model.hyper_analysis, model.hyper_synthesis
    x = p.conv("hyper_analysis.enter", ha.enter, p.scale("hyper_analysis.scale", ha.scale.integer_mult(), "x"))
    x = p.conv("hyper_analysis.down2", ha.down2, p.conv("hyper_analysis.down1", ha.down1, x))
    p.conv("hyper_analysis.leave", ha.leave, x)
    p.finish("hyper_analysis", _stream(latent))
    x = p.conv("hyper_synthesis.enter", hs.enter, p.scale("hyper_synthesis.scale", hs.scale.integer_mult(), "x"))
    x = p.shuffle("pixel_shuffle", p.conv("hyper_synthesis.up1", hs.up1, x))
    x = p.conv("hyper_synthesis.mix1", hs.mix1, x)
    x = p.shuffle("pixel_shuffle", p.conv("hyper_synthesis.up2", hs.up2, x))
    p.conv("hyper_synthesis.mix2", hs.mix2, x)
    hyper, features = hs.enter.weight.shape[1], hs.mix2.weight.shape[0]
    p.finish("hyper_synthesis", _stream(hyper))
    for k in range(model.passes):
        prior = model.priors[min(k, 1)]
        assert isinstance(prior, rm.Prior)
        mult = prior.features.integer_mult()
        if prior.latents is not None:
            mult = torch.cat([mult, prior.latents.integer_mult()], dim=1)
        name = f"prior_{min(k, 1)}"  # what passes share has the same name
        enter, leave = prior.enter[max(k - 1, 0)], prior.leave[max(k - 1, 0)]
        assert isinstance(enter, rm.Conv)
        assert isinstance(leave, rm.Conv)
        x = p.conv(f"prior_{k}.enter", enter, p.scale(f"{name}.scale", mult, "x"))
        for i, mix in enumerate(prior.mix):
            assert isinstance(mix, rm.Conv)
            x = p.conv(f"{name}.mix{i}", mix, x)
        p.conv(f"prior_{k}.leave", leave, x)
        p.finish(f"prior_{k}", _stream(mult.shape[1]))
    index = (model.log_sigma_z() - math.log(rm.SIGMA_MIN)) / math.log(rm.SIGMA_RATIO)
    p.tensors["z_index"] = torch.round(index).clamp(0, rm.TABLES - 1).to(torch.uint8)
    quant, dequant = model.integer_gains()
    p.tensors["quant"], p.tensors["dequant"] = quant.to(torch.int32), dequant.to(torch.int32)
    meta = {
        "format": 1,
        "name": config["name"],
        "codec": "range",
        "variant": "fast",
        "range": {
            "latent": latent,
            "hyper": hyper,
            "features": features,
            "passes": model.passes,
            "skip": rm.SKIP,
            "z_index": "z_index",
            "dequant": "dequant",
            "quant": "quant",
        },
        "programs": p.programs,
        "card": card or {},
    }
    packed_model.save(path, meta, remove_dead_channels(p.programs, {k: t.numpy() for k, t in p.tensors.items()}))
    packed_model.load(path)
