"""The loss: mean squared error, weighted per timestep (min-SNR) and per pixel (the face)."""

from __future__ import annotations

import torch

from facechain_ext.ports import Prediction

NO_SIGNAL = 1e-6
"""A signal-to-noise ratio below is a zero terminal one: the WebUI and Forge put 4.9e-8 in its place; usual schedules end at 5e-3."""


def snr_weight(snr: torch.Tensor, gamma: float, prediction: Prediction) -> torch.Tensor:
    """Min-SNR-gamma weight (B,) for signal-to-noise ratios (B,); 1 everywhere when ``gamma`` is 0.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy": min(SNR, gamma) over SNR for noise
    prediction, over SNR + 1 for velocity prediction. At a zero terminal SNR velocity counts fully, because sampling starts there and the
    formula would leave it out; noise prediction has nothing to learn there.
    """
    if prediction is Prediction.V:
        plain = snr.clamp_max(gamma) / (snr + 1) if gamma else torch.ones_like(snr)
        return torch.where(snr > NO_SIGNAL, plain, torch.ones_like(snr))
    plain = snr.clamp_max(gamma) / snr.clamp_min(1e-8) if gamma else torch.ones_like(snr)
    return torch.where(snr > NO_SIGNAL, plain, torch.zeros_like(snr))


def debiased_weight(snr: torch.Tensor, prediction: Prediction) -> torch.Tensor:
    """Debiased weight (B,): 1 / sqrt(SNR) for noise prediction, 1 / (SNR + 1) for velocity prediction.

    Yu et al. 2023, "Debias the Training of Diffusion Models". SNR is capped at 1000 as in the authors' code, and at a zero terminal SNR,
    where noise prediction has nothing to learn, the weight is 0.
    """
    capped = snr.clamp_max(1000.0)
    if prediction is Prediction.V:
        return 1 / (capped + 1)
    return torch.where(snr > NO_SIGNAL, capped.clamp_min(1e-4).rsqrt(), torch.zeros_like(snr))


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
