# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The `range` codec: our own learned codec, one model for all rates, integers from the bytes to the pixels.

Encoder: analysis transform to the latent y (1/16 of the sides), a hyper-latent z (1/64) that tells the decoder means
and spreads, both through the range coder tile by tile; decoder: z, y^, synthesis. The encoder runs the decoder's
networks too, so both have the same integers. FORMAT.md, section 8, has the bytes and the arithmetic.

Here are tiles, payload and decoder; the encoder is in range_encoder.py. Latents are int16 [rows, columns, channels],
images uint8 (H, W, C), C 1 or 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from . import _core, flow, rans
from ._core import crc32c, get_num_threads
from .codecs import by_name
from .container import Header, Limits, Reader, Stream, varint
from .errors import ChecksumError, FormatError, ModelError

if TYPE_CHECKING:
    import torch

    from .codecs import Image
    from .packed_model import PackedModel, Program, RangeParameters

Latent = npt.NDArray[np.int16]
Value: TypeAlias = "npt.NDArray[Any] | torch.Tensor"  # where the networks run: in an array, or in a tensor on a device
Item = TypeVar("Item")
Result = TypeVar("Result")

STRIDE = 16  # image pixels a latent row or column
TILE_UNIT = 64  # tile sides are multiples of it: one column of the hyper-latent
MAX_TILE_SIDE = 255 * TILE_UNIT


# ---------------------------------------------------------------- model


def model_for(model: PackedModel | None) -> PackedModel:
    """`model`, or the installed default; ModelError where there is none."""
    from . import packed_model

    if model is not None:
        return model
    default = packed_model.default_for("range")
    if default is None:
        raise ModelError(
            "codec range needs a model and none is installed; it comes with a full install of fastcodec, or put a "
            f"range model's {packed_model.SUFFIX} file into a folder named by {packed_model.PATH_VARIABLE}, or pass "
            "model='file.safetensors', or take another codec"
        )
    return default.load()


def parameters(model: PackedModel) -> RangeParameters:
    """The model's tables; ModelError for a model of another codec."""
    if model.range is None:
        raise ModelError(f"model {model.name} is for codec {model.codec}, expected one for codec range")
    return model.range


def program(model: PackedModel, name: str) -> Program:
    """The model's program of that name; ModelError where it has none."""
    if name not in model.programs:
        raise ModelError(f"model {model.name} has no program {name}; it has {', '.join(sorted(model.programs))}")
    return model.programs[name]


