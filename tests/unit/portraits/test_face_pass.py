"""The face pass: better faces come in where they belong, worse ones and other expressions never do."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.faces.reading import read_photo
from facechain_ext.faces.types import Face
from facechain_ext.portraits.face_pass import FacePass, Target, box_around, in_light_of, scale_of, shift, wanted
from facechain_ext.services.likeness_sources import orl_photos
from tests.conftest import make_dataset

SIDE = 128


def face_at(x: float, y: float, side: float) -> Face:
    marks = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]], np.float32) * side
    box = np.array([x, y, x + side, y + side], np.float32)
    return Face(box, marks + np.array([x, y], np.float32), 0.99)


@given(st.floats(0, 300), st.floats(0, 200), st.floats(4, 400), st.floats(1.3, 3))
def test_the_square_around_a_face_lies_inside_the_picture(x, y, side, scale):
    box = box_around(face_at(x, y, side), (320, 240), scale)
    assert box.x >= 0 <= box.y
    assert box.x + box.side <= 320
    assert box.y + box.side <= 240
    assert box.side == min(240, round(scale * side)) or box.side == 8


def test_who_wants_it():
    small, large = face_at(0, 0, 100), face_at(0, 0, 200)
    assert [wanted(f, 512, "auto", 0.3) for f in (small, large)] == [True, False]
    assert [wanted(f, 512, "off", 0.3) for f in (small, large)] == [False, False]
    assert [wanted(f, 512, "always", 0.3) for f in (small, large)] == [True, True]


def test_light_and_colour_become_the_old_ones():
    draw = np.random.default_rng(1)
    new = draw.integers(90, 200, (64, 64, 3), np.uint8)
    old = np.clip(0.7 * draw.integers(60, 180, (64, 64, 3)) + np.array([40, 0, -20]), 0, 255).astype(np.uint8)
    mask = np.full((64, 64), 255, np.uint8)
    before, after = (np.abs(i.mean((0, 1)) - old.mean((0, 1))).max() for i in (new, in_light_of(new, old, mask)))
    assert before > 15
    assert after < 3
    assert np.array_equal(in_light_of(new, old, np.zeros_like(mask)), new)


def test_a_shifted_head_is_the_same_expression_an_opened_mouth_is_not():
    face = face_at(10, 10, 100)
    assert shift(face, face_at(40, 0, 100)) == pytest.approx(0)
    mouth = face.landmarks.copy()
    mouth[3:] += np.array([0, 30], np.float32)
    assert shift(face, replace(face, landmarks=mouth)) > 0.2


def test_faces_are_sampled_as_large_as_the_lora_has_learned_them():
    # The disc of these photos fills their side.
    assert scale_of(make_dataset()) == pytest.approx(1.5, abs=0.2)


@pytest.fixture(scope="module")
def scene(analyzer):
    """A picture with a small blurred face of person 17 at the left, what it was made of, and who it is."""
    photo = np.asarray(cv2.copyMakeBorder(read_photo(orl_photos(17, [1])[0]), 8, 8, 18, 18, cv2.BORDER_REPLICATE)[:SIDE, :SIDE], np.uint8)
    person = analyzer.embed(photo, analyzer.detect(photo)[0])
    picture = np.full((200, 320, 3), 90, np.uint8)
    picture[40:120, 30:110] = cv2.GaussianBlur(cv2.resize(photo, (80, 80), interpolation=cv2.INTER_AREA), (0, 0), 2.2)
    return picture, photo, person


def again(analyzer, picture, person, sampler):
    [face] = analyzer.detect(picture)
    asked = []

    def sample(images, seeds):
        asked.append((images[0].shape, tuple(seeds)))
        return sampler(images[0], face)

    result, done = FacePass(analyzer, SIDE, 1.5).run(picture, [Target(face, person, 5, sample)])
    assert asked == [((SIDE, SIDE, 3), (5,))]
    return result, done, face


def sharp(photo):
    """A sampler that gives the unblurred face."""

    def sample(_image, face):
        box = box_around(face, (320, 200), 1.5)
        whole = np.full((200, 320, 3), 90, np.uint8)
        whole[40:120, 30:110] = cv2.resize(photo, (80, 80), interpolation=cv2.INTER_AREA)
        return [cv2.resize(box.of(whole), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)]

    return sample


def test_a_better_face_is_blended_in_and_nothing_else_changes(analyzer, scene):
    picture, photo, person = scene
    before = picture.copy()
    result, [passed], face = again(analyzer, picture, person, sharp(photo))
    assert np.array_equal(picture, before)
    assert passed.kept
    assert passed.after > passed.before + 0.02
    assert str(passed) == f"{passed.before:.3f} to {passed.after:.3f}"
    box = box_around(face, (320, 200), 1.5)
    changed = np.abs(result.astype(int) - picture).max(axis=2) > 0
    assert changed.any()
    outside = changed.copy()
    outside[box.y : box.y + box.side, box.x : box.x + box.side] = False
    assert not outside.any()
    # Feathered: no step at the edge of the box.
    assert not changed[box.y, :].any()


@pytest.mark.parametrize("worse", ["another person", "no face", "interrupted"])
def test_a_worse_face_leaves_the_original(worse, analyzer, scene):
    picture, _, person = scene
    other = read_photo(orl_photos(22, [1])[0])
    given = {"another person": [cv2.resize(other, (SIDE, SIDE))], "no face": [np.zeros((SIDE, SIDE, 3), np.uint8)], "interrupted": []}
    result, done, _ = again(analyzer, picture, person, lambda *_: given[worse])
    assert np.array_equal(result, picture)
    assert [p.kept for p in done] == ([] if worse == "interrupted" else [False])
    if done:
        assert "original kept" in str(done[0])
