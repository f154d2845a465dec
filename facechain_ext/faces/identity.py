"""Whose face is whose: the person a set of photos agrees on, and the strangers in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.types import Embedding

SAME_PERSON = {
    "yunet_sface": 0.40,
    "buffalo_l": 0.35,
    "antelopev2": 0.35,
}
"""Cosine above which two faces are one person's, by pack. yunet_sface: on all 79,800 pairs of ORL same 0.41 to 0.97, different at
most 0.44, equal error rate 0.01 % at 0.41; a little below, because the same person's colour photos differ more than ORL's. The others as
their authors advise, not measured here."""
UNKNOWN_PACK = 0.40
TIE = 0.10
"""Two faces of one photo this near in likeness are both the person (mirror, collage, twins): size and quality choose."""
MAX_PEOPLE = 12
"""People told apart in one set; whoever is in fewer photos than that many others is nobody's rival."""


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
    alike: tuple[int, ...] = ()
    """How many faces of each photo are the person: two in front of a mirror, or of twins."""
    rivals: int = 0
    """Photos that hold the one other person seen most often; as many as hold the person means that the set does not tell whose it is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Faces:
    """All faces of a set, flat."""

    vectors: NDArray[np.float32]
    """(F, D)."""
    photo: NDArray[np.int64]
    """(F,) index of the photo, rising."""
    number: NDArray[np.int64]
    """(F,) index within the photo."""
    weight: NDArray[np.float32]
    """(F,)."""


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
    photos: Sequence[Sequence[Embedding]],
    weights: Sequence[Sequence[float]],
    threshold: float,
    fixed: Mapping[int, int | None] | None = None,
) -> Choice:
    """Find the person most photos show and pick that person's face in each.

    The faces are told apart into people; the one in most photos is the person, between equals the one with the larger ``weights``
    (size or quality, > 0). Each photo is then judged by the mean of the others: its face must be like that, and more so than
    like anyone else who is in two photos or more.

    Args:
        photos: unit-length embeddings of the faces of each photo, at least one each.
        weights: parallel to ``photos``.
        threshold: cosine above which two faces are one person's.
        fixed: photo index -> index of the face the user picked, None where the user says that the person is not in it. The
            picked faces decide who the person is, and stay picked.

    Raises:
        ValueError: when ``fixed`` names a photo or face that is not there.
    """
    if not photos:
        return Choice((), ())
    said = dict(fixed or {})
    for i, k in said.items():
        if not 0 <= i < len(photos) or (k is not None and not 0 <= k < len(photos[i])):
            raise ValueError("a face was picked that is not there")
    faces = _flat(photos, weights)
    picked = np.array([said.get(int(i)) == n for i, n in zip(faces.photo, faces.number, strict=True)])
    free = ~np.isin(faces.photo, np.array(list(said), np.int64))
    if picked.any():
        person = _grow(faces, mean_embedding(list(faces.vectors[picked])), threshold, picked, free)
        others = _people(faces, threshold, free & ~person)
    else:
        people = _people(faces, threshold, free)
        person, others = (people[0], people[1:]) if people else (np.zeros(len(free), bool), [])
    crowd = [other for other in others if _photos(faces, other) > 1]
    verdicts = [_judge(faces, i, person, crowd, threshold, said) for i in range(len(photos))]
    chosen = tuple(face for face, _, _ in verdicts)
    similarity = tuple(likeness for _, likeness, _ in verdicts)
    return Choice(chosen, similarity, tuple(alike for _, _, alike in verdicts), max((_photos(faces, o) for o in others), default=0))


def _flat(photos: Sequence[Sequence[Embedding]], weights: Sequence[Sequence[float]]) -> _Faces:
    return _Faces(
        np.stack([e for faces in photos for e in faces]).astype(np.float32),
        np.array([i for i, faces in enumerate(photos) for _ in faces], np.int64),
        np.array([k for faces in photos for k in range(len(faces))], np.int64),
        np.array([w for some in weights for w in some], np.float32),
    )


def _photos(faces: _Faces, members: NDArray[np.bool_]) -> int:
    return len(np.unique(faces.photo[members]))


def _people(faces: _Faces, threshold: float, free: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The people among the ``free`` faces, each as a mask (F,), whoever is in most photos first, then whoever weighs most."""
    left = free.copy()
    likeness = faces.vectors @ faces.vectors.T >= threshold
    starts = np.unique(faces.photo, return_index=True)[1]
    people: list[NDArray[np.bool_]] = []
    while left.any() and len(people) < MAX_PEOPLE:
        alike = likeness & left[None] & left[:, None]
        best = np.maximum.reduceat(np.where(alike, faces.weight[None], 0), starts, axis=1)  # (F, photos)
        votes, weight = np.count_nonzero(best, axis=1), best.sum(axis=1)
        seed = int(np.lexsort((faces.weight, weight, votes, left))[-1])
        only = np.arange(len(left)) == seed
        members = _grow(faces, faces.vectors[seed], threshold, np.zeros_like(left), left)
        members = members if members.any() else only
        people.append(members)
        left &= ~(members | only)
    heavy = [float(sum(faces.weight[m & (faces.photo == i)].max() for i in np.unique(faces.photo[m]))) for m in people]
    order = sorted(range(len(people)), key=lambda j: (-_photos(faces, people[j]), -heavy[j]))
    return [people[j] for j in order]