def colour(channels: int) -> str:
    """The ending of the programs' names for so many channels."""
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
        """Tiles from top to bottom."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Tiles from left to right."""
        return -(-self.width // self.side)

    def __len__(self) -> int:
        return self.rows * self.columns

    def box(self, number: int) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of a tile in the latent."""
        top, left = (self.side * at for at in divmod(number, self.columns))
        return top, left, min(top + self.side, self.height), min(left + self.side, self.width)


def each(work: Callable[[Item, int], Result], items: Sequence[Item], threads: int | None) -> list[Result]:
    """[work(item, threads for it)]; side by side when there are several, in order, the first exception wins."""
    n = threads or get_num_threads()
    workers = min(n, len(items))
    if workers <= 1:
        return [work(item, n) for item in items]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda item: work(item, max(1, n // workers)), items))


def _empty(shape: tuple[int, ...], dtype: npt.DTypeLike, device: str | None) -> Any:
    """An array, or a tensor on `device`, if any."""
    if device is None:
        return np.empty(shape, dtype)
    import torch

    return torch.empty(shape, dtype=getattr(torch, np.dtype(dtype).name), device=device)


def _placed(value: npt.NDArray[Any], device: str | None) -> Value:
    """The array, or a tensor of it on `device`, if any."""
    if device is None:
        return value
    import torch

    return torch.from_numpy(value).to(device)


def _joined(values: list[Value], axis: int) -> Value:
    if isinstance(values[0], np.ndarray):
        return np.concatenate(values, axis)
    import torch

    return torch.cat(values, axis)  # type: ignore[arg-type]


def _run(program: Program, value: Value, level: int, size: tuple[int, int], threads: int) -> Value:
    """Runs a program where `value` is."""
    if isinstance(value, np.ndarray):
        return program.run(value, level, size, threads=threads)
    return program.run_torch(value, level, size)


def _decode_tile(
    model: PackedModel, level: int, tile: memoryview, shape: tuple[int, int], skip: int, threads: int,
    device: str | None = None,
) -> Latent:  # fmt: skip
    """y^ int16 [rows, columns, M] of one tile, latents of tables below `skip` not being coded; the networks run on
    `device`, if any. Raises FormatError.
    """
    p = parameters(model)
    decoder = _core.TileDecoder(tile, rans.gaussian_tables().native)
    z = np.empty((-(-shape[0] // 4), -(-shape[1] // 4), p.hyper), np.int16)
    decoder.hyper(p.z_index[level], z)
    features = _run(program(model, "hyper_synthesis"), _placed(z, device), level, shape, threads)
    y_hat = np.zeros((*shape, p.latent), np.int16)
    for k in range(p.passes):
        known = features if k == 0 else _joined([features, _placed(y_hat, device)], 2)
        prior = _run(program(model, f"prior_{k}"), known, level, shape, threads)
        array = prior if isinstance(prior, np.ndarray) else prior.cpu().numpy()
        decoder.latents(array, k, p.passes, skip, p.dequant[level], y_hat)
    return y_hat


# ---------------------------------------------------------------- payload


def write_payload(tile: int, parts: Sequence[bytes], checks: Sequence[int], *, every: bool) -> bytes:
    """The payload of tiles of `tile` pixels a side; checks are the CRC-32C of their y^; `every` latent is coded."""
    out = bytearray((0, tile // TILE_UNIT) if every else (tile // TILE_UNIT,))
    for part in parts[:-1]:
        out += varint(len(part))
    for check in checks[1:]:
        out += check.to_bytes(4, "little")
    return bytes(out) + b"".join(parts)


@dataclass(frozen=True)
class Payload:
    """A payload taken apart: the bytes and the check of each tile; whether `every` latent is coded."""

    tiles: Tiles
    every: bool
    parts: list[memoryview]
    checks: list[int]


def read_payload(data: bytes | memoryview, header: Header) -> Payload:
    """Raises FormatError (TruncatedError) unless the payload has the tiles of an image of that size."""
    reader = Reader(memoryview(data))
    unit = reader.byte("tile side")
    every = unit == 0
    if every:
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
    return Payload(tiles, every, parts, checks)


# ---------------------------------------------------------------- decoder


def decode_pixels(
    stream: Stream, limits: Limits, *, region: flow.Region | None = None, threads: int | None = None,
    device: str | None = None,
) -> Image | torch.Tensor:  # fmt: skip
    """The pixels of a stream without alpha, uint8 (h, w, C), of the whole image or of `region` (x, y, w, h).

    Tile rows are decoded one after the other and synthesis follows them, so that memory does not depend on the height.
    With `device`, one that torch can use, the networks run there and the result is a tensor there.

    Raises:
        FormatError: damaged bytes (ChecksumError: symbols that are not those of the encoder).
        ModelError, LimitError; BackendError if `device` cannot run the networks.
    """
    header = stream.header
    if header.networks is None or header.networks.scale != 1 or header.trimmed or stream.container != "fcd":
        raise FormatError(
            "codec range needs the model flag, and knows neither half size nor trimming nor a JPEG around it"
        )
    if max(header.width, header.height) > (most := by_name("range").max_side):
        raise FormatError(f"codec range takes sides up to {most}, the stream says {header.width} x {header.height}")
    from . import packed_model

    model, level = packed_model.find(header.networks.model_id), header.networks.level
    p = parameters(model)
    if level >= p.levels:
        raise FormatError(f"level is {level}, model {model.name} has {p.levels}")
    synthesis = program(model, f"synthesis_{colour(header.channels)}")
    payload = read_payload(stream.payload, header)
    x, y, w, h = region or (0, 0, header.width, header.height)
    top, bottom = _window(y, h, payload.tiles.height, synthesis)
    left, right = _window(x, w, payload.tiles.width, synthesis)
    free = _check_memory(stream, payload.tiles, p, synthesis, (top, left, bottom, right), (h, w), limits, threads)

    out = _empty((h, w, header.channels), np.uint8, device)
    held = _empty((0, right - left, p.latent), np.int16, device)  # rows `first` and on, of the window's columns
    first, done = top, y // STRIDE  # `done`: latent rows from the window's top whose pixels are finished
    last_done = -(-(y + h) // STRIDE)
    for row in range(top // payload.tiles.side, (bottom - 1) // payload.tiles.side + 1):
        keep = max(first, done // synthesis.align * synthesis.align - synthesis.halo)
        held, first = held[keep - first :], keep
        strip = _placed(_decode_row(model, level, payload, row, (top, left, bottom, right), threads, device), device)
        held = _joined([held, strip], 0) if len(held) else strip
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
        if isinstance(held, np.ndarray):
            out[begin - y : end - y] = flow.run_within(free, synthesis, held, level, size, part, threads)
        else:
            out[begin - y : end - y] = synthesis.run_torch(held, level, size, region=part, max_memory=free)
        done = ready
    return cast("Image | torch.Tensor", out)


def _window(start: int, length: int, n: int, synthesis: Program) -> tuple[int, int]:
    """The latent rows (or columns), of n, that pixels start..start + length - 1 depend on."""
    align, halo = synthesis.align, synthesis.halo
    low = start // STRIDE // align * align - halo
    high = -(-(start + length) // (STRIDE * align)) * align + halo
    return max(0, low), min(n, high)


def _decode_row(
    model: PackedModel, level: int, payload: Payload, row: int, window: tuple[int, int, int, int],
    threads: int | None, device: str | None,
) -> Latent:  # fmt: skip
    """y^ of one row of tiles, as far as it lies in the window (top, left, bottom, right)."""
    tiles, (top, left, bottom, right) = payload.tiles, window
    skip = 0 if payload.every else parameters(model).skip
    first, last = left // tiles.side, (right - 1) // tiles.side
    low, high = max(top, row * tiles.side), min(bottom, (row + 1) * tiles.side)
    strip = np.empty((high - low, right - left, parameters(model).latent), np.int16)

    def work(column: int, n_threads: int) -> None:
        number = row * tiles.columns + column
        y0, x0, y1, x1 = tiles.box(number)
        y_hat = _decode_tile(model, level, payload.parts[number], (y1 - y0, x1 - x0), skip, n_threads, device)
        if (found := crc32c(y_hat)) != payload.checks[number]:
            raise ChecksumError(
                f"tile {number}: CRC-32C of its latents is {found:08x}, {payload.checks[number]:08x} stored; "
                "the stream is damaged"
            )
        begin, end = max(x0, left), min(x1, right)
        strip[:, begin - left : end - left] = y_hat[low - y0 : high - y0, begin - x0 : end - x0]

    each(work, range(first, last + 1), threads)
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
