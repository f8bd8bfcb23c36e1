# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""A trained network as the teacher of a smaller one.

RecCNN learns from its teacher in two ways. Output: part of its target is what the teacher makes of the same decoded
image, which lacks what no network could know. Features: what it has before its last layer, seen through a 1x1
convolution that is thrown away afterwards, should be the teacher's (FitNets, Romero et al. 2015, arXiv 1412.6550).

The section [distil] of a training config:

    teacher = "runs/jpeg_paper/float/jpeg-paper-1.safetensors"  # float weights, as a run leaves them in float/
    config = "jpeg_paper"   # the teacher's training config: it says what the networks are
    output = 0.5            # share of the teacher in the target, 0..1
    features = 0.05         # weight of the feature term, 0 for none
    com = true              # start ComCNN from the teacher's (networks.com_variant and codec.levels must fit)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from . import networks
from .data import upload


@dataclass
class Teacher:
    """A frozen RecCNN and how much it counts; `project` [N,student,h,w] -> [N,teacher,h,w] learns with the student."""

    rec: nn.Module
    levels: Tensor
    output: float
    features: float
    project: nn.Conv2d | None

    def parameters(self) -> list[nn.Parameter]:
        """What learns beside the student."""
        return [] if self.project is None else list(self.project.parameters())

    def level(self, qualities: list[int]) -> Tensor:
        """Row of the teacher's nearest level for each quality, int64 [N]."""
        q = upload(torch.tensor(qualities, dtype=torch.float32), self.levels.device)
        return (q[:, None] - self.levels[None]).abs().argmin(dim=1)

    @torch.no_grad()
    def look(self, decoded: Tensor, qualities: list[int]) -> tuple[Tensor, Tensor]:
        """The teacher's image [N,C,H,W] and features [N,F,H/2,W/2] for a decoded compact image [N,C,h,w]."""
        kept: list[Tensor] = []
        image = self.rec(decoded, self.level(qualities), features=kept)
        return image, at_half(kept[0].float(), image.shape)

    def feature_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Squared difference of the projected features, in units of the teacher's variance; scalar."""
        assert self.project is not None
        return F.mse_loss(self.project(student.float()), teacher) / teacher.var().clamp_min(1e-8)


def at_half(features: Tensor, shape: torch.Size) -> Tensor:
    """Features [N,F,h,w] of an image [N,C,H,W] at half of its size (rounded up): averaged where they are larger."""
    height, width = -(-shape[-2] // 2), -(-shape[-1] // 2)
    if features.shape[-2:] == (height, width):
        return features
    padded = F.pad(features, (0, 2 * width - features.shape[-1], 0, 2 * height - features.shape[-2]), mode="replicate")
    return F.avg_pool2d(padded, 2)


def width_of(rec: nn.Module) -> int:
    """Channels before the last layer."""
    tail = rec.trunk.tail if isinstance(rec, networks.RecCNN) else cast("networks.PaperRecCNN", rec).tail
    return tail.weight.shape[1]


def make_teacher(
    section: dict[str, Any], nets: dict[str, nn.Module], config: dict[str, Any], student: nn.Module
) -> Teacher:
    """The teacher of one scale.

    Args:
        section: [distil].
        nets: the teacher's networks of that scale, with their weights.
        config: the teacher's config.
    """
    rec = next(net for name, net in nets.items() if name.startswith("rec")).requires_grad_(False).eval()
    device = next(rec.parameters()).device
    project = None
    if section["features"] > 0:
        project = nn.Conv2d(width_of(student), width_of(rec), 1).to(device)
    levels = torch.tensor(config["codec"]["levels"], dtype=torch.float32, device=device)
    return Teacher(rec, levels, float(section["output"]), float(section["features"]), project)
