"""How good a photo of a face is for training: measures, one table of thresholds, a score 0..1."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.geometry import Frame, box_to_crop
from facechain_ext.faces.types import Face, Image, Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds, all in one place. Measured values are in the comment of each."""

    upscale: float = 3.0
    """Largest enlargement of a crop. At 3x a face keeps a ninth of the pixels it shows; more teaches blur."""
    upscale_worth_saying: float = 1.5
    face_side: float = 36.0
    """px; below, the 112 px the embedder wants are mostly invented."""
    sharpness: float = 0.28
    """ORL: 0.46 to 0.74; blurred with sigma 1 px 0.34 to 0.57, with 2 px (of a 75 px face) 0.22 to 0.39, median 0.31,
    with 3 px at most 0.29."""
    dark: float = 60.0
    """Of the 95th percentile: highlights, so that dark skin is not taken for a dark photo. ORL: 136 to 210."""
    bright: float = 200.0
    """Of the 5th percentile. ORL: 29 to 88."""
    contrast: float = 24.0
    """Between the two. ORL: at least 98."""
    yaw: float = 65.0
    """Degrees; the far eye is hidden beyond."""
    pitch: float = 50.0
    score: float = 0.60
    """Detector confidence. YuNet gives the 400 ORL photos at least 0.90, face-filling squares at least 0.87."""


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured on one face in its crop."""

    sharpness: float
    """0 blurred .. 1 crisp, at the size the face has in the crop."""
    low: float
    """5th percentile of the face's brightness, 0..255."""
    high: float
    """95th percentile."""
    face_side: float
    """px in the photo."""
    upscale: float
    """Crop px per photo px; above 1 the crop is enlarged."""
    yaw: float
    pitch: float
    score: float
    """Detector confidence 0..1."""


def measure(crop: Image, face: Face, frame: Frame) -> Measures:
    """Measure ``face`` in its ``crop`` (R, R, 3), cut from the photo by ``frame``."""
    resolution = crop.shape[0]
    x0, y0, x1, y1 = np.clip(np.rint(box_to_crop(face.bbox, frame, resolution)), 0, resolution).astype(int)
    part = crop[y0 : max(y1, y0 + 8), x0 : max(x1, x0 + 8)]
    grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY), np.float32)
    low, high = np.percentile(grey, [5, 95])
    upscale = resolution / frame.side
    if upscale > 1:  # enlargement has its own limit; do not count it as blur as well
        size = (max(8, round(grey.shape[1] / upscale)), max(8, round(grey.shape[0] / upscale)))
        fine = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)
    else:
        fine = grey
    return Measures(sharpness(fine), float(low), float(high), face.size, upscale, face.yaw, face.pitch, face.score)


def sharpness(grey: NDArray[np.float32]) -> float:
    """1 - blur of ``grey`` (H, W): how much contrast between neighbours a further blur takes away.

    Source: Crete, Dolmiere, Ladret and Nicolas, "The blur effect", 2007; box of 9 px.
    """
    worst = 0.0
    for size, axis in (((9, 1), 1), ((1, 9), 0)):
        before = np.abs(np.diff(grey, axis=axis))
        after = np.abs(np.diff(cv2.blur(grey, size), axis=axis))
        total = float(before.sum())
        lost = float(np.maximum(before - after, 0).sum())
        worst = max(worst, 1.0 if total < 1e-3 else (total - lost) / total)
    return 1.0 - worst


def score(found: Measures) -> float:
    """Quality 0..1: the weakest property counts as much as all others together."""
    parts = (
        _ramp(found.sharpness, LIMITS.sharpness - 0.15, LIMITS.sharpness + 0.30),
        min(
            _ramp(found.high, LIMITS.dark, 140), _ramp(-found.low, -LIMITS.bright, -120), _ramp(found.high - found.low, LIMITS.contrast, 80)
        ),
        _ramp(-abs(found.yaw), -LIMITS.yaw, -15) * _ramp(-abs(found.pitch), -LIMITS.pitch, -15),
        _ramp(-found.upscale, -LIMITS.upscale, -1.0),
        _ramp(found.score, LIMITS.score - 0.1, 0.9),
    )
    return 0.5 * min(parts) + 0.5 * sum(parts) / len(parts)


def _ramp(value: float, zero: float, one: float) -> float:
    return float(min(1.0, max(0.0, (value - zero) / (one - zero))))


def faults(found: Measures) -> list[tuple[Reason, str]]:
    """Everything that rejects the photo, each with a sentence that says what to do."""
    said: list[tuple[Reason, str]] = []
    if found.face_side < LIMITS.face_side or found.upscale > LIMITS.upscale:
        said.append((Reason.TOO_SMALL, f"The face is only {found.face_side:.0f} px large. Use a photo taken closer, or its original size."))
    if found.score < LIMITS.score:
        said.append((Reason.LOW_CONFIDENCE, "It is not sure that this is a face. Use a photo where the face is uncovered and well lit."))
    if found.high < LIMITS.dark or (found.high - found.low < LIMITS.contrast and found.high < 128):
        said.append((Reason.TOO_DARK, "The face is too dark to see its features. Brighten the photo or take one in better light."))
    elif found.low > LIMITS.bright or found.high - found.low < LIMITS.contrast:
        said.append((Reason.TOO_BRIGHT, "The face is washed out. Use a photo with softer light or less exposure."))
    elif found.sharpness < LIMITS.sharpness:
        said.append((Reason.BLURRED, "The face is blurred. Use a photo in focus, taken with a steady hand."))
    if abs(found.yaw) > LIMITS.yaw or abs(found.pitch) > LIMITS.pitch:
        said.append((Reason.EXTREME_POSE, "The head is turned so far that half of the face is hidden. Use a photo where both eyes show."))
    return said


def remarks(found: Measures) -> list[tuple[Reason, str]]:
    """What is worth knowing about a photo that is accepted all the same."""
    if found.upscale > LIMITS.upscale_worth_saying:
        return [(Reason.TOO_SMALL, f"The face is small and was enlarged {found.upscale:.1f} times; a closer photo would train sharper.")]
    return []
