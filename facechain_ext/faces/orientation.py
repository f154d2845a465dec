"""Which way is up in a photo, by the people in it: for photos whose EXIF says nothing, or lies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from facechain_ext.faces.types import Face, Image

CERTAIN = 0.86
"""A face with this score decides by its roll. Upright ORL and colour photos 0.88 to 0.96 after the detector's close look;
what was no face (animals, cups, patterns) at most 0.81."""
LYING = 50.0
"""Degrees of roll up to which a head is tilted and the photo stands upright; people tilt their heads up to about 45."""
ORDER = (1, 3, 2)
"""Quarter turns tried when no face is certain: phones turn photos by 90 degrees more often than by 180."""
WORTH_TURNING = 0.05
"""By how much an uncertain face must score better in a turned photo than in the one as it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Upright:
    """A photo turned so that its people stand upright."""

    image: Image
    """(H, W, 3); the very same array when nothing was turned."""
    faces: list[Face]
    """Found in ``image``."""
    quarter_turns: int
    """0..3 turns of 90 degrees counterclockwise that made ``image`` of the photo, as ``numpy.rot90`` counts."""


def upright(image: Image, detect: Callable[[Image], list[Face]]) -> Upright:
    """Turn ``image`` (H, W, 3) by 0, 90, 180 or 270 degrees so that the people in it stand upright.

    A photo that stands upright and shows a face costs one call of ``detect``, one that was turned two or three, one without
    a face four. ``detect`` may report how a face is turned by its roll, over the full circle; detectors that do not
    are asked about the other turns when no face is certain.

    Args:
        detect: the faces in an image, landmarks of the person's own eyes first on the left, whatever way the face is turned.
    """
    faces = detect(image)
    turns = _vote(faces)
    if turns == 0:
        return Upright(image, faces, 0)
    looked = {0: Upright(image, faces, 0)}
    for turn in (turns, *ORDER) if turns is not None else ORDER:
        if turn in looked:
            continue
        looked[turn] = _turned(image, turn, detect)
        further = _vote(looked[turn].faces)
        if further == 0:
            return looked[turn]
        aim = None if further is None else (turn + further) % 4
        if aim is not None and aim not in looked:
            looked[aim] = _turned(image, aim, detect)
            if _vote(looked[aim].faces) == 0:
                return looked[aim]
    best = max(looked, key=lambda turn: _confidence(looked[turn]) + (WORTH_TURNING if turn == 0 else 0.0))
    return looked[best] if looked[best].faces else looked[0]


def quarter(roll: float) -> int:
    """Quarter turns counterclockwise, 0..3, that bring a head rolled by ``roll`` degrees (-180..180) upright again."""
    return 0 if abs(roll) <= LYING else round(roll / 90) % 4


def _vote(faces: list[Face]) -> int | None:
    """The turn the certain faces ask for; None when no face is certain.

    Large faces count more, and the nearer a head is to half way between two turns, the less it tells: in one of the test photos
    a woman leans her head by 43 degrees on her friend's shoulder.
    """
    votes: dict[int, float] = {}
    for face in faces:
        if face.score >= CERTAIN:
            turn = quarter(face.roll)
            clear = math.cos(2 * math.radians(face.roll - 90 * turn))
            votes[turn] = votes.get(turn, 0.0) + face.size * max(clear, 0.05)
    return max(votes, key=lambda turn: votes[turn]) if votes else None


def _confidence(seen: Upright) -> float:
    """The best score of a face that is upright in ``seen``, 0 when there is none; tilted ones count less."""
    return max((f.score * math.cos(math.radians(f.roll) / 2) for f in seen.faces if quarter(f.roll) == 0), default=0.0)


def _turned(image: Image, turn: int, detect: Callable[[Image], list[Face]]) -> Upright:
    turned = np.ascontiguousarray(np.rot90(image, turn))
    return Upright(turned, detect(turned), turn)
