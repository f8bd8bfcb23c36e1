# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder's search and the decoder's path with networks: random models, and programs that know the answer."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cases
import fastcodec
import numpy as np
import pytest
from fastcodec import (
    FormatError,
    ModelError,
    container,
    decode,
    encode,
    flow,
    info,
    metrics,
    packed_model,
    wrapped_encoder,
)
from fastcodec.codecs import CODECS, Codec
from fastcodec.flow import squared_error
from hypothesis import given, settings
from hypothesis import strategies as st
from test_codecs import picture, psnr, usable

JPEG = CODECS["jpeg"]
LEVELS = (10, 30, 50, 70, 90)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cases.write_model(tmp_path_factory.mktemp("models") / "jpeg-random.safetensors", levels=LEVELS)


@pytest.fixture
def model(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> packed_model.PackedModel:
    """A random model of every program, installed the way a user would."""
    monkeypatch.setenv("FASTCODEC_MODELS", str(model_file.parent))
    return packed_model.by_name("jpeg-random").load()


# ---------------------------------------------------------------- small parts


def test_squared_error_is_exact() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1, 1), (300, 7, 3), (513, 40, 1)):
        a, b = rng.integers(0, 256, (2, *shape), np.uint8)
        assert squared_error(a, b) == int(((a.astype(np.int64) - b) ** 2).sum())
    black = np.zeros((256, 100, 3), np.uint8)
    assert squared_error(black, black + 255) == 255 * 255 * black.size


def counting(values: Any) -> tuple[Any, list[int]]:
    """values[1] .. as a function, and the places it was called with."""
    calls: list[int] = []
    return lambda place: calls.append(place) or values[place], calls


@given(
    steps=st.lists(st.sampled_from([0.0, 0.001, 0.03, 0.5, 20.0]), min_size=1, max_size=100),
    limit=st.floats(-1, 60), near=st.none() | st.integers(-3, 140), within=st.integers(0, 3),
)  # fmt: skip
def test_last_within_finds_the_border_of_any_curve(
    steps: list[float], limit: float, near: int | None, within: int
) -> None:
    values = [-math.inf, *np.cumsum(steps).tolist()]
    last, answer = len(steps), max(i for i, value in enumerate(values) if value <= limit)
    value, calls = counting(values)
    if within <= answer:
        assert wrapped_encoder.last_within(value, limit, last, near, within=within) == (answer or None)
    assert len(set(calls)) == len(calls) <= 8 + 6
    assert all(within < place <= last for place in calls)


def test_a_straight_curve_takes_few_values() -> None:
    for slope, near in ((0.035, 50), (0.02, 50), (0.06, 50), (0.035, None), (0.04, 75), (1.0, 30)):
        for answer in range(101):
            value, calls = counting([slope * (place - 0.5) for place in range(101)])
            assert wrapped_encoder.last_within(value, slope * answer, near=near) == (answer or None)
            assert len(calls) <= 5
            assert near is None or abs(near - answer) > 1 or slope == 1.0 or len(calls) <= 3


def test_values_that_do_not_rise_end_the_search_too() -> None:
    for values in (np.zeros(101), -np.arange(101.0), np.tile([1.0, 9.0], 51)):
        value, calls = counting(values)
        found = wrapped_encoder.last_within(value, 5.0, near=40)
        assert found is None or values[found] <= 5
        assert len(calls) <= 14


def test_subsampling_alone_does_nothing_to_grey_and_much_to_thin_colours() -> None:
    grey = picture(31, 40, 1).repeat(3, 2)
    assert wrapped_encoder.subsampling_error(grey) == 0
    stripes = grey.copy()
    stripes[:, ::2, 0] = 255
    through = JPEG.decode(JPEG.encode(stripes, 100, "4:2:0"), stripes.shape)
    assert wrapped_encoder.subsampling_error(stripes) == pytest.approx(squared_error(stripes, through), rel=0.1)
    assert wrapped_encoder.subsampling_error(picture(1, 1, 3)) == 0


