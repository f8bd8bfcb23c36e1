# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The machine under a measurement - what it is, which programs run on it - and safe files on it."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import features

import fastcodec
from fastcodec import packed_model

Json = dict[str, Any]


def describe() -> Json:
    """Where a measurement was made: CPU, cores, system, commit, versions, backends."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "commit": commit(),
        "versions": versions(),
        "backend": os.environ.get("FASTCODEC_BACKEND") or "auto",
        "backends": [status.name for status in fastcodec.backends() if status.available],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def versions() -> dict[str, str]:
    """Versions of the programs that decide bytes and pixels."""
    found = {"fastcodec": fastcodec.__version__, "numpy": np.__version__}
    for name in ("pil", "libjpeg_turbo", "jpg_2000", "webp", "avif"):
        with contextlib.suppress(ValueError):
            check = features.version(name)
            if check:
                found["pillow" if name == "pil" else name] = str(check)
    return found


def models() -> list[Json]:
    """Installed packed models: name, codec, variant, role, id (hexadecimal), names of the programs, path.

    The role is what the encoder takes a model for unless told otherwise, or that it has only the decoder's half.
    """
    rows = [
        {
            "name": model.name,
            "codec": model.codec,
            "variant": model.variant,
            "role": _role(model),
            "id": model.id.hex(),
            "programs": list(model.programs),
            "path": str(model.path),
        }
        for model in packed_model.installed().values()
    ]
    return sorted(rows, key=lambda row: str(row["name"]))


def _role(model: packed_model.Installed) -> str:
    if model is packed_model.default_for(model.codec):
        return "default"
    if model.codec != "range":
        return "default for half size" if model is packed_model.default_for(model.codec, "rec2") else ""
    return "" if "analysis_rgb" in model.programs else "decodes only"


def commit() -> str | None:
    """Commit of the source tree this module runs from, "-dirty" when files were changed; None
    when it does not run from a git checkout."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under `path` whole or not at all.

    The bytes go to a temporary file in the same folder, which replaces `path` when the block ends
    without an exception and is removed otherwise. A device or pipe is written directly.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        with open(target, "wb") as direct:
            yield direct
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        # "x" leaves the permissions to the umask, as for any new file.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file atomically."""
    with atomic(path) as file:
        file.write(text.encode("utf-8"))
