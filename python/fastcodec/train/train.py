# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop: stages that train one network while the other is frozen, or both.

``train = "rec"``  RecCNN learns on images that went through ComCNN and the real codec (Jiang et
                   al. 2017, eq. 2); ComCNN is frozen.
``train = "com"``  ComCNN learns through the frozen RecCNN and the differentiable stand-in for the
                   codec (eq. 1, with a rate term).
``train = "joint"`` both learn through the stand-in (the end-to-end scheme).
Alternating "com" and "rec" stages is the paper's scheme. ``quantised = true`` simulates the integer
network (quantisation-aware training). For ablations, keys of a stage: ``rate`` weighs the rate term of
"com" and "joint" (1; the paper has none: 0), ``loss = "squares"`` is the paper's plain squared error
(default: "log"). ``muon = true`` trains convolutions with Muon (optimiser.py), ``compile = true`` compiles RecCNN for
"rec" on a GPU. A section [distil] gives RecCNN a teacher (distil.py), a section [prune] takes weights away (prune.py).

A stage lasts ``steps``, or ``minutes`` of its own wall-clock time after its first step, which may compile; its learning
rate follows either.

A run is one config file and one folder. The networks of scale 1 and of scale 2 do not depend on each
other: each scale has its own stages and checkpoint, and two processes may train them side by side.
A run that is started again goes on from its checkpoints.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from ..errors import Error
from . import networks
from .config import load_config
from .data import Photos, Samples, Sampling, through_codec, to_bytes, to_real, upload
from .distil import Teacher, at_half, make_teacher
from .export import export
from .layers import Conv
from .losses import codec_stand_in, reconstruction_loss, squared_loss
from .optimiser import Optimiser
from .prune import Pruning
from .resample import bicubic_down2
from .weights import load_weights, save_weights

CHECKPOINT_SECONDS = 120.0


class TrainingError(Error):
    """Training cannot go on; the last good checkpoint is kept."""


@dataclass
class Run:
    """Everything a stage needs: config, networks, data, place in the schedule."""

    config: dict[str, Any]
    folder: Path
    device: torch.device
    photos: Photos
    scale: int
    nets: dict[str, nn.Module]
    stage: int = 0
    step: int = 0
    seconds: float = 0.0  # in this stage
    resume_state: dict[str, Any] = field(default_factory=dict)
    teacher: Teacher | None = None

    @property
    def stages(self) -> list[dict[str, Any]]:
        return [s for s in self.config["stage"] if s["scale"] == self.scale]

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"checkpoint_scale{self.scale}.pt"

    @property
    def levels(self) -> Tensor:
        return torch.tensor(self.config["codec"]["levels"], dtype=torch.float32)

    def level(self, qualities: list[int]) -> Tensor:
        """Row of the nearest level for each quality, int64 [N]."""
        q = torch.tensor(qualities, dtype=torch.float32)
        return upload((q[:, None] - self.levels[None]).abs().argmin(dim=1), self.device)


def make_networks(config: dict[str, Any], scale: int) -> dict[str, nn.Module]:
    """The networks of one scale: rec1 or rec2, and com1 or com2 if any stage trains it."""
    torch.manual_seed(config["seed"])
    options = dict(config["networks"])
    variant, levels = options.pop("variant"), len(config["codec"]["levels"])
    com_variant = options.pop("com_variant", variant)
    com, rec = options.pop("com", {}), options.pop("rec", {})
    nets: dict[str, nn.Module] = {
        f"rec{scale}": networks.make_rec(variant, scale=scale, levels=levels, period=config["codec"]["period"], **rec)
    }
    taught = scale == 2 and config.get("distil", {}).get("com", False)
    if taught or any(s["train"] in ("com", "joint") for s in config["stage"] if s["scale"] == scale):
        nets[f"com{scale}"] = networks.make_com(
            com_variant, scale=scale, levels=levels, period=config["codec"]["period"], **com
        )
    return nets


def calibrate(net: nn.Module, inputs: list[tuple[Tensor, Tensor]]) -> None:
    """Set every activation scale to the largest value seen (99.99 %) on `inputs`."""
    peaks: dict[Conv, float] = {}

    def record(module: nn.Module, _: object, output: Tensor) -> None:
        assert isinstance(module, Conv)
        top = torch.quantile(output.detach().float().flatten()[::7][: 2**24], 0.9999).item()
        peaks[module] = max(peaks.get(module, 1e-3), top)

    hooks = [m.register_forward_hook(record) for m in net.modules() if isinstance(m, Conv)]
    with torch.no_grad():
        for x, level in inputs:
            net(x, level)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        for conv, peak in peaks.items():
            conv.log_scale.fill_(math.log(peak))
        for trunk in (m for m in net.modules() if isinstance(m, networks.Trunk)):
            stream = [peaks[trunk.head], *(peaks[c] for _, c in trunk.blocks())]
            trunk.head.log_scale.fill_(math.log(max(stream)))


