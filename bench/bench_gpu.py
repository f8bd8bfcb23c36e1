# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on a GPU: whole and by kernel, beside torch.

    python bench/bench_gpu.py --json FILE       (bench/gpu_check.sh runs it after the tests)
    ncu python bench/bench_gpu.py --once F      (one call at 8 MP, for a profiler)

F is the fast RecCNN, D the same of depthwise and 1x1 convolutions, P the paper's, C a chain of 128 channels, R a
synthesis of codec range, all with random weights; then the programs that decode of each installed range model.
"2:4" has two of each four weights zero, in products that skip them, "half" the same weights in dense products:
where the first is not faster, nothing may choose it. Each is first compared with the CPU. Times are medians of CUDA
events, from an input in device memory to the result in device memory, per megapixel of the image; kernels, numbered
as a call launches them, by torch's profiler.
Peers in the same run: the same layers in torch bf16 channels_last (F and P), and torch's int8 matrix product as what
the GPU reaches (`int8 peak`). Without a GPU it says so and reports the steps only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timing
from fastcodec import _core, packed_model
from fastcodec.packed_model import Program

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import cases

SIZES = {"1 MP": (1024, 1024), "8 MP": (2304, 3456)}
DECODING = {"synthesis_rgb": 16, "prior_0": 16, "prior_1": 16, "hyper_synthesis": 64}  # image pixels an input pixel


@dataclass(frozen=True)
class Network:
    name: str
    program: Program
    unit: int  # side of an input pixel in image pixels
    goal: float | None = None  # us/MP
    peer: tuple[dict[str, Any], dict[str, np.ndarray]] | None = None  # spec and tensors of what torch can run
    sparse: bool = False

    def on_device(self) -> _core.DeviceProgram:
        return _core.DeviceProgram(self.program.native, "cuda", 0, sparse=self.sparse)


def networks() -> Iterator[Network]:
    fast, paper = cases.network_fast(), cases.network_paper()
    yield Network("F", Program(*fast), 1, 80.0, fast)
    yield Network("D", Program(*cases.network_depthwise()), 1)
    yield Network("P", Program(*paper), 1, 1900.0, paper)
    for name, (spec, tensors) in (("P", paper), ("C", cases.network_paper((128,) * 6))):
        half = Program(spec, cases.two_of_four(tensors))
        yield Network(f"{name} half", half, 1)
        yield Network(f"{name} 2:4", half, 1, sparse=True)
    yield Network("R", Program(*cases.range_synthesis()), 16)
    for model in packed_model.installed().values():
        for name, unit in DECODING.items() if model.codec == "range" else ():
            if name in model.programs:
                yield Network(f"{model.name} {name}", model.load().programs[name], unit)


def microseconds(torch: Any, call: Callable[[], object], repeats: int = 9, calls: int = 5) -> float:
    """Median time of one call by events, several calls between two events."""
    for _ in range(3):
        call()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3 / calls)
    return statistics.median(times)


def int8_peak(torch: Any) -> float:
    """Operations a second of an int8 matrix product of side 8192."""
    a, b = (torch.randint(-64, 64, (8192, 8192), dtype=torch.int8, device="cuda") for _ in range(2))
    return float(2 * 8192**3 / microseconds(torch, lambda: torch._int_mm(a, b.t())) * 1e6)


