"""Sampling as the WebUI's samplers do it, so that one infotext gives one picture in both.

Sources: Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models", 2022 (noise levels, Euler, the Karras spacing);
Lu et al., "DPM-Solver++", 2022 (2M); Song et al., "Denoising Diffusion Implicit Models", 2020; Zhao et al., "UniPC", 2023. Where papers leave
a choice, it is k-diffusion's (time steps between whole ones, the last step straight to the clean picture) and the WebUI's defaults.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

RHO = 7.0
"""Karras et al., section 3."""
Predict = Callable[[torch.Tensor, float], torch.Tensor]
"""What the model is fed (B, 4, h, w) and the time step -> the noise in it."""
Noise = Callable[[], torch.Tensor]


class Levels:
    """The checkpoint's noise levels."""

    def __init__(self, alphas_cumprod: torch.Tensor) -> None:
        """``alphas_cumprod`` (T,), falling."""
        self.alphas = alphas_cumprod.double().cpu().numpy()
        self.sigmas = np.sqrt((1 - self.alphas) / self.alphas)
        self._logarithms, self._times = np.log(self.sigmas), np.arange(len(self.sigmas), dtype=np.float64)

    def sigma_at(self, time: Any) -> Any:
        """Noise level at ``time``, which may lie between whole steps."""
        return np.exp(np.interp(time, self._times, self._logarithms))

    def time_of(self, sigma: float) -> float:
        """The step of noise level ``sigma``, in general between whole ones."""
        return float(np.interp(math.log(sigma), self._logarithms, self._times))

    def even(self, steps: int) -> list[float]:
        """``steps`` levels evenly spaced in time, the highest first, and 0."""
        return [*self.sigma_at(np.linspace(len(self.sigmas) - 1, 0, steps)).tolist(), 0.0]

    def karras(self, steps: int) -> list[float]:
        """``steps`` levels as Karras et al. space them (equation 5), the highest first, and 0."""
        ends = self.sigmas[[-1, 0]] ** (1 / RHO)
        return [*(np.linspace(ends[0], ends[1], steps) ** RHO).tolist(), 0.0]


class Sampler(ABC):
    """One way from noise to a picture."""

    def __init__(self, levels: Levels, steps: int, strength: float | None = None) -> None:
        """``strength`` 0 to 1: only that share of the steps, at least one, from a picture noised as much."""
        self.levels = levels
        self.part = strength is not None
        self.left = steps if strength is None else max(1, min(steps, int(steps * strength)))

    calls: int
    """How often the model is asked."""

    @abstractmethod
    def begin(self, noise: torch.Tensor, picture: torch.Tensor | None) -> torch.Tensor:
        """Latents to begin with, from ``noise`` and a ``picture``'s latents."""

    @abstractmethod
    def run(self, x: torch.Tensor, predict: Predict, noise: Noise) -> torch.Tensor:
        """Clean latents from ``x``, as ``begin`` gave it."""


class _ByLevels(Sampler):
    """Samplers that count in noise levels, as k-diffusion's."""

    karras = False

    def __init__(self, levels: Levels, steps: int, strength: float | None = None) -> None:
        super().__init__(levels, steps, strength)
        sigmas = levels.karras(steps) if self.karras else levels.even(steps)
        self.sigmas = sigmas[steps - self.left :]
        self.calls = len(self.sigmas) - 1

    def begin(self, noise: torch.Tensor, picture: torch.Tensor | None) -> torch.Tensor:
        """See ``Sampler``."""
        noise = noise * self.sigmas[0]
        return noise if picture is None else picture + noise

    def clean(self, x: torch.Tensor, i: int, predict: Predict) -> torch.Tensor:
        """What the model takes the picture without noise to be, at level ``i``."""
        sigma = self.sigmas[i]
        return x - sigma * predict(x / math.sqrt(sigma**2 + 1), self.levels.time_of(sigma))


class Euler(_ByLevels):
    """Euler's method on the probability flow."""

    def run(self, x: torch.Tensor, predict: Predict, noise: Noise) -> torch.Tensor:
        """See ``Sampler``."""
        for i in range(self.calls):
            x = x + (x - self.clean(x, i, predict)) * (self.sigmas[i + 1] / self.sigmas[i] - 1)
        return x


