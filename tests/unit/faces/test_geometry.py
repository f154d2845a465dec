"""Crops keep the face, never stretch, and poses come back from projected heads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.faces import geometry as G
from facechain_ext.faces.masks import face_mask
from facechain_ext.faces.types import Face

numbers = st.floats(-500, 500)


def face_at(x: float, y: float, size: float, roll: float = 0.0) -> Face:
    box = np.array([x - size * 0.4, y - size / 2, x + size * 0.4, y + size / 2], np.float32)
    marks = np.array([[-0.2, -0.1], [0.2, -0.1], [0, 0.1], [-0.15, 0.28], [0.15, 0.28]]) * size
    turn = math.radians(roll)
    rotated = marks @ np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return Face(box, (rotated + np.array([x, y])).astype(np.float32), 0.9, roll=roll)


@given(
    numbers,
    numbers,
    st.floats(5, 900),
    st.floats(-180, 180),
    st.integers(32, 1024),
    st.lists(st.tuples(numbers, numbers), min_size=1, max_size=5),
)
def test_points_there_and_back(x: float, y: float, side: float, angle: float, resolution: int, points: list[tuple[float, float]]) -> None:
    frame = G.Frame((x, y), side, angle)
    given_points = np.array(points, np.float32)
    there = G.to_crop(given_points, frame, resolution)
    assert np.allclose(G.to_photo(there, frame, resolution), given_points, atol=0.05)
    distances = np.linalg.norm(given_points - given_points[0], axis=1) * resolution / side
    assert np.allclose(np.linalg.norm(there - there[0], axis=1), distances, rtol=1e-3, atol=0.05 * resolution / side)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.05, 0.95), st.integers(60, 900), st.integers(60, 900), st.floats(1.2, 6))
def test_plan_holds_the_face_and_stays_small(fx: float, fy: float, share: float, width: int, height: int, scale: float) -> None:
    size = max(8.0, share * min(width, height))
    x, y = size / 2 + fx * max(0.0, width - size), size / 2 + fy * max(0.0, height - size)
    face = face_at(x, y, size)
    frame = G.plan(face, (width, height), scale)
    box = G.box_to_crop(face.bbox, frame, 256)
    assert frame.side >= min(scale, G.SMALLEST_SCALE) * face.size - 1e-3
    assert frame.side <= max(scale * face.size, G.SMALLEST_SCALE * face.size) + 1e-3
    assert box.min() > -40
    assert box.max() < 296


@settings(deadline=None, max_examples=40)
@given(st.floats(-45, 45), st.floats(-30, 30), st.floats(-60, 60))
def test_pose_of_a_projected_head(yaw: float, pitch: float, roll: float) -> None:
    head = np.array([[-0.5, 0, 0], [0.5, 0, 0], [0, G.NOSE_Y, G.NOSE_Z], [-0.4, G.MOUTH_Y, G.MOUTH_Z], [0.4, G.MOUTH_Y, G.MOUTH_Z]])
    a, b, c = (math.radians(v) for v in (yaw, pitch, roll))
    look_up = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    turn = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    seen = (head @ look_up.T @ turn.T)[:, :2]
    spin = np.array([[math.cos(c), -math.sin(c)], [math.sin(c), math.cos(c)]])
    found = G.pose((seen @ spin.T * 100 + 300).astype(np.float32))
    assert found.roll == pytest.approx(roll, abs=1)
    assert found.yaw == pytest.approx(yaw, abs=14)
    assert found.pitch == pytest.approx(pitch, abs=10)


def test_cut_places_pixels_exactly() -> None:
    image = np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8)
    assert np.array_equal(G.cut(image, G.Frame((40, 30), 32), 32), image[14:46, 24:56])


def test_circle_stays_round() -> None:
    grid = np.mgrid[:300, :400]
    disc = ((grid[0] - 150) ** 2 + (grid[1] - 200) ** 2 < 60**2)[..., None] * np.uint8(255)
    crop = G.cut(np.repeat(disc, 3, axis=2), G.Frame((200.5, 150.5), 200), 100)[..., 0] > 127
    assert abs(int(crop.any(axis=0).sum()) - int(crop.any(axis=1).sum())) <= 1


def test_outside_continues_the_edge() -> None:
    image = np.full((50, 40, 3), 77, np.uint8)
    assert (G.cut(image, G.Frame((0, 0), 100, 15), 64) == 77).all()


@pytest.mark.parametrize("roll", [-80, -40, 0, 35, 90])
def test_level_crop_has_level_eyes_and_mask_on_the_face(roll: float) -> None:
    face = face_at(300, 300, 120, roll)
    frame = G.plan(face, (600, 600), 2.4, level=True)
    eyes = G.to_crop(face.landmarks, frame, 256)
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=0.5)
    assert eyes[0, 0] < eyes[1, 0]
    mask = face_mask(face, frame, 256)
    assert mask.dtype == np.uint8
    assert all(mask[round(float(y)), round(float(x))] > 200 for x, y in eyes)
    assert mask[0].max() == 0
    assert len(np.unique(mask)) > 10
