"""The same picture again, whatever was done to it; and photos that only look alike."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.faces import duplicates
from facechain_ext.faces.duplicates import Print, fingerprint, near, repeats
from facechain_ext.faces.geometry import cut, plan, to_crop
from facechain_ext.faces.types import Embedding, Image
from facechain_ext.vision.insight import InsightAnalyzer

Seen = tuple[Print, Embedding]


def poor_jpeg(image: Image) -> Image:
    held = io.BytesIO()
    PIL.Image.fromarray(image).resize((image.shape[1] // 2, image.shape[0] // 2)).save(held, "JPEG", quality=50)
    return np.asarray(PIL.Image.open(held))


CHANGES: dict[str, Callable[[Image], Image]] = {
    "sent by a messenger": poor_jpeg,
    "in grey": lambda im: np.repeat(cv2.cvtColor(im, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
    "cut": lambda im: np.ascontiguousarray(im[20:-40, 30:-10]),
    "with a border": lambda im: cv2.copyMakeBorder(im, 150, 150, 90, 90, cv2.BORDER_CONSTANT, value=(255, 255, 255)),
    "mirrored": lambda im: np.ascontiguousarray(im[:, ::-1]),
    "warmer": lambda im: np.clip(im * np.array([1.1, 1.0, 0.85]), 0, 255).astype(np.uint8),
    "tilted": lambda im: cv2.warpAffine(im, cv2.getRotationMatrix2D((256, 256), 4, 1), (512, 512), borderMode=cv2.BORDER_REPLICATE),
}


def seen(image: Image, analyzer: InsightAnalyzer) -> Seen:
    face = analyzer.detect(image)[0]
    frame = plan(face, (image.shape[1], image.shape[0]), 2.4)
    return fingerprint(cut(image, frame, 256), to_crop(face.landmarks, frame, 256)), analyzer.embed(image, face)


def alike(first: Seen, second: Seen) -> bool:
    return near(first[0], second[0], float(first[1] @ second[1]))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found(change: str, astronaut: Image, analyzer: InsightAnalyzer) -> None:
    # Square and upright, so that every change leaves the face inside.
    assert alike(seen(astronaut, analyzer), seen(np.asarray(CHANGES[change](astronaut), np.uint8), analyzer))


@pytest.fixture(scope="module")
def shots(orl: Path, analyzer: InsightAnalyzer) -> list[list[Seen]]:
    """Six people, five photos each."""
    return [[seen(np.asarray(PIL.Image.open(orl / f"s{p}" / f"{k}.pgm").convert("RGB")), analyzer) for k in range(1, 6)] for p in (1, 3, 5, 8, 13, 40)]


def test_other_photos_of_one_person_are_others(shots: list[list[Seen]], monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [pair for person in shots for pair in itertools.combinations(person, 2)]
    assert not any(alike(*pair) for pair in pairs)
    monkeypatch.setattr(duplicates, "OVERLAY", 0.95)
    assert sum(alike(*pair) for pair in pairs) > 5


def test_the_worthiest_copy_is_kept(shots: list[list[Seen]]) -> None:
    (a, va), (b, vb) = shots[0][0], shots[1][0]
    assert repeats([a, b, a, a], [va, vb, va, va], [(0.9, 1.0), (0.1, 1.0), (0.9, 2.0), (0.5, 9.0)]) == {0: 2, 3: 2}
    assert repeats([a, a], [va, va], [(0.9,), (0.9,)]) == {1: 0}
    assert repeats([], [], []) == {}
