# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder of codec range: analysis once, then levels until one fits the target. See range_codec.py."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import _core, container, flow, rans
from ._core import crc32c
from .container import Header, Networks
from .errors import ModelError
from .range_codec import (
    MAX_TILE_SIDE,
    TILE_UNIT,
    Latent,
    Tiles,
    colour,
    each,
    model_for,
    parameters,
    program,
    quality_of,
    row_of,
    write_payload,
)

if TYPE_CHECKING:
    from .codecs import Image
    from .packed_model import PackedModel

TILE_SIDE = 1024  # pixels, what the encoder aims at
DEAD_ZONE = 45  # per cent of the high-rate slope of distortion over rate
REFINE = 1  # times that a latent is corrected by what a round trip makes of it
REFINED_PIXELS = 1 << 25  # larger images are not refined: it takes the decoded image and three latents of memory
_MAX_TRIALS = 5  # levels that a search tries
_CLOSE = 0.99  # a search for bytes ends with a stream this near below the target
_CLOSE_DB = 0.03


def tile_side(height: int, width: int) -> int:
    """The tile side in pixels that the encoder takes: near 1024, and no thin tiles along the longer side."""
    longest = max(height, width)
    count = max(1, round(longest / TILE_SIDE))
    return -(-longest // (count * TILE_UNIT)) * TILE_UNIT


@cache
def dead_zone(per_cent: int) -> npt.NDArray[np.uint8]:
    """Rounding thresholds uint8 [tables, 16] for TileEncoder: of each table and magnitude k, in sixteenths.

    A fraction is rounded up to k + 1 only where that lowers distortion + slope * bits: from 1/2 + slope / 2 * (bits of
    k + 1 less those of k) on. The slope is `per_cent` of that of fine quantisation, 2 ln 2 / 12 squared steps a bit.
    """
    tables = rans.gaussian_tables()
    slope = per_cent / 100 * 2 * math.log(2) / 12
    out = np.full((len(tables), 16), 8, np.uint8)
    for t, (low, shift, freqs) in enumerate(zip(tables.lows, tables.shifts, tables.freqs, strict=True)):
        for k in range(16 if shift == 0 else 0):
            cost = [-math.log2(freqs[v - low + 1]) if v <= -low else 8 - math.log2(freqs[-1]) for v in (k, k + 1)]
            if k <= -low:
                out[t, k] = min(16, max(8, math.ceil(16 * (0.5 + slope / 2 * (cost[1] - cost[0])))))
    out.setflags(write=False)
    return out


def _encode_tile(
    model: PackedModel, level: int, y: Latent, thresholds: npt.NDArray[np.uint8], threads: int
) -> tuple[bytes, Latent]:
    """(bytes, y^) of one tile of y int16 [rows, columns, M]."""
    p, shape = parameters(model), (y.shape[0], y.shape[1])
    encoder = _core.TileEncoder(rans.gaussian_tables().native)
    small = (-(-shape[0] // 4), -(-shape[1] // 4))
    z = program(model, "hyper_analysis").run(y, level, small, threads=threads)
    encoder.hyper(z, p.z_index[level])
    features = program(model, "hyper_synthesis").run(z, level, shape, threads=threads)
    y_hat = np.zeros(y.shape, np.int16)
    for k in range(p.passes):
        known = features if k == 0 else np.concatenate((features, y_hat), axis=2)
        prior = program(model, f"prior_{k}").run(known, level, shape, threads=threads)
        encoder.latents(y, prior, k, p.passes, p.skip, p.quant[level], p.dequant[level], thresholds, y_hat)
    return encoder.finish(), y_hat


@dataclass(frozen=True)
class _Trial:
    """One level, coded: the stream, and y^ of the whole image where its pixels are wanted."""

    level: int
    stream: bytes
    y_hat: Latent | None = field(repr=False, default=None)


class _Encoder:
    """One image: analysis once, then any level."""

    def __init__(self, image: Image, alpha: bytes | None, metadata: dict[str, bytes], settings: flow.Settings) -> None:
        self.image, self.alpha, self.metadata, self.settings = image, alpha, metadata, settings
        self.model = model_for(settings.model)
        if not any(name.startswith("analysis") for name in self.model.programs):
            raise ModelError(f"model {self.model.name} only decodes; leave out the model or name another to encode")
        self.levels = parameters(self.model).levels
        height, width, channels = image.shape
        self.tile = int(settings.options.get("tile", 0)) or min(tile_side(height, width), MAX_TILE_SIDE)
        if self.tile % TILE_UNIT or not TILE_UNIT <= self.tile <= MAX_TILE_SIDE:
            raise ValueError(
                f"codec_options['tile'] must be a multiple of {TILE_UNIT} up to {MAX_TILE_SIDE}, got {self.tile}"
            )
        self.tiles = Tiles.of(height, width, self.tile)
        self.thresholds = dead_zone(int(settings.options.get("dead_zone", DEAD_ZONE)))
        self.rounds = int(settings.options.get("refine", REFINE if height * width <= REFINED_PIXELS else 0))
        self.y = self.analyse(image)
        self.synthesis = program(self.model, f"synthesis_{colour(channels)}")

    def analyse(self, image: Image) -> Latent:
        """The latent of an image of this size, [h16, w16, M]."""
        analysis = program(self.model, f"analysis_{colour(image.shape[2])}")
        size = (self.tiles.height, self.tiles.width)
        y: Latent = analysis.run(np.ascontiguousarray(image), 0, size, threads=self.settings.threads)
        return y

    def trial(self, level: int, *, pixels: bool = False) -> _Trial:
        """The stream at a level; with `pixels` its latents as well."""
        return self._coded(self.y, level, pixels)

    def refined(self, trial: _Trial) -> _Trial:
        """The stream at the level of `trial`, which has latents, of the latent corrected `rounds` times, with latents.

        The quantisation errors of neighbouring elements add up in the pixels. What a round trip, synthesis and
        analysis, changes in the decoded latent y^ is what the errors of the others do to an element; half of that is
        taken off beforehand: y + (y^ - analysis(synthesis(y^))) / 2.
        """
        for _ in range(self.rounds):
            assert trial.y_hat is not None
            change = trial.y_hat.astype(np.int32) - self.analyse(self.pixels(trial))
            y = np.clip(self.y + (change >> 1), -32768, 32767).astype(np.int16)
            trial = self._coded(y, trial.level, True)
        return trial

    def best(self, level: int) -> bytes:
        """The stream at a level."""
        return self.refined(self.trial(level, pixels=self.rounds > 0)).stream

    def _coded(self, latent: Latent, level: int, pixels: bool) -> _Trial:
        whole = np.empty(latent.shape, np.int16) if pixels else None

        def work(number: int, threads: int) -> tuple[bytes, int]:
            y0, x0, y1, x1 = self.tiles.box(number)
            y = np.ascontiguousarray(latent[y0:y1, x0:x1])
            part, y_hat = _encode_tile(self.model, level, y, self.thresholds, threads)
            if whole is not None:
                whole[y0:y1, x0:x1] = y_hat
            return part, int(crc32c(y_hat))

        parts, checks = zip(*each(work, range(len(self.tiles)), self.settings.threads), strict=True)
        height, width, channels = self.image.shape
        header = Header(
            width, height, channels, self.settings.codec.id, quality_of(level, self.levels), checks[0],
            alpha=self.alpha is not None, networks=Networks(1, level, self.model.id),
        )  # fmt: skip
        stream = container.write_fcd(header, write_payload(self.tile, parts, checks), self.alpha, self.metadata)
        return _Trial(level, stream, whole)

    def pixels(self, trial: _Trial) -> Image:
        """What the decoder will give."""
        size = (self.image.shape[0], self.image.shape[1])
        assert trial.y_hat is not None
        pixels: Image = self.synthesis.run(trial.y_hat, trial.level, size, threads=self.settings.threads)
        return pixels

    def psnr(self, trial: _Trial) -> float:
        """PSNR in dB of what the decoder will give."""
        return flow.decibels(flow.squared_error(self.image, self.pixels(trial)), self.image.size)

    def at_bytes(self, budget: int) -> bytes:
        """The stream of the highest level with at most `budget` bytes, as far as five trials find it."""
        bpp = parameters(self.model).bpp
        guess = [math.log(b * self.image[..., 0].size / 8 + 40) for b in bpp] or self._line(
            math.log(30), math.log(budget)
        )
        sizes: list[int] = []

        def measure(trial: _Trial) -> float:
            sizes.append(len(trial.stream))
            return math.log(len(trial.stream))

        best = self._search(range(self.levels), measure, guess, math.log(budget), math.log(_CLOSE))
        if best is None:
            smallest = min(sizes)
            other = "leave out the metadata, or use another codec" if self.metadata else "or use another codec"
            raise ValueError(
                f"a stream of {budget} bytes is out of reach: the smallest with codec range has {smallest}; raise the "
                f"target, {other}"
            )
        return best

    def at_psnr(self, psnr: float) -> bytes:
        """The stream of the lowest level that reaches `psnr` dB, as far as five trials find it."""
        reached: list[float] = []

        def measure(trial: _Trial) -> float:
            reached.append(self.psnr(trial))
            return -reached[-1]

        # The same search, from the best level down: minus the PSNR falls.
        guess = [-value for value in reversed(self._line(20.0, 36.0))]
        best = self._search(range(self.levels)[::-1], measure, guess, -psnr, -_CLOSE_DB, pixels=True)
        if best is None:
            raise ValueError(
                f"target_psnr={psnr} dB is out of reach: codec range gives {max(reached):.2f} dB at its best "
                "level; lower the target or use another codec"
            )
        return best

    def _search(
        self,
        levels: Sequence[int],
        measure: Callable[[_Trial], float],
        guess: Sequence[float],
        limit: float,
        close: float,
        *,
        pixels: bool = False,
    ) -> bytes | None:
        """The stream of the last of `levels` whose measured value is at most `limit`, as far as _MAX_TRIALS find it.

        The first level that is tried is refined too; what that changed is added to the values of the others, of which
        only the one that is found is refined, and its neighbours where that was not so for them. A plain one when no
        refined one is at most `limit`; None when even the first is above.
        """
        plain: dict[int, _Trial] = {}
        values: dict[int, float] = {}  # of the plain ones
        refined: dict[int, tuple[float, bytes]] = {}
        change = 0.0

        def refine(at: int) -> float:
            trial = self.refined(plain.get(at) or self.trial(levels[at], pixels=True))
            refined[at] = measure(trial), trial.stream
            return refined[at][0]

        def value(at: int) -> float:
            nonlocal change
            plain[at] = self.trial(levels[at], pixels=pixels or self.rounds > 0)
            values[at] = measure(plain[at])
            if not self.rounds:
                refined[at] = values[at], plain[at].stream
            elif not refined:
                change = refine(at) - values[at]
            return values[at] + change

        best = _last_below(value, guess, limit, close) or 0
        for at in range(best, max(-1, best - 3), -1):
            if (refined[at][0] if at in refined else refine(at)) <= limit:
                again = at == best < len(levels) - 1 and refined[at][0] < limit + 2 * close and best + 1 not in refined
                return refined[best + 1][1] if again and refine(best + 1) <= limit else refined[at][1]
        if 0 not in plain:
            value(0)
        return max(((at, plain[at].stream) for at in plain if values[at] <= limit), default=(0, None))[1]

    def _line(self, span: float, middle: float) -> list[float]:
        """A straight guess over the levels."""
        return [middle + span * (level / max(1, self.levels - 1) - 0.5) for level in range(self.levels)]


def _last_below(measure: Callable[[int], float], guess: Sequence[float], limit: float, close: float) -> int | None:
    """The largest index whose measured value is at most `limit`, as far as _MAX_TRIALS measurements find it.

    Values rise with the index, about as `guess` does. Stops early when one lies in limit + close .. limit. While few
    enough indexes are left for bisection, no guess goes where that could fail; the last trial, when nothing was below,
    goes to index 0. None when that fails too.
    """
    known: dict[int, float] = {}
    low, high = -1, len(guess)
    step = (guess[-1] - guess[0]) / max(1, len(guess) - 1)
    for left in range(_MAX_TRIALS, 0, -1):
        if high - low <= 1:
            break
        aim = limit
        if low < 0 and left <= 2:
            aim = -math.inf if left == 1 else limit - 3 * step
        at = min(max(bisect_right(_corrected(guess, known, step), aim) - 1, low + 1), high - 1)
        if high - low <= 1 << left:
            at = min(max(at, high - (1 << left - 1)), low + (1 << left - 1))
        known[at] = measure(at)
        if known[at] > limit:
            high = at
        else:
            low = at
            if known[at] >= limit + close:
                break
    return low if low >= 0 else None


def _corrected(guess: Sequence[float], known: dict[int, float], step: float) -> list[float]:
    """The guess, moved so that it goes through what is known, straight between and beyond; rising."""
    if not known:
        return list(guess)
    at = sorted(known)
    offsets = [known[i] - guess[i] for i in at]
    index = np.arange(len(guess))
    moved = np.interp(index, at, offsets)
    if len(at) > 1:
        for end, inner, side in ((0, 1, index < at[0]), (-1, -2, index > at[-1])):
            slope = (offsets[inner] - offsets[end]) / (at[inner] - at[end])
            moved[side] += min(max(slope, -0.6 * step), 1.5 * step) * (index[side] - at[end])
    return [float(value) for value in np.maximum.accumulate(np.asarray(guess) + moved)]


def encode_image(
    image: Image, alpha: Image | None, metadata: dict[str, bytes], settings: flow.Settings, target: flow.Target
) -> bytes:
    """One image to one stream; see flow.encode_image.

    Raises:
        ValueError: the target is out of reach, or an option does not fit.
        ModelError: there is no model, or it lacks a program.
    """
    encoder = _Encoder(image, None if alpha is None else flow.encode_alpha(alpha), metadata, settings)
    if target.kind == "quality":
        return encoder.best(row_of(int(target.value), encoder.levels))
    if target.kind == "bytes":
        return encoder.at_bytes(int(target.value))
    return encoder.at_psnr(target.value)


def rate_distortion(image: Image, model: PackedModel, levels: Sequence[int]) -> list[tuple[int, float]]:
    """(bytes of the stream, PSNR in dB of what the decoder will give) of an image at each of these levels."""
    from .codecs import by_name

    encoder = _Encoder(image, None, {}, flow.Settings(by_name("range"), model))
    trials = [encoder.refined(encoder.trial(level, pixels=True)) for level in levels]
    return [(len(trial.stream), encoder.psnr(trial)) for trial in trials]
