"""Whose face is whose: the person a set of photos agrees on, and the strangers in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facechain_ext.faces.types import Embedding

SAME_PERSON = {
    "yunet_sface": 0.40,
    "buffalo_l": 0.35,
    "antelopev2": 0.35,
}
"""Cosine above which two faces are one person's, by pack. yunet_sface: equal error rate 0.1 % at 0.38 on all 79,800 pairs of
ORL, no different pair above 0.49; the others as their authors advise, not measured here."""
UNKNOWN_PACK = 0.40


def same_person(pack: str) -> float:
    """The threshold of the pack called ``pack``."""
    return SAME_PERSON.get(pack, UNKNOWN_PACK)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Which face of each photo is the person's."""

    faces: tuple[int | None, ...]
    """Index of the chosen face of each photo; None where none is the person."""
    similarity: tuple[float | None, ...]
    """Likeness -1..1 of each photo's best face to the mean of the other chosen photos; None for the only photo."""


def mean_embedding(embeddings: Sequence[Embedding]) -> Embedding:
    """The unit-length mean (D,) of unit-length ``embeddings``, at least one.

    Raises:
        ValueError: for none.
    """
    if not embeddings:
        raise ValueError("there is no mean of no embeddings")
    total = np.sum(np.stack(embeddings).astype(np.float64), axis=0)
    return (total / max(float(np.linalg.norm(total)), 1e-12)).astype(np.float32)


def choose(
    photos: Sequence[Sequence[Embedding]], weights: Sequence[Sequence[float]], threshold: float, *, fixed: Mapping[int, int] | None = None
) -> Choice:
    """Find the person most photos show and pick that person's face in each.

    The face that is like one in most other photos is the seed; its photos' mean then decides about every photo, twice, so
    that the seed itself does not matter. Between equals the larger ``weights`` (size or quality, > 0) win.

    Args:
        photos: unit-length embeddings of the faces of each photo, at least one each.
        weights: parallel to ``photos``.
        threshold: cosine above which two faces are one person's.
        fixed: photo -> the face that is known to be the person's; these decide who the person is.
    """
    if not photos:
        return Choice((), ())
    seed = mean_embedding([photos[i][k] for i, k in fixed.items()]) if fixed else _seed(photos, weights, threshold)
    template = seed
    for _ in range(2):
        picked = [_best(faces, template) for faces in photos]
        members = [photos[i][k] for i, (k, likeness) in enumerate(picked) if likeness >= threshold]
        template = mean_embedding(members or [seed])
    return _against_others(photos, template, threshold)


def _seed(photos: Sequence[Sequence[Embedding]], weights: Sequence[Sequence[float]], threshold: float) -> Embedding:
    """The face with the most photos that hold one like it."""
    stacks = [np.stack(faces) for faces in photos]
    best: tuple[float, float, float] | None = None
    chosen = stacks[0][0]
    for i, faces in enumerate(stacks):
        likeness = np.stack([(faces @ other.T).max(axis=1) for j, other in enumerate(stacks) if j != i] or [np.zeros(len(faces))])
        votes = (likeness >= threshold).sum(axis=0)
        agreement = np.where(likeness >= threshold, likeness, 0).sum(axis=0)
        for k in range(len(faces)):
            rank = (float(votes[k]), float(agreement[k]) if votes[k] else 0.0, float(weights[i][k]))
            if best is None or rank > best:
                best, chosen = rank, faces[k]
    return chosen


def _best(faces: Sequence[Embedding], template: Embedding) -> tuple[int, float]:
    likeness = [float(face @ template) for face in faces]
    index = int(np.argmax(likeness))
    return index, likeness[index]


def _against_others(photos: Sequence[Sequence[Embedding]], template: Embedding, threshold: float) -> Choice:
    """Judge each photo by the mean of the others, so that no photo vouches for itself."""
    picked = [_best(faces, template) for faces in photos]
    members = {i: photos[i][k] for i, (k, likeness) in enumerate(picked) if likeness >= threshold}
    chosen: list[int | None] = []
    similarity: list[float | None] = []
    for i, faces in enumerate(photos):
        others = [e for j, e in members.items() if j != i]
        if not others:
            chosen.append(picked[i][0] if i in members else None)
            similarity.append(None if len(photos) == 1 else picked[i][1] if i not in members else None)
            continue
        index, likeness = _best(faces, mean_embedding(others))
        chosen.append(index if likeness >= threshold else None)
        similarity.append(likeness)
    return Choice(tuple(chosen), tuple(similarity))
