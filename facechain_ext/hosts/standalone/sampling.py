"""Sampling with diffusers' schedulers: classifier-free guidance, one CPU noise stream per seed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import torch

from facechain_ext.faces.types import Image
from facechain_ext.hosts.standalone.loading import Parts
from facechain_ext.hosts.standalone.prompts import encode, matched
from facechain_ext.ports import SamplingRequest
from facechain_ext.progress import CancelToken

SCHEDULERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 2M Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "DDIM": ("DDIMScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}
OnStep = Callable[[int, int], None]


def sample(
    parts: Parts,
    request: SamplingRequest,
    cancel: CancelToken,
    on_step: OnStep | None = None,
    *,
    before_step: OnStep | None = None,
    context: torch.Tensor | None = None,
) -> Generator[Image, None, None]:
    """Yield one image (H, W, 3) uint8 for each of the request's seeds, which are sampled as one batch.

    Picture i depends on its own seed only: the noise comes from a CPU generator of that seed on every device. ``before_step`` is told
    each step, 0 first; ``context`` is what ``guided`` gives, made here when it is None.

    Raises:
        UserInputError: see ``ImageGenerator.generate``.
    """
    import diffusers

    request.check_start()

    kind, options = SCHEDULERS[request.sampler]
    scheduler = getattr(diffusers, kind).from_config(parts.scheduler_config, **options)
    scheduler.set_timesteps(request.steps, device=parts.device)
    streams = [torch.Generator().manual_seed(seed) for seed in request.seeds]
    latents, timesteps = begun(parts, request, scheduler, streams)
    with torch.no_grad():
        if context is None:
            context = guided(parts, request.prompt, request.negative, len(request.seeds))
        extra = {"generator": streams} if "generator" in scheduler.step.__code__.co_varnames else {}
        for i, t in enumerate(timesteps):
            cancel.raise_if_cancelled()
            if before_step is not None:
                before_step(len(scheduler.timesteps) - len(timesteps) + i, len(scheduler.timesteps))
            scaled = scheduler.scale_model_input(torch.cat([latents, latents]), t).to(parts.dtype)
            without, with_ = parts.unet(scaled, t, encoder_hidden_states=context.to(parts.dtype)).sample.float().chunk(2)
            latents = scheduler.step(without + request.cfg * (with_ - without), t, latents, **extra).prev_sample
            if on_step is not None:
                on_step(i + 1, len(timesteps))
    for latent in latents:
        cancel.raise_if_cancelled()
        yield decode(parts, latent)


def guided(parts: Parts, prompt: str, negative: str, many: int) -> torch.Tensor:
    """Context (2 * many, 77k, C) for guidance: ``negative`` for the first half of the batch, ``prompt`` for the second."""
    wanted, unwanted = matched(encode(parts, [prompt]), encode(parts, [negative]))
    return torch.cat([unwanted.expand(many, -1, -1), wanted.expand(many, -1, -1)])


def begun(parts: Parts, request: SamplingRequest, scheduler: Any, streams: Sequence[torch.Generator]) -> tuple[torch.Tensor, torch.Tensor]:
    """The noisy latents (B, 4, h, w) to begin with, and the timesteps (N,) left to sample."""
    shape = (1, 4, request.height // 8, request.width // 8)
    noise = torch.cat([torch.randn(shape, generator=g) for g in streams]).to(parts.device)
    if not request.start:
        return noise * scheduler.init_noise_sigma, scheduler.timesteps
    # As diffusers' image-to-image pipelines count: the last share of the steps, at least one.
    first = request.steps - max(1, min(request.steps, int(request.steps * request.strength)))
    timesteps = scheduler.timesteps[first:]
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    latents = torch.cat([encode_image(parts, image) for image in request.start])
    return scheduler.add_noise(latents, noise, timesteps[:1].expand(len(latents))), timesteps


def encode_image(parts: Parts, image: Image) -> torch.Tensor:
    """``image`` (H, W, 3) as a latent (1, 4, H/8, W/8): the mean of what the VAE says, so that it is the same every time."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(parts.device, torch.float32) / 127.5 - 1
    with torch.no_grad():
        return parts.vae.encode(pixels).latent_dist.mean * parts.vae.config["scaling_factor"]


def decode(parts: Parts, latent: torch.Tensor) -> Image:
    """One latent (4, h, w) to an image (8h, 8w, 3) uint8."""
    with torch.no_grad():
        pixels = parts.vae.decode(latent[None].float() / parts.vae.config["scaling_factor"]).sample[0]
    image = pixels.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
