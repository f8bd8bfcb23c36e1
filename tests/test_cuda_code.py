# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The machine code of the tensor-core kernels: the right instructions, no spills. Needs nvcc, but no GPU.

The disassembler comes from the packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm, or with the CUDA toolkit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NVCC = os.environ.get("CUDACXX") or shutil.which("nvcc")
PACKAGED = [str(p) for p in Path(sysconfig.get_paths()["purelib"]).glob("nvidia/*/bin")]
PATH = os.pathsep.join([*PACKAGED, os.environ.get("PATH", "")])
CUOBJDUMP, NVDISASM = (shutil.which(name, path=PATH) for name in ("cuobjdump", "nvdisasm"))


# By a part of the kernel's mangled name.
CONVOLUTIONS = {
    "chain_kernel": r"IMMA\.16832",
    "11conv_kernel": r"IMMA\.16832",
    "sparse_conv_kernel": r"IMMA\.SP\.16864",
    "depthwise_conv_kernel": r"IDP\.4A.*[\s\S]*IMMA\.16832",
}


@pytest.mark.skipif(not NVCC, reason="no nvcc")
@pytest.mark.skipif(
    not (CUOBJDUMP and NVDISASM),
    reason="no cuobjdump and nvdisasm: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm",
)
@pytest.mark.parametrize(
    ("source", "arch", "registers", "expected"),
    [
        # 18 products, sparse 9, for each of two layers, of 256 and of 240 columns; 12 of as many as the layer has rows
        (
            "wgmma_ops.cu",
            "90a",
            255,
            {
                "pair_kernelILb0": r"IGMMA\.64x(256|240)x32",
                "pair_kernelILb1": r"IGMMA\.SP\.64x(256|240)x64",
                "row_pairs_kernel": r"IGMMA\.64x(208|192|176)x32",
            },
        ),
        ("conv_ops.cu", "80", 128, CONVOLUTIONS),
        ("conv_ops.cu", "90a", 128, CONVOLUTIONS),
        ("image_ops.cu", "90a", 128, {"image_kernel": "LDG"}),
    ],
)
def test_instructions(source: str, arch: str, registers: int, expected: dict[str, str], tmp_path: Path) -> None:
    cubin = tmp_path / "kernel.cubin"
    command = [
        str(NVCC),
        "-std=c++17",
        "-O3",
        "-Icsrc",
        "-DFASTCODEC_WGMMA=1",
        f"-gencode=arch=compute_{arch},code=sm_{arch}",
        "-Xptxas",
        "-v",
    ]
    command += ["-cubin", f"csrc/kernels/cuda/{source}", "-o", str(cubin)]
    compiled = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "Unsupported gpu architecture" in compiled.stderr:
        pytest.skip(f"this nvcc does not know sm_{arch}")
    assert compiled.returncode == 0, compiled.stderr
    report = compiled.stdout + compiled.stderr
    assert "C75" not in report, f"wgmma is serialised: {report}"
    assert len(re.findall(r"Used \d+ registers", report)) >= len(expected)
    assert max(int(n) for n in re.findall(r"Used (\d+) registers", report)) <= registers
    assert set(re.findall(r"(\d+) bytes spill", report)) == {"0"}

    code = subprocess.run(
        [str(CUOBJDUMP), "-sass", str(cubin)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": PATH},
    ).stdout
    functions = re.split(r"Function : ", code)[1:]
    for kernel, instruction in expected.items():
        bodies = [body for body in functions if kernel in body.split("\n")[0]]
        assert bodies, f"no {kernel} in {[body.split()[0] for body in functions]}"
        for body in bodies:
            assert re.search(instruction, body), f"{kernel} has no {instruction}"
            assert not re.search(r"\b(LDL|STL)\b", body), f"{kernel} uses local memory"
