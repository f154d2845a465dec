"""How alike, how identifiable and how varied a set of portraits is: the numbers of the likeness bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facechain_ext.faces.types import Embedding, Image
from facechain_ext.ports import FaceAnalyzer


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the face models see in one picture."""

    embedding: Embedding | None
    """(D,) of the largest face, unit length; None without a face."""
    faces: int


@dataclass(frozen=True, slots=True)
class Measures:
    """Means over a set of pictures. A picture without a face counts as likeness 0 and as not identified."""

    likeness: float
    """Cosine to the person's template, -1..1."""
    p10: float
    """10th percentile of the likeness: how bad the bad ones are."""
    others: float
    """Mean likeness to the nearest other person: the one whom the set as a whole resembles most."""
    rank1: float
    """Share of pictures that are nearer to the person than to anyone else of the gallery, 0..1."""
    one_face: float
    """Share of pictures that hold exactly one face, 0..1."""
    diversity: float
    """Mean of 1 - cosine over all pairs of pictures, 0..2; 0 when all show the very same face."""
    count: int

    def as_dict(self) -> dict[str, float]:
        """Rounded to three digits, for JSON."""
        names = ("likeness", "p10", "others", "rank1", "one_face", "diversity", "count")
        return {name: round(getattr(self, name), 3) for name in names}


def see(image: Image, analyzer: FaceAnalyzer) -> Seen:
    """Detect, and embed the largest face of, ``image`` (H, W, 3)."""
    faces = analyzer.detect(image)
    return Seen(analyzer.embed(image, faces[0]) if faces else None, len(faces))


def template(seen: Sequence[Seen]) -> Embedding | None:
    """The unit mean (D,) of the embeddings there are, None when there is none."""
    found = [s.embedding for s in seen if s.embedding is not None]
    if not found:
        return None
    mean = np.mean(found, axis=0)
    return (mean / np.linalg.norm(mean)).astype(np.float32)


def measure(seen: Sequence[Seen], person: Embedding, others: Mapping[str, Embedding]) -> Measures:
    """Measure pictures against the template of their person and those of other people.

    Raises:
        ValueError: without a picture.
    """
    if not seen:
        raise ValueError("nothing to measure")
    rest = np.stack(list(others.values())) if others else np.zeros((0, len(person)), np.float32)
    own = np.array([0.0 if s.embedding is None else float(s.embedding @ person) for s in seen])
    strange = np.array([rest @ s.embedding if s.embedding is not None else np.zeros(len(rest)) for s in seen])
    nearest = strange.max(axis=1, initial=-1.0)
    found = np.array([s.embedding is not None for s in seen])
    return Measures(
        float(own.mean()),
        float(np.percentile(own, 10)),
        float(strange.mean(axis=0).max(initial=0.0)) if len(rest) else 0.0,
        float((found & (own > nearest)).mean()),
        float(np.mean([s.faces == 1 for s in seen])),
        _diversity([s.embedding for s in seen if s.embedding is not None]),
        len(seen),
    )


def mean_of(measures: Sequence[Measures]) -> Measures:
    """The mean of every number, ``count`` added up.

    Raises:
        ValueError: for none.
    """
    if not measures:
        raise ValueError("nothing to average")

    names = ("likeness", "p10", "others", "rank1", "one_face", "diversity")
    means = {name: float(np.mean([getattr(m, name) for m in measures])) for name in names}
    return Measures(**means, count=sum(m.count for m in measures))


def _diversity(embeddings: Sequence[Embedding]) -> float:
    if len(embeddings) < 2:
        return 0.0
    stacked = np.stack(embeddings)
    cosines = stacked @ stacked.T
    return float(1 - cosines[np.triu_indices(len(embeddings), 1)].mean())
