"""Photos and prompts encoded once, before the first step."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from facechain_ext.faces.geometry import buckets
from facechain_ext.faces.types import Dataset, Image, Mask
from facechain_ext.ports import Conditioning, TrainSession
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.training.latents import LatentStore
from facechain_ext.training.wording import ORDERS, orders


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCache:
    """What a step needs of N photos; V is 2 with mirrored copies, else 1. All on the session's device.

    Photos of one shape (h, w) are a bucket; a step takes its batch from one of them.
    """

    mean: tuple[torch.Tensor, ...]
    """N tensors (V, 4, h, w) float32: mean of the scaled latents."""
    std: tuple[torch.Tensor, ...]
    """N tensors (V, 4, h, w)."""
    masks: tuple[torch.Tensor, ...]
    """N tensors (V, 1, h, w) in [0, 1]."""
    captions: Conditioning
    """One row a photo, and as many again for every other order of the captions."""
    empty: Conditioning
    """The empty prompt, for caption dropout: one row for each size photos are trained at."""
    empty_rows: tuple[int, ...] = ()
    """The row of ``empty`` for each photo; all the first when not given."""
    prompts: tuple[str, ...] = ()
    """What the rows of ``captions`` say."""
    sizes: tuple[tuple[int, int], ...] = ()
    """Width and height px of each photo."""

    @property
    def photos(self) -> int:
        """N."""
        return len(self.mean)

    @property
    def views(self) -> int:
        """V."""
        return self.mean[0].shape[0]

    @property
    def orders(self) -> int:
        """In how many orders each caption is there."""
        return len(self.captions.context) // self.photos

    @property
    def buckets(self) -> list[list[int]]:
        """Photos of each shape, in the order in which the shapes come first."""
        found: dict[torch.Size, list[int]] = {}
        for i, mean in enumerate(self.mean):
            found.setdefault(mean.shape, []).append(i)
        return list(found.values())


@dataclass(frozen=True, slots=True)
class Words:
    """Prompts and the width and height px of the pictures they are about."""

    prompts: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]


def training_size(image: Image, resolution: int) -> tuple[int, int]:
    """Width and height px at which ``image`` (h, w, 3) is trained: square ones at ``resolution``, others in the bucket of their shape."""
    height, width = image.shape[:2]
    if height == width:
        return resolution, resolution
    return min(buckets(resolution), key=lambda size: abs(math.log(size[1] * width / (size[0] * height))))


def resized(image: Image | Mask, size: tuple[int, int]) -> Image | Mask:
    """``image`` (h, w[, 3]) at ``size`` (width, height) px: area averaging when shrinking, cubic when growing.

    Never stretched: what a bucket of another shape has no room for is cut off evenly on both sides.
    """
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    wide = min(image.shape[1], max(1, round(image.shape[0] * width / height)))
    high = min(image.shape[0], max(1, round(image.shape[1] * height / width)))
    left, top = (image.shape[1] - wide) // 2, (image.shape[0] - high) // 2
    part = image[top : top + high, left : left + wide]
    method = cv2.INTER_AREA if width < wide else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(part, size, interpolation=method), np.uint8)


def pixels(image: Image) -> torch.Tensor:
    """(h, w, 3) uint8 -> (1, 3, h, w) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float().div(127.5).sub(1)[None]


