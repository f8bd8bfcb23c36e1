# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Float weights of networks in a safetensors file, from which another run starts."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

_HEAD, _PHASE = "trunk.head", 4


def save_weights(nets: dict[str, nn.Module], path: Path) -> None:
    """Write the float weights of networks to one safetensors file, for `load_weights`."""
    path.parent.mkdir(exist_ok=True)
    tensors = {
        f"{name}.{key}": t.contiguous().cpu() for name, net in nets.items() for key, t in net.state_dict().items()
    }
    path.write_bytes(safetensors.torch.save(tensors))


def load_weights(nets: dict[str, nn.Module], path: str | Path) -> list[str]:
    """Start networks from the float weights that an earlier run wrote; networks not in the file are left alone.

    The run may have been for another codec: see `fitted`. Returns the names of the networks that were in the file.
    Raises ValueError when the file's networks have another shape.
    """
    tensors = safetensors.torch.load(Path(path).read_bytes())
    found = []
    for name, net in nets.items():
        own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
        try:
            if own:
                net.load_state_dict(fitted(own, net.state_dict()))
                found.append(name)
        except RuntimeError as error:
            raise ValueError(f"init: {name} in {path} does not fit the config's networks: {error}") from error
    return found


def fitted(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a network that is wider, has more blocks or another number of levels, or is for a codec with a
    block grid or without one.

    Levels are taken from the same relative places. What is new adds nothing at first (Chen et al. 2016, Net2Net,
    arXiv 1511.05641): the second convolutions of new blocks begin at 0, and so does all that reads new channels. The
    first layer's inputs for the position in the grid begin at 0, or go, with their mean added to its biases. Everything
    else stays as it is.
    """
    result = dict(tensors)
    for key, value in wanted.items():
        if key not in result and key.startswith(("trunk.first.", "trunk.second.")):
            result[key] = torch.zeros_like(value) if key.startswith("trunk.second.") else value
    for key, table in tensors.items():
        rows = len(wanted.get(key, table)) if key.endswith(("level_gain", "level_bias")) else 0
        if rows and rows != len(table):
            result[key] = table[torch.linspace(0, len(table) - 1, rows).round().long()]
    weight, other = result.get(f"{_HEAD}.weight"), wanted.get(f"{_HEAD}.weight")
    if weight is None or other is None:
        return widened(result, wanted)
    if other.shape[1] == weight.shape[1] + _PHASE:
        result[f"{_HEAD}.weight"] = F.pad(weight, (0, 0, 0, 0, 0, _PHASE))
    elif other.shape[1] == weight.shape[1] - _PHASE:
        mean = weight[:, -_PHASE:].sum(dim=(1, 2, 3)) / 2
        gain = torch.exp(result[f"{_HEAD}.level_gain"].clamp(-2, 2))
        result[f"{_HEAD}.level_bias"] = result[f"{_HEAD}.level_bias"] + gain * mean
        result[f"{_HEAD}.weight"] = weight[:, :-_PHASE].contiguous()
    return widened(result, wanted)


def widened(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with new channels where `wanted` has more, and what `wanted` has in them."""
    result = dict(tensors)
    for key, old in tensors.items():
        value = wanted.get(key, old)
        if old.shape == value.shape or any(a > b for a, b in zip(old.shape, value.shape, strict=True)):
            continue
        result[key] = new = torch.zeros_like(value) if key.startswith("trunk.second.") else value.clone()
        if old.ndim == 4:
            new[: old.shape[0]] = 0
        new[tuple(slice(size) for size in old.shape)] = old
    return result