def calibrated(run: Run) -> dict[str, nn.Module]:
    """The networks, ready to export: those that no stage trained in quantised form yet get their
    activation scales from a batch of samples (post-training quantisation)."""
    trained = {f"{s['train']}{s['scale']}" for s in run.stages[: run.stage] if s.get("quantised")}
    for name, net in run.nets.items():
        if name not in trained:
            stage = {"train": "rec", "scale": int(name[-1])}
            samples = open_samples(run, stage)
            x, y, q = samples.make(-1)
            samples.close()
            calibrate(net, [(y if name.startswith("com") else x, run.level(q))])
    return run.nets


def open_samples(run: Run, stage: dict[str, Any]) -> Samples:
    """Samples of one stage from the real codec."""
    c, d = run.config["codec"], run.config["data"]
    sampling = Sampling(
        c["name"],
        tuple(stage.get("qualities", c["qualities"])),
        c["log_quality"],
        stage.get("share_444", c["share_444"]),
        c["share_grey"],
        d["crop"],
        d["batch"],
        c["reuse"],
        c.get("cut", 1),
        c.get("options", {}),
    )

    def compact(image: Tensor, qualities: list[int]) -> Tensor:
        return compact_image(run, stage, image, run.level(qualities))

    seed = run.config["seed"] * 1000 + 100 * run.scale + run.stage
    return Samples(run.photos, sampling, compact, seed, torch.get_num_threads(), run.device)


def compact_image(run: Run, stage: dict[str, Any], image: Tensor, level: Tensor) -> Tensor:
    """What goes into the codec, [N,3,H,W] -> [N,3,h,w], not rounded.

    ``compact`` in the stage says which: "com" (ComCNN; the default at half size and wherever ComCNN
    learns), "bicubic" or "image".
    """
    scale = stage["scale"]
    kind = stage.get("compact", "com" if scale == 2 or stage["train"] != "rec" else "image")
    if kind == "com":
        compact: Tensor = run.nets[f"com{scale}"](image.to(run.device), level, quantised=stage.get("quantised", False))
        return compact
    return bicubic_down2(image) if kind == "bicubic" else image


def stand_in_for(run: Run, compact: Tensor, qualities: list[int], *, subsample: bool) -> tuple[Tensor, Tensor]:
    """`codec_stand_in` with the codec's tables."""
    tuned = run.config["codec"].get("options", {}).get("tables") == "tuned"
    return codec_stand_in(compact, torch.tensor(qualities, device=run.device), subsample=subsample, tuned=tuned)


