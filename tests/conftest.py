# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""Skips tests marked `gpu` where no CUDA device can run the kernels."""

from __future__ import annotations

import pytest
from fastcodec import _core


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = next(reason for name, _, reason in _core.backends() if name == "cuda")
    for item in items:
        if reason and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=f"no GPU: {reason}"))
