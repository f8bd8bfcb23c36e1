# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The `range` codec's networks: analysis, hyperprior, two-pass prior, synthesis; one model for all rates.

The scheme is the mean-scale hyperprior (Minnen et al. 2018, arXiv 1809.02736) with per-channel
gains for all rates in one model (Cui et al. 2021, arXiv 2003.02012) and one checkerboard step of
context in which both halves of the channels take turns (after He et al. 2021, arXiv 2103.15306,
and Li et al. 2023, arXiv 2302.14402). docs/range_codec.md has the drawing.

Both transforms are a linear transform of 16x16 blocks that training starts from (principal
components), with a residual trunk on the pixels (at 1/4 of the sides) and residual branches on the
coefficients (at 1/16), whose last layers start at zero: a model is a usable codec from its first step.

Quantities are real: pixels in 0..1, coefficients of an orthonormal transform of them. The integer
network has fixed steps (`FINE`, `COARSE`, `OPERAND`, `HIDDEN`), and the float network clamps where
the integer one saturates, so that nothing needs calibrating. `simulate=True` computes with
the integers themselves (as floats, straight-through gradients); in float64 that is exact.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .layers import PIXEL_STEP, RESIDUAL_STEP, pad_by_one, round_ste

FINE = RESIDUAL_STEP  # int16 pixels at 1/4: 1/16 grey level
COARSE = 1 / (8 * 255)  # int16 stream at 1/16: 1/8 grey level, of coefficients
OPERAND = 1 / 16  # int8 inputs of the branches, normalised to -8..8
HIDDEN = 1 / 32  # uint8 activations behind a ReLU
SYMBOL = 1 / 16  # means of the latent, in symbols
LEVELS = 199
KNOTS = 9
# Table index i of the range coder stands for the scale SIGMA_MIN * SIGMA_RATIO ** i.
SIGMA_MIN = 0.11
SIGMA_RATIO = (64 / 0.11) ** (1 / 63)
TABLES = 64
DEAD_ZONE = 0.35  # the encoder's slope of distortion over rate, as a part of that of fine quantisation
SKIP = 3  # elements of a lower table index are not coded
_ONE = 2.0**32
_SCALE_ONE = 2.0**16


class Curve(nn.Module):
    """A value per channel that depends on the level: piecewise linear between `KNOTS` knots."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.knots = nn.Parameter(start.clone())  # [KNOTS, C]
        at = torch.linspace(0, KNOTS - 1, LEVELS)
        low = at.floor().clamp(max=KNOTS - 2).long()
        weight = torch.zeros(LEVELS, KNOTS)
        weight[torch.arange(LEVELS), low] = 1 - (at - low)
        weight[torch.arange(LEVELS), low + 1] = at - low
        self.register_buffer("weight", weight, persistent=False)
        self.weight: Tensor

    def forward(self) -> Tensor:
        """The whole table [LEVELS, C]."""
        return self.weight.to(self.knots) @ self.knots


def rows(table: Tensor, level: Tensor) -> Tensor:
    """Rows of a [LEVELS or 1, C] table for `level` [N], as [N, C, 1, 1]."""
    return table[level if table.shape[0] > 1 else torch.zeros_like(level)][:, :, None, None]


def _floor_ste(x: Tensor) -> Tensor:
    return x + (torch.floor(x) - x).detach()


class Scale(nn.Module):
    """Requantisation x -> x / unit as int8 operand: normalises each channel of a stream.

    `in_step` is the real value of one integer step of the input.
    """

    def __init__(self, unit: Tensor, in_step: float = COARSE) -> None:
        super().__init__()
        self.log_norm = nn.Parameter(-torch.log(unit))
        self.in_step = in_step

    def norm(self) -> Tensor:
        """[1, C] factors; a subclass may give [LEVELS, C]."""
        return torch.exp(self.log_norm)[None]

    def integer_mult(self) -> Tensor:
        return round_ste((self.norm() * (self.in_step / OPERAND) * _SCALE_ONE).clamp(1, 2**31 - 1))

    def forward(self, x: Tensor, level: Tensor, simulate: bool) -> Tensor:
        if simulate:
            y = _floor_ste((x * rows(self.integer_mult(), level) + _SCALE_ONE / 2) / _SCALE_ONE)
            return y.clamp(-128, 127)
        return (x * rows(self.norm(), level)).clamp(-128 * OPERAND, 127 * OPERAND)


class HyperScale(Scale):
    """Dequantisation of the hyper-latent symbols into int8 operands, by the level's gain."""

    def __init__(self, channels: int, gain: Curve) -> None:
        super().__init__(torch.ones(channels), in_step=1.0)
        self.log_gain = [gain]  # not a sub-module: HyperAnalysis owns it

    def norm(self) -> Tensor:
        return torch.exp(self.log_norm - self.log_gain[0]())