@pytest.mark.parametrize("channels", [1, 3])
def test_halving_alone_does_nothing_to_ramps_and_much_to_stripes(channels: int) -> None:
    ramp = np.broadcast_to(np.arange(61, dtype=np.uint8)[:, None, None] * 2, (61, 45, channels))
    assert wrapped_encoder.halving_error(np.ascontiguousarray(ramp)) < ramp.size
    stripes = np.zeros((61, 45, channels), np.uint8)
    stripes[:, ::2] = 100
    assert wrapped_encoder.halving_error(stripes) > 2000 * stripes.size
    assert wrapped_encoder.halving_error(picture(1, 1, channels)) == 0


# ---------------------------------------------------------------- the decoder with networks


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (17, 31), (64, 48), (71, 97)])
def test_decode_is_codec_then_program(
    size: tuple[int, int], channels: int, scale: int, model: packed_model.PackedModel
) -> None:
    x = picture(*size, channels)
    data = encode(x, quality=60, model=model, networks="on", scale=scale)
    i = info(data)
    assert (i.networks, i.scale, i.model, i.model_name) == (True, scale, model.id.hex(), "jpeg-random")
    assert i.level == min(range(5), key=lambda row: abs(LEVELS[row] - i.quality))
    stream = container.read(data, fastcodec.Limits())
    shape = stream.header.inner_shape
    file = JPEG.restore(memoryview(stream.payload), shape, i.quality)
    program = model.programs[f"rec{scale}_{'rgb' if channels == 3 else 'grey'}"]
    expected = program.run(JPEG.decode(file, shape), i.level, size)
    for threads in (1, 2, None):
        assert np.array_equal(decode(data, threads=threads).reshape(x.shape), expected)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_region_is_a_crop_of_the_restored_image(scale: int, model: packed_model.PackedModel) -> None:
    x = np.dstack([picture(83, 101, 3), picture(83, 101, 1, 9)])
    data = encode(x, quality=40, model=model, networks="on", scale=scale)
    whole = decode(data)
    assert np.array_equal(whole[..., 3], x[..., 3])
    rng = np.random.default_rng(2)
    for _ in range(25):
        left, top = int(rng.integers(101)), int(rng.integers(83))
        w, h = int(rng.integers(1, 102 - left)), int(rng.integers(1, 84 - top))
        assert np.array_equal(decode(data, region=(left, top, w, h)), whole[top : top + h, left : left + w])


def test_the_jpeg_container_restores_too(model: packed_model.PackedModel) -> None:
    x = picture(40, 56, 3)
    data = encode(x, quality=50, model=model, networks="on", container="jpeg")
    plain = encode(x, quality=50, model=model, networks="on", scale=1)
    assert (info(data).container, info(data).scale) == ("jpeg", 1)
    assert np.array_equal(decode(data), decode(plain))


def test_other_codecs_take_a_model_of_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases.write_model(tmp_path / "m.safetensors", codec="webp", width=8, blocks=1)
    monkeypatch.setenv("FASTCODEC_MODELS", str(tmp_path))
    data = encode(picture(40, 56, 3), codec="webp", model="webp-random", networks="on", scale=2)
    assert (info(data).codec, info(data).scale) == ("webp", 2)
    assert decode(data).shape == (40, 56, 3)


# ---------------------------------------------------------------- RecCNN on another device, which here is torch's CPU


@pytest.mark.parametrize("region", [None, (30, 11, 40, 50)])
@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_device_runs_the_network_on_the_inner_image(
    channels: int, scale: int, region: flow.Region | None, model: packed_model.PackedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    torch = pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    x = np.dstack([picture(71, 97, channels - 1 + channels % 2), picture(71, 97, 1, 9)][: 2 - channels % 2])
    data = encode(x, quality=60, model=model, networks="on", scale=scale)
    expected = decode(data, region=region)
    header = container.read(data, fastcodec.Limits()).header
    calls: list[Any] = []
    run_torch, decode_image = packed_model.Program.run_torch, flow.decode_image

    def seen(program: Any, image: Any, *arguments: Any, max_memory: int, **options: Any) -> Any:
        height, width, inner_channels = header.inner_shape
        assert (tuple(image.shape), image.dtype) == ((height, width, inner_channels), torch.uint8)
        assert 0 < max_memory < fastcodec.Limits().max_memory
        calls.append((program, *arguments, options))
        return run_torch(program, image, *arguments, max_memory=max_memory, **options)

    def on_the_cpu(*arguments: Any, device: str, **options: Any) -> Any:
        assert device == "cuda:1"
        return decode_image(*arguments, device="cpu", **options)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(packed_model.Program, "run_torch", seen)
    monkeypatch.setattr(flow, "decode_image", on_the_cpu)
    got = decode(data, out="torch", device="cuda:1", region=region)
    assert got.is_contiguous()
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy().reshape(expected.shape), expected)
    program = model.programs[f"rec{scale}_{'rgb' if channels > 2 else 'grey'}"]
    assert calls == [(program, header.networks.level, (71, 97), {"region": region})]


