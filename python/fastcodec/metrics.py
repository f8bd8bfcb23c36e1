# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Image quality (PSNR, SSIM, MS-SSIM) and Bjontegaard deltas, in NumPy only.

Images are uint8 arrays of shape (h, w), (h, w, 1) or (h, w, 3); both images of a pair have the
same shape. All sums are float64, the peak value is 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

#: Weights of the red, green and blue plane in luma (ITU-R BT.601, the luma of JPEG).
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
#: Exponents of the five scales of MS-SSIM (Wang, Simoncelli, Bovik 2003).
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_PEAK = 255.0
_C1 = (0.01 * _PEAK) ** 2
_C2 = (0.03 * _PEAK) ** 2
SSIM_SIDE = 11
_SIGMA = 1.5


def psnr(a: Image, b: Image) -> float:
    """Peak signal-to-noise ratio over all samples of all planes, in dB.

    For RGB images this is "PSNR over RGB": one mean squared error over the three planes.

    Args:
        a: uint8 (h, w) or (h, w, c).
        b: uint8, the shape of `a`.

    Returns:
        10 log10(255^2 / MSE); `inf` when the images are equal.

    Raises:
        TypeError: an image is not uint8.
        ValueError: the shapes differ, or an image is empty.

    Example:
        >>> import numpy as np
        >>> black = np.zeros((4, 4, 3), np.uint8)
        >>> round(psnr(black, black + np.uint8(1)), 2)
        48.13
    """
    _check_pair(a, b)
    difference = a.astype(np.int32) - b.astype(np.int32)
    return psnr_of_mse(float(np.mean(np.square(difference), dtype=np.float64)))


def psnr_luma(a: Image, b: Image) -> float:
    """PSNR in dB of luma (BT.601, not rounded); for grey images the same as `psnr`.

    Args, Raises: as `psnr`.
    """
    _check_pair(a, b)
    return psnr_of_mse(float(np.mean(np.square(luma(a) - luma(b)))))


def luma(image: Image) -> Floats:
    """Luma of an image: float64 (h, w), 0..255, BT.601 weights, not rounded."""
    if image.ndim == 2:
        return image.astype(np.float64)
    if image.shape[2] == 1:
        return image[:, :, 0].astype(np.float64)
    weights = np.asarray(LUMA_WEIGHTS)
    result: Floats = image.astype(np.float64) @ weights
    return result


def ssim(a: Image, b: Image) -> float:
    """Structural similarity of Wang et al. 2004, mean over pixels and planes.

    Gaussian window of 11x11 with sigma 1.5, K1 = 0.01, K2 = 0.03, population (not sample)
    covariance, only windows that lie inside the image. This equals scikit-image's
    `structural_similarity(gaussian_weights=True, use_sample_covariance=False)`.

    Args:
        a: uint8 (h, w) or (h, w, c), h and w at least 11.
        b: uint8, the shape of `a`.

    Raises:
        TypeError: an image is not uint8.
        ValueError: the shapes differ, or a side is shorter than 11.
    """
    planes = _planes(a, b, minimum=SSIM_SIDE, name="ssim")
    return float(np.mean([_ssim_plane(x, y)[0] for x, y in planes]))


def ms_ssim(a: Image, b: Image) -> float:
    """Multi-scale SSIM (Wang, Simoncelli, Bovik 2003), five scales, mean over planes.

    Between scales: mean of 2x2 pixels (an odd last row or column counts twice). A negative
    contrast-structure mean counts as 0, as in the usual implementations.

    Args:
        a: uint8 (h, w) or (h, w, c), h and w at least 161.
        b: uint8, the shape of `a`.

    Raises:
        TypeError: an image is not uint8.
        ValueError: the shapes differ, or a side is shorter than 161 (the window would not fit
            into the smallest scale).
    """
    minimum = (SSIM_SIDE - 1) * 2 ** (len(MS_SSIM_WEIGHTS) - 1) + 1
    values = []
    for x, y in _planes(a, b, minimum=minimum, name="ms_ssim"):
        product = 1.0
        for scale, weight in enumerate(MS_SSIM_WEIGHTS):
            if scale:
                x, y = _halve(x), _halve(y)
            full, contrast = _ssim_plane(x, y)
            last = scale == len(MS_SSIM_WEIGHTS) - 1
            product *= max(full if last else contrast, 0.0) ** weight
        values.append(product)
    return float(np.mean(values))


