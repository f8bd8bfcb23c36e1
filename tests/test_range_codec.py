# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Codec range on a small model without training: bytes and pixels, targets, tiles and regions, hostile streams."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import fastcodec
import numpy as np
import pytest
import range_cases
import range_payload_oracle
from fastcodec import (
    _core,
    compare,
    container,
    decode,
    encode,
    flow,
    info,
    packed_model,
    range_codec,
    range_encoder,
    rans,
    report,
    terminal,
    verify,
)
from fastcodec.codecs import CODECS
from fastcodec.errors import ChecksumError, Error, FormatError, LimitError, ModelError, TruncatedError
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

Array = np.ndarray
SIZES = [(1, 1), (1, 40), (33, 1), (16, 16), (17, 63), (64, 64), (65, 130)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def path(folder: Path) -> Path:
    return range_cases.write(folder / "range-test-1000.safetensors")


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("FASTCODEC_MODELS", str(path.parent))


@pytest.fixture(scope="module")
def model(path: Path) -> packed_model.PackedModel:
    return packed_model.load(path)


def coded(x: Any, model: packed_model.PackedModel, **options: Any) -> bytes:
    data = encode(x, codec="range", model=model, **options)
    assert isinstance(data, bytes)
    return data


def stream_of(data: bytes) -> container.Stream:
    return container.read(data, fastcodec.Limits())


def oracle(data: bytes, path: Path) -> Array:
    found = stream_of(data)
    header = found.header
    assert header.networks is not None
    shape = (header.height, header.width, header.channels)
    return range_payload_oracle.decode(bytes(found.payload), header.inner_crc, shape, path, header.networks.level)


def reconstruction(x: Array, model: packed_model.PackedModel, data: bytes) -> Array:
    """The pixels that the encoder would show: synthesis of its own latents."""
    i = info(data)
    assert i.level is not None
    encoder = range_encoder._Encoder(x, None, {}, flow.Settings(CODECS["range"], model))
    payload = stream_of(data).payload
    encoder.tile = int(payload[0] or payload[1]) * 64
    encoder.tiles = range_codec.Tiles.of(x.shape[0], x.shape[1], encoder.tile)
    trial = encoder.at_level(i.level)
    assert trial.stream == data
    return model.programs[f"synthesis_{range_codec.colour(x.shape[2])}"].run(trial.y_hat, i.level, x.shape[:2])


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_decoder_gives_the_encoders_reconstruction(model: packed_model.PackedModel, size: Any, channels: int) -> None:
    x = cases.image(*size, channels)
    for quality in (1, 60, 100):
        data = coded(x, model, quality=quality)
        pixels = decode(data)
        assert (pixels.reshape(x.shape) == reconstruction(x, model, data)).all()
        assert coded(x, model, quality=quality) == data


@pytest.mark.parametrize("passes", [1, 2, 4])
@pytest.mark.parametrize("shape", [(40, 70, 3), (70, 150, 1), (1, 1, 3)], ids=str)
def test_oracle_gives_the_same_pixels(folder: Path, monkeypatch: pytest.MonkeyPatch, shape: Any, passes: int) -> None:
    path = range_cases.write(folder / f"passes{passes}.safetensors", passes=passes, latent=9 - passes, skip=4 * passes)
    model = packed_model.load(path)
    packed_model._installed.cache_clear()
    x = cases.image(*shape)
    for options in ({"quality": 40}, {"quality": 100, "codec_options": {"tile": 64}}):
        data = coded(x, model, **options)
        assert (decode(data).reshape(shape) == oracle(data, path)).all()


def test_no_latent_is_left_far_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that leaves most latents uncoded: where that is far off, all are coded, and a zero byte says so."""
    path = range_cases.write(folder / "skip.safetensors", skip=40, name="range-test-skip")
    model = packed_model.load(path)
    packed_model._installed.cache_clear()
    x, grey = cases.image(70, 150, 3), np.full((70, 150, 3), 128, np.uint8)
    data, plain = coded(x, model, quality=90), coded(grey, model, quality=90)
    assert stream_of(data).payload[0] == 0 < stream_of(plain).payload[0]
    for image, stream in ((x, data), (grey, plain)):
        assert (decode(stream) == oracle(stream, path)).all()
        assert (decode(stream) == reconstruction(image, model, stream)).all()
    with pytest.raises(Error):
        decode(forged(data, bytes(stream_of(data).payload[1:])))
    monkeypatch.setattr(range_encoder, "_FAR", 1e9)
    worse = decode(coded(x, model, quality=90))
    assert flow.squared_error(x, worse) > 1.03 * flow.squared_error(x, decode(data))


def test_oracle_of_many_symbols_and_wide_ones(folder: Path) -> None:
    """More than 2^17 symbols, so 32 lanes; and steps so fine that low bits and escapes occur."""
    path = range_cases.write(folder / "wide.safetensors", latent=60, steps=(40, 0.3), levels=2, programs=SMALL)
    model = packed_model.load(path)
    packed_model._installed.cache_clear()
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (16 * 33, 16 * 70, 1)).astype(np.uint8)
    data = coded(x, model, quality=100, codec_options={"tile": 1536, "dead_zone": 0})
    assert stream_of(data).payload[1] > 0
    y_hat = range_codec._decode_tile(model, 1, memoryview(bytes(stream_of(data).payload))[1:], (33, 70), 3, 1)
    assert _core.crc32c(y_hat) == stream_of(data).header.inner_crc
    assert (decode(data)[..., None] == oracle(data, path)).all()


SMALL = ("analysis_grey", "hyper_analysis", "hyper_synthesis", "prior_0", "prior_1", "synthesis_grey")


def test_every_backend_and_thread_count_gives_the_same(path: Path) -> None:
    x = cases.image(150, 270, 3)
    available = [name for name, there, _ in _core.backends() if there and name in cases.CPU_BACKENDS]
    made = []
    for backend in available:
        model = packed_model.load(path, backend=backend)
        for threads in (1, 2, 5):
            made.append(coded(x, model, quality=70, threads=threads, codec_options={"tile": 64}))
    assert len(set(made)) == 1
    expected = decode(made[0], threads=1)
    assert (expected == oracle(made[0], path)).all()
    for threads in (2, 3, 16):
        assert (decode(made[0], threads=threads) == expected).all()


def test_more_bytes_give_better_pixels(model: packed_model.PackedModel) -> None:
    x = cases.image(160, 240, 3)
    streams = [coded(x, model, quality=q) for q in (1, 20, 40, 60, 80, 100)]
    errors = [np.square(decode(s).astype(float) - x).mean() for s in streams]
    assert all(len(b) > len(a) for a, b in itertools.pairwise(streams))
    assert all(b < a for a, b in itertools.pairwise(errors))


def test_kinds_of_images(model: packed_model.PackedModel) -> None:
    rgba = cases.image(50, 41, 4)
    for x in (rgba[..., 0], rgba[..., :2].copy(), rgba[..., :3].copy(), rgba):
        data = coded(x, model)
        assert decode(data).shape == x.shape
        if x.ndim == 3 and x.shape[2] in (2, 4):
            assert (decode(data)[..., -1] == x[..., -1]).all()
            assert (decode(data, region=(3, 5, 20, 30)) == decode(data)[5:35, 3:23]).all()


def test_metadata_batch_and_info(model: packed_model.PackedModel) -> None:
    picture = Image.fromarray(cases.image(40, 30, 3))
    picture.info["icc_profile"] = b"icc" * 9
    data = coded(picture, model, quality=33)
    i = info(data)
    assert (i.codec, i.quality, i.networks, i.scale, i.model_name) == ("range", 34, True, 1, "range-test-1000")
    assert (i.level, i.model, i.icc) == (8, model.id.hex(), b"icc" * 9)
    assert verify(data) == i
    assert decode(data, out="pil").info["icc_profile"] == b"icc" * 9
    both = encode([picture, picture], codec="range", model=model, quality=33)
    assert both == [data, data]


def test_quality_rows() -> None:
    for levels in (1, 2, 25, 64, 199, 256):
        rows = [range_codec.row_of(q, levels) for q in range(1, 101)]
        assert rows[0] == 0
        assert rows[-1] == levels - 1
        assert rows == sorted(rows)
        for row in set(rows):
            assert range_codec.row_of(range_codec.quality_of(row, levels), levels) == row
    assert range_codec.row_of(75, 199) == 148


# ---------------------------------------------------------------- targets


@pytest.fixture(scope="module")
def fine(folder: Path) -> packed_model.PackedModel:
    """A model of 199 levels, as the shipped ones have."""
    path = range_cases.write(folder / "fine.safetensors", levels=199, name="range-test-fine")
    packed_model._installed.cache_clear()
    return packed_model.load(path)


def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by a name for every run of the analysis and of the decoder's networks."""
    passes: list[str] = []
    for name in ("analyse", "coded"):
        run = getattr(range_encoder._Encoder, name)

        def counted(*args: Any, name: str = name, run: Any = run, **options: Any) -> Any:
            passes.append(name)
            return run(*args, **options)

        monkeypatch.setattr(range_encoder._Encoder, name, counted)
    return passes


@pytest.mark.parametrize("refine", [0, 1])
def test_byte_targets(fine: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch, refine: int) -> None:
    x, options = cases.image(250, 300, 3), {"refine": refine}
    ends = [len(coded(x, fine, quality=q, codec_options=options)) for q in (1, 100)]
    passes = count_passes(monkeypatch)
    for budget in [*np.geomspace(ends[0] * 1.02, ends[1], 12).astype(int), 10 * ends[1]]:
        passes.clear()
        data = coded(x, fine, target_bytes=int(budget), codec_options=options)
        assert len(passes) <= 6
        assert passes.count("analyse") == 1 + refine or len(data) in ends
        assert min(budget, ends[1]) * 0.9 <= len(data) <= budget  # of noise, whose bytes surprise the search
    for budget in (ends[0], ends[0] + 1):
        assert len(coded(x, fine, target_bytes=budget, codec_options=options)) <= budget
    with pytest.raises(ValueError, match="out of reach: the smallest with codec range has") as caught:
        coded(x, fine, target_bytes=ends[0] // 2, codec_options=options)
    smallest = int(str(caught.value).partition(" has ")[2].partition(";")[0])
    assert 0.95 * ends[0] <= smallest <= ends[0]


def test_targets_on_a_photograph(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = pytest.importorskip("skimage.data", reason="scikit-image is not installed").astronaut()[:256, :384]
    name = SHIPPED[-1]
    passes = count_passes(monkeypatch)
    for budget in (1800, 3000, 5000, 8000, 12000):
        passes.clear()
        data = encode(photo, model=name, target_bytes=budget)
        assert 0.98 * budget <= len(data) <= budget
        assert passes.count("analyse") == 2
        assert len(passes) <= 6
    for wanted in (29, 32, 35):
        passes.clear()
        pixels = decode(encode(photo, model=name, target_psnr=wanted))
        assert wanted <= flow.decibels(flow.squared_error(photo, pixels), photo.size) <= wanted + 0.15
        assert len(passes) <= 6


@pytest.mark.parametrize("refine", [0, 1])
def test_no_target_within_reach_is_refused(refine: int) -> None:
    """Small crops, whose few symbols no guess foresees, and pure green, where models are surest and most wrong."""
    photo = pytest.importorskip("skimage.data", reason="scikit-image is not installed").astronaut()
    green = np.zeros((64, 96, 3), np.uint8)
    green[..., 1] = 255
    half = green.copy()
    half[:32] = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8).repeat(4, 0).repeat(8, 1)
    options: Any = {"model": SHIPPED[-1], "codec_options": {"refine": refine}}
    within = []
    for x in (photo[30:94, 200:264], photo[400:448, 60:108], photo[200:203, 100:228], green, half):
        low, high = (encode(x, quality=q, **options) for q in (1, 100))
        for budget in np.unique(np.geomspace(len(low), 1.1 * len(high), 30).astype(int)):
            data = encode(x, target_bytes=int(budget), **options)
            assert len(data) <= budget
            within.append(len(data) / min(budget, len(high)))
        ends = [flow.decibels(flow.squared_error(x, decode(data)), x.size) for data in (low, high)]
        for wanted in np.linspace(*ends, 8)[1:-1]:
            pixels = decode(encode(x, target_psnr=float(wanted), **options))
            assert flow.decibels(flow.squared_error(x, pixels), x.size) >= wanted
    assert np.mean(within) > 0.93
    assert min(within) > 0.6


def test_byte_targets_of_few_levels(model: packed_model.PackedModel) -> None:
    """25 levels, each a sixth more bytes: the best one is found, though there are few passes."""
    x = cases.image(200, 300, 3)

    def at(level: int) -> int:
        return len(coded(x, model, quality=range_codec.quality_of(level, 25), codec_options={"refine": 0}))

    every = [at(level) for level in range(25)]
    for budget in sorted({*every, every[9] - 1, 10 * every[-1], 2500}):
        data = coded(x, model, target_bytes=budget, codec_options={"refine": 0})
        assert len(data) == max(size for size in every if size <= budget)
        assert len(data) * 0.8 <= len(coded(x, model, target_bytes=budget)) <= budget
    assert len(coded(x, model, target_bpp=0.4)) <= 0.4 * 200 * 300 / 8


@pytest.mark.parametrize("refine", [0, 1])
def test_psnr_targets(fine: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch, refine: int) -> None:
    x, options = cases.image(250, 300, 3), {"refine": refine}

    def psnr(data: bytes) -> float:
        return flow.decibels(flow.squared_error(x, decode(data)), x.size)

    ends = [psnr(coded(x, fine, quality=q, codec_options=options)) for q in (1, 100)]
    passes = count_passes(monkeypatch)
    for wanted in np.linspace(ends[0] - 0.5, ends[1] - 1.1, 10):
        passes.clear()
        data = coded(x, fine, target_psnr=wanted, codec_options=options)
        assert wanted <= psnr(data) <= max(wanted, ends[0]) + 0.5  # odd levels of this model are a little off
        assert len(passes) <= 6
    with pytest.raises(ValueError, match="out of reach: codec range gives"):
        coded(x, fine, target_psnr=60, codec_options=options)


@pytest.mark.parametrize("refining", [False, True])
def test_search_finds_the_level_of_many_curves(refining: bool) -> None:
    """199 levels as the shipped model has, on curves that bend as photographs' do: within 2 % in six passes, nearly."""
    rng = np.random.default_rng(7)
    missed = []
    for _ in range(300):
        steps = rng.uniform(0.7, 1.3, 199) * rng.uniform(0.012, 0.02) * np.linspace(rng.uniform(0.8, 1.4), 1, 199)
        curve = np.cumsum(steps) + math.log(rng.uniform(400, 9000))
        refined = curve + rng.uniform(0.0, 0.02) + np.linspace(0, rng.uniform(0, 0.04), 199)
        limit = math.log(int(math.exp(rng.uniform(refined[0] + 0.01, refined[-1] + 0.1))))
        guess = np.linspace(curve[0], curve[0] + math.log(22), 199) + rng.uniform(-0.25, 0.25)
        values, spent = curve, 1

        def measure(level: int) -> float:
            nonlocal spent
            spent += 1
            return float(values[level])  # noqa: B023

        def begin() -> None:
            nonlocal spent, values
            spent, values = spent + 1, refined  # noqa: B023

        option = range_encoder._Refining(begin, 0.03, 0.07) if refining else None
        best = range_encoder._last_below(measure, list(guess), limit, math.log(0.985), option)
        assert spent <= 6
        assert (values is refined) == refining
        assert best is not None
        ideal = int(np.searchsorted(values, limit, "right")) - 1
        assert values[best] <= limit
        missed.append(values[ideal] - values[best])
    assert np.quantile(missed, 0.95) <= 0.02
    assert max(missed) < 0.045


def test_bytes_of_the_levels_are_guessed_from_the_latent(fine: packed_model.PackedModel) -> None:
    """Twice the image, twice the guess; and more for higher levels."""
    x = cases.image(200, 300, 3)
    settings = flow.Settings(CODECS["range"], fine)
    guess, double = (
        np.exp(range_encoder._Encoder(i, None, {}, settings)._sizes()) - 40 for i in (x, np.concatenate((x, x)))
    )
    assert (np.diff(guess) >= 0).all()
    assert 1.8 < double[-1] / guess[-1] < 2.2
    assert 2 * guess[0] < guess[-1] < 3 * len(coded(x, fine, quality=100)) < 9 * guess[-1]


def test_dead_zone_saves_bytes(model: packed_model.PackedModel) -> None:
    x = cases.image(160, 240, 3)
    plain, usual, strong = (coded(x, model, codec_options={"dead_zone": d}) for d in (0, 60, 200))
    assert len(strong) < len(usual) < len(plain)
    zone = range_encoder.dead_zone(60)
    assert (range_encoder.dead_zone(0) == 8).all()
    assert zone.min() == 8
    assert zone[4, 0] > zone[30, 0] >= zone[60, 0] == 8


SHIPPED = sorted(
    m.name for m in packed_model.installed().values() if m.codec == "range" and "analysis_rgb" in m.programs
)


def test_large_images_are_not_refined(model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    x = cases.image(160, 240, 3)
    plain, refined = (coded(x, model, codec_options={"refine": n}) for n in (0, 1))
    assert coded(x, model) == refined != plain
    monkeypatch.setattr(range_encoder, "REFINED_PIXELS", x.shape[0] * x.shape[1] - 1)
    assert coded(x, model) == plain


@pytest.mark.parametrize("name", SHIPPED)
def test_refining_pays_with_shipped_models(name: str) -> None:
    """More PSNR than its bytes would give at a higher level."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    x = np.ascontiguousarray(data.astronaut()[:256, :256])

    def point(quality: int, refine: int) -> tuple[float, float]:
        stream = encode(x, model=name, quality=quality, codec_options={"refine": refine})
        return math.log(len(stream)), flow.decibels(flow.squared_error(x, decode(stream)), x.size)

    (rate, psnr), (more, better), (above, best) = point(50, 0), point(50, 1), point(60, 0)
    assert better > psnr + (best - psnr) * (more - rate) / (above - rate) + 0.03


# ---------------------------------------------------------------- tiles and regions


@pytest.mark.parametrize("tile", [64, 128, 192])
@pytest.mark.parametrize("size", [(130, 200), (64, 65), (257, 63)], ids=str)
def test_a_region_is_the_same_part_of_the_image(model: packed_model.PackedModel, size: Any, tile: int) -> None:
    x = cases.image(*size, 3)
    data = coded(x, model, codec_options={"tile": tile})
    whole = decode(data)
    rng = np.random.default_rng(tile)
    regions = [(0, 0, size[1], size[0]), (size[1] - 1, size[0] - 1, 1, 1), (0, 0, 1, 1)]
    for _ in range(25):
        left, top = int(rng.integers(size[1])), int(rng.integers(size[0]))
        regions.append((left, top, int(rng.integers(1, size[1] - left + 1)), int(rng.integers(1, size[0] - top + 1))))
    for left, top, w, h in regions:
        part = decode(data, region=(left, top, w, h))
        assert (part == whole[top : top + h, left : left + w]).all(), (left, top, w, h)


def test_a_region_reads_only_its_tiles(model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    data = coded(cases.image(320, 320, 3), model, codec_options={"tile": 64})
    shapes = []
    inner = range_codec._decode_tile

    def counted(*args: Any) -> Any:
        shapes.append(args[3])
        return inner(*args)

    monkeypatch.setattr(range_codec, "_decode_tile", counted)
    decode(data, region=(85, 150, 10, 10))  # the halo of one latent reaches no other tile
    assert len(shapes) == 1
    decode(data, region=(70, 140, 20, 20))  # it reaches the tiles above and to the left
    assert len(shapes) == 1 + 4


# ---------------------------------------------------------------- the networks on a device, which here is torch's CPU


def on_the_emulator(program: Any, image: Any, level: int, size: Any, *, region: Any = None, max_memory: int = 0) -> Any:
    """In the place of Program.run_torch: the kernels for a GPU, emulated."""
    import torch

    x, y, w, h = region or (0, 0, size[1], size[0])
    out = torch.empty((h, w, program.channels), dtype=getattr(torch, program.dtype.name))
    assert image.is_contiguous()
    arguments = (image.data_ptr(), tuple(image.shape[:2]), out.data_ptr(), level, size)
    program.run_device(*arguments, region=(x, y, w, h), device="emulator", index=13, max_memory=max_memory)
    return out


@pytest.mark.parametrize("emulated", [False, True])
@pytest.mark.parametrize("passes", [1, 2, 4])
def test_a_device_gives_the_same_pixels(
    emulated: bool, passes: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    model = packed_model.load(range_cases.write(folder / f"device{passes}.safetensors", passes=passes))
    packed_model._installed.cache_clear()
    if emulated:
        monkeypatch.setattr(packed_model.Program, "run_torch", on_the_emulator)
    for shape in ((75, 161, 3), (70, 90, 4), (33, 40, 1)):
        data = coded(cases.image(*shape), model, codec_options={"tile": 64})
        for region in (None, (20, 30, 13, 3)):
            expected = decode(data, region=region).reshape(*((3, 13) if region else shape[:2]), shape[2])
            got = flow.decode_image(stream_of(data), fastcodec.Limits(), region=region, threads=2, device="cpu")
            assert isinstance(got, torch.Tensor)
            assert (got.numpy() == expected).all()


@pytest.mark.parametrize("error", [fastcodec.BackendError, LimitError])
def test_a_device_that_cannot_leaves_it_to_the_cpu(
    error: type[Exception], model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    calls = []

    def refuses(*arguments: Any, **options: Any) -> None:
        calls.append(options)
        raise error("not here")

    monkeypatch.setattr(packed_model.Program, "run_torch", refuses)
    data = coded(cases.image(40, 56), model)
    got = flow.decode_image(stream_of(data), fastcodec.Limits(), device="cpu")
    assert isinstance(got, np.ndarray)
    assert (got == decode(data)).all()
    assert len(calls) == 1
    with pytest.raises(LimitError):
        flow.decode_image(stream_of(data), fastcodec.Limits(max_memory=1), device="cpu")


def test_memory_does_not_depend_on_the_height(model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthesis is given a few rows of tiles at a time."""
    data = coded(cases.image(1300, 64, 1), model, codec_options={"tile": 64})
    expected = decode(data)
    rows = []
    run = packed_model.Program.run

    def counted(self: Any, x: Array, *args: Any, **options: Any) -> Any:
        rows.append(len(x))
        return run(self, x, *args, **options)

    monkeypatch.setattr(packed_model.Program, "run", counted)
    assert (decode(data) == expected).all()
    assert max(rows) <= 4 + 2 * 1 + 1


def test_limits(model: packed_model.PackedModel) -> None:
    data = coded(cases.image(200, 300, 3), model)
    with pytest.raises(LimitError, match="max_pixels"):
        decode(data, limits=fastcodec.Limits(max_pixels=200 * 300 - 1))
    with pytest.raises(LimitError, match="max_memory"):
        decode(data, limits=fastcodec.Limits(max_memory=200_000))
    decode(data, limits=fastcodec.Limits(max_memory=8 << 20))


# ---------------------------------------------------------------- models


def test_missing_models(tmp_path: Path, model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    data = coded(cases.image(20, 20, 3), model)
    monkeypatch.setenv("FASTCODEC_MODELS", str(tmp_path))
    monkeypatch.setattr(packed_model, "MODEL_FOLDER", tmp_path)
    assert info(data).model_name is None
    with pytest.raises(ModelError, match=f"model {model.id.hex()} is needed and not installed; it comes with"):
        decode(data)
    with pytest.raises(ModelError, match="codec range needs a model and none is installed"):
        encode(cases.image(20, 20, 3), codec="range")
    (status,) = [s for s in fastcodec.codecs() if s.name == "range"]
    assert not status.available
    assert "FASTCODEC_MODELS" in status.reason
    assert decode(encode(cases.image(9, 9, 3), codec="jpeg")).shape == (9, 9, 3)


def test_models_without_a_program(folder: Path, tmp_path: Path) -> None:
    x = cases.image(20, 20, 3)
    grey_only = packed_model.load(range_cases.write(tmp_path / "grey.safetensors", programs=SMALL))
    assert decode_with(tmp_path, coded(x[..., 0], grey_only)).shape == (20, 20)
    with pytest.raises(ModelError, match="has no program analysis_rgb; it has analysis_grey"):
        coded(x, grey_only)
    with pytest.raises(ValueError, match="was made for codec range, got codec='jpeg'"):
        encode(x, codec="jpeg", model=grey_only)


def decode_with(folder: Path, data: bytes, **options: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCODEC_MODELS", str(folder))
        packed_model._installed.cache_clear()
        return decode(data, **options)


BROKEN: list[tuple[str, Any, str]] = [
    ("latent", 17, "z_index|quant|dequant"),
    ("latent", "18", "latent must be 1 to 512"),
    ("latent", True, "latent must be 1 to 512"),
    ("passes", 3, "passes must be 1, 2 or 4"),
    ("passes", 5, "passes must be 1 to 4"),
    ("passes", 0, "passes must be 1 to 4"),
    ("skip", 64, "skip must be 0 to 63"),
    ("hyper", 5, "z_index must name a tensor uint8"),
    ("features", 9, "hyper_synthesis' makes 8 channels"),
    ("z_index", "nothing", "z_index must name a tensor uint8"),
    ("z_index", "quant", "z_index must name a tensor uint8"),
    ("dequant", ["quant"], "dequant must name a tensor int32"),
]


@pytest.mark.parametrize(("key", "value", "message"), BROKEN, ids=lambda v: str(v)[:20])
def test_broken_metadata(path: Path, tmp_path: Path, key: str, value: Any, message: str) -> None:
    meta, tensors, _ = packed_model.read(path)
    meta.pop("compressed", None)
    meta["range"][key] = value
    packed_model.save(tmp_path / "broken.safetensors", meta, tensors)
    with pytest.raises(ModelError, match=message):
        packed_model.load(tmp_path / "broken.safetensors")


def test_broken_programs(path: Path, tmp_path: Path) -> None:
    meta, tensors, _ = packed_model.read(path)
    meta.pop("compressed", None)
    for change, message in (
        (
            {"programs": {**meta["programs"], "rec1_rgb": meta["programs"]["prior_0"]}},
            "'rec1_rgb' is unknown to codec range",
        ),
        ({"programs": {**meta["programs"], "prior_0": meta["programs"]["prior_1"]}}, "expected 36 of int16 from 8"),
        ({"range": None}, "'range' must be an object"),
    ):
        packed_model.save(tmp_path / "broken.safetensors", {**meta, **change}, tensors)
        with pytest.raises(ModelError, match=message):
            packed_model.load(tmp_path / "broken.safetensors")
    high = {**tensors, "z_index": tensors["z_index"] + np.uint8(60)}
    packed_model.save(tmp_path / "broken.safetensors", meta, high)
    with pytest.raises(ModelError, match="z_index must be below 64"):
        packed_model.load(tmp_path / "broken.safetensors")


# ---------------------------------------------------------------- arguments


def test_arguments(model: packed_model.PackedModel) -> None:
    x = cases.image(20, 20, 3)
    for options, message in (
        ({"networks": "off"}, "range is made of networks"),
        ({"scale": 2}, "range is made of networks"),
        ({"container": "jpeg"}, "takes codec='jpeg'"),
        ({"subsampling": "4:4:4"}, "subsampling must be one of auto"),
        ({"codec_options": {"tile": 100}}, "multiple of 64"),
        ({"codec_options": {"tile": 32}}, "must be 64 to 16320"),
        ({"codec_options": {"speed": 3}}, "it takes: dead_zone, refine, tile"),
        ({"quality": 0}, "quality must be 1 to 100"),
    ):
        with pytest.raises(ValueError, match=message):
            coded(x, model, **options)
    assert coded(x, model, scale=1, networks="on") == coded(x, model)


def test_the_codec_that_is_taken_without_a_name(model: packed_model.PackedModel) -> None:
    x = cases.image(40, 40, 3)
    assert info(encode(x)).codec == "range"
    assert info(encode(x)).quality in (59, 60)  # the nearest that the model has
    assert info(encode(x, model=model)).codec == "range"
    assert info(encode(x, model="jpeg-fast-1")).codec == "jpeg"
    assert info(encode(x, model=packed_model.by_name("jpeg-fast-1"))).codec == "jpeg"
    for options in ({"networks": "off"}, {"scale": 2}, {"subsampling": "4:4:4"}, {"container": "jpeg"}):
        assert info(encode(x, **options)).codec == "jpeg"  # type: ignore[arg-type]


def test_the_first_shipped_model_only_decodes() -> None:
    model = packed_model.by_name("range-fast-1")
    assert model.id.hex() == "055865630b85d7f9"
    assert packed_model.read(model.path)[2] == model.id
    with pytest.raises(ModelError, match="model range-fast-1 only decodes"):
        encode(cases.image(20, 20, 3), model=model.name)
    assert packed_model.default_for("range") != model


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("quality", [5, 20, 60, 100])
def test_flat_colours_with_shipped_models(name: str, quality: int) -> None:
    for colour in [(v, v, v) for v in (0, 8, 60, 128, 200, 248, 255)] + list(itertools.product((0, 255), repeat=3)):
        flat = np.broadcast_to(np.array(colour, np.uint8), (80, 80, 3))
        error = decode(encode(flat, model=name, quality=quality)).astype(int) - flat
        assert np.abs(error.mean(axis=(0, 1))).max() < 4, colour


def test_tile_sides() -> None:
    for side, tile in ((1, 64), (768, 768), (1024, 1024), (1100, 1152), (1535, 1536), (1600, 832), (10_000, 1024)):
        assert range_encoder.tile_side(side, 5) == range_encoder.tile_side(5, side) == tile
    tiles = range_codec.Tiles.of(100, 300, 128)
    assert (tiles.rows, tiles.columns, len(tiles)) == (1, 3, 3)
    assert tiles.box(2) == (0, 16, 7, 19)


# ---------------------------------------------------------------- bad streams


def forged(data: bytes, payload: bytes, **fields: Any) -> bytes:
    """The stream with another payload and right checksums."""
    found = stream_of(data)
    return container.write_fcd(replace(found.header, **fields), payload, None, {})


def streams(model: packed_model.PackedModel) -> list[bytes]:
    return [
        coded(cases.image(90, 140, 3), model, quality=50, codec_options={"tile": 64}),
        coded(cases.image(40, 50, 1), model, quality=80),
    ]


def test_every_cut_is_an_error(model: packed_model.PackedModel) -> None:
    for data in streams(model):
        for n in range(0, len(data), 7):
            with pytest.raises(FormatError):
                decode(data[:n])
        payload = bytes(stream_of(data).payload)
        for n in [*range(40), *range(40, len(payload), 31)]:
            with pytest.raises(FormatError):
                decode(forged(data, payload[:n]))
        with pytest.raises(FormatError):
            decode(forged(data, payload + b"\0"))


def test_changed_payloads_give_an_error_or_the_same_pixels(model: packed_model.PackedModel) -> None:
    rng = np.random.default_rng(1)
    for data in streams(model):
        payload, expected = bytes(stream_of(data).payload), decode(data)
        for trial in range(500):
            changed = bytearray(payload)
            for _ in range(1 + trial % 3):
                at = int(rng.integers(min(len(payload), 30 if trial % 2 else 1 << 30)))
                changed[at] = int(rng.integers(256)) if trial % 5 else changed[at] ^ 1 << int(rng.integers(8))
            if changed == payload:
                continue
            try:
                pixels = decode(forged(data, bytes(changed)))
            except Error:
                continue
            assert (pixels == expected).all(), trial


@settings(max_examples=200, deadline=None)
@given(
    kind=st.integers(0, 3),
    state=st.integers(0, (1 << 32) - 1),
    rest=st.binary(max_size=300),
    width=st.integers(1, 64),
    height=st.integers(1, 64),
    level=st.integers(0, 25),
)
def test_random_payloads_are_errors(
    model: packed_model.PackedModel, kind: int, state: int, rest: bytes, width: int, height: int, level: int
) -> None:
    header = container.Header(width, height, 3, 7, 50, 0, networks=container.Networks(1, level, model.id))
    payload = bytes((1, kind)) + state.to_bytes(4, "little") + rest
    with pytest.raises(Error):
        decode(container.write_fcd(header, payload, None, {}))


def test_forged_headers(model: packed_model.PackedModel, path: Path) -> None:
    data = coded(cases.image(90, 140, 3), model, codec_options={"tile": 64})
    payload, networks = bytes(stream_of(data).payload), stream_of(data).header.networks
    assert networks is not None
    limits = fastcodec.Limits(max_memory=64 << 20)
    for kind, message, fields in (
        (FormatError, "level is 25", {"networks": replace(networks, level=25)}),
        (FormatError, "needs the model flag", {"networks": None}),
        (FormatError, "needs the model flag", {"networks": replace(networks, scale=2)}),
        (FormatError, "needs the model flag", {"trimmed": True}),
        (ChecksumError, "tile 0: CRC-32C", {"inner_crc": 5}),
        (FormatError, ".", {"width": 500}),
        (FormatError, ".", {"channels": 1, "height": 91 + 64}),
        (FormatError, "tiles in", {"width": 1 << 14, "height": 1 << 14}),
        (FormatError, "sides up to 1048576", {"width": (1 << 20) + 1, "height": 1}),
        (FormatError, "sides up to 1048576", {"width": 1, "height": (1 << 20) + 1}),
        (Error, ".", {"codec": 1}),
    ):
        with pytest.raises(kind, match=message):
            decode(forged(data, payload, **fields), limits=limits)
    with pytest.raises(FormatError, match="tile side is 0"):
        decode(forged(data, b"\0\0" + payload[1:]))
    with pytest.raises(TruncatedError):
        decode(forged(data, b"\0"))
    # One tile of 16,320 pixels a side, and nothing is allocated for it.
    with pytest.raises(LimitError, match="max_memory"):
        decode(forged(data, b"\xff" + payload[1:], width=16320, height=16320), limits=limits)
    with pytest.raises(FormatError, match="6 tiles in 1 bytes"):
        decode(forged(data, payload[:1]))
    with pytest.raises(TruncatedError):
        decode(forged(data, b""))
    jpeg = packed_model.default_for("jpeg")
    assert jpeg is not None
    with pytest.raises(ModelError, match="is for codec jpeg"):
        decode(forged(data, payload, networks=replace(networks, model_id=jpeg.id)))


# ---------------------------------------------------------------- the native parts


def segment(rng: np.random.Generator, n: int, spread: float) -> tuple[Array, Array]:
    """(symbols int16 [1, 1, n], their tables uint8 [n]); a few symbols are far from what their table expects."""
    index = rng.integers(0, 64, n).astype(np.uint8)
    symbols = np.rint(rng.normal(size=n) * np.array(rans.SIGMAS)[index] * spread)
    symbols = np.where(rng.random(n) < 0.002, rng.choice([-32768, 32767, 300, -1], n), symbols)
    return np.clip(symbols, -32768, 32767).astype(np.int16).reshape(1, 1, n), index


@pytest.mark.parametrize("spread", [0.05, 1.0])
@pytest.mark.parametrize("sizes", [[0], [1, 5], [100, 33, 64], [31, 9001], [40, 70, 131_073]], ids=str)
def test_segments_round_trip(sizes: list[int], spread: float) -> None:
    """Hyper-latents take any symbols and tables, so they serve as segments; the last one is a pass over one pixel."""
    tables, rng = rans.gaussian_tables().native, np.random.default_rng(len(sizes))
    made = [segment(rng, n, spread) for n in sizes if n]
    m = 1 + sizes[-1] % 999
    y, index = segment(rng, m, spread)
    prior = np.concatenate([np.zeros((1, 1, m), np.int16), index.reshape(1, 1, m).astype(np.int16)], axis=2)
    row = np.full(m, 1 << 20, np.int32)  # a symbol is one step of y, and q is 16 y
    sixteenth = np.full(m, 4096, np.int32)
    expected = np.clip(16 * y.astype(int), -32768, 32767) >> 4
    tiles = set()
    for backend in [name for name, there, _ in _core.backends() if there and name in cases.CPU_BACKENDS]:
        encoder = _core.TileEncoder(tables, backend)
        for symbols, which in made:
            encoder.hyper(symbols, which)
        y_hat = np.zeros((1, 1, m), np.int16)
        encoder.latents(y, prior, 0, 1, 0, row, sixteenth, range_encoder.dead_zone(0), y_hat)
        for tile in (encoder.finish(), encoder.finish(0)):
            tiles.add(tile)
            decoder = _core.TileDecoder(tile, tables, backend)
            for symbols, which in made:
                out = np.empty(symbols.shape, np.int16)
                decoder.hyper(which, out)
                assert (out == symbols).all()
            again = np.zeros((1, 1, m), np.int16)
            decoder.latents(prior, 0, 1, 0, sixteenth, again)
            assert (again == y_hat).all()
    assert len(tiles) == (1 if sum(-(-n // 32) * 32 for n in (*sizes, m)) > 1 << 17 else 2)
    assert (np.abs(y_hat - np.clip(expected, -2048, 2047)) <= 1).all()
    for tile in tiles if sum(sizes) < 20_000 else ():
        values = range_payload_oracle.Symbols(tile, range_payload_oracle.tables())
        for symbols, which in made:
            assert values.segment(which.tolist(), False) == symbols.ravel().tolist()
        assert len(values.segment(index.tolist(), True)) == m


@pytest.mark.parametrize("passes", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 2, 7, 16])
def test_latents_as_numpy_has_them(passes: int, channels: int) -> None:
    """Index, rounding and dequantisation, at the edges of int16."""
    rng = np.random.default_rng(channels)
    h, w, tables = 5, 6, rans.gaussian_tables()
    y = rng.choice([-32768, 32767, 0, 5, -700, 4000], (h, w, channels)).astype(np.int16)
    prior = np.concatenate(
        [rng.choice([-32768, 32767, 0, 7, -9], (h, w, channels)), rng.integers(-20, 90, (h, w, channels))], 2
    )
    prior = prior.astype(np.int16)
    quant = rng.choice([1, 65536, 300_000, 2**31 - 1], channels).astype(np.int32)
    dequant = rng.choice([1, 65536, 9_000, 2**31 - 1], channels).astype(np.int32)
    zone, skip = range_encoder.dead_zone(100), 9
    encoder = _core.TileEncoder(tables.native)
    y_hat = np.full((h, w, channels), 99, np.int16)
    expected = y_hat.copy()
    segments = []
    for k in range(passes):
        encoder.latents(y, prior, k, passes, skip, quant, dequant, zone, y_hat)
        values, index = [], []
        for i in range(h):
            for j in range(w):
                for c in range(channels):
                    square = {1: 0, 2: (i + j) % 2, 4: (0, 2, 3, 1)[i % 2 * 2 + j % 2]}[passes]
                    part = k ^ square
                    if not channels * part // passes <= c < channels * (part + 1) // passes:
                        continue
                    mean, table = int(prior[i, j, c]), min(max(int(prior[i, j, channels + c]), 0), 63)
                    r = 0
                    if table >= skip:
                        t = min(max((int(y[i, j, c]) * int(quant[c]) + 32768) >> 16, -32768), 32767)
                        size, fraction = divmod(abs(t - mean), 16)
                        r = (size + (fraction >= zone[table, min(size, 15)])) * (1 if t >= mean else -1)
                        values.append(r)
                        index.append(table)
                    q = min(max(16 * r + mean, -32768), 32767)
                    expected[i, j, c] = min(max((q * int(dequant[c]) + 32768) >> 16, -32768), 32767)
        segments.append((values, index))
    assert (y_hat == expected).all()
    for tile in (encoder.finish(), encoder.finish(0)):  # one state, 32 lanes
        symbols = range_payload_oracle.Symbols(tile, range_payload_oracle.tables())
        for k, (values, index) in enumerate(segments):
            assert symbols.segment(index, k == passes - 1) == values
        decoder = _core.TileDecoder(tile, tables.native)
        again = np.full((h, w, channels), 99, np.int16)
        for k in range(passes):
            decoder.latents(prior, k, passes, skip, dequant, again)
        assert (again == expected).all()


def test_bytes_of_both_ways_stay() -> None:
    """The golden streams are too small for 32 lanes; these are the same symbols by one state and by lanes."""
    n = np.arange(3000, dtype=np.int64)
    index = ((n * n * 7919 >> 4) % 64).astype(np.uint8)
    symbols = (((n * 2654435761 % 4093) - 2046) * index.astype(np.int64) // 9000).astype(np.int16)
    encoder = _core.TileEncoder(rans.gaussian_tables().native)
    encoder.hyper(symbols.reshape(50, 20, 3), np.array([10, 30, 50], np.uint8))
    prior = np.concatenate([np.zeros(3000, np.int16), index.astype(np.int16)]).reshape(2, 1, 1, 3000)
    prior = np.ascontiguousarray(prior.transpose(1, 2, 0, 3)).reshape(1, 1, 6000)
    one, step = np.full(3000, 1 << 20, np.int32), np.full(3000, 4096, np.int32)
    y = symbols.reshape(1, 1, 3000)
    encoder.latents(y, prior, 0, 1, 5, one, step, range_encoder.dead_zone(0), np.empty_like(y))
    found = [hashlib.sha256(tile).hexdigest()[:16] for tile in (encoder.finish(), encoder.finish(0))]
    assert found == ["84d39660d2f3391f", "3a0cab301803cbc4"]


def test_native_arguments_are_checked() -> None:
    tables = rans.gaussian_tables().native
    z, index = np.zeros((2, 2, 3), np.int16), np.zeros(3, np.uint8)
    encoder = _core.TileEncoder(tables)
    wrong: list[tuple[Array, Array, type[Exception]]] = [
        (z.astype(np.int32), index, TypeError),
        (z[..., ::2], index[:2], TypeError),
        (z, index[:2], ValueError),
        (z[0], index, ValueError),
        (z, index + np.uint8(64), ValueError),
    ]
    for symbols, tables_of, kind in wrong:
        with pytest.raises(kind):
            encoder.hyper(symbols, tables_of)
    row = np.ones(3, np.int32)
    prior = np.zeros((2, 2, 6), np.int16)
    with pytest.raises(ValueError, match=r"prior must have the shape \(2, 2, 6\)"):
        encoder.latents(z, prior[..., :5].copy(), 0, 1, 0, row, row, range_encoder.dead_zone(0), z)
    with pytest.raises(ValueError, match="pass must be one of"):
        encoder.latents(z, prior, 1, 1, 0, row, row, range_encoder.dead_zone(0), z)
    with pytest.raises(FormatError, match="ends too early"):
        _core.TileDecoder(b"", tables)
    with pytest.raises(FormatError, match="out of range"):
        _core.TileDecoder(bytes(5), tables)
    for view in (memoryview(bytes(40))[::-1], memoryview(bytes(40))[::2], memoryview(bytes(40)).cast("B", (8, 5))):
        with pytest.raises(TypeError, match="tile must be contiguous bytes"):
            _core.TileDecoder(view, tables)


def test_overhead(model: packed_model.PackedModel) -> None:
    """Header and section around the payload, and what the payload has beside symbols."""
    x = np.full((64, 64, 3), 128, np.uint8)
    data = coded(x, model)
    assert len(data) - len(stream_of(data).payload) == 28 + 7 - 2 * (64 < 128)
    wide = np.full((512, 768, 3), 128, np.uint8)
    data = coded(wide, model)
    assert len(data) - len(stream_of(data).payload) == 28 + 7


# ---------------------------------------------------------------- command line and benchmarks


def command(*arguments: str, cwd: Path, models: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastcodec", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "FASTCODEC_MODELS": str(models)},
    )  # fmt: skip


def test_command_line(path: Path, tmp_path: Path) -> None:
    Image.fromarray(cases.image(60, 80, 3)).save(tmp_path / "photo.png")
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(path, models)
    assert command("encode", "photo.png", "-c", "range", "--bpp", "1.5", cwd=tmp_path, models=models).returncode == 0
    (shown,) = json.loads(command("info", "photo.fcd", "--json", cwd=tmp_path, models=models).stdout)
    assert (shown["codec"], shown["model_name"], shown["networks"]) == ("range", "range-test-1000", True)
    assert shown["total_bytes"] <= 1.5 * 60 * 80 / 8
    assert command("verify", "photo.fcd", cwd=tmp_path, models=models).returncode == 0
    assert command("decode", "photo.fcd", "-o", "back.png", cwd=tmp_path, models=models).returncode == 0
    assert (np.asarray(Image.open(tmp_path / "back.png")) == decode((tmp_path / "photo.fcd").read_bytes())).all()
    named = command("encode", "photo.png", "--model", "range-test-1000", "-o", "n.fcd", cwd=tmp_path, models=models)
    assert named.returncode == 0
    assert info((tmp_path / "n.fcd").read_bytes()).codec == "range"
    refused = command(
        "encode", "photo.png", "-c", "range", "--networks", "off", "-o", "x.fcd", cwd=tmp_path, models=models
    )
    assert (refused.returncode, "is made of networks" in refused.stderr) == (2, True)
    lost = command("decode", "photo.fcd", "-o", "lost.png", cwd=tmp_path, models=tmp_path)
    assert (lost.returncode, "is needed and not installed" in lost.stderr) == (3, True)


def test_bench_rd_against_other_codecs(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(cases.image(176, 192, 3)).save(photos / "a.png")
    result = report.bench_rd(
        [photos / "a.png"], tmp_path / "out", codec_names=("range", "webp"), qualities=(10, 40, 80), plot=False
    )
    part = result["codecs"]["range"]
    assert set(part["curves"]) == {"fastcodec[range]", "webp"}
    assert set(part["bd"]) == {"webp"}
    assert part["models"] == ["range-test-1000"]
    assert "| fastcodec[range] | webp |" in (tmp_path / "out" / "rd.md").read_text(encoding="utf-8")
    alone = report.bench_rd([photos / "a.png"], tmp_path / "alone", codec_names=("range",), qualities=(10, 80))
    assert (alone["codecs"]["range"]["anchor"], alone["codecs"]["range"]["bd"]) == (None, {})
    assert "At the same bytes" not in (tmp_path / "alone" / "rd.md").read_text(encoding="utf-8")
    terminal.print_bd(alone)


def test_compare_has_a_row(path: Path) -> None:
    found = compare.compare(cases.image(176, 192, 3), "a", target_bpp=2.0)
    (row,) = [entry for entry in found.entries if entry.key == "fastcodec-range"]
    assert row.bytes <= found.budget_bytes
    assert "model range-test-1000" in row.settings