@pytest.mark.parametrize("error", [fastcodec.BackendError, fastcodec.LimitError])
def test_a_device_that_cannot_run_the_network_leaves_it_to_the_cpu(
    error: type[Exception], model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="hands over torch tensors: pip install torch")
    calls = Counter()

    def refuses(*arguments: Any, **options: Any) -> None:
        calls["run_torch"] += 1
        raise error("not here")

    monkeypatch.setattr(packed_model.Program, "run_torch", refuses)
    data = encode(picture(40, 56, 3), model=model, networks="on")
    got = flow.decode_image(container.read(data, fastcodec.Limits()), fastcodec.Limits(), device="cpu")
    assert isinstance(got, np.ndarray)
    assert np.array_equal(got, decode(data))
    assert np.array_equal(decode(data, out="torch", device="cpu").permute(1, 2, 0).numpy(), got)
    assert calls["run_torch"] == 1  # a result on the CPU needs no detour


# ---------------------------------------------------------------- what can be wrong with a model


def test_an_unknown_model_is_named(model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(picture(16, 16, 3), model=model, networks="on")
    monkeypatch.setenv("FASTCODEC_MODELS", "")
    with pytest.raises(ModelError, match=model.id.hex()):
        decode(data)
    assert info(data).model_name is None


def test_models_that_do_not_fit(
    model: packed_model.PackedModel, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = picture(16, 16, 3)
    with pytest.raises(ValueError, match="made for codec jpeg, got codec='webp'"):
        encode(x, codec="webp", model=model)
    with pytest.raises(ModelError, match="no model named 'nobody'"):
        encode(x, model="nobody")
    with monkeypatch.context() as patch:
        patch.setattr(packed_model, "default_for", lambda *_: None)
        with pytest.raises(ModelError, match="no model for codec webp"):
            encode(x, codec="webp", networks="on")
    assert encode(x, model=model_file, networks="on") == encode(x, model=model, networks="on")
    foreign = tmp_path / "x.safetensors"
    foreign.write_bytes(b"no model")
    with pytest.raises(ModelError, match="not a readable packed model"):
        encode(x, model=foreign)


def with_programs(model: Any, **programs: Any) -> Any:
    return packed_model.PackedModel(model.id, model.name, model.codec, model.variant, programs, model.path)


def test_missing_and_mislabelled_programs(model: packed_model.PackedModel) -> None:
    x = picture(16, 16, 3)
    grey_only = with_programs(model, rec1_grey=model.programs["rec1_grey"])
    with pytest.raises(ModelError, match="for a RGB image and codec jpeg: there is model jpeg-random without"):
        encode(x, model=grey_only, networks="on")
    assert not info(encode(x, model=grey_only)).networks
    assert info(encode(x[..., 0], model=grey_only, networks="on")).networks
    for name, wrong in (("rec1_rgb", "rec2_rgb"), ("rec1_rgb", "rec1_grey")):
        with pytest.raises(ModelError, match="program rec1 gives"):
            encode(x, model=with_programs(model, **{name: model.programs[wrong]}), networks="on")


def test_a_stream_whose_level_or_program_is_not_there(
    model: packed_model.PackedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = picture(16, 16, 3)
    stream = container.read(encode(x, model=model, networks="on", scale=1), fastcodec.Limits())
    header = stream.header
    assert header.networks is not None
    wrong = container.Header(
        16, 16, 3, 1, header.quality, header.inner_crc, trimmed=True, networks=container.Networks(1, 5, model.id)
    )
    with pytest.raises(FormatError, match="level is 5, model jpeg-random has 5"):
        decode(container.write_fcd(wrong, bytes(stream.payload), None, {}))
    monkeypatch.setattr(packed_model, "find", lambda number: with_programs(model))
    with pytest.raises(ModelError, match="no RecCNN for RGB images at scale 1/1"):
        decode(container.write_fcd(header, bytes(stream.payload), None, {}))


# ---------------------------------------------------------------- the search, with programs that know the answer


class Knows:
    """A program that pulls every picture towards `answer`: 1.0 gives it exactly, 0.0 only resizes."""

    def __init__(self, answer: np.ndarray, strength: float, scale: float) -> None:
        self.answer, self.strength, self.scale = answer, strength, scale
        self.channels, self.levels = answer.shape[2], [20, 80]
        self.in_dtype = self.dtype = np.dtype(np.uint8)

    def level_for(self, quality: int) -> int:
        return int(quality > 50)

    def run(self, image: np.ndarray, level: int, out_size: tuple[int, int], **options: Any) -> np.ndarray:
        h, w = out_size
        if self.scale == 0.5:
            return np.ascontiguousarray(image[::2, ::2])
        plain = image.repeat(2, 0).repeat(2, 1) if self.scale == 2 else image
        mixed = plain[:h, :w] + self.strength * (self.answer.astype(float) - plain[:h, :w])
        return np.rint(mixed).astype(np.uint8)


def knowing_model(answer: np.ndarray, rec1: float, rec2: float) -> Any:
    programs = {"rec1": Knows(answer, rec1, 1.0), "rec2": Knows(answer, rec2, 2.0), "com2": Knows(answer, 0, 0.5)}
    named = {f"{name}_{'rgb' if answer.shape[2] == 3 else 'grey'}": program for name, program in programs.items()}
    return packed_model.PackedModel(b"knowing!", "knows", "jpeg", "fast", named, Path())  # type: ignore[arg-type]


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes such a model and lets the decoder find it."""

    def make(answer: np.ndarray, rec1: float = 0.0, rec2: float = 0.0) -> Any:
        model = knowing_model(answer, rec1, rec2)
        monkeypatch.setattr(packed_model, "find", lambda number: model)
        return model

    return make


X = picture(96, 128, 3)


@pytest.mark.parametrize(
    ("rec1", "rec2", "networks", "scale"), [(0, 0, False, 1), (0.5, 0, True, 1), (0.2, 0.95, True, 2)]
)
def test_the_best_candidate_wins(knowing: Any, rec1: float, rec2: float, networks: bool, scale: int) -> None:
    model = knowing(X, rec1, rec2)
    for target in ({"quality": 40}, {"target_bytes": 2500}, {"target_bpp": 1.5}, {"target_psnr": 33}):
        i = info(encode(X, model=model, **target))
        assert (i.networks, i.scale) == (networks, scale)


def test_tune_says_what_the_choice_is_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full size gives a grey level more everywhere, half size spoils a few pixels: SSIM hardly sees the first."""
    brighter = np.where(X < 240, X + 12, X).astype(np.uint8)
    noisy = X.copy()
    noisy[::2, ::2] = np.clip(noisy[::2, ::2].astype(int) + 12, 0, 255)
    programs = {"rec1_rgb": Knows(brighter, 1, 1.0), "rec2_rgb": Knows(noisy, 1, 2.0), "com2_rgb": Knows(X, 0, 0.5)}
    model = packed_model.PackedModel(b"tuning!!", "tunes", "jpeg", "fast", programs, Path())  # type: ignore[arg-type]
    monkeypatch.setattr(packed_model, "find", lambda number: model)
    monkeypatch.setattr(wrapped_encoder, "_HALVING_SHARE", math.inf)
    for target in ({"quality": 3}, {"target_bytes": 300}):
        by_psnr, by_ssim = (encode(X, model=model, tune=tune, **target) for tune in ("psnr", "ssim"))
        assert (info(by_psnr).scale, info(by_ssim).scale) == (2, 1)
        assert psnr(X, decode(by_psnr)) > psnr(X, decode(by_ssim))
        assert metrics.ssim(X, decode(by_psnr)) < metrics.ssim(X, decode(by_ssim))
    small = X[:10, :40]  # less than SSIM's window
    assert encode(small, codec="jpeg", tune="ssim") == encode(small, codec="jpeg")
    with pytest.raises(ValueError, match="codec range has nothing to choose from"):
        encode(X, tune="ssim")
    with pytest.raises(ValueError, match="tune must be"):
        encode(X, codec="jpeg", tune="vmaf")


@pytest.mark.parametrize("colours", [1, 3])
def test_the_codecs_options_of_a_model_go_with_its_networks(monkeypatch: pytest.MonkeyPatch, colours: int) -> None:
    x = picture(96, 128, colours)
    model = replace(knowing_model(x, 0.3, 0), codec_options={"tables": "tuned"})
    monkeypatch.setattr(packed_model, "find", lambda number: model)

    def first_byte(data: bytes) -> int:
        return container.read(data, fastcodec.Limits()).payload[0]

    for target in ({"quality": 40}, {"target_bytes": 2500}, {"target_psnr": 33}):
        data = encode(x, model=model, **target)
        assert info(data).networks
        assert first_byte(data) & 8
        decode(data)
        assert not first_byte(encode(x, model=model, networks="off", **target)) & 8
        assert not first_byte(encode(x, model=model, codec_options={"tables": "annex-k"}, **target)) & 8
    bare = encode(x, networks="off", quality=40)
    assert len(encode(x, model=model, quality=40)) <= len(bare) + 10  # the model's id and level
    sizes = [len(encode(x, model=model, networks="on", target_bytes=budget)) for budget in range(900, 1400, 50)]
    assert sum(sizes) > 0.985 * sum(range(900, 1400, 50))  # quarters of a quality leave little of a budget
    psnr33 = [len(encode(x, model=model, networks="on", scale=1, target_psnr=p)) for p in (33, 33.1, 33.2)]
    assert psnr33 == sorted(psnr33)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "must be an object"),
        ({"tables": "other"}, "must be one of annex-k, tuned"),
        ({"colour": 1}, "unknown to codec jpeg"),
        ({"smooth": "1"}, "must be int"),
    ],
)
def test_codec_options_of_a_model_are_checked(model_file: Path, tmp_path: Path, options: Any, message: str) -> None:
    meta, tensors, _ = packed_model.read(model_file)
    meta.pop("compressed", None)
    packed_model.save(tmp_path / "model.safetensors", {**meta, "codec_options": options}, tensors)
    with pytest.raises(ModelError, match=message):
        packed_model.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(("rec1", "rec2", "scale"), [(0.5, 0, 1), (0.2, 0.95, 2)])