def rate_distortion_slopes(run: Run, stage: dict[str, Any]) -> dict[str, Tensor]:
    """Measure the real codec on validation images: per level the mean squared error, the slope
    -dD/dR of its curve, and the factor w from the stand-in's rate to real bits per pixel."""
    c = run.config["codec"]
    rec = run.nets[f"rec{stage['scale']}"]
    size, rows = 256, []
    mode, options = "4:4:4" if c["share_444"] >= 0.5 else "4:2:0", c.get("options", {})
    flat = np.full((size // stage["scale"],) * 2 + (3,), 128, np.uint8)
    with torch.no_grad():
        for index, quality in enumerate(c["levels"]):
            header = through_codec(c["name"], flat, quality, subsampling=mode, options=options)[1]
            d = bits = units = 0.0
            for i in run.photos.validation[:16]:
                image = to_real([run.photos.image(i)[:size, :size]]).to(run.device)
                if image.shape[-1] < size or image.shape[-2] < size:
                    continue
                level = torch.tensor([index], device=run.device)
                compact = compact_image(run, stage, image, level)
                pixels, length = through_codec(
                    c["name"], to_bytes(compact)[0], quality, subsampling=mode, options=options
                )
                out = rec(to_real([torch.from_numpy(np.array(pixels))]).to(run.device), level)
                d += ((out - image) ** 2).mean().item()
                bits += 8 * max(1, length - header)
                stand_in = stand_in_for(run, compact, [quality], subsample=mode == "4:2:0")
                units += stand_in[1].item()
            rows.append((d, bits, units))
    d, bits, units = torch.tensor(rows, dtype=torch.float64).T
    n = len(run.photos.validation[:16])
    rate = bits / (n * size * size)
    slope = torch.stack(
        [
            (d[max(i - 1, 0)] - d[min(i + 1, len(d) - 1)])
            / n
            / (rate[min(i + 1, len(d) - 1)] - rate[max(i - 1, 0)]).clamp_min(1e-6)
            for i in range(len(d))
        ]
    )
    return {"error": (d / n).float(), "slope": slope.clamp_min(1e-8).float(), "w": (bits / units).float()}


def share_done(run: Run, stage: dict[str, Any]) -> float:
    """How much of a stage is done, 1 at its end."""
    done, whole = (run.step, stage["steps"]) if "steps" in stage else (run.seconds / 60, stage["minutes"])
    return done / whole if whole else 1.0


def learning_rate(stage: dict[str, Any], p: float) -> float:
    """At share p of a stage: linear warm-up over the first 2 %, cosine to 1 % of the peak."""
    peak: float = stage["lr"]
    return peak * min(1.0, (p + 1e-4) / 0.02) * (0.01 + 0.99 * (1 + math.cos(math.pi * p)) / 2)


def train_rec_step(run: Run, stage: dict[str, Any], samples: Samples, floor: Tensor, rec: Any) -> Tensor:
    """One step of eq. 2 on images from the real codec; `rec` is RecCNN, or what it was compiled to."""
    decoded, image, qualities = samples.batch(run.step)
    level, quantised = run.level(qualities), stage.get("quantised", False)
    if run.teacher is not None:
        return taught_loss(run.teacher, rec, decoded, image, qualities, level, floor[level], quantised)
    output = rec(decoded, level, quantised=quantised)
    if stage.get("loss") == "squares":
        return squared_loss(output, image)
    return reconstruction_loss(output, image, floor[level])


def taught_loss(
    teacher: Teacher, rec: Any, decoded: Tensor, image: Tensor, qualities: list[int], level: Tensor,
    floor: Tensor, quantised: bool,
) -> Tensor:  # fmt: skip
    """Eq. 2 with part of the target from the teacher, and the feature term."""
    target, wanted = teacher.look(decoded, qualities)
    features: list[Tensor] = []
    output = rec(decoded, level, quantised=quantised, features=features)
    loss = reconstruction_loss(output, image, floor, teacher=target, share=teacher.output)
    if teacher.features == 0:
        return loss
    return loss + teacher.features * teacher.feature_loss(at_half(features[0], image.shape), wanted)


def train_com_step(run: Run, stage: dict[str, Any], samples: Samples, curve: dict[str, Tensor]) -> Tensor:
    """One step of eq. 1 through the stand-in, with the rate at the slope of the real curve."""
    rng = random.Random(f"{samples.seed}/{run.stage}/{run.step}")
    s = samples.sampling
    crops = [run.photos.crop(rng, s.crop) for _ in range(s.batch)]
    qualities = [s.quality(rng) for _ in crops]
    image, level = to_real(crops).to(run.device), run.level(qualities)
    compact = compact_image(run, stage, image, level)
    decoded, units = stand_in_for(run, compact, qualities, subsample=rng.random() >= s.share_444)
    output = run.nets[f"rec{stage['scale']}"](decoded, level)
    error = ((output - image) ** 2).mean(dim=(1, 2, 3))
    rate = units * curve["w"][level] / (image.shape[-1] * image.shape[-2])
    outside = ((compact - compact.clamp(0, 1)) ** 2).mean(dim=(1, 2, 3))
    cost = error + stage.get("rate", 1.0) * curve["slope"][level] * rate + outside
    if stage.get("loss") != "squares":
        cost = cost / curve["error"][level]
    mean: Tensor = cost.mean()
    return mean


def trained_by(stage: dict[str, Any]) -> list[str]:
    """The names of the networks that learn in a stage."""
    kinds = ("com", "rec") if stage["train"] == "joint" else (stage["train"],)
    return [f"{kind}{stage['scale']}" for kind in kinds]


def run_stage(run: Run, stage: dict[str, Any], deadline: float, log: Any) -> bool:
    """Train one stage to its end (True) or to the deadline (False); then the networks have the averaged weights."""
    names = trained_by(stage)
    for name, net in run.nets.items():
        net.requires_grad_(name in names)
    params = [p for n in names for p in run.nets[n].parameters()]
    if run.teacher is not None and stage["train"] == "rec":
        params += run.teacher.parameters()
    with closing(open_samples(run, stage)) as samples:
        if stage.get("quantised") and run.step == 0:
            for name in names:
                x, y, q = samples.make(-1)
                calibrate(run.nets[name], [(y if name.startswith("com") else x, run.level(q))])
        average = [p.detach().clone() for p in params]
        pruning = pruning_of(run, names)
        train_steps(run, stage, samples, params, average, pruning, deadline, log)
    with torch.no_grad():
        for p, a in zip(params, average, strict=True):
            p.copy_(a)
    return share_done(run, stage) >= 1


def pruning_of(run: Run, names: list[str]) -> Pruning | None:
    """What [prune] does to the networks that a stage trains."""
    if "prune" not in run.config:
        return None
    before = {name for stage in run.stages[: run.stage] for name in trained_by(stage)}
    return Pruning(run.config["prune"], [run.nets[name] for name in names], grown=before.issuperset(names))


def train_steps(
    run: Run, stage: dict[str, Any], samples: Samples, params: list[nn.Parameter], average: list[Tensor],
    pruning: Pruning | None, deadline: float, log: Any,
) -> None:  # fmt: skip
    """The steps of a stage until its end or the deadline; `average` follows `params`.

    Nothing here waits for the device but a record of the log and a checkpoint.
    """
    optimiser = Optimiser([[*params]], [stage.get("muon", False)], run.device)
    if run.resume_state:
        optimiser.load_state_dict(run.resume_state["optimiser"])
        for mine, saved in zip(average, run.resume_state["average"], strict=True):
            mine.copy_(saved)
        run.resume_state = {}
    curve = rate_distortion_slopes(run, {**stage, "quantised": False})
    curve = {k: v.to(run.device) for k, v in curve.items()}
    log({"stage": run.stage, "psnr_by_level": [round(-10 * math.log10(e), 3) for e in curve["error"].tolist()]})
    rec: Any = run.nets[f"rec{stage['scale']}"]
    if stage.get("compile", False):
        rec = torch.compile(rec, dynamic=False)
    smooth, started, checkpoint_at = None, None, time.monotonic() + CHECKPOINT_SECONDS
    while (progress := share_done(run, stage)) < 1:
        optimiser.set_rates([learning_rate(stage, progress)])
        if stage["train"] == "rec":
            loss = train_rec_step(run, stage, samples, 0.05 * curve["error"], rec)
        else:
            loss = train_com_step(run, stage, samples, curve)
        for p in params:
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if pruning is not None:
            pruning.move_to(progress)
            pruning.hold_gradients()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        now = time.monotonic()
        started = now - run.seconds if started is None else started
        run.step, run.seconds = run.step + 1, now - started
        decay = min(0.999, run.step / (run.step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(average, [p.detach() for p in params], 1 - decay)
            if pruning is not None:
                pruning.hold(params, average)
            smooth = loss.detach() if smooth is None else smooth.lerp(loss.detach(), 0.02)
        if run.step % 100 == 0:
            lr, mean = learning_rate(stage, progress), round(finite(run, smooth), 5)
            of, seconds = stage.get("steps"), round(run.seconds, 1)
            log({"stage": run.stage, "step": run.step, "of": of, "loss": mean, "lr": lr, "seconds": seconds})
        if now > min(checkpoint_at, deadline):
            finite(run, smooth)
            save(run, {"optimiser": optimiser.state_dict(), "average": average})
            checkpoint_at = now + CHECKPOINT_SECONDS
        if now > deadline:
            break
    if smooth is not None:
        finite(run, smooth)


def finite(run: Run, loss: Tensor) -> float:
    """The loss; TrainingError when it is not finite."""
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingError(
            f"loss must be finite, got {value} at stage {run.stage} step {run.step}; "
            f"the last checkpoint is in {run.folder}"
        )
    return value


def save(run: Run, extra: dict[str, Any]) -> None:
    """Write the checkpoint; a crash in between leaves the old one."""
    state = {"stage": run.stage, "step": run.step, "seconds": run.seconds, **extra}
    state["nets"] = {name: net.state_dict() for name, net in run.nets.items()}
    if run.teacher is not None and run.teacher.project is not None:
        state["project"] = run.teacher.project.state_dict()
    temporary = run.checkpoint.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, run.checkpoint)


def restore(run: Run) -> bool:
    """Continue from the folder's checkpoint, if there is one."""
    if not run.checkpoint.exists():
        return False
    state = torch.load(run.checkpoint, map_location=run.device, weights_only=True)
    for name, weights in state["nets"].items():
        run.nets[name].load_state_dict(weights)
    if run.teacher is not None and run.teacher.project is not None and "project" in state:
        run.teacher.project.load_state_dict(state["project"])
    run.stage, run.step, run.seconds = state["stage"], state["step"], state.get("seconds", 0.0)
    if "optimiser" in state:
        run.resume_state = state
    return True


def give_teacher(run: Run) -> None:
    """The teacher of [distil], and its ComCNN as the start of ours where the section says so."""
    section = run.config["distil"]
    config = load_config(section["config"])
    if config["codec"]["name"] != run.config["codec"]["name"]:
        raise ValueError(
            f"distil: the teacher is for codec {config['codec']['name']}, the config for {run.config['codec']['name']}"
        )
    nets = {name: net.to(run.device) for name, net in make_networks(config, run.scale).items()}
    rec, com = f"rec{run.scale}", f"com{run.scale}"
    if rec not in load_weights(nets, section["teacher"]):
        raise ValueError(f"distil: {section['teacher']} has no {rec}")
    torch.manual_seed(run.config["seed"])
    run.teacher = make_teacher(section, nets, config, run.nets[rec])
    if section.get("com", False) and com in nets and com in run.nets:
        try:
            run.nets[com].load_state_dict(nets[com].state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"distil: the teacher's {com} does not fit networks.com_variant and codec.levels: {error}"
            ) from error


def train_scale(run: Run, deadline: float, log: Any) -> bool:
    """All stages of one scale; False when the deadline came first."""
    while run.stage < len(run.stages):
        if not run_stage(run, run.stages[run.stage], deadline, log):
            return False
        run.stage, run.step, run.seconds = run.stage + 1, 0, 0.0
        save(run, {})
    return True


def main(
    config: str | Path,
    *,
    data: str | Path,
    out: str | Path,
    budget_minutes: float = math.inf,
    resume: bool = True,
    init: str | Path | None = None,
    scales: tuple[int, ...] = (1, 2),
    device: str | None = None,
    threads: int | None = None,
    progress: Any = None,
) -> Path:
    """Train until every stage is done or the budget is spent; then export the packed model.

    Args:
        config: TOML file, or the name of a shipped config.
        data: folder of photographs (searched recursively).
        out: run folder: checkpoints, log_scale*.jsonl, config.json, the packed model, and float/, its float weights.
        budget_minutes: stop in good order after this time; start again to go on.
        resume: go on from the folder's checkpoints; False starts anew.
        init: float weights of an earlier run to start from, of this codec or another; a checkpoint in the run folder
            comes before them.
        scales: which of the config's scales to train now; the export holds all that have a
            checkpoint (codec range has no scales).
        progress: called with each log record (a dict).
    Returns:
        The packed model's path.
    """
    loaded = load_config(config)
    if loaded["codec"]["name"] == "range":
        from . import range_train

        return range_train.main(
            loaded,
            data=data,
            out=out,
            budget_minutes=budget_minutes,
            resume=resume,
            init=init,
            device=device,
            threads=threads,
            progress=progress,
        )
    if threads:
        torch.set_num_threads(threads)
    deadline = time.monotonic() + budget_minutes * 60
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(loaded, indent=1))
    side = loaded["data"]["crop"] * loaded["codec"].get("cut", 1)
    photos = Photos(data, hold_out=loaded["data"]["hold_out"], min_size=side)
    ready: dict[str, nn.Module] = {}
    for scale in sorted({s["scale"] for s in loaded["stage"]}):
        nets = {k: n.to(place) for k, n in make_networks(loaded, scale).items()}
        if init is not None:
            load_weights(nets, init)
        run = Run(loaded, folder, place, photos, scale, nets)
        if "distil" in loaded and scale in scales:
            give_teacher(run)
        found = (resume or scale not in scales) and restore(run)
        if scale in scales:
            with open(folder / f"log_scale{scale}.jsonl", "a", buffering=1) as file:

                def log(record: dict[str, Any], file: Any = file) -> None:
                    file.write(json.dumps(record) + "\n")
                    if progress is not None:
                        progress(record)

                train_scale(run, deadline, log)
        elif not found:
            continue
        ready |= calibrated(run)
    path = folder / f"{loaded['name']}.safetensors"
    export(loaded, ready, path)
    save_weights(ready, folder / "float" / path.name)
    return path
