"""Kinds of adapters as numbers: how large each is and what scales it. No torch, so that estimates and pages can ask."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

LOKR_FACTOR = 8
"""Side of LoKr's smaller matrix, as near as the layer's size allows."""


class Kind(str, enum.Enum):
    """What ``TrainConfig.kind`` may name."""

    LORA = "lora"
    RSLORA = "rslora"
    DORA = "dora"
    LOHA = "loha"
    LOKR = "lokr"


def scale_of(kind: Kind, rank: int, alpha: float) -> float:
    """What the product of the factors is multiplied with."""
    return alpha / math.sqrt(rank) if kind is Kind.RSLORA else alpha / rank


def parameters_of(kind: Kind, rank: int, shape: Sequence[int]) -> int:
    """How many parameters an adapter of ``kind`` has on a weight of ``shape`` (out, in[, kh, kw])."""
    out, into = shape[0], math.prod(shape[1:])
    if kind is Kind.LOHA:
        return 2 * rank * (out + into)
    if kind is Kind.LOKR:
        (a, b), (c, d) = lokr_sides(out), lokr_sides(shape[1])
        window = math.prod(shape[2:])
        return a * c + (b * d * window if rank >= max(b, d) / 2 else rank * (b + d * window))
    return rank * (out + into) + (shape[1] if kind is Kind.DORA else 0)


def lokr_sides(size: int) -> tuple[int, int]:
    """Sides of the two Kronecker factors along ``size``, as PEFT and LyCORIS choose them (``factorization``)."""
    if size % LOKR_FACTOR == 0:
        return LOKR_FACTOR, size // LOKR_FACTOR
    small = max(d for d in range(1, LOKR_FACTOR + 1) if size % d == 0 and d * d <= size)
    return small, size // small
