"""The face pass: a small face is cut out, sampled again at the checkpoint's own size with the person's LoRA, and blended back.

What ADetailer does, with an identity to compare with: where the likeness got worse or the expression moved, the original stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.geometry import FACE_Y, Frame
from facechain_ext.faces.masks import HEIGHT, face_mask, head_mask
from facechain_ext.faces.types import Dataset, Embedding, Face, Image, Mask
from facechain_ext.portraits.rank import Limits, margin
from facechain_ext.ports import FaceAnalyzer

AUTO, OFF, ALWAYS = "auto", "off", "always"
MOVED = 0.12
"""Largest mean shift of eyes, nose and mouth, in distances between the eyes, that still counts as the same expression."""
SCALES = (1.3, 3.0)
"""Least and largest side of the square around a face, in face sides."""
Sampler = Callable[[Sequence[Image], Sequence[int]], Sequence[Image]]
"""Square pictures (R, R, 3) and a seed each -> the same sampled again, in the same order; fewer when it was interrupted."""


@dataclass(frozen=True, slots=True)
class Box:
    """A square of a picture, px."""

    x: int
    y: int
    side: int

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """That part of ``image`` (H, W, ...), a view."""
        return image[self.y : self.y + self.side, self.x : self.x + self.side]


@dataclass(frozen=True, slots=True)
class Passed:
    """What the pass did to one face."""

    before: float
    """Likeness to the person, -1..1."""
    after: float | None
    """None where no face was found any more."""
    moved: float
    """How far the features went, see ``MOVED``."""
    kept: bool
    """False: the original face stayed."""

    def __str__(self) -> str:
        said = f"{self.before:.3f} to {'no face' if self.after is None else f'{self.after:.3f}'}"
        if self.kept:
            return said
        return f"{said} - original kept" + (" for its expression" if self.moved > MOVED and (self.after or -1.0) > self.before else "")


def wanted(face: Face, resolution: int, mode: str, below: float) -> bool:
    """True when ``face`` should be sampled again: always, or when it is smaller than the share ``below`` of the native ``resolution`` px."""
    return mode == ALWAYS or (mode == AUTO and face.size < below * resolution)


def box_around(face: Face, size: tuple[int, int], scale: float) -> Box:
    """The square around ``face`` in a picture of ``size`` (W, H): ``scale`` face sides wide where the picture is, wholly inside it."""
    side = max(8, min(round(scale * face.size), *size))
    x, y = face.centre
    left = min(max(round(x - side / 2), 0), size[0] - side)
    top = min(max(round(y - FACE_Y * side), 0), size[1] - side)
    return Box(left, top, side)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A face that should be more like somebody."""

    face: Face
    person: Embedding
    seed: int
    sampler: Sampler
    rivals: tuple[Embedding, ...] = ()
    """Others in the picture, whom the face should not resemble."""
    limits: Limits = field(default_factory=Limits)
    """What it needs, where there are ``rivals``."""

    def worth(self, found: Embedding) -> float:
        """What faces are compared by: the likeness, with ``rivals`` the margin to the limits."""
        own = float(np.dot(found, self.person))
        return margin(own, max(float(np.dot(found, other)) for other in self.rivals), self.limits) if self.rivals else own


@dataclass(frozen=True, slots=True)
class FacePass:
    """How faces are sampled again."""

    analyzer: FaceAnalyzer
    resolution: int
    """Side of what is sampled, px."""
    scale: float
    """Side of the square around a face, in face sides."""
    whole_head: bool = False
    """Hair too, for a face that should become somebody else's; expression is not compared then."""

    def run(self, image: Image, targets: Sequence[Target]) -> tuple[Image, list[Passed]]:
        """``image`` (H, W, 3) with each target sampled again where that made it more like its person; the one given is not changed."""
        done: list[Passed] = []
        for target in targets:
            box = box_around(target.face, (image.shape[1], image.shape[0]), self.scale)
            found = list(target.sampler([resized(box.of(image), self.resolution)], [target.seed]))
            if not found:
                break
            changed = _blended(image, box, found[0], target.face, whole_head=self.whole_head)
            passed = self._compared(image, changed, target)
            done.append(passed)
            image = changed if passed.kept else image
        return image, done

    def _compared(self, before: Image, after: Image, target: Target) -> Passed:
        was = self.analyzer.embed(before, target.face)
        old = float(np.dot(was, target.person))
        again = same_place(target.face, self.analyzer.detect(after))
        if again is None:
            return Passed(old, None, math.inf, False)
        found, moved = self.analyzer.embed(after, again), shift(target.face, again)
        better = target.worth(found) >= target.worth(was)
        return Passed(old, float(np.dot(found, target.person)), moved, better and (self.whole_head or moved <= MOVED))


