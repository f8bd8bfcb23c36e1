# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Losses, and the differentiable stand-in for the codec between the two networks.

The stand-in follows 'Sandwiched Compression' (Guleryuz et al., arXiv 2402.05887): 8x8 DCT,
rounding with a straight-through gradient, rate = w * sum log2(1 + |c| / step), with w fitted to
the true file size. With JPEG's tables and chroma sub-sampling it is JPEG itself up to entropy
coding; for other transform codecs it is an approximation that is good enough for gradients.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..trim import jpeg_steps
from .layers import round_ste


def reconstruction_loss(
    output: Tensor, image: Tensor, floor: Tensor, *, teacher: Tensor | None = None, share: float = 0.0
) -> Tensor:
    """Mean log of the squared error of each sample: what PSNR averages, so every quality counts.

    The paper's eq. 2 is the plain sum of squares (`squared_loss`), in which the worst quality hides all others.

    Args:
        output, image: [N, C, H, W].
        floor: [N], added to the error so that flat patches do not dominate.
        teacher: [N, C, H, W], another target; `share` of the squared error is taken to it.
    """
    error = ((output - image) ** 2).mean(dim=(1, 2, 3))
    if teacher is not None:
        error = (1 - share) * error + share * ((output - teacher) ** 2).mean(dim=(1, 2, 3))
    return torch.log(error + floor).mean()


def squared_loss(output: Tensor, image: Tensor) -> Tensor:
    """The paper's eq. 2: half the squared error of each sample [N, C, H, W], mean over samples and pixels."""
    return ((output - image) ** 2).mean() / 2


def _dct_matrix() -> Tensor:
    k, n = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    m = torch.cos((2 * n + 1) * k * math.pi / 16) * 0.5
    m[0] = math.sqrt(1 / 8)
    return m


def quant_tables(quality: Tensor, *, tuned: bool) -> tuple[Tensor, Tensor]:
    """The codec's luma and chroma steps, [N, 8, 8] each, for quality [N] in 1..100; see `trim.jpeg_steps`."""
    rows = [jpeg_steps(min(100, max(1, q)), tuned=tuned) for q in quality.tolist()]
    luma, chroma = torch.tensor(rows, device=quality.device, dtype=torch.float32).view(-1, 2, 8, 8).unbind(1)
    return luma, chroma


def _quantise_plane(plane: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """8x8 DCT, quantise, inverse. plane [N,h,w] in grey levels around 0; returns plane, rate [N]."""
    n, h, w = plane.shape
    p = F.pad(plane[:, None], (0, -w % 8, 0, -h % 8), mode="replicate")[:, 0]
    hh, ww = p.shape[1:]
    d = _dct_matrix().to(p)
    blocks = p.view(n, hh // 8, 8, ww // 8, 8).permute(0, 1, 3, 2, 4)
    c = (d @ blocks @ d.T) / steps[:, None, None]
    rate = torch.log2(1 + c.abs()).sum(dim=(1, 2, 3, 4))
    blocks = d.T @ (round_ste(c) * steps[:, None, None]) @ d
    out = blocks.permute(0, 1, 3, 2, 4).reshape(n, hh, ww)[:, :h, :w]
    return out, rate


def codec_stand_in(compact: Tensor, quality: Tensor, *, subsample: bool, tuned: bool = False) -> tuple[Tensor, Tensor]:
    """Differentiable JPEG.

    Args:
        compact: [N,3,h,w] in 0..1; quality: [N].
        subsample: code chroma at half size (4:2:0).
    Returns:
        The decoded image [N,3,h,w] in 0..1 on the grid of grey levels, and the rate of each
        image [N] in the units sum log2(1 + |c|/step); multiply by the fitted w for bits.
    """
    x = round_ste(compact.clamp(0, 1) * 255)
    r, g, b = x.unbind(1)
    luma, chroma = quant_tables(quality, tuned=tuned)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    planes = [(y - 128, luma), ((b - y) / 1.772, chroma), ((r - y) / 1.402, chroma)]
    decoded, rates = [], []
    for i, (p, steps) in enumerate(planes):
        h, w = p.shape[-2:]
        if subsample and i:
            p = F.pad(p[:, None], (0, w % 2, 0, h % 2), mode="replicate")
            q, rate = _quantise_plane(F.avg_pool2d(p, 2)[:, 0], steps)
            q = F.interpolate(q[:, None], scale_factor=2, mode="bilinear")[:, 0, :h, :w]
        else:
            q, rate = _quantise_plane(p, steps)
        decoded.append(q)
        rates.append(rate)
    y, cb, cr = decoded[0] + 128, decoded[1], decoded[2]
    rgb = torch.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], dim=1)
    rgb = round_ste(rgb.clamp(0, 255)) / 255
    return rgb, torch.stack(rates).sum(0)
