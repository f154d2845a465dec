"""What would make a set of photos better: sentences about all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.geometry import Frame, box_to_crop, to_crop
from facechain_ext.faces.quality import LIMITS, aligned, colour
from facechain_ext.faces.types import Face, Image

ENOUGH, PLENTY = 5, 15
"""Photos from which a likeness holds from other sides, and beyond which more change little."""
SIDE = 20.0
"""Degrees of yaw from which a view counts as one from the side."""
SIDE_SHARE = 0.25
"""Share of side views worth having; at most ``MOST_SIDES`` are asked for."""
MOST_SIDES = 3
SAME_PLACE = 0.85
"""Median likeness of the backgrounds of a set's photos. ORL's, all of one studio: 0.83 to 1.00; one woman's six photos from six places
0.57, though two of these pairs have 0.84 and 0.95."""
SAME_BRIGHTNESS = 20.0
"""Standard deviation over the set, of 255. One person's ORL photos: 1 to 11."""
SAME_LIGHT = 0.25
"""Largest distance of two photos' left and right balance. One person's ORL photos: 0.04 to 0.22, for turning the head alone."""
CLOSE_UP = 0.6
"""Share of the crop's side that the face takes in a picture without hair and shoulders."""


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """How one photo shows the person."""

    yaw: float
    """Degrees, positive looks to the picture's right."""
    pitch: float
    brightness: float
    """Mean of the face, 0..255."""
    light: float
    """-1 lit from the left only .. 1 from the right only."""
    background: NDArray[np.float32]
    """(64,) unit length: what colours surround the person."""
    scale: float
    """Side of the face / side of the crop."""
    grey: bool
    """Black and white."""


def shown_of(crop: Image, face: Face, frame: Frame) -> Shown:
    """How ``crop`` (R, R, 3), cut from the photo by ``frame``, shows ``face``."""
    resolution = crop.shape[0]
    level = aligned(crop, to_crop(face.landmarks, frame, resolution))
    grey = np.asarray(cv2.cvtColor(level, cv2.COLOR_RGB2GRAY), np.float32)[26:100]
    left, right = float(grey[:, 24:56].mean()), float(grey[:, 56:88].mean())
    return Shown(
        face.yaw,
        face.pitch,
        float(grey[:, 24:88].mean()),
        (right - left) / max(right + left, 1.0),
        _background(crop, box_to_crop(face.bbox, frame, resolution)),
        face.size / frame.side,
        colour(level)[0] < LIMITS.grey,
    )


def _background(crop: Image, box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Square roots of the colour histogram (64,) of ``crop`` left, right and above of the head at ``box``; their product is 1 for the same."""
    small = cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA)
    x0, y0, x1, y1 = np.asarray(box) * 64 / crop.shape[0]
    hair = 0.35 * float(y1 - y0)
    across, down = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
    head = (across > x0 - hair) & (across < x1 + hair) & (down > y0 - hair)
    outside = ~head & (down < max(y1, 16))
    if np.count_nonzero(outside) < 64:
        outside = ~((across > x0) & (across < x1) & (down > y0))
    bins = (small[outside] // 64).astype(np.int64) @ np.array([16, 4, 1])
    share = np.bincount(bins, minlength=64).astype(np.float32) / max(len(bins), 1)
    return np.sqrt(share)


def advice(seen: Sequence[Shown]) -> list[str]:
    """Sentences about the accepted photos ``seen`` as a whole: how many, what to expect of them, and which others would help."""
    count = len(seen)
    if not count:
        return ["No photo can be used. Add photos that show the face large, sharp and uncovered."]
    said = []
    if count == 1:
        said.append(
            "One photo is enough to go on, but the portraits will keep its pose, light and expression: "
            f"{ENOUGH - 1} to {PLENTY - 1} more make a likeness that holds from other sides."
        )
    elif count < ENOUGH:
        more = f"{ENOUGH - count} to {PLENTY - count} more would help"
        said.append(f"{count} photos are enough to go on, but the likeness will be limited: {more}.")
    elif count <= PLENTY:
        said.append(f"{count} photos are enough for a likeness that holds from other sides too.")
    else:
        said.append(f"{count} photos are plenty: more of the same would change little.")
    return [*said, *_sides(seen), *_surroundings(seen), *_colours(seen)]


def _sides(seen: Sequence[Shown]) -> list[str]:
    count = len(seen)
    if count < 3:
        return []
    right, left = sum(s.yaw >= SIDE for s in seen), sum(s.yaw <= -SIDE for s in seen)
    wanted = min(MOST_SIDES, max(2, round(SIDE_SHARE * count))) - right - left
    if wanted > 0:
        views = "one more side view" if wanted == 1 else f"{wanted} more side views"
        straight = "all look" if not right + left else f"all but {'one' if right + left == 1 else right + left} look"
        return [f"{views[0].upper()}{views[1:]} would help ({straight} straight at the camera)."]
    if count >= ENOUGH and right + left > MOST_SIDES and not (right and left):
        return ["All side views show the same side of the face: one or two of the other side would help."]
    if right + left == count >= ENOUGH:
        return ["No photo shows the face from the front: one or two would help."]
    return []


def _surroundings(seen: Sequence[Shown]) -> list[str]:
    said: list[str] = []
    if len(seen) >= 3:
        views = np.stack([s.background for s in seen])
        alike = (views @ views.T)[np.triu_indices(len(seen), 1)]
        steady = float(np.std([s.brightness for s in seen])) < SAME_BRIGHTNESS
        lights = [s.light for s in seen]
        if float(np.median(alike)) > SAME_PLACE and steady and max(lights) - min(lights) < SAME_LIGHT:
            said.append(
                "All photos seem to have been taken in the same place and light: a few from elsewhere keep both from becoming part of the person."
            )
    if len(seen) >= 3 and min(s.scale for s in seen) > CLOSE_UP:
        said.append("All crops show little more than the face: a wider crop or photos from farther away also teach hair and shoulders.")
    return said


def _colours(seen: Sequence[Shown]) -> list[str]:
    grey = sum(s.grey for s in seen)
    if grey == len(seen):
        what = "The photo is" if grey == 1 else "All photos are"
        return [f"{what} black and white: the colours of hair, eyes and skin will be guessed. One colour photo settles them."]
    if grey * 3 >= len(seen):
        return [f"{grey} of {len(seen)} photos are black and white: the portraits may turn out pale."]
    return []
