# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Turn trained networks into one packed integer model (a safetensors file with a JSON program).

Every network gives two programs: ``*_rgb``, and ``*_grey`` for single-channel images, in which the
first layer's weights are summed and the last layer's averaged over the colours; both share all
layers between.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from .. import packed_model
from . import networks
from .layers import PIXEL_STEP, RESIDUAL_STEP, Conv
from .vanish import remove_dead_channels

COLOURS = ("rgb", "grey")
Step = Tensor | float


class Packer:
    """Collects the tensors of a model and the operations of one program after another."""

    def __init__(self, levels: list[int]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.programs: dict[str, Any] = {}
        self.levels = levels
        self.ops: list[dict[str, Any]] = []

    def op(self, name: str, inputs: list[str], **fields: Any) -> str:
        out = f"t{len(self.ops)}"
        self.ops.append({"op": name, "in": inputs, "out": out, **fields})
        return out

    def finish(self, name: str, channels: int) -> None:
        """End the program: its last operation gives the result."""
        self.ops[-1]["out"] = "y"
        self.programs[name] = {"inputs": {"image": channels}, "output": "y", "levels": self.levels, "ops": self.ops}
        self.ops = []

    def conv(
        self, name: str, conv: Conv, value: str, in_step: Step, out_step: Step, kind: str, add: str | None = None
    ) -> str:
        for key, tensor in conv.integers(in_step, out_step).items():
            self.tensors[f"{name}.{key}"] = tensor
        extra = {} if add is None else {"add": add}
        return self.op(
            "conv",
            [value],
            weight=f"{name}.w",
            bias=f"{name}.b",
            mult=f"{name}.m",
            stride=conv.stride,
            type=kind,
            **extra,
        )


def grey_head(conv: Conv, colours: int, others: int) -> Conv:
    """The first layer for equal colours: weights summed over the colour of each input position.

    `others` trailing inputs (the phase planes) are kept as they are.
    """
    w = conv.weight.detach()
    o, i, k, _ = w.shape
    pixels = i - others
    summed = w[:, :pixels].reshape(o, colours, pixels // colours, k, k).sum(1)
    return _like(
        conv,
        torch.cat([summed, w[:, pixels:]], dim=1),
        conv.bias.detach(),
        conv.level_bias.detach(),
        conv.level_gain.detach(),
    )


def grey_tail(conv: Conv, colours: int) -> Conv:
    """The last layer for equal colours: outputs averaged over the colours. The layer has one gain
    row (see Trunk), which is averaged into the weights."""
    gain = torch.exp(conv.level_gain.detach().clamp(-2, 2))[0][:, None, None, None]
    w = conv.weight.detach() * gain
    o = w.shape[0] // colours
    bias = conv.bias.detach() + conv.level_bias.detach()[0]
    mean = bias.reshape(colours, o).mean(0)
    return _like(
        conv, w.reshape(colours, o, *w.shape[1:]).mean(0), mean, torch.zeros(1, o).to(w), torch.zeros(1, o).to(w)
    )


def _like(conv: Conv, weight: Tensor, bias: Tensor, level_bias: Tensor, level_gain: Tensor) -> Conv:
    new = Conv(
        weight.shape[1],
        weight.shape[0],
        kernel=conv.kernel,
        stride=conv.stride,
        levels=level_bias.shape[0],
        relu=conv.relu,
    )
    for p, v in (
        (new.weight, weight),
        (new.bias, bias),
        (new.level_bias, level_bias),
        (new.level_gain, level_gain),
        (new.log_scale, conv.log_scale.detach()),
    ):
        p.data = v.clone()
    return new


def pack_trunk(p: Packer, name: str, trunk: networks.Trunk, value: str, head: Conv, tail: Conv, suffix: str) -> str:
    """Residual trunk; head and tail carry `suffix` in their tensors' names, the rest is shared."""
    stream = trunk.head.step()
    x = p.conv(f"{name}.head{suffix}", head, value, PIXEL_STEP, stream, "u8")
    for i, (first, second) in enumerate(trunk.blocks()):
        h = p.conv(f"{name}.{i}.first", first, x, stream, first.step(), "u8")
        x = p.conv(f"{name}.{i}.second", second, h, first.step(), stream, "u8", add=x)
    return p.conv(f"{name}.tail{suffix}", tail, x, stream, RESIDUAL_STEP, "i16")


def pack_rec(p: Packer, name: str, net: networks.RecCNN, colour: str) -> None:
    """Program `name`_`colour`: decoded image u8 [h,w,C] -> image u8 [scale*h,scale*w,C], C 3 for rgb, 1 for grey."""
    trunk = net.trunk
    phase = net.phase.numel() > 0
    grey = colour == "grey"
    channels, suffix = (1, ".grey") if grey else (3, "")
    x = "image"
    if net.unshuffle > 1:
        x = p.op("pixel_unshuffle", [x], factor=net.unshuffle)
    if phase:
        p.tensors[f"{name}.phase"] = net.phase.cpu()
        x = p.op("phase", [x], table=f"{name}.phase")
    head = grey_head(trunk.head, 3, 4 if phase else 0) if grey else trunk.head
    tail = grey_tail(trunk.tail, 3) if grey else trunk.tail
    x = pack_trunk(p, name, trunk, x, head, tail, suffix)
    x = p.op("pixel_shuffle", [x], factor=2)
    base = p.op("bicubic_up2", ["image"], type="i16") if net.scale == 2 else "image"
    p.op("residual", [x, base])
    p.finish(f"{name}_{colour}", channels)


def pack_com(p: Packer, name: str, net: networks.ComCNN, colour: str) -> None:
    """Program `name`_`colour`: image u8 [H,W,C] -> compact u8 [ceil(H/2),ceil(W/2),C], C 3 for rgb, 1 for grey."""
    trunk = net.trunk
    grey = colour == "grey"
    channels, suffix = (1, ".grey") if grey else (3, "")
    x = p.op("pixel_unshuffle", ["image"], factor=2)
    head = grey_head(trunk.head, 3, 0) if grey else trunk.head
    tail = grey_tail(trunk.tail, 3) if grey else trunk.tail
    x = pack_trunk(p, name, trunk, x, head, tail, suffix)
    base = p.op("bicubic_down2", ["image"], type="i16")
    p.op("residual", [x, base])
    p.finish(f"{name}_{colour}", channels)


def pack_paper(p: Packer, name: str, net: nn.Module, colour: str) -> None:
    """The paper's plain chains: ComCNN ends in pixels, RecCNN in a residual on the bicubic image."""
    com = isinstance(net, networks.PaperComCNN)
    convs = [m for m in net.modules() if isinstance(m, Conv)]
    channels, suffix = (1, ".grey") if colour == "grey" else (3, "")
    if colour == "grey":
        convs = [grey_head(convs[0], 3, 0), *convs[1:-1], grey_tail(convs[-1], 3)]
    up = not com and net.scale == 2
    x = p.op("bicubic_up2", ["image"], type="u8") if up else "image"
    in_step: Step = PIXEL_STEP
    for i, conv in enumerate(convs):
        end = i == len(convs) - 1
        out_step: Step = (PIXEL_STEP if com else RESIDUAL_STEP) if end else conv.step()
        ends = suffix if i == 0 or end else ""
        x = p.conv(f"{name}.{i}{ends}", conv, x, in_step, out_step, "i16" if end and not com else "u8")
        in_step = out_step
    if not com:
        base = p.op("bicubic_up2", ["image"], type="i16") if up else "image"
        p.op("residual", [x, base])
    p.finish(f"{name}_{colour}", channels)


def pack(nets: dict[str, nn.Module], levels: list[int]) -> Packer:
    """All programs of a model. The networks' activation scales must be set."""
    p = Packer(levels)
    for name, net in nets.items():
        for colour in COLOURS:
            if isinstance(net, networks.RecCNN):
                pack_rec(p, name, net, colour)
            elif isinstance(net, networks.ComCNN):
                pack_com(p, name, net, colour)
            else:
                pack_paper(p, name, net, colour)
    return p


def export(config: dict[str, Any], nets: dict[str, nn.Module], path: Path) -> None:
    """Pack the networks of a run and write the model file, with its training card inside."""
    codec = config["codec"]
    packer = pack({k: copy.deepcopy(n).cpu().double() for k, n in nets.items()}, codec["levels"])
    write(
        packer,
        path,
        name=config["name"],
        codec=codec["name"],
        variant=config["networks"]["variant"],
        card={"stages": config["stage"]},
        codec_options=codec.get("options", {}),
    )


def write(
    p: Packer, path: Path, *, name: str, codec: str, variant: str, card: dict[str, Any], codec_options: dict[str, Any]
) -> None:
    """Write the packed model file, without the channels that do nothing."""
    meta = {"format": 1, "name": name, "codec": codec, "variant": variant, "card": card, "programs": p.programs}
    if codec_options:
        meta["codec_options"] = codec_options
    tensors = {k: t.contiguous().cpu().numpy() for k, t in p.tensors.items()}
    packed_model.save(path, meta, remove_dead_channels(p.programs, tensors))
