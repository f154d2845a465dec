"""Verdicts on real faces: no false alarm on good photos, everything that was spoiled is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from occlusion import dark_glasses, hand, mask_cloth, surgical_mask

from facechain_ext.faces import quality
from facechain_ext.faces.geometry import cut, plan
from facechain_ext.faces.quality import LIMITS, Measures, aligned, colour, faults, measure, remarks, score
from facechain_ext.faces.types import Face, Image, Reason
from facechain_ext.vision.insight import InsightAnalyzer

GOOD = Measures(0.6, 50, 190, 200, 0.8, 0, 0, 0.94, 0.8, 0.07, 25, 55, 8)


def codes(found: Measures) -> list[Reason]:
    return [reason for reason, _ in faults(found)]


def look(image: Image, face: Face, resolution: int = 256) -> Measures:
    frame = plan(face, (image.shape[1], image.shape[0]), 2.4)
    return measure(cut(image, frame, resolution), face, frame)


@pytest.fixture(scope="module")
def portraits(orl: Path, astronaut: np.ndarray, analyzer: InsightAnalyzer) -> list[tuple[Image, Face]]:
    """40 people of ORL, twice their size, and one in colour."""
    made: list[tuple[Image, Face]] = []
    for person in range(1, 41):
        grey = np.asarray(PIL.Image.open(orl / f"s{person}" / f"{1 + person % 10}.pgm").convert("RGB"))
        image = np.asarray(cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)
        made.append((image, analyzer.detect(image)[0]))
    return [*made, (astronaut, analyzer.detect(astronaut)[0])]


def found(portraits: list[tuple[Image, Face]], analyzer: InsightAnalyzer, spoil: Callable[[Image, Face], Image]) -> float:
    """Share of spoiled photos that are found covered, or no face at all."""
    seen = []
    for image, face in portraits:
        spoiled = spoil(image, face)
        faces = analyzer.detect(spoiled)
        seen.append(not faces or Reason.OCCLUDED in codes(look(spoiled, faces[0])))
    return sum(seen) / len(seen)


def test_good_photos_raise_no_alarm(portraits: list[tuple[Image, Face]]) -> None:
    assert [codes(look(*p)) for p in portraits if codes(look(*p))] == []


def test_glasses_are_no_cover_and_orl_is_grey(portraits: list[tuple[Image, Face]]) -> None:
    *grey, coloured = portraits
    assert all(Reason.GREY in [r for r, _ in remarks(look(*p))] for p in grey)
    assert not {Reason.GREY, Reason.FILTERED} & {r for r, _ in remarks(look(*coloured))}


@pytest.mark.parametrize("tone", [(14, 14, 14), (50, 38, 28)])
def test_dark_glasses_are_found(portraits: list[tuple[Image, Face]], analyzer: InsightAnalyzer, tone: tuple[int, int, int]) -> None:
    assert found(portraits, analyzer, lambda image, face: dark_glasses(image, face.landmarks, tone)) >= 0.95


@pytest.mark.parametrize("tone", [(120, 170, 215), (235, 235, 235), (30, 30, 32)])
def test_masks_are_found(portraits: list[tuple[Image, Face]], analyzer: InsightAnalyzer, tone: tuple[int, int, int]) -> None:
    cloth = mask_cloth(tone)
    assert found(portraits, analyzer, lambda image, face: surgical_mask(image, face.landmarks, cloth)) >= 0.95


def test_a_hand_over_the_mouth_is_found(portraits: list[tuple[Image, Face]], analyzer: InsightAnalyzer) -> None:
    assert found(portraits, analyzer, lambda image, face: hand(image, face.landmarks)) >= 0.95


def test_wrong_thresholds_would_fail(
    portraits: list[tuple[Image, Face]], analyzer: InsightAnalyzer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "LIMITS", replace(LIMITS, eyes=0.2, eyes_high=9.0, mouth=0.01))
    assert found(portraits, analyzer, lambda image, face: dark_glasses(image, face.landmarks, (50, 38, 28))) < 0.95
    monkeypatch.setattr(quality, "LIMITS", replace(LIMITS, eyes=0.8, mouth=0.12))
    assert sum(Reason.OCCLUDED in codes(look(*p)) for p in portraits) > 4


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda image: cv2.GaussianBlur(image, (0, 0), 6), Reason.BLURRED),
        (lambda image: image // 5, Reason.TOO_DARK),
        (lambda image: np.clip(image.astype(int) // 8 + 225, 0, 255).astype(np.uint8), Reason.TOO_BRIGHT),
    ],
)
def test_spoiled_photos_are_refused(portraits: list[tuple[Image, Face]], spoil: Callable[[Image], Image], reason: Reason) -> None:
    refused = [reason in codes(look(spoil(image), face)) for image, face in portraits]
    assert sum(refused) >= 0.95 * len(refused)


def test_dusk_passes(portraits: list[tuple[Image, Face]]) -> None:
    assert [codes(look(image // 2, face)) for image, face in portraits if codes(look(image // 2, face))] == []


def test_a_little_blur_passes(orl: Path, analyzer: InsightAnalyzer) -> None:
    for person in range(1, 41, 4):
        image = np.asarray(PIL.Image.open(orl / f"s{person}" / "2.pgm").convert("RGB"))
        face = analyzer.detect(image)[0]
        assert codes(look(np.asarray(cv2.GaussianBlur(image, (0, 0), 1), np.uint8), face)) in ([], [Reason.TOO_SMALL])


@pytest.mark.parametrize("kind", ["sepia", "blue", "grey"])
def test_filters_are_remarked(astronaut: np.ndarray, analyzer: InsightAnalyzer, kind: str) -> None:
    face = analyzer.detect(astronaut)[0]
    grey = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)[..., None]
    wanted = Reason.GREY if kind == "grey" else Reason.FILTERED
    image = {
        "sepia": np.clip(grey * np.array([1.07, 0.74, 0.43]) + np.array([0, 10, 5]), 0, 255),
        "blue": np.clip(astronaut * np.array([0.6, 0.8, 1.4]), 0, 255),
        "grey": np.repeat(grey, 3, axis=2),
    }[kind].astype(np.uint8)
    assert wanted in [r for r, _ in remarks(look(image, face))]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"face_side": 30.0}, Reason.TOO_SMALL),
        ({"upscale": 3.1}, Reason.TOO_SMALL),
        ({"score": 0.55}, Reason.LOW_CONFIDENCE),
        ({"high": 50.0}, Reason.TOO_DARK),
        ({"low": 210.0, "high": 250.0}, Reason.TOO_BRIGHT),
        ({"sharpness": 0.29}, Reason.BLURRED),
        ({"yaw": -70.0}, Reason.EXTREME_POSE),
        ({"pitch": 55.0}, Reason.EXTREME_POSE),
        ({"eyes": 0.5}, Reason.OCCLUDED),
        ({"eyes": 1.3}, Reason.OCCLUDED),
        ({"mouth": 0.03}, Reason.OCCLUDED),
    ],
)
def test_each_limit_has_its_reason_and_costs_quality_or_rejects(change: dict[str, float], reason: Reason) -> None:
    assert codes(GOOD) == []
    assert remarks(GOOD) == []
    spoiled = replace(GOOD, **change)
    assert codes(spoiled) == [reason]
    assert faults(spoiled)[0][1].endswith(".")
    assert score(spoiled) <= score(GOOD)


def test_a_blurred_face_is_not_called_covered() -> None:
    assert codes(replace(GOOD, sharpness=0.2, mouth=0.001)) == [Reason.BLURRED]


def test_aligned_puts_the_landmarks_where_they_belong() -> None:
    crop = np.zeros((300, 300, 3), np.uint8)
    turn = np.array([[0.8, -0.6], [0.6, 0.8]]) * 1.7
    marks = (quality.MARKS - 56) @ turn.T + 150
    for x, y in marks:
        cv2.circle(crop, (round(float(x)), round(float(y))), 4, (255, 255, 255), -1)
    level = aligned(crop, marks.astype(np.float32))
    assert level.shape == (112, 112, 3)
    assert all(level[round(float(y)), round(float(x)), 0] > 200 for x, y in quality.MARKS)


def test_colour_of_plain_patches() -> None:
    skin = np.full((112, 112, 3), (224, 172, 150), np.uint8)
    chroma, hue, tint = colour(skin)
    assert 15 < chroma < 40
    assert 20 < hue < 70
    assert tint < 0.5
    assert colour(np.full((112, 112, 3), 90, np.uint8))[0] < 0.5