class Conv(nn.Module):
    """y = out_scale * (gain[level] * (w * x) + bias[level]), clamped as the integer layer clamps it.

    Args:
        kind: "u8" (ReLU, step HIDDEN) or "i16" (signed, step `out_step`).
        in_step: real value of one integer step of the input.
        out_scale: constant factor per output channel, so that weights of all channels are alike.
        gain, bias_curve: level tables; log of the gain, and an addition to the bias.
        precise: computes in float32 where the rest is in bfloat16.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        kind: str = "u8",
        in_step: float = HIDDEN,
        out_step: float | Tensor = HIDDEN,
        out_scale: Tensor | None = None,
        gain: nn.Module | None = None,
        bias_curve: nn.Module | None = None,
        precise: bool = False,
    ) -> None:
        super().__init__()
        self.precise = precise
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("out_scale", torch.ones(outputs) if out_scale is None else out_scale.clone())
        self.out_scale: Tensor
        self.gain, self.bias_curve = gain, bias_curve
        self.kernel, self.stride, self.kind = kernel, stride, kind
        self.in_step = in_step
        self.register_buffer("out_step", torch.as_tensor(out_step, dtype=torch.float32), persistent=False)
        self.out_step: Tensor

    def tables(self) -> tuple[Tensor, Tensor]:
        """Factor and addition of the convolution's result, [LEVELS or 1, O] each."""
        gain = self.out_scale[None] if self.gain is None else torch.exp(self.gain()) * self.out_scale
        bias = (self.bias * self.out_scale)[None]
        return gain, bias if self.bias_curve is None else bias + self.bias_curve()

    def weight_step(self) -> Tensor:
        """Real value of one int8 step, [O]; no sum over an int16 input can overflow 32 bits."""
        w = self.weight.detach().abs()
        return torch.maximum(w.amax(dim=(1, 2, 3)) / 127, w.sum(dim=(1, 2, 3)) / 60000).clamp_min(1e-9)

    def integer_weight(self) -> Tensor:
        return round_ste((self.weight / self.weight_step()[:, None, None, None]).clamp(-127, 127))

    def integer_tables(self) -> tuple[Tensor, Tensor]:
        """Multipliers M / 2^32 and biases b; b holds the half of the rounding."""
        gain, bias = self.tables()
        m = gain * self.weight_step() * (self.in_step / self.out_step)
        m = round_ste((m * _ONE).clamp(1, 2**31 - 1)) / _ONE
        b = round_ste((bias / self.out_step + 0.5) / m).clamp(-(2.0**30), 2.0**30)
        return m, b

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.kernel == 3:
            x = pad_by_one(x)
        if self.precise:
            with torch.autocast(x.device.type, enabled=False):
                return F.conv2d(x, weight, stride=self.stride)
        return F.conv2d(x, weight, stride=self.stride)

    def forward(self, x: Tensor, level: Tensor, simulate: bool, add: Tensor | None = None) -> Tensor:
        if simulate:
            m, b = (rows(t, level) for t in self.integer_tables())
            y = _floor_ste((self._convolve(x, self.integer_weight()) + b) * m)
            y = y if add is None else y + add
            return y.clamp(0, 255) if self.kind == "u8" else y.clamp(-32768, 32767)
        gain, bias = (rows(t, level) for t in self.tables())
        y = self._convolve(x, self.weight)
        if self.kind == "u8":
            y = torch.addcmul(bias.to(y.dtype), y, gain.to(y.dtype))
            return (y if add is None else y + add).clamp(0, 255 * HIDDEN)
        y = torch.addcmul(bias, y if y.dtype == torch.float64 else y.float(), gain)
        y = y if add is None else y + add
        limit = 32767 * self.out_step.to(y.dtype).reshape(-1, 1, 1)
        return torch.minimum(torch.maximum(y, -limit), limit)

    @torch.no_grad()
    def integers(self) -> dict[str, Tensor]:
        """Tensors of the packed program: ``w`` int8 [O,k,k,I], ``b`` and ``m`` int32 [L or 1, O]."""
        m, b = self.integer_tables()
        return {
            "w": self.integer_weight().to(torch.int8).permute(0, 2, 3, 1).contiguous(),
            "b": b.to(torch.int32),
            "m": torch.round(m * _ONE).to(torch.int32),
        }


