"""The forward diffusion process and what the UNet is asked to predict (Ho et al. 2020; Salimans & Ho 2022)."""

from __future__ import annotations

import torch

from facechain_ext.ports import Prediction


def signal_to_noise(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """SNR(t) = a / (1 - a) for cumulative alphas (T,); 0 where a model reaches zero terminal SNR."""
    return alphas_cumprod / (1 - alphas_cumprod).clamp_min(1e-12)


def add_noise(latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) noise, all (B, 4, h, w), ``timesteps`` (B,)."""
    a = alphas_cumprod[timesteps].view(-1, 1, 1, 1).to(latents)
    return a.sqrt() * latents + (1 - a).sqrt() * noise


def training_target(
    latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor, alphas_cumprod: torch.Tensor, prediction: Prediction
) -> torch.Tensor:
    """What the UNet should output, (B, 4, h, w): the noise, or v = sqrt(a) noise - sqrt(1 - a) x_0."""
    if prediction is Prediction.EPS:
        return noise
    a = alphas_cumprod[timesteps].view(-1, 1, 1, 1).to(latents)
    return a.sqrt() * noise - (1 - a).sqrt() * latents
