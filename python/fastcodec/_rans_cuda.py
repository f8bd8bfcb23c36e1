# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The range coder on CUDA arrays, for rans.py. Only sizes of chunks leave the GPU; torch makes the results."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fastcodec import _core
from fastcodec.errors import BackendError

if TYPE_CHECKING:
    from fastcodec.rans import Tables


def _tensor(x: Any, name: str) -> Any:
    """x as a contiguous torch tensor on its device."""
    torch = sys.modules.get("torch")
    if torch is None:
        raise BackendError(f"{name} is on a GPU, and results there are torch tensors; import torch first")
    if not isinstance(x, torch.Tensor):
        x = torch.from_dlpack(x)
    return x.detach().contiguous()


@lru_cache(maxsize=32)
def _device_tables(tables: Tables, device_index: int) -> Any:
    return _core.RansDevice(tables.native, "cuda", device_index, 0)


def _check_same_device(first: Any, second: Any, names: str) -> None:
    if first.device != second.device:
        raise ValueError(f"{names} must be on one device, got {first.device} and {second.device}")


def scale_index(sigma: Any, thresholds: npt.NDArray[np.float32]) -> Any:
    torch = sys.modules["torch"]
    sigma = _tensor(sigma, "sigma")
    if sigma.dtype == torch.int32:
        sigma = sigma.to(torch.float32) * (1 / 65536)
    if sigma.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"sigma must be float32, float64 or int32 (in 1/65536), got {sigma.dtype}")
    limits = torch.from_numpy(thresholds).to(sigma.device)
    return torch.bucketize(sigma.to(torch.float32), limits, right=True).to(torch.uint8)


def encode(symbols: Any, index: Any, tables: Tables, chunk: int) -> Any:
    symbols, index = _tensor(symbols, "symbols"), _tensor(index, "index")
    torch = sys.modules["torch"]
    _check_same_device(symbols, index, "symbols and index")
    if index.dtype != torch.uint8:
        raise TypeError(f"index must be uint8, got {index.dtype}; make it with scale_index or .to(torch.uint8)")
    if symbols.dtype not in (torch.int16, torch.int32):
        raise TypeError(f"symbols must be int16 or int32, got {symbols.dtype}; use .to(torch.int16)")
    if symbols.shape != index.shape:
        raise ValueError(f"index must have the shape of symbols {tuple(symbols.shape)}, got {tuple(index.shape)}")
    out = None

    def make_out(size: int) -> int:
        nonlocal out
        out = torch.empty(size, dtype=torch.uint8, device=symbols.device)
        return int(out.data_ptr())

    stream = torch.cuda.current_stream(symbols.device).cuda_stream
    native = _device_tables(tables, symbols.device.index)
    native.encode(symbols.data_ptr(), symbols.element_size(), index.data_ptr(), index.numel(), chunk, stream, make_out)
    return out


def decode(data: Any, index: Any, tables: Tables, dtype: str | None) -> Any:
    index = _tensor(index, "index")
    torch = sys.modules["torch"]
    if index.dtype != torch.uint8:
        raise TypeError(f"index must be uint8, got {index.dtype}; make it with scale_index or .to(torch.uint8)")
    if isinstance(data, (bytes, bytearray, memoryview, np.ndarray)):
        data = torch.from_numpy(np.frombuffer(data, np.uint8).copy()).to(index.device)
    data = _tensor(data, "data").to(index.device)
    if data.dtype != torch.uint8 or data.dim() != 1:
        raise TypeError(f"data must be bytes or a vector of uint8, got {data.dtype} with {data.dim()} dimensions")
    out = None

    def make_out(wide: bool) -> int:
        nonlocal out
        out = torch.empty(index.shape, dtype=torch.int32 if wide else torch.int16, device=index.device)
        return int(out.data_ptr())

    stream = torch.cuda.current_stream(index.device).cuda_stream
    as_type = {None: 0, "int16": 2, "int32": 4}[dtype]
    native = _device_tables(tables, index.device.index)
    native.decode(data.data_ptr(), data.numel(), index.data_ptr(), index.numel(), as_type, stream, make_out)
    return out
