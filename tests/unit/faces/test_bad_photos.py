"""Photos that are not of one person, upright: animals, things, mirrors, couples. What else is uploaded by mistake: tests/unit/services/test_bad_input.py."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.config import PrepareConfig
from facechain_ext.faces.orientation import upright
from facechain_ext.faces.prepare import prepare
from facechain_ext.faces.quality import LIMITS
from facechain_ext.faces.types import Image, Preparation, Reason
from facechain_ext.vision.insight import InsightAnalyzer
from tests.unit.faces.drawn import beside

SMALL = PrepareConfig(resolution=128)


def save(image: Image, file: Path) -> Path:
    PIL.Image.fromarray(image).save(file)
    return file


@pytest.fixture(scope="module")
def own(orl: Path) -> list[Image]:
    return [np.asarray(PIL.Image.open(orl / "s7" / f"{k}.pgm").convert("RGB")) for k in range(1, 9)]


def run(files: list[Path], analyzer: InsightAnalyzer) -> Preparation:
    return prepare(files, "Ann", analyzer, SMALL)


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        ("chelsea.png", {Reason.NO_FACE}),  # a cat
        ("rocket.jpg", {Reason.NO_FACE}),
        ("moon.png", {Reason.LOW_CONFIDENCE}),
        ("motorcycle_right.png", {Reason.TOO_SMALL, Reason.LOW_CONFIDENCE}),
    ],
)
def test_animals_and_things_are_no_people(name, reasons, pictures, analyzer):
    [verdict] = run([pictures / name], analyzer).verdicts
    assert not verdict.accepted
    assert set(verdict.reasons) & reasons
    assert not set(verdict.reasons) & {Reason.SEVERAL_PEOPLE, Reason.OCCLUDED}


def test_noise_is_no_face(analyzer):
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    assert analyzer.detect(noise) == []
    assert analyzer.detect(np.zeros((7, 900, 3), np.uint8)) == []


def test_what_may_be_a_face_is_nobody_beside_a_sure_one(own, pictures, analyzer, tmp_path):
    moon = np.asarray(PIL.Image.open(pictures / "moon.png").convert("RGB"))
    assert 0.5 < max(face.score for face in upright(moon, analyzer.detect).faces) < LIMITS.score
    scene = np.full((900, 1400, 3), 30, np.uint8)
    scene[200:712, 40:552] = np.rot90(moon)
    scene[100:772, 700:1252] = cv2.resize(own[0], (552, 672), interpolation=cv2.INTER_CUBIC)
    [verdict] = run([save(scene, tmp_path / "night.png")], analyzer).verdicts
    assert verdict.accepted
    assert len(verdict.faces) == 1


def test_a_mirror_shows_the_same_person_twice(own, analyzer, tmp_path):
    mirror = save(beside(own[0], np.ascontiguousarray(own[0][:, ::-1])), tmp_path / "mirror.png")
    alone = run([mirror], analyzer)
    [verdict] = alone.verdicts
    assert verdict.accepted
    assert "look like this person" in verdict.sentences[0]
    assert sum(face.taken for face in verdict.faces) == 1
    both = run([mirror, save(own[1], tmp_path / "1.png"), save(own[2], tmp_path / "2.png")], analyzer)
    assert [v.accepted for v in both.verdicts] == [True, True, True]


def test_a_couple_in_every_photo_is_said_to_leave_it_open(own, orl, analyzer, tmp_path):
    other = [np.asarray(PIL.Image.open(orl / "s30" / f"{k}.pgm").convert("RGB")) for k in range(1, 4)]
    files = [save(beside(a, b), tmp_path / f"{i}.png") for i, (a, b) in enumerate(zip(own[:3], other, strict=True))]
    result = run(files, analyzer)
    assert all(v.accepted for v in result.verdicts)
    assert len({face.box[0] < 0.4 for v in result.verdicts for face in v.faces if face.taken}) == 1
    assert any("Another person is in 3 of the photos" in line for line in result.advice)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_photos_on_their_side_are_turned_and_it_is_said(turns, own, analyzer, tmp_path):
    straight_ones = [save(im, tmp_path / f"{i}.png") for i, im in enumerate(own[:3])]
    lying = save(np.ascontiguousarray(np.rot90(own[4], turns)), tmp_path / "lying.png")
    result = run([*straight_ones, lying], analyzer)
    assert result.verdicts[3].accepted
    assert Reason.TURNED in result.verdicts[3].reasons
    straight = run([*straight_ones, save(own[4], tmp_path / "straight.png")], analyzer)
    assert result.dataset is not None
    assert straight.dataset is not None
    assert float(result.dataset.photos[3].embedding @ straight.dataset.photos[3].embedding) > 0.98