def scale_of(dataset: Dataset) -> float:
    """Side of the crops of ``dataset`` in face sides, so that a face is sampled as large as the LoRA has learned it; 1.3..3."""
    sides = [photo.mask.shape[0] / max(1, int((photo.mask > 127).any(axis=1).sum())) for photo in dataset.photos]
    # The mask's ellipse is a little higher than the face's box.
    return float(np.clip(2 * HEIGHT * np.median(sides), *SCALES)) if sides else SCALES[0]


def resized(image: Image, side: int) -> Image:
    """Square ``image`` (S, S, 3) as (side, side, 3)."""
    if image.shape[0] == side:
        return np.ascontiguousarray(image)
    how = cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(np.ascontiguousarray(image), (side, side), interpolation=how), np.uint8)


def _blended(image: Image, box: Box, sampled: Image, face: Face, *, whole_head: bool) -> Image:
    """``image`` with ``sampled`` (R, R, 3) in its ``box``: colour and light of the old face, feathered towards its surroundings."""
    mask = _mask(face, box, (image.shape[1], image.shape[0]), whole=whole_head)
    old = box.of(image)
    new = in_light_of(resized(sampled, box.side), old, mask)
    share = mask[..., None].astype(np.float32) / 255
    result = image.copy()
    box.of(result)[...] = np.rint(old * (1 - share) + new * share).astype(np.uint8)
    return result


def _mask(face: Face, box: Box, size: tuple[int, int], *, whole: bool) -> Mask:
    """(side, side) 0..255, soft, and 0 at those edges of the box that lie inside the picture of ``size`` (W, H)."""
    frame = Frame((box.x + box.side / 2, box.y + box.side / 2), float(box.side))
    # Over a tenth it fades out, so that nothing ends at the edge of the box.
    rise = np.clip(np.arange(box.side) / max(1.0, box.side / 10), 0, 1)
    ramps = []
    for start, length in ((box.x, size[0]), (box.y, size[1])):
        ramp = np.ones(box.side)
        ramp = ramp * rise if start > 0 else ramp
        ramps.append(ramp * rise[::-1] if start + box.side < length else ramp)
    fade = np.rint(255 * ramps[1][:, None] * ramps[0][None, :]).astype(np.uint8)
    mask = head_mask(face, frame, fade) if whole else face_mask(face, frame, box.side)
    return np.minimum(mask, fade)


def in_light_of(new: Image, old: Image, mask: Mask) -> Image:
    """``new`` (S, S, 3) with the colour and light that ``old`` has under ``mask``: mean and spread of each CIELAB channel.

    Source: Reinhard et al., "Color transfer between images", 2001, with the spread changed by at most a third.
    """
    share = mask.astype(np.float32) / 255
    total = float(share.sum())
    if total < 1:
        return new
    a, b = (cv2.cvtColor(np.ascontiguousarray(i).astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for i in (new, old))

    def moments(lab: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        mean = (lab * share[..., None]).sum(axis=(0, 1)) / total
        return mean, np.sqrt((((lab - mean) ** 2) * share[..., None]).sum(axis=(0, 1)) / total)

    (mean_new, spread_new), (mean_old, spread_old) = moments(np.asarray(a, np.float32)), moments(np.asarray(b, np.float32))
    gain = np.clip(spread_old / np.maximum(spread_new, 0.5), 0.75, 1.33)
    matched = cv2.cvtColor(((a - mean_new) * gain + mean_old).astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.rint(np.clip(matched, 0, 1) * 255).astype(np.uint8)


def same_place(face: Face, found: Sequence[Face]) -> Face | None:
    """Which of ``found`` lies where ``face`` was; None when none does."""
    near = min(found, key=lambda f: math.dist(f.centre, face.centre), default=None)
    return near if near is not None and math.dist(near.centre, face.centre) < face.size / 2 else None


def shift(face: Face, again: Face) -> float:
    """Mean distance of the five landmarks of two faces, their middles put together, in distances between the eyes."""
    a, b = (np.asarray(f.landmarks, np.float64) for f in (face, again))
    apart = max(float(np.linalg.norm(a[1] - a[0])), 1e-6)
    return float(np.linalg.norm((a - a.mean(axis=0)) - (b - b.mean(axis=0)), axis=1).mean()) / apart
