"""What the face half of the house talks about. Images are uint8 RGB (H, W, 3); boxes xyxy px."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.attributes import Suggestion

SCHEMA = 2
"""1 had square crops and no masks of head and person."""

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Embedding = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face."""

    bbox: NDArray[np.float32]
    """(4,) x0 y0 x1 y1 px."""
    landmarks: NDArray[np.float32]
    """(5, 2) px: the person's right eye as seen on the left of the picture, left eye, nose, mouth corners."""
    score: float
    """Detector confidence 0..1."""
    yaw: float = 0.0
    """Degrees, 0 is frontal, positive looks to the picture's right."""
    pitch: float = 0.0
    roll: float = 0.0
    """Degrees, positive is clockwise in the picture."""
    embedding: Embedding | None = None
    """(D,) unit length."""

    @property
    def size(self) -> float:
        """Longest side of the box, px."""
        return float(max(self.bbox[2] - self.bbox[0], self.bbox[3] - self.bbox[1]))

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box, px."""
        return float(self.bbox[0] + self.bbox[2]) / 2, float(self.bbox[1] + self.bbox[3]) / 2


class Reason(str, enum.Enum):
    """Why a photo was rejected, or what is worth knowing about an accepted one; the codes are part of the API."""

    UNREADABLE = "unreadable"
    TOO_LARGE = "too-large"
    NO_FACE = "no-face"
    SEVERAL_PEOPLE = "several-people"
    TOO_SMALL = "too-small"
    BLURRED = "blurred"
    TOO_DARK = "too-dark"
    TOO_BRIGHT = "too-bright"
    EXTREME_POSE = "extreme-pose"
    LOW_CONFIDENCE = "low-confidence"
    DIFFERENT_PERSON = "different-person"
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near-duplicate"
    TOO_MANY = "too-many"
    LEFT_OUT = "left-out"
    CHOSEN = "chosen"
    RETOUCHED = "retouched"
    TURNED = "turned"
    OCCLUDED = "occluded"
    GREY = "grey"
    FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class FaceSeen:
    """A face of a photo, to be shown and chosen."""

    box: tuple[float, float, float, float]
    """x0 y0 x1 y1 in shares 0..1 of the upright photo."""
    place: str
    """Where it is: "on the left", "in the middle" or "on the right"."""
    likeness: float | None = None
    """To the person of the other photos, -1..1."""
    taken: bool = False


@dataclass(frozen=True, slots=True)
class PhotoVerdict:
    """What became of one photo. ``file`` is its base name: shown to the user, never written to disk."""

    file: str
    accepted: bool
    reasons: tuple[Reason, ...] = ()
    sentences: tuple[str, ...] = ()
    """One sentence per reason: what is wrong and what to do."""
    quality: float = 0.0
    """0..1, higher is better."""
    similarity: float | None = None
    """Likeness to the rest of the set, -1..1."""
    faces: tuple[FaceSeen, ...] = ()
    """Those that could be the person's, the largest first."""
    caption: str = ""
    """Of an accepted photo."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the user decided about photos, by their place in the set from 0."""

    faces: Mapping[int, int | None] = field(default_factory=dict)
    """The face that is the person's, whatever the verdict; None leaves the photo out."""
    captions: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPhoto:
    """One accepted photo, cropped."""

    image: Image
    """(h, w, 3); square, or in the shape of a bucket."""
    mask: Mask
    """(h, w) 0..255, soft; 255 is face."""
    caption: str
    source_sha256: str
    embedding: Embedding
    quality: float
    """0..1."""
    head: Mask | None = None
    """(h, w) 0..255, soft: face and hair; None in datasets of schema 1."""
    figure: Mask | None = None
    """(h, w), likewise: the whole person."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Everything training and ranking need to know about a person's photos."""

    person: str
    trigger: str
    subject: str
    resolution: int
    """Side of the crops, px; those that are not square have about as many pixels."""
    photos: tuple[PreparedPhoto, ...]
    pack: str
    """Name of the face model pack the embeddings come from; those of other packs are never compared with them."""
    pack_sha256: str
    mean_embedding: Embedding
    """(D,) unit length."""
    schema: int = SCHEMA

    @property
    def caption(self) -> str:
        """The person in a prompt's words: trigger and class word."""
        return f"{self.trigger} {self.subject}".strip()


@dataclass(frozen=True, slots=True, eq=False)
class Preparation:
    """The outcome of preparing photos: a verdict for each, and a dataset when at least one was accepted."""

    verdicts: tuple[PhotoVerdict, ...]
    dataset: Dataset | None
    advice: tuple[str, ...] = ()
    """Sentences about the set as a whole."""
    sources: tuple[Path, ...] = field(default=())
    """Parallel to ``verdicts``; kept in memory only."""
    thumbnails: tuple[bytes | None, ...] = field(default=())
    """Parallel to ``verdicts``: small upright JPEGs, None for what could not be read; kept in memory only."""
    suggestion: Suggestion | None = None
    """Words for the person, where the face models tell age and gender."""
