"""What people upload by mistake, each with the verdict it must get; and none of it stops the good photos beside it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.config import PrepareConfig
from facechain_ext.faces.prepare import prepare
from facechain_ext.faces.types import Image, Preparation, Reason
from facechain_ext.vision.insight import InsightAnalyzer

SMALL = PrepareConfig(resolution=128)


def save(image: Image, file: Path) -> Path:
    PIL.Image.fromarray(image).save(file)
    return file


def cartoon() -> Image:
    """A smiling face as a child draws it."""
    page = np.full((400, 400, 3), 255, np.uint8)
    cv2.circle(page, (200, 200), 150, (255, 220, 60), -1)
    cv2.circle(page, (200, 200), 150, (0, 0, 0), 4)
    for x in (145, 255):
        cv2.circle(page, (x, 160), 18, (0, 0, 0), -1)
    cv2.ellipse(page, (200, 235), (75, 55), 0, 15, 165, (0, 0, 0), 6)
    return page


def dog() -> Image:
    """Muzzle, nose, eyes and ears in brown."""
    page = np.full((400, 400, 3), (90, 140, 80), np.uint8)
    cv2.ellipse(page, (200, 200), (120, 140), 0, 0, 360, (150, 100, 60), -1)
    for side in (-1, 1):
        cv2.ellipse(page, (200 + side * 120, 160), (40, 110), side * 20, 0, 360, (110, 70, 40), -1)
        cv2.circle(page, (200 + side * 50, 160), 14, (20, 15, 10), -1)
    cv2.ellipse(page, (200, 270), (65, 55), 0, 0, 360, (190, 150, 110), -1)
    cv2.ellipse(page, (200, 245), (26, 18), 0, 0, 360, (20, 15, 10), -1)
    return np.asarray(cv2.GaussianBlur(page, (0, 0), 2), np.uint8)


def sunglasses() -> Image:
    """A pair of them on a table."""
    page = np.full((400, 400, 3), (200, 190, 180), np.uint8)
    for x in (130, 270):
        cv2.ellipse(page, (x, 200), (60, 45), 0, 0, 360, (15, 15, 20), -1)
    cv2.line(page, (190, 190), (210, 190), (15, 15, 20), 8)
    return page


def beside(first: Image, second: Image) -> Image:
    return np.hstack([first, np.full((first.shape[0], 30, 3), 90, np.uint8), second])


@pytest.fixture(scope="module")
def own(orl: Path) -> list[Image]:
    return [np.asarray(PIL.Image.open(orl / "s7" / f"{k}.pgm").convert("RGB")) for k in range(1, 9)]


def run(files: list[Path], analyzer: InsightAnalyzer) -> Preparation:
    return prepare(files, "Ann", analyzer, SMALL)


@pytest.mark.parametrize("draw", [cartoon, dog, sunglasses])
def test_what_is_no_person_is_left_out_and_the_others_are_used(draw, own, analyzer, tmp_path):
    files = [save(draw(), tmp_path / "drawn.png"), *(save(im, tmp_path / f"{i}.png") for i, im in enumerate(own[:3]))]
    verdicts = run(files, analyzer).verdicts
    assert [v.accepted for v in verdicts] == [False, True, True, True]
    assert set(verdicts[0].reasons) <= {Reason.NO_FACE, Reason.LOW_CONFIDENCE, Reason.DIFFERENT_PERSON}


def test_a_mirror_shows_the_same_person_twice(own, analyzer, tmp_path):
    mirror = save(beside(own[0], np.ascontiguousarray(own[0][:, ::-1])), tmp_path / "mirror.png")
    alone = run([mirror], analyzer)
    [verdict] = alone.verdicts
    assert verdict.accepted
    assert "look like this person" in verdict.sentences[0]
    assert sum(face.taken for face in verdict.faces) == 1
    both = run([mirror, save(own[1], tmp_path / "1.png"), save(own[2], tmp_path / "2.png")], analyzer)
    assert [v.accepted for v in both.verdicts] == [True, True, True]


def test_twins_are_taken_for_one_and_it_is_said(own, analyzer, tmp_path):
    # Two different photos of one person are what twins are to the face models.
    files = [save(beside(own[0], own[3]), tmp_path / "twins.png"), *(save(im, tmp_path / f"{i}.png") for i, im in enumerate(own[1:3]))]
    verdicts = run(files, analyzer).verdicts
    assert all(v.accepted for v in verdicts)
    assert "twins" in verdicts[0].sentences[0]


def test_a_couple_in_every_photo_is_said_to_leave_it_open(own, orl, analyzer, tmp_path):
    other = [np.asarray(PIL.Image.open(orl / "s30" / f"{k}.pgm").convert("RGB")) for k in range(1, 4)]
    files = [save(beside(a, b), tmp_path / f"{i}.png") for i, (a, b) in enumerate(zip(own[:3], other, strict=True))]
    result = run(files, analyzer)
    assert all(v.accepted for v in result.verdicts)
    assert len({face.box[0] < 0.4 for v in result.verdicts for face in v.faces if face.taken}) == 1
    assert any("Another person is in 3 of the photos" in line for line in result.advice)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_photos_on_their_side_are_turned_and_it_is_said(turns, own, analyzer, tmp_path):
    upright = [save(im, tmp_path / f"{i}.png") for i, im in enumerate(own[:3])]
    lying = save(np.ascontiguousarray(np.rot90(own[4], turns)), tmp_path / "lying.png")
    result = run([*upright, lying], analyzer)
    assert result.verdicts[3].accepted
    assert Reason.TURNED in result.verdicts[3].reasons
    straight = run([*upright, save(own[4], tmp_path / "straight.png")], analyzer)
    assert result.dataset is not None
    assert straight.dataset is not None
    assert float(result.dataset.photos[3].embedding @ straight.dataset.photos[3].embedding) > 0.98


def test_twenty_bad_files_do_not_stop_three_good_ones(own, analyzer, tmp_path):
    bad = []
    for i, data in enumerate([b"", b"text", b"\xff\xd8\xff\xe0" + bytes(50), b"GIF89a" + bytes(9), b"\x00\x00\x00\x18ftypisom" + bytes(90)] * 4):
        bad.append(tmp_path / f"bad-{i}.jpg")
        bad[-1].write_bytes(data + bytes([i]) * (i > 0))
    good = [save(im, tmp_path / f"{i}.png") for i, im in enumerate(own[:3])]
    verdicts = run([*bad, *good], analyzer).verdicts
    assert [v.accepted for v in verdicts] == [False] * 20 + [True] * 3
    assert all(v.reasons == (Reason.UNREADABLE,) and v.sentences[0].endswith(".") for v in verdicts[:20])
