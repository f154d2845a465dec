"""The loss: mean squared error, weighted per timestep (min-SNR) and per pixel (the face)."""

from __future__ import annotations

import torch

from facechain_ext.ports import Prediction


def snr_weight(snr: torch.Tensor, gamma: float, prediction: Prediction) -> torch.Tensor:
    """Min-SNR-gamma weight (B,) for signal-to-noise ratios (B,); 1 everywhere when ``gamma`` is 0.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy": min(SNR, gamma) over SNR for noise
    prediction, over SNR + 1 for velocity prediction.
    """
    if gamma == 0:
        return torch.ones_like(snr)
    if prediction is Prediction.V:
        return snr.clamp_max(gamma) / (snr + 1)
    return snr.clamp_max(gamma) / snr.clamp_min(1e-8)


def debiased_weight(snr: torch.Tensor, prediction: Prediction) -> torch.Tensor:
    """Debiased weight (B,): 1 / sqrt(SNR) for noise prediction, 1 / (SNR + 1) for velocity prediction.

    Yu et al. 2023, "Debias the Training of Diffusion Models". SNR is capped at 1000 as in the authors' code, and at a zero terminal SNR,
    where noise prediction has nothing to learn, the weight is 0.
    """
    capped = snr.clamp_max(1000.0)
    if prediction is Prediction.V:
        return 1 / (capped + 1)
    return torch.where(snr > 0, capped.clamp_min(1e-4).rsqrt(), torch.zeros_like(snr))


def face_map(mask: torch.Tensor, face_weight: float) -> torch.Tensor:
    """Per-pixel weights (B, 1, h, w) of mean 1 from soft face masks in [0, 1].

    Mean 1 keeps the learning rate's meaning whatever the face's size; a mask without a face weighs all pixels the same.
    """
    weights = (1 - face_weight) + face_weight * mask
    mean = weights.mean(dim=(1, 2, 3), keepdim=True)
    return torch.where(mean > 1e-6, weights / mean.clamp_min(1e-6), torch.ones_like(weights))


def weighted_loss(output: torch.Tensor, target: torch.Tensor, pixel_weights: torch.Tensor, sample_weights: torch.Tensor) -> torch.Tensor:
    """Scalar loss of UNet outputs (B, 4, h, w) with weights (B, 1, h, w) and (B,); computed in float32."""
    error = (output.float() - target.float()).square() * pixel_weights
    return (error.mean(dim=(1, 2, 3)) * sample_weights).mean()
