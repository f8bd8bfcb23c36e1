# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Packed models: integer networks in safetensors files, run by the native core.

A model file holds int8 weights, int32 tables and, in its metadata, one JSON program for each task of its codec
(`rec1_rgb`, `com2_grey`, ...). Its id is the first 8 bytes of the SHA-256 of the file; streams carry it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import FormatError, LimitError, ModelError

if TYPE_CHECKING:
    import torch

MAX_DIFFERENCES = 2  # of the rows of a table
MAX_FILE_BYTES = 256 << 20
MAX_PROGRAMS = 64
MAX_LOADED_BYTES = 2 << 30  # of all programs of a model
SUFFIX = ".safetensors"
MODEL_FOLDER = Path(__file__).parent / "models"
PATH_VARIABLE = "FASTCODEC_MODELS"
# Id of what is left of an earlier model when the programs that only encoders use are taken out: the model's own id, by
# which files ask for it.
_DECODER_OF = {bytes.fromhex("b57b578d7ae01304"): bytes.fromhex("055865630b85d7f9")}

Value = NDArray[Any]
"""uint8, int8 or int16 [height, width, channels]."""


class Program:
    """One integer network, checked and packed for the CPU backend in use."""

    levels: list[int]
    """Codec qualities that the level tables were made for, ascending."""
    in_channels: int
    in_dtype: np.dtype[Any]
    """uint8, int8 or int16."""
    channels: int
    """Channels of the result."""
    dtype: np.dtype[Any]
    """Of the result: uint8, int8 or int16."""
    scale: float
    """Output size over input size, a power of 2 from 1/256 to 16."""
    align: int
    """A part of an input, given alone, must begin and end at multiples of so many pixels or at an edge of the whole."""
    halo: int
    """The result is true for pixels that lie this many input pixels inside such a part; a multiple of align."""

    def __init__(self, spec: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], *, backend: str = "") -> None:
        """Args: spec as in the model file, tensors by name. Raises ModelError naming the operation that is wrong."""
        _require(isinstance(spec, Mapping), "program must be an object")
        unknown = set(spec) - {"inputs", "output", "levels", "ops"}
        _require(not unknown, f"program has unknown keys {sorted(map(str, unknown))}")
        inputs, levels, ops = spec.get("inputs"), spec.get("levels"), spec.get("ops")
        _require(isinstance(inputs, dict), "program: 'inputs' must be an object of one input")
        _require(isinstance(spec.get("output"), str), "program: 'output' must be a name")
        _require(isinstance(ops, list), "program: 'ops' must be a list")
        _require(
            isinstance(levels, list)
            and bool(levels)
            and all(type(q) is int for q in levels)
            and sorted(set(levels)) == levels,
            "program: 'levels' must be a list of ascending integers",
        )
        assert isinstance(inputs, dict)
        assert isinstance(ops, list)
        assert isinstance(levels, list)
        self.levels = list(levels)
        self._native = _core.Program(inputs, spec["output"], len(levels), ops, dict(tensors), backend)
        self._on_device: dict[tuple[str, int], _core.DeviceProgram] = {}
        self.in_channels, self.in_dtype = self._native.in_channels, np.dtype(self._native.in_type)
        self.channels, self.dtype = self._native.out_channels, np.dtype(self._native.out_type)
        self.align, self.halo = self._native.align, self._native.halo
        self.scale = 2.0**self._native.scale_log2

    @property
    def native(self) -> _core.Program:
        """The native program, for measurements."""
        return self._native

    def level_for(self, quality: float) -> int:
        """The level (row of the level tables) whose quality is nearest; of two equally near ones the lower."""
        return min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - quality))

    def run(
        self,
        image: Value,
        level: int,
        out_size: tuple[int, int],
        *,
        region: tuple[int, int, int, int] | None = None,
        threads: int | None = None,
        max_memory: int = 0,
    ) -> Value:
        """Runs the network.

        Args:
            image: in_dtype [height, width, in_channels], C-contiguous.
            level: row of the level tables, see level_for.
            out_size: (height, width) of the whole result: image size times scale, rounded up. An upsampled result may
                be cropped by less than one pixel of the size before.
            region: (x, y, width, height) in pixels of the result; only that part is computed. None: all of it.
            threads: at most so many threads; None: the setting of set_num_threads.
            max_memory: LimitError if the work space would need more bytes; 0: no limit.

        Returns: dtype [height, width, channels] of the region; the same bytes for every backend and thread count.
        Raises: TypeError, ValueError for wrong arguments; LimitError; MemoryError.
        """
        x, y, width, height = region if region is not None else (0, 0, out_size[1], out_size[0])
        if width < 1 or height < 1 or width > out_size[1] or height > out_size[0]:
            raise ValueError(
                f"region must be a non-empty part of the {out_size[0]} x {out_size[1]} result, got {region}"
            )
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        out = np.empty((height, width, self.channels), self.dtype)
        self._native.run(image, out, level, out_size, (x, y), threads or 0, max_memory)
        return out

    def run_device(
        self,
        image: int,
        size: tuple[int, int],
        out: int,
        level: int,
        out_size: tuple[int, int],
        *,
        region: tuple[int, int, int, int] | None = None,
        device: str = "cuda",
        index: int = 0,
        stream: int = 0,
        max_memory: int = 0,
        workspace: int = 0,
    ) -> None:
        """Runs the network on a GPU; the result is the same as run().

        Args:
            image: address of dense in_dtype [height, width, channels] in the memory of the device.
            size: (height, width) of the image.
            out: address of dense memory, of dtype, for the region of the result.
            level, out_size, region, max_memory: as in run().
            device: "cuda", or "emulator": the same kernels on the CPU, with addresses of CPU memory.
            index: number of the CUDA device.
            stream: the CUDA stream to use, as an integer (0: the default stream). The call only queues the work.
            workspace: address of device memory for the work, aligned to 256, of as many bytes as `workspace_bytes` of
                the native program says; 0: it is allocated in the order of the stream.

        Raises: BackendError if the device cannot be used; else as run().
        """
        x, y, width, height = region if region is not None else (0, 0, out_size[1], out_size[0])
        program = self._device_program(device, index)
        program.run(image, size, out, level, out_size, (x, y), (height, width), stream, max_memory, workspace)

    def _device_program(self, device: str, index: int) -> _core.DeviceProgram:
        key = (device, index)
        if key not in self._on_device:
            self._on_device[key] = _core.DeviceProgram(self._native, device, index)
        return self._on_device[key]

    def run_torch(
        self,
        image: torch.Tensor,
        level: int,
        out_size: tuple[int, int],
        *,
        region: tuple[int, int, int, int] | None = None,
        max_memory: int = 0,
    ) -> torch.Tensor:
        """Runs the network where the image is: on torch's current CUDA stream or on the CPU.

        Args: image: in_dtype tensor [height, width, channels], contiguous; the others as in run().
        Returns: dtype tensor [height, width, channels] on the same device.
        Raises: TypeError, ValueError for wrong arguments; BackendError if the device cannot be used; LimitError.
        """
        import torch

        expected = self.in_dtype.name
        if image.dtype != getattr(torch, expected) or image.ndim != 3 or not image.is_contiguous():
            raise TypeError(
                f"image must be a contiguous {expected} tensor [height, width, channels], got {image.dtype} "
                f"{tuple(image.shape)}; use x.to(torch.{expected}).contiguous()"
            )
        height, width, channels = image.shape
        if channels != self.native.in_channels:
            raise ValueError(f"image must have {self.native.in_channels} channels, got {channels}")
        if image.device.type == "cpu":
            part = self.run(image.numpy(), level, out_size, region=region, max_memory=max_memory)
            return torch.from_numpy(part)
        if image.device.type != "cuda":
            raise ValueError(f"image must be on the CPU or a CUDA device, got {image.device}; use x.cpu()")
        part_size = (region[3], region[2]) if region is not None else out_size
        out = torch.empty((*part_size, self.channels), dtype=getattr(torch, self.dtype.name), device=image.device)
        # From torch's allocator, which gives it to later work of the same stream only.
        n_bytes = self._device_program("cuda", image.get_device()).workspace_bytes((height, width), out_size, part_size)
        fits = not max_memory or n_bytes <= max_memory  # else run_device says so
        workspace = torch.empty(n_bytes if fits else 0, dtype=torch.uint8, device=image.device)
        self.run_device(
            image.data_ptr(),
            (height, width),
            out.data_ptr(),
            level,
            out_size,
            region=region,
            index=image.get_device(),
            stream=torch.cuda.current_stream(image.device).cuda_stream,
            max_memory=max_memory,
            workspace=workspace.data_ptr(),
        )
        return out


