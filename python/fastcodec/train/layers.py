# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The convolution that every network is made of, in its three forms.

* float: ordinary training;
* simulated: the integer layer (int8 weights, uint8 activations) in floating point, with
  straight-through gradients, for quantisation-aware training; in float64 it is exact;
* integers: the tensors of the packed program.

One layer computes ``y = act(gain[level] * (w * x) + bias[level] (+ add))``. ``level`` selects a row
of per-channel gains and biases, so that one network serves every quality of a codec; at export the
gains vanish into the requantisation multipliers and cost nothing.
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

PIXEL_STEP = 1 / 255
RESIDUAL_STEP = 1 / (16 * 255)
_ONE = 2.0**32


def round_ste(x: Tensor) -> Tensor:
    """Round to the nearest integer; the gradient passes straight through."""
    return x + (torch.floor(x + 0.5) - x).detach()


def power_of_two(x: Tensor) -> Tensor:
    """The largest power of 2 that is not above x > 0."""
    return torch.ldexp(torch.ones_like(x), torch.frexp(x.detach()).exponent - 1)


def round_to(x: Tensor, unit: Tensor) -> Tensor:
    """The nearest multiple of a power of 2, or of 1 where that is smaller; the gradient passes straight through."""
    unit = unit.clamp_min(1)
    return round_ste(x / unit) * unit


def pad_by_one(x: Tensor) -> Tensor:
    """Replicate padding by one pixel (as F.pad would, in a form that torch.compile fuses)."""
    x = torch.cat([x[..., :1], x, x[..., -1:]], dim=3)
    return torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)


class Conv(nn.Module):
    """Convolution with replicate padding, level-dependent gain and bias, and integer forms.

    Args:
        inputs, outputs: channels.
        kernel: 1 or 3.
        stride: 1 or 2.
        levels: rows of the gain and bias tables; 1 means unconditioned.
        relu: ReLU, and uint8 when quantised; without it the output is signed (int16).
    In the float form 1.0 is the full 8-bit range; `log_scale` is the logarithm of the largest value
    that the layer's uint8 output can stand for.
    """

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, levels: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.level_gain = nn.Parameter(torch.zeros(levels, outputs))
        self.level_bias = nn.Parameter(torch.zeros(levels, outputs))
        self.log_scale = nn.Parameter(torch.tensor(0.0))
        self.stride, self.kernel, self.relu = stride, kernel, relu

    def step(self) -> Tensor:
        """Real value of one integer step of the uint8 output."""
        return torch.exp(self.log_scale) / 255

    def weight_step(self) -> Tensor:
        """Real value of one int8 step, per output channel, shape [O]."""
        return self.weight.detach().abs().amax(dim=(1, 2, 3)).clamp_min(1e-6) / 127

    def tables(self) -> tuple[Tensor, Tensor]:
        """Gain and bias for every level, each [levels, O]."""
        return torch.exp(self.level_gain.clamp(-2, 2)), self.bias + self.level_bias

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.kernel == 3:
            x = pad_by_one(x) if torch.compiler.is_compiling() else F.pad(x, (1, 1, 1, 1), mode="replicate")
        return F.conv2d(x, weight, stride=self.stride)

    def _row(self, table: Tensor, level: Tensor) -> Tensor:
        """The rows of a [levels, O] table for `level` [N], as [N, O, 1, 1]."""
        return table[level if table.shape[0] > 1 else torch.zeros_like(level)][:, :, None, None]

    def forward(self, x: Tensor, level: Tensor, add: Tensor | None = None) -> Tensor:
        """Float form: x [N,I,H,W], level int64 [N], add [N,O,H',W'] (before the activation)."""
        gain, bias = (self._row(t, level) for t in self.tables())
        y = self._convolve(x, self.weight)
        y = torch.addcmul(bias.to(y.dtype), y, gain.to(y.dtype))
        y = y if add is None else y + add
        return torch.relu(y) if self.relu else y

    def _integer_tables(self, in_step: Tensor | float, out_step: Tensor | float) -> tuple[Tensor, Tensor]:
        """Multipliers M / 2^32 and biases b, [levels, O]; b holds the half of the rounding.

        M has 10 significant bits, and b steps of at most 1/16 of the output's: what is beyond only makes models larger.
        """
        gain, bias = self.tables()
        scale = (in_step * self.weight_step() * gain / out_step * _ONE).clamp(1, 2**31 - 2**21)
        m = round_to(scale, power_of_two(scale) / 512) / _ONE
        b = round_to((bias / out_step + 0.5) / m, power_of_two(1 / m) / 16).clamp(-(2.0**30), 2.0**30)
        return m, b

    def _integer_weight(self) -> Tensor:
        return round_ste((self.weight / self.weight_step()[:, None, None, None]).clamp(-127, 127))

    def simulate(
        self, x: Tensor, level: Tensor, in_step: Tensor | float, out_step: Tensor | float, add: Tensor | None = None
    ) -> Tensor:
        """Integer form with gradients: whole numbers in, whole numbers out.

        The gradient of the steps is that of LSQ (Esser et al. 2020, arXiv 1902.08153). All sums are
        exact in float64, so there the result equals the packed program's.
        """
        m, b = (self._row(t, level) for t in self._integer_tables(in_step, out_step))
        y = (self._convolve(x, self._integer_weight()) + b) * m
        y = y + (torch.floor(y) - y).detach()
        y = y if add is None else y + add
        return y.clamp(0, 255) if self.relu else y.clamp(-32768, 32767)

    @torch.no_grad()
    def integers(self, in_step: Tensor | float, out_step: Tensor | float) -> dict[str, Tensor]:
        """Tensors of the packed program: ``w`` int8 [O,k,k,I], ``b`` and ``m`` int32 [L,O]."""
        m, b = self._integer_tables(in_step, out_step)
        return {
            "w": self._integer_weight().to(torch.int8).permute(0, 2, 3, 1).contiguous(),
            "b": b.to(torch.int32),
            "m": torch.round(m * _ONE).to(torch.int32),
        }
