"""No person in the picture, twins, mirrors: what the detector and the set make of them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facechain_ext.faces.geometry import cut, plan
from facechain_ext.faces.identity import choose, same_person
from facechain_ext.faces.orientation import upright
from facechain_ext.faces.quality import LIMITS, faults, measure
from facechain_ext.faces.types import Image
from facechain_ext.vision.insight import InsightAnalyzer

THRESHOLD = same_person("yunet_sface")


def dog() -> Image:
    """A brown dog's head: snout, nose, two eyes, hanging ears."""
    image = np.full((480, 480, 3), (150, 190, 120), np.uint8)
    brown, dark, black = (150, 100, 60), (95, 60, 35), (15, 12, 10)
    cv2.ellipse(image, (240, 240), (130, 150), 0, 0, 360, brown, -1)
    for x in (120, 360):
        cv2.ellipse(image, (x, 230), (45, 110), 8 if x < 240 else -8, 0, 360, dark, -1)
    cv2.ellipse(image, (240, 320), (75, 80), 0, 0, 360, (205, 165, 120), -1)
    cv2.ellipse(image, (240, 285), (32, 22), 0, 0, 360, black, -1)
    for x in (190, 290):
        cv2.circle(image, (x, 200), 17, black, -1)
        cv2.circle(image, (x - 5, 194), 5, (240, 240, 240), -1)
    cv2.line(image, (240, 305), (240, 350), black, 4)
    cv2.ellipse(image, (240, 345), (45, 25), 0, 10, 170, black, 4)
    return cv2.GaussianBlur(image, (0, 0), 2).astype(np.uint8)


def cartoon() -> Image:
    """A yellow smiling face."""
    image = np.full((400, 400, 3), 255, np.uint8)
    cv2.circle(image, (200, 200), 150, (255, 215, 40), -1)
    cv2.circle(image, (200, 200), 150, (60, 40, 0), 5)
    for x in (145, 255):
        cv2.ellipse(image, (x, 165), (16, 28), 0, 0, 360, (40, 30, 0), -1)
    cv2.ellipse(image, (200, 230), (80, 60), 0, 15, 165, (60, 40, 0), 8)
    return image


def only_glasses() -> Image:
    """Dark glasses on a table."""
    image = np.full((300, 500, 3), (205, 190, 170), np.uint8)
    for x in (160, 340):
        cv2.ellipse(image, (x, 150), (75, 55), 0, 0, 360, (18, 18, 20), -1)
    cv2.line(image, (230, 135), (270, 135), (18, 18, 20), 10)
    return image


@pytest.mark.parametrize("draw", [dog, cartoon, only_glasses])
def test_what_is_no_person_is_no_face_or_not_sure(analyzer: InsightAnalyzer, draw: object) -> None:
    image = draw()  # type: ignore[operator]
    seen = upright(image, analyzer.detect)
    assert all(face.score < LIMITS.score for face in seen.faces)
    assert not seen.faces or seen.quarter_turns == 0


def test_dots_in_noise_are_no_face(analyzer: InsightAnalyzer) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    assert analyzer.detect(noise) == []
    assert analyzer.detect(np.zeros((7, 900, 3), np.uint8)) == []


@pytest.mark.parametrize("kind", ["mirror", "twins"])
def test_two_faces_of_one_person_are_both_the_person_and_the_better_is_taken(
    astronaut: np.ndarray, analyzer: InsightAnalyzer, kind: str
) -> None:
    head = astronaut[0:260, 120:340]
    other = head[:, ::-1] if kind == "mirror" else np.clip(head * np.array([0.85, 0.9, 1.0]) + 10, 0, 255).astype(np.uint8)
    small = np.asarray(cv2.resize(np.ascontiguousarray(other), None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA))
    scene = np.full((320, 460, 3), 90, np.uint8)
    scene[30:290, 10:230] = head
    scene[50 : 50 + small.shape[0], 250 : 250 + small.shape[1]] = small
    faces = analyzer.detect(scene)
    assert len(faces) == 2
    vectors = [analyzer.embed(scene, face) for face in faces]
    assert float(vectors[0] @ vectors[1]) > THRESHOLD
    choice = choose([vectors], [[face.size for face in faces]], THRESHOLD)
    assert choice.faces == (0,)
    assert choice.alike == (2,)
    assert faces[0].size > faces[1].size
    frame = plan(faces[0], (460, 320), 2.4)
    assert faults(measure(cut(scene, frame, 128), faces[0], frame)) == []