@dataclass(frozen=True, eq=False)
class RangeParameters:
    """What a model of codec `range` says beside its programs; FORMAT.md has the meaning.

    Attributes:
        latent, hyper, features: channels of y, z and of hyper_synthesis' result.
        passes, skip: how the latent is coded.
        z_index: uint8 [levels, hyper]; quant, dequant: int32 [levels, latent].
    """

    latent: int
    hyper: int
    features: int
    passes: int
    skip: int
    z_index: NDArray[np.uint8]
    quant: NDArray[np.int32]
    dequant: NDArray[np.int32]

    @property
    def levels(self) -> int:
        """Rows of the tables, one for each level."""
        return len(self.z_index)


@dataclass(frozen=True)
class PackedModel:
    """The networks of one codec, as loaded from one file; `range` only for that codec.

    `codec_options` are those of the inner codec that the networks were trained behind.
    """

    id: bytes
    name: str
    codec: str
    variant: str
    programs: dict[str, Program]
    path: Path
    range: RangeParameters | None = None
    codec_options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Installed:
    """A model file that is there, by what its metadata says; `programs` are the names of its networks."""

    id: bytes
    name: str
    codec: str
    variant: str
    programs: tuple[str, ...]
    path: Path

    def load(self) -> PackedModel:
        """The model itself, read and checked at the first call.

        Raises:
            ModelError: as load(), or it was removed or replaced since it was listed.
        """
        try:
            return _loaded(self)
        except _GoneError:
            _installed.cache_clear()
        again = installed().get(self.id)
        if again is None:
            raise ModelError(f"model {self.name} was removed or replaced since it was listed: {self.path}")
        return _loaded(again)