class BdInterval(NamedTuple):
    """Where a Bjontegaard delta was averaged: quality `[low, high]` in dB."""

    low: float
    high: float


def bd_interval(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    *,
    rates: tuple[float, float] | None = None,
    qualities: tuple[float, float] | None = None,
) -> BdInterval:
    """The quality interval over which `bd_rate` averages.

    - neither given: the overlap of both curves' qualities (the classical choice);
    - `qualities=(low, high)`: that interval, cut to the overlap;
    - `rates=(low, high)`: both curves are cut to these rates, then the overlap is taken. "BD-rate
      over 0.15-1.0 bpp" thus means: averaged over the qualities that BOTH curves reach between
      0.15 and 1.0 bpp. It does not depend on points outside, other than through interpolation.

    Args:
        anchor: (rate, quality) points, any order; see `bd_rate`.
        test: likewise.
        rates: rate interval, in the unit of the points' rates.
        qualities: quality interval, in the unit of the points' qualities.

    Raises:
        ValueError: bad points, both intervals given, or no overlap.
    """
    if rates is not None and qualities is not None:
        raise ValueError("give rates or qualities, got both")
    low, high = -np.inf, np.inf
    for points, name in ((anchor, "anchor"), (test, "test")):
        rate, quality = _curve(points, name)
        low, high = max(low, float(quality[0])), min(high, float(quality[-1]))
        if rates is not None:
            log_rate = np.log(rate)
            ends = np.clip(np.log(rates), log_rate[0], log_rate[-1])
            at = _Pchip(log_rate, quality)
            low, high = max(low, at(float(ends[0]))), min(high, at(float(ends[1])))
    if qualities is not None:
        low, high = max(low, qualities[0]), min(high, qualities[1])
    if not low < high:
        raise ValueError(
            f"the curves have no common quality interval (would be {low:.4g}..{high:.4g}); measure more settings"
        )
    return BdInterval(low, high)


def bd_rate(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    *,
    rates: tuple[float, float] | None = None,
    qualities: tuple[float, float] | None = None,
) -> float:
    """Bjontegaard delta rate in percent: mean rate difference of `test` at equal quality.

    Log rate as a function of quality is interpolated by PCHIP (monotone piecewise cubic, Fritsch
    and Butland's slopes), and exp(mean of the difference) - 1 is taken over `bd_interval`. Negative
    is better: -10 means that `test` needs 10 % fewer bits than `anchor` for the same quality.

    Args:
        anchor: at least two (rate, quality) points, any order; rates positive, and of two points
            the one with the higher rate must have the higher quality (see `pareto_front`).
        test: likewise.
        rates: see `bd_interval`.
        qualities: see `bd_interval`.

    Raises:
        ValueError: bad points, or no common interval.

    Example:
        >>> anchor = [(0.1, 28.0), (0.2, 30.0), (0.4, 32.0), (0.8, 34.0)]
        >>> test = [(0.5 * rate, quality) for rate, quality in anchor]
        >>> round(bd_rate(anchor, test), 6)
        -50.0
    """
    low, high = bd_interval(anchor, test, rates=rates, qualities=qualities)
    means = []
    for points, name in ((anchor, "anchor"), (test, "test")):
        rate, quality = _curve(points, name)
        means.append(_Pchip(quality, np.log(rate)).mean(low, high))
    return float(np.expm1(means[1] - means[0]) * 100.0)


