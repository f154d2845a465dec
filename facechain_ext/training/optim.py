"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch

from facechain_ext.config import TrainConfig

OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
"""torch before 2.5, as A1111 pins it, knows it under ``cuda`` only."""
FINAL_SHARE = 0.1
"""Cosine and line end at this share of the peak: the last steps still learn."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of step ``step`` (from 0): linear warmup, then as the schedule says."""
    warmup = min(config.warmup, max(1, config.steps // 5))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    along = (step - warmup) / max(1, config.steps - warmup)
    if config.schedule == "constant":
        return config.learning_rate
    left = 1 - min(1.0, along) if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * min(1.0, along)))
    return config.learning_rate * (FINAL_SHARE + (1 - FINAL_SHARE) * left)


def make_optimizer(parameters: Iterable[torch.nn.Parameter], config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over ``parameters``, float32; one kernel launch for all of them where torch can."""
    return torch.optim.AdamW(parameters, lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay, foreach=True)


def gradient_scaler(device: str, *, enabled: bool) -> Any:
    """torch's gradient scaler, which before 2.3 was CUDA's only."""
    modern = getattr(torch.amp, "GradScaler", None)
    return modern(device, enabled=enabled) if modern is not None else torch.cuda.amp.GradScaler(enabled=enabled and device == "cuda")


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Apply ``rate`` to every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate
