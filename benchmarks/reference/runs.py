"""What every training run here shares: resumable state, averaged weights, schedule by spent time, log and machine description."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

SAVE_EVERY = 180.0
"""Seconds between two states on disk."""


def device() -> torch.device:
    """The GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine() -> dict[str, Any]:
    """What the numbers in a log depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")), model)
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"cpu": model, "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu, "torch": torch.__version__}


class Average:
    """Exponential moving average of a module's floating-point state."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Move toward the module's present weights; the first steps count more."""
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (20 + self.steps))
        now = module.state_dict()
        names = [k for k, v in now.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.state[k] for k in names], [now[k].detach() for k in names], weight)


class Run:
    """One resumable run in ``folder``: its clock, its log and its state file."""

    def __init__(self, folder: Path, name: str, minutes: float, seed: int) -> None:
        self.folder, self.name, self.budget, self.seed = folder, name, minutes * 60, seed
        folder.mkdir(parents=True, exist_ok=True)
        self.state_file = folder / f"{name}.state.pt"
        self.step, self.spent = 0, 0.0
        self._started = self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state on disk, or None on the first start."""
        if not self.state_file.exists():
            self.report(event="start", seed=self.seed, machine=machine())
            return None
        state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        self.step, self.spent = state["step"], state["spent"]
        self._started = time.monotonic() - self.spent
        self.report(event="resume", step=self.step, machine=machine())
        return state

    def save(self, **parts: Any) -> None:
        """Write the state atomically."""
        temporary = self.state_file.with_suffix(".tmp")
        torch.save({**parts, "step": self.step, "spent": self.elapsed()}, temporary)
        temporary.replace(self.state_file)
        self._saved = time.monotonic()

    def save_due(self) -> bool:
        """Whether the last save is long enough ago."""
        return time.monotonic() - self._saved > SAVE_EVERY

    def elapsed(self) -> float:
        """Training seconds so far, over all starts."""
        return time.monotonic() - self._started

    def fraction(self) -> float:
        """Share of the time budget that is spent."""
        return self.elapsed() / self.budget

    def generator(self) -> torch.Generator:
        """The random numbers of the present step: a resumed run draws what an unbroken one would."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)

    def report(self, **values: Any) -> None:
        """Append one JSON line to the log."""
        with (self.folder / f"{self.name}.jsonl").open("a") as log:
            log.write(json.dumps(values) + "\n")


def cosine(fraction: float, step: int, warmup: int, floor: float = 0.01) -> float:
    """Factor of the learning rate: linear warm-up over steps, cosine decay over the time budget."""
    return min(1.0, (step + 1) / warmup) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction))))


def trapezoid(fraction: float, step: int, warmup: int, decay_from: float = 0.6, floor: float = 0.01) -> float:
    """Factor of the learning rate: warm-up, constant, then linear decay over the last ``1 - decay_from`` of the budget."""
    down = 1.0 if fraction < decay_from else max(floor, 1 - (fraction - decay_from) / (1 - decay_from))
    return min(1.0, (step + 1) / warmup) * down


def set_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's rate from its ``base`` entry."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * factor
