# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""ComCNN and RecCNN (Jiang et al. 2017, arXiv 1708.00838), in two variants each.

``paper``: the shapes of the paper. ComCNN: conv3x3 c->64 ReLU, conv3x3 64->64 stride 2 ReLU,
conv3x3 64->c. RecCNN: bicubic x2, conv3x3 c->64 ReLU, 18 x (conv3x3 64->64, BN, ReLU), conv3x3
64->c, global residual. ``fast``: residual blocks at reduced resolution behind a pixel-unshuffle.

Differences from the paper, on purpose: replicate instead of zero padding (no border artefacts);
gains and biases selected by the codec's quality level; batch normalisation, which folds into the
convolution anyway, is replaced by those gains, so that the trained network is the exported one.

All networks take and give images as real tensors [N, C, H, W] in 0..1 and a level index [N].
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .layers import PIXEL_STEP, RESIDUAL_STEP, Conv, round_ste
from .resample import bicubic_down2, bicubic_up2


def phase_table(period: int) -> Tensor:
    """Position within a codec's block grid: uint8 [2 axes, 2 (cosine, sine), period]."""
    angle = [2 * math.pi * (i + 0.5) / period for i in range(period)]
    rows = [[round(127.5 + 127.5 * f(a)) for a in angle] for f in (math.cos, math.sin)]
    return torch.tensor([rows, rows], dtype=torch.uint8)


def append_phase(x: Tensor, table: Tensor) -> Tensor:
    """Append 4 channels that hold `table` at (x mod period), then at (y mod period)."""
    n, _, h, w = x.shape
    t = table.to(x.device, x.dtype) * PIXEL_STEP
    cols = t[0][:, torch.arange(w, device=x.device) % t.shape[-1]][None, :, None, :]
    rows = t[1][:, torch.arange(h, device=x.device) % t.shape[-1]][None, :, :, None]
    return torch.cat([x, cols.expand(n, -1, h, -1), rows.expand(n, -1, -1, w)], dim=1)


def autocast(x: Tensor, quantised: bool) -> AbstractContextManager[object]:
    """bf16 while training in float; the simulated integer network runs in float32."""
    return torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=not quantised)


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x if x.dtype == torch.float64 else x.float()


class Trunk(nn.Module):
    """head conv, `blocks` residual blocks on one shared activation scale, tail conv."""

    def __init__(self, inputs: int, outputs: int, width: int, blocks: int, levels: int) -> None:
        super().__init__()
        self.head = Conv(inputs, width, levels=levels)
        self.first = nn.ModuleList(Conv(width, width, levels=levels) for _ in range(blocks))
        self.second = nn.ModuleList(Conv(width, width, levels=levels) for _ in range(blocks))
        self.tail = Conv(width, outputs, relu=False)
        with torch.no_grad():
            # Pixels are all positive: filters that sum to zero keep the first ReLU alive.
            self.head.weight.sub_(self.head.weight.mean(dim=(1, 2, 3), keepdim=True)).mul_(3)
            for _, conv in self.blocks():
                conv.weight.mul_(0.3)
            self.tail.weight.mul_(0.01)

    def blocks(self) -> list[tuple[Conv, Conv]]:
        """The two convolutions of each residual block."""
        return cast("list[tuple[Conv, Conv]]", list(zip(self.first, self.second, strict=True)))

    def forward(self, x: Tensor, level: Tensor, quantised: bool, features: list[Tensor] | None = None) -> Tensor:
        """Input in 0..1, output in the same units; `quantised` simulates the integer network.

        What goes into the last layer is appended to `features`.
        """
        if quantised:
            stream = self.head.step()
            x = self.head.simulate(round_ste(x / PIXEL_STEP), level, PIXEL_STEP, stream)
            for first, second in self.blocks():
                h = first.simulate(x, level, stream, first.step())
                x = second.simulate(h, level, first.step(), stream, x)
            if features is not None:
                features.append(x * stream)
            return self.tail.simulate(x, level, stream, RESIDUAL_STEP) * RESIDUAL_STEP
        x = self.head(x, level)
        for first, second in self.blocks():
            x = second(first(x, level), level, x)
        if features is not None:
            features.append(x)
        return _wide(self.tail(x, level))