def _grow(faces: _Faces, template: Embedding, threshold: float, picked: NDArray[np.bool_], free: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The ``picked`` faces and all ``free`` ones like ``template``, which follows them twice so that its start does not matter."""
    members = picked
    for _ in range(3):
        members = picked | (free & (faces.vectors @ template >= threshold))
        if not members.any():
            break
        template = mean_embedding([*faces.vectors[members], *faces.vectors[picked]])
    return members


def _judge(
    faces: _Faces,
    photo: int,
    person: NDArray[np.bool_],
    crowd: Sequence[NDArray[np.bool_]],
    threshold: float,
    said: Mapping[int, int | None],
) -> tuple[int | None, float | None, int]:
    """The person's face in ``photo``, its likeness and how many are alike; no photo vouches for itself."""
    here = faces.photo == photo
    vectors, weight = faces.vectors[here], faces.weight[here]
    others = person & ~here
    lone = not others.any()
    if lone:  # the only photo of the person, if it is one
        mine = np.flatnonzero(person[here])
        pick = said.get(photo, int(mine[np.argmax(weight[mine])]) if len(mine) else None)
        alike = 0 if pick is None else int(np.count_nonzero(vectors @ vectors[pick] >= threshold))
        known = None if len(np.unique(faces.photo)) == 1 or pick is not None or not person.any() else _likeness(vectors, faces, person)
        return pick, None if known is None else float(known.max()), alike
    likeness = _likeness(vectors, faces, others)
    foreign = np.max([_likeness(vectors, faces, other & ~here) for other in crowd], axis=0) if crowd else np.full(len(vectors), -1.0)
    own = (likeness >= threshold) & (likeness >= foreign)
    if photo in said:
        pick = said[photo]
        return pick, float(likeness.max() if pick is None else likeness[pick]), max(int(own.sum()), int(pick is not None))
    if not own.any():
        return None, float(likeness.max()), 0
    near = own & (likeness >= likeness[own].max() - TIE)
    pick = int(np.flatnonzero(near)[np.argmax(weight[near])])
    return pick, float(likeness[pick]), int(own.sum())


def _likeness(vectors: NDArray[np.float32], faces: _Faces, members: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Likeness (K,) of ``vectors`` (K, D) to the mean of ``members``; -1 when there are none."""
    if not members.any():
        return np.full(len(vectors), -1.0, np.float32)
    return vectors @ mean_embedding(list(faces.vectors[members]))
