"""What a step learns from: which photos at which timesteps with which noise and words, and the loss of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from facechain_ext.ports import Conditioning
from facechain_ext.training.batches import bucket_indices, step_stream, stratified_timesteps
from facechain_ext.training.cache import TrainingCache, Words, pick_conditioning, pick_prompts
from facechain_ext.training.noise import add_noise, signal_to_noise, training_target
from facechain_ext.training.objective import debiased_weight, face_map, snr_weight, weighted_loss
from facechain_ext.training.run import Run
from facechain_ext.training.wording import drawn_orders


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What one step learns from: B rows each."""

    latents: torch.Tensor
    noise: torch.Tensor
    mask: torch.Tensor
    timesteps: torch.Tensor
    words: Conditioning | Words
    """Encoded once for all steps, or anew in each because the text encoders learn."""

    def __len__(self) -> int:
        return len(self.latents)

    def part(self, start: int, end: int) -> Samples:
        """Rows ``start`` to ``end``."""
        if (start, end) == (0, len(self)):
            return self

        def rows(whole: torch.Tensor | None) -> torch.Tensor | None:
            return None if whole is None else whole[start:end]

        if isinstance(self.words, Words):
            words: Conditioning | Words = Words(self.words.prompts[start:end], self.words.sizes[start:end])
        else:
            words = Conditioning(self.words.context[start:end], rows(self.words.pooled), rows(self.words.size_ids))
        return Samples(self.latents[start:end], self.noise[start:end], self.mask[start:end], self.timesteps[start:end], words)


def draw(run: Run, cache: TrainingCache, seed: int) -> Samples:
    """The samples of this step from ``cache``: the same whatever memory allows at once."""
    config, session = run.config, run.session
    count = config.batch * config.accumulation
    numbers = step_stream(seed, run.step)
    photos = bucket_indices(seed, run.step, count, cache.buckets)
    views = torch.randint(cache.views, (count,), generator=numbers).tolist()
    dropped = (torch.rand(count, generator=numbers) < config.caption_dropout).tolist()
    timesteps = stratified_timesteps(count, len(session.alphas_cumprod), numbers)
    mean, std, mask = (torch.stack([of[i][v] for i, v in zip(photos, views, strict=True)]) for of in (cache.mean, cache.std, cache.masks))
    latents = mean + std * torch.randn(mean.shape, generator=numbers).to(mean)
    noise = torch.randn(mean.shape, generator=numbers).to(mean)
    if config.noise_offset:
        # One number for each channel of the whole picture: teaches what is darker or brighter than average (Guttenberg 2023).
        noise = noise + config.noise_offset * torch.randn((*mean.shape[:2], 1, 1), generator=numbers).to(mean)
    turns = drawn_orders(seed, run.step, count, cache.orders)
    pick = pick_prompts if config.text_encoder_rate else pick_conditioning
    words = pick(cache, photos, dropped, turns)
    return Samples(latents, noise, mask, timesteps.to(session.device), words)


def loss_of(run: Run, samples: Samples) -> torch.Tensor:
    """The loss of ``samples``, a scalar with gradient."""
    config, session = run.config, run.session
    alphas, prediction, when = session.alphas_cumprod, session.checkpoint.prediction, samples.timesteps
    noisy = add_noise(samples.latents, samples.noise, when, alphas)
    target = training_target(samples.latents, samples.noise, when, alphas, prediction)
    words = samples.words
    if isinstance(words, Words):
        words = session.encode_prompts(words.prompts, words.sizes, gradient=True)
    output = session.predict(noisy.to(session.dtype), when, words)
    snr = signal_to_noise(alphas)[when]
    weights = debiased_weight(snr, prediction) if config.debiased else snr_weight(snr, config.min_snr_gamma, prediction)
    return weighted_loss(output, target, face_map(samples.mask, config.face_weight), weights)