class _GoneError(ModelError):
    """A listed model is not in its file any more."""


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ModelError(message)


def _parse_json(text: str) -> Any:
    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    value = json.loads(text, parse_constant=no_constant)
    json.dumps(value, ensure_ascii=False).encode()  # UnicodeEncodeError, a ValueError, for half a surrogate pair
    return value


def load(path: str | os.PathLike[str], *, backend: str = "") -> PackedModel:
    """Loads and checks a model file. Raises ModelError for anything wrong in it, OSError if it cannot be read."""
    meta, tensors, model_id = read(path)
    try:
        return _from_meta(meta, tensors, model_id, Path(path), backend)
    except ModelError as error:
        raise ModelError(f"{Path(path).name}: {error}") from error


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]], bytes]:
    """Metadata, all tensors and the id of a model file; the programs in it are not checked. Raises as load()."""
    with _opened(Path(path)) as (file, meta, model_id):
        tensors = {name: np.ascontiguousarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        return meta, _expand(meta.get("compressed", {}), tensors), model_id


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any], bytes]]:
    """An open safetensors file, of which no tensor has been read, its metadata and its id. Raises as load()."""
    from safetensors import SafetensorError, safe_open

    try:
        size = path.stat().st_size
        _require(size <= MAX_FILE_BYTES, f"at most {MAX_FILE_BYTES} bytes expected, got {size}")
        digest = hashlib.sha256(path.read_bytes()).digest()
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("fastcodec")
            _require(text is not None, "no 'fastcodec' entry in the metadata; not a packed model")
            meta = _parse_json(str(text))
            _require(isinstance(meta, dict), "metadata must be an object")
            yield file, meta, _DECODER_OF.get(digest[:8], digest[:8])
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise ModelError(f"{path.name}: not a readable packed model: {error}") from error
    except ModelError as error:
        raise ModelError(f"{path.name}: {error}") from error


