# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics against scikit-image, SciPy and values computed by other programs."""

from __future__ import annotations

import numpy as np
import pytest
from fastcodec import metrics

# Published Kodak means (bpp, PSNR over RGB) from CompressAI's result files.
VTM = [
    (0.11349, 28.4917), (0.24641, 31.1970), (0.49120, 34.2649),
    (0.87537, 37.4159), (1.43106, 40.4225),
]  # fmt: skip
JPEG = [
    (0.14327, 23.7791), (0.25791, 26.5806), (0.36112, 28.0341), (0.45166, 29.0174),
    (0.61226, 30.3497), (0.74555, 31.2684), (0.87149, 32.0133), (1.00754, 32.7410),
    (1.21574, 33.7417), (1.55154, 35.1844),
]  # fmt: skip


def picture(seed: int, h: int, w: int, planes: int = 3) -> np.ndarray:
    """A smooth random picture with edges, uint8 (h, w, planes)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:h, :w]
    result = np.empty((h, w, planes))
    for c in range(planes):
        fx, fy, phase = rng.uniform(0.02, 0.3, 3)
        result[:, :, c] = 128 + 90 * np.sin(fx * x + fy * y + phase) + 30 * ((x // 17 + y // 13) % 2)
    return np.clip(result, 0, 255).astype(np.uint8)


def noisy(image: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(11, 11, 3), (40, 61, 3), (64, 48, 1), (37, 53)])
@pytest.mark.parametrize("sigma", [1.0, 25.0])
def test_ssim_and_psnr_equal_scikit_image(shape: tuple[int, ...], sigma: float) -> None:
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    a = picture(3, shape[0], shape[1], shape[2] if len(shape) == 3 else 1).reshape(shape)
    b = noisy(a, sigma)
    expected = skimage.structural_similarity(
        a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255,
        channel_axis=2 if len(shape) == 3 else None,
    )  # fmt: skip
    assert metrics.ssim(a, b) == pytest.approx(expected, abs=1e-12)
    assert metrics.psnr(a, b) == pytest.approx(skimage.peak_signal_noise_ratio(a, b), abs=1e-12)


def test_ssim_by_the_formula_at_one_window() -> None:
    a, b = picture(5, 11, 11, 1)[:, :, 0], noisy(picture(5, 11, 11, 1), 20)[:, :, 0]
    tap = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(tap, tap) / np.outer(tap, tap).sum()
    x, y = a.astype(float), b.astype(float)
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
    cov = (window * (x - mx) * (y - my)).sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert metrics.ssim(a, b) == pytest.approx(expected, abs=1e-12)


def test_ms_ssim_equals_pytorch_msssim() -> None:
    a = picture(7, 176, 192)
    values = [metrics.ms_ssim(a, noisy(a, sigma)) for sigma in (5.0, 20.0, 60.0)]
    # pytorch_msssim 1.0.0: ms_ssim(a, b, data_range=255), float64 images, float32 window.
    assert values == pytest.approx(MS_SSIM_EXPECTED, abs=1e-5)
    assert metrics.ms_ssim(a, a) == 1.0


MS_SSIM_EXPECTED = [0.9972927, 0.9683988, 0.8530554]


def test_psnr_of_known_errors() -> None:
    a = np.full((8, 9, 3), 100, np.uint8)
    b = a.copy()
    b[:, :, 1] = 110  # error 10 in one plane of three: MSE 100 / 3
    assert metrics.psnr(a, b) == pytest.approx(10 * np.log10(255**2 * 3 / 100))
    assert metrics.psnr_luma(a, b) == pytest.approx(10 * np.log10(255**2 / 5.87**2))
    assert metrics.psnr(a, a) == float("inf")
    assert metrics.psnr_luma(a[:, :, 0], b[:, :, 1]) == metrics.psnr(a[:, :, 0], b[:, :, 1])


def test_bd_rate_equals_the_published_figures() -> None:
    # Values by the package bjontegaard 1.3.0, method="pchip", over the curves' overlap.
    assert metrics.bd_rate(VTM, JPEG) == pytest.approx(BD_EXPECTED[0], abs=1e-6)
    assert metrics.bd_psnr(VTM, JPEG) == pytest.approx(BD_EXPECTED[1], abs=1e-6)


BD_EXPECTED = (195.9881985, -5.1113374)


def test_bd_rate_over_an_interval_equals_scipy() -> None:
    interpolate = pytest.importorskip("scipy.interpolate", reason="SciPy is not installed")

    def mean_log_rate(points: list[tuple[float, float]], low: float, high: float) -> float:
        rate, quality = np.array(points).T
        curve = interpolate.PchipInterpolator(quality, np.log(rate))
        return float(curve.integrate(low, high)) / (high - low)

    rates = (0.15, 1.0)
    ends = []
    for points in (JPEG, VTM):
        rate, quality = np.array(points).T
        at = interpolate.PchipInterpolator(np.log(rate), quality)
        ends.append(at(np.log(np.clip(rates, rate[0], rate[-1]))))
    low, high = max(ends[0][0], ends[1][0]), min(ends[0][1], ends[1][1])
    assert low > max(JPEG[0][1], VTM[0][1])  # the rates do cut both curves
    assert high < min(JPEG[-1][1], VTM[-1][1])
    assert metrics.bd_interval(JPEG, VTM, rates=rates) == pytest.approx((low, high), abs=1e-9)
    expected = 100 * np.expm1(mean_log_rate(VTM, low, high) - mean_log_rate(JPEG, low, high))
    assert metrics.bd_rate(JPEG, VTM, rates=rates) == pytest.approx(expected, abs=1e-8)
    narrow = metrics.bd_rate(JPEG, VTM, qualities=(29.0, 30.0))
    expected = 100 * np.expm1(mean_log_rate(VTM, 29, 30) - mean_log_rate(JPEG, 29, 30))
    assert narrow == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.25])
def test_bd_of_a_scaled_curve_is_the_factor(factor: float) -> None:
    scaled = [(factor * rate, quality) for rate, quality in reversed(JPEG)]
    assert metrics.bd_rate(JPEG, scaled) == pytest.approx(100 * (factor - 1), abs=1e-9)
    assert metrics.bd_rate(JPEG, scaled, rates=(0.15, 1.0)) == pytest.approx(100 * (factor - 1))
    shifted = [(rate, quality + factor) for rate, quality in JPEG]
    assert metrics.bd_psnr(JPEG, shifted) == pytest.approx(factor, abs=1e-9)
    assert metrics.bd_psnr(JPEG, shifted, rates=(0.2, 0.9)) == pytest.approx(factor, abs=1e-9)


def test_curves_of_two_points_are_log_linear() -> None:
    a, b = [(0.1, 30.0), (0.4, 34.0)], [(0.1, 31.0), (0.4, 35.0)]
    assert metrics.bd_psnr(a, b) == pytest.approx(1.0)
    assert metrics.bd_rate(a, b) == pytest.approx(100 * (4**-0.25 - 1))


def test_pareto_front() -> None:
    points = [(0.3, 30.0), (0.1, 28.0), (0.2, 27.0), (0.3, 29.0), (0.5, 30.0), (0.6, 31.0)]
    assert metrics.pareto_front(points) == [(0.1, 28.0), (0.3, 30.0), (0.6, 31.0)]


def test_best_of_is_the_lower_envelope() -> None:
    flat, steep = [(0.1, 30.0), (1.6, 34.0)], [(0.2, 29.0), (0.8, 37.0)]  # log rate is linear in quality
    best = metrics.best_of([flat, steep])
    for rate, quality in best:
        rates = [0.1 * 2 ** (quality - 30)] if 30 <= quality <= 34 else []
        rates += [0.2 * 2 ** ((quality - 29) / 4)] if 29 <= quality <= 37 else []
        assert rate == pytest.approx(min(rates))
    assert best[0] == pytest.approx((0.1, 30.0))  # below 30 only the steep curve goes on, at a higher rate
    assert best[-1] == pytest.approx((0.8, 37.0))
    crossing = [(0.6, 28.9), (0.7, 30.5), (0.8, 32.0), (1.0, 34.5)]
    deltas = [
        metrics.bd_rate(curve, VTM, qualities=(29, 34)) for curve in (metrics.best_of([JPEG, crossing]), JPEG, crossing)
    ]
    assert deltas[0] > max(deltas[1:])
    assert metrics.bd_rate(metrics.best_of([JPEG]), JPEG) == pytest.approx(0, abs=0.01)
    worse = [(1.3 * rate, quality - 0.01) for rate, quality in JPEG]
    assert metrics.bd_rate(metrics.best_of([worse, JPEG]), JPEG) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(0.1, 30.0)], "two or more"),
        ([(0.0, 30.0), (0.1, 31.0)], "positive rates"),
        ([(0.1, 30.0), (0.2, float("inf"))], "finite"),
        ([(0.1, 30.0), (0.2, 29.0)], "pareto_front"),
        ([(0.1, 30.0), (0.1, 31.0)], "pareto_front"),
        ([(5.0, 80.0), (6.0, 90.0)], "no common"),
    ],
)
def test_bad_curves(points: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.bd_rate(JPEG, points)
    with pytest.raises(ValueError, match=message):
        metrics.bd_psnr(JPEG, points)


def test_bad_images() -> None:
    a = np.zeros((20, 20, 3), np.uint8)
    with pytest.raises(TypeError, match="float64"):
        metrics.psnr(a.astype(float), a)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        metrics.ssim(a, a[:19])
    with pytest.raises(ValueError, match="at least 161"):
        metrics.ms_ssim(a, a)
    with pytest.raises(ValueError, match="at least 11"):
        metrics.ssim(a[:10], a[:10])
    with pytest.raises(ValueError, match="got shape"):
        metrics.psnr(np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8))
    with pytest.raises(ValueError, match="got both"):
        metrics.bd_rate(JPEG, VTM, rates=(0.1, 1.0), qualities=(28.0, 30.0))
