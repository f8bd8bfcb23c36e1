# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The `range` codec's networks in torch: the packed model computes what the simulation says."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install '.[train]'")
import torch.nn.functional as F  # noqa: E402
from fastcodec import metrics, packed_model, rans  # noqa: E402
from fastcodec.train import config as train_config  # noqa: E402
from fastcodec.train import optimiser, range_export, range_train  # noqa: E402
from fastcodec.train import range_model as rm  # noqa: E402
from fastcodec.train.train import TrainingError  # noqa: E402

SMALL = {
    "width": 16,
    "trunk": 2,
    "hidden": 16,
    "blocks": 1,
    "analysis_width": 24,
    "analysis_hidden": 24,
    "analysis_blocks": 2,
    "hyper_width": 16,
    "hyper_channels": 8,
    "features": 16,
    "prior_width": 24,
    "prior_mixes": 2,
}


def fresh_model() -> rm.RangeModel:
    torch.manual_seed(3)
    ramps = torch.rand(400, 3, 1, 1) + 0.1 * torch.randn(400, 3, 16, 16).cumsum(2).cumsum(3) / 8
    return rm.RangeModel(rm.principal_components(ramps, 24), **SMALL)


@pytest.fixture(scope="module")
def model() -> rm.RangeModel:
    """A small model with all weights away from their starting values."""
    model = fresh_model()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p) * (p.std() if p.numel() > 1 and p.std() > 0 else 1))
    return model.double().eval()


@pytest.fixture(scope="module")
def packed(model: rm.RangeModel, tmp_path_factory: pytest.TempPathFactory) -> packed_model.PackedModel:
    path = tmp_path_factory.mktemp("model") / "range-test-1.safetensors"
    range_export.export(model, {"name": "range-test-1"}, path)
    return packed_model.load(path)


def rows_last(x: torch.Tensor, dtype: str) -> np.ndarray:
    """[1, C, H, W] whole numbers -> [H, W, C]."""
    values = x.detach()[0].permute(1, 2, 0).numpy()
    assert (values == np.rint(values)).all()
    return np.ascontiguousarray(values.astype(dtype))


@pytest.mark.parametrize("level", [0, 57, 198])
def test_packed_programs_equal_the_simulation(
    model: rm.RangeModel, packed: packed_model.PackedModel, level: int
) -> None:
    rng = np.random.default_rng(level)
    image = rng.integers(0, 256, (128, 64, 3), dtype=np.uint8)
    image[:64] = image[:64] // 8 + 100
    x = torch.from_numpy(image).permute(2, 0, 1)[None].double()
    at = torch.tensor([level])
    run = {name: program.run for name, program in packed.programs.items()}
    with torch.no_grad():
        y = model.analysis(x, at, True)
        y_rows = rows_last(y, "i2")
        assert np.abs(y_rows).max() > 100
        np.testing.assert_array_equal(run["analysis_rgb"](image, level, (8, 4)), y_rows)
        z = model.hyper_analysis(y, at, True)
        np.testing.assert_array_equal(run["hyper_analysis"](y_rows, level, (2, 1)), rows_last(z, "i2"))
        features = model.hyper_synthesis(z, at, True)
        f_rows = rows_last(features, "i2")
        np.testing.assert_array_equal(run["hyper_synthesis"](rows_last(z, "i2"), level, (8, 4)), f_rows)
        both = np.concatenate([f_rows, y_rows], axis=2)
        for k in range(4):
            out = torch.cat(model.prior(k, features, y, at, True), dim=1)
            seen = both if k else f_rows
            np.testing.assert_array_equal(run[f"prior_{k}"](seen, level, (8, 4)), rows_last(out, "i2"))
        pixels = model.synthesis(y, at, True)
        np.testing.assert_array_equal(run["synthesis_rgb"](y_rows, level, (128, 64)), rows_last(pixels, "u1"))


def test_integers_are_close_to_the_float_networks() -> None:
    model = fresh_model().double().eval()
    image = 0.4 + 0.2 * torch.rand(1, 3, 8, 8).double().repeat_interleave(8, 2).repeat_interleave(8, 3)
    level = torch.tensor([120])
    with torch.no_grad():
        real, simulated = model.analysis(image, level, False), model.analysis(image * 255, level, True) * rm.COARSE
        assert (real - simulated).abs().mean() < 0.03 * real.abs().mean()
        y = real
        real, simulated = model.synthesis(y, level, False), model.synthesis((y / rm.COARSE).round(), level, True) / 255
        assert (real.clamp(0, 1) - simulated).abs().mean() < 0.003


