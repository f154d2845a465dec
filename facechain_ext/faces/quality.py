"""How good a photo of a face is for training: measures, one table of thresholds, a score 0..1."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.geometry import Frame, Points, box_to_crop, to_crop
from facechain_ext.faces.types import Face, Image, Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds, all in one place. Measured values are in the comment of each."""

    upscale: float = 3.0
    """Largest enlargement of a crop. At 3x a face keeps a ninth of the pixels it shows; more teaches blur."""
    upscale_worth_saying: float = 1.5
    face_side: float = 36.0
    """px; below, the 112 px the embedder wants are mostly invented."""
    sharpness: float = 0.30
    """ORL: 0.46 to 0.74, colour photos 0.33 to 0.70; ORL blurred with sigma 1 px 0.37 to 0.60, with 2 px (of a 75 px face) 0.26 to 0.41,
    median 0.34, with 3 px at most 0.29; enlarged twice without new detail 0.33 to 0.58."""
    dark: float = 60.0
    """Of the 95th percentile: highlights, so that dark skin is not taken for a dark photo. ORL: 135 to 217, colour photos at least 108,
    ORL at half the brightness 70 to 106, at a quarter 35 to 53."""
    bright: float = 200.0
    """Of the 5th percentile. ORL: 24 to 107, colour photos at most 90."""
    contrast: float = 24.0
    """Between the two. ORL: at least 98."""
    yaw: float = 65.0
    """Degrees; the far eye is hidden beyond."""
    pitch: float = 50.0
    score: float = 0.78
    """Detector confidence. ORL and colour photos at least 0.87, with masks, hands or glasses drawn on at least 0.81; what was no face
    (the moon, an engine, galaxies) at most 0.76."""
    eyes: float = 0.58
    """Brightness around the eyes, of the cheeks' brightness. ORL 0.60 to 1.06, a third of them with glasses, colour photos 0.59 to 1.01;
    with dark glasses drawn on 0.11 to 0.44, with brown ones 0.27 to 0.64 (99 %)."""
    eyes_high: float = 1.15
    """Above, the cheeks are darker than the eyes: a black mask, median 2.0."""
    mouth: float = 0.062
    """Detail at the mouth, of the sharpness. ORL at least 0.068, blurred with 1 px 0.065, colour photos 0.078; surgical masks drawn on
    0.01 to 0.06 (99 %), a hand 0.01 to 0.03."""
    bridge: float = 0.30
    """The line of glasses across the bridge of the nose. Of 119 ORL photos with glasses 97 % have more, of 281 without 1.8 %."""
    bridge_yaw: float = 35.0
    """Degrees beyond which the bridge is not seen."""
    mouth_side: float = 64.0
    """px of a face in its crop below which a mouth has too little detail to tell it from a mask."""
    grey: float = 2.0
    """Chroma of the face (CIELAB). Colour photos of skin: 4.3 to 40; black and white: 0, as a JPEG at most 1."""
    saturated: float = 50.0
    """Chroma; colour photos at most 40."""
    hue: tuple[float, float] = (20.0, 95.0)
    """Degrees of CIELAB hue of skin, of whatever tone: 35 to 83 in 43 of 45 colour faces, below 0 in pink stage light."""
    tint: float = 2.0
    """Spread of the colours beyond what brightness alone explains. Colour photos at least 3.2; sepia prints
    saved as JPEG 0.4 to 0.9, of a 60 px face 1.9."""


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
    eyes: float = 1.0
    """Brightness around the eyes, of the cheeks' brightness; dark glasses make it small."""
    mouth: float = 1.0
    """Detail at the mouth, of the skin's brightness; a mask or a hand has next to none."""
    chroma: float = 20.0
    """Median CIELAB chroma of the face, 0 grey .. 100."""
    hue: float = 55.0
    """CIELAB hue of the face's median colour, degrees -180..180; red 40, yellow 100, green 136, blue -54."""
    tint: float = 5.0
    """Spread of the colours (CIELAB) that brightness does not explain: next to 0 in a print of one colour, sepia for example."""
    bridge: float = 0.0
    """The line across the bridge of the nose, of the skin's brightness; glasses have one."""


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
    level = aligned(crop, to_crop(face.landmarks, frame, resolution))
    eyes, mouth = uncovered(level, face.yaw)
    return Measures(
        sharpness(fine), float(low), float(high), face.size, upscale, face.yaw, face.pitch, face.score, eyes, mouth, *colour(level), bridge(level)
    )


