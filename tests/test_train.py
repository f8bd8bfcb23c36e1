# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Training: the simulated integer network is the exported one, and runs are what they say."""

import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'fastcodec[train]'")

import safetensors.torch  # noqa: E402
from fastcodec import packed_model  # noqa: E402
from fastcodec.train import distil, export, layers, losses, networks, resample, weights  # noqa: E402
from fastcodec.train import train as training  # noqa: E402

CONFIG = """
name = "tiny"
seed = 5
[data]
hold_out = 4
crop = 32
batch = 2
[codec]
name = "jpeg"
qualities = [10, 80]
log_quality = true
levels = [10, 40, 80]
period = 8
share_444 = 0.3
share_grey = 0.3
reuse = 2
[networks]
variant = "fast"
rec = { width = 8, blocks = 1 }
com = { width = 8, blocks = 1 }
[[stage]]
train = "rec"
scale = 1
steps = 2
lr = 1e-3
muon = true
[[stage]]
train = "rec"
scale = 1
quantised = true
steps = 2
lr = 1e-4
[[stage]]
train = "com"
scale = 1
steps = 2
lr = 1e-3
[[stage]]
train = "rec"
scale = 2
compact = "bicubic"
steps = 2
lr = 1e-3
[[stage]]
train = "com"
scale = 2
steps = 2
lr = 1e-3
[[stage]]
train = "joint"
scale = 2
steps = 2
lr = 1e-3
"""

TEACHER = """
name = "teacher"
seed = 6
[data]
hold_out = 4
crop = 32
batch = 2
[codec]
name = "jpeg"
qualities = [10, 80]
log_quality = true
levels = [10, 40, 80]
period = 8
share_444 = 0.3
share_grey = 0.3
reuse = 1
[networks]
variant = "paper"
rec = { width = 10, layers = 3 }
com = { width = 6 }
[[stage]]
train = "rec"
scale = 1
steps = 2
lr = 1e-3
[[stage]]
train = "com"
scale = 2
rate = 0.0
loss = "squares"
steps = 2
lr = 1e-3
[[stage]]
train = "rec"
scale = 2
loss = "squares"
steps = 2
lr = 1e-3
"""
DISTIL = """
[distil]
teacher = "{teacher}"
config = "{config}"
output = {output}
features = 0.1
com = true
"""
STUDENT_STAGES = "".join(
    f"""
[[stage]]
train = "rec"
scale = {scale}
steps = 2
lr = 1e-3
[[stage]]
train = "rec"
scale = {scale}
quantised = true
steps = 1
lr = 1e-4
"""
    for scale in (1, 2)
)

META = {"name": "t", "codec": {"name": "jpeg", "levels": [10, 40, 80]}, "networks": {"variant": "fast"}, "stage": []}
CONFIGS = Path(training.__file__).parent / "configs"
NETWORKS = [
    ("fast rec", 1), ("fast rec", 2), ("fast com", 1), ("fast com", 2), ("paper rec", 1), ("paper rec", 2),
    ("paper com", 2),
]  # fmt: skip


