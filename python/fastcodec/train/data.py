# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Training photographs on the device, and samples that went through the real codec."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..codecs import Options, by_name

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp"}
BATCHES_AHEAD = 4  # beyond those in the making, so that a slow sample does not hold up a step
CPU = torch.device("cpu")


class Photos:
    """All images of a folder as one flat uint8 tensor on the training device.

    Every `hold_out`-th image, in sorted order, is for validation and never drawn.
    """

    def __init__(self, folder: str | Path, *, device: str = "cpu", hold_out: int = 24, min_size: int = 128) -> None:
        files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in EXTENSIONS)
        images = []
        self.files: list[str] = []
        for file in files:
            pixels = np.asarray(Image.open(file).convert("RGB"))
            if min(pixels.shape[:2]) >= min_size:
                images.append(pixels)
                self.files.append(file.relative_to(folder).as_posix())
        if not images:
            raise ValueError(
                f"data folder must hold PNG or JPEG photographs of at least "
                f"{min_size} pixels a side, got none in {folder}"
            )
        self.shapes = [p.shape[:2] for p in images]
        self.offsets = np.cumsum([0] + [p.size for p in images])
        self.flat = torch.from_numpy(np.concatenate([p.ravel() for p in images])).to(device)
        self.train = [i for i in range(len(images)) if i % hold_out]
        self.validation = [i for i in range(len(images)) if i % hold_out == 0]

    def image(self, index: int) -> Tensor:
        """uint8 [H, W, 3], a view."""
        h, w = self.shapes[index]
        start = int(self.offsets[index])
        return self.flat[start : start + h * w * 3].view(h, w, 3)

    def place(self, rng: random.Random, size: int, index: int | None = None) -> tuple[int, int, int]:
        """Where a random square of a random training image (or of image `index`) lies in `flat`.

        Returns: the place of its first value, the steps to the next row and to the next column; flipped and transposed
        at random.
        """
        number = rng.choice(self.train) if index is None else index
        height, width = self.shapes[number]
        y, x = rng.randrange(height - size + 1), rng.randrange(width - size + 1)
        start, down, right = int(self.offsets[number]) + 3 * (y * width + x), 3 * width, 3
        if rng.random() < 0.5:
            start, right = start + right * (size - 1), -right
        return (start, right, down) if rng.random() < 0.5 else (start, down, right)

    def crop(self, rng: random.Random, size: int, index: int | None = None) -> Tensor:
        """The pixels of such a square, uint8 [size, size, 3]."""
        places = torch.tensor([self.place(rng, size, index)], device=self.flat.device)
        return squares(self.flat, places, size)[0]


def squares(flat: Tensor, places: Tensor, size: int) -> Tensor:
    """Pixels of the squares at `places`, int64 [N, 3] as Photos.place has them, as uint8 [N, size, size, 3]."""
    at = torch.arange(size, device=flat.device)
    start, down, right = places[:, :, None, None].unbind(1)
    return flat[(start + down * at[:, None] + right * at)[..., None] + torch.arange(3, device=flat.device)]


def to_real(images: list[Tensor]) -> Tensor:
    """uint8 [H,W,3] tensors of one size -> float [N,3,H,W] in 0..1."""
    return torch.stack(images).permute(0, 3, 1, 2).float() / 255


