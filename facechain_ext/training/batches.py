"""Which photos, timesteps and noise each step sees: pure functions of the seed and the step's number.

Nothing has to be stored to resume: step 812 draws the same numbers whether or not the process died at step 811.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

EPOCH_STREAM, STEP_STREAM, BUCKET_STREAM, ORDER_STREAM, TAG_STREAM = 1, 2, 3, 4, 5


def stream(seed: int, kind: int, index: int) -> torch.Generator:
    """A CPU generator of its own for (seed, kind, index); neighbours are unrelated (mixed by SplitMix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + kind * 0xD1B54A32D192ED03 + index * 0x8CB92BA72F3D8DD7) & (2**64 - 1)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return torch.Generator().manual_seed((z ^ (z >> 31)) >> 1)


def photo_indices(seed: int, step: int, batch: int, photos: int) -> list[int]:
    """Photos of step ``step`` (from 0): every epoch is a fresh permutation, batches run across epoch borders."""
    indices = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, place = divmod(position, photos)
        order = torch.randperm(photos, generator=stream(seed, EPOCH_STREAM, epoch))
        indices.append(int(order[place]))
    return indices


def bucket_indices(seed: int, step: int, batch: int, buckets: Sequence[Sequence[int]]) -> list[int]:
    """Photos of step ``step``, all of one bucket (photos of one shape), as often as the bucket has photos.

    With one bucket the same as ``photo_indices``.
    """
    if len(buckets) == 1:
        return [buckets[0][i] for i in photo_indices(seed, step, batch, len(buckets[0]))]
    # One ticket a photo decides whose turn it is; the bucket's photos then follow a permutation of their own.
    tickets = [b for b, photos in enumerate(buckets) for _ in photos]
    epoch, place = divmod(step, len(tickets))
    order = torch.randperm(len(tickets), generator=stream(seed, EPOCH_STREAM, epoch))
    photos = buckets[tickets[int(order[place])]]
    draw = stream(seed, BUCKET_STREAM, step)
    rounds = [torch.randperm(len(photos), generator=draw) for _ in range(-(-batch // len(photos)))]
    return [photos[int(i)] for i in torch.cat(rounds)[:batch]]


def step_stream(seed: int, step: int) -> torch.Generator:
    """The generator for everything else step ``step`` draws."""
    return stream(seed, STEP_STREAM, step)


def stratified_timesteps(batch: int, count: int, draw: torch.Generator) -> torch.Tensor:
    """Timesteps (batch,) in 0..count-1, one from each of ``batch`` equal strata: uniform as before, with a loss that jumps less.

    Low-discrepancy sampling after Kingma et al. 2021, "Variational Diffusion Models", section I.1.
    """
    places = (torch.arange(batch) + torch.rand(batch, generator=draw)) / batch
    return (places * count).long().clamp_max(count - 1)
