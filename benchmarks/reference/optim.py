"""Muon for matrices and convolutions, AdamW for the rest.

Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the scale that makes its updates as large as AdamW's is Liu et al. 2025,
"Muon is Scalable for LLM Training", eq. 4. On these narrow networks it needs fewer samples than AdamW.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch

POLAR = ((8.28721, -23.59589, 17.30039), (4.10706, -2.94785, 0.54484), (3.94869, -2.90890, 0.55182))
"""Coefficients of the odd polynomials that drive singular values toward 1 (Amsel et al. 2025, "The Polar Express"): the first three."""


def orthogonalize(stack: torch.Tensor) -> torch.Tensor:
    """(N, rows, columns) with rows <= columns to matrices of nearly orthonormal rows.

    The polynomials run on the small Gram matrix and touch the wide one only twice, which halves the work of a 3x3 convolution.
    """
    x = stack / (1.01 * stack.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    gram = x @ x.mT
    eye = torch.eye(gram.shape[1], device=x.device, dtype=x.dtype)
    left = eye.expand_as(gram)
    for a, b, c in POLAR:
        now = left @ left @ gram
        left = (a * eye + b * now + c * now @ now) @ left
    return left @ x


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are orthogonalised; weights of the same shape share one batched iteration."""

    def __init__(self, params: Any, lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "base": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One update; ``closure`` is not supported and ignored."""
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[torch.Tensor, torch.Tensor, bool]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                moment = self.state[weight].setdefault("moment", torch.zeros_like(weight))
                moment.lerp_(weight.grad, 1 - group["momentum"])
                matrix = weight.grad.lerp(moment, group["momentum"]).reshape(len(weight), -1)
                tall = matrix.shape[0] > matrix.shape[1]
                matrix = matrix.mT if tall else matrix
                by_shape[tuple(matrix.shape)].append((weight, matrix, tall))
            for (_, columns), entries in by_shape.items():
                updates = orthogonalize(torch.stack([m for _, m, _ in entries])) * (0.2 * columns**0.5 * -group["lr"])
                for (weight, _, tall), update in zip(entries, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_((update.mT if tall else update).reshape(weight.shape))


def build_optimizers(module: torch.nn.Module, rate: float, apart: tuple[str, ...] = ("conv_in", "conv_out")) -> list[torch.optim.Optimizer]:
    """Muon for weights of two or more dimensions, AdamW for the others and for names that contain one of ``apart``."""
    matrices, rest = [], []
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            (rest if weight.ndim < 2 or any(a in name for a in apart) else matrices).append(weight)
    return [
        Muon(matrices, rate, weight_decay=0.01),
        torch.optim.AdamW([{"params": rest, "base": rate}], rate, betas=(0.9, 0.99), weight_decay=0.0),
    ]
