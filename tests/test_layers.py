# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Who may include or import whom, and what the object files of an instruction set may define."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "python" / "fastcodec"
SOURCES = sorted(p for p in CSRC.rglob("*") if p.suffix in (".h", ".cpp", ".cu", ".cuh"))

# folder -> folders of csrc it may include; the innermost rule that matches a file counts
MAY_INCLUDE = {
    "common": {"common"},
    "kernels": {"common", "kernels"},
    "kernels/cpu": {"kernels"},
    "kernels/cuda": {"common", "kernels"},
    "codec": {"common", "kernels", "codec"},
    "model": {"common", "kernels", "model"},
    "python": {"common", "kernels", "codec", "model", "python"},
}


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^">]+)[">]', path.read_text(), re.MULTILINE)


def layer(path: Path) -> str:
    relative = path.relative_to(CSRC).as_posix()
    return max((rule for rule in MAY_INCLUDE if relative.startswith(rule + "/")), key=len)


def test_there_are_sources() -> None:
    assert {layer(p) for p in SOURCES} == set(MAY_INCLUDE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_includes(path: Path) -> None:
    where = layer(path)
    for name in includes(path):
        if (CSRC / name).exists():
            assert name.split("/")[0] in MAY_INCLUDE[where], f"{path.name} includes {name}"
        if re.match(r"cuda|cooperative_groups|mma\.h|cuda_runtime", name):
            assert where == "kernels/cuda", f"{path.name} includes {name}: CUDA headers only in kernels/cuda"
        if name.startswith(("pybind11/", "Python.h", "dlpack")):
            assert where == "python", f"{path.name} includes {name}: only in csrc/python"
        assert not name.startswith(("torch/", "ATen/", "c10/")), f"{path.name} includes {name}"
        if where == "kernels/cpu" or path.name in ("kernels.h", "range.h"):
            ours = (CSRC / name).exists() or (path.parent / name).exists()
            assert ours or name.endswith(".h"), f"{path.name} includes {name}: C headers only"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(CSRC)))
def test_no_cuda_ifdefs(path: Path) -> None:
    if layer(path) != "kernels/cuda":
        assert not re.search(r"#\s*if.*(CUDA|NVCC)", path.read_text())


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names.add(base)
            names.update(f"{base}{'' if base.endswith('.') else '.'}{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_imports(path: Path) -> None:
    inside_train = path.is_relative_to(PACKAGE / "train")
    for name in imported_modules(path):
        assert name.split(".")[0] not in ("tests", "bench"), f"{path.name} imports {name}"
        if name.split(".")[0] == "torch" and not inside_train:
            # Elsewhere torch may be used only where the caller asks for it: inside a function, never at import.
            tree = ast.parse(path.read_text())
            top = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
            assert not any("torch" in ast.unparse(n) for n in top), f"{path.name} imports torch when it is imported"


def test_import_loads_no_torch() -> None:
    code = "import sys, fastcodec; print(sorted(m for m in sys.modules if m.split('.')[0] in ('torch', 'jax', 'cupy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_spdx_headers() -> None:
    files = [*SOURCES, *(ROOT / "CMakeLists.txt",)]
    for folder in ("python", "tests", "bench"):
        files += [p for p in (ROOT / folder).rglob("*.py") if "build" not in p.parts]
    missing = [
        str(p.relative_to(ROOT)) for p in files if "SPDX-License-Identifier: Apache-2.0" not in p.read_text()[:300]
    ]
    assert not missing


def isa_builds() -> list[tuple[str, str, list[str]]]:
    """(file, isa, flags) of every object that CMakeLists.txt builds for an instruction set."""
    text = (ROOT / "CMakeLists.txt").read_text()
    found = re.search(r"set\(FASTCODEC_CPU_KERNELS\s+([^)]*)\)", text)
    assert found
    isas = re.findall(r"^\s*fastcodec_isa\((\w+)([^)]*)\)", text, re.MULTILINE)
    return [(file, isa, flags.split()) for file in found[1].split() for isa, flags in isas]


@pytest.mark.skipif(not (shutil.which("g++") and shutil.which("nm")), reason="needs g++ and nm")
@pytest.mark.skipif(sys.platform != "linux" or not sys.maxsize > 2**32, reason="reads ELF symbols")
@pytest.mark.parametrize(("file", "isa", "flags"), isa_builds())
def test_isa_objects_define_only_their_own(file: str, isa: str, flags: list[str], tmp_path: Path) -> None:
    """An object compiled for one instruction set defines symbols in fastcodec::<isa> only, and none of them weak.

    A weak one could be the copy that the linker keeps for everybody, and crash older CPUs.
    """
    out = tmp_path / "kernel.o"
    command = ["g++", "-std=c++17", "-O1", "-fPIC", "-w", "-fno-exceptions", "-fno-rtti", f"-I{CSRC}", *flags]
    command += [f"-DFASTCODEC_ISA={isa}", f'-DFASTCODEC_SIMD="simd_{isa}.h"', "-c", str(ROOT / file), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unrecognized command-line option" in done.stderr or "error: bad value" in done.stderr:
        pytest.skip("this compiler does not know the instruction set")
    assert done.returncode == 0, done.stderr
    listing = subprocess.run(
        ["nm", "-C", "--defined-only", str(out)], capture_output=True, text=True, check=True
    ).stdout
    kinds = [(line.split()[1], line.split(maxsplit=2)[2]) for line in listing.splitlines() if len(line.split()) >= 3]
    assert any(kind in "TDR" for kind, _ in kinds)
    for kind, symbol in kinds:
        assert kind not in "WwVvuB", f"{symbol} is weak or common ({kind})"
        if kind.isupper():
            assert symbol.startswith(f"fastcodec::{isa}::"), f"{symbol} is outside fastcodec::{isa}"