class Block(nn.Module):
    """Residual branch on coefficients: normalise, 1x1, 3x3, 1x1, add."""

    def __init__(self, spread: Tensor, hidden: int, levels: bool) -> None:
        super().__init__()
        c = spread.numel()
        curve = Curve(torch.zeros(KNOTS, hidden)) if levels else None
        self.scale = Scale(operand_unit(spread), COARSE)
        self.enter = Conv(c, hidden, in_step=OPERAND, bias_curve=curve)
        self.mix = Conv(hidden, hidden, kernel=3)
        self.leave = Conv(hidden, c, kind="i16", out_step=COARSE, out_scale=spread.clamp(max=0.15))
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor, level: Tensor, simulate: bool) -> Tensor:
        h = self.enter(self.scale(x, level, simulate), level, simulate)
        return cast(Tensor, self.leave(self.mix(h, level, simulate), level, simulate, x))


class Trunk(nn.Module):
    """Residual network on pixels: 3x3 in, `blocks` of two 3x3 with a skip, 3x3 out, added to its input.

    Input: centred pixels behind two pixel-unshuffles, [N, 48, H/4, W/4]; one operand step is one grey level.
    """

    def __init__(self, width: int, blocks: int, levels: bool) -> None:
        super().__init__()

        def curve() -> Curve | None:
            return Curve(torch.zeros(KNOTS, width)) if levels else None

        self.scale = Scale(torch.full((48,), PIXEL_STEP / OPERAND), FINE)
        self.enter = Conv(48, width, kernel=3, in_step=OPERAND, bias_curve=curve())
        self.first = nn.ModuleList(Conv(width, width, kernel=3, bias_curve=curve()) for _ in range(blocks))
        self.second = nn.ModuleList(Conv(width, width, kernel=3) for _ in range(blocks))
        self.leave = Conv(width, 48, kernel=3, kind="i16", out_step=FINE, out_scale=torch.full((48,), 0.05))
        with torch.no_grad():
            # Filters that see differences, not brightness.
            self.enter.weight.sub_(self.enter.weight.mean(dim=(1, 2, 3), keepdim=True))
            for conv in self.second:
                cast(Conv, conv).weight.mul_(0.3)
            self.leave.weight.zero_()

    def forward(self, x: Tensor, level: Tensor, simulate: bool) -> Tensor:
        h = self.enter(self.scale(x, level, simulate), level, simulate)
        for first, second in zip(self.first, self.second, strict=True):
            h = second(first(h, level, simulate), level, simulate, h)
        return cast(Tensor, self.leave(h, level, simulate, x))


