# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The range coder's probabilities against constriction, whose Gaussians have 24 bits and were written by others."""

from __future__ import annotations

import numpy as np
import pytest
from fastcodec import rans

constriction = pytest.importorskip("constriction", reason="the oracle of probabilities: pip install constriction")
stack, model = constriction.stream.stack, constriction.stream.model


def probability(gaussian: object, symbol: int) -> float:
    """What constriction gives a symbol, to 0.2 %, told from what many of them cost."""
    n = 16_384  # the coder's size is known to 32 bits, so a symbol's cost to 32 / n
    coder = stack.AnsCoder()
    sizes = []
    for _ in range(2):
        coder.encode_reverse(np.full(n, symbol, np.int32), gaussian)
        sizes.append(coder.num_bits())
    return float(2.0 ** (-(sizes[1] - sizes[0]) / n))


@pytest.mark.parametrize("table", [0, 5, 12, 20, 28, 36, 44, 52, 56])
def test_tables_are_those_of_constriction(table: int) -> None:
    tables = rans.gaussian_tables()
    assert tables.shifts[table] == 0
    gaussian = model.QuantizedGaussian(-1000, 1000, 0.0, rans.SIGMAS[table])
    low, freqs = tables.lows[table], tables.freqs[table]
    high = low + len(freqs) - 3
    for symbol in sorted({0, 1, -1, 2, low // 4, low // 2, high // 2, low, high} & set(range(low, high + 1))):
        expected = rans.SLOTS * probability(gaussian, symbol)
        slack = 1.0 if symbol else len(freqs)  # 0 gets what the rounding of all others leaves
        assert abs(freqs[symbol - low + 1] - expected) <= slack + 0.003 * expected, symbol


@pytest.mark.parametrize(("offset", "over"), [(-0.9, 0.008), (0.9, 0.004)])
def test_streams_are_about_as_short_as_those_of_constriction(offset: float, over: float) -> None:
    rng = np.random.default_rng(3)
    index = rans.scale_index(np.exp(rng.normal(size=1 << 18) + offset).astype(np.float32))
    sigma = np.array(rans.SIGMAS)[index]
    symbols = np.rint(rng.normal(size=index.size) * sigma).astype(np.int16)
    coder = stack.AnsCoder()
    family = model.QuantizedGaussian(-1000, 1000)
    coder.encode_reverse(symbols.astype(np.int32), family, np.zeros(index.size), sigma)
    theirs = coder.get_compressed().nbytes
    ours = len(rans.encode(symbols, index, chunk=1 << 18))
    assert theirs <= ours <= (1 + over) * theirs