def test_grey_programs_are_the_colour_programs_on_equal_colours(packed: packed_model.PackedModel) -> None:
    grey = np.random.default_rng(5).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    y = packed.programs["analysis_rgb"].run(np.repeat(grey, 3, axis=2), 0, (4, 4))
    np.testing.assert_array_equal(packed.programs["analysis_grey"].run(grey, 0, (4, 4)), y)
    pixels = packed.programs["synthesis_grey"].run(y // 8, 0, (64, 64)).astype(int)
    colour = packed.programs["synthesis_rgb"].run(y // 8, 0, (64, 64)).astype(int)
    inside = ((colour > 0) & (colour < 255)).all(axis=2)
    assert inside.mean() > 0.5
    mean = colour @ [42, 44, 42] / 128
    assert np.abs(pixels[..., 0] - mean)[inside].max() <= 1.1


def test_bits_of_the_loss_are_those_of_the_range_coder() -> None:
    rng = np.random.default_rng(1)
    index = np.repeat(np.arange(5, 60, dtype=np.uint8), 4000)
    sigma = rm.SIGMA_MIN * rm.SIGMA_RATIO ** index.astype(float)
    symbols = np.rint(rng.normal(size=index.size) * sigma).astype(np.int16)
    coded = 8 * len(rans.encode(symbols, index))
    bits = rm.index_bits(torch.from_numpy(symbols.astype(np.float32)), torch.from_numpy(index.astype(np.float32)))
    assert float(bits.sum()) == pytest.approx(coded, rel=0.01)


def test_far_symbols_have_finite_rising_bits() -> None:
    v = torch.linspace(0, 3000, 3001, requires_grad=True)
    bits = rm.gaussian_bits(v, torch.tensor(math.log(0.11)))
    bits.sum().backward()
    assert torch.isfinite(bits).all()
    assert (bits.diff() >= -1e-3).all()
    assert torch.isfinite(v.grad).all()


def test_dead_zone_rounds_like_the_encoder() -> None:
    from fastcodec.range_encoder import DEAD_ZONE, dead_zone

    assert round(100 * rm.DEAD_ZONE) == DEAD_ZONE
    thresholds = dead_zone(DEAD_ZONE)
    for index in (8, 16, 24, 32, 44):
        reach = min(3 * rm.SIGMA_MIN * rm.SIGMA_RATIO**index + 0.5, 15.0)
        v = torch.linspace(-reach, reach, 12001)
        got = rm.dead_zone(v, torch.full_like(v, index)).numpy()
        size = np.abs(v.numpy())
        k = np.floor(size).astype(int)
        want = (k + (16 * (size - k) >= thresholds[index, k])) * np.sign(v.numpy())
        assert (got != want).mean() < 0.06


@pytest.mark.parametrize("mode", [{"hard": True}, {"hard": True, "quantised": True}], ids=["real", "integer"])
def test_hard_stage_leaves_the_encoder_alone(mode: dict[str, bool], photos: Path) -> None:
    model = fresh_model().train()
    run = range_train.Run(model, copy.deepcopy(model))
    before = copy.deepcopy(model.state_dict())
    data = range_train.Photos(photos, hold_out=2, min_size=64)
    stage = {"muon": True, **mode}
    step = range_train.Step(run, range_train.Worker(0, 1, torch.device("cpu")), stage, data, 64, 2)
    for i in range(3):
        choice = range_train.Choice.draw(data, random.Random(i), {"crop": 64, "share_grey": 0.5}, 2)
        step(choice, [1e-3, 1e-3], i)
    after = model.state_dict()
    changed = {k for k in after if not torch.equal(after[k], before[k])}
    assert not {k for k in changed if k.startswith(("analysis", "hyper_analysis", "log_gain"))}
    assert {"synthesis", "priors", "hyper_synthesis"} <= {k.split(".")[0] for k in changed}
    # Its symbols are those of before: y, z and the quantiser's steps are.
    image, level = torch.rand(1, 3, 64, 64), torch.tensor([120])
    old = fresh_model().train()
    old.load_state_dict(before)
    with torch.no_grad():
        for a, b in zip(model.integer_gains(), old.integer_gains(), strict=True):
            assert torch.equal(a, b)
        assert torch.equal(model.analysis(image, level, False), old.analysis(image, level, False))


def tiny_config() -> dict:
    return {
        "name": "range-test-1",
        "seed": 1,
        "data": {"hold_out": 2, "crop": 64, "batch": 2, "share_grey": 0.5, "patches": 500},
        "codec": {"name": "range"},
        "networks": {**SMALL, "latent": 24},
        "stage": [
            {"steps": 3, "lr": 1e-3},
            {"steps": 2, "lr": 1e-3, "hard": True, "muon": True},
            {"steps": 2, "lr": 1e-4, "quantised": True},
        ],
    }


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(2)
    for i in range(4):
        smooth = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(smooth).resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.mark.parametrize("threads", [1, 2])
def test_training_runs_exports_and_resumes(photos: Path, tmp_path: Path, threads: int) -> None:
    config = tiny_config()
    path = range_train.main(config, data=photos, out=tmp_path, threads=threads, device="cpu")
    assert packed_model.load(path).codec == "range"
    first = path.read_bytes()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sum("validation" in r for r in records) == 3
    # A finished run has nothing left to do; the export is the same.
    again = range_train.main(config, data=photos, out=tmp_path, threads=threads, device="cpu")
    assert again.read_bytes() == first
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["stage"] == 3
    model = range_train.make_model(config, range_train.Photos(photos, hold_out=2, min_size=64))
    range_train.load_weights(model, tmp_path / "float" / "range-test-1-1.safetensors")
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, state["average"][key], rtol=2e-3, atol=1e-4)


LEAVING = """
import os, sys, time
import torch
from fastcodec.train import range_train

def gloo_threads(policy):
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != os.getpid():
            try:
                os.sched_setscheduler(int(thread), policy, os.sched_param(0))
            except OSError:
                os._exit(77)

def work(rank, count, folder):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1)
    gloo_threads(os.SCHED_IDLE)  # they will still hold the tensor when this thread goes on
    range_train.Worker(0, 2, torch.device("cpu")).sum([torch.ones(10)])
    gloo_threads(os.SCHED_OTHER)
    sys.setswitchinterval(1000)  # now they wait for the interpreter
    start = time.perf_counter()
    while time.perf_counter() < start + 0.2:
        pass

range_train._work = work
range_train._spawned(0, 1, sys.argv[1:])
"""


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="makes threads late as Linux can")
def test_workers_leave_while_gloo_holds_a_tensor(tmp_path: Path) -> None:
    """Its thread, which cannot let go of it once the interpreter ends, must not abort a worker that has finished."""
    for turn in range(2):
        (tmp_path / str(turn)).mkdir()
        command = [sys.executable, "-c", LEAVING, str(tmp_path / str(turn))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 77:
            pytest.skip("threads may not be made late here")
        assert done.returncode == 0, done.stderr


def test_distortion_may_be_ms_ssim() -> None:
    """The loss is what it says; of two images with the same squared error the one with the structure costs less."""
    model, level = fresh_model(), torch.tensor([150])
    generator = torch.Generator().manual_seed(2)
    image = F.interpolate(torch.rand(1, 3, 48, 48, generator=generator), scale_factor=4, mode="bicubic").clamp(0, 1)
    shifted = image + 0.1
    noise = torch.randn(image.shape, generator=generator)
    noisy = (image + 0.1 * noise / noise.square().mean().sqrt()).requires_grad_()
    none = torch.zeros(1)
    losses = {}
    for name, restored in (("shifted", shifted), ("noisy", noisy), ("same", image)):
        terms = range_train.loss_terms(model, (restored, none, none), image, level, "ms-ssim")
        losses[name] = terms["loss"].item()
        if name == "noisy":
            terms["loss"].sum().backward()
    assert losses["same"] == pytest.approx(0, abs=1e-4)
    assert 0 < losses["shifted"] < 0.5 * losses["noisy"]
    a, b = ((x.detach()[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy() for x in (image, noisy))
    lam = model.lambda_of(level).item()
    expected = 0.02 * 255**2 * lam * (1 - metrics.ms_ssim(a, b)) * (lam / 0.01) ** -0.4
    assert losses["noisy"] == pytest.approx(expected, rel=0.1)
    assert noisy.grad is not None
    assert torch.isfinite(noisy.grad).all()


def test_training_stops_at_a_loss_that_is_not_a_number(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(*args: object) -> dict[str, torch.Tensor]:
        return {"loss": torch.tensor([math.nan], requires_grad=True)}

    monkeypatch.setattr(range_train, "loss_terms", spoilt)
    with pytest.raises(TrainingError, match="finite"):
        range_train.main(tiny_config(), data=photos, out=tmp_path, threads=1, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"hold_out": 2, "crop": 100, "batch": 2, "share_grey": 0}}, "multiple of 64"),
        ({"stage": [{"lr": 1e-3}]}, "either steps or minutes"),
        ({"stage": [{"steps": 3}]}, "stage.lr must be"),
        ({"distortion": "ssim"}, "distortion must be mse or ms-ssim, got 'ssim'"),
        ({"distortion": "ms-ssim"}, "needs data.crop above 160, got 64"),
    ],
)
def test_config_faults_are_named(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_config.check_range_config({**tiny_config(), **change})


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in Path(train_config.__file__).parent.glob("configs/range_*.toml"))
)
def test_the_shipped_configs_fit_their_networks(name: str) -> None:
    config = train_config.load_config(name)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in config["networks"].items()}
    patches = torch.rand(900, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = rm.RangeModel(rm.principal_components(patches, options.pop("latent", 320)), **options).eval()
    with torch.no_grad():
        restored, bits_y, bits_z = model(torch.rand(1, 3, 64, 128), torch.tensor([99]))
    assert restored.shape == (1, 3, 64, 128)
    assert torch.isfinite(bits_y + bits_z).all()


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_muon_makes_singular_values_alike(shape: tuple[int, int]) -> None:
    g = (
        torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
        * torch.tensor([1e-4, 1.0, 300.0])[:, None, None]
    )
    got = optimiser.orthogonalise(g)
    u, _, v = torch.linalg.svd(g, full_matrices=False)
    inside = u.mT @ got @ v.mT
    values = torch.diagonal(inside, dim1=1, dim2=2)
    assert ((values > 0.5) & (values < 1.3)).float().mean() > 0.9  # the smallest may need more steps
    assert (inside - torch.diag_embed(values)).abs().max() < 0.02


def test_optimiser_goes_on_from_its_state() -> None:
    def start() -> tuple[list[torch.Tensor], optimiser.Optimiser]:
        generator = torch.Generator().manual_seed(4)
        params = [torch.randn(s, generator=generator).requires_grad_() for s in [(6, 4, 3, 3), (6, 4, 3, 3), (8,)]]
        return params, optimiser.Optimiser([params], [True], torch.device("cpu"))

    def step(params: list[torch.Tensor], opt: optimiser.Optimiser, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator)
        opt.set_rates([0.01])
        opt.step()

    params, opt = start()
    before = [p.detach().clone() for p in params]
    step(params, opt, 0)
    # The size of a step: Adam's first is the rate, Muon's about 0.2 of it, root mean square.
    assert (params[2] - before[2]).abs().mean().item() == pytest.approx(0.01, rel=0.01)
    assert 0.1 < ((params[0] - before[0]).square().mean().sqrt() / 0.01).item() < 0.25
    middle, state = [p.detach().clone() for p in params], copy.deepcopy(opt.state_dict())
    step(params, opt, 1)
    others, other = start()
    with torch.no_grad():
        for p, m in zip(others, middle, strict=True):
            p.copy_(m)
    other.load_state_dict(state)
    step(others, other, 1)
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-7)


def test_squares_are_pieces_of_the_photographs_in_four_orientations(photos: Path) -> None:
    data = range_train.Photos(photos, hold_out=2, min_size=64)
    rng, seen = random.Random(0), set()
    for _ in range(40):
        index = rng.choice(data.train)
        image = data.image(index).numpy()
        crop = data.crop(rng, 64, index).numpy()
        found = [
            (y, x, k)
            for k, turned in enumerate((crop, crop[:, ::-1], crop.transpose(1, 0, 2), crop.transpose(1, 0, 2)[:, ::-1]))
            for y in range(33)
            for x in range(33)
            if np.array_equal(image[y, x], turned[0, 0]) and np.array_equal(image[y : y + 64, x : x + 64], turned)
        ]
        assert found
        seen |= {k for _, _, k in found}
    assert seen == {0, 1, 2, 3}
    choice = range_train.Choice.draw(data, rng, {"crop": 64, "share_grey": 0.5}, 8)
    images = choice.images(data, 64)
    same = (images[:, 0] == images[:, 1]).flatten(1).all(1) & (images[:, 1] == images[:, 2]).flatten(1).all(1)
    assert torch.equal(same, choice.grey)
