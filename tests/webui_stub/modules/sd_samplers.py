"""One way of sampling, deterministic DDIM, under the host's names (modules/sd_samplers_kdiffusion.py)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from modules import script_callbacks, shared

NAMES = ("DPM++ 2M", "Euler", "Euler a", "DDIM", "UniPC")


class InterruptedException(BaseException):
    """Ends the sampling of a batch in the middle (modules/sd_samplers_common.py)."""


def predicted(model: Any, x: torch.Tensor, t: torch.Tensor, p: Any, c: torch.Tensor, uc: torch.Tensor) -> torch.Tensor:
    if shared.state.interrupted or shared.state.skipped:
        raise InterruptedException
    times = t.repeat(len(x))
    if c.shape == uc.shape:
        made, without = model.apply_model(x.repeat(2, 1, 1, 1), times.repeat(2), {"c_crossattn": [torch.cat([c, uc])]}).chunk(2)
    else:
        made, without = (model.apply_model(x, times, {"c_crossattn": [cond]}) for cond in (c, uc))
    return without + p.cfg_scale * (made - without)


def sample(p: Any, x: torch.Tensor, c: torch.Tensor, uc: torch.Tensor, *, steps: int, noised: float = 1.0) -> torch.Tensor:
    """From pure noise ``x``, or from latents noised to the share ``noised`` of the schedule."""
    model, state = p.sd_model, shared.state
    if p.sampler_name not in NAMES:
        raise RuntimeError(f"unknown sampler {p.sampler_name}")
    alphas = model.alphas_cumprod
    times = torch.linspace(round(999 * noised), 0, steps + 1).round().long()
    state.sampling_steps, state.sampling_step = steps, 0
    try:
        for step in range(steps):
            # ``sampling_step`` is the last one done, the denoiser's own the one that begins (modules/sd_samplers_cfg_denoiser.py:211).
            denoiser = SimpleNamespace(step=step, total_steps=steps)
            script_callbacks.called(
                "cfg_denoiser", SimpleNamespace(denoiser=denoiser, text_cond=c, text_uncond=uc, sampling_step=max(0, step - 1), total_sampling_steps=steps)
            )
            noise = predicted(model, x, times[step], p, c, uc)
            now, then = alphas[times[step]], alphas[times[step + 1]] if step + 1 < steps else torch.tensor(1.0)
            x = then.sqrt() * (x - (1 - now).sqrt() * noise) / now.sqrt() + (1 - then).sqrt() * noise
            state.sampling_step = step + 1
    except InterruptedException:
        pass
    return x
