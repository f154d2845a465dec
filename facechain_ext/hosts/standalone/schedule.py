"""The noise schedule of a checkpoint, and the trial that tells what SD2's UNet predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from facechain_ext.hosts.standalone.prediction import Parameterisation
from facechain_ext.ports import Prediction

PROBE, LIMIT = 0.5, -1.0
"""The WebUI's constant input, and the mean below which it takes the answer for velocity."""


def tried(unet: Any, context: int) -> Parameterisation:
    """Whether diffusers' ``unet`` of SD2 predicts velocity, by the WebUI's rule: its answer to a constant input at the last timestep.

    Source: A1111, ``modules/sd_models_config.py``, is_using_v_parameterization_for_sd2.
    """
    weight = next(unet.parameters())
    x = torch.full((1, 4, 8, 8), PROBE, device=weight.device, dtype=weight.dtype)
    words = torch.full((1, 2, context), PROBE, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        answer = unet(x, torch.tensor([999], device=weight.device), encoder_hidden_states=words).sample
    mean = float((answer - x).float().mean())
    found = Prediction.V if mean < LIMIT else Prediction.EPS
    return Parameterisation(found, False, f"assumed by the WebUI's rule, from its answer to a constant input ({mean:.2f})", guessed=True)


def schedule_of(config: Mapping[str, Any], known: Parameterisation) -> dict[str, Any]:
    """diffusers' scheduler ``config`` of the family as this checkpoint needs it."""
    said: dict[str, Any] = {"prediction_type": "v_prediction" if known.prediction is Prediction.V else "epsilon"}
    if known.zero_terminal_snr:
        # The first step must be the last timestep, which "leading" never reaches (Lin et al. 2023, section 3.3).
        said |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    # What is listed there as a default, another scheduler made from this would leave out.
    defaults = [name for name in config.get("_use_default_values", ()) if name not in said]
    return {**config, **said, "_use_default_values": defaults}


def alphas_of(config: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Cumulative alphas (T,) of a scheduler's configuration; 0 at the end where its noise reaches zero signal."""
    betas = torch.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, config["num_train_timesteps"], dtype=dtype) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    if not config.get("rescale_betas_zero_snr"):
        return alphas
    # Lin et al. 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1.
    roots = alphas.sqrt()
    return ((roots - roots[-1]) * (roots[0] / (roots[0] - roots[-1]))).square()
