# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Speed of the integer networks beside other inference engines: `fastcodec bench networks`.

Networks: P, F and D of `network` with random weights, and every program of the installed models. Peers (extra: bench):
torch eager, default and channels_last, and torch.compile; onnxruntime and OpenVINO, each in fp32 and in int8 (a static
QDQ model of onnxruntime's quantiser: u8 activations, s8 weights with a scale for each channel).

The peers do less than fastcodec: the convolutions with bias, ReLU and additions, the pixel shuffles and the phase
planes, with borders of zeros; neither the conversion from and to 8-bit pixels nor the bicubic base.

Before anything is timed, fastcodec is compared with its reference kernels (must be equal), each peer with torch fp32.
Times are medians of interleaved calls: CPU time of the process on one thread, so that other work on the machine
counts little; wall time on several threads. Beside them: the share of what the CPU's best int8 product does in a loop
of its own (`int8_peak`; Winograd convolutions need fewer products and can pass it), and how much faster two threads
are. With a GPU, fastcodec and torch.compile in bf16 run there too.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import math
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcodec import _core, bench_peers, machine, packed_model
from fastcodec.errors import BackendError
from fastcodec.packed_model import Program

Json = dict[str, Any]
Array = NDArray[Any]
Call = bench_peers.Call

NETWORKS = ("P", "F", "D")
SPARSE = {"S": (0.0, 8), "S50": (0.5, 8), "S50x16": (0.5, 16)}  # share of zero blocks, outputs of a block
CHECK_SIZE = (50, 70)  # (height, width) where fastcodec is compared with its reference kernels
PLANE_PERIOD = 8
CONTENDER_SECONDS = 20.0  # a contender is not called again once its calls took so long together
FP32_TOLERANCE = 1e-3  # of the largest output: sums in another order
INT8_MIN_PSNR = 20.0  # a peer below that computed something else
MEGA = 1e6


@dataclass(frozen=True)
class Network:
    """A program as a model file holds it."""

    name: str
    spec: Mapping[str, Any]
    tensors: Mapping[str, Array]


# networks ----------------------------------------------------------------------------------------


class _Builder:
    """Puts a program with random weights together; results fill most of the range of their type."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.ops: list[Json] = []
        self.tensors: dict[str, Array] = {}

    def add(self, op: str, inputs: list[str], **rest: Any) -> str:
        self.ops.append({"op": op, "in": inputs, "out": f"v{len(self.ops)}", **rest})
        return str(self.ops[-1]["out"])

    def conv(
        self, x: str, shape: tuple[int, ...], dtype: str = "u8", zero_blocks: float = 0.0, block_outputs: int = 8
    ) -> str:
        """shape as in the model file: [O, k, k, I], or [C, 3, 3] for depthwise."""
        rng, n = self.rng, len(self.ops)
        weight = np.clip(np.rint(rng.normal(0, 40, shape)), -128, 127).astype(np.int8)
        if zero_blocks:
            weight *= _block_mask(rng, shape, zero_blocks, block_outputs)
        spread = float(np.sqrt(np.prod(shape[1:]) * (1 - zero_blocks))) * 40 * 90
        mult = (110 if dtype == "u8" else 700) / spread * 2.0**32 * rng.uniform(0.7, 1.3, (1, shape[0]))
        self.tensors[f"{n}.w"] = weight
        self.tensors[f"{n}.b"] = rng.normal(0.3 * spread, 0.3 * spread, (1, shape[0])).astype(np.int32)
        self.tensors[f"{n}.m"] = np.clip(mult, 1, 2**31 - 1).astype(np.int32)
        return self.add(
            "conv" if len(shape) == 4 else "depthwise", [x],
            weight=f"{n}.w", bias=f"{n}.b", mult=f"{n}.m", stride=1, type=dtype,
        )  # fmt: skip

    def half_resolution(self) -> str:
        """The image as 12 planes of half the size, with 4 phase planes."""
        x = self.add("pixel_unshuffle", ["image"], factor=2)
        self.tensors["planes"] = self.rng.integers(0, 256, (2, 2, PLANE_PERIOD)).astype(np.uint8)
        return self.add("phase", [x], table="planes")

    def network(self, name: str, d: str) -> Network:
        y = self.add("residual", [d, "image"])
        return Network(name, {"inputs": {"image": 3}, "output": y, "levels": [50], "ops": self.ops}, self.tensors)


def _block_mask(rng: np.random.Generator, shape: tuple[int, ...], share: float, block_outputs: int) -> Array:
    """0 for `share` of the blocks of `block_outputs` x 4 inputs of each tap, else 1."""
    outputs, height, width, inputs = shape
    blocks = (-(-outputs // block_outputs), height, width, -(-inputs // 4))
    order = rng.permutation(int(np.prod(blocks))).reshape(blocks)
    kept = (order >= share * order.size).astype(np.int8)
    return kept.repeat(block_outputs, axis=0).repeat(4, axis=3)[:outputs, ..., :inputs]


def network(name: str) -> Network:
    """P: the RecCNN of the paper, 20 layers of 64 channels at full resolution. F: at half resolution 16 -> 32,
    8 x 32 -> 32, 32 -> 12, pixel shuffle. D: the same depth, each layer depthwise 3x3 and 1x1, 48 channels.
    S: 1x1-heavy: 3x3 16 -> 64, 8 x 1x1 64 -> 64, 1x1 64 -> 12. S50, S50x16: with half of the blocks of 8 outputs x 4
    inputs, or 16 x 4, of the 1x1 weights zero.
    """
    b = _Builder(seed=0)
    if name == "P":
        x = b.conv("image", (64, 3, 3, 3))
        for _ in range(18):
            x = b.conv(x, (64, 3, 3, 64))
        return b.network(name, b.conv(x, (3, 3, 3, 64), "i16"))
    x = b.half_resolution()
    if name == "F":
        x = b.conv(x, (32, 3, 3, 16))
        for _ in range(8):
            x = b.conv(x, (32, 3, 3, 32))
        d = b.conv(x, (12, 3, 3, 32), "i16")
    elif name == "D":
        inputs = 16
        for _ in range(9):
            x = b.conv(b.conv(x, (inputs, 3, 3)), (48, 1, 1, inputs))
            inputs = 48
        d = b.conv(b.conv(x, (48, 3, 3)), (12, 1, 1, 48), "i16")
    elif name in SPARSE:
        zero_blocks, block_outputs = SPARSE[name]
        x = b.conv(x, (64, 3, 3, 16))
        for _ in range(8):
            x = b.conv(x, (64, 1, 1, 64), "u8", zero_blocks, block_outputs)
        d = b.conv(x, (12, 1, 1, 64), "i16", zero_blocks, block_outputs)
    else:
        raise ValueError(f"network must be one of {(*NETWORKS, *SPARSE)}, got {name!r}")
    return b.network(name, b.add("pixel_shuffle", [d], factor=2))


def installed_networks() -> list[Network]:
    """Every program of the installed models, named model/program."""
    found = []
    for model in packed_model.installed().values():
        meta, tensors, _ = packed_model.read(model.path)
        found += [Network(f"{model.name}/{name}", meta["programs"][name], tensors) for name in model.programs]
    return found


def choose(names: list[str] | None = None) -> list[Network]:
    """The networks of those names: of NETWORKS or SPARSE, or an installed model or one of its programs.

    None: all but SPARSE. Raises ValueError for an unknown name.
    """
    wanted = list(dict.fromkeys(names or []))
    installed = installed_networks()
    own = (*NETWORKS, *SPARSE)
    chosen = [network(name) for name in (wanted or NETWORKS) if name in own]
    for name in wanted:
        if name not in own:
            found = [one for one in installed if name in (one.name, one.name.split("/")[0])]
            if not found:
                known = ", ".join([*own, *(one.name for one in installed)])
                raise ValueError(f"no network {name!r}; there are {known}")
            chosen += found
    return chosen if wanted else chosen + installed


# measuring ---------------------------------------------------------------------------------------


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {field}")


def _load(make: Callable[[], Call]) -> tuple[Call, object, int | None]:
    """A contender, its first result and by how much memory grew at most in loading and the first run; None where the
    system does not tell."""
    before = None
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _memory("VmRSS")
    call = make()
    first = call()
    return call, first, None if before is None else max(_memory("VmHWM") - before, 0)


def cpu_backends(isa: str | None = None) -> list[str]:
    """The available CPU backends, best first; with `isa` from that one on. Raises ValueError where it is missing."""
    names = [name for name, available, _ in _core.backends() if available and name not in ("cuda", "reference")]
    if isa and isa not in names:
        raise ValueError(f"no {isa} here; there are {', '.join(names)}")
    return names[names.index(isa) :] if isa else names


def int8_peak(backends: list[str]) -> dict[str, float]:
    """GMAC/s of one core by each backend's int8 products alone: the best of many short loops."""
    peaks = {}
    for name in backends:
        rounds = 1
        while True:
            start = time.perf_counter()
            _core.run_peak(name, rounds)
            if time.perf_counter() - start > 1e-4:
                break
            rounds *= 2
        best = 0.0
        for _ in range(500):
            start = time.perf_counter()
            macs = _core.run_peak(name, rounds)
            best = max(best, macs / (time.perf_counter() - start) / 1e9)
        peaks[name] = best
    return peaks


def _interleaved(calls: Mapping[str, Call], repeats: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each call, one of each in turn, so that a change of the machine's load hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            if sum(seconds[name]) < CONTENDER_SECONDS:
                start = clock()
                call()
                seconds[name].append(clock() - start)
    return seconds


def sample_image(size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """A smooth picture with noise, u8 [h, w, channels]."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0 : size[0], 0 : size[1]]
    planes = [128 + 90 * np.sin(x / (9.0 + 3 * c)) * np.cos(y / (13.0 + 2 * c)) for c in range(channels)]
    return np.clip(np.stack(planes, -1) + rng.normal(0, 6, (*size, channels)), 0, 255).astype(np.uint8)


def _sample(program: Program, size: tuple[int, int]) -> Array:
    """A picture, or noise of another type, so large that it or the result, if that is larger, has that size."""
    height, width = (math.ceil(n / max(program.scale, 1)) for n in size)
    if program.in_dtype == np.uint8:
        return sample_image((height, width), program.in_channels)
    noise = np.random.default_rng(1).normal(0, 40, (height, width, program.in_channels))
    return np.clip(noise, -128, 127).astype(program.in_dtype)


def _out_size(program: Program, picture: Array) -> tuple[int, int]:
    height, width = (math.ceil(n * program.scale) for n in picture.shape[:2])
    return height, width


def _error(out: Array, truth: Array, int8: bool) -> tuple[str, str]:
    """How far a peer is from torch fp32 in words, and why it does not count ("" if it does)."""
    difference = float(np.abs(out - truth).max()) / float(np.abs(truth).max())
    if not int8:
        text = f"{difference:.0e} of the largest output"
        return text, "" if difference <= FP32_TOLERANCE else f"differs from torch fp32 by {text}"
    error = float(np.mean((out.astype(np.float64) - truth) ** 2))
    psnr = 10 * float(np.log10((float(truth.max()) - float(truth.min())) ** 2 / max(error, 1e-12)))
    return f"{psnr:.1f} dB", "" if psnr >= INT8_MIN_PSNR else f"PSNR of {psnr:.1f} dB to torch fp32"


def measure(
    network: Network,
    *,
    size: tuple[int, int] = (512, 768),
    threads: int = 1,
    repeats: int = 7,
    peers: bool = True,
    backends: tuple[str, ...] | None = None,
    isa: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Json:
    """One network by all contenders.

    Args: size: (height, width), both multiples of 4; backends: of fastcodec, None: all with vector instructions, from
        `isa` on, to which the caller has limited this process as `bench` does.
    Returns: {"network", "size", "gmac", "rows": [...], "missing": [...], "times_faster"}; a row has "engine", "ms",
        "min_ms", "spread", "ms_per_mp", "gmac_per_s", "memory_bytes" (growth in loading and the first run), "checked";
        fastcodec's also "work_space_bytes" and, of a run on one thread, "two_threads": how many times faster (wall
        time). times_faster: the fastest peer's ms over that of fastcodec's best backend; with `isa`, of those peers
        that can be limited. "gpu_rows": the same on a GPU.
    Raises AssertionError when a backend differs from the reference kernels.
    """
    if size[0] % 4 or size[1] % 4 or min(size) < 4:
        raise ValueError(f"size must have sides that are multiples of 4, got {size[1]}x{size[0]}")
    if backends is None:
        backends = tuple(name for name in cpu_backends(isa) if name != "scalar") or ("scalar",)
    reference = Program(network.spec, network.tensors, backend="reference")
    picture, small = _sample(reference, size), _sample(reference, CHECK_SIZE)
    expected = reference.run(small, 0, _out_size(reference, small))
    in_size = (picture.shape[0], picture.shape[1])
    gmac = reference.native.macs(*in_size) / 1e9
    calls: dict[str, Call] = {}
    pairs: dict[str, Call] = {}  # on two threads
    rows: dict[str, Json] = {}
    missing: list[Json] = []

    for backend in backends:
        name = f"fastcodec {backend}"
        progress(f"{network.name}: {name}")
        program = Program(network.spec, network.tensors, backend=backend)
        got = program.run(small, 0, expected.shape[:2])
        if not np.array_equal(got, expected):
            raise AssertionError(f"{name}, network {network.name}: differs from the reference kernels")
        out_size = _out_size(program, picture)

        def make(program: Program = program, out_size: tuple[int, int] = out_size, n: int = threads) -> Call:
            return lambda: program.run(picture, 0, out_size, threads=n)

        calls[name], _, memory = _load(make)
        if threads == 1 and (os.cpu_count() or 1) > 1:
            pairs[name] = make(n=2)
        work_space = program.native.work_space_bytes(in_size, out_size, out_size, threads)
        rows[name] = {"memory_bytes": memory, "work_space_bytes": work_space, "checked": "equal to the reference"}

    with contextlib.ExitStack() as stack:
        if peers:
            _add_peers(network, picture, threads, stack, calls, rows, missing, progress)
        clock = time.process_time if threads == 1 else time.perf_counter
        progress(f"{network.name}: timing")
        for name, seconds in _interleaved(calls, repeats, clock).items():
            ordered = sorted(seconds)
            median, n = statistics.median(ordered), len(ordered)
            rows[name].update(
                ms=median * 1e3,
                min_ms=ordered[0] * 1e3,
                spread=(ordered[(3 * n) // 4 if n > 3 else -1] - ordered[n // 4 if n > 3 else 0]) / median,
                repeats=n,
                ms_per_mp=median * 1e3 / (size[0] * size[1] / MEGA),
                gmac_per_s=gmac / median,
            )
        for name, pair in pairs.items():
            walls = _interleaved({"one": calls[name], "two": pair}, repeats, time.perf_counter)
            rows[name]["two_threads"] = statistics.median(walls["one"]) / statistics.median(walls["two"])
    ordered_rows = [{"engine": name, **row} for name, row in rows.items()]
    ours = [r["ms"] for r in ordered_rows if r["engine"].startswith("fastcodec")]
    not_peers = ("fastcodec", bench_peers.UNLIMITED) if isa else ("fastcodec",)
    others = [r["ms"] for r in ordered_rows if not r["engine"].startswith(not_peers)]
    return {
        "network": network.name,
        "size": [size[1], size[0]],
        "gmac": gmac,
        "rows": sorted(ordered_rows, key=lambda row: float(row["ms"])),
        "gpu_rows": _gpu_rows(network, picture, gmac, repeats) if peers and not isa else [],
        "missing": missing,
        "times_faster": min(others) / min(ours) if others else None,
    }


def _gpu_rows(network: Network, picture: Array, gmac: float, repeats: int) -> list[Json]:
    """fastcodec and torch.compile in bf16 on CUDA, from an image there to a result there; none without a GPU."""
    try:
        import torch

        if not torch.cuda.is_available():
            return []
        program = Program(network.spec, network.tensors)
        out_size = _out_size(program, picture)
        image = torch.from_numpy(picture).cuda()
        got = program.run_torch(image, 0, out_size).cpu().numpy()
        assert np.array_equal(got, program.run(picture, 0, out_size)), f"{network.name}: CUDA differs from the CPU"
        calls: dict[str, Call] = {"fastcodec cuda": lambda: program.run_torch(image, 0, out_size)}
        with contextlib.suppress(ValueError):
            calls["torch.compile bf16 cuda"] = bench_peers.cuda_peer(network.spec, network.tensors, picture)
    except (ImportError, BackendError):
        return []
    rows = []
    for name, call in calls.items():
        for _ in range(3):
            call()
        seconds = []
        for _ in range(repeats):
            torch.cuda.synchronize()
            start = time.perf_counter()
            call()
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        median = statistics.median(seconds)
        mp = picture.shape[0] * picture.shape[1] / MEGA
        rows.append({"engine": name, "ms": median * 1e3, "ms_per_mp": median * 1e3 / mp, "gmac_per_s": gmac / median})
    return rows


def _add_peers(
    network: Network,
    picture: Array,
    threads: int,
    stack: contextlib.ExitStack,
    calls: dict[str, Call],
    rows: dict[str, Json],
    missing: list[Json],
    progress: Callable[[str], None],
) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    truth: Array | None = None
    try:
        import torch

        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        found = list(bench_peers.peers(network.spec, network.tensors, picture, threads, folder))
    except ImportError:
        missing.append({"engine": "all peers", "reason": "torch is not installed; run: pip install 'fastcodec[bench]'"})
        return
    except ValueError as error:
        missing.append({"engine": "all peers", "reason": f"the network has {error}"})
        return
    for name, load in found:
        progress(f"{network.name}: {name}")
        try:
            call, first, memory = _load(load)
        except ImportError as error:
            missing.append({"engine": name, "reason": f"{error}; run: pip install 'fastcodec[bench]'"})
            continue
        except Exception as error:  # what a peer raises is its own affair; the others are still measured
            missing.append({"engine": name, "reason": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"})
            continue
        out = np.array(first)
        truth = out if truth is None else truth
        checked, why = _error(out, truth, "int8" in name)
        if why:
            missing.append({"engine": name, "reason": why})
            continue
        calls[name] = call
        rows[name] = {"memory_bytes": memory, "checked": checked if out is not truth else "the truth for the peers"}


def bench(networks: list[Network], *, threads: int = 1, isa: str | None = None, **options: Any) -> Json:
    """`measure` for each network, with what a result must say about the machine. Options as for `measure`.

    Args: isa: of bench_peers.ISA_LIMITS: fastcodec's backends and the peers are limited to that instruction set, as far
        as they can be, in a process of its own, which reports no progress. Raises ValueError where it is missing.
    """
    if isa:
        cpu_backends(isa)
        options.pop("progress", None)
        limits = bench_peers.ISA_LIMITS[isa]
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, spawn, initializer=_set_environment, initargs=(limits,)) as pool:
            return pool.submit(_bench, networks, threads, isa, options).result()
    return _bench(networks, threads, None, options)


def _set_environment(variables: Mapping[str, str]) -> None:
    os.environ.update(variables)


def _bench(networks: list[Network], threads: int, isa: str | None, options: Json) -> Json:
    started, load = machine.describe(), os.getloadavg()
    peak = int8_peak(cpu_backends(isa))
    results = [measure(one, threads=threads, isa=isa, **options) for one in networks]
    for row in (row for one in results for row in one["rows"]):
        row["of_int8_peak"] = row["gmac_per_s"] / (max(peak.values()) * threads)
    return {
        "machine": {**started, "versions": {**started["versions"], **bench_peers.versions()}},
        "load": {"before": load, "after": os.getloadavg()},
        "int8_peak_gmac_per_s": peak,
        "threads": threads,
        "isa": isa,
        "clock": "CPU time of the process" if threads == 1 else "wall time",
        "networks": results,
    }


def markdown(result: Json) -> str:
    """The result of `bench` as a Markdown page."""
    where = result["machine"]
    lines = [
        "# Speed of the integer networks",
        "",
        f"{where['cpu']}, {where['system']}; commit {where['commit']}; {where['time']}; threads: {result['threads']}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in where["versions"].items()) + ".",
        f"Medians of interleaved calls, {result['clock']}. Memory: growth in loading and the first run; "
        "for fastcodec the work space. Peers leave out the 8-bit conversions and the bicubic base. "
        "P: RecCNN of the paper, 20 x 64 channels; F: 10 layers, 32 channels at half resolution; D: the same depth, "
        "depthwise-separable, 48 channels; S: 8 x 1x1 of 64 channels; S50, S50x16: with half of the blocks of 8 or 16 "
        "outputs x 4 inputs zero (GMAC/s as if they were not).",
        "int8 products alone, GMAC/s of one core: "
        + ", ".join(f"{name} {peak:.0f}" for name, peak in result["int8_peak_gmac_per_s"].items())
        + ". Load of the machine before and after: {:.1f} and {:.1f} on {} cores.".format(
            result["load"]["before"][0], result["load"]["after"][0], where["cores"]
        ),
    ]
    if isa := result["isa"]:
        lines[-1:] += [
            f"Limited to {isa}: fastcodec, OpenVINO and torch ("
            + ", ".join(f"{name}={value}" for name, value in bench_peers.ISA_LIMITS[isa].items())
            + f"). {bench_peers.UNLIMITED} cannot be limited: it uses all that this CPU has, VNNI where that is there, "
            "and does not count in how many times fastcodec is faster."
        ]
    for one in result["networks"]:
        width, height = one["size"]
        faster = one["times_faster"]
        lines += [
            "",
            f"## {one['network']}: {width} x {height}, {one['gmac']:.2f} GMAC"
            + (f"; fastcodec {faster:.2f} times the fastest peer" if faster else ""),
            "",
            "| engine | ms | ms per megapixel | GMAC/s | of int8 peak | 2 threads | spread | memory MB | checked |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---|",
        ]
        for row in one["rows"]:
            memory = row.get("work_space_bytes", row["memory_bytes"])
            two = f"{row['two_threads']:.2f}x" if "two_threads" in row else ""
            lines.append(
                f"| {row['engine']} | {row['ms']:.1f} | {row['ms_per_mp']:.1f} | {row['gmac_per_s']:.0f} "
                f"| {row['of_int8_peak']:.0%} | {two} "
                f"| {row['spread']:.0%} | {'?' if memory is None else f'{memory / MEGA:.1f}'} | {row['checked']} |"
            )
        lines += [f"| {row['engine']} | not measured: {row['reason']} | | | | | | | |" for row in one["missing"]]
        if one["gpu_rows"]:
            lines += ["", "| on the GPU | ms | ms per megapixel | GMAC/s |", "|---|---:|---:|---:|"]
            lines += [
                f"| {row['engine']} | {row['ms']:.3f} | {row['ms_per_mp']:.3f} | {row['gmac_per_s']:.0f} |"
                for row in one["gpu_rows"]
            ]
    return "\n".join(lines) + "\n"
