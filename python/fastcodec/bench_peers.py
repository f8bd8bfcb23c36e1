# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The networks of `fastcodec bench networks` for other inference engines: torch, onnxruntime, OpenVINO (extra: bench).

Each is imported where it is used, so that one that is missing only leaves a gap.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Json = dict[str, Any]
Array = NDArray[Any]
Call = Callable[[], object]

#: Environment that keeps the libraries of the peers to an instruction set; they read it when they are loaded.
ISA_LIMITS = {
    isa: {
        "ONEDNN_MAX_CPU_ISA": onednn, "DNNL_MAX_CPU_ISA": onednn,  # in OpenVINO and torch
        "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # torch
    }
    for isa, onednn in (("avx2", "AVX2"), ("avxvnni", "AVX2_VNNI"))
}  # fmt: skip
UNLIMITED = "onnxruntime"  # has nothing of the kind


@dataclass(frozen=True)
class Layer:
    """One float operation: conv (weight OIHW), unshuffle, shuffle, or planes (appends `weight`, [1, K, h, w])."""

    kind: str
    inputs: tuple[str, ...]
    out: str
    weight: Array | None = None
    bias: Array | None = None
    stride: int = 1
    groups: int = 1
    relu: bool = False


def float_layers(
    spec: Mapping[str, Any], tensors: Mapping[str, Array], size: tuple[int, int]
) -> tuple[list[Layer], str]:
    """The layers that lead to the output, or to the residual that is added last; and the name of their result.

    Raises ValueError for a network with an operation that the peers are not given (bicubic inside, scale, lookup).
    """
    sizes = {"image": size}
    layers: list[Layer] = []
    result = str(spec["output"])
    for op in spec["ops"]:
        kind, x, out = op["op"], op["in"][0], op["out"]
        if kind in ("bicubic_up2", "bicubic_down2"):
            continue
        if kind == "residual":
            if out != result:
                raise ValueError("a residual inside the network")
            result = x
            continue
        if x not in sizes:
            raise ValueError("a bicubic image inside the network")
        h, w = sizes[x]
        if kind in ("conv", "depthwise"):
            integers = tensors[op["weight"]]
            scale = tensors[op["mult"]][0] / 2.0**32
            weight = integers[..., None] if kind == "depthwise" else integers
            layers.append(
                Layer(
                    "conv", (x, op["add"]) if "add" in op else (x,), out,
                    (weight * scale[:, None, None, None]).transpose(0, 3, 1, 2).astype(np.float32).copy(),
                    (tensors[op["bias"]][0] * scale).astype(np.float32),
                    op["stride"], len(integers) if kind == "depthwise" else op.get("groups", 1), op["type"] == "u8",
                )
            )  # fmt: skip
            sizes[out] = (-(-h // op["stride"]), -(-w // op["stride"]))
        elif kind == "phase":
            table = tensors[op["table"]]
            period = table.shape[2]
            planes = [np.broadcast_to(line[np.arange(w) % period][None, :], (h, w)) for line in table[0]]
            planes += [np.broadcast_to(line[np.arange(h) % period][:, None], (h, w)) for line in table[1]]
            layers.append(Layer("planes", (x,), out, np.stack(planes)[None].astype(np.float32)))
            sizes[out] = (h, w)
        elif kind not in ("pixel_unshuffle", "pixel_shuffle"):
            raise ValueError(f"operation {kind}")
        else:
            down = kind == "pixel_unshuffle"
            layers.append(Layer("unshuffle" if down else "shuffle", (x,), out))
            sizes[out] = (h // 2, w // 2) if down else (2 * h, 2 * w)
    return layers, result


def torch_module(layers: list[Layer], result: str) -> Any:
    """The layers as a torch module: float [1, C, h, w] to float."""
    import torch
    from torch.nn import functional

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i, layer in enumerate(layers):
                for name, data in (("w", layer.weight), ("b", layer.bias)):
                    if data is not None:
                        self.register_buffer(f"{name}{i}", torch.from_numpy(data))

        def forward(self, image: Any) -> Any:
            values = {"image": image}
            for i, layer in enumerate(layers):
                x = values[layer.inputs[0]]
                if layer.kind == "conv":
                    weight = getattr(self, f"w{i}")
                    y = functional.conv2d(
                        x, weight, getattr(self, f"b{i}"), layer.stride, weight.shape[2] // 2, groups=layer.groups
                    )
                    if len(layer.inputs) == 2:
                        y = y + values[layer.inputs[1]]
                    values[layer.out] = functional.relu(y) if layer.relu else y
                elif layer.kind == "planes":
                    values[layer.out] = torch.cat([x, getattr(self, f"w{i}")], 1)
                elif layer.kind == "unshuffle":
                    values[layer.out] = functional.pixel_unshuffle(x, 2)
                else:
                    values[layer.out] = functional.pixel_shuffle(x, 2)
            return values[result]

    return Net().eval()


def write_onnx(layers: list[Layer], result: str, image_shape: tuple[int, ...], path: Path) -> None:
    """The layers as an ONNX file with the input "image" and the output "result"."""
    import onnx
    from onnx import helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []
    channels = {"image": image_shape[1]}
    sizes = {"image": image_shape[2:]}

    def constant(name: str, data: Array) -> str:
        name = f"constant/{name}"  # a network may call its values w0
        constants.append(numpy_helper.from_array(np.ascontiguousarray(data), name))
        return name

    def node(kind: str, inputs: list[str], out: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [out], name=f"{kind}_{out}", **attributes))
        return out

    for i, layer in enumerate(layers):
        x, out = layer.inputs[0], layer.out
        (h, w), c = sizes[x], channels[x]
        if layer.kind == "conv":
            assert layer.weight is not None
            assert layer.bias is not None
            pad = layer.weight.shape[2] // 2
            steps: list[tuple[str, list[str]]] = [("Add", [layer.inputs[1]])] if len(layer.inputs) == 2 else []
            steps += [("Relu", [])] if layer.relu else []
            y = node(
                "Conv", [x, constant(f"w{i}", layer.weight), constant(f"b{i}", layer.bias)],
                f"{out}.0" if steps else out,
                kernel_shape=list(layer.weight.shape[2:]), pads=[pad] * 4, strides=[layer.stride] * 2,
                group=layer.groups,
            )  # fmt: skip
            for k, (kind, more) in enumerate(steps):
                y = node(kind, [y, *more], out if k + 1 == len(steps) else f"{out}.{k + 1}")
            c, (h, w) = len(layer.weight), (-(-h // layer.stride), -(-w // layer.stride))
        elif layer.kind == "planes":
            assert layer.weight is not None
            node("Concat", [x, constant(f"w{i}", layer.weight)], out, axis=1)
            c += layer.weight.shape[1]
        elif layer.kind == "unshuffle":
            pieces = constant(f"s{i}", np.array([1, c, h // 2, 2, w // 2, 2], np.int64))
            packed = constant(f"t{i}", np.array([1, 4 * c, h // 2, w // 2], np.int64))
            y = node("Reshape", [x, pieces], f"{out}.0")
            node("Reshape", [node("Transpose", [y], f"{out}.1", perm=[0, 1, 3, 5, 2, 4]), packed], out)
            c, h, w = 4 * c, h // 2, w // 2
        else:
            node("DepthToSpace", [x], out, blocksize=2, mode="CRD")
            c, h, w = c // 4, 2 * h, 2 * w
        channels[out], sizes[out] = c, (h, w)
    node("Identity", [result], "result")
    info = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("image", list(image_shape)), ("result", [1, channels[result], *sizes[result]]))
    ]
    graph = helper.make_graph(nodes, "network", info[:1], info[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def quantise_onnx(path: Path, image: Array, target: Path) -> None:
    """A static int8 QDQ model of an ONNX file, calibrated on one image."""
    quantization = importlib.import_module("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            self.data = iter([{"image": image}])

        def get_next(self) -> Any:
            return next(self.data, None)

    quantization.quantize_static(
        str(path), str(target), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def versions() -> dict[str, str]:
    """Installed peers and their versions."""
    found = {}
    for name in ("torch", "torchao", "onnx", "onnxruntime", "openvino"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _torch_peer(layers: list[Layer], result: str, image: Array, how: str) -> Call:
    import torch

    model = copy.deepcopy(torch_module(layers, result))
    x = torch.from_numpy(image)
    if how != "default":
        model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    call: Any = torch.compile(model) if how == "compile" else model

    def run() -> Array:
        with torch.inference_mode():
            out: Array = call(x).numpy()
            return out

    return run


def cuda_peer(spec: Mapping[str, Any], tensors: Mapping[str, Array], picture: Array) -> Call:
    """The network as torch.compile in bf16, channels_last, on CUDA, with its input there. Raises as float_layers."""
    import torch

    layers, result = float_layers(spec, tensors, (picture.shape[0], picture.shape[1]))
    form: Any = {"device": "cuda", "dtype": torch.bfloat16, "memory_format": torch.channels_last}
    model: Any = torch.compile(torch_module(layers, result).to(**form))
    x = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)[None])).to(**form)

    def run() -> object:
        with torch.inference_mode():
            return model(x)

    return run


def _pt2e_peer(layers: list[Layer], result: str, image: Array) -> Call:
    """torch's export quantisation (from torchao) with Inductor's int8 kernels, calibrated on the image."""
    import torch

    pt2e = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    x86 = importlib.import_module("torchao.quantization.pt2e.quantizer.x86_inductor_quantizer")
    x = torch.from_numpy(image).to(memory_format=torch.channels_last)
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    with torch.no_grad():
        prepared = pt2e.prepare_pt2e(
            torch.export.export(torch_module(layers, result), (x,), strict=True).module(), quantizer
        )
        prepared(x)
        call: Any = torch.compile(pt2e.convert_pt2e(prepared))

    def run() -> Array:
        with torch.no_grad():
            out: Array = call(x).numpy()
            return out

    return run


def _onnxruntime_peer(path: Path, image: Array, threads: int) -> Call:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image})[0]


def _openvino_peer(path: Path, image: Array, threads: int) -> Call:
    openvino = importlib.import_module("openvino")
    compiled = openvino.Core().compile_model(
        str(path), "CPU",
        {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
         "INFERENCE_PRECISION_HINT": "f32"},
    )  # fmt: skip
    request = compiled.create_infer_request()

    def run() -> Array:
        request.infer({"image": image}, share_inputs=True, share_outputs=True)
        out: Array = request.get_output_tensor(0).data
        return out

    return run


def peers(
    spec: Mapping[str, Any], tensors: Mapping[str, Array], picture: Array, threads: int, folder: Path
) -> Iterator[tuple[str, Callable[[], Call]]]:
    """Name and a function that loads it, for each peer; torch fp32 first. Loading raises where a peer cannot be had.

    Args: picture: u8 [h, w, channels], the input of all calls; folder: for model files.
    """
    layers, result = float_layers(spec, tensors, (picture.shape[0], picture.shape[1]))
    image = np.ascontiguousarray(picture.transpose(2, 0, 1)[None]).astype(np.float32)
    fp32, int8 = folder / "fp32.onnx", folder / "int8.onnx"

    def onnx_file(path: Path) -> Path:
        if not fp32.exists():
            write_onnx(layers, result, image.shape, fp32)
        if path == int8 and not int8.exists():
            quantise_onnx(fp32, image, int8)
        return path

    for how, title in (
        ("default", "torch eager"), ("channels_last", "torch eager channels_last"), ("compile", "torch.compile"),
    ):  # fmt: skip
        yield f"{title} fp32", lambda how=how: _torch_peer(layers, result, image, how)  # type: ignore[misc]
    yield "torch PT2E int8", lambda: _pt2e_peer(layers, result, image)
    for path in (fp32, int8):
        yield f"onnxruntime {path.stem}", lambda path=path: _onnxruntime_peer(onnx_file(path), image, threads)  # type: ignore[misc]
        yield f"OpenVINO {path.stem}", lambda path=path: _openvino_peer(onnx_file(path), image, threads)  # type: ignore[misc]
