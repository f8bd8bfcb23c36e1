# SPDX-FileCopyrightText: 2026 fastcodec authors
# SPDX-License-Identifier: Apache-2.0
"""The optimiser: Adam, or Muon for the convolutions and Adam for everything else.

Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) takes the momentum of a weight matrix and makes all its
singular values alike, here scaled to the size of Adam's steps (Liu et al. 2025, arXiv 2502.16982).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # five steps bring singular values to 0.7 .. 1.2


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices [B, m, n] with the same singular vectors and singular values near 1, by Newton-Schulz steps."""
    a, b, c = _NEWTON_SCHULZ
    x = matrices.bfloat16() if matrices.is_cuda else matrices
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x if wide else x.mT).to(matrices.dtype)


class Optimiser:
    """One step at a time from gradients in `p.grad`; safe to record in a CUDA graph, learning rates being tensors.

    Args:
        groups: lists of parameters that share a learning rate.
        muon: which groups' tensors of four dimensions are Muon's.
    """

    def __init__(self, groups: list[list[Tensor]], muon: list[bool], device: torch.device) -> None:
        self.rates = [torch.zeros((), device=device) for _ in groups]
        self.matrices = [
            [p for p in group if wanted and p.ndim == 4] for group, wanted in zip(groups, muon, strict=True)
        ]
        self.momenta = [[torch.zeros_like(p) for p in group] for group in self.matrices]
        others = [
            {"params": [p for p in group if all(p is not q for q in matrices)], "lr": rate}
            for group, matrices, rate in zip(groups, self.matrices, self.rates, strict=True)
        ]
        on_gpu = device.type == "cuda"
        self.adam = torch.optim.Adam(
            [g for g in others if g["params"]], betas=(0.9, 0.99), capturable=on_gpu, fused=True
        )

    def set_rates(self, rates: list[float]) -> None:
        for tensor, rate in zip(self.rates, rates, strict=True):
            tensor.fill_(rate)

    @torch.no_grad()
    def step(self) -> None:
        self.adam.step()
        for rate, params, momenta in zip(self.rates, self.matrices, self.momenta, strict=True):
            if not params:
                continue
            grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in params]
            torch._foreach_lerp_(momenta, grads, 1 - MOMENTUM)
            directions = torch._foreach_lerp(grads, momenta, MOMENTUM)
            shapes: dict[tuple[int, int], list[int]] = {}
            for i, p in enumerate(params):
                shapes.setdefault((p.shape[0], p[0].numel()), []).append(i)
            for (m, n), members in shapes.items():
                stack = torch.stack([directions[i].reshape(m, n) for i in members])
                updates = orthogonalise(stack) * (0.2 * max(m, n) ** 0.5 * rate)
                torch._foreach_sub_(
                    [params[i] for i in members], [u.view_as(params[i]) for i, u in zip(members, updates, strict=True)]
                )

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "momenta": self.momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        rates = [g["lr"] for g in self.adam.param_groups]
        self.adam.load_state_dict(state["adam"])
        for group, rate in zip(self.adam.param_groups, rates, strict=True):
            group["lr"] = rate
        for mine, theirs in zip(self.momenta, state["momenta"], strict=True):
            for own, other in zip(mine, theirs, strict=True):
                own.copy_(other)