def bd_psnr(
    anchor: Sequence[tuple[float, float]],
    test: Sequence[tuple[float, float]],
    *,
    rates: tuple[float, float] | None = None,
) -> float:
    """Bjontegaard delta quality: mean quality difference of `test` at equal rate, in the
    points' quality unit (dB for PSNR); positive is better.

    Quality as a function of log rate is interpolated by PCHIP and averaged over log rate.

    Args:
        anchor: (rate, quality) points as for `bd_rate`.
        test: likewise.
        rates: rate interval, cut to the overlap of both curves' rates; None: the whole overlap.

    Raises:
        ValueError: bad points, or no common rates.
    """
    curves = [_curve(anchor, "anchor"), _curve(test, "test")]
    low = max(float(rate[0]) for rate, _ in curves)
    high = min(float(rate[-1]) for rate, _ in curves)
    if rates is not None:
        low, high = max(low, rates[0]), min(high, rates[1])
    if not low < high:
        raise ValueError(
            f"the curves have no common rate interval (would be {low:.4g}..{high:.4g}); measure more settings"
        )
    ends = (float(np.log(low)), float(np.log(high)))
    means = [_Pchip(np.log(rate), quality).mean(*ends) for rate, quality in curves]
    return means[1] - means[0]


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (rate, quality) points of one curve that no other point beats, by rising rate.

    A point goes when another has no higher rate and no lower quality.
    """
    front: list[tuple[float, float]] = []
    for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((rate, quality))
    return front


def best_of(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """The best of several curves at each quality: the lowest of their PCHIP log rates.

    (The Pareto front of the measured points would be worse than that: between two points of the
    better curve it would pass through points of the worse one.)

    Args:
        curves: each a list of points as for `bd_rate`.

    Raises:
        ValueError: bad points.
    """
    fits = [(quality, _Pchip(quality, np.log(rate))) for rate, quality in (_curve(c, "curve") for c in curves)]
    ends = [float(end) for quality, _ in fits for end in (quality[0], quality[-1])]
    points = []
    for at in sorted({*np.linspace(min(ends), max(ends), 512).tolist(), *ends}):
        rates = [fit(at) for quality, fit in fits if quality[0] <= at <= quality[-1]]
        if rates:
            points.append((float(np.exp(min(rates))), at))
    return pareto_front(points)


class _Pchip:
    """Monotone piecewise cubic through (x, y), x rising, both float64 of equal length >= 2.

    Slopes: Fritsch and Butland 1984, the weighted harmonic mean of the two secants; at the ends
    the three-point formula, limited so that the curve stays monotone (as in SciPy and MATLAB).
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        self.x, self.y = x, y
        self.slopes = _pchip_slopes(np.diff(x), np.diff(y) / np.diff(x))

    def __call__(self, at: float) -> float:
        i = int(np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2))
        h = float(self.x[i + 1] - self.x[i])
        t = (at - float(self.x[i])) / h
        left, right = float(self.y[i]), float(self.y[i + 1])
        d0, d1 = float(self.slopes[i]) * h, float(self.slopes[i + 1]) * h
        c2 = 3.0 * (right - left) - 2.0 * d0 - d1
        c3 = 2.0 * (left - right) + d0 + d1
        return left + t * (d0 + t * (c2 + t * c3))

    def mean(self, low: float, high: float) -> float:
        """Mean over [low, high]; Simpson's rule piece by piece, exact for cubics."""
        inner = [float(x) for x in self.x if low < x < high]
        total = 0.0
        for a, b in zip([low, *inner], [*inner, high], strict=True):
            total += (b - a) / 6.0 * (self(a) + 4.0 * self((a + b) / 2.0) + self(b))
        return total / (high - low)


def _pchip_slopes(h: Floats, secant: Floats) -> Floats:
    if len(h) == 1:
        return np.array([secant[0], secant[0]])
    slopes = np.zeros(len(h) + 1)
    for i in range(1, len(h)):
        if secant[i - 1] * secant[i] > 0:
            w1, w2 = 2 * h[i] + h[i - 1], h[i] + 2 * h[i - 1]
            slopes[i] = (w1 + w2) / (w1 / secant[i - 1] + w2 / secant[i])
    slopes[0] = _pchip_end(h[0], h[1], secant[0], secant[1])
    slopes[-1] = _pchip_end(h[-1], h[-2], secant[-1], secant[-2])
    return slopes