class RecCNN(nn.Module):
    """Reconstruction network, `fast` variant: decoded compact image -> image; also ComCNN at scale 1.

    It works at half the output's resolution: on the compact image itself at scale 2, behind a
    pixel-unshuffle at scale 1.

    Args:
        scale: 1, or 2 for a compact image of half size.
        period: block grid of the codec in compact pixels (even), 0 for none.
    """

    def __init__(
        self, *, scale: int, levels: int, colours: int = 3, width: int = 32, blocks: int = 4, period: int = 8
    ) -> None:
        super().__init__()
        self.scale, self.unshuffle = scale, 2 // scale
        extra = 4 if period else 0
        self.trunk = Trunk(colours * self.unshuffle**2 + extra, colours * 4, width, blocks, levels)
        table = phase_table(period // self.unshuffle) if period else torch.zeros(0)
        self.register_buffer("phase", table, persistent=False)
        self.phase: Tensor

    def forward(
        self, compact: Tensor, level: Tensor, *, quantised: bool = False, features: list[Tensor] | None = None
    ) -> Tensor:
        """[N,C,h,w] -> [N,C,scale*h,scale*w]; not clamped, so that gradients pass everywhere.

        What goes into the last layer, [N,width,h',w'] at half of the result's size, is appended to `features`.
        """
        base = bicubic_up2(compact) if self.scale == 2 else compact
        with autocast(compact, quantised):
            h, w = compact.shape[-2:]
            f = self.unshuffle
            whole = F.pad(compact, (0, -w % f, 0, -h % f), mode="replicate") if h % f or w % f else compact
            x = F.pixel_unshuffle(whole, f)
            if self.phase.numel():
                x = append_phase(x, self.phase)
            x = x.contiguous(memory_format=torch.channels_last)
            r = F.pixel_shuffle(self.trunk(x, level, quantised, features), 2)
        restored: Tensor = base + r[..., : base.shape[-2], : base.shape[-1]]
        return restored


class ComCNN(nn.Module):
    """Compaction network, `fast` variant: image -> compact image of half size."""

    def __init__(self, *, levels: int, colours: int = 3, width: int = 32, blocks: int = 2) -> None:
        super().__init__()
        self.trunk = Trunk(colours * 4, colours, width, blocks, levels)

    def forward(self, image: Tensor, level: Tensor, *, quantised: bool = False) -> Tensor:
        """[N,C,H,W] -> [N,C,ceil(H/2),ceil(W/2)]; not clamped."""
        base = bicubic_down2(image)
        with autocast(image, quantised):
            h, w = image.shape[-2:]
            x = F.pixel_unshuffle(F.pad(image, (0, w % 2, 0, h % 2), mode="replicate"), 2)
            x = x.contiguous(memory_format=torch.channels_last)
            compact: Tensor = base + self.trunk(x, level, quantised)
        return compact


def _simulate_chain(convs: Iterable[nn.Module], x: Tensor, level: Tensor, last: float) -> Tensor:
    """Plain chain in integers; `last` is the step of the final, signed layer."""
    x = round_ste(x / PIXEL_STEP)
    step: Tensor | float = PIXEL_STEP
    for conv in convs:
        assert isinstance(conv, Conv)
        out = conv.step() if conv.relu else last
        x, step = conv.simulate(x, level, step, out), out
    return x * last


class PaperComCNN(nn.Module):
    """ComCNN with the paper's three layers; no skip connection."""

    def __init__(self, *, levels: int, colours: int = 3, width: int = 64) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                Conv(colours, width, levels=levels),
                Conv(width, width, stride=2, levels=levels),
                Conv(width, colours, relu=False),
            ]
        )

    def forward(self, image: Tensor, level: Tensor, *, quantised: bool = False) -> Tensor:
        """[N,C,H,W] -> [N,C,ceil(H/2),ceil(W/2)]; not clamped."""
        with autocast(image, quantised):
            x = image.contiguous(memory_format=torch.channels_last)
            if quantised:
                return _simulate_chain(self.convs, x, level, PIXEL_STEP).clamp(0, 1)
            for conv in self.convs:
                x = conv(x, level)
        return _wide(x)


class PaperRecCNN(nn.Module):
    """RecCNN with the paper's 20 layers; at scale 1 it works on the decoded image itself."""

    def __init__(self, *, scale: int, levels: int, colours: int = 3, width: int = 64, layers: int = 20) -> None:
        super().__init__()
        self.scale = scale
        widths = [colours] + [width] * (layers - 1)
        convs = [Conv(a, b, levels=levels) for a, b in pairwise(widths)]
        self.convs = nn.ModuleList(convs)
        self.tail = Conv(width, colours, relu=False)
        with torch.no_grad():
            # As in Trunk; and each layer but the first begins as the identity and a little, or 20 of them do not learn.
            convs[0].weight.sub_(convs[0].weight.mean(dim=(1, 2, 3), keepdim=True)).mul_(3)
            for conv in convs[1:]:
                conv.weight.mul_(0.3).add_(nn.init.dirac_(torch.empty_like(conv.weight)))
            self.tail.weight.mul_(0.01)

    def forward(
        self, compact: Tensor, level: Tensor, *, quantised: bool = False, features: list[Tensor] | None = None
    ) -> Tensor:
        """[N,C,h,w] -> [N,C,scale*h,scale*w]; not clamped.

        What goes into the last layer, [N,width,scale*h,scale*w], is appended to `features` (not when quantised).
        """
        x = bicubic_up2(compact, whole=True) if self.scale == 2 else compact
        base = bicubic_up2(compact) if self.scale == 2 else compact
        with autocast(compact, quantised):
            x = x.contiguous(memory_format=torch.channels_last)
            if quantised:
                return base + _simulate_chain([*self.convs, self.tail], x, level, RESIDUAL_STEP)
            for conv in self.convs:
                x = conv(x, level)
            if features is not None:
                features.append(x)
            return base + _wide(self.tail(x, level))


def make_rec(variant: str, *, scale: int, levels: int, period: int, **options: int) -> nn.Module:
    """RecCNN by variant name (``fast`` or ``paper``)."""
    if variant == "paper":
        return PaperRecCNN(scale=scale, levels=levels, **options)
    return RecCNN(scale=scale, levels=levels, period=period, **options)


def make_com(variant: str, *, scale: int, levels: int, period: int, **options: int) -> nn.Module:
    """ComCNN by variant name (``fast`` or ``paper``).

    At scale 1 it takes out of the image what the codec cannot keep at its quality: a network from
    image to image on the codec's block grid, the same one as RecCNN.
    """
    if scale == 1:
        return make_rec(variant, scale=1, levels=levels, period=period, **options)
    if variant == "paper":
        return PaperComCNN(levels=levels, **options)
    return ComCNN(levels=levels, **options)
