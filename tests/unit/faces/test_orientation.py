"""Which way is up: real people turned by 90 degrees, tilted heads, and detectors that say little."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.faces import orientation
from facechain_ext.faces.orientation import quarter, upright
from facechain_ext.faces.types import Face, Image
from facechain_ext.vision.insight import InsightAnalyzer


def face(roll: float = 0.0, score: float = 0.95, size: float = 40.0) -> Face:
    return Face(np.array([5, 5, 5 + size, 5 + size], np.float32), np.zeros((5, 2), np.float32), score, roll=roll)


class Told:
    """A detector that knows which way the photo was turned: ``answers[k]`` for the photo turned k times further."""

    def __init__(self, *answers: list[Face]) -> None:
        self.answers = answers
        self.image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
        self.calls = 0

    def __call__(self, image: Image) -> list[Face]:
        self.calls += 1
        turn = next(k for k in range(4) if np.array_equal(np.rot90(self.image, k), image))
        return self.answers[turn]


def test_an_upright_photo_costs_one_look_and_stays_the_same_array() -> None:
    told = Told([face(roll=-44)], [], [], [])
    seen = upright(told.image, told)
    assert (seen.quarter_turns, told.calls) == (0, 1)
    assert seen.image is told.image


@pytest.mark.parametrize(("roll", "turns"), [(-90, 3), (90, 1), (180, 2), (-178, 2), (62, 1), (-48, 0), (48, 0), (-130, 3), (150, 2)])
def test_the_roll_says_how_to_turn(roll: float, turns: int) -> None:
    assert quarter(roll) == turns
    told = Told(*([face(roll)] if k == 0 else [face(0)] if k == turns else [] for k in range(4)))
    seen = upright(told.image, told)
    assert seen.quarter_turns == turns
    assert told.calls == (1 if turns == 0 else 2)
    assert np.array_equal(seen.image, np.rot90(told.image, turns))


def test_a_turn_that_shows_the_face_lying_leads_to_the_right_one() -> None:
    told = Told([], [face(-178)], [], [face(0)])
    assert upright(told.image, told).quarter_turns == 3
    assert told.calls == 3


def test_detectors_without_roll_are_asked_about_all_turns() -> None:
    told = Told([face(score=0.70)], [], [face(score=0.84)], [face(score=0.6)])
    assert upright(told.image, told).quarter_turns == 2
    assert told.calls == 4
    doubtful = Told([face(score=0.70)], [], [face(score=0.72)], [])
    assert upright(doubtful.image, doubtful).quarter_turns == 0


def test_without_a_face_the_photo_stays() -> None:
    told = Told([], [], [], [])
    seen = upright(told.image, told)
    assert (seen.quarter_turns, seen.faces, told.calls) == (0, [], 4)


def test_a_head_on_a_shoulder_does_not_turn_the_group() -> None:
    told = Told([face(-48, size=45), face(-92, size=40)], [], [], [face(2)])
    assert upright(told.image, told).quarter_turns == 3


def test_a_higher_bar_for_certainty_would_cost_more_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told([face(score=0.88)], [], [], [])
    upright(told.image, told)
    assert told.calls == 1
    monkeypatch.setattr(orientation, "CERTAIN", 0.97)
    upright(told.image, told)
    assert told.calls == 1 + 4


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_real_people_turned(orl: Path, astronaut: np.ndarray, analyzer: InsightAnalyzer, turn: int) -> None:
    photos = [np.asarray(PIL.Image.open(orl / f"s{p}" / f"{1 + p % 10}.pgm").convert("RGB")) for p in range(1, 41, 8)]
    for image in [*photos, astronaut, astronaut[:, ::-1]]:
        seen = upright(np.ascontiguousarray(np.rot90(image, turn)), analyzer.detect)
        assert (seen.quarter_turns + turn) % 4 == 0
        assert np.array_equal(seen.image, image)
        assert abs(seen.faces[0].roll) < 30


@pytest.mark.parametrize("tilt", [-35, 35])
def test_real_heads_tilted_stay_and_the_tilt_is_right(orl: Path, analyzer: InsightAnalyzer, tilt: float) -> None:
    for person in range(1, 41, 5):
        photo = np.asarray(PIL.Image.open(orl / f"s{person}" / "1.pgm").convert("RGB"))
        large = np.asarray(cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
        before = analyzer.detect(large)[0].roll
        side = math.ceil(math.hypot(*large.shape[:2]))
        matrix = cv2.getRotationMatrix2D((large.shape[1] / 2, large.shape[0] / 2), -tilt, 1)
        matrix[:, 2] += (side - np.array(large.shape[1::-1])) / 2
        leaning = np.asarray(cv2.warpAffine(large, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        seen = upright(leaning, analyzer.detect)
        assert seen.quarter_turns == 0
        assert seen.faces[0].roll == pytest.approx(before + tilt, abs=14)
