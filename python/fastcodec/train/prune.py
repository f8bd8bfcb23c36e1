# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Pruning while training: the weights that matter least become zero, more and more of them, and stay zero.

The section [prune] of a training config:

    kind = "channels"  # filters whose results one layer alone reads; export cuts them out (vanish.py): faster on CPUs
    share = 0.5        # of each layer's filters

    kind = "2:4"       # of each four neighbouring input channels two weights (Mishra et al. 2021, arXiv 2104.08378)

    kind = "weights"   # single weights, the smallest: the model file becomes smaller, not faster
    share = 0.7        # of each layer's weights

"2:4" and "weights" leave the first and the last layer of a network whole. The share grows by a cubic law (Zhu & Gupta
2017, arXiv 1710.01878) during the first half of the first stage that trains the network; all the rest of the run heals.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .layers import Conv
from .networks import Trunk

RAMP = 0.5
_TIMES = 50  # the masks are made anew so often while the share grows


class Pruning:
    """Masks of the weights that stay; they follow from the weights themselves, in which the pruned ones are zero.

    Args:
        section: [prune] as config.py has checked it.
        nets: the networks that learn.
        grown: whether an earlier stage has brought them to the whole share.
    """

    def __init__(self, section: dict[str, Any], nets: Iterable[nn.Module], *, grown: bool) -> None:
        self.kind, self.share, self.grown = section["kind"], section.get("share", 1.0), grown
        self.nets = list(nets)
        self.masks: dict[nn.Parameter, Tensor] = {}
        self.place = -1

    @torch.no_grad()
    def move_to(self, progress: float) -> None:
        """New masks for the share at `progress`, 0..1, of the stage."""
        place = _TIMES if self.grown else min(_TIMES, int(_TIMES * progress / RAMP))
        if place == self.place:
            return
        self.place = place
        share = self.share * (1 - (1 - place / _TIMES) ** 3)
        for net in self.nets:
            if self.kind == "channels":
                for conv, reader in inner_layers(net):
                    self.masks[conv.weight] = channel_mask(conv, reader, share)
            else:
                make = two_of_four_mask if self.kind == "2:4" else weight_mask
                for conv in [m for m in net.modules() if isinstance(m, Conv)][1:-1]:
                    self.masks[conv.weight] = make(conv.weight, share)

    def hold_gradients(self) -> None:
        """What is pruned has no gradient."""
        for weight, mask in self.masks.items():
            if weight.grad is not None:
                weight.grad.mul_(mask)

    @torch.no_grad()
    def hold(self, params: list[nn.Parameter], average: list[Tensor]) -> None:
        """What is pruned is zero in the parameters and in their averages."""
        for param, mean in zip(params, average, strict=True):
            if param in self.masks:
                param.mul_(self.masks[param])
                mean.mul_(self.masks[param])


def inner_layers(net: nn.Module) -> list[tuple[Conv, Conv]]:
    """Convolutions whose results one other alone reads, each with that one."""
    trunks = [m for m in net.modules() if isinstance(m, Trunk)]
    if trunks:
        return [pair for trunk in trunks for pair in trunk.blocks()]
    return list(pairwise(m for m in net.modules() if isinstance(m, Conv)))


def _keep_largest(score: Tensor, n_zero: int) -> Tensor:
    """1 where the score [N] is among the largest, 0 at the n_zero smallest."""
    mask = torch.ones_like(score)
    mask[score.argsort(stable=True)[:n_zero]] = 0
    return mask


def channel_mask(conv: Conv, reader: Conv, share: float) -> Tensor:
    """[O, 1, 1, 1]; a filter counts by its norm, gains included, times that of the weights which read its result.

    The product does not change when a factor moves from one layer to the next. One filter stays at least.
    """
    own = conv.weight.flatten(1).norm(dim=1) * conv.tables()[0].mean(dim=0)
    score = own * reader.weight.transpose(0, 1).flatten(1).norm(dim=1)
    n_zero = min(round(share * len(score)), len(score) - 1)
    return _keep_largest(score, n_zero)[:, None, None, None]


def two_of_four_mask(weight: Tensor, share: float) -> Tensor:
    """[O, I, k, k]: in `share` of the groups of four input channels, those where it costs least, two weights go."""
    inputs = weight.shape[1]
    whole = F.pad(weight.abs(), (0, 0, 0, 0, 0, -inputs % 4))
    groups = whole.reshape(len(weight), -1, 4, *weight.shape[2:]).movedim(2, -1)  # [O, I/4, k, k, 4]
    order = groups.argsort(dim=-1, stable=True).argsort(dim=-1)
    cost = groups.square().masked_fill(order >= 2, 0).sum(dim=-1).flatten()
    stays = _keep_largest(cost, round(share * len(cost))).reshape(*groups.shape[:-1], 1)
    mask = torch.maximum(stays, (order >= 2).to(weight.dtype))
    return mask.movedim(-1, 2).flatten(1, 2)[:, :inputs]


def weight_mask(weight: Tensor, share: float) -> Tensor:
    """[O, I, k, k]: the smallest `share` of the weights go."""
    return _keep_largest(weight.abs().flatten(), round(share * weight.numel())).reshape(weight.shape)
