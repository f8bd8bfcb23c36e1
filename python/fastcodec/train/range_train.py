# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the `range` codec: rate plus lambda times distortion, all levels at random."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, multiprocessing

from .config import check_range_config
from .data import Photos, squares, to_real
from .optimiser import Optimiser
from .range_export import export, rate_table
from .range_model import LEVELS, RangeModel, principal_components
from .train import TrainingError

CHECKPOINT_SECONDS = 300.0
PART_BYTES = 4_500_000


class Worker:
    """One of the processes that share a run; on a GPU there is only one. All hold the same weights."""

    def __init__(self, rank: int, count: int, device: torch.device) -> None:
        self.rank, self.count, self.device = rank, count, device

    def sum(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its sum over the workers."""
        if self.count > 1:
            flat = torch.cat([t.reshape(-1) for t in tensors])
            torch.distributed.all_reduce(flat)
            for t, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
                t.copy_(part.view_as(t))


@dataclass
class Run:
    """The state of a run that a checkpoint keeps."""

    model: RangeModel
    average: RangeModel  # exponential moving average of the weights: what is exported
    stage: int = 0
    step: int = 0
    seconds: float = 0.0  # in this stage
    optimiser: dict[str, Any] = field(default_factory=dict)


def parameter_groups(model: RangeModel) -> tuple[list[Tensor], list[Tensor]]:
    """All parameters but the linear transform's, and these."""
    linear: list[Tensor] = [model.analysis.down.weight, model.synthesis.up.weight]
    return [p for p in model.parameters() if all(p is not q for q in linear)], linear


def rate_factor(progress: float, step: int) -> float:
    """Learning rate over its peak: 50 steps of warm-up, constant for a third, then linearly to 0."""
    return min(1.0, (step + 1) / 50) * min(1.0, max(0.0, 1 - progress) / 0.7)


def loss_terms(
    model: RangeModel, out: tuple[Tensor, Tensor, Tensor], image: Tensor, level: Tensor, distortion: str = "mse"
) -> dict[str, Tensor]:
    """Per image: mse (of 0..1), bits per pixel, the hyper-latent's share, and the loss.

    That is bpp + lambda 255^2 mse, weighted so that all levels count alike. With `distortion` "ms-ssim" (Wang et al.
    2003) 0.02 (1 - MS-SSIM) takes the place of mse: about the same rates at the same lambda.
    """
    restored, bits_y, bits_z = out
    mse = ((restored - image) ** 2).mean(dim=(1, 2, 3))
    bpp = (bits_y + bits_z) / (image.shape[2] * image.shape[3])
    lam = model.lambda_of(level).to(mse.dtype)
    error = mse
    if distortion == "ms-ssim":
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

        error = 0.02 * (1 - ms_ssim(restored, image, data_range=1.0, reduction="none"))
    loss = (lam * 255**2 * error + bpp) * (lam / 0.01) ** -0.4
    return {"loss": loss, "mse": mse, "bpp": bpp, "share_z": bits_z / (bits_y + bits_z)}


@torch.no_grad()
def validate(
    model: RangeModel,
    photos: Photos,
    mode: dict[str, bool],
    seed: int,
    size: int,
    count: int = 24,
    distortion: str = "mse",
) -> dict[str, Any]:
    """Loss and rate-distortion points on held-out crops, with hard rounding."""
    rng = random.Random(seed)
    crops = [photos.crop(rng, size, rng.choice(photos.validation)) for _ in range(count)]
    levels = torch.linspace(0, LEVELS - 1, count).round().long()
    model.eval()
    parts = []
    for i in range(0, count, 4):
        image, level = to_real(crops[i : i + 4]), levels[i : i + 4].to(crops[0].device)
        restored, bits_y, bits_z = model(image, level, **mode)
        parts.append(loss_terms(model, (restored.clamp(0, 1), bits_y, bits_z), image, level, distortion))
    model.train()
    terms = {k: torch.cat([p[k] for p in parts]) for k in parts[0]}
    psnr = -10 * torch.log10(terms["mse"])
    some = range(2, count, 5)
    return {
        "loss": round(terms["loss"].mean().item(), 4),
        "share_z": round(terms["share_z"].mean().item(), 4),
        "points": [(int(levels[i]), round(terms["bpp"][i].item(), 4), round(psnr[i].item(), 2)) for i in some],
    }


@dataclass
class Choice:
    """What a step trains on: squares of `Photos.flat` int64 [N, 3], which of them become grey bool [N], levels [N]."""

    places: Tensor
    grey: Tensor
    level: Tensor

    @classmethod
    def draw(cls, photos: Photos, rng: random.Random, data: dict[str, Any], batch: int) -> Choice:
        places = [photos.place(rng, data["crop"]) for _ in range(batch)]
        grey = [rng.random() < data["share_grey"] for _ in range(batch)]
        return cls(
            torch.tensor(places), torch.tensor(grey), torch.tensor([rng.randrange(LEVELS) for _ in range(batch)])
        )

    def images(self, photos: Photos, size: int) -> Tensor:
        """float [N, 3, size, size] in 0..1; grey ones have their luma (ITU-R BT.601) in three equal channels."""
        pixels = squares(photos.flat, self.places, size).float()
        red, green, blue = pixels.chunk(3, dim=3)
        luma = (0.299 * red + 0.587 * green + 0.114 * blue).round()
        return torch.where(self.grey[:, None, None, None], luma, pixels).permute(0, 3, 1, 2) / 255


class Step:
    """Gradients and update of one batch. On a GPU it is recorded as a CUDA graph once and replayed from then on."""

    WARM_UP = 3  # steps before recording: compilation, and memory of the optimiser

    def __init__(
        self,
        run: Run,
        worker: Worker,
        stage: dict[str, Any],
        photos: Photos,
        size: int,
        batch: int,
        distortion: str = "mse",
    ) -> None:
        self.run, self.worker, self.photos, self.size, self.distortion = run, worker, photos, size, distortion
        self.mode = mode_of(stage)
        self.forward: Any = torch.compile(run.model) if stage.get("compile", False) else run.model
        for p in run.model.encoder_parameters():
            p.requires_grad_(not stage.get("hard", False))
        self.params: list[Tensor] = list(run.model.parameters())
        self.averaged: list[Tensor] = list(run.average.parameters())
        groups = [[p for p in group if p.requires_grad] for group in parameter_groups(run.model)]
        self.optimiser = Optimiser(groups, [stage.get("muon", False), False], worker.device)
        places = torch.zeros(batch, 3, dtype=torch.int64, device=worker.device)
        level = torch.zeros(batch, dtype=torch.int64, device=worker.device)
        self.choice = Choice(places, torch.zeros(batch, dtype=torch.bool, device=worker.device), level)
        self.decay, self.weight, self.smooth = (torch.zeros((), device=worker.device) for _ in range(3))
        self.count = 0
        self.graph: Any = None

    def __call__(self, choice: Choice, rates: list[float], step: int) -> None:
        on_gpu = self.worker.device.type == "cuda"
        for mine, given in zip(vars(self.choice).values(), vars(choice).values(), strict=True):
            mine.copy_(given.pin_memory() if on_gpu else given, non_blocking=on_gpu)
        self.optimiser.set_rates(rates)
        self.decay.fill_(1 - min(0.998, (step + 1) / (step + 11)))
        self.weight.fill_(0.02 if self.count else 1.0)
        if on_gpu and self.count == self.WARM_UP:
            self._record()
        if self.graph is not None:
            self.graph.replay()
        elif on_gpu:
            stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._work()
            torch.cuda.current_stream().wait_stream(stream)
        else:
            self._work()
        self.count += 1

    def _record(self) -> None:
        for p in self.params:
            p.grad = None
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._work()

    def _work(self) -> None:
        image, level = self.choice.images(self.photos, self.size), self.choice.level
        out = self.forward(image, level, **self.mode)
        loss = loss_terms(self.run.model, out, image, level, self.distortion)["loss"].mean()
        for p in self.params:
            p.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        value = loss.detach().reshape(1) / self.worker.count
        if self.worker.count > 1:
            for p in self.params:
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad / self.worker.count
            self.worker.sum([*(p.grad for p in self.params if p.grad is not None), value])
        torch.nn.utils.clip_grad_norm_(self.params, 1.0)
        self.optimiser.step()
        with torch.no_grad():
            ahead = torch._foreach_add(self.params, self.averaged, alpha=-1)
            torch._foreach_mul_(ahead, self.decay)
            torch._foreach_add_(self.averaged, ahead)
            self.smooth += self.weight * (value[0] - self.smooth)


def mode_of(stage: dict[str, Any]) -> dict[str, bool]:
    """The model's arguments in a stage."""
    return {"simulate": bool(stage.get("quantised", False)), "hard": bool(stage.get("hard", False))}


def run_stage(
    run: Run, worker: Worker, config: dict[str, Any], photos: Photos, folder: Path, deadline: float, log: Any
) -> bool:
    """Train one stage to its end (True) or to the deadline (False)."""
    stage, data = config["stage"][run.stage], config["data"]
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = not stage.get("quantised", False)  # its 10 bits do not hold the integers
    batch = max(1, int(stage.get("batch", data["batch"])) // worker.count)
    peaks = [float(stage["lr"]), float(stage["lr"]) * float(stage.get("linear_lr", 0.2))]
    started, before, saved = time.monotonic(), run.seconds, time.monotonic()
    distortion = config.get("distortion", "mse")
    step = Step(run, worker, stage, photos, data["crop"], batch, distortion)
    if run.optimiser:
        step.optimiser.load_state_dict(run.optimiser)

    def record() -> None:
        """What the average reaches goes to the log; where its loss is not finite no checkpoint is written."""
        if not math.isfinite(step.smooth.item()):
            raise TrainingError(
                f"loss must be finite, got {step.smooth.item()} at stage {run.stage} step {run.step}; "
                f"the last checkpoint is in {folder}"
            )
        if worker.rank == 0:
            reached = validate(run.average, photos, step.mode, config["seed"], data["crop"], distortion=distortion)
            log({"validation": reached})

    while True:
        run.seconds = before + time.monotonic() - started
        progress = run.step / stage["steps"] if "steps" in stage else run.seconds / 60 / stage["minutes"]
        late = time.monotonic() > deadline
        if worker.count > 1:  # all workers stop at the same step
            state = torch.tensor([progress, float(late)], dtype=torch.float64)
            worker.sum([state])
            progress, late = state[0].item() / worker.count, state[1].item() > 0
        if progress >= 1 or late:
            break
        rng = random.Random(f"{config['seed']}/{run.stage}/{run.step}/{worker.rank}")
        factor = rate_factor(progress, run.step)
        step(Choice.draw(photos, rng, data, batch), [peak * factor for peak in peaks], run.step)
        run.step += 1
        if run.step % 50 == 0 and worker.rank == 0:
            log(
                {
                    "stage": run.stage,
                    "step": run.step,
                    "progress": round(progress, 4),
                    "loss": round(step.smooth.item(), 4),
                    "seconds": round(run.seconds, 1),
                }
            )
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            record()
            if worker.rank == 0:
                save(run, step.optimiser.state_dict(), folder)
            saved = time.monotonic()
    finished = bool(progress >= 1)
    record()
    if finished:
        with torch.no_grad():
            for p, a in zip(step.params, step.averaged, strict=True):
                p.copy_(a)
        run.stage, run.step, run.seconds, run.optimiser = run.stage + 1, 0, 0.0, {}
    if worker.rank == 0:
        save(run, {} if finished else step.optimiser.state_dict(), folder)
    return finished


def save(run: Run, optimiser: dict[str, Any], folder: Path) -> None:
    """Write the checkpoint; a crash in between leaves the old one."""
    state = {
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "stage": run.stage,
        "step": run.step,
        "seconds": run.seconds,
        "optimiser": optimiser,
    }
    temporary = folder / "checkpoint.tmp"
    torch.save(state, temporary)
    os.replace(temporary, folder / "checkpoint.pt")


def restore(run: Run, folder: Path, device: torch.device) -> bool:
    """Continue from the folder's checkpoint, if there is one."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return False
    state = torch.load(path, map_location=device, weights_only=True)
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.stage, run.step, run.seconds, run.optimiser = (state[k] for k in ("stage", "step", "seconds", "optimiser"))
    return True


def validation_images(photos: Photos) -> list[Any]:
    """At most eight of the held-out photographs, uint8 [H, W, 3]."""
    chosen = photos.validation[:: max(1, len(photos.validation) // 8)][:8]
    return [photos.image(i).cpu().numpy() for i in chosen]


def save_weights(model: RangeModel, folder: Path, name: str) -> None:
    """Write the float weights, matrices as float16, in parts `name-1.safetensors` ... below 5 MB each."""
    folder.mkdir(exist_ok=True)
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, tensor in model.state_dict().items():
        t = (tensor.half() if tensor.ndim == 4 else tensor.float()).cpu().clone(memory_format=torch.contiguous_format)
        if size + t.nbytes > PART_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][key] = t
        size += t.nbytes
    for i, part in enumerate(parts):
        (folder / f"{name}-{i + 1}.safetensors").write_bytes(safetensors.torch.save(part))


def load_weights(model: RangeModel, path: str | Path) -> None:
    """Start from the float weights that `save_weights` wrote; `path` is the first part.

    Raises ValueError when they are not all there or are of a model of another shape.
    """
    path = Path(path)
    files = sorted(path.parent.glob(f"{path.stem.removesuffix('-1')}-*.safetensors"))
    tensors = {k: t.float() for f in files for k, t in safetensors.torch.load(f.read_bytes()).items()}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"init: {path} (and its further parts) does not fit the config's networks: {error}") from error


def make_model(config: dict[str, Any], photos: Photos) -> RangeModel:
    """The model of a config, its linear transform from the training photographs; the same on every call."""
    torch.manual_seed(config["seed"])
    rng = random.Random(config["seed"])
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config["networks"].items()}
    latent = options.pop("latent", 320)
    patches = to_real([photos.crop(rng, 16) for _ in range(config["data"].get("patches", 40000))]).cpu()
    return RangeModel(principal_components(patches, latent), **options)


def _work(
    rank: int,
    count: int,
    config: dict[str, Any],
    data: str,
    folder: Path,
    budget: float,
    resume: bool,
    device: str,
    init: str | Path | None,
    progress: Any = None,
) -> None:
    """Body of one worker process."""
    deadline = time.monotonic() + budget * 60
    if device == "cpu":
        torch.set_num_threads(1)
    if count > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder.resolve() / 'rendezvous'}", rank=rank, world_size=count
        )
    worker = Worker(rank, count, torch.device(device))
    photos = Photos(data, device=device, hold_out=config["data"]["hold_out"], min_size=config["data"]["crop"])
    model = make_model(config, photos).to(device)
    if init is not None:
        load_weights(model, init)
    run = Run(model, copy.deepcopy(model))
    if resume:
        restore(run, folder, worker.device)
    torch.manual_seed(config["seed"] + 1000 * rank + run.step)
    model.train()
    with open(folder / "log.jsonl", "a", buffering=1) as file:

        def log(record: dict[str, Any]) -> None:
            file.write(json.dumps(record) + "\n")
            if progress is not None:
                progress(record)

        while run.stage < len(config["stage"]):
            number = run.stage
            finished = run_stage(run, worker, config, photos, folder, deadline, log)
            if worker.rank == 0:
                path = folder / f"stage{number}.safetensors"
                export(run.average, config, path)
                log({"stage": number, "files": rate_table(path, validation_images(photos))})
            if not finished:
                break
    if count > 1:
        torch.distributed.destroy_process_group()


def main(
    config: dict[str, Any],
    *,
    data: str | Path,
    out: str | Path,
    budget_minutes: float = math.inf,
    resume: bool = True,
    init: str | Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: Any = None,
) -> Path:
    """Train a `range` model until every stage is done or the budget is spent; then export it.

    Args: as `fastcodec.train.train.main`; on a CPU `threads` processes of one thread each share the work.
    Returns: the packed model's path.
    """
    check_range_config(config)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    count = max(1, threads or os.cpu_count() or 1) if place == "cpu" else 1
    (folder / "rendezvous").unlink(missing_ok=True)
    args = (config, str(data), folder, budget_minutes, resume, place, init)
    if count == 1:
        _work(0, 1, *args, progress)
    else:
        Photos(
            data, min_size=config["data"]["crop"]
        )  # says what is wrong with the folder; workers would do it all at once
        multiprocessing.spawn(_spawned, (count, args), nprocs=count)  # type: ignore[attr-defined,no-untyped-call]
    photos = Photos(data, hold_out=config["data"]["hold_out"], min_size=config["data"]["crop"])
    model = make_model(config, photos)
    run = Run(model, copy.deepcopy(model))
    restore(run, folder, torch.device("cpu"))
    path = folder / f"{config['name']}.safetensors"
    export(run.average, config, path)
    table = rate_table(path, validation_images(photos))
    card = {"config": config, "files": table, "photographs": len(photos.train)}
    export(run.average, config, path, card=card)
    save_weights(run.average, folder / "float", config["name"])
    return path


def _spawned(rank: int, count: int, args: Any) -> None:
    _work(rank, count, *args)
    # gloo's threads live on, and one that lets go of its last tensor while the interpreter ends would abort all.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
