"""What a step learns from: which photos at which timesteps with which noise and words, and the loss of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from facechain_ext.config import TrainConfig
from facechain_ext.ports import Conditioning, TrainSession
from facechain_ext.training.batches import bucket_indices, step_stream, stratified_timesteps
from facechain_ext.training.cache import TrainingCache, Words, pick_conditioning, pick_prompts
from facechain_ext.training.noise import add_noise, signal_to_noise, training_target
from facechain_ext.training.objective import debiased_weight, face_map, snr_weight, weighted_loss
from facechain_ext.training.wording import drawn_orders

PRIOR_STREAM = 0x5EED
"""Mixed into the seed, so that class pictures are drawn independently of photos."""


class Learner(Protocol):
    """What a step needs to know of a training, in whichever process it is computed."""

    session: TrainSession
    config: TrainConfig
    prior: TrainingCache | None
    """What prior preservation learns from."""
    step: int
    """Steps done."""
    portion: int
    """Samples in each pass."""


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


def gradients(run: Learner, cache: TrainingCache, scaled: Callable[[torch.Tensor], torch.Tensor], share: tuple[int, int] = (0, 1)) -> torch.Tensor:
    """Add the gradients of this step, in as many passes as its samples need; return its loss, a scalar without gradient.

    ``share`` (i, n) computes the i-th of n equal parts of the step, from 0: gradients and losses of all parts add up to the whole.
    ``scaled`` makes what is differentiated out of a loss.
    """
    total = torch.zeros((), device=run.session.device)
    work = [(draw(run, cache, run.config.seed), 1.0)]
    if run.prior is not None:
        work.append((draw(run, run.prior, run.config.seed ^ PRIOR_STREAM), run.config.prior_weight))
    number, shares = share
    for samples, weight in work:
        count = len(samples)
        first, last = count * number // shares, count * (number + 1) // shares
        for start in range(first, last, run.portion):
            part = samples.part(start, min(start + run.portion, last))
            loss = loss_of(run, part) * (weight * len(part) / count)
            scaled(loss).backward()
            total += loss.detach()
    return total


def draw(run: Learner, cache: TrainingCache, seed: int) -> Samples:
    """The samples of this step from ``cache``: the same whatever memory allows at once, and whoever computes it."""
    config, session = run.config, run.session
    count = config.samples
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


def loss_of(run: Learner, samples: Samples) -> torch.Tensor:
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
