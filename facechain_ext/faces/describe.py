"""What a photo shows beside the person, in the words prompts use: only what can be measured, no network.

Captions say it so that the LoRA does not tie it to the person. Everything is said as the picture shows it: left is the picture's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.geometry import Frame, box_to_crop
from facechain_ext.faces.quality import LIMITS, Measures
from facechain_ext.faces.types import Face, Image, Mask


@dataclass(frozen=True, slots=True)
class Bounds:
    """The thresholds, all in one place."""

    close_up: float = 0.55
    """Of the face's side in the crop's width. Crops of 1.5 face sides lie at 0.67, of 2.4 at 0.42, of FaceChain's 3.286 at 0.30."""
    shoulders: float = 0.34
    upper_body: float = 0.20
    turned: float = 16.0
    """Degrees of yaw. Half of ORL's views lie within 10, as YuNet's landmarks say."""
    side: float = 38.0
    nod: float = 20.0
    """Degrees of pitch."""
    tilt: float = 14.0
    """Degrees of roll."""
    dim: float = 70.0
    """Of the face's mean brightness, 0..255. ORL: 88 to 156; night photos of the colour set: 26 to 66."""
    bright: float = 195.0
    uneven: float = 0.16
    """Difference of the face's two halves over their sum. ORL, lit from the front: at most 0.14."""
    colourless: float = 0.02
    """Mean distance of the colour channels from their mean, over the mean brightness. A dark colour photo: 0.1."""
    plain: float = 4.5
    """Mean step between neighbouring pixels behind the person, 0..255, at 128 px. Walls 1.7 to 3.7; a room with flags and curtains 6 to 9."""
    busy: float = 9.0
    white: float = 225.0
    black: float = 35.0


BOUNDS = Bounds()
BEHIND = 0.08
"""Share of the crop that must lie behind the person for anything to be said of it."""


def describe(crop: Image, face: Face, frame: Frame, figure: Mask | None = None) -> list[str]:
    """Tags for ``crop`` (h, w, 3), cut by ``frame`` around ``face``; ``figure`` (h, w) 0..255 is the person's mask, for the background."""
    tags = [_framing(face, frame), *_view(face, frame), *_light(crop, face, frame)]
    if _colourless(crop):
        tags.append("black and white photo")
    return tags + (background(crop, figure) if figure is not None else [])


def _framing(face: Face, frame: Frame) -> str:
    share = face.size / min(frame.side, frame.height)
    for least, words in ((BOUNDS.close_up, "close-up"), (BOUNDS.shoulders, "head and shoulders"), (BOUNDS.upper_body, "upper body")):
        if share >= least:
            return words
    return "wide shot"


def _view(face: Face, frame: Frame) -> list[str]:
    said = []
    side = "left" if face.yaw < 0 else "right"
    if abs(face.yaw) >= BOUNDS.side:
        said.append(f"side view, facing {side}")
    elif abs(face.yaw) >= BOUNDS.turned:
        said.append(f"head turned to the {side}")
    else:
        said.append("front view")
    if abs(face.pitch) >= BOUNDS.nod:
        said.append("looking up" if face.pitch > 0 else "looking down")
    # A crop that was turned upright shows a level head.
    if abs(face.roll - frame.angle) >= BOUNDS.tilt:
        said.append("tilted head")
    return said


def glasses(measures: Measures) -> list[str]:
    """``glasses`` or ``sunglasses`` where they are seen; nothing of heads turned so far that the bridge of the nose does not show."""
    if measures.eyes < LIMITS.eyes:
        return ["sunglasses"]
    return ["glasses"] if abs(measures.yaw) <= LIMITS.bridge_yaw and measures.bridge > LIMITS.bridge else []


def _light(crop: Image, face: Face, frame: Frame) -> list[str]:
    height, width = crop.shape[:2]
    limit = np.array([width, height, width, height])
    x0, y0, x1, y1 = np.clip(np.rint(box_to_crop(face.bbox, frame, width)), 0, limit).astype(int)
    if x1 - x0 < 8 or y1 - y0 < 8:
        return []
    grey = np.asarray(cv2.cvtColor(np.ascontiguousarray(crop[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY), np.float64)
    said = []
    mean = float(grey.mean())
    if mean < BOUNDS.dim:
        said.append("dim light")
    elif mean > BOUNDS.bright:
        said.append("bright light")
    # Of a head turned away one half shows more hair than skin.
    if abs(face.yaw) < BOUNDS.turned:
        half = grey.shape[1] // 2
        left, right = float(grey[:, :half].mean()), float(grey[:, -half:].mean())
        balance = (left - right) / max(left + right, 1.0)
        if abs(balance) >= BOUNDS.uneven:
            said.append(f"light from the {'left' if balance > 0 else 'right'}")
    return said


def _colourless(crop: Image) -> bool:
    channels = crop.astype(np.int16)
    spread = float(np.abs(channels - channels.mean(axis=2, keepdims=True)).mean())
    return spread < BOUNDS.colourless * max(float(channels.mean()), 1.0)


def background(crop: Image, figure: Mask) -> list[str]:
    """At most one tag for what lies behind the person, whose mask is ``figure`` (h, w)."""
    size = (128, max(8, round(128 * crop.shape[0] / crop.shape[1])))
    small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    behind = np.asarray(cv2.resize(figure, size, interpolation=cv2.INTER_AREA)) < 16
    if behind.mean() < BEHIND:
        return []
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float64)
    level, step = float(grey[behind].mean()), _steps(grey, behind)
    if step >= BOUNDS.busy:
        return ["busy background"]
    if step >= BOUNDS.plain:
        return []
    if level >= BOUNDS.white:
        return ["white background"]
    return ["black background"] if level <= BOUNDS.black else ["plain background"]


def _steps(grey: NDArray[np.float64], behind: NDArray[np.bool_]) -> float:
    """Mean difference of neighbours that both lie behind the person."""
    across, down = np.abs(np.diff(grey, axis=1)), np.abs(np.diff(grey, axis=0))
    both_across, both_down = behind[:, 1:] & behind[:, :-1], behind[1:] & behind[:-1]
    count = int(both_across.sum() + both_down.sum())
    return float(across[both_across].sum() + down[both_down].sum()) / max(count, 1)
