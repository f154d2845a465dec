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


NOWHERE = -2.0
"""The margin of a place where its person's face is missing, not alone, or blurred: below every other."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a portrait needs so that it is not flagged."""

    likeness: float = 0.0
    """To its own person, -1..1."""
    people: int = 1
    """How many should be in it."""
    others: float = 1.0
    """To any other of several people at most."""


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
    at: tuple[int, ...] = ()
    """Likewise: how many faces there are at the place of each."""
    crisp: tuple[float | None, ...] = ()
    """Likewise: the sharpness of each one's face."""


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
    width, many = image.shape[1], len(people)
    placed = in_places(faces, width, many)
    seen = [None if face is None else analyzer.embed(image, face) for face in placed]
    each = tuple(None if e is None else float(np.dot(e, person)) for e, person in zip(seen, people, strict=True))
    others = tuple(
        -1.0 if e is None else max(float(np.dot(e, person)) for j, person in enumerate(people) if j != i) for i, e in enumerate(seen)
    )
    found = [x for x in each if x is not None]
    crisp = tuple(None if face is None else sharpness_of(image, face) for face in placed)
    likeness = min(found) if len(found) == many else None
    sharp = min((x for x in crisp if x is not None), default=None)
    at = [place_of(face, width, many) for face in faces]
    looks = style.score(image) if style is not None else None
    return Score(likeness, len(faces), sharp, looks, each, others, tuple(at.count(place) for place in range(many)), crisp)


def margins(result: Score, limits: Limits) -> tuple[float, ...]:
    """How far the face of each of several people is within ``limits``: the least of both distances, below 0 where it misses one of them."""
    found = []
    for own, other, at, crisp in zip(result.each, result.others, result.at, result.crisp, strict=True):
        there = at == 1 and crisp is not None and crisp >= BLURRED
        found.append(margin(own, other, limits) if there and own is not None else NOWHERE)
    return tuple(found)


def margin(own: float, other: float, limits: Limits) -> float:
    """How far a face is within ``limits`` that is ``own`` like its person and ``other`` like somebody else; below 0 it is not."""
    return min(own - limits.likeness, limits.others - other, own - other)


def in_places(faces: Sequence[Face], width: int, people: int) -> list[Face | None]:
    """The largest of ``faces`` in each of ``people`` equal columns of a picture ``width`` px wide, from left to right."""
    placed: list[Face | None] = [None] * people
    for face in sorted(faces, key=lambda f: f.size):
        placed[place_of(face, width, people)] = face
    return placed


def place_of(face: Face, width: int, people: int) -> int:
    """In which of ``people`` equal columns of a picture ``width`` px wide ``face`` lies, 0 the left one."""
    return min(people - 1, max(0, int(face.centre[0] * people / width)))


def sharpness_of(image: Image, face: Face) -> float:
    """How sharp ``face`` is in ``image``, 0..1."""
    x0, y0, x1, y1 = (max(0, round(float(v))) for v in face.bbox)
    part = image[y0 : max(y1, y0 + 8), x0 : max(x1, x0 + 8)]
    return quality.sharpness(np.asarray(cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2GRAY), np.float32))


def faults(result: Score, limits: Limits) -> list[str]:
    """What is wrong with a portrait, a sentence each."""
    if result.faces == 0:
        return ["No face found in it."]
    found, people = [], limits.people
    if result.faces != people:
        found.append(f"{result.faces} faces in it instead of {people}." if people > 1 else f"{result.faces} faces in it.")
    if result.likeness is None:
        found.append("Not everyone is in it.")
    elif any(other > own for own, other in zip(result.each, result.others, strict=False) if own is not None):
        found.append("Someone looks more like another of them.")
    elif result.likeness < limits.likeness:
        found.append("Below the wanted likeness.")
    elif max(result.others, default=-1.0) > limits.others:
        found.append("Someone looks too much like another of them.")
    if result.sharpness is not None and result.sharpness < BLURRED:
        found.append("The face is blurred.")
    return found


def is_flagged(result: Score, limits: Limits) -> bool:
    """True when something is wrong with it, see ``faults``."""
    return bool(faults(result, limits))


def order(scores: Sequence[Score], limits: Limits) -> list[int]:
    """Indices best first: unflagged before flagged, then by likeness, of several people by the least margin; equals keep their order."""

    def key(i: int) -> tuple[bool, float]:
        return is_flagged(scores[i], limits), -worth(scores[i], limits)

    return sorted(range(len(scores)), key=key)


def worth(result: Score, limits: Limits) -> float:
    """What portraits are compared by: the likeness, of several people the least of their ``margins``."""
    if limits.people > 1:
        return min(margins(result, limits), default=NOWHERE)
    return NOWHERE if result.likeness is None else result.likeness


def summary(scores: Sequence[Score], kept: int, limits: Limits) -> list[str]:
    """Sentences about a whole set, best first, of which the first ``kept`` are kept."""
    said = []
    if scores and all(is_flagged(s, limits) for s in scores):
        which = "The portrait is" if len(scores) == 1 else f"None of the {len(scores)} portraits is"
        wanted = "one face" if limits.people == 1 else f"{limits.people} faces"
        other = f", to the others at most {limits.others:g}" if limits.people > 1 else ""
        more = "Make more candidates" if limits.people == 1 else "Allow more tries"
        said.append(
            f"{which} {'not ' if len(scores) == 1 else ''}what was wanted ({wanted}, sharp, likeness at least {limits.likeness:g}{other}); the best "
            f"are shown all the same, marked. {more}, lower the wanted likeness, or give the face more weight."
        )
    if kept < len(scores):
        said.append(f"{len(scores)} candidates were made and the best {kept} kept; the scores and seeds of the others are in the report.")
    return said
