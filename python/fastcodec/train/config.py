# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Training configs: TOML files, read and checked before work starts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..codecs import by_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRUNE_KINDS = ("channels", "2:4", "weights")
_Kinds = dict[str, "dict[str, type | tuple[type, ...]]"]

_KEYS: _Kinds = {
    "": {"name": str, "seed": int, "data": dict, "codec": dict, "networks": dict, "stage": list},
    "data": {"hold_out": int, "crop": int, "batch": int},
    "codec": {
        "name": str,
        "qualities": list,
        "log_quality": bool,
        "levels": list,
        "period": int,
        "share_444": (int, float),
        "share_grey": (int, float),
        "reuse": int,
    },
    "networks": {"variant": str},
    "stage": {"train": str, "scale": int, "lr": (int, float)},
    "distil": {"teacher": str, "config": str, "output": (int, float), "features": (int, float)},
}


def _check_section(kinds: _Kinds, section: str, values: Any) -> None:
    """Raises ValueError that names the first key of a section that is missing or of a wrong kind."""
    for key, kind in kinds[section].items():
        found = values.get(key) if isinstance(values, dict) else None
        if not isinstance(found, kind):
            name = f"{section}.{key}" if section else key
            wanted = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
            raise ValueError(f"training config: {name} must be {wanted}, got {found!r}")


def _check_stage(kinds: _Kinds, stage: Any) -> None:
    """Raises ValueError when a stage lacks a key or says not exactly one of how many steps or minutes it lasts."""
    _check_section(kinds, "stage", stage)
    if ("steps" in stage) == ("minutes" in stage):
        raise ValueError(f"training config: a stage must have either steps or minutes, got {sorted(stage)}")
    _check_section({"stage": {"steps": int} if "steps" in stage else {"minutes": (int, float)}}, "stage", stage)


def _check_prune(section: Any) -> None:
    """Raises ValueError for a [prune] that is not as prune.py describes."""
    kind = section.get("kind") if isinstance(section, dict) else None
    if kind not in PRUNE_KINDS:
        raise ValueError(f"training config: prune.kind must be one of {', '.join(PRUNE_KINDS)}, got {kind!r}")
    wanted = ["kind"] if kind == "2:4" else ["kind", "share"]
    if sorted(section) != wanted:
        raise ValueError(f"training config: prune needs {' and '.join(wanted)} for {kind}, got {sorted(section)}")
    share = section.get("share", 0.5)
    if type(share) not in (int, float) or not 0 < share < 1:
        raise ValueError(f"training config: prune.share must be above 0 and below 1, got {share!r}")


def check_config(config: dict[str, Any]) -> None:
    """Raises ValueError that names the first key that is missing or of a wrong kind."""
    _check_section(_KEYS, "", config)
    for section in ("data", "codec", "networks"):
        _check_section(_KEYS, section, config[section])
    options = config["codec"].get("options", {})
    if not isinstance(options, dict):
        raise ValueError(f"training config: codec.options must be a table, got {options!r}")
    by_name(config["codec"]["name"]).check_options("auto", options)
    if "distil" in config:
        _check_section(_KEYS, "distil", config["distil"])
        if not 0 <= config["distil"]["output"] <= 1 or config["distil"]["features"] < 0:
            raise ValueError("training config: distil.output must be 0 to 1 and distil.features at least 0")
    if "prune" in config:
        _check_prune(config["prune"])
    for stage in config["stage"]:
        _check_stage(_KEYS, stage)
        if stage.get("loss", "log") not in ("log", "squares"):
            raise ValueError(f"training config: stage.loss must be log or squares, got {stage['loss']!r}")
        if stage["train"] not in ("rec", "com", "joint") or stage["scale"] not in (1, 2):
            raise ValueError(
                f"training config: stage must train rec, com or joint at scale 1 or 2, got {stage['train']!r} at "
                f"scale {stage['scale']}"
            )


_RANGE_KEYS: _Kinds = {
    "": {"name": str, "seed": int, "data": dict, "codec": dict, "networks": dict, "stage": list},
    "data": {"hold_out": int, "crop": int, "batch": int, "share_grey": (int, float)},
    "stage": {"lr": (int, float)},
}


def check_range_config(config: dict[str, Any]) -> None:
    """As check_config, for codec range."""
    _check_section(_RANGE_KEYS, "", config)
    _check_section(_RANGE_KEYS, "data", config["data"])
    for stage in config["stage"]:
        _check_stage(_RANGE_KEYS, stage)
    if "prune" in config:
        raise ValueError("training config: [prune] is for ComCNN and RecCNN, not for codec range")
    distortion = config.get("distortion", "mse")
    if distortion not in ("mse", "ms-ssim"):
        raise ValueError(f"training config: distortion must be mse or ms-ssim, got {distortion!r}")
    if distortion == "ms-ssim" and config["data"]["crop"] <= 160:
        raise ValueError(f"training config: distortion ms-ssim needs data.crop above 160, got {config['data']['crop']}")
    if config["data"]["crop"] % 64:
        raise ValueError(f"training config: data.crop must be a multiple of 64, got {config['data']['crop']}")


def load_config(path: str | Path) -> dict[str, Any]:
    """Read a training config; a bare name means one of the shipped configs."""
    path = Path(path)
    if not path.is_file():  # a run's folder may have the config's name
        shipped = Path(__file__).parent / "configs" / f"{path.stem}.toml"
        if not shipped.exists():
            names = ", ".join(sorted(p.stem for p in shipped.parent.glob("*.toml")))
            raise ValueError(f"config must be a file or one of {names}, got {str(path)!r}")
        path = shipped
    config: dict[str, Any] = tomllib.loads(path.read_text())
    is_range = isinstance(config.get("codec"), dict) and config["codec"].get("name") == "range"
    (check_range_config if is_range else check_config)(config)
    return config
