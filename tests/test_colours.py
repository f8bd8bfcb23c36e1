# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Colours adapted to an image: exact whole numbers from planes to pixels, and what the codecs make of them."""

from __future__ import annotations

import tracemalloc

import fastcodec
import numpy as np
import pytest
from fastcodec import FormatError, colours, container, decode, encode
from fastcodec.codecs import CODECS
from hypothesis import given
from hypothesis import strategies as st
from test_codecs import picture, psnr

TAKERS = [codec for codec in CODECS.values() if "colours" in codec.options]


def test_from_planes_is_as_format_md_says() -> None:
    rng = np.random.default_rng(3)
    planes = rng.integers(0, 256, (150, 40, 3), dtype=np.uint8)
    planes[:8] = rng.choice([0, 255], (8, 40, 3))
    for matrix in (rng.integers(-128, 128, (3, 3), dtype=np.int8), np.full((3, 3), -128, np.int8)):
        exact = 128 + ((np.int64(planes) - 128) @ np.int64(matrix).T + 32 >> 6)
        assert (colours.from_planes(planes, matrix) == exact.clip(0, 255)).all()
        assert (colours.read(matrix.tobytes()) == matrix).all()


@given(seed=st.integers(0, 1000), height=st.integers(1, 70), width=st.integers(1, 70))
def test_planes_and_back_lose_little_and_saturate_nowhere(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 256, (height, width, 1)) * rng.uniform(0, 1.5, 3) * rng.choice([1, -1], 3)
    image = (base + rng.integers(-40, 300, 3) + rng.normal(0, 9, (height, width, 3))).clip(0, 255).astype(np.uint8)
    matrix = colours.adapted(image)
    again = colours.from_planes(colours.to_planes(image, matrix), matrix)
    assert np.abs(image.astype(int) - again).max() <= 3
    assert image.size < 300 or np.abs(image.astype(float) - again).mean() < 0.9


def test_the_first_plane_takes_the_line_of_the_colours() -> None:
    ramp = np.linspace(0, 120, 96)[:, None] + np.linspace(0, 100, 80)[None]
    image = np.stack([ramp, 0.5 * ramp + 40, 200 - 0.7 * ramp], axis=-1).astype(np.uint8)
    planes = colours.to_planes(image, colours.adapted(image)).astype(float)
    spread = planes.std(axis=(0, 1))
    assert spread[0] > 20 * spread[1] > 0
    assert (colours.adapted(np.full((5, 5, 3), 7, np.uint8)) != 0).sum() == 3  # no edges, no preference


@pytest.mark.parametrize("shape", [(40, 30000, 3), (30000, 40, 3)])
def test_long_images_take_little_memory(shape: tuple[int, int, int]) -> None:
    image = np.resize(picture(60, 90, 3), shape)
    tracemalloc.start()
    matrix = colours.adapted(image)
    again = colours.from_planes(colours.to_planes(image, matrix), matrix)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * image.size + (1 << 25)
    assert np.abs(image.astype(int) - again).max() <= 3


def test_large_images_are_sampled() -> None:
    image = picture(600, 400, 3)
    whole, colours_of = colours.adapted(image), colours._SAMPLES
    try:
        colours._SAMPLES = image.size // 5
        some = colours.adapted(image)
    finally:
        colours._SAMPLES = colours_of
    assert np.abs(whole.astype(int) - some).max() <= 12


@pytest.mark.parametrize("codec", TAKERS, ids=lambda c: c.name)
def test_adapted_colours_round_trip_through_the_trimmed_form(codec: fastcodec.codecs.Codec) -> None:
    for size in ((1, 1), (9, 17), (64, 47)):
        x = picture(*size, 3)
        for chroma in codec.subsamplings or ("auto",):
            files = codec.encode_all(x, 90, chroma, {"colours": "adapted"})
            y = codec.decode(files[0], x.shape)
            for file in files:
                assert file[:2] == b"\xff\xff"
                payload = codec.trim(file, x.shape, 90)
                if payload is None:
                    assert codec.name == "jpeg2000"  # fewer decompositions
                    assert min(size) < 32
                else:
                    assert payload[:11] == file[:11]
                    assert codec.restore(memoryview(payload), x.shape, 90) == file
                assert (codec.decode(file, x.shape) == y).all()
                matrix = colours.read(file[2:11])
                assert codec.planes is not None
                assert (colours.from_planes(codec.planes.decode(file[11:], x.shape), matrix) == y).all()
    assert psnr(x, y) > 30


@pytest.mark.parametrize(("codec", "quality"), [("jpeg", 30), ("jpeg", 80), ("jpeg2000", 35)])
def test_adapted_colours_give_a_photograph_in_fewer_bytes(codec: str, quality: int) -> None:
    photo = pytest.importorskip("skimage.data", reason="scikit-image is not installed").astronaut()
    entry = CODECS[codec]
    sizes, errors = [], []
    for options in ({}, {"colours": "adapted"}):
        file = entry.encode(photo, quality, options={**options, **({"tables": "tuned"} if codec == "jpeg" else {})})
        sizes.append(len(file))
        errors.append(psnr(photo, entry.decode(file, photo.shape)))
    # 6 dB a bit of each of the coefficients that are coded; a tenth of a decibel is worth more than 1 % here.
    assert np.log(sizes[1] / sizes[0]) < 0.12 * (errors[1] - errors[0]) - 0.015


def test_streams_say_how_their_planes_become_colours() -> None:
    x = picture(40, 60, 3)
    for codec in ("jpeg", "jpeg2000"):
        data = encode(x, codec=codec, networks="off", codec_options={"colours": "adapted"})
        assert container.read(data, fastcodec.Limits()).payload[:2] == b"\xff\xff"
        assert psnr(x, decode(data)) > 25
        grey = encode(x[..., :1], codec=codec, networks="off", codec_options={"colours": "adapted"})
        assert grey == encode(x[..., :1], codec=codec, networks="off")
    with pytest.raises(ValueError, match="drop that option"):
        encode(x, codec="jpeg", container="jpeg", codec_options={"colours": "adapted"})


@pytest.mark.parametrize("codec", TAKERS, ids=lambda c: c.name)
def test_hostile_prefixes(codec: fastcodec.codecs.Codec) -> None:
    x = picture(16, 24, 3)
    file = codec.encode(x, 60, options={"colours": "adapted"})
    for bad, shape in ((file[:9], x.shape), (file, (16, 24, 1)), (b"\xff\xff", x.shape)):
        with pytest.raises(FormatError, match="adapted colours"):
            codec.decode(bad, shape)
        with pytest.raises(FormatError, match="adapted colours"):
            codec.restore(memoryview(bad), shape, 60)
    with pytest.raises(fastcodec.Error):
        codec.decode(file[:11] + file, x.shape)  # one inside the other
    with pytest.raises(fastcodec.Error):
        codec.decode(file[:11], x.shape)