def torch_bf16(torch: Any, spec: dict[str, Any], tensors: dict[str, np.ndarray], size: tuple[int, int]) -> float:
    """The convolutions of the network alone, eager, at the size at which they run."""
    layers = []
    for op in spec["ops"]:
        if op["op"] == "conv":
            out, kernel, _, inputs = tensors[op["weight"]].shape
            layers += [torch.nn.Conv2d(inputs, out, kernel, padding=kernel // 2), torch.nn.ReLU()]
    half = any(op["op"] == "pixel_unshuffle" for op in spec["ops"])
    model = torch.nn.Sequential(*layers).cuda().bfloat16().to(memory_format=torch.channels_last)
    h, w = (n // 2 if half else n for n in size)
    x = torch.rand(1, layers[0].in_channels, h, w, device="cuda", dtype=torch.bfloat16)
    x = x.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return microseconds(torch, lambda: model(x), repeats=5, calls=2)


def kernels_of(torch: Any, call: Callable[[], object]) -> dict[str, float]:
    """Microseconds of each kernel of one call, by name and number."""
    calls = 5
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(calls):
            call()
        torch.cuda.synchronize()
    events = sorted((e for e in profile.events() if "kernel" in e.name), key=lambda e: e.time_range.start)
    each = len(events) // calls
    if len(events) != each * calls:  # some were lost: all of a name together
        return {e.key: e.device_time_total / calls for e in profile.key_averages() if "kernel" in e.key}
    times = [statistics.median(e.time_range.elapsed_us() for e in events[k::each]) for k in range(each)]
    return {f"{events[k].name} #{k + 1}": us for k, us in enumerate(times)}


def measure(torch: Any) -> dict[str, Any]:
    peak = int8_peak(torch)
    result: dict[str, Any] = {"device": torch.cuda.get_device_name(), "int8_peak_tops": peak / 1e12, "networks": []}
    for network in networks():
        for label, size in SIZES.items():
            result["networks"].append(measure_one(torch, network, label, size, peak))
    return result


def measure_one(torch: Any, network: Network, label: str, size: tuple[int, int], peak: float) -> dict[str, Any]:
    program = network.program
    height, width = (n // network.unit for n in size)
    given = cases.input_of(program, height, width)
    wanted = cases.result_size(program, height, width)
    image = torch.from_numpy(given).cuda()
    out = torch.empty((*wanted, program.channels), dtype=getattr(torch, program.dtype.name), device="cuda")
    stream, native = torch.cuda.current_stream().cuda_stream, network.on_device()

    def call() -> None:
        native.run(image.data_ptr(), (height, width), out.data_ptr(), 0, wanted, (0, 0), wanted, stream=stream)

    call()
    if label == "1 MP":
        np.testing.assert_array_equal(out.cpu().numpy(), program.run(given, 0, wanted))
    us, pixels = microseconds(torch, call), size[0] * size[1] / 1e6
    rate = 2 * program.native.macs(height, width) / us * 1e6
    return {
        "network": network.name, "size": label, "us_per_mp": us / pixels, "goal_us_per_mp": network.goal,
        "tops": rate / 1e12, "of_int8_peak": rate / peak,
        "steps": native.steps,
        "torch_bf16_us_per_mp": torch_bf16(torch, *network.peer, size) / pixels if network.peer else None,
        "kernels_us": kernels_of(torch, call),
    }  # fmt: skip


def run_once(torch: Any, name: str) -> None:
    network = next(network for network in networks() if network.name == name)
    height, width = (n // network.unit for n in SIZES["8 MP"])
    image = torch.from_numpy(cases.input_of(network.program, height, width)).cuda()
    network.program.run_torch(image, 0, cases.result_size(network.program, height, width))
    torch.cuda.synchronize()


def short(kernel: str) -> str:
    """The kernel's name without its namespaces and arguments."""
    for part in ("void ", "fastcodec::", "cuda::", "(anonymous namespace)::"):
        kernel = kernel.replace(part, "")
    return kernel[:90]


def table(result: dict[str, Any]) -> str:
    lines = [f"{'step':<14} {'result':<12} {'s':>5}  last line"]
    lines += [f"{s['step']:<14} {s['result']:<12} {s['seconds']:>5}  {s['text'][:90]}" for s in result["steps"]]
    if not result["device"]:
        return "\n".join([*lines, "", f"NO GPU: {result['no_gpu']}"])
    lines += ["", f"{result['device']}; int8 matrix product {result['int8_peak_tops']:.0f} TOPS", ""]
    wide = max(len(n["network"]) for n in result["networks"])
    lines.append(
        f"{'network':<{wide}} {'size':<6} {'us/MP':>9} {'goal':>7} {'TOPS':>7} {'of peak':>8} {'torch bf16 us/MP':>17}"
    )
    for n in result["networks"]:
        goal, peer = n["goal_us_per_mp"], n["torch_bf16_us_per_mp"]
        lines.append(
            f"{n['network']:<{wide}} {n['size']:<6} {n['us_per_mp']:>9.1f} {goal or '':>7} {n['tops']:>7.1f} "
            f"{n['of_int8_peak']:>8.1%}" + (f" {peer:>17.1f}" if peer else "")
        )
        lines += [
            f"    {us:>9.1f} us  {short(kernel)}" for kernel, us in sorted(n["kernels_us"].items(), key=lambda k: -k[1])
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where the results go")
    parser.add_argument(
        "--steps", type=Path, help="name, result, seconds and last line of what ran before, tab-separated"
    )
    parser.add_argument("--once", metavar="NETWORK", help="nothing but one call of this network at 8 MP")
    options = parser.parse_args()
    if options.once:
        import torch

        run_once(torch, options.once)
        return
    steps = []
    for line in options.steps.read_text().splitlines() if options.steps else []:
        name, outcome, seconds, text = line.split("\t", 3)
        steps.append({"step": name, "result": outcome, "seconds": int(seconds), "text": text})
    reason = next(reason for name, _, reason in _core.backends() if name == "cuda")
    result: dict[str, Any] = {"steps": steps, "build": _core.build_info(), **timing.machine(), "device": None}
    if reason:
        result["no_gpu"] = reason
    else:
        import torch

        result.update(measure(torch))
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