def operand_unit(spread: Tensor) -> Tensor:
    """Divisor of each coefficient: no coefficient of an image exceeds 8 * 1.8."""
    return spread.clamp(max=1.8)


def _stream_conv(weight: Tensor, in_step: float, out_step: float) -> Conv:
    conv = Conv(weight.shape[1], weight.shape[0], kind="i16", in_step=in_step, out_step=out_step, precise=True)
    conv.weight.data = weight[:, :, None, None].clone()
    return conv


def _run(blocks: nn.ModuleList, x: Tensor, level: Tensor, simulate: bool) -> Tensor:
    for block in blocks:
        x = block(x, level, simulate)
    return x


class Analysis(nn.Module):
    """ComCNN: image -> latent y at 1/16, the same for all levels."""

    def __init__(self, basis: dict[str, Tensor], width: int, trunk: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.trunk = Trunk(width, trunk, False)
        self.down = _stream_conv(basis["rows"], FINE, COARSE)
        self.blocks = nn.ModuleList(Block(basis["spread"], hidden, False) for _ in range(blocks))

    def forward(self, image: Tensor, level: Tensor, simulate: bool) -> Tensor:
        """Image [N,3,H,W] (sides multiples of 16) in 0..1, or in 0..255 for `simulate`."""
        x = unshuffle(image, 2).contiguous(memory_format=torch.channels_last)
        x = self.trunk(x * 16 - 2040 if simulate else x - 0.5, level, simulate)
        y = self.down(unshuffle(x, 2).contiguous(memory_format=torch.channels_last), level, simulate)
        return _run(self.blocks, y, level, simulate)


class Synthesis(nn.Module):
    """RecCNN: latent y^ -> image."""

    def __init__(self, basis: dict[str, Tensor], width: int, trunk: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(basis["spread"], hidden, True) for _ in range(blocks))
        self.up = _stream_conv(basis["rows"].T, COARSE, FINE)
        self.trunk = Trunk(width, trunk, True)

    def forward(self, y: Tensor, level: Tensor, simulate: bool) -> Tensor:
        """Image in 0..1, not clamped; in 0..255, rounded and clamped, for `simulate`."""
        x = shuffle(self.up(_run(self.blocks, y, level, simulate), level, simulate), 2)
        x = shuffle(self.trunk(x.contiguous(memory_format=torch.channels_last), level, simulate), 2)
        return _floor_ste((x + 2040 + 8) / 16).clamp(0, 255) if simulate else x + 0.5


def unshuffle(x: Tensor, times: int) -> Tensor:
    """Pixel-unshuffle by 2, repeated: the channel order of the packed program."""
    for _ in range(times):
        x = F.pixel_unshuffle(x, 2)
    return x


def shuffle(x: Tensor, times: int) -> Tensor:
    """The inverse of `unshuffle`."""
    for _ in range(times):
        x = F.pixel_shuffle(x, 2)
    return x


class HyperAnalysis(nn.Module):
    """Latent y -> hyper-latent z at 1/64, in symbols (not yet rounded)."""

    def __init__(self, spread: Tensor, width: int, channels: int) -> None:
        super().__init__()
        self.log_gain = Curve(torch.linspace(math.log(1.5), math.log(5.0), KNOTS)[:, None].repeat(1, channels))
        self.scale = Scale(operand_unit(spread))
        self.enter = Conv(spread.numel(), width, in_step=OPERAND)
        self.down1 = Conv(width, width, kernel=3, stride=2)
        self.down2 = Conv(width, width, kernel=3, stride=2)
        self.leave = Conv(width, channels, kind="i16", out_step=1.0, gain=self.log_gain)
        # The bias is inside the gain, so that the real z does not depend on the level.
        nn.init.xavier_normal_(self.leave.weight)

    def forward(self, y: Tensor, level: Tensor, simulate: bool) -> Tensor:
        h = self.enter(self.scale(y, level, simulate), level, simulate)
        h = self.down2(self.down1(h, level, simulate), level, simulate)
        return cast(Tensor, self.leave(h, level, simulate))


class HyperSynthesis(nn.Module):
    """Hyper-latent symbols -> features at 1/16."""

    def __init__(self, channels: int, width: int, features: int, gain: Curve) -> None:
        super().__init__()
        self.scale = HyperScale(channels, gain)
        curve = Curve(torch.zeros(KNOTS, width))
        self.enter = Conv(channels, width, in_step=OPERAND, bias_curve=curve)
        self.up1 = Conv(width, 4 * width)
        self.mix1 = Conv(width, width, kernel=3)
        self.up2 = Conv(width, 4 * width)
        self.mix2 = Conv(width, features, kernel=3, kind="i16", out_step=OPERAND)

    def forward(self, z: Tensor, level: Tensor, simulate: bool) -> Tensor:
        h = self.enter(self.scale(z, level, simulate), level, simulate)
        h = F.pixel_shuffle(self.up1(h, level, simulate), 2)
        h = self.mix1(h, level, simulate)
        h = F.pixel_shuffle(self.up2(h, level, simulate), 2)
        return cast(Tensor, self.mix2(h, level, simulate))


class _PriorGain(nn.Module):
    """Level table of the factors of a prior's output: the gains for means, a constant for indexes."""

    def __init__(self, gain: Curve, spread: Tensor) -> None:
        super().__init__()
        self.gain = [gain]
        self.register_buffer("log_spread", torch.log(spread))
        self.log_spread: Tensor

    def forward(self) -> Tensor:
        means = self.gain[0]() + self.log_spread
        return torch.cat([means, torch.full_like(means, -math.log(math.log(SIGMA_RATIO)))], dim=1)


class _PriorBias(_PriorGain):
    """Level table of the additions: nothing for means, log2-like index of gain * spread for indexes."""

    def forward(self) -> Tensor:
        log_sigma = self.gain[0]() + self.log_spread
        return torch.cat([torch.zeros_like(log_sigma), (log_sigma - math.log(SIGMA_MIN)) / math.log(SIGMA_RATIO)], 1)


class Prior(nn.Module):
    """Features (and, with `context`, the latents decoded so far) -> mean and table index.

    It serves `turns` passes, which have their own first and last layers and share those between. Output [N, 2M, h, w]:
    means in symbols, then table indexes (not rounded); for `simulate` means in 1/16 symbol and rounded indexes.
    """

    def __init__(
        self, features: int, spread: Tensor, gain: Curve, width: int, context: bool, mixes: int, turns: int
    ) -> None:
        super().__init__()
        m = spread.numel()
        self.features = Scale(torch.ones(features), OPERAND)
        self.latents = Scale(operand_unit(spread)) if context else None
        self.enter = nn.ModuleList(
            Conv(features + m * context, width, in_step=OPERAND, bias_curve=Curve(torch.zeros(KNOTS, width)))
            for _ in range(turns)
        )
        self.mix = nn.ModuleList(Conv(width, width, kernel=3) for _ in range(mixes))
        steps = torch.cat([torch.full((m,), SYMBOL), torch.ones(m)])
        factors, additions = _PriorGain(gain, spread), _PriorBias(gain, spread)
        self.leave = nn.ModuleList(
            Conv(width, 2 * m, kind="i16", out_step=steps, gain=factors, bias_curve=additions) for _ in range(turns)
        )
        with torch.no_grad():
            for conv in self.leave:
                cast(Conv, conv).weight.mul_(0.02)

    def forward(self, features: Tensor, latents: Tensor, level: Tensor, simulate: bool, turn: int = 0) -> Tensor:
        x = self.features(features, level, simulate)
        if self.latents is not None:
            x = torch.cat([x, self.latents(latents, level, simulate)], dim=1)
        h = self.enter[turn](x, level, simulate)
        return cast(Tensor, self.leave[turn](_run(self.mix, h, level, simulate), level, simulate))


def pass_of(y: Tensor, passes: int) -> Tensor:
    """The pass of each element of y [N, M, h, w], int64 [1, M, h, w] (FORMAT.md, 8.1).

    Of two: checkerboards, opposite in the two channel halves. Of four: each square of a 2x2 block takes the channel
    quarters in another order; the first two passes together are the first of two.
    """
    _, m, h, w = y.shape
    i, j = torch.arange(h, device=y.device)[:, None], torch.arange(w, device=y.device)[None]
    square = (i + j) % 2 * (passes // 2) + i % 2 * (passes // 4)
    part = torch.zeros(m, dtype=torch.int64, device=y.device)
    for k in range(1, passes):
        part[m * k // passes :] = k
    return (square[None] ^ part[:, None, None])[None]


def gaussian_bits(v: Tensor, log_sigma: Tensor) -> Tensor:
    """Bits of the integer cell around v under a normal distribution of mean 0."""
    scale = torch.exp(-log_sigma) * math.sqrt(0.5)
    v = v.abs()
    p = 0.5 * (torch.erf((v + 0.5) * scale) - torch.erf((v - 0.5) * scale))
    # Far out the probability underflows: go on with the exponent, then with its tangent.
    t = v * scale
    far = torch.where(t < 6, t * t, 12 * t - 36) * (1 / math.log(2)) + 1
    return torch.where(p > 1e-5, -torch.log2(p.clamp_min(1e-5)), far)


def dead_zone(v: Tensor, index: Tensor) -> Tensor:
    """Symbols as the encoder rounds them: up only where the bits are worth it; straight-through.

    The threshold between k and k + 1 is 1/2 + slope / 2 * (bits of k + 1 less those of k), here with the bits of a
    normal distribution of the index's scale (cf. `fastcodec.range_encoder.dead_zone`).
    """
    with torch.no_grad():
        magnitude = v.abs()
        k = magnitude.floor()
        log_sigma = index.clamp(0, TABLES - 1) * math.log(SIGMA_RATIO) + math.log(SIGMA_MIN)
        bits = gaussian_bits(k + 1, log_sigma) - gaussian_bits(k, log_sigma)
        threshold = (0.5 + DEAD_ZONE * math.log(2) / 12 * bits).clamp(max=1)
        coded = (index >= SKIP - 0.5).to(v.dtype)
        symbol = coded * (k + (magnitude - k >= threshold).to(v.dtype)) * v.sign()
    return v + (symbol - v).detach()


class RangeModel(nn.Module):
    """All networks. `basis` comes from `principal_components`.

    The trunks have `trunk` pairs of 3x3 convolutions of `width` channels at 1/4, the branches `blocks` times `hidden`
    channels at 1/16; those of the analysis are the encoder's alone. The latent is coded in `passes` = 1, 2 or 4; the
    prior behind the first pass has `prior_mixes` 3x3 convolutions.
    """

    def __init__(
        self,
        basis: dict[str, Tensor],
        *,
        width: int = 64,
        trunk: int = 3,
        hidden: int = 128,
        blocks: int = 3,
        analysis_width: int = 64,
        analysis_trunk: int = 1,
        analysis_hidden: int = 128,
        analysis_blocks: int = 3,
        hyper_width: int = 128,
        hyper_channels: int = 64,
        features: int = 128,
        prior_width: int = 192,
        prior_mixes: int = 1,
        passes: int = 4,
        lambdas: tuple[float, float] = (0.0009, 0.12),
    ) -> None:
        super().__init__()
        spread = basis["spread"]
        m = spread.numel()
        self.lambdas = lambdas
        log_lambda = torch.linspace(math.log(lambdas[0]), math.log(lambdas[1]), KNOTS)
        # The step that balances rate and distortion of a uniform quantiser at this lambda.
        log_step = 0.5 * (math.log(26) - (log_lambda + 2 * math.log(255)))
        self.log_gain = Curve((-log_step)[:, None].repeat(1, m))
        self.analysis = Analysis(basis, analysis_width, analysis_trunk, analysis_hidden, analysis_blocks)
        self.synthesis = Synthesis(basis, width, trunk, hidden, blocks)
        self.hyper_analysis = HyperAnalysis(spread, hyper_width, hyper_channels)
        self.hyper_synthesis = HyperSynthesis(hyper_channels, hyper_width, features, self.hyper_analysis.log_gain)
        # Of the first pass, and of all others.
        self.passes = passes
        self.priors = nn.ModuleList([Prior(features, spread, self.log_gain, prior_width, False, 0, 1)])
        if passes > 1:
            self.priors.append(Prior(features, spread, self.log_gain, prior_width, True, prior_mixes, passes - 1))
        # Scale of the hyper-latent symbols: log of the real spread of z, per channel.
        self.log_spread_z = Curve(torch.zeros(KNOTS, hyper_channels))

    def lambda_of(self, level: Tensor) -> Tensor:
        low, high = (math.log(v) for v in self.lambdas)
        return torch.exp(low + (high - low) * level.double() / (LEVELS - 1))

    def log_sigma_z(self) -> Tensor:
        """Log scale of the hyper-latent symbols, [LEVELS, Z]."""
        return cast(Tensor, self.log_spread_z() + self.hyper_analysis.log_gain())

    def forward(
        self, image: Tensor, level: Tensor, *, simulate: bool = False, hard: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Image [N,3,H,W] in 0..1, sides multiples of 64.

        Returns: restored image (not clamped), bits of y and of z per image [N]. Symbols are rounded
        (straight-through) where they go on, and noisy where their rate is estimated (Minnen and
        Singh 2020, arXiv 2007.08739). With `hard` they are, for both, the very symbols that the encoder
        will code; then its networks must not learn (`encoder_parameters`), only the decoder's (soft, then
        hard: Guo et al. 2021, arXiv 2104.05168). `simulate`: the same in the integers of the packed model.
        """
        amp = image.dtype == torch.float32 and self.training
        # Integers of 8 bits are exact in bfloat16 too; results lose a few bits, which training does not mind.
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=amp):
            return self.simulated(image, level) if simulate else self._real(image, level, hard)

    def _real(self, image: Tensor, level: Tensor, hard: bool) -> tuple[Tensor, Tensor, Tensor]:
        y = self.analysis(image, level, False)
        z = self.hyper_analysis(y, level, False)
        sigma_z = rows(self.log_sigma_z(), level)
        z_hat = round_ste(z)
        bits_z = gaussian_bits(z_hat if hard else self._noisy(z), sigma_z.expand_as(z))
        features = self.hyper_synthesis(z_hat, level, False)
        gain = torch.exp(rows(self.log_gain(), level))
        scaled = y * gain
        turn = pass_of(y, self.passes)
        known, mean, index = torch.zeros_like(scaled), torch.zeros_like(scaled), torch.zeros_like(scaled)
        for k in range(self.passes):
            mean_k, index_k = self.prior(k, features, known, level, False)
            mean, index = torch.where(turn == k, mean_k, mean), torch.where(turn == k, index_k, index)
            known = torch.where(turn == k, (self._symbol(scaled - mean, index, hard) + mean) / gain, known)
        bits_y = index_bits(self._symbol(scaled - mean, index, hard) if hard else self._noisy(scaled - mean), index)
        result = self.synthesis(known, level, False)
        return result, bits_y.flatten(1).sum(1), bits_z.flatten(1).sum(1)

    def prior(self, k: int, features: Tensor, known: Tensor, level: Tensor, simulate: bool) -> tuple[Tensor, Tensor]:
        """Mean and table index of pass k, [N, M, h, w] each; of use where `pass_of` says k."""
        out = self.priors[min(k, 1)](features, known, level, simulate, max(k - 1, 0))
        mean, index = out.chunk(2, dim=1)
        return mean, index

    def encoder_parameters(self) -> list[Tensor]:
        """What only the encoder uses, and the quantiser's steps, which make its symbols what they are."""
        return [*self.analysis.parameters(), *self.hyper_analysis.parameters(), *self.log_gain.parameters()]

    def _symbol(self, v: Tensor, index: Tensor, hard: bool) -> Tensor:
        """Rounded, straight-through; with `hard` as `dead_zone` says."""
        return dead_zone(v, index) if hard else round_ste(v)

    def integer_gains(self) -> tuple[Tensor, Tensor]:
        """`quant` and `dequant` of the packed model, [LEVELS, M]: stream to 1/16 symbols and back, times 2^16."""
        gain = torch.exp(self.log_gain())
        quant, dequant = gain * (COARSE / SYMBOL), SYMBOL / COARSE / gain
        return round_ste(quant * _SCALE_ONE), round_ste(dequant * _SCALE_ONE)

    def simulated(self, image: Tensor, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As forward(), in the integers of the packed model; bits are those of the rounded symbols."""
        y = self.analysis(round_ste(image / PIXEL_STEP), level, True)
        z = self.hyper_analysis(y, level, True)
        bits_z = gaussian_bits(z, rows(self.log_sigma_z(), level).expand_as(z))
        features = self.hyper_synthesis(z, level, True)
        quant, dequant = (rows(t, level) for t in self.integer_gains())
        scaled = _floor_ste((y * quant + _SCALE_ONE / 2) / _SCALE_ONE)
        turn = pass_of(y, self.passes)
        known, bits_y = torch.zeros_like(y), torch.zeros_like(y)
        for k in range(self.passes):
            mean, index = self.prior(k, features, known, level, True)
            symbol = dead_zone((scaled - mean) / 16, index)
            q = (symbol * 16 + mean).clamp(-32768, 32767)
            q = _floor_ste((q * dequant + _SCALE_ONE / 2) / _SCALE_ONE).clamp(-32768, 32767)
            known = torch.where(turn == k, q, known)
            bits_y = bits_y + index_bits(symbol, index) * (turn == k) * (index >= SKIP)
        result = self.synthesis(known, level, True) * PIXEL_STEP
        return result, bits_y.flatten(1).sum(1), bits_z.flatten(1).sum(1)

    def _noisy(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x) - 0.5 if self.training else torch.floor(x + 0.5)


def index_bits(v: Tensor, index: Tensor) -> Tensor:
    """Bits of symbols under the tables that `index` (real) names."""
    log_sigma = index.clamp(0, TABLES - 1) * math.log(SIGMA_RATIO) + math.log(SIGMA_MIN)
    # Past the ends of the tables the gradient still pulls the index back.
    log_sigma = log_sigma + 0.01 * (index - index.clamp(0, TABLES - 1)) * math.log(SIGMA_RATIO)
    return gaussian_bits(v, log_sigma)


@torch.no_grad()
def principal_components(patches: Tensor, latent: int = 320) -> dict[str, Tensor]:
    """The linear transform to start from.

    Args:
        patches: float [N, 3, 16, 16] in 0..1 from training photographs.
        latent: channels at 1/16.
    Returns:
        ``rows`` [latent, 768], orthonormal, in the channel order of `unshuffle`,
        without centring beyond the 1/2 that the networks take off; ``spread``
        [latent]: root mean square of the coefficients.
    """
    x = unshuffle(patches.double() - 0.5, 4)[:, :, 0, 0]
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    rows = vectors.flip(1)[:, :latent].T
    return {"rows": rows.float(), "spread": values.flip(0)[:latent].clamp_min(1e-8).sqrt().float()}