def texture(seed: int, height: int, width: int) -> np.ndarray:
    """A picture with edges and slopes in three channels, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16.0
    planes = []
    for _ in range(3):
        a, b, c, d = rng.uniform(0.2, 2.0, 4)
        planes.append(np.sin(a * x + b * y) + np.sign(np.sin(c * x - d * y)) * 0.5)
    stacked = np.stack(planes, -1)
    return np.clip(128 + 60 * stacked + rng.normal(0, 3, stacked.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    for i in range(6):
        Image.fromarray(texture(i, 288 if i % 4 == 0 else 40, 300 + i)).save(path / f"{i}.png")
    (path / "tiny.toml").write_text(CONFIG)
    return path


def random_network(kind: str, scale: int) -> torch.nn.Module:
    torch.manual_seed(scale)
    make = {
        "fast rec": lambda: networks.make_rec("fast", scale=scale, levels=3, period=8, width=12, blocks=2),
        "fast com": lambda: networks.make_com("fast", scale=scale, levels=3, period=4, width=12, blocks=1),
        "paper rec": lambda: networks.make_rec("paper", scale=scale, levels=3, period=0, width=8, layers=4),
        "paper com": lambda: networks.make_com("paper", scale=2, levels=3, period=0, width=8),
    }[kind]
    net = make()
    with torch.no_grad():
        for name, p in net.named_parameters():
            if "level" in name or name.endswith("bias"):
                p.normal_(0, 0.05)
            if name == "trunk.tail.weight" or name == "tail.weight":
                p.mul_(60)
    return net


@pytest.mark.parametrize(("kind", "scale"), NETWORKS)
def test_the_packed_program_equals_the_simulation_bit_for_bit(tmp_path, kind, scale):
    net = random_network(kind, scale)
    pixels = texture(7, 45, 61)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255
    training.calibrate(net, [(x.float(), torch.tensor([1]))])
    name = ("com" if "com" in kind else "rec") + str(scale)
    path = tmp_path / "t.safetensors"
    export.export(META, {name: net}, path)
    program = packed_model.load(path).programs[f"{name}_rgb"]
    net.double()
    for level in range(3):
        with torch.no_grad():
            y = net(x, torch.tensor([level]), quantised=True)[0].permute(1, 2, 0).numpy()
        expected = np.clip(np.floor(np.round(y * 255 * 16) / 16 + 0.5), 0, 255).astype(np.uint8)
        found = program.run(pixels, level, expected.shape[:2])
        np.testing.assert_array_equal(found, expected)
    spread = np.ptp(expected.astype(int))
    assert spread > 50, "the network must not be trivial"


def test_the_grey_program_is_the_colour_program_on_equal_colours(tmp_path):
    net = random_network("fast rec", 1)
    with torch.no_grad():
        net.trunk.tail.weight.mul_(0.2)  # so that nothing is clamped
    plane = np.ascontiguousarray(texture(3, 40, 56)[..., :1] // 2 + 64)
    colour = np.repeat(plane, 3, axis=2)
    x = torch.from_numpy(colour.copy()).permute(2, 0, 1)[None].float() / 255
    training.calibrate(net, [(x, torch.tensor([1]))])
    export.export(META, {"rec1": net}, tmp_path / "t.safetensors")
    programs = packed_model.load(tmp_path / "t.safetensors").programs
    grey = programs["rec1_grey"].run(plane, 1, plane.shape[:2]).astype(float)
    rgb = programs["rec1_rgb"].run(colour, 1, plane.shape[:2]).astype(float).mean(-1, keepdims=True)
    change = np.abs(rgb - plane).mean()
    assert change > 1
    assert np.abs(grey - rgb).mean() < 0.1 * change + 0.5


def test_a_run_stops_at_its_budget_goes_on_and_repeats_exactly(folder, tmp_path):
    def run(out, **options):
        return training.main(folder / "tiny.toml", data=folder, out=out, device="cpu", threads=1, **options)

    run(tmp_path / "a", budget_minutes=0)
    state = torch.load(tmp_path / "a" / "checkpoint_scale1.pt", weights_only=True)
    assert (state["stage"], state["step"]) == (0, 1)
    run(tmp_path / "a")
    state = torch.load(tmp_path / "a" / "checkpoint_scale1.pt", weights_only=True)
    assert (state["stage"], state["step"]) == (3, 0)
    for line in (tmp_path / "a" / "log_scale2.jsonl").read_text().splitlines():
        assert "stage" in json.loads(line)
    first, second = run(tmp_path / "b"), run(tmp_path / "c")
    assert first.read_bytes() == second.read_bytes()
    model = packed_model.load(first)
    assert set(model.programs) == {f"{n}_{c}" for n in ("rec1", "com1", "rec2", "com2") for c in ("rgb", "grey")}
    assert model.codec == "jpeg"


def test_a_stage_of_minutes_decays_its_learning_rate_by_the_clock(folder, tmp_path):
    """The rate follows the time that the stage itself has taken, also over a restart."""
    only = CONFIG.split("[[stage]]")[0] + '[[stage]]\ntrain = "rec"\nscale = 1\nminutes = 0.1\nlr = 1e-3\n'
    (tmp_path / "timed.toml").write_text(only)

    def run(**options):
        log = []
        training.main(
            tmp_path / "timed.toml", data=folder, out=tmp_path, device="cpu", threads=1, progress=log.append, **options
        )
        return [r for r in log if "lr" in r], torch.load(tmp_path / "checkpoint_scale1.pt", weights_only=True)

    run(budget_minutes=0)
    log, state = run(budget_minutes=0.05)
    before = state["seconds"]
    assert (state["stage"], state["step"] > 1, 0 < before < 6) == (0, True, True)
    log, state = run()
    assert (state["stage"], state["step"], state["seconds"]) == (1, 0, 0)
    assert round(before, 1) <= log[0]["seconds"] <= log[-1]["seconds"] < 7
    for record in log:
        assert record["lr"] == pytest.approx(training.learning_rate({"lr": 1e-3}, record["seconds"] / 6), abs=5e-5)
    assert training.learning_rate({"lr": 1.0}, 0.02) > 0.99
    assert training.learning_rate({"lr": 1.0}, 1.0) == pytest.approx(0.01)


def test_a_run_starts_from_the_float_weights_of_another(folder, tmp_path):
    first = training.main(folder / "tiny.toml", data=folder, out=tmp_path / "a", device="cpu", threads=1)
    nothing = tmp_path / "nothing.toml"
    nothing.write_text(CONFIG.replace("steps = 2", "steps = 0"))
    options = {"data": folder, "device": "cpu", "threads": 1, "init": tmp_path / "a" / "float" / first.name}
    second = training.main(nothing, out=tmp_path / "b", **options)
    before, after = (
        safetensors.torch.load_file(tmp_path / run / "float" / name)
        for run, name in (("a", first.name), ("b", second.name))
    )
    kept = [key for key in before if not key.endswith("log_scale")]  # these are measured anew
    assert len(kept) > 20
    assert all(torch.equal(before[key], after[key]) for key in kept)
    narrower = tmp_path / "narrower.toml"
    narrower.write_text(CONFIG.replace("width = 8", "width = 7"))
    with pytest.raises(ValueError, match="init: rec1"):
        training.main(narrower, out=tmp_path / "c", **options)


def test_weights_fit_more_blocks_and_change_nothing():
    few = random_network("fast rec", 1)
    many = networks.make_rec("fast", scale=1, levels=3, period=8, width=12, blocks=4)
    many.load_state_dict(weights.fitted(few.state_dict(), many.state_dict()))
    assert len(many.trunk.blocks()) > len(few.trunk.blocks())
    x, level = torch.rand(3, 3, 32, 32), torch.arange(3)
    assert torch.equal(many(x, level), few(x, level))
    many(x, level).sum().backward()
    assert all(second.weight.grad.abs().max() > 0 for _, second in many.trunk.blocks())


@pytest.mark.parametrize(("variant", "options"), [("fast", {"blocks": 2}), ("paper", {"layers": 4})])
def test_weights_fit_a_network_with_more_channels(variant, options):
    def network(width):
        return networks.make_rec(variant, scale=1, levels=3, period=8, width=width, **options)

    torch.manual_seed(5)
    narrow, wide = network(8), network(12)
    for p in narrow.parameters():
        torch.nn.init.normal_(p, std=0.2)
    wide.load_state_dict(weights.fitted(narrow.state_dict(), wide.state_dict()))
    x, level = torch.rand(3, 3, 32, 32), torch.arange(3)
    torch.testing.assert_close(wide.double()(x.double(), level), narrow.double()(x.double(), level))
    wide(x.double(), level).sum().backward()
    tail = (wide.trunk if variant == "fast" else wide).tail
    assert tail.weight.grad[:, 8:].abs().max() > 0
    with pytest.raises(RuntimeError, match="size mismatch"):
        narrow.load_state_dict(weights.fitted(wide.state_dict(), narrow.state_dict()))


def test_weights_fit_a_codec_with_another_grid_or_other_levels():
    def network(levels, period):
        return networks.make_rec("fast", scale=1, levels=levels, period=period, width=8, blocks=1)

    torch.manual_seed(3)
    grid = random_network("fast rec", 1)
    plain = networks.make_rec("fast", scale=1, levels=3, period=0, width=12, blocks=2)
    plain.load_state_dict(weights.fitted(grid.state_dict(), plain.state_dict()))
    back = networks.make_rec("fast", scale=1, levels=3, period=16, width=12, blocks=2)
    back.load_state_dict(weights.fitted(plain.state_dict(), back.state_dict()))
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        head, level = grid.trunk.head, torch.arange(3)
        inputs = torch.rand(3, head.weight.shape[1], 8, 8)
        inputs[:, -4:] = 0.5
        expected = head(inputs, level)
        torch.testing.assert_close(plain.trunk.head(inputs[:, :-4], level), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(back(x, level), plain(x, level), atol=2e-3, rtol=1e-2)
    few, many = network(3, 8), network(5, 8)
    with torch.no_grad():
        few.trunk.head.level_bias.normal_()
    many.load_state_dict(weights.fitted(few.state_dict(), many.state_dict()))
    assert torch.equal(many.trunk.head.level_bias, few.trunk.head.level_bias[[0, 0, 1, 2, 2]])


def test_each_scale_trains_by_itself(folder, tmp_path):
    for scale in (1, 2):
        path = training.main(folder / "tiny.toml", data=folder, out=tmp_path, scales=(scale,), device="cpu", threads=1)
    assert len(packed_model.load(path).programs) == 8


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(folder, tmp_path, monkeypatch):
    training.main(folder / "tiny.toml", data=folder, out=tmp_path, budget_minutes=0, device="cpu", threads=1)
    before = (tmp_path / "checkpoint_scale1.pt").read_bytes()
    monkeypatch.setattr(training, "reconstruction_loss", lambda *_: torch.tensor(math.nan, requires_grad=True))
    with pytest.raises(training.TrainingError, match="finite"):
        training.main(folder / "tiny.toml", data=folder, out=tmp_path, device="cpu", threads=1)
    assert (tmp_path / "checkpoint_scale1.pt").read_bytes() == before


def test_training_never_changes_the_frozen_network(folder, tmp_path):
    training.main(folder / "tiny.toml", data=folder, out=tmp_path, scales=(2,), device="cpu", threads=1)
    config = training.load_config(folder / "tiny.toml")
    config["stage"] = [s for s in config["stage"] if s["train"] == "com" and s["scale"] == 2]
    nets = training.make_networks(config, 2)
    photos = training.Photos(folder, hold_out=4, min_size=32)
    run = training.Run(config, tmp_path / "none", torch.device("cpu"), photos, 2, nets)
    (tmp_path / "none").mkdir()
    before = {k: [p.detach().clone() for p in n.parameters()] for k, n in nets.items()}
    assert training.run_stage(run, config["stage"][0], math.inf, lambda record: None)
    same = {k: all(torch.equal(a, b) for a, b in zip(before[k], n.parameters(), strict=True)) for k, n in nets.items()}
    assert same == {"rec2": True, "com2": False}


def test_a_long_chain_begins_with_features_that_tell_images_apart():
    torch.manual_seed(1)
    net, features = networks.make_rec("paper", scale=1, levels=1, period=0, width=16, layers=20), []
    with torch.no_grad():
        net(0.5 + 0.02 * torch.randn(2, 3, 16, 16), torch.zeros(2, dtype=torch.long), features=features)
    one, two = features[0].float().flatten(1)
    assert torch.cosine_similarity(one, two, dim=0) < 0.95


@pytest.mark.parametrize("out_step", [1e-9, 0.01, 1e6])
def test_tables_of_the_integer_form_are_short_numbers(out_step):
    torch.manual_seed(2)
    conv = layers.Conv(4, 6, levels=3)
    with torch.no_grad():
        conv.bias.normal_()
        conv.level_gain.normal_()
    found, (gain, bias) = conv.integers(0.01, out_step), conv.tables()
    m, b = found["m"].double(), found["b"].double()
    assert 1 <= m.min() <= m.max() < 2**31
    assert torch.equal(m % 2 ** (m.log2().floor() - 9).clamp_min(0), torch.zeros_like(m))
    if out_step == 0.01:
        exact = 0.01 * conv.weight_step() * gain / out_step * 2**32
        torch.testing.assert_close(m, exact.double(), rtol=2**-10, atol=0.5)
        torch.testing.assert_close(b * m / 2**32, (bias / out_step + 0.5).double(), rtol=0, atol=1 / 16)


def test_padding_is_the_same_compiled_or_not():
    x = torch.rand(2, 8, 5, 6).contiguous(memory_format=torch.channels_last)
    padded = layers.pad_by_one(x)
    assert torch.equal(padded, torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate"))
    assert padded.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("quality", [10, 50, 90])
def test_the_stand_in_is_jpeg(quality, subsampling):
    pixels = texture(1, 96, 128)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    real = np.asarray(Image.open(file)).astype(float)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    decoded, rate = losses.codec_stand_in(x, torch.tensor([quality]), subsample=subsampling == "4:2:0")
    found = decoded[0].permute(1, 2, 0).numpy() * 255
    own_error = ((real - pixels) ** 2).mean()
    assert ((found - real) ** 2).mean() < 0.1 * own_error + 1.5
    assert rate.shape == (1,)


def test_the_rate_of_the_stand_in_falls_with_quality_and_has_a_gradient():
    x = (torch.from_numpy(texture(2, 64, 64)).permute(2, 0, 1)[None].float() / 255).requires_grad_()
    rates = [losses.codec_stand_in(x, torch.tensor([q]), subsample=True)[1] for q in (10, 30, 70, 95)]
    assert rates == sorted(rates)
    decoded, rate = losses.codec_stand_in(x, torch.tensor([30]), subsample=True)
    (decoded.square().sum() + rate.sum()).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0


def test_bicubic_down_then_up_keeps_a_slope():
    ramp = (torch.arange(64.0)[None, None, None, :].expand(1, 1, 16, -1) * 3).round() / 255
    back = resample.bicubic_up2(resample.bicubic_down2(ramp, whole=True))
    assert (back - ramp)[..., 8:-8].abs().max() < 1 / 255
    odd = resample.bicubic_down2(ramp[..., :15, :63])
    assert odd.shape == (1, 1, 8, 32)


@pytest.mark.parametrize("scale", [1, 2])
def test_samples_that_are_cut_belong_together_and_repeat(folder, scale):
    """Parts of one coded square: each is near its own photograph, and a later run draws the same."""
    photos = training.Photos(folder, hold_out=3, min_size=96)
    sampling = training.Sampling("jpeg", (90, 95), False, 1.0, 0.0, 32, 4, 2, 3)

    def batches():
        reduce = (lambda image, _: image) if scale == 1 else (lambda image, _: resample.bicubic_down2(image))
        samples = training.Samples(photos, sampling, reduce, 1, 1)
        found = [samples.batch(step) for step in range(12)]
        samples.close()
        return found, len(samples.recent)

    (first, kept), (second, _) = batches(), batches()
    assert 4 * 9 + 9 <= kept <= 4 * 9 + 5 * 9
    for (x, y, q), (again, _, _) in zip(first, second, strict=True):
        assert x.shape == (4, 3, 32 // scale, 32 // scale)
        assert y.shape == (4, 3, 32, 32)
        assert len(q) == 4
        assert torch.equal(x, again)
        small = y if scale == 1 else resample.bicubic_down2(y)
        assert ((x - small)[..., 2:-2, 2:-2] ** 2).mean() < 0.002


def test_an_empty_data_folder_is_a_clear_error(tmp_path):
    with pytest.raises(ValueError, match="photographs"):
        training.Photos(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seed = 5", ""), "seed must be int, got None"),
        (("crop = 32", "crop = '32'"), "data.crop must be int, got '32'"),
        (("share_grey = 0.3", ""), "codec.share_grey must be int or float"),
        (("steps = 2", ""), "a stage must have either steps or minutes, got ['lr', 'muon', 'scale', 'train']"),
        (("steps = 2", "steps = 2\nminutes = 1"), "a stage must have either steps or minutes"),
        (("steps = 2", "steps = 2.5"), "stage.steps must be int, got 2.5"),
        (("steps = 2", "minutes = '1'"), "stage.minutes must be int or float, got '1'"),
        (('train = "com"', 'train = "both"'), "stage must train rec, com or joint"),
        (("scale = 2", "scale = 3"), "at scale 3"),
        (("steps = 2", "steps = 2\nloss = 'mean'"), "stage.loss must be log or squares, got 'mean'"),
        (("[data]", "[distil]\nteacher = 'x'\n[data]"), "distil.config must be str, got None"),
        (("[data]", DISTIL.format(config="c", teacher="t", output=1.5) + "[data]"), "distil.output must be 0 to 1"),
        (("[codec]", "[codec"), "line"),
    ],
)
def test_a_wrong_config_is_a_clear_error(tmp_path, change, message):
    path = tmp_path / "wrong.toml"
    path.write_text(CONFIG.replace(*change, 1))
    with pytest.raises(ValueError, match=re.escape(message)):
        training.load_config(path)


def test_the_command_trains_one_scale_and_says_where_the_model_is(folder, tmp_path):
    command = [sys.executable, "-m", "fastcodec", "train", str(folder / "tiny.toml"), "--data", str(folder)]
    done = subprocess.run(
        [*command, "-d", str(tmp_path), "--scale", "1", "--threads", "1", "--json"], capture_output=True, check=True
    )
    said = json.loads(done.stdout)
    assert [Path(log).name for log in said["logs"]] == ["log_scale1.jsonl"]
    assert set(packed_model.load(said["model"]).programs) == {"rec1_rgb", "rec1_grey", "com1_rgb", "com1_grey"}


def test_a_teacher_teaches_and_stays_as_it_is(folder, tmp_path):
    (tmp_path / "teacher.toml").write_text(TEACHER)
    options = {"data": folder, "device": "cpu", "threads": 1}
    first = training.main(tmp_path / "teacher.toml", out=tmp_path / "teacher", **options)
    weights = tmp_path / "teacher" / "float" / first.name
    own = CONFIG.split("[[stage]]")[0].replace("com = { width = 8, blocks = 1 }", "com = { width = 6 }")
    own = own.replace('variant = "fast"', 'variant = "fast"\ncom_variant = "paper"')
    section = DISTIL.format(teacher=weights, config=tmp_path / "teacher.toml", output=0.5)
    (tmp_path / "student.toml").write_text(own + section + STUDENT_STAGES)
    before = weights.read_bytes()
    training.main(tmp_path / "student.toml", out=tmp_path / "a", budget_minutes=0, **options)
    state = torch.load(tmp_path / "a" / "checkpoint_scale1.pt", weights_only=True)
    assert state["project"]["weight"].shape == (10, 8, 1, 1)
    after = training.main(tmp_path / "student.toml", out=tmp_path / "a", **options)
    again = training.main(tmp_path / "student.toml", out=tmp_path / "b", **options)
    assert set(packed_model.load(after).programs) >= {"rec1_rgb", "rec2_grey", "com2_rgb"}
    assert packed_model.load(again).variant == "fast"
    assert weights.read_bytes() == before
    teacher = safetensors.torch.load_file(weights)
    student = safetensors.torch.load_file(tmp_path / "b" / "float" / again.name)
    com = [key for key in student if key.startswith("com2.") and not key.endswith("log_scale")]
    assert len(com) > 5
    assert all(torch.equal(teacher[key], student[key]) for key in com)
    plain = tmp_path / "plain.toml"
    plain.write_text(own + STUDENT_STAGES.replace("scale = 2", "scale = 2\ncompact = 'bicubic'"))
    alone = safetensors.torch.load_file(
        training.main(plain, out=tmp_path / "c", **options).parent / "float" / again.name
    )
    assert not torch.equal(alone["rec1.trunk.tail.weight"], student["rec1.trunk.tail.weight"])
    (tmp_path / "student.toml").write_text(own.replace('name = "jpeg"', 'name = "webp"') + section + STUDENT_STAGES)
    with pytest.raises(ValueError, match="the teacher is for codec jpeg"):
        training.main(tmp_path / "student.toml", out=tmp_path / "d", **options)
    (tmp_path / "student.toml").write_text(own.replace("com = { width = 6 }", "com = { width = 7 }") + section)
    with pytest.raises(ValueError, match="stage must be list"):
        training.main(tmp_path / "student.toml", out=tmp_path / "d", **options)
    (tmp_path / "student.toml").write_text(
        own.replace("com = { width = 6 }", "com = { width = 7 }") + section + STUDENT_STAGES
    )
    with pytest.raises(ValueError, match="com2 does not fit"):
        training.main(tmp_path / "student.toml", out=tmp_path / "d", scales=(2,), **options)


@pytest.mark.parametrize(("kind", "scale"), [n for n in NETWORKS if "rec" in n[0]])
def test_features_are_those_before_the_last_layer_at_half_of_the_image(kind, scale):
    net = random_network(kind, scale)
    x = torch.from_numpy(texture(7, 45, 61)).permute(2, 0, 1)[None].float() / 255
    kept: list = []
    with torch.no_grad():
        out = net(x, torch.tensor([1]), features=kept)
        assert torch.equal(out, net(x, torch.tensor([1])))
    half = distil.at_half(kept[0].float(), out.shape)
    assert half.shape == (1, distil.width_of(net), -(-out.shape[2] // 2), -(-out.shape[3] // 2))


def test_a_teachers_share_of_the_target():
    a, b, c = (torch.full((2, 3, 4, 4), v) for v in (0.1, 0.3, 0.7))
    floor = torch.zeros(2)
    mixed = losses.reconstruction_loss(a, b, floor, teacher=c, share=0.25)
    assert mixed.item() == pytest.approx(math.log(0.75 * 0.2**2 + 0.25 * 0.6**2), rel=1e-5)
    assert losses.squared_loss(a, b).item() == pytest.approx(0.02, rel=1e-5)


def test_the_switches_of_the_ablations(folder, tmp_path):
    config = training.load_config(folder / "tiny.toml")
    nets = training.make_networks(config, 2)
    photos = training.Photos(folder, hold_out=4, min_size=32)
    run = training.Run(config, tmp_path, torch.device("cpu"), photos, 2, nets)
    stage = next(s for s in run.stages if s["train"] == "com")
    samples = training.open_samples(run, stage)
    curve = {"error": torch.tensor([2e-3] * 3), "slope": torch.tensor([0.1] * 3), "w": torch.tensor([1.0] * 3)}

    def loss(**keys):
        return training.train_com_step(run, {**stage, **keys}, samples, curve).item()

    full, half, free = loss(), loss(rate=0.5), loss(rate=0.0)
    assert full > half > free > 0
    assert half == pytest.approx((full + free) / 2, rel=1e-4)
    assert loss(loss="squares") == pytest.approx(full * 2e-3, rel=1e-4)
    rec = {**stage, "train": "rec"}
    one, two = (
        training.train_rec_step(run, {**rec, **keys}, samples, torch.full((3,), 1e-4), nets["rec2"]).item()
        for keys in ({}, {"loss": "squares"})
    )
    assert one < 0 < two
    samples.close()


def test_a_run_folder_may_have_the_name_of_its_config(tmp_path, monkeypatch):
    (tmp_path / "jpeg_wide").mkdir()
    monkeypatch.chdir(tmp_path)
    assert training.load_config("jpeg_wide")["name"] == "jpeg-wide-1"


@pytest.mark.parametrize(
    "path", sorted(p for p in CONFIGS.glob("*.toml") if "range" not in p.stem), ids=lambda p: p.stem
)
def test_the_shipped_configs_fit_their_networks(path):
    config = training.load_config(path.stem)
    assert config["codec"]["levels"] == sorted(set(config["codec"]["levels"]))
    for scale in {stage["scale"] for stage in config["stage"]}:
        nets = training.make_networks(config, scale)
        for name, net in nets.items():
            x = torch.zeros(1, 3, 16, 16)
            size = 8 if name == "com2" else 32 if name == "rec2" else 16
            assert net(x, torch.tensor([0])).shape == (1, 3, size, size)
        if "distil" in config:
            teacher = training.make_networks(training.load_config(config["distil"]["config"]), scale)
            assert set(teacher) >= {f"rec{scale}"}
            if f"com{scale}" in nets:
                nets[f"com{scale}"].load_state_dict(teacher[f"com{scale}"].state_dict())


def test_an_unknown_config_lists_the_shipped_ones():
    with pytest.raises(ValueError, match="jpeg_fast"):
        training.load_config("no_such_config")
