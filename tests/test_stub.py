# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The stub of the native module is what pybind11-stubgen makes of it; run this file as a script to write it anew."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

STUB = Path(__file__).parent.parent / "python" / "fastcodec" / "_core.pyi"


def generate() -> str:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "fastcodec._core", "-o", folder, "--exit-code"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        text = (Path(folder) / "fastcodec" / "_core.pyi").read_text()
    # pybind11 versions differ in how they spell "an integer".
    return re.sub(r"typing\.SupportsInt( \| typing\.SupportsIndex)?", "int", text)


def test_stub_is_fresh() -> None:
    pytest.importorskip("pybind11_stubgen")
    assert STUB.read_text() == generate(), f"write it anew with: python {Path(__file__).name}"


if __name__ == "__main__":
    STUB.write_text(generate())
