# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The `range` codec: our own learned codec, one model for all rates, integers from the bytes to the pixels.

Encoder: analysis transform to the latent y (1/16 of the sides), a hyper-latent z (1/64) that tells the decoder means
and spreads, both through the range coder tile by tile; decoder: z, y^, synthesis. The encoder runs the decoder's
networks too, so both have the same integers. FORMAT.md, section 8, has the bytes and the arithmetic.

Latents are int16 [rows, columns, channels]; images uint8 (H, W, C), C 1 or 3.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from . import _core, container, flow, rans
from ._core import crc32c, get_num_threads
from .container import Header, Limits, Networks, Reader, Stream, varint
from .errors import ChecksumError, FormatError, ModelError

if TYPE_CHECKING:
    from .codecs import Image
    from .packed_model import PackedModel, Program, RangeParameters

Latent = npt.NDArray[np.int16]
Item = TypeVar("Item")
Result = TypeVar("Result")

STRIDE = 16  # image pixels a latent row or column
TILE_UNIT = 64  # tile sides are multiples of it: one column of the hyper-latent
TILE_SIDE = 1024  # what the encoder aims at
MAX_TILE_SIDE = 255 * TILE_UNIT
DEAD_ZONE = 60  # per cent of the high-rate slope of distortion over rate
_MAX_TRIALS = 5  # levels an encode tries; with the analysis six passes
_CLOSE = 0.99  # a search for bytes ends with a stream this near below the target
_CLOSE_DB = 0.03


# ---------------------------------------------------------------- model


def model_for(model: PackedModel | None) -> PackedModel:
    """`model`, or the installed default; ModelError where there is none."""
    from . import packed_model

    found = model or packed_model.default_for("range")
    if found is None:
        raise ModelError(
            "codec range needs a model and none is installed; it comes with a full install of fastcodec, or put a "
            f"range model's {packed_model.SUFFIX} file into a folder named by {packed_model.PATH_VARIABLE}, or pass "
            "model='file.safetensors', or take another codec"
        )
    return found


def _parameters(model: PackedModel) -> RangeParameters:
    if model.range is None:
        raise ModelError(f"model {model.name} is for codec {model.codec}, expected one for codec range")
    return model.range


def _program(model: PackedModel, name: str) -> Program:
    if name not in model.programs:
        raise ModelError(f"model {model.name} has no program {name}; it has {', '.join(sorted(model.programs))}")
    return model.programs[name]


def _colour(channels: int) -> str:
    return "rgb" if channels == 3 else "grey"


def row_of(quality: int, levels: int) -> int:
    """The level (row of the tables) of a quality 1..100."""
    return (2 * (quality - 1) * (levels - 1) + 99) // 198


def quality_of(row: int, levels: int) -> int:
    """The quality 1..100 whose row is nearest."""
    return 1 if levels == 1 else 1 + (2 * 99 * row + levels - 1) // (2 * (levels - 1))


# ---------------------------------------------------------------- tiles