LEVEL = 112
MARKS = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
"""Where eyes, nose and mouth corners lie in a levelled face of 112 px. Source: ArcFace's alignment (Deng et al. 2019)."""


EYE_DISTANCE = float(MARKS[1, 0] - MARKS[0, 0])


def aligned(crop: Image, landmarks: Points, side: int = LEVEL, eyes: float = EYE_DISTANCE) -> Image:
    """The face (side, side, 3) with level eyes: ``crop`` (R, R, 3) moved, turned and scaled so that ``landmarks`` (5, 2) meet ``MARKS``.

    Another distance between the ``eyes``, px, shows more or less around the face, whose middle stays where it is.
    """
    x, y = np.asarray(landmarks, np.float64).T
    one, none = np.ones(len(x)), np.zeros(len(x))
    rows = np.concatenate([np.stack([x, -y, one, none], axis=1), np.stack([y, x, none, one], axis=1)])
    marks = (MARKS - LEVEL / 2) * (eyes / EYE_DISTANCE) + side / 2
    a, b, left, top = np.linalg.lstsq(rows, marks.T.ravel(), rcond=None)[0]
    shrink = max(1.0, 1 / max(float(np.hypot(a, b)), 1e-3))  # warping alone would alias
    smaller = max(8, round(crop.shape[0] / shrink))
    part = cv2.resize(crop, (smaller, smaller), interpolation=cv2.INTER_AREA) if shrink > 1 else crop
    scale = crop.shape[0] / part.shape[0]
    matrix = np.array([[a * scale, -b * scale, left], [b * scale, a * scale, top]])
    return np.asarray(cv2.warpAffine(part, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def uncovered(level: Image, yaw: float) -> tuple[float, float]:
    """``Measures.eyes`` and ``Measures.mouth`` of a levelled face (112, 112, 3) that looks aside by ``yaw`` degrees."""
    grey = np.asarray(cv2.GaussianBlur(cv2.cvtColor(level, cv2.COLOR_RGB2GRAY), (0, 0), 1.0), np.float32)
    cheeks = _cheeks(grey)
    skin = max(float(np.percentile(cheeks, 60)), 1.0)
    # The brightest quarter: lids and the skin around an eye are as light as cheeks, behind dark glasses nothing is.
    eyes = [min(float(np.percentile(grey[y - 9 : y + 10, x - 9 : x + 10], 75)) for y in (48, 52, 56)) / skin for x in (38, 74)]
    light = (eyes[0] if yaw > 0 else eyes[1]) if abs(yaw) > NEAR_EYE else sum(eyes) / 2
    around = np.concatenate([grey[24:38, 40:72].ravel(), cheeks])
    # Twice, because landmarks on a mask may lie too far apart; the upper lip has less to show.
    detail = min(_detail(grey[80:100, 44:68]), UPPER_LIP * _detail(grey[70:90, 44:68]))
    return light, detail / max(float(np.percentile(around, 60)), 1.0)


def _cheeks(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of nose and cheeks in a levelled face (112, 112)."""
    return np.concatenate([grey[60:74, 50:62].ravel(), grey[66:80, 26:42].ravel(), grey[66:80, 70:86].ravel()])


BRIDGE = 5
"""px of a levelled face that the bridge of glasses is wide at least."""


def bridge(level: Image) -> float:
    """``Measures.bridge`` of a levelled face (112, 112, 3): how dark or bright the clearest thin line across the root of the nose is."""
    grey = np.asarray(cv2.GaussianBlur(cv2.cvtColor(level, cv2.COLOR_RGB2GRAY), (0, 0), 0.4), np.float32)
    rows = cv2.blur(grey[40:64, 49:63], (BRIDGE, 1))[:, BRIDGE // 2 : -(BRIDGE // 2)]
    line = np.abs(2 * rows[2:-2] - rows[:-4] - rows[4:])
    return float(line.max()) / max(float(np.percentile(_cheeks(grey), 60)), 1.0)


def _detail(grey: NDArray[np.float32]) -> float:
    """Mean difference of neighbours in ``grey`` (H, W), along and across."""
    return float(np.abs(np.diff(grey, axis=0)).mean() + np.abs(np.diff(grey, axis=1)).mean())


UPPER_LIP = 1.25
"""The least detail of ORL and of colour photos is 0.068 at the mouth and 0.052 just above."""
NEAR_EYE = 20.0
"""Degrees of yaw beyond which the far eye is left out: beside it lies hair or background."""


CAST = 10.0
"""Chroma above which the hue of a face means something."""


def colour(level: Image) -> tuple[float, float, float]:
    """``Measures.chroma``, ``hue`` and ``tint`` of a levelled face (112, 112, 3), forehead to mouth."""
    part = np.ascontiguousarray(cv2.GaussianBlur(level, (0, 0), 1.5)[26:100, 26:86]).astype(np.float32) / 255
    light, a, b = np.moveaxis(np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2LAB), np.float64), 2, 0)
    terms = np.stack([(light.ravel() / 100) ** k for k in range(4)], axis=1)
    both = np.stack([a.ravel(), b.ravel()], axis=1)
    rest = both - terms @ np.linalg.lstsq(terms, both, rcond=None)[0]
    hue = float(np.degrees(np.arctan2(np.median(b), np.median(a))))
    return float(np.median(np.hypot(a, b))), hue, float(np.sqrt((rest**2).sum(axis=1).mean()))


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
    if found.high < LIMITS.dark or (found.high - found.low < LIMITS.contrast and found.high < 128):
        said.append((Reason.TOO_DARK, "The face is too dark to see its features. Brighten the photo or take one in better light."))
    elif found.low > LIMITS.bright or found.high - found.low < LIMITS.contrast:
        said.append((Reason.TOO_BRIGHT, "The face is washed out. Use a photo with softer light or less exposure."))
    elif found.sharpness < LIMITS.sharpness:
        said.append((Reason.BLURRED, "The face is blurred. Use a photo in focus, taken with a steady hand."))
    elif found.score < LIMITS.score:
        said.append((Reason.LOW_CONFIDENCE, "This may not be a face at all. Use a photo where the face is uncovered and well lit."))
    else:
        said += _covered(found)
    if abs(found.yaw) > LIMITS.yaw or abs(found.pitch) > LIMITS.pitch:
        said.append((Reason.EXTREME_POSE, "The head is turned so far that half of the face is hidden. Use a photo where both eyes show."))
    return said


SHARP_ENOUGH = 0.2
"""Half of this above ``LIMITS.sharpness`` the detail at the mouth counts in full, at the limit itself by half."""


def _covered(found: Measures) -> list[tuple[Reason, str]]:
    """What hides a part of the face; only told of sharp, well lit ones, since blur and darkness hide the same details."""
    if found.eyes < LIMITS.eyes:
        return [(Reason.OCCLUDED, "The eyes are covered, it seems by dark glasses. Use a photo that shows the eyes.")]
    # Near the limit of sharpness an uncovered mouth has little detail too: only next to none tells.
    sure = min(1.0, (found.sharpness - LIMITS.sharpness) / SHARP_ENOUGH + 0.5)
    shown = found.face_side * min(1.0, found.upscale) >= LIMITS.mouth_side
    if (shown and found.mouth < LIMITS.mouth * found.sharpness * sure) or found.eyes > LIMITS.eyes_high:
        return [(Reason.OCCLUDED, "Mouth or cheeks are covered, it seems by a mask or a hand. Use a photo that shows the whole face.")]
    return []


def remarks(found: Measures) -> list[tuple[Reason, str]]:
    """What is worth knowing about a photo that is accepted all the same."""
    said: list[tuple[Reason, str]] = []
    if found.upscale > LIMITS.upscale_worth_saying:
        text = f"The face is small and was enlarged {found.upscale:.1f} times; a closer photo would train sharper."
        said.append((Reason.TOO_SMALL, text))
    if found.chroma < LIMITS.grey:
        said.append((Reason.GREY, "The photo is black and white; colours of skin, hair and eyes have to come from other photos."))
    elif found.tint < LIMITS.tint:
        said.append((Reason.FILTERED, "The photo has one colour only, like an old print; colours have to come from other photos."))
    elif found.chroma > LIMITS.saturated or (found.chroma > CAST and not LIMITS.hue[0] <= found.hue <= LIMITS.hue[1]):
        text = "The face has an unnatural colour, by a filter or coloured light; the portraits may take it on. A photo in plain light is better."
        said.append((Reason.FILTERED, text))
    return said
