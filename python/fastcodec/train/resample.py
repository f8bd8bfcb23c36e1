# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Fixed-point bicubic resampling by two (Keys 1981, a = -0.5), as the packed program states it.

Images are real tensors [N, C, H, W] in which 1.0 is 255; inputs hold whole grey
levels, results are on the grid of the integer operation (1/16 grey level, or whole grey levels), so
training sees what the decoder computes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import round_ste

UP_EVEN = (-6.0, 58.0, 222.0, -18.0)
UP_ODD = (-18.0, 222.0, 58.0, -6.0)
DOWN = (-3.0, -9.0, 29.0, 111.0, 111.0, 29.0, -9.0, -3.0)


def _filter(x: Tensor, taps: tuple[float, ...], first: int, stride: int, n: int) -> Tensor:
    """sum_k taps[k] * x[..., first + k + stride * i] / 256 for i in range(n)."""
    stop = stride * (n - 1) + 1
    return sum(
        t / 256 * x[..., first + k : first + k + stop : stride]  # type: ignore[return-value]
        for k, t in enumerate(taps)
    )


def _up_axis(x: Tensor, dim: int) -> Tensor:
    x = x.transpose(dim, -1)
    n = x.shape[-1]
    p = F.pad(x, (2, 2, 0, 0), mode="replicate")
    y = torch.stack([_filter(p, UP_EVEN, 0, 1, n), _filter(p, UP_ODD, 1, 1, n)], dim=-1)
    return y.flatten(-2).transpose(dim, -1)


def _down_axis(x: Tensor, dim: int) -> Tensor:
    x = x.transpose(dim, -1)
    n = (x.shape[-1] + 1) // 2
    p = F.pad(x, (3, 5, 0, 0), mode="replicate")
    return _filter(p, DOWN, 0, 2, n).transpose(dim, -1)


def _grid(grey: Tensor, steps: int) -> Tensor:
    """Nearest multiple of 1/steps grey level, back in 0..1; with a straight-through gradient."""
    return round_ste(grey * steps) / (steps * 255)


def _grey(x: Tensor) -> Tensor:
    """Whole grey levels as float32 or float64; the inputs are 8-bit images, so nothing is lost."""
    return round_ste((x if x.dtype == torch.float64 else x.float()) * 255)


def bicubic_up2(x: Tensor, *, whole: bool = False) -> Tensor:
    """Double height and width: [N,C,H,W] -> [N,C,2H,2W]. `whole` rounds to grey levels, 0..1."""
    y = _up_axis(_up_axis(_grey(x), -1), -2)
    return _grid(y, 1).clamp(0, 1) if whole else _grid(y, 16)


def bicubic_down2(x: Tensor, *, whole: bool = False) -> Tensor:
    """Halve height and width (rounded up) behind the antialiasing filter of 8 taps."""
    y = _down_axis(_down_axis(_grey(x), -1), -2)
    return _grid(y, 1).clamp(0, 1) if whole else _grid(y, 16)
