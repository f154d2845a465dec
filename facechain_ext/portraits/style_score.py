"""How far pictures have gone from a plain photo to a style: a linear discriminant over colour, tone and edges.

It is fitted on examples: pictures in the style and pictures that are not. It sees no face and no content, only how a picture looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facechain_ext.errors import FileFormatError
from facechain_ext.faces.types import Image
from facechain_ext.workspace import read_json, write_json

SCHEMA = 1
SIDE = 64
"""Pictures are looked at in this size, px: a style is seen from a distance."""
FEATURES = 30
"""How many numbers ``features`` gives."""
SHRINKAGE = 0.1
"""Share of the mean variance added to the covariance (Ledoit and Wolf 2004 in its simplest form): few examples, many features."""


@dataclass(frozen=True, slots=True, eq=False)
class StyleStatistic:
    """score = features . direction + offset: 0 is the mean of the plain examples, 1 that of the styled ones."""

    direction: np.ndarray
    """(F,) float64."""
    offset: float

    def score(self, image: Image) -> float:
        """Where ``image`` (H, W, 3) lies between plain and styled, cut to 0..1."""
        return float(np.clip(features(image) @ self.direction + self.offset, 0.0, 1.0))


def features(image: Image) -> np.ndarray:
    """(F,) float64: Lab mean, spread and skew; histograms of tone, chroma and edge strength; how few tones there are."""
    small = cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3) / 100
    mean, spread = lab.mean(axis=0), lab.std(axis=0)
    skew = (((lab - mean) / (spread + 0.02)) ** 3).mean(axis=0)
    tone = lab[:, 0].reshape(SIDE, SIDE)
    edges = np.hypot(cv2.Sobel(tone, cv2.CV_32F, 1, 0), cv2.Sobel(tone, cv2.CV_32F, 0, 1))
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    histograms = [
        np.histogram(values, bins, (0, top))[0] / values.size
        for values, bins, top in ((tone.ravel(), 8, 1.0), (chroma, 6, 0.9), (edges.ravel(), 6, 2.0))
    ]
    counts = np.histogram(tone, 32, (0, 1))[0] / tone.size
    entropy = -(counts * np.log(counts + 1e-9)).sum()
    return np.concatenate([mean, spread, skew, *histograms, [entropy]]).astype(np.float64)


def fit(styled: Sequence[Image], plain: Sequence[Image]) -> StyleStatistic:
    """Fisher's linear discriminant between two sets of pictures, at least two of each.

    Raises:
        ValueError: with fewer.
    """
    if min(len(styled), len(plain)) < 2:
        raise ValueError("a style statistic needs at least two pictures of each kind")
    a, b = np.stack([features(i) for i in styled]), np.stack([features(i) for i in plain])
    scale = np.concatenate([a, b]).std(axis=0) + 1e-6
    a, b = a / scale, b / scale
    within = (np.cov(a.T) + np.cov(b.T)) / 2
    within += SHRINKAGE * np.eye(len(scale)) * max(float(np.trace(within)) / len(scale), 1e-6)
    direction = np.linalg.solve(within, a.mean(axis=0) - b.mean(axis=0))
    low, high = float(b.mean(axis=0) @ direction), float(a.mean(axis=0) @ direction)
    span = max(high - low, 1e-9)
    return StyleStatistic(direction / scale / span, -low / span)


def save_statistic(statistic: StyleStatistic, file: Path, note: str) -> None:
    """Write ``statistic`` as JSON; ``note`` says what it was fitted on."""
    direction = [float(f"{x:.6g}") for x in statistic.direction]
    write_json(file, {"schema": SCHEMA, "note": note, "direction": direction, "offset": statistic.offset}, "the style statistic")


def load_statistic(file: Path) -> StyleStatistic:
    """Read what ``save_statistic`` wrote.

    Raises:
        FileFormatError: when it is damaged or from a newer version.
    """
    data: dict[str, Any] = read_json(file, SCHEMA)
    try:
        direction, offset = np.asarray(data["direction"], np.float64), float(data["offset"])
    except (KeyError, TypeError, ValueError):
        direction, offset = np.zeros(0), 0.0
    if direction.shape != (FEATURES,) or not np.isfinite([*direction, offset]).all():
        raise FileFormatError(
            f"{file.name} is damaged: a style statistic holds {FEATURES} numbers and an offset. Fit it again or delete it."
        )
    return StyleStatistic(direction, offset)
