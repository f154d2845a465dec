"""Scores generated portraits against the photos of those who should be in them and puts the best first. Nothing is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from facechain_ext.faces import quality
from facechain_ext.faces.types import Embedding, Face, Image
from facechain_ext.portraits.style_score import StyleStatistic
from facechain_ext.ports import FaceAnalyzer

BLURRED = 0.2
"""Sharpness of a face below which a portrait is flagged; ``quality.sharpness`` has measured values."""


@dataclass(frozen=True, slots=True)
class Score:
    """How one portrait did."""

    likeness: float | None
    """Cosine similarity of its largest face to the person, -1..1; the least of them where there are several people. None without a face."""
    faces: int
    sharpness: float | None = None
    """Of the largest face, 0 blurred .. 1 crisp; None without a face. Of several people the least sharp one's."""
    style: float | None = None
    """0 a plain photo .. 1 all style; None where the style brings no way to measure it."""
    each: tuple[float | None, ...] = ()
    """Where there are several people: the likeness of each, in their order."""
    others: tuple[float, ...] = ()
    """Likewise: the likeness of each one's face to the most similar other of them, -1..1."""


def score(image: Image, analyzer: FaceAnalyzer, person: Embedding, style: StyleStatistic | None = None) -> Score:
    """Detect and embed the largest face of ``image`` and compare it with the person's mean embedding."""
    faces = analyzer.detect(image)
    looks = style.score(image) if style is not None else None
    if not faces:
        return Score(None, 0, style=looks)
    likeness = float(np.dot(analyzer.embed(image, faces[0]), person))
    return Score(likeness, len(faces), sharpness_of(image, faces[0]), looks)


def score_people(image: Image, analyzer: FaceAnalyzer, people: Sequence[Embedding], style: StyleStatistic | None = None) -> Score:
    """Compare the face at each place of ``image``, from left to right, with the mean embeddings of those who should be there."""
    faces = analyzer.detect(image)
    placed = in_places(faces, image.shape[1], len(people))
    seen = [None if face is None else analyzer.embed(image, face) for face in placed]
    each = tuple(None if e is None else float(np.dot(e, person)) for e, person in zip(seen, people, strict=True))
    others = tuple(
        -1.0 if e is None else max(float(np.dot(e, person)) for j, person in enumerate(people) if j != i) for i, e in enumerate(seen)
    )
    found = [x for x in each if x is not None]
    sharp = [sharpness_of(image, face) for face in placed if face is not None]
    likeness = min(found) if len(found) == len(people) else None
    return Score(likeness, len(faces), min(sharp, default=None), style.score(image) if style is not None else None, each, others)


def in_places(faces: Sequence[Face], width: int, people: int) -> list[Face | None]:
    """The largest of ``faces`` in each of ``people`` equal columns of a picture ``width`` px wide, from left to right."""
    placed: list[Face | None] = [None] * people
    for face in sorted(faces, key=lambda f: f.size):
        placed[min(people - 1, max(0, int(face.centre[0] * people / width)))] = face
    return placed


def sharpness_of(image: Image, face: Face) -> float:
    """How sharp ``face`` is in ``image``, 0..1."""
    x0, y0, x1, y1 = (max(0, round(float(v))) for v in face.bbox)
    part = image[y0 : max(y1, y0 + 8), x0 : max(x1, x0 + 8)]
    return quality.sharpness(np.asarray(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY), np.float32))


def faults(result: Score, min_likeness: float, people: int = 1) -> list[str]:
    """What is wrong with a portrait of ``people`` people, a sentence each."""
    if result.faces == 0:
        return ["No face found in it."]
    found = []
    if result.faces != people:
        found.append(f"{result.faces} faces in it instead of {people}." if people > 1 else f"{result.faces} faces in it.")
    if result.likeness is None:
        found.append("Not everyone is in it.")
    elif any(other > own for own, other in zip(result.each, result.others, strict=False) if own is not None):
        found.append("Someone looks more like another of them.")
    elif result.likeness < min_likeness:
        found.append("Below the wanted likeness.")
    if result.sharpness is not None and result.sharpness < BLURRED:
        found.append("The face is blurred.")
    return found


def is_flagged(result: Score, min_likeness: float, people: int = 1) -> bool:
    """True when something is wrong with it, see ``faults``."""
    return bool(faults(result, min_likeness, people))


def order(scores: Sequence[Score], min_likeness: float, people: int = 1) -> list[int]:
    """Indices best first: unflagged before flagged, then by likeness; equals keep their order."""

    def key(i: int) -> tuple[bool, float]:
        likeness = scores[i].likeness
        return is_flagged(scores[i], min_likeness, people), -(likeness if likeness is not None else -2.0)

    return sorted(range(len(scores)), key=key)


def summary(scores: Sequence[Score], kept: int, min_likeness: float, people: int = 1) -> list[str]:
    """Sentences about a whole set, best first, of which the first ``kept`` are kept."""
    said = []
    if scores and all(is_flagged(s, min_likeness, people) for s in scores):
        which = "The portrait is" if len(scores) == 1 else f"None of the {len(scores)} portraits is"
        wanted = "one face" if people == 1 else f"{people} faces"
        said.append(
            f"{which} {'not ' if len(scores) == 1 else ''}what was wanted ({wanted}, sharp, likeness at least {min_likeness:g}); the best are shown "
            "all the same, marked. Make more candidates, lower the wanted likeness, or give the face more weight."
        )
    if kept < len(scores):
        said.append(f"{len(scores)} candidates were made and the best {kept} kept; the scores and seeds of the others are in the report.")
    return said