def to_bytes(images: Tensor) -> np.ndarray:
    """float [N,3,H,W] in 0..1 -> uint8 [N,H,W,3] NumPy, rounded and clamped."""
    grey = torch.floor(images.detach().float() * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return grey.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def through_codec(
    codec: str, pixels: np.ndarray, quality: int, *, subsampling: str, options: Options, grey: bool = False
) -> tuple[np.ndarray, int]:
    """Encode and decode one uint8 [H,W,3] image with the real codec and these options; returns pixels and bytes."""
    entry = by_name(codec)
    if grey:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
    chroma = subsampling if subsampling in entry.subsamplings and not grey else "auto"
    payload = entry.encode(np.ascontiguousarray(pixels), quality, chroma, options)
    decoded = entry.decode(payload, pixels.shape)
    return np.repeat(decoded, 3, axis=2) if grey else decoded, len(payload)


@dataclass(frozen=True)
class Sampling:
    """How samples are drawn: see the keys of [data] and [codec] in a training config."""

    codec: str
    qualities: tuple[int, int]
    log_quality: bool
    share_444: float
    share_grey: float
    crop: int
    batch: int
    reuse: int
    cut: int = 1
    options: Options = field(default_factory=dict)

    def quality(self, rng: random.Random) -> int:
        low, high = self.qualities
        if self.log_quality:
            return min(high, int(low * ((high + 1) / low) ** rng.random()))
        return rng.randint(low, high)


Sample = tuple[Tensor, Tensor, int]
Compact = Callable[[Tensor, list[int]], Tensor]


class Samples:
    """Batches of (decoded compact image, photograph, quality) from the real codec.

    A step makes batch / reuse new samples and draws the rest from the recent ones: slow codecs
    get reuse > 1. With cut > 1 a square of cut x cut crops goes through the codec as one image and is cut up
    afterwards: a codec divides its bits between the parts of an image, so small images alone would mislead. Batches
    then come from the recent samples, to which a step adds batch / reuse on average.
    The samples of the next steps are made in the background by `workers` threads, one a step, while the caller trains;
    another thread puts them together, in order. Photographs are on the CPU, samples and batches on `device`.
    """

    def __init__(
        self, photos: Photos, sampling: Sampling, compact: Compact, seed: int, workers: int,
        device: torch.device = CPU,
    ) -> None:  # fmt: skip
        self.photos, self.sampling, self.compact, self.seed, self.device = photos, sampling, compact, seed, device
        self.recent: list[Sample] = []
        self.workers = max(1, workers)
        self.pool = ThreadPoolExecutor(self.workers)
        self.ahead = ThreadPoolExecutor(1)
        self.pending: deque[tuple[int, Future[tuple[Tensor, Tensor, list[int]]]]] = deque()
        self.begun = False

    def count(self, step: int) -> int:
        """How many images a step sends through the codec; the first of all sends a whole batch."""
        s = self.sampling
        if not self.begun:
            self.begun = True
            return s.batch
        if s.cut == 1:
            return max(1, s.batch // s.reuse)
        squares = s.batch / (s.reuse * s.cut**2)
        return int((step + 1) * squares) - int(step * squares)

    def fresh(self, step: int, count: int) -> list[Sample]:
        """cut x cut samples of each of `count` squares."""
        s, rng, samples = self.sampling, random.Random(f"{self.seed}/{step}"), []
        for _ in range(count):
            crop, quality = self.photos.crop(rng, s.crop * s.cut), s.quality(rng)
            mode, grey = "4:4:4" if rng.random() < s.share_444 else "4:2:0", rng.random() < s.share_grey
            crop = _grey(crop) if grey else crop
            with torch.no_grad():
                compact = to_bytes(self.compact(to_real([crop]), [quality]))[0]
            pixels = through_codec(s.codec, compact, quality, subsampling=mode, options=s.options, grey=grey)[0]
            decoded = upload(torch.from_numpy(np.array(pixels)), self.device)
            crop = upload(crop, self.device)
            samples += [(d, c, quality) for d, c in zip(_cut(decoded, s.cut), _cut(crop, s.cut), strict=True)]
        return samples

    def mix(self, step: int, samples: list[Sample]) -> tuple[Tensor, Tensor, list[int]]:
        """The batch of a step from its fresh samples and the recent ones."""
        s, rng = self.sampling, random.Random(f"{self.seed}/{step}/mix")
        if s.reuse > 1 or s.cut > 1:
            self.recent = (self.recent + samples)[-64 * s.batch :]
            kept = samples if s.cut == 1 else []
            samples = kept + rng.choices(self.recent, k=s.batch - len(kept))
        decoded, photographs, qualities = zip(*samples, strict=True)
        return to_real(list(decoded)), to_real(list(photographs)), list(qualities)

    def make(self, step: int) -> tuple[Tensor, Tensor, list[int]]:
        """A batch, now."""
        return self.mix(step, self.fresh(step, self.count(step)))

    def start(self, step: int) -> None:
        """Have the batch of a step made in the background."""
        fresh = self.pool.submit(self.fresh, step, self.count(step))
        self.pending.append((step, self.ahead.submit(lambda: self.mix(step, fresh.result()))))

    def batch(self, step: int) -> tuple[Tensor, Tensor, list[int]]:
        """Decoded compact [N,3,h,w], photographs [N,3,H,W] (both 0..1), qualities."""
        if not self.pending or self.pending[0][0] != step:
            self.pending.clear()
            self.start(step)
        while len(self.pending) <= self.workers + BATCHES_AHEAD:
            self.start(self.pending[-1][0] + 1)
        return self.pending.popleft()[1].result()

    def close(self) -> None:
        for pool in (self.pool, self.ahead):
            pool.shutdown(cancel_futures=True)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device, without waiting for what the device has to do before."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def _cut(square: Tensor, cut: int) -> list[Tensor]:
    """[H, W, C] -> its cut x cut parts, row by row."""
    return [part for row in square.chunk(cut) for part in row.chunk(cut, dim=1)]


def _grey(crop: Tensor) -> Tensor:
    """The crop as Pillow's luma in three equal channels."""
    luma = np.asarray(Image.fromarray(crop.cpu().contiguous().numpy()).convert("L"))
    return torch.from_numpy(np.repeat(luma[:, :, None], 3, axis=2)).to(crop.device)
