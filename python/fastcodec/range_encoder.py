# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The encoder of codec range: analysis, then levels, refined by a round trip, until one fits. See range_codec.py."""

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
DEAD_ZONE = 35  # per cent of the high-rate slope of distortion over rate
REFINE = 1  # times that a latent is refined by what a round trip loses of it
REFINE_SHARE = (2, 14)  # sixteenths of that loss, at the lowest and the best level
REFINED_PIXELS = 1 << 25  # larger images are not refined: it takes the decoded image and three latents of memory
_PASSES = 6  # that a search takes, more only while nothing fits: runs of the analysis, or of all that the decoder runs
_SMALL, _SMALL_PASSES = 1 << 16, 10  # images of at most so many pixels get more
_CLOSE = 0.985  # a search for bytes ends with a stream this near below the target
_CLOSE_DB = 0.03
_REFINED = 0.03  # what refining a stream is worth in the logarithm of its bytes
_FAR = 2  # symbols that a latent may be off before every one is coded
_COUNTED = 1 << 18  # latents that stand for all in a guess


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
    model: PackedModel, level: int, y: Latent, skip: int, thresholds: npt.NDArray[np.uint8], threads: int
) -> tuple[bytes, Latent]:
    """(bytes, y^) of one tile of y int16 [rows, columns, M]; latents of tables below `skip` are not coded."""
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
        encoder.latents(y, prior, k, p.passes, skip, p.quant[level], p.dequant[level], thresholds, y_hat)
    return encoder.finish(), y_hat