def build_cache(
    session: TrainSession,
    dataset: Dataset,
    resolution: int,
    flip: bool,
    on_progress: ProgressSink,
    cancel: CancelToken,
    store: LatentStore | None = None,
) -> TrainingCache:
    """Encode every photo at ``resolution`` px (and mirrored when ``flip``) and every caption; what ``store`` holds is not encoded again."""
    views = (False, True) if flip else (False,)
    means: list[torch.Tensor] = []
    stds: list[torch.Tensor] = []
    masks: list[torch.Tensor] = []
    total = len(views) * len(dataset.photos)
    for mirrored in views:
        for photo in dataset.photos:
            cancel.raise_if_cancelled()
            width, height = training_size(photo.image, resolution)
            image, mask = resized(photo.image, (width, height)), resized(photo.mask, (width // 8, height // 8))
            if mirrored:
                image, mask = image[:, ::-1], mask[:, ::-1]
            mean, std = store.encode(photo.image, pixels(image)) if store else session.encode_images(pixels(image))
            means.append(mean.float())
            stds.append(std.float())
            masks.append(torch.from_numpy(np.ascontiguousarray(mask)).float().div(255)[None, None])
            on_progress(Progress(Stage.CACHE, len(means), total, "Encoding photos"))

    if store:
        store.tidy([p.image for p in dataset.photos])

    def by_photo(parts: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        count = len(dataset.photos)
        return tuple(torch.cat(parts[i::count]).to(session.device) for i in range(count))

    sizes = [training_size(p.image, resolution) for p in dataset.photos]
    different = list(dict.fromkeys(sizes))
    return TrainingCache(
        by_photo(means),
        by_photo(stds),
        by_photo(masks),
        session.encode_prompts([p.caption for p in dataset.photos], sizes),
        session.encode_prompts([""] * len(different), different),
        tuple(different.index(size) for size in sizes),
        tuple(p.caption for p in dataset.photos),
        tuple(sizes),
    )


def masked_by(dataset: Dataset, part: str) -> Dataset:
    """``dataset`` with the masks of "face", "head" or "figure"; where a photo has none of that, the face's."""
    if part == "face":
        return dataset
    found = [photo.head if part == "head" else photo.figure for photo in dataset.photos]
    photos = [replace(p, mask=p.mask if mask is None else mask) for p, mask in zip(dataset.photos, found, strict=True)]
    return replace(dataset, photos=tuple(photos))


def in_orders(cache: TrainingCache, session: TrainSession, dataset: Dataset, resolution: int, seed: int) -> TrainingCache:
    """``cache`` with every caption in several orders of its tags."""
    sizes = [training_size(p.image, resolution) for p in dataset.photos]
    captions = orders([p.caption for p in dataset.photos], seed)
    return replace(cache, captions=session.encode_prompts(captions, sizes * ORDERS), prompts=tuple(captions))


def pick_prompts(cache: TrainingCache, indices: list[int], dropped: list[bool], turns: list[int]) -> Words:
    """What ``pick_conditioning`` gives, not encoded yet: for text encoders that are learning."""
    said = ["" if drop else cache.prompts[i + turn * cache.photos] for i, drop, turn in zip(indices, dropped, turns, strict=True)]
    return Words(tuple(said), tuple(cache.sizes[i] for i in indices))


def pick_conditioning(cache: TrainingCache, indices: list[int], dropped: list[bool], turns: list[int] | None = None) -> Conditioning:
    """Rows of the photos' captions, in the orders ``turns`` where given, the empty prompt where ``dropped``."""
    said = [i + turn * cache.photos for i, turn in zip(indices, turns or [0] * len(indices), strict=True)]

    def rows(full: torch.Tensor | None, empty: torch.Tensor | None) -> torch.Tensor | None:
        if full is None or empty is None:
            return None
        if full.dim() == 3 and empty.shape[1] < full.shape[1]:
            # A caption of more than 75 tokens takes several 77-token chunks; the empty prompt then repeats.
            empty = empty.repeat(1, full.shape[1] // empty.shape[1], 1)
        nothing = cache.empty_rows or (0,) * (max(indices) + 1)
        return torch.stack([empty[nothing[i]] if drop else full[row] for i, row, drop in zip(indices, said, dropped, strict=True)])

    context = rows(cache.captions.context, cache.empty.context)
    if context is None:
        raise TypeError("conditioning without context")
    return Conditioning(context, rows(cache.captions.pooled, cache.empty.pooled), rows(cache.captions.size_ids, cache.empty.size_ids))
