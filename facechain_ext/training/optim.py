"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from facechain_ext.config import TrainConfig

FINAL_SHARE = 0.1
"""The cosine ends at this share of the peak: the last steps still learn."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of step ``step`` (from 0): linear warmup, then cosine down to a tenth."""
    warmup = min(config.warmup, max(1, config.steps // 5))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, config.steps - warmup)
    return config.learning_rate * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * min(1.0, along))))


def make_optimizer(parameters: Iterable[torch.nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over ``parameters``, float32; one kernel launch for all of them where torch can."""
    return torch.optim.AdamW(parameters, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay, foreach=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Apply ``rate`` to every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