def save(path: str | os.PathLike[str], meta: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Writes a model file; each tensor is coded by the range coder where that makes it smaller.

    Args: meta as FORMAT.md says, without "compressed"; tensors int8, uint8 or int32.
    """
    from safetensors.numpy import save as to_bytes

    from . import rans

    stored, compressed = {}, {}
    for name, tensor in tensors.items():
        # Level tables are nearly straight lines: their second differences are small.
        orders = range(MAX_DIFFERENCES + 1) if tensor.dtype == np.int32 and tensor.ndim == 2 else range(1)
        coded = [rans.compress_weights(_differences(tensor, order)) for order in orders]
        best = min(orders, key=lambda order: len(coded[order]))
        small = len(coded[best]) < tensor.nbytes
        stored[name] = np.frombuffer(coded[best], np.uint8) if small else np.ascontiguousarray(tensor)
        if small:
            compressed[name] = [tensor.dtype.name, list(tensor.shape), *([best] if best else [])]
    text = json.dumps({**meta, "compressed": compressed}, separators=(",", ":"))
    Path(path).write_bytes(to_bytes(stored, metadata={"fastcodec": text}))


def _differences(table: NDArray[Any], order: int) -> NDArray[Any]:
    """Each row less the one before it (the first as it is), modulo 2^32, `order` times."""
    out = table.view(np.uint32) if order else table
    for _ in range(order):
        out = np.concatenate((out[:1], out[1:] - out[:-1]))
    return out.view(table.dtype)


def _sums(table: NDArray[Any], order: int) -> NDArray[Any]:
    """What _differences took the differences of."""
    out = table.view(np.uint32) if order else table
    for _ in range(order):
        out = np.cumsum(out, axis=0, dtype=np.uint32)
    return out.view(table.dtype)


def _expand(compressed: Any, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The tensors as they were before save() coded some of them; sizes are checked before anything is allocated."""
    from . import rans

    _require(isinstance(compressed, dict), "'compressed' must be an object of name: [dtype, shape]")
    expanded, total = dict(tensors), 0
    for name, entry in compressed.items():
        dtype, shape, order = (
            (*entry, 0)[:3] if isinstance(entry, list) and len(entry) in (2, 3) else (None, None, None)
        )
        _require(
            name in tensors
            and type(order) is int
            and (order == 0 or (1 <= order <= MAX_DIFFERENCES and dtype == "int32" and shape))
            and tensors[name].dtype == np.uint8
            and tensors[name].ndim == 1
            and dtype in ("int8", "uint8", "int32")
            and isinstance(shape, list)
            and len(shape) <= 4
            and all(type(n) is int and 0 <= n <= MAX_FILE_BYTES for n in shape),
            f"'compressed' entry {name!r} must be [int8 | uint8 | int32, shape] of a uint8 tensor, int32 "
            f"with 1 or 2 as a third item for differences, got {entry!r}",
        )
        assert isinstance(dtype, str)
        assert isinstance(shape, list)
        total += math.prod(shape) * np.dtype(dtype).itemsize
        _require(total <= MAX_FILE_BYTES, f"{name!r} takes the tensors beyond {MAX_FILE_BYTES} bytes")
        try:
            expanded[name] = _sums(rans.decompress_weights(tensors[name].tobytes(), dtype, shape), order)
        except (FormatError, LimitError) as error:
            raise ModelError(f"tensor {name!r}: {error}") from error
    return expanded


def _from_meta(meta: Any, tensors: dict[str, NDArray[Any]], model_id: bytes, path: Path, backend: str) -> PackedModel:
    model_name, codec, variant, specs = _head(meta)
    programs: dict[str, Program] = {}
    for name, spec in specs.items():
        try:
            programs[name] = Program(spec, tensors, backend=backend)
            loaded = sum(program.native.n_bytes for program in programs.values())
            _require(
                loaded <= MAX_LOADED_BYTES, f"the programs up to here take {loaded} bytes, at most {MAX_LOADED_BYTES}"
            )
        except ModelError as error:
            raise ModelError(f"program '{name}': {error}") from error
    parameters = _range_parameters(meta.get("range"), tensors, programs) if codec == "range" else None
    options = _codec_options(codec, meta.get("codec_options", {}))
    return PackedModel(model_id, model_name, codec, variant, programs, path, parameters, options)


def _head(meta: Mapping[str, Any]) -> tuple[str, str, str, dict[str, Any]]:
    """Name, codec, variant and programs of a model's metadata; the programs themselves are not checked."""
    _require(meta.get("format") == 1, f"format 1 expected, got {meta.get('format')!r}; install a newer fastcodec")
    for key in ("name", "codec", "variant"):
        _require(isinstance(meta.get(key), str), f"'{key}' must be a string")
    specs = meta.get("programs")
    _require(
        isinstance(specs, dict) and 1 <= len(specs) <= MAX_PROGRAMS,
        f"'programs' must be an object of 1 to {MAX_PROGRAMS}",
    )
    assert isinstance(specs, dict)
    return meta["name"], meta["codec"], meta["variant"], specs


def _codec_options(codec: str, given: Any) -> dict[str, Any]:
    """The metadata entry `codec_options`, checked."""
    from .codecs import CODECS

    _require(isinstance(given, dict), "'codec_options' must be an object")
    try:
        if given:
            _require(codec in CODECS, f"'codec_options' for codec {codec!r}, which is unknown")
            CODECS[codec].check_options("auto", given)
    except (TypeError, ValueError) as error:
        raise ModelError(str(error)) from error
    return dict(given)


def _range_parameters(
    given: Any, tensors: Mapping[str, NDArray[Any]], programs: Mapping[str, Program]
) -> RangeParameters:
    """The metadata entry `range`, checked, and the programs checked against it."""
    _require(isinstance(given, dict), "'range' must be an object")
    number: dict[str, int] = {}
    bounds = {"latent": (1, 512), "hyper": (1, 1024), "features": (1, 1024), "passes": (1, 4), "skip": (0, 63)}
    for key, (low, high) in bounds.items():
        value = given.get(key)
        _require(type(value) is int and low <= value <= high, f"'range': {key} must be {low} to {high}, got {value!r}")
        number[key] = value
    _require(number["passes"] != 3, "'range': passes must be 1, 2 or 4, got 3")
    table: dict[str, NDArray[Any]] = {}
    for key, dtype, width in (
        ("z_index", "uint8", "hyper"),
        ("quant", "int32", "latent"),
        ("dequant", "int32", "latent"),
    ):
        name = given.get(key)
        tensor = tensors.get(name) if isinstance(name, str) else None
        _require(
            tensor is not None and tensor.dtype == dtype and tensor.ndim == 2 and tensor.shape[1] == number[width],
            f"'range': {key} must name a tensor {dtype} [levels, {number[width]}], got {name!r}",
        )
        assert tensor is not None
        table[key] = tensor
    levels = len(table["z_index"])
    _require(
        1 <= levels <= 256 and all(len(t) == levels for t in table.values()),
        f"'range': its tables must have the same 1 to 256 levels, got {[len(t) for t in table.values()]}",
    )
    _require(int(table["z_index"].max()) < 64, "'range': z_index must be below 64, the number of tables")
    _check_range_programs(programs, number, levels)
    return RangeParameters(
        number["latent"], number["hyper"], number["features"], number["passes"], number["skip"],
        table["z_index"], table["quant"], table["dequant"],
    )  # fmt: skip


def _check_range_programs(programs: Mapping[str, Program], number: Mapping[str, int], levels: int) -> None:
    latent, hyper, features = number["latent"], number["hyper"], number["features"]
    image, symbols = np.dtype(np.uint8), np.dtype(np.int16)
    expected: dict[str, tuple[int, np.dtype[Any], int, np.dtype[Any], float]] = {
        "hyper_analysis": (latent, symbols, hyper, symbols, 1 / 4),
        "hyper_synthesis": (hyper, symbols, features, symbols, 4.0),
        "prior_0": (features, symbols, 2 * latent, symbols, 1.0),
        **{f"prior_{k}": (features + latent, symbols, 2 * latent, symbols, 1.0) for k in (1, 2, 3)},
    }
    for colour, channels in (("grey", 1), ("rgb", 3)):
        expected[f"analysis_{colour}"] = (channels, image, latent, symbols, 1 / 16)
        expected[f"synthesis_{colour}"] = (latent, symbols, channels, image, 16.0)
    for name, program in programs.items():
        _require(name in expected, f"program '{name}' is unknown to codec range; it knows {', '.join(expected)}")
        found = (program.in_channels, program.in_dtype, program.channels, program.dtype, program.scale)
        _require(
            found == expected[name],
            f"program '{name}' makes {found[2]} channels of {found[3]} from {found[0]} of {found[1]} at scale "
            f"{found[4]:g}, expected {expected[name][2]} of {expected[name][3]} from {expected[name][0]} of "
            f"{expected[name][1]} at {expected[name][4]:g}",
        )
        _require(
            program.levels == list(range(levels)), f"program '{name}': levels must be 0 to {levels - 1} as in 'range'"
        )
        ratio = round(max(program.scale, 1 / program.scale))
        small, large = (2, 3), (ratio + 1, 2 * ratio + 1)
        sizes = (small, large) if program.scale >= 1 else (large, small)
        try:
            program.native.work_space_bytes(sizes[0], sizes[1], sizes[1], 1)
        except ValueError as error:
            raise ModelError(f"program '{name}': {error}") from error


def _search_path() -> list[Path]:
    extra = [Path(p).absolute() for p in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if p]
    for folder in extra:
        if not folder.is_dir():
            raise ModelError(f"{PATH_VARIABLE} must name folders of packed models, got {str(folder)!r}")
    return [MODEL_FOLDER, *extra]


@functools.lru_cache(maxsize=8)
def _installed(folders: tuple[Path, ...]) -> dict[bytes, Installed]:
    models: dict[bytes, Installed] = {}
    for folder in folders:
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            with _to_take_away(path), _opened(path) as (_, meta, model_id):
                name, codec, variant, programs = _head(meta)
                models.setdefault(model_id, Installed(model_id, name, codec, variant, tuple(sorted(programs)), path))
    return models


@functools.lru_cache(maxsize=64)
def _loaded(model: Installed) -> PackedModel:
    try:
        with _to_take_away(model.path):
            found = load(model.path)
    except OSError as error:
        raise _GoneError(f"{model.path}: {error}") from error
    if found.id != model.id:
        raise _GoneError(f"{model.path} holds another model now")
    return found


@contextlib.contextmanager
def _to_take_away(path: Path) -> Iterator[None]:
    """An error about an installed model says where it is and what to do."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path.parent}: {error}; take the file away, or the folder out of {PATH_VARIABLE}") from error


def installed() -> dict[bytes, Installed]:
    """All models by id: the package's, then those in the folders of FASTCODEC_MODELS; listed at the first call."""
    return dict(_installed(tuple(_search_path())))


def find(model_id: bytes) -> PackedModel:
    """The model of that id. Raises ModelError saying where to get it."""
    model = installed().get(model_id)
    if model is None:
        raise ModelError(
            f"model {model_id.hex()} is needed and not installed; it comes with the fastcodec version that wrote "
            f"the file, or put its {SUFFIX} file into a folder named by {PATH_VARIABLE}"
        )
    return model.load()


def by_name(name: str) -> Installed:
    """The model of that name. Raises ModelError listing the names there are."""
    for model in installed().values():
        if model.name == name:
            return model
    names = ", ".join(sorted(m.name for m in installed().values())) or "none"
    raise ModelError(f"no model named '{name}'; installed: {names}")


def default_for(codec: str, program: str = "") -> Installed | None:
    """The model to use for a codec where none is named: variant `fast` first, then the newest; None if none.

    Names end in a version: `jpeg-fast-2` is newer than `jpeg-fast-1`, which stays for the files that it wrote and for
    what the newer one lacks: with `program`, only models that have that program for RGB count.
    """

    def order(model: Installed) -> tuple[bool, int, str]:
        version = model.name.rpartition("-")[2]
        return model.variant != "fast", -int(version) if version.isdecimal() else 0, model.name

    fitting = (m for m in installed().values() if m.codec == codec and (not program or f"{program}_rgb" in m.programs))
    return min(fitting, key=order, default=None)


def load_for(codec: str, name: str | None = None) -> tuple[PackedModel | None, PackedModel | None]:
    """What an encode by a codec uses: the model of that name, or the codec's default, and the model for half size."""
    found = (default_for(codec, program) if name is None else by_name(name) for program in ("", "rec2"))
    full, half = (model.load() if model else None for model in found)
    return full, half
