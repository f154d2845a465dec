"""Scores generated portraits against the person's photos and puts the best first. Nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facechain_ext.faces.types import Embedding, Image
from facechain_ext.ports import FaceAnalyzer


@dataclass(frozen=True, slots=True)
class Score:
    """How one portrait did."""

    likeness: float | None
    """Cosine similarity of its largest face to the person, -1..1; None without a face."""
    faces: int


def score(image: Image, analyzer: FaceAnalyzer, person: Embedding) -> Score:
    """Detect and embed the largest face of ``image`` and compare it with the person's mean embedding."""
    faces = analyzer.detect(image)
    if not faces:
        return Score(None, 0)
    return Score(float(np.dot(analyzer.embed(image, faces[0]), person)), len(faces))


def is_flagged(result: Score, min_likeness: float) -> bool:
    """True when there is not exactly one face, or it is less like the person than wanted."""
    return result.faces != 1 or result.likeness is None or result.likeness < min_likeness


def order(scores: Sequence[Score], min_likeness: float) -> list[int]:
    """Indices best first: unflagged before flagged, then by likeness; equals keep their order."""

    def key(i: int) -> tuple[bool, float]:
        likeness = scores[i].likeness
        return is_flagged(scores[i], min_likeness), -(likeness if likeness is not None else -2.0)

    return sorted(range(len(scores)), key=key)