def test_half_size_may_come_from_another_model(rec1: float, rec2: float, scale: int) -> None:
    older = knowing_model(X, 1.0, rec2)
    newer = replace(older, id=b"newer...", programs={"rec1_rgb": knowing_model(X, rec1, 0).programs["rec1_rgb"]})
    for target in (flow.Target("quality", 40), flow.Target("bytes", 2500), flow.Target("psnr", 33)):
        data = flow.encode_image(X, None, {}, flow.Settings(JPEG, newer, half=older), target)
        networks = container.read(data, fastcodec.Limits()).header.networks
        assert networks is not None
        assert (networks.scale, networks.model_id) == (scale, (newer if scale == 1 else older).id)


def test_comcnn_at_full_size_spends_what_it_saves_on_quality(knowing: Any) -> None:
    model = knowing(X, 0.9)
    plain = encode(X, model=model, quality=40, subsampling="4:2:0")
    assert info(plain).quality == 40
    model.programs["com1_rgb"] = Knows(np.full_like(X, 128), 0.5, 1.0)  # half the contrast: fewer bytes
    model.programs["rec1_rgb"] = Knows(X, 1.0, 1.0)
    data = encode(X, model=model, quality=40, subsampling="4:2:0")
    assert (info(data).scale, info(data).networks) == (1, True)
    assert info(data).quality > 40
    assert len(data) <= len(plain)