def _pchip_end(h0: float, h1: float, s0: float, s1: float) -> float:
    slope = ((2 * h0 + h1) * s0 - h0 * s1) / (h0 + h1)
    if slope * s0 <= 0:
        return 0.0
    if s0 * s1 <= 0 and abs(slope) > 3 * abs(s0):
        return 3 * s0
    return slope


def _curve(points: Sequence[tuple[float, float]], name: str) -> tuple[Floats, Floats]:
    """Sorts and checks points; returns rates and qualities, both strictly rising."""
    array = np.asarray(sorted(points), dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] != 2:
        raise ValueError(f"{name} must be two or more (rate, quality) points, got {points!r}")
    rate, quality = array[:, 0], array[:, 1]
    if not np.all(np.isfinite(array)) or rate[0] <= 0:
        raise ValueError(f"{name} must have finite qualities and positive rates, got {points!r}")
    if np.any(np.diff(rate) <= 0) or np.any(np.diff(quality) <= 0):
        raise ValueError(
            f"{name} must have a higher quality at each higher rate, got {points!r}; use metrics.pareto_front(points)"
        )
    return rate, quality


def psnr_of_mse(mse: float) -> float:
    """PSNR in dB of a mean squared error of 8-bit samples; infinite for 0."""
    return float("inf") if mse == 0 else float(10.0 * np.log10(_PEAK**2 / mse))


def _check_pair(a: Any, b: Any) -> None:
    for name, image in (("a", a), ("b", b)):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
            got = getattr(image, "dtype", type(image).__name__)
            raise TypeError(f"{name} must be a uint8 array, got {got}; use numpy.asarray(image)")
        if image.ndim not in (2, 3) or image.size == 0 or (image.ndim == 3 and image.shape[2] > 3):
            raise ValueError(f"{name} must be (h, w) or (h, w, 1 or 3), got shape {image.shape}")
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got {a.shape} and {b.shape}")


def _planes(a: Image, b: Image, *, minimum: int, name: str) -> list[tuple[Floats, Floats]]:
    _check_pair(a, b)
    if min(a.shape[:2]) < minimum:
        raise ValueError(f"{name} needs sides of at least {minimum} pixels, got {a.shape[:2]}")
    stacked = [np.atleast_3d(image).astype(np.float64) for image in (a, b)]
    return [(stacked[0][:, :, c], stacked[1][:, :, c]) for c in range(stacked[0].shape[2])]


def _ssim_plane(x: Floats, y: Floats) -> tuple[float, float]:
    """Mean SSIM and mean contrast-structure term of two planes (h, w), h and w >= 11."""
    mean_x, mean_y = _blur(x), _blur(y)
    product = mean_x * mean_y
    squares = mean_x * mean_x + mean_y * mean_y
    covariance = _blur(x * y) - product
    variances = _blur(x * x + y * y) - squares
    contrast = (2.0 * covariance + _C2) / (variances + _C2)
    full = contrast * (2.0 * product + _C1) / (squares + _C1)
    return float(np.mean(full)), float(np.mean(contrast))


def _blur(plane: Floats) -> Floats:
    """Gaussian window over positions inside the plane: (h, w) -> (h - 10, w - 10)."""
    for axis in (0, 1):
        n = plane.shape[axis] - SSIM_SIDE + 1
        half = SSIM_SIDE // 2
        weights = np.exp(-0.5 * (np.arange(half + 1) / _SIGMA) ** 2)
        weights /= weights[0] + 2.0 * weights[1:].sum()
        parts = [plane[i : i + n] if axis == 0 else plane[:, i : i + n] for i in range(SSIM_SIDE)]
        total = parts[half] * weights[0]
        for distance in range(1, half + 1):
            total += (parts[half - distance] + parts[half + distance]) * weights[distance]
        plane = total
    return plane


def _halve(plane: Floats) -> Floats:
    """Mean of 2x2 pixels; an odd last row or column is repeated."""
    if plane.shape[0] % 2:
        plane = np.concatenate([plane, plane[-1:]], axis=0)
    if plane.shape[1] % 2:
        plane = np.concatenate([plane, plane[:, -1:]], axis=1)
    result: Floats = (plane[0::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 0::2] + plane[1::2, 1::2]) / 4.0
    return result
