"""Captions in other orders of their tags, so that the place of a tag teaches nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from facechain_ext.training.batches import ORDER_STREAM, TAG_STREAM, stream

ORDERS = 4
"""Of each caption, its own one among them: every one is encoded before the first step."""


def orders(captions: Sequence[str], seed: int) -> list[str]:
    """All captions as they are, then ``ORDERS - 1`` times with their tags shuffled; what stands before the first comma stays first."""
    found = list(captions)
    for turn in range(1, ORDERS):
        for i, caption in enumerate(captions):
            first, *tags = (part.strip() for part in caption.split(","))
            places = torch.randperm(len(tags), generator=stream(seed, TAG_STREAM, turn * len(captions) + i)).tolist()
            found.append(", ".join([first, *(tags[place] for place in places)]))
    return found


def drawn_orders(seed: int, step: int, count: int, available: int) -> list[int]:
    """The order of the caption of each of ``count`` samples of step ``step``, from ``available`` ones."""
    if available == 1:
        return [0] * count
    return torch.randint(available, (count,), generator=stream(seed, ORDER_STREAM, step)).tolist()