@dataclass(frozen=True)
class Tiles:
    """How the latent is cut: `height` x `width` latent pixels in squares of `side`, rows of tiles from the top."""

    height: int
    width: int
    side: int

    @classmethod
    def of(cls, height: int, width: int, tile: int) -> Tiles:
        """For an image of that size in pixels and tiles of `tile` pixels."""
        return cls(-(-height // STRIDE), -(-width // STRIDE), tile // STRIDE)

    @property
    def rows(self) -> int:
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        return -(-self.width // self.side)

    def __len__(self) -> int:
        return self.rows * self.columns

    def box(self, number: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of a tile in the latent."""
        top, left = (self.side * at for at in divmod(number, self.columns))
        return top, left, min(top + self.side, self.height), min(left + self.side, self.width)


def tile_side(height: int, width: int) -> int:
    """The tile side in pixels that the encoder takes: near 1024, and no thin tiles along the longer side."""
    longest = max(height, width)
    count = max(1, round(longest / TILE_SIDE))
    return -(-longest // (count * TILE_UNIT)) * TILE_UNIT


def _each(work: Callable[[Item, int], Result], items: Sequence[Item], threads: int | None) -> list[Result]:
    """[work(item, threads for it)]; side by side when there are several, in order, the first exception wins."""
    n = threads or get_num_threads()
    workers = min(n, len(items))
    if workers <= 1:
        return [work(item, n) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda item: work(item, max(1, n // workers)), items))


def _decode_tile(model: PackedModel, level: int, tile: memoryview, shape: tuple[int, int], threads: int) -> Latent:
    """y^ int16 [rows, columns, M] of one tile. Raises FormatError."""
    p = _parameters(model)
    decoder = _core.TileDecoder(tile, rans.gaussian_tables().native)
    z = np.empty((-(-shape[0] // 4), -(-shape[1] // 4), p.hyper), np.int16)
    decoder.hyper(p.z_index[level], z)
    features = _program(model, "hyper_synthesis").run(z, level, shape, threads=threads)
    y_hat = np.zeros((*shape, p.latent), np.int16)
    for k in range(p.passes):
        known = features if k == 0 else np.concatenate((features, y_hat), axis=2)
        prior = _program(model, f"prior_{k}").run(known, level, shape, threads=threads)
        decoder.latents(prior, k, p.passes, p.skip, p.dequant[level], y_hat)
    return y_hat


def _encode_tile(
    model: PackedModel, level: int, y: Latent, thresholds: npt.NDArray[np.uint8], threads: int
) -> tuple[bytes, Latent]:
    """(bytes, y^) of one tile of y int16 [rows, columns, M]."""
    p, shape = _parameters(model), (y.shape[0], y.shape[1])
    encoder = _core.TileEncoder(rans.gaussian_tables().native)
    small = (-(-shape[0] // 4), -(-shape[1] // 4))
    z = _program(model, "hyper_analysis").run(y, level, small, threads=threads)
    encoder.hyper(z, p.z_index[level])
    features = _program(model, "hyper_synthesis").run(z, level, shape, threads=threads)
    y_hat = np.zeros(y.shape, np.int16)
    for k in range(p.passes):
        known = features if k == 0 else np.concatenate((features, y_hat), axis=2)
        prior = _program(model, f"prior_{k}").run(known, level, shape, threads=threads)
        encoder.latents(y, prior, k, p.passes, p.skip, p.quant[level], p.dequant[level], thresholds, y_hat)
    return encoder.finish(), y_hat


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


# ---------------------------------------------------------------- payload


def write_payload(tile: int, parts: Sequence[bytes], checks: Sequence[int]) -> bytes:
    """The payload of tiles of `tile` pixels a side; checks are the CRC-32C of their y^."""
    out = bytearray((tile // TILE_UNIT,))
    for part in parts[:-1]:
        out += varint(len(part))
    for check in checks[1:]:
        out += check.to_bytes(4, "little")
    return bytes(out) + b"".join(parts)


@dataclass(frozen=True)
class Payload:
    """A payload taken apart: the bytes and the check of each tile."""

    tiles: Tiles
    parts: list[memoryview]
    checks: list[int]


def read_payload(data: bytes | memoryview, header: Header) -> Payload:
    """Raises FormatError (TruncatedError) unless the payload has the tiles of an image of that size."""
    reader = Reader(memoryview(data))
    unit = reader.byte("tile side")
    if unit == 0:
        raise FormatError("range payload: the tile side is 0, expected 1 to 255 times 64 pixels")
    tiles = Tiles.of(header.height, header.width, unit * TILE_UNIT)
    n = len(tiles)
    if n - 1 > len(reader.data):
        raise FormatError(f"range payload: {n} tiles in {len(reader.data)} bytes; the stream is damaged or hostile")
    sizes = [reader.varint("size of a tile") for _ in range(n - 1)]
    checks = [header.inner_crc] + [reader.uint32("check of a tile") for _ in range(n - 1)]
    parts = [reader.take(size, "tile") for size in sizes]
    parts.append(reader.take(len(reader.data) - reader.at, "tile"))
    return Payload(tiles, parts, checks)


# ---------------------------------------------------------------- decoder


def decode_pixels(
    stream: Stream, limits: Limits, *, region: flow.Region | None = None, threads: int | None = None
) -> Image:
    """The pixels of a stream without alpha, uint8 (h, w, C), of the whole image or of `region` (x, y, w, h).

    Tile rows are decoded one after the other and synthesis follows them, so that memory does not depend on the height.

    Raises:
        FormatError: damaged bytes (ChecksumError: symbols that are not those of the encoder).
        ModelError, LimitError.
    """
    header = stream.header
    if header.networks is None or header.networks.scale != 1 or header.trimmed or stream.container != "fcd":
        raise FormatError(
            "codec range needs the model flag, and knows neither half size nor trimming nor a JPEG around it"
        )
    from . import packed_model

    model, level = packed_model.find(header.networks.model_id), header.networks.level
    p = _parameters(model)
    if level >= p.levels:
        raise FormatError(f"level is {level}, model {model.name} has {p.levels}")
    synthesis = _program(model, f"synthesis_{_colour(header.channels)}")
    payload = read_payload(stream.payload, header)
    x, y, w, h = region or (0, 0, header.width, header.height)
    top, bottom = _window(y, h, payload.tiles.height, synthesis)
    left, right = _window(x, w, payload.tiles.width, synthesis)
    free = _check_memory(stream, payload.tiles, p, synthesis, (top, left, bottom, right), (h, w), limits, threads)

    out = np.empty((h, w, header.channels), np.uint8)
    held: Latent = np.empty((0, right - left, p.latent), np.int16)  # rows `first` and on, of the window's columns
    first, done = top, y // STRIDE  # `done`: latent rows from the window's top whose pixels are finished
    last_done = -(-(y + h) // STRIDE)
    for row in range(top // payload.tiles.side, (bottom - 1) // payload.tiles.side + 1):
        keep = max(first, done // synthesis.align * synthesis.align - synthesis.halo)
        held, first = held[keep - first :], keep
        strip = _decode_row(model, level, payload, row, (top, left, bottom, right), threads)
        held = np.concatenate((held, strip)) if len(held) else strip
        known = first + len(held)
        ready = (
            last_done
            if known == bottom
            else min(last_done, (known - synthesis.halo) // synthesis.align * synthesis.align)
        )
        if ready <= done:
            continue
        size = (
            min(STRIDE * known, header.height) - STRIDE * first,
            min(STRIDE * right, header.width) - STRIDE * left,
        )
        begin, end = max(y, STRIDE * done), min(y + h, STRIDE * ready)
        part = (x - STRIDE * left, begin - STRIDE * first, w, end - begin)
        out[begin - y : end - y] = flow.run_within(free, synthesis, held, level, size, part, threads)
        done = ready
    return out


def _window(start: int, length: int, n: int, synthesis: Program) -> tuple[int, int]:
    """The latent rows (or columns), of n, that pixels start..start + length - 1 depend on."""
    align, halo = synthesis.align, synthesis.halo
    low = start // STRIDE // align * align - halo
    high = -(-(start + length) // (STRIDE * align)) * align + halo
    return max(0, low), min(n, high)


def _decode_row(
    model: PackedModel, level: int, payload: Payload, row: int, window: tuple[int, int, int, int], threads: int | None
) -> Latent:
    """y^ of one row of tiles, as far as it lies in the window (top, left, bottom, right)."""
    tiles, (top, left, bottom, right) = payload.tiles, window
    first, last = left // tiles.side, (right - 1) // tiles.side
    low, high = max(top, row * tiles.side), min(bottom, (row + 1) * tiles.side)
    strip = np.empty((high - low, right - left, _parameters(model).latent), np.int16)

    def work(column: int, n_threads: int) -> None:
        number = row * tiles.columns + column
        y0, x0, y1, x1 = tiles.box(number)
        y_hat = _decode_tile(model, level, payload.parts[number], (y1 - y0, x1 - x0), n_threads)
        if (found := crc32c(y_hat)) != payload.checks[number]:
            raise ChecksumError(
                f"tile {number}: CRC-32C of its latents is {found:08x}, {payload.checks[number]:08x} stored; "
                "the stream is damaged"
            )
        begin, end = max(x0, left), min(x1, right)
        strip[:, begin - left : end - left] = y_hat[low - y0 : high - y0, begin - x0 : end - x0]

    _each(work, range(first, last + 1), threads)
    return strip


def _check_memory(
    stream: Stream, tiles: Tiles, p: RangeParameters, synthesis: Program, window: tuple[int, int, int, int],
    out_size: tuple[int, int], limits: Limits, threads: int | None,
) -> int:  # fmt: skip
    """Raises LimitError where decoding may take more than limits.max_memory; else the bytes left for work spaces.

    Counted: the stream twice; y^ of the rows that synthesis and the next row of tiles need, twice where they are
    joined; of each tile in work its features, priors, known latents, symbols and y^; the result and one part of it.
    """
    top, left, bottom, right = window
    rows = min(bottom - top, 2 * tiles.side + 2 * synthesis.halo)
    latents = 2 * rows * (right - left) * p.latent * 2
    workers = min(threads or get_num_threads(), (right - 1) // tiles.side - left // tiles.side + 1)
    tile = min(tiles.side, tiles.height) * min(tiles.side, tiles.width)
    working = workers * tile * (15 * p.latent + 6 * p.features + 3 * p.hyper)
    alpha = 14 * stream.header.width * stream.header.height if stream.header.alpha else 0  # as flow.check_memory has it
    pixels = (
        out_size[0] * out_size[1] * (stream.header.channels + 2) + rows * STRIDE * out_size[1] * stream.header.channels
    )
    needed = 2 * stream.total_bytes + latents + working + pixels + alpha
    limits.check("max_memory", needed, "decoding")
    return max(1, limits.max_memory - needed)


# ---------------------------------------------------------------- encoder


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
        self.levels = _parameters(self.model).levels
        height, width, channels = image.shape
        self.tile = int(settings.options.get("tile", 0)) or min(tile_side(height, width), MAX_TILE_SIDE)
        if self.tile % TILE_UNIT or not TILE_UNIT <= self.tile <= MAX_TILE_SIDE:
            raise ValueError(
                f"codec_options['tile'] must be a multiple of {TILE_UNIT} up to {MAX_TILE_SIDE}, got {self.tile}"
            )
        self.tiles = Tiles.of(height, width, self.tile)
        self.thresholds = dead_zone(int(settings.options.get("dead_zone", DEAD_ZONE)))
        analysis = _program(self.model, f"analysis_{_colour(channels)}")
        self.synthesis = _program(self.model, f"synthesis_{_colour(channels)}")
        size = (self.tiles.height, self.tiles.width)
        self.y: Latent = analysis.run(np.ascontiguousarray(image), 0, size, threads=settings.threads)
        self.trials: dict[int, _Trial] = {}

    def trial(self, level: int, *, pixels: bool = False) -> _Trial:
        """The stream at a level; with `pixels` its latents as well."""
        whole = np.empty(self.y.shape, np.int16) if pixels else None

        def work(number: int, threads: int) -> tuple[bytes, int]:
            y0, x0, y1, x1 = self.tiles.box(number)
            y = np.ascontiguousarray(self.y[y0:y1, x0:x1])
            part, y_hat = _encode_tile(self.model, level, y, self.thresholds, threads)
            if whole is not None:
                whole[y0:y1, x0:x1] = y_hat
            return part, int(crc32c(y_hat))

        parts, checks = zip(*_each(work, range(len(self.tiles)), self.settings.threads), strict=True)
        height, width, channels = self.image.shape
        header = Header(
            width, height, channels, self.settings.codec.id, quality_of(level, self.levels), checks[0],
            alpha=self.alpha is not None, networks=Networks(1, level, self.model.id),
        )  # fmt: skip
        stream = container.write_fcd(header, write_payload(self.tile, parts, checks), self.alpha, self.metadata)
        return _Trial(level, stream, whole)

    def psnr(self, trial: _Trial) -> float:
        """PSNR in dB of what the decoder will give."""
        size = (self.image.shape[0], self.image.shape[1])
        assert trial.y_hat is not None
        pixels = self.synthesis.run(trial.y_hat, trial.level, size, threads=self.settings.threads)
        return flow.decibels(flow.squared_error(self.image, pixels), self.image.size)

    def at_bytes(self, budget: int) -> bytes:
        """The stream of the highest level with at most `budget` bytes, as far as five trials find it."""
        bpp = _parameters(self.model).bpp
        guess = [math.log(b * self.image[..., 0].size / 8 + 40) for b in bpp] or self._line(
            math.log(30), math.log(budget)
        )
        streams: dict[int, bytes] = {}

        def measure(level: int) -> float:
            streams[level] = self.trial(level).stream
            return math.log(len(streams[level]))

        best = _last_below(measure, guess, math.log(budget), math.log(_CLOSE))
        if best is None:
            smallest = min(map(len, streams.values()))
            other = "leave out the metadata, or use another codec" if self.metadata else "or use another codec"
            raise ValueError(
                f"a stream of {budget} bytes is out of reach: the smallest with codec range has {smallest}; raise the "
                f"target, {other}"
            )
        return streams[best]

    def at_psnr(self, psnr: float) -> bytes:
        """The stream of the lowest level that reaches `psnr` dB, as far as five trials find it."""
        streams: dict[int, bytes] = {}
        reached: dict[int, float] = {}

        def measure(mirrored: int) -> float:  # the same search, from the best level down: minus the PSNR falls
            level = self.levels - 1 - mirrored
            trial = self.trial(level, pixels=True)
            streams[level], reached[level] = trial.stream, self.psnr(trial)
            return -reached[level]

        guess = [-value for value in reversed(self._line(20.0, 36.0))]
        best = _last_below(measure, guess, -psnr, -_CLOSE_DB)
        if best is None:
            raise ValueError(
                f"target_psnr={psnr} dB is out of reach: codec range gives {max(reached.values()):.2f} dB at its best "
                "level; lower the target or use another codec"
            )
        return streams[self.levels - 1 - best]

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
        return encoder.trial(row_of(int(target.value), encoder.levels)).stream
    if target.kind == "bytes":
        return encoder.at_bytes(int(target.value))
    return encoder.at_psnr(target.value)
