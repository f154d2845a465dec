"""Optimizers from libraries, the learning rate, and everything an optimizer knows as plain data that can be saved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch

from facechain_ext.config import TrainConfig
from facechain_ext.errors import HostError

OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
"""torch before 2.5, as A1111 pins it, knows it under ``cuda`` only."""
FINAL_SHARE = 0.1
"""Cosine and line end at this share of the peak: the last steps still learn."""
BETAS = (0.9, 0.99)
OWN_RATE = "prodigy"
"""Finds the rate itself: what it is given is a multiplier, 1 at the peak."""
OWN_SCHEDULE = "schedule-free"
"""Averages its steps instead of making them smaller (Defazio et al. 2024)."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of step ``step`` (from 0): linear warmup, then as the schedule says."""
    peak = 1.0 if config.optimizer == OWN_RATE else config.learning_rate
    warmup = min(config.warmup, max(1, config.steps // 5))
    if step < warmup:
        return peak * (step + 1) / warmup
    along = min(1.0, (step - warmup) / max(1, config.steps - warmup))
    if config.schedule == "constant" or config.optimizer == OWN_SCHEDULE:
        return peak
    left = 1 - along if config.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * along))
    return peak * (FINAL_SHARE + (1 - FINAL_SHARE) * left)


def make_optimizer(
    unet: Sequence[torch.nn.Parameter], config: TrainConfig, text: Sequence[torch.nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The optimizer that ``config`` names, over parameters of the UNet and the text encoders, float32.

    Raises:
        HostError: when the package it comes from is not installed.
    """
    parameters: Any = list(unet)
    if text:
        parameters = [
            {"params": parameters, "share": 1.0},
            {"params": list(text), "share": config.text_encoder_rate / config.learning_rate},
        ]
    shared: dict[str, Any] = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    kind = config.optimizer
    if kind == "adamw8bit":
        return _optional("bitsandbytes", kind).optim.AdamW8bit(parameters, betas=BETAS, **shared)
    if kind == "adafactor":
        if not hasattr(torch.optim, "Adafactor"):
            raise HostError("Adafactor comes with torch 2.5, which is newer than the one here. Choose another optimizer.")
        # Steps of the rate itself: by default they shrink with the weights, and half of a LoRA's begin at zero.
        return torch.optim.Adafactor(parameters, eps=(None, 1.0), **shared)
    if kind == OWN_RATE:
        # Without bias correction and guarded warm-up: with them the rate it finds had not grown after 120 steps on the embedded
        # checkpoint, without it had after 20.
        return _optional("prodigyopt", kind).Prodigy(parameters, lr=1.0, betas=(0.9, 0.999), weight_decay=config.weight_decay)
    if kind == OWN_SCHEDULE:
        return _optional("schedulefree", kind).AdamWScheduleFree(parameters, betas=BETAS, **shared)
    return _adamw(parameters, on_cpu=all(p.device.type == "cpu" for p in (*unet, *text)), **shared)


def _adamw(parameters: Any, *, on_cpu: bool, **shared: Any) -> torch.optim.Optimizer:
    if on_cpu:
        # One pass over memory instead of eight: 0.05 instead of 0.17 s for 37 million parameters. From torch 2.4 on.
        with suppress(RuntimeError):
            # Of copies: an attempt that fails has left its choice in the groups.
            groups = [dict(g) if isinstance(g, dict) else g for g in parameters]
            return torch.optim.AdamW(groups, betas=BETAS, fused=True, **shared)
    # One kernel launch for all of them where torch can.
    return torch.optim.AdamW(parameters, betas=BETAS, foreach=True, **shared)


def _optional(package: str, kind: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except Exception as error:  # bitsandbytes fails in many ways where there is no GPU
        raise HostError(
            f"The optimizer {kind} needs the Python package {package}, which cannot be used here ({type(error).__name__}). "
            f"Install it (pip install {package}), or choose adamw."
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class OptimizerState:
    """Everything an optimizer knows, so that it can go on elsewhere."""

    tensors: list[dict[str, torch.Tensor]] = field(default_factory=list)
    """Of each parameter, in the adapter's order."""
    numbers: list[dict[str, Any]] = field(default_factory=list)
    """Of each parameter, likewise: what is no tensor."""
    groups: list[dict[str, Any]] = field(default_factory=list)
    """Of each group of them, what changes along the way: the rate that Prodigy found, for example."""


FIXED = {"params", "lr", "weight_decay", "initial_lr", "share", "foreach", "fused"}
"""Of an optimizer's group: comes from the settings, or says how it is computed here."""


def state_of(optimizer: torch.optim.Optimizer) -> OptimizerState:
    """What ``optimizer`` knows; its tensors themselves, not copies."""
    packed = optimizer.state_dict()
    entries = [packed["state"].get(i, {}) for group in packed["param_groups"] for i in group["params"]] if packed["state"] else []
    plain = (bool, int, float)
    return OptimizerState(
        [{k: v for k, v in e.items() if isinstance(v, torch.Tensor)} for e in entries],
        [{k: v for k, v in e.items() if isinstance(v, plain)} for e in entries],
        [{k: v for k, v in group.items() if k not in FIXED and isinstance(v, plain)} for group in packed["param_groups"]],
    )


def restore(optimizer: torch.optim.Optimizer, saved: OptimizerState) -> None:
    """Let ``optimizer`` know what ``saved`` says, and nothing else."""
    packed = optimizer.state_dict()
    numbers = saved.numbers or [{}] * len(saved.tensors)
    packed["state"] = {i: {**of, **also} for i, (of, also) in enumerate(zip(saved.tensors, numbers, strict=True))}
    for group, known in zip(packed["param_groups"], saved.groups, strict=False):
        group.update(known)
    optimizer.load_state_dict(packed)


@contextmanager
def resting(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Parameters are meanwhile those to use, which a schedule-free optimizer has to make out of those it learns with."""
    if not hasattr(optimizer, "eval"):
        yield
        return
    kept = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]
    optimizer.eval()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        optimizer.train()  # pyright: ignore[reportAttributeAccessIssue]
        # There and back is not the same in the last bit, and looking on must change nothing.
        with torch.no_grad():
            for parameter, value in zip((p for group in optimizer.param_groups for p in group["params"]), kept, strict=True):
                parameter.copy_(value)


def gradient_scaler(device: str, *, enabled: bool) -> Any:
    """torch's gradient scaler, which before 2.3 was CUDA's only."""
    modern = getattr(torch.amp, "GradScaler", None)
    return modern(device, enabled=enabled) if modern is not None else torch.cuda.amp.GradScaler(enabled=enabled and device == "cuda")


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Apply ``rate`` to every parameter group, to the text encoders' its own share of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