def test_forcing_overrules_the_measurement(knowing: Any) -> None:
    model = knowing(X, 0.5, 0.2)
    for forced, networks, scale in (
        ({"networks": "off"}, False, 1),
        ({"networks": "on"}, True, 1),
        ({"scale": 1}, True, 1),
        ({"scale": 2}, True, 2),
        ({"networks": "on", "scale": 2, "target_psnr": 20}, True, 2),
        ({"networks": "on", "scale": 2, "quality": 1}, True, 2),
    ):
        i = info(encode(X, model=model, **forced))
        assert (i.networks, i.scale) == (networks, scale)


@given(quality=st.integers(1, 100), rec1=st.floats(0, 0.5), rec2=st.floats(0, 1), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_auto_is_never_worse_than_off_at_the_same_payload(quality: int, rec1: float, rec2: float, seed: int) -> None:
    x = picture(47, 60, 3, seed)
    model = knowing_model(x, rec1, rec2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_model, "find", lambda number: model)
        auto, off = encode(x, model=model, quality=quality), encode(x, networks="off", quality=quality)
        assert info(auto).payload_bytes <= info(off).payload_bytes
        assert psnr(decode(auto), x) >= psnr(decode(off), x)
        budget = len(off) + 9
        auto = encode(x, model=model, target_bytes=budget)
        assert len(auto) <= budget
        assert psnr(decode(auto), x) >= psnr(decode(encode(x, networks="off", target_bytes=budget)), x)


def test_random_networks_are_switched_off(model: packed_model.PackedModel) -> None:
    assert not info(encode(X, model=model)).networks


@pytest.mark.parametrize("budget", [900, 1500, 4000, 10**6])
def test_target_bytes_is_kept_and_used(budget: int) -> None:
    data = encode(X, target_bytes=budget, networks="off", subsampling="4:2:0")
    assert len(data) <= budget
    i = info(data)
    if i.quality < 100:
        assert len(encode(X, quality=i.quality + 1, networks="off", subsampling="4:2:0")) > budget


@pytest.mark.parametrize("wanted", [25.0, 31.5, 36.0])
def test_target_psnr_is_reached_by_the_smallest_quality(wanted: float) -> None:
    data = encode(X, target_psnr=wanted, networks="off")
    assert psnr(decode(data), X) >= wanted
    assert psnr(decode(encode(X, quality=info(data).quality - 1, networks="off")), X) < wanted


@pytest.mark.parametrize("codec", ["jpeg", "avif"])
@pytest.mark.parametrize("target", [{"quality": 60}, {"target_bytes": 2500}, {"target_psnr": 23.5}])
def test_full_chroma_is_taken_where_it_is_better(codec: str, target: dict[str, float]) -> None:
    x = X.copy()
    x[:, ::2, 0] //= 2
    options = {"codec": codec, "networks": "off", **({"codec_options": {"speed": 9}} if codec == "avif" else {})}
    auto, half = (encode(x, subsampling=chroma, **options, **target) for chroma in ("auto", "4:2:0"))
    if "target_psnr" in target:
        assert len(auto) < len(half)
        assert psnr(decode(auto), x) >= target["target_psnr"]
    else:
        assert len(auto) <= target.get("target_bytes", len(half))
        assert psnr(decode(auto), x) > psnr(decode(half), x)


@pytest.mark.parametrize("quality", [20, 30])
def test_no_bare_file_of_so_many_bytes_is_better(quality: int) -> None:
    """A codec whose qualities are far apart: full chroma fills bytes that would be unused, though it hardly matters."""
    coarse = replace(
        JPEG, encode_file=lambda x, q, chroma, options: JPEG.encode_file(x, max(1, q // 10 * 10), chroma, options)
    )
    luma = X.mean(2, keepdims=True)
    x = np.rint(luma + 0.06 * (X - luma)).astype(np.uint8)
    bare = coarse.encode(x, quality, "4:4:4")
    error = squared_error(x, coarse.decode(bare, x.shape))
    assert wrapped_encoder.subsampling_error(x) < 0.05 * error
    data = flow.encode_image(x, None, {}, flow.Settings(coarse, None), flow.Target("bytes", len(bare)))
    assert squared_error(x, decode(data)) <= error


def test_full_chroma_is_not_tried_on_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    real = Codec.encode_all
    monkeypatch.setattr(
        Codec, "encode_all", lambda self, x, q, chroma, options: seen.add(chroma) or real(self, x, q, chroma, options)
    )
    for image in (X[..., 0], X[..., :1].repeat(3, 2)):
        for target in ({"quality": 40}, {"target_bytes": 2500}, {"target_psnr": 33}):
            encode(image, networks="off", **target)
    assert seen == {"auto"}


def test_target_psnr_turns_to_full_chroma_where_it_must() -> None:
    x = X.copy()
    x[:, ::2, 0] = 255
    half = encode(x, quality=100, networks="off", subsampling="4:2:0")
    wanted = psnr(decode(half), x) + 3
    assert psnr(decode(encode(x, target_psnr=wanted, networks="off")), x) >= wanted
    with pytest.raises(ValueError, match="out of reach"):
        encode(x, target_psnr=wanted, networks="off", subsampling="4:2:0")


def test_metadata_and_alpha_count_in_the_target() -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (96, 128, 1), np.uint8)
    data = encode(np.dstack([X, alpha]), codec="jpeg", target_bytes=15000)
    assert 14000 < len(data) <= 15000
    with pytest.raises(ValueError, match="out of reach"):
        encode(np.dstack([X, alpha]), codec="jpeg", target_bytes=5000)


def test_half_size_takes_the_better_chroma_format(model: packed_model.PackedModel) -> None:
    def error(subsampling: str) -> int:
        data = encode(X, model=model, scale=2, networks="on", subsampling=subsampling, target_bytes=2500)
        return squared_error(X, decode(data))

    errors = {mode: error(mode) for mode in ("4:2:0", "4:4:4", "auto")}
    assert errors["4:2:0"] != errors["4:4:4"]
    assert errors["auto"] == min(errors.values())


def test_half_size_below_its_worst_quality_is_still_coded(model: packed_model.PackedModel) -> None:
    data = encode(X, model=model, scale=2, networks="on", quality=1)
    assert info(data).scale == 2


def test_the_search_is_short(knowing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter()
    for name in ("encode_all", "decode"):
        real = getattr(Codec, name)

        def counted(*args: Any, name: str = name, real: Any = real, **kwargs: Any) -> Any:
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(Codec, name, counted)
    model = knowing(X, 0.3, 0.3)
    for target, encodes, decodes in (
        ({"quality": 50}, 22, 4),
        ({"target_bytes": 3000}, 16, 3),
        ({"target_psnr": 30}, 32, 20),
    ):
        calls.clear()
        encode(X, model=model, **target)
        assert calls["encode_all"] <= encodes
        assert calls["decode"] <= decodes


def test_behind_comcnn_the_next_level_may_fit_again(model: packed_model.PackedModel) -> None:
    """Bytes rise with quality, and fall where ComCNN goes to its next level."""
    search = wrapped_encoder._Search(X, flow.Settings(JPEG, model), None, {})
    com = model.programs["com2_rgb"]
    way = wrapped_encoder._Way(2, "4:2:0", model.programs["rec2_rgb"], com, model)

    def value(way: wrapped_encoder._Way, quality: float) -> float:
        return quality - 10 * com.level_for(quality)

    def best(limit: float) -> float:
        return max(quality for quality in range(1, 101) if value(way, quality) <= limit)

    assert [best(limit) for limit in (15, 28, 40, 60)] == [25, 48, 70, 100]
    for limit in (15, 28, 40, 60):
        for near in (None, 1, 50):
            assert search.last_within(way, value, limit, near=near) == best(limit)
    without = wrapped_encoder._Way(1, "4:2:0", model.programs["rec1_rgb"])
    assert search.last_within(without, lambda _, quality: quality, 20, near=20) == 20


@pytest.mark.parametrize("name", ["jpeg2000", "jxl"])
def test_parts_of_a_quality_leave_little_of_a_budget(name: str) -> None:
    codec = usable(CODECS[name])
    budgets = range(3000, 6000, 150)

    def unused(codec: Codec) -> float:
        made = [
            flow.encode_image(X, None, {}, flow.Settings(codec, None), flow.Target("bytes", budget))
            for budget in budgets
        ]
        return 1 - sum(map(len, made)) / sum(budgets)

    assert unused(codec) < 0.85 * unused(replace(codec, parts=(1, {})))


def test_of_two_forms_of_a_file_the_larger_is_soon_left_out() -> None:
    rng = np.random.default_rng(1)
    large = np.tile(X, (4, 4, 1)) + rng.integers(0, 20, (384, 512, 3), np.uint8)
    for image, least, most in ((X[:48, :48], 14, 14), (large, 9, 12)):
        made: list[bool] = []

        def encode_file(*args: Any, made: list[bool] = made) -> bytes:
            made.append(args[3]["progressive"])
            return JPEG.encode_file(*args)

        search = wrapped_encoder._Search(image, flow.Settings(replace(JPEG, encode_file=encode_file), None), None, {})
        way = wrapped_encoder._Way(1, "4:2:0")
        for quality in (80, 81, 82, 83, 79, 95, 78):
            smallest = min(len(JPEG.trim(f, image.shape, quality) or f) for f in JPEG.encode_all(image, quality))
            assert len(search.encode(way, quality).payload) == smallest
        assert least <= len(made) <= most
        search.encode(way, 80)
        assert len(made) <= most


def test_a_jpeg_without_adapted_colours_is_the_same_when_asked_for(knowing: Any) -> None:
    """Which changes the options of the bare file too: they must not be taken for the model's."""
    model = replace(knowing(X, 0.3), codec_options={"tables": "tuned", "colours": "adapted"})
    for target in ({"quality": 50}, {"target_bytes": 4000}, {"target_psnr": 33}):
        asked = encode(X, model=model, container="jpeg", codec_options={"colours": "fixed"}, **target)
        assert asked == encode(X, model=model, container="jpeg", **target)


def test_the_smallest_that_reaches_a_psnr_is_taken() -> None:
    search = wrapped_encoder._Search(X, flow.Settings(JPEG, None), None, {})
    way = wrapped_encoder._Way(1, "4:2:0")
    trials = {
        q: wrapped_encoder._Trial(way, q, 1000 if q < 20 else 10, 300 if q == 50 else 500 + int(q))
        for q in range(1, 101)
    }
    search.measure = lambda way, quality: trials[quality]  # type: ignore[method-assign]
    found = search.cheapest(way, flow.decibels(100, X.size), 100)
    assert found is trials[50]


def test_colours_are_adapted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Codec.prepare, Counter[bool]()

    def prepare(self: Codec, image: Any, options: Any) -> Any:
        calls[options.get("colours") == "adapted"] += 1
        return real(self, image, options)

    monkeypatch.setattr(Codec, "prepare", prepare)
    encode(X, codec="jpeg", networks="off", target_bytes=3000, codec_options={"colours": "adapted"})
    assert calls[True] == 1


def test_encoding_twice_gives_equal_bytes(model: packed_model.PackedModel) -> None:
    for networks in ("auto", "on"):
        assert encode(X, model=model, networks=networks) == encode(X, model=model, networks=networks, threads=1)


def test_psnr_of_equal_images_is_infinite() -> None:
    flat = np.full((16, 16, 3), 128, np.uint8)
    for target in (60, 250):
        data = encode(flat, codec="jpeg", target_psnr=target)
        assert math.isinf(flow.decibels(squared_error(decode(data), flat), flat.size))


def test_the_encoder_keeps_few_compact_images(model: packed_model.PackedModel) -> None:
    """Each may be as large as the image, and a search visits up to 7 levels."""
    x = picture(24, 32, 3)
    search = wrapped_encoder._Search(x, flow.Settings(JPEG, model), None, {})
    way = wrapped_encoder._Way(2, "4:2:0", model.programs["rec2_rgb"], model.programs["com2_rgb"])
    compact = [search.source(way, quality) for quality in LEVELS]
    assert len({image.tobytes() for image in compact}) == len(LEVELS)
    assert len(search.compact) == 2
    assert search.source(way, LEVELS[-1]) is compact[-1]
    assert (search.source(way, LEVELS[0]) == compact[0]).all()


def test_threads_are_fewer_where_memory_is_short(model: packed_model.PackedModel) -> None:
    """A limit that one thread keeps must not fail on a machine with many."""
    x = picture(900, 64, 3)
    data = encode(x, quality=60, model=model, networks="on", scale=1)
    program, size = model.programs["rec1_rgb"], (900, 64)
    one, many = (program.native.work_space_bytes(size, size, size, threads) for threads in (1, 14))
    limits = fastcodec.Limits(max_memory=900 * 64 * 20 + 2 * len(data))  # all that the rest of decoding asks for
    assert many > limits.max_memory - 2 * len(data) - 900 * 64 * 7 > one
    assert (decode(data, limits=limits, threads=14) == decode(data)).all()
    for threads in (14, None):
        expected = program.run(x, 0, size, threads=1)
        assert (flow.run_within(one, program, x, 0, size, None, threads) == expected).all()
        with pytest.raises(fastcodec.LimitError, match="work space of"):
            flow.run_within(one - 1, program, x, 0, size, None, threads)
