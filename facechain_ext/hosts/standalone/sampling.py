"""Sampling: classifier-free guidance, one CPU noise stream per seed, the WebUI's samplers."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import torch

from facechain_ext.faces.types import Image
from facechain_ext.hosts.standalone.loading import Parts
from facechain_ext.hosts.standalone.prompts import Guidance, guided, sized
from facechain_ext.hosts.standalone.samplers import SAMPLERS, Levels, Sampler
from facechain_ext.hosts.standalone.schedule import alphas_of
from facechain_ext.lora.regions import composed, noise_seeds, owners
from facechain_ext.ports import Conditioning, MadeWith, Prediction, SamplingRequest
from facechain_ext.progress import CancelToken

LEAST_SIGNAL = 4.8973451890853435e-08
"""Cumulative alpha in place of a zero terminal one, which no noise level can be made of; the WebUI's (modules/sd_models.py)."""
OnStep = Callable[[int, int], None]


def sample(
    parts: Parts,
    request: SamplingRequest,
    cancel: CancelToken,
    on_step: OnStep | None = None,
    *,
    before_step: OnStep | None = None,
    guidance: Guidance | None = None,
) -> Generator[Image, None, None]:
    """Yield one image (H, W, 3) uint8 for each of the request's seeds, which are sampled as one batch.

    Picture i depends on its own seed only (with ``region_seeds`` on those): all its noise comes from a CPU generator of that seed on every
    device, as in the WebUI with "CPU" as source of random numbers. ``before_step`` is told each step, 0 first; ``guidance`` is what ``guided`` gives, made here when it
    is None.

    Raises:
        UserInputError: see ``ImageGenerator.generate``.
    """
    request.check_start()
    sampler = SAMPLERS[request.sampler](levels_of(parts.scheduler_config), request.steps, request.strength if request.start else None)
    noise = Streams(request, parts.device)
    with torch.no_grad():
        guidance = guidance or guided(parts, request.prompt, request.negative, request.steps, made_with(request).clip_skip)
        denoiser = _Denoiser(parts, guidance, request, cancel, sampler)
        denoiser.before, denoiser.after = before_step, on_step
        picture = torch.cat([encode_image(parts, image) for image in request.start]) if request.start else None
        latents = sampler.run(sampler.begin(noise(), picture), denoiser, noise)
    for latent in latents:
        cancel.raise_if_cancelled()
        yield decode(parts, latent)


def made_with(request: SamplingRequest) -> MadeWith:
    """The settings of ``request``; nothing is set otherwise here."""
    return request.made or MadeWith()


def levels_of(config: dict[str, Any]) -> Levels:
    """The noise levels that a scheduler's ``config`` describes."""
    return Levels(alphas_of(config, torch.float64).clamp_min(LEAST_SIGNAL))


class Streams:
    """The noise of a batch: each seed has a generator of its own, where regions have seeds each of these."""

    def __init__(self, request: SamplingRequest, device: torch.device) -> None:
        self._seeds, self._delta, self._device = noise_seeds(request), made_with(request).seed_delta, device
        self._generators = _seeded(self._seeds)
        self._shape = (4, request.height // 8, request.width // 8)
        self._owner = owners([r.region for r in request.regions], *self._shape[1:]) if len(self._seeds) > 1 else None
        self._begun = False

    def __call__(self) -> torch.Tensor:
        """The next noise (B, 4, h, w)."""
        if self._begun and self._delta:
            self._generators = _seeded([[seed + self._delta for seed in own] for own in self._seeds])
            self._delta = 0
        self._begun = True
        planes = [torch.stack([torch.randn(self._shape, generator=generator) for generator in own]) for own in self._generators]
        return (planes[0] if self._owner is None else composed(planes, self._owner)).to(self._device)


def _seeded(seeds: Sequence[Sequence[int]]) -> list[list[torch.Generator]]:
    return [[torch.Generator().manual_seed(seed) for seed in own] for own in seeds]


class _Denoiser:
    """What a sampler asks: the UNet, led towards the prompt."""

    before: OnStep | None = None
    after: OnStep | None = None

    def __init__(self, parts: Parts, guidance: Guidance, request: SamplingRequest, cancel: CancelToken, sampler: Sampler) -> None:
        calls, self._levels = sampler.calls, sampler.levels
        self._parts, self._guidance, self._request, self._cancel = parts, guidance, request, cancel
        self._done, self._calls = 0, calls
        # Of the whole way, when only its end is run.
        self._first = max(0, request.steps - calls) if request.start else 0

    def __call__(self, x: torch.Tensor, time: float) -> torch.Tensor:
        """The noise in ``x`` (B, 4, h, w)."""
        self._cancel.raise_if_cancelled()
        if self.before is not None:
            self.before(self._first + self._done, self._first + self._calls)
        contexts, pooled = self._guidance.at(self._done), self._guidance.pooled_at(self._done)
        rows = torch.cat([x] * len(contexts)).to(self._parts.dtype)
        words = Conditioning(contexts.repeat_interleave(len(x), 0), None if pooled is None else pooled.repeat_interleave(len(x), 0))
        size = (self._request.width, self._request.height)
        found = predict(self._parts, rows, time, sized(words, [size] * len(rows)))
        self._done += 1
        if self.after is not None:
            self.after(self._done, self._calls)
        led = self._guidance.mixed(found.float(), self._request.cfg)
        if self._parts.prediction is Prediction.EPS:
            return led
        # Salimans & Ho 2022, appendix D: the noise that goes with a velocity.
        sigma = float(self._levels.sigma_at(time))
        return (led + sigma * x) / math.sqrt(sigma**2 + 1)


def predict(parts: Parts, noisy: torch.Tensor, timesteps: torch.Tensor | float, conditioning: Conditioning) -> torch.Tensor:
    """The UNet's output (B, 4, h, w) for latents ``noisy``."""
    more: dict[str, Any] = {}
    if conditioning.pooled is not None:
        # Sizes stay float32: half precision rounds those above 256 px.
        more = {"added_cond_kwargs": {"text_embeds": conditioning.pooled.to(parts.dtype), "time_ids": conditioning.size_ids}}
    return parts.unet(noisy, timesteps, encoder_hidden_states=conditioning.context.to(parts.dtype), **more).sample


def encode_image(parts: Parts, image: Image) -> torch.Tensor:
    """``image`` (H, W, 3) as a latent (1, 4, H/8, W/8): the mean of what the VAE says, so that it is the same every time."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(parts.device, torch.float32) / 127.5 - 1
    with torch.no_grad():
        return parts.vae.encode(pixels).latent_dist.mean * parts.vae.config["scaling_factor"]


def decode(parts: Parts, latent: torch.Tensor) -> Image:
    """One latent (4, h, w) to an image (8h, 8w, 3) uint8."""
    with torch.no_grad():
        pixels = parts.vae.decode(latent[None].float() / parts.vae.config["scaling_factor"]).sample[0]
    # Cut off, not rounded, as the WebUI does.
    image = pixels.clamp(-1, 1).add(1).mul(127.5).to(torch.uint8)
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