class EulerAncestral(_ByLevels):
    """Euler's method with fresh noise at each step."""

    def run(self, x: torch.Tensor, predict: Predict, noise: Noise) -> torch.Tensor:
        """See ``Sampler``."""
        for i in range(self.calls):
            now, after = self.sigmas[i], self.sigmas[i + 1]
            fresh = min(after, math.sqrt(after**2 * (now**2 - after**2) / now**2))
            x = x + (x - self.clean(x, i, predict)) * (math.sqrt(after**2 - fresh**2) / now - 1)
            if after:
                x = x + noise() * fresh
        return x


class DpmPlusPlus2MKarras(_ByLevels):
    """DPM-Solver++(2M), algorithm 2 of its paper, on Karras et al.'s levels."""

    karras = True

    def run(self, x: torch.Tensor, predict: Predict, noise: Noise) -> torch.Tensor:
        """See ``Sampler``."""
        before: tuple[torch.Tensor, float] | None = None
        for i in range(self.calls):
            clean, ratio = self.clean(x, i, predict), self.sigmas[i + 1] / self.sigmas[i]
            aim = clean
            if ratio and before is not None:
                width = -math.log(ratio)
                share = width / (2 * before[1])
                aim = (1 + share) * clean - share * before[0]
            x = ratio * x + (1 - ratio) * aim
            before = (clean, -math.log(ratio)) if ratio else None
        return x


class _ByTimes(Sampler):
    """Samplers that count in whole time steps."""

    def __init__(self, levels: Levels, steps: int, strength: float | None = None) -> None:
        super().__init__(levels, steps, strength)
        total = len(levels.alphas)
        # The WebUI's list, which has one more where the steps do not divide 1000; it asks the model at all but the first.
        times = [min(t + 1, total - 1) for t in range(0, total, total // steps)]
        # Of a single step the WebUI makes none.
        times = times if len(times) > 1 else [*times, total - 1]
        self.times = times[: self.left + 1] if self.part else times
        self.calls = len(self.times) - 1

    def begin(self, noise: torch.Tensor, picture: torch.Tensor | None) -> torch.Tensor:
        """See ``Sampler``."""
        if picture is None:
            return noise
        alpha = self.levels.alphas[self.times[-1]]
        return picture * math.sqrt(alpha) + noise * math.sqrt(1 - alpha)


class Ddim(_ByTimes):
    """DDIM without noise of its own (eta 0)."""

    def run(self, x: torch.Tensor, predict: Predict, noise: Noise) -> torch.Tensor:
        """See ``Sampler``."""
        for i in range(self.calls, 0, -1):
            now, after = (float(self.levels.alphas[self.times[k]]) for k in (i, i - 1))
            found = predict(x, self.times[i])
            clean = (x - math.sqrt(1 - now) * found) / math.sqrt(now)
            x = math.sqrt(after) * clean + math.sqrt(1 - after) * found
        return x


class UniPc(_ByTimes):
    """UniPC of order 3 with the first kind of B(h), as diffusers computes it, at the WebUI's times."""

    ORDER = 3

    def __init__(self, levels: Levels, steps: int, strength: float | None = None) -> None:
        super().__init__(levels, steps, strength)
        self.calls = self.left if self.part else len(self.times)

    def run(self, x: torch.Tensor, predict: Predict, noise: Noise) -> torch.Tensor:
        """See ``Sampler``."""
        from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

        total = len(self.levels.alphas)
        times = np.linspace(self.times[-1] if self.part else total - 1, 0, self.calls + 1)
        alphas = np.exp(np.interp(times, np.arange(total), np.log(self.levels.alphas)))
        # Only its formulas are taken: the rest is overwritten.
        solver = UniPCMultistepScheduler(num_train_timesteps=total, solver_order=self.ORDER, solver_type="bh1")
        solver.set_timesteps(self.calls)
        solver.timesteps = torch.tensor(times[:-1], dtype=torch.float32)
        solver.sigmas = torch.tensor(np.sqrt((1 - alphas) / alphas), dtype=torch.float32)
        solver.set_begin_index(0)
        for time in solver.timesteps:
            (x,) = solver.step(predict(x, float(time)), time, x, return_dict=False)
        return x


SAMPLERS: dict[str, type[Sampler]] = {
    "DPM++ 2M Karras": DpmPlusPlus2MKarras,
    "Euler": Euler,
    "Euler a": EulerAncestral,
    "DDIM": Ddim,
    "UniPC": UniPc,
}
"""By the WebUI's names."""