@dataclass
class _Trial:
    """One level, coded: the stream, and y^ of the whole image where its pixels are wanted."""

    level: int
    stream: bytes
    y_hat: Latent | None = field(repr=False, default=None)
    pixels: Image | None = field(repr=False, default=None)  # what the decoder will give, once somebody asked


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
        self.skip = parameters(self.model).skip
        self.y = self.analyse(image)
        self.synthesis = program(self.model, f"synthesis_{colour(channels)}")

    def analyse(self, image: Image) -> Latent:
        """The latent of an image of this size, [h16, w16, M]."""
        analysis = program(self.model, f"analysis_{colour(image.shape[2])}")
        size = (self.tiles.height, self.tiles.width)
        y: Latent = analysis.run(np.ascontiguousarray(image), 0, size, threads=self.settings.threads)
        return y

    def round_trip(self, trial: _Trial) -> Latent:
        """What analysis and synthesis lost of the latents y^ of `trial`: y^ - analysis(synthesis(y^))."""
        assert trial.y_hat is not None
        lost = trial.y_hat.astype(np.int32)
        lost -= self.analyse(self.pixels(trial))
        return lost.clip(-32768, 32767).astype(np.int16)

    def share(self, level: int) -> int:
        """Sixteenths of a round trip's loss that are put on a latent before it is coded at a level."""
        low, high = REFINE_SHARE
        return round(low + (high - low) * (level / max(1, self.levels - 1)) ** 2)

    def latent(self, level: int, lost: Latent | None) -> Latent:
        """The latent to be coded at a level: y and a share of what a round trip lost.

        The quantisation errors of neighbouring elements add up in the pixels: what a round trip loses of an element is
        what the errors of the others do to it. At low rates, where most elements are zero, less of it pays.
        """
        if lost is None:
            return self.y
        y = lost.astype(np.int32)
        y *= self.share(level)
        y >>= 4
        y += self.y
        return y.clip(-32768, 32767).astype(np.int16)

    def at_level(self, level: int) -> _Trial:
        """The stream at a level, of the latent refined `rounds` times; with latents."""
        lost, trial = None, self.coded(level, latents=True)
        for _ in range(self.rounds):
            lost = self.round_trip(trial)
            trial = self.coded(level, lost, latents=True)
        return trial

    def coded(self, level: int, lost: Latent | None = None, *, latents: bool = False) -> _Trial:
        """The stream at a level, refined by what a round trip lost; with `latents` y^ as well.

        Where the model is so sure of a latent that it is not coded, and wrong by more than _FAR, as with pure green,
        which no photograph taught it, every latent is coded, here and from then on.
        """
        latent = self.latent(level, lost)
        whole = np.empty(latent.shape, np.int16) if latents else None
        symbols = parameters(self.model).quant[level].astype(np.float32) / 2**20  # of a unit of each channel

        def work(number: int, threads: int) -> tuple[bytes, int, bool]:
            y0, x0, y1, x1 = self.tiles.box(number)
            y = np.ascontiguousarray(latent[y0:y1, x0:x1])
            part, y_hat = _encode_tile(self.model, level, y, self.skip, self.thresholds, threads)
            if whole is not None:
                whole[y0:y1, x0:x1] = y_hat
            far = self.skip > 0 and bool((np.abs(np.subtract(y, y_hat, dtype=np.float32)) * symbols > _FAR).any())
            return part, int(crc32c(y_hat)), far

        parts, checks, far = zip(*each(work, range(len(self.tiles)), self.settings.threads), strict=True)
        if any(far):
            self.skip = 0
            return self.coded(level, lost, latents=latents)
        every = self.skip < parameters(self.model).skip
        height, width, channels = self.image.shape
        header = Header(
            width, height, channels, self.settings.codec.id, quality_of(level, self.levels), checks[0],
            alpha=self.alpha is not None, networks=Networks(1, level, self.model.id),
        )  # fmt: skip
        stream = container.write_fcd(
            header, write_payload(self.tile, parts, checks, every=every), self.alpha, self.metadata
        )
        return _Trial(level, stream, whole)

    def pixels(self, trial: _Trial) -> Image:
        """What the decoder will give."""
        if trial.pixels is None:
            size = (self.image.shape[0], self.image.shape[1])
            assert trial.y_hat is not None
            trial.pixels = self.synthesis.run(trial.y_hat, trial.level, size, threads=self.settings.threads)
        return trial.pixels

    def psnr(self, trial: _Trial) -> float:
        """PSNR in dB of what the decoder will give."""
        return flow.decibels(flow.squared_error(self.image, self.pixels(trial)), self.image.size)

    def at_bytes(self, budget: int) -> bytes:
        """The stream of the highest level with at most `budget` bytes, as far as _PASSES find it."""
        sizes: list[int] = []

        def measure(trial: _Trial) -> float:
            sizes.append(len(trial.stream))
            return math.log(len(trial.stream))

        def worth(stream: bytes, refined: bool) -> float:
            return math.log(len(stream)) + _REFINED * refined

        levels = range(self.levels)
        best = self._search(levels, measure, worth, self._sizes(), math.log(budget), math.log(_CLOSE), (0.015, 0.07))
        if best is None:
            other = "leave out the metadata, or use another codec" if self.metadata else "or use another codec"
            raise ValueError(
                f"a stream of {budget} bytes is out of reach: the smallest with codec range has {min(sizes)}; raise "
                f"the target, {other}"
            )
        return best

    def at_psnr(self, psnr: float) -> bytes:
        """The stream of the lowest level that reaches `psnr` dB, as far as _PASSES find it."""
        reached: list[float] = []

        def measure(trial: _Trial) -> float:
            reached.append(self.psnr(trial))
            return -reached[-1]

        # The same search, from the best level down: minus the PSNR falls.
        guess = [-value for value in self._psnrs()[::-1]]
        best = self._search(
            range(self.levels)[::-1], measure, lambda stream, _: -len(stream), guess, -psnr, -_CLOSE_DB, (-0.1, 0.4),
            pixels=True,
        )  # fmt: skip
        if best is None:
            raise ValueError(
                f"target_psnr={psnr} dB is out of reach: codec range gives {max(reached):.2f} dB at its best "
                "level; lower the target or use another codec"
            )
        return best

    def _search(
        self, levels: Sequence[int], measure: Callable[[_Trial], float], worth: Callable[[bytes, bool], float],
        guess: Sequence[float], limit: float, close: float, changes: tuple[float, float], *, pixels: bool = False,
    ) -> bytes | None:  # fmt: skip
        """The stream of the most `worth` (given whether it is refined) among those found at the last of `levels` whose
        measured value is at most `limit`; None when not even the first level's is.
        """
        lost: Latent | None = None
        trial = _Trial(0, b"")
        found: list[tuple[float, float, bytes]] = []

        def value(at: int) -> float:
            nonlocal trial
            trial = self.coded(levels[at], lost, latents=pixels or lost is None)
            result = measure(trial)
            if result <= limit:
                found.append((worth(trial.stream, lost is not None), -result, trial.stream))
            return result

        def refine() -> None:
            nonlocal lost
            lost = self.round_trip(trial)

        change, near = changes
        small = self.image.shape[0] * self.image.shape[1] <= _SMALL
        refining = _Refining(refine, change, near) if self.rounds else None
        _last_below(value, guess, limit, close, refining, passes=_SMALL_PASSES if small else _PASSES)
        if not found:
            lost, self.skip = None, parameters(self.model).skip
            value(0)
        if not found and self.rounds:
            refine()
            value(0)
        return max(found, default=(0.0, 0.0, None))[2]

    def _sizes(self) -> list[float]:
        """A guess of the logarithm of each level's bytes: they go with the latents that are not zero.

        He, Mitra 2001, 'A unified rate-distortion analysis framework for transform coding', IEEE TCSVT 11(12).
        """
        places = self.y[..., 0].size
        return self._guess(lambda symbols, _: math.log(0.45 * np.mean(symbols > 0.6) * symbols[0].size * places + 40))

    def _psnrs(self) -> list[float]:
        """A guess of each level's PSNR: the pixels' error goes with that of the latents.

        By 98 dB with range-fast-2, within 1 to 2 dB; the search moves the guess to what it measures.
        """
        return self._guess(
            lambda symbols, quant: (
                -10 * math.log10(np.square((symbols - np.floor(symbols + 0.4)) / quant).sum(1).mean() + 1e-9) + 98
            )
        )

    def _guess(self, of: Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], float]) -> list[float]:
        """What `of` makes of the magnitudes of some symbols [n, M] and the latent's steps, at every level; rising."""
        y = np.abs(self.y.reshape(-1, self.y.shape[-1])[:: max(1, self.y.size // _COUNTED)].astype(np.float32))
        levels = np.unique(np.linspace(0, self.levels - 1, 26).round().astype(int))
        quant = parameters(self.model).quant[levels].astype(np.float32) / 2**20  # symbols are y times this
        values = np.maximum.accumulate([of(y * row, row) for row in quant])
        return [float(v) for v in np.interp(range(self.levels), levels, values)]


@dataclass(frozen=True)
class _Refining:
    """What refining the latent means to a search."""

    begin: Callable[[], None]
    change: float  # of all values, about
    near: float  # how far from the limit the level of its round trip may be


def _last_below(
    measure: Callable[[int], float], guess: Sequence[float], limit: float, close: float,
    refining: _Refining | None = None, *, passes: int = _PASSES,
) -> int | None:  # fmt: skip
    """The largest index whose measured value is at most `limit`, as far as `passes` find it, one being spent already.

    Values rise with the index, about as `guess` does. Stops early when one lies in limit + close .. limit. While few
    enough indexes are left for bisection, no guess goes where that could fail. The last trials, when nothing was below,
    aim lower, and others follow until something is, or index 0 is not. None when that fails too.

    Refining begins after the first trial that is near the limit, at the latest after the second. That costs a pass
    and changes all values; None then also when only values before it were below.
    """
    known: dict[int, float] = {}
    before: dict[int, float] = {}  # it was refined
    change, most = (refining.change, refining.near) if refining else (0.0, 0.0)
    low, high, left = -1, len(guess), passes - 1
    step = (guess[-1] - guess[0]) / max(1, len(guess) - 1)
    while high - low > 1 and (left > 0 or (low < 0 and min(before.values(), default=math.inf) > limit)):
        aim = limit
        if low < 0 and left <= 2:
            close_by = left > 0 and before and min(known.values(), default=limit) <= limit + 3 * step
            aim -= step * (0.9 if close_by else 3 * 2 ** (2 - left))
        points = {at: value + change for at, value in before.items()}
        points |= {at: value + (change if refining else 0.0) for at, value in known.items()}
        line = _corrected(guess, points, step)
        at = min(max(bisect_right(line, aim) - 1, low + 1), high - 1)
        if left <= 0:
            at = min(at, (low + high) // 2)
        elif high - low <= 1 << left:
            at = min(max(at, high - (1 << left - 1)), low + (1 << left - 1))
        value = known[at] = measure(at)
        left -= 1
        if before and len(known) == 1:
            change += min(max(value - line[at], -most), most)
        low, high = (low, at) if value > limit else (at, high)
        if refining and left > 1 and high > 0 and (left <= 3 or high - low <= 1 or abs(value - limit) <= refining.near):
            refining.begin()
            before, known, refining = known, {}, None
            low, high, left = -1, len(guess), left - 1
        elif not refining and limit + close <= value <= limit:
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
        return encoder.at_level(row_of(int(target.value), encoder.levels)).stream
    if target.kind == "bytes":
        return encoder.at_bytes(int(target.value))
    return encoder.at_psnr(target.value)


def rate_distortion(image: Image, model: PackedModel, levels: Sequence[int]) -> list[tuple[int, float]]:
    """(bytes of the stream, PSNR in dB of what the decoder will give) of an image at each of these levels."""
    from .codecs import by_name

    encoder = _Encoder(image, None, {}, flow.Settings(by_name("range"), model))
    trials = [encoder.at_level(level) for level in levels]
    return [(len(trial.stream), encoder.psnr(trial)) for trial in trials]
