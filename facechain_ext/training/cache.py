"""Photos and prompts encoded once, before the first step."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from facechain_ext.faces.types import Dataset, Image, Mask
from facechain_ext.ports import Conditioning, TrainSession
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCache:
    """What a step needs of N photos; V is 2 with mirrored copies, else 1. All on the session's device."""

    mean: torch.Tensor
    """(V, N, 4, h, w) float32: mean of the scaled latents."""
    std: torch.Tensor
    """(V, N, 4, h, w)."""
    masks: torch.Tensor
    """(V, N, 1, h, w) in [0, 1]."""
    captions: Conditioning
    """One row a photo."""
    empty: Conditioning
    """One row: the empty prompt, for caption dropout."""

    @property
    def photos(self) -> int:
        """N."""
        return self.mean.shape[1]


def resized(image: Image | Mask, side: int) -> Image | Mask:
    """``image`` (R, R[, 3]) at ``side`` px: area averaging when shrinking, cubic when growing."""
    if image.shape[0] == side:
        return image
    method = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (side, side), interpolation=method), np.uint8)


def pixels(image: Image) -> torch.Tensor:
    """(R, R, 3) uint8 -> (1, 3, R, R) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div(127.5).sub(1)[None]


def build_cache(
    session: TrainSession, dataset: Dataset, resolution: int, flip: bool, on_progress: ProgressSink, cancel: CancelToken
) -> TrainingCache:
    """Encode every photo at ``resolution`` px (and mirrored when ``flip``) and every caption."""
    views = (False, True) if flip else (False,)
    means, stds, masks = [], [], []
    total = len(views) * len(dataset.photos)
    for mirrored in views:
        for photo in dataset.photos:
            cancel.raise_if_cancelled()
            image, mask = resized(photo.image, resolution), resized(photo.mask, resolution // 8)
            if mirrored:
                image, mask = image[:, ::-1], mask[:, ::-1]
            mean, std = session.encode_images(pixels(image))
            means.append(mean.float())
            stds.append(std.float())
            masks.append(torch.from_numpy(np.ascontiguousarray(mask)).float().div(255)[None, None])
            on_progress(Progress(Stage.CACHE, len(means), total, "Encoding photos"))

    def stacked(parts: list[torch.Tensor]) -> torch.Tensor:
        joined = torch.cat(parts).to(session.device)
        return joined.view(len(views), len(dataset.photos), *joined.shape[1:])

    return TrainingCache(
        stacked(means),
        stacked(stds),
        stacked(masks),
        session.encode_prompts([p.caption for p in dataset.photos], resolution),
        session.encode_prompts([""], resolution),
    )


def pick_conditioning(cache: TrainingCache, indices: list[int], dropped: list[bool]) -> Conditioning:
    """Rows of the photos' captions, the empty prompt where ``dropped``."""

    def rows(full: torch.Tensor | None, empty: torch.Tensor | None) -> torch.Tensor | None:
        if full is None or empty is None:
            return None
        if full.dim() == 3 and empty.shape[1] < full.shape[1]:
            # A caption of more than 75 tokens takes several 77-token chunks; the empty prompt then repeats.
            empty = empty.repeat(1, full.shape[1] // empty.shape[1], 1)
        return torch.stack([empty[0] if drop else full[i] for i, drop in zip(indices, dropped, strict=True)])

    context = rows(cache.captions.context, cache.empty.context)
    if context is None:
        raise TypeError("conditioning without context")
    return Conditioning(context, rows(cache.captions.pooled, cache.empty.pooled), rows(cache.captions.size_ids, cache.empty.size_ids))
