# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Pruning while training: what is pruned is what matters least, stays zero, and leaves the packed model."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'fastcodec[train]'")

import safetensors.torch  # noqa: E402
from fastcodec import packed_model  # noqa: E402
from fastcodec.train import export, prune  # noqa: E402
from fastcodec.train import train as training  # noqa: E402
from test_train import CONFIG, META, random_network, texture  # noqa: E402

SECTIONS = {
    "channels": '[prune]\nkind = "channels"\nshare = 0.5\n',
    "2:4": '[prune]\nkind = "2:4"\n',
    "weights": '[prune]\nkind = "weights"\nshare = 0.7\n',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    for i in range(5):
        Image.fromarray(texture(i, 270 if i % 4 == 0 else 40, 290 + i)).save(path / f"{i}.png")
    for kind, section in SECTIONS.items():
        config = CONFIG.replace("[networks]", section + "[networks]").replace("width = 8", "width = 12")
        (path / f"{kind[0]}.toml").write_text(config.replace("steps = 2", "steps = 4"))
    return path


def run(folder, kind, out, **options):
    return training.main(folder / f"{kind[0]}.toml", data=folder, out=out, device="cpu", threads=1, **options)


def groups_of_four(weight: np.ndarray) -> np.ndarray:
    """How many of each four neighbouring inputs are not zero; [O, I, k, k] or [O, k, k, I]."""
    moved = weight if weight.shape[-1] > 3 else np.moveaxis(weight, 1, -1)
    padded = np.pad(moved, [(0, 0)] * 3 + [(0, -moved.shape[-1] % 4)])
    return np.count_nonzero(padded.reshape(*padded.shape[:3], -1, 4), axis=-1)


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_run_prunes_to_the_share_and_the_packed_model_shows_it(folder, tmp_path, kind):
    path = run(folder, kind, tmp_path)
    weights = {k: t.numpy() for k, t in safetensors.torch.load_file(tmp_path / "float" / path.name).items()}
    meta, packed, _ = packed_model.read(path)
    assert len(meta["programs"]) == 8
    for net in ("rec1", "com1", "rec2", "com2"):  # com1 learns in one stage, rec1 in two, com2 last beside rec2
        first, second = (weights[f"{net}.trunk.{name}.0.weight"] for name in ("first", "second"))
        if kind == "channels":
            assert np.count_nonzero(first.any(axis=(1, 2, 3))) == 6
            assert packed[f"{net}.0.first.w"].shape[:1] == (6,)
            assert packed[f"{net}.0.second.w"].shape == (12, 3, 3, 6)
        elif kind == "2:4":
            assert groups_of_four(first).max() == groups_of_four(second).max() == 2
            assert groups_of_four(packed[f"{net}.0.first.w"]).max() <= 2
        else:
            assert np.count_nonzero(first) == np.count_nonzero(second) == 12 * 12 * 9 - round(0.7 * 12 * 12 * 9)
        for name in ("head", "tail"):
            assert np.count_nonzero(weights[f"{net}.trunk.{name}.weight"]) == weights[f"{net}.trunk.{name}.weight"].size
    assert set(packed_model.load(path).programs) == set(meta["programs"])


def test_a_stopped_run_goes_on_with_what_it_has_pruned(folder, tmp_path):
    run(folder, "weights", tmp_path, budget_minutes=0)
    state = torch.load(tmp_path / "checkpoint_scale1.pt", weights_only=True)
    assert (state["stage"], state["step"]) == (0, 1)
    path = run(folder, "weights", tmp_path)
    weights = safetensors.torch.load_file(tmp_path / "float" / path.name)
    left = torch.count_nonzero(weights["rec1.trunk.first.0.weight"])
    assert left == 12 * 12 * 9 - round(0.7 * 12 * 12 * 9)


@pytest.mark.parametrize("kind", ["fast rec", "fast com", "paper rec", "paper com"])
def test_the_share_grows_and_nothing_comes_back(kind):
    net = random_network(kind, 2)
    params = [p for p in net.parameters() if p.ndim == 4]
    pruning = prune.Pruning({"kind": "channels", "share": 0.6}, [net], grown=False)
    dead: set = set()
    for progress in (0.0, 0.1, 0.3, 0.5, 1.0):
        pruning.move_to(progress)
        average = [p.detach() + 1 for p in params]
        pruning.hold(params, average)
        assert all(bool((a[p == 0] == 0).all()) for a, p in zip(average, params, strict=True))
        now = {
            (i, o)
            for i, (conv, _) in enumerate(prune.inner_layers(net))
            for o in range(len(conv.weight))
            if not conv.weight[o].any()
        }
        assert dead <= now
        assert bool(now) == (progress > 0)
        dead = now
        for p in params:  # other weights move, as in training
            p.grad = torch.ones_like(p)
        pruning.hold_gradients()
        with torch.no_grad():
            for p in params:
                p.add_(torch.rand_like(p) * p.grad * 0.1)
    layers = prune.inner_layers(net)
    assert len(dead) == sum(round(0.6 * len(conv.weight)) for conv, _ in layers)
    again = prune.Pruning({"kind": "channels", "share": 0.6}, [net], grown=True)
    again.move_to(0.0)
    for conv, _ in layers:
        assert torch.equal(again.masks[conv.weight], pruning.masks[conv.weight])


def test_a_pruned_program_equals_the_simulation_bit_for_bit(tmp_path):
    """Filters without weights still give what their biases say; the packed program has it in the next bias."""
    net = random_network("fast rec", 1)
    pruning = prune.Pruning({"kind": "channels", "share": 0.5}, [net], grown=True)
    pruning.move_to(0.0)
    params = [p for p in net.parameters() if p.ndim == 4]
    pruning.hold(params, [p.detach().clone() for p in params])
    for conv, _ in prune.inner_layers(net):
        with torch.no_grad():
            conv.bias[conv.weight.abs().sum(dim=(1, 2, 3)) == 0] = 0.2
    pixels = texture(7, 45, 61)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255
    training.calibrate(net, [(x.float(), torch.tensor([1]))])
    export.export(META, {"rec1": net}, tmp_path / "t.safetensors")
    program = packed_model.load(tmp_path / "t.safetensors").programs["rec1_rgb"]
    assert packed_model.read(tmp_path / "t.safetensors")[1]["rec1.0.first.w"].shape == (6, 3, 3, 12)
    net.double()
    for level in range(3):
        with torch.no_grad():
            y = net(x, torch.tensor([level]), quantised=True)[0].permute(1, 2, 0).numpy()
        expected = np.clip(np.floor(np.round(y * 255 * 16) / 16 + 0.5), 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(program.run(pixels, level, expected.shape[:2]), expected)


def test_masks_keep_what_is_large():
    weight = torch.randn(5, 10, 3, 3, generator=torch.Generator().manual_seed(1))
    whole = prune.two_of_four_mask(weight, 1.0)
    counts = groups_of_four(whole.numpy())
    assert counts[..., :2].max() == counts[..., :2].min() == 2
    assert counts[..., 2].max() == 2  # the last group has two channels, and both stay
    kept, gone = (weight.abs() * whole)[:, :8], (weight.abs() * (1 - whole))[:, :8]
    kept, gone = (x.reshape(5, 2, 4, 3, 3) for x in (kept, gone))
    assert bool((kept.masked_fill(kept == 0, 9).amin(2) >= gone.amax(2)).all())
    half = prune.two_of_four_mask(weight, 0.5)
    groups = 5 * 3 * 9  # of which a third has two channels only, where nothing goes
    assert 0 < int((1 - half).sum()) <= 2 * round(0.5 * groups)
    assert bool((half >= whole).all())
    single = prune.weight_mask(weight, 0.9)
    assert int(single.sum()) == 45
    assert weight.abs()[single == 1].min() > weight.abs()[single == 0].max()


def test_a_filter_counts_by_both_of_its_layers():
    net = random_network("fast rec", 1)
    first, second = prune.inner_layers(net)[0]
    before = prune.channel_mask(first, second, 0.5)
    with torch.no_grad():
        first.weight[3].mul_(100)
        second.weight[:, 3].div_(100)
    assert torch.equal(prune.channel_mask(first, second, 0.5), before)
    with torch.no_grad():
        second.weight[:, int(before.argmax())] = 0
    assert not torch.equal(prune.channel_mask(first, second, 0.5), before)
    assert int(prune.channel_mask(first, second, 0.99).sum()) == 1


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('kind = "rows"', "prune.kind must be one of channels, 2:4, weights, got 'rows'"),
        ('kind = "channels"', "prune needs kind and share for channels, got ['kind']"),
        ('kind = "2:4"\nshare = 0.5', "prune needs kind for 2:4, got ['kind', 'share']"),
        ('kind = "weights"\nshare = 1.0', "prune.share must be above 0 and below 1, got 1.0"),
        ('kind = "weights"\nshare = true', "prune.share must be above 0 and below 1, got True"),
    ],
)
def test_a_wrong_section_is_a_clear_error(tmp_path, section, message):
    (tmp_path / "c.toml").write_text(CONFIG.replace("[networks]", f"[prune]\n{section}\n[networks]"))
    with pytest.raises(ValueError, match=re.escape(message)):
        training.load_config(tmp_path / "c.toml")


def test_codec_range_takes_no_section(tmp_path):
    shipped = (Path(training.__file__).parent / "configs" / "range_cpu.toml").read_text()
    (tmp_path / "c.toml").write_text(shipped + "\n" + SECTIONS["2:4"])
    with pytest.raises(ValueError, match="not for codec range"):
        training.load_config(tmp_path / "c.toml")
