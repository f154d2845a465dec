"""Contact sheets: every picture is on them, where it belongs, whatever the name, the number and the shape."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import ImageColor

from facechain_ext.portraits.sheet import WARN, WIDTH, Labelled, Section, contact_sheet, draw_sheet
from facechain_ext.progress import LossPoint

COLOURS = [(230, 25, 75), (60, 180, 75), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240), (240, 50, 230), (170, 110, 40)]


def flat(colour: tuple[int, int, int], height: int = 32, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def places(page: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """(N, 2) rows and columns of the pixels of exactly that colour."""
    return np.argwhere((page == np.array(colour)).all(axis=2))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8])
def test_every_portrait_is_there_best_first(count):
    tiles = [Labelled(flat(c), f"likeness 0.{9 - i}", f"seed {i}") for i, c in enumerate(COLOURS[:count])]
    page = np.asarray(contact_sheet("Ada", tiles, "photo of sks person"))
    assert page.shape[1] == WIDTH
    found = [places(page, c) for c in COLOURS[:count]]
    assert all(len(f) > 200 * 200 for f in found)
    corners = [tuple(f.min(axis=0)) for f in found]
    assert corners == sorted(corners)
    boxes = [(*f.min(axis=0), *f.max(axis=0)) for f in found]
    for a, b in itertools.combinations(boxes, 2):
        assert a[2] < b[0] or a[3] < b[1] or b[2] < a[0] or b[3] < a[1]


def test_a_wide_picture_keeps_its_shape():
    page = np.asarray(contact_sheet("Ada", [Labelled(flat(COLOURS[0], 30, 60))]))
    found = places(page, COLOURS[0])
    height, width = found.max(axis=0) - found.min(axis=0) + 1
    assert width / height == pytest.approx(2, abs=0.02)


def test_flagged_portraits_have_a_frame():
    frame = ImageColor.getrgb(WARN)
    plain, flagged = (np.asarray(contact_sheet("Ada", [Labelled(flat(COLOURS[2]), flagged=f)])) for f in (False, True))
    assert len(places(plain, frame)) == 0
    assert len(places(flagged, frame)) > 1000


@pytest.mark.parametrize("name", ["李雷", "Zoë", "अनीता", "x" * 64, "W" * 64])
def test_any_name_and_prompt_can_be_drawn(name):
    page = contact_sheet(name, [Labelled(flat(COLOURS[0]))], subtitle=f"photo of {name}, " * 40)
    assert page.width == WIDTH


def test_a_name_pillow_cannot_draw_becomes_a_word_not_boxes():
    tiles = [Labelled(flat(COLOURS[0]))]
    assert np.array_equal(contact_sheet("李雷", tiles), contact_sheet("Portraits", tiles))
    assert not np.array_equal(contact_sheet("Ada", tiles), contact_sheet("Portraits", tiles))


@pytest.mark.parametrize("steps", [1, 2, 300])
def test_curves_of_any_length(steps):
    curve = [LossPoint(i + 1, 0.5 / (i + 1) + 0.1 * (i % 3), 1e-3, 0.4 if i == steps - 1 else None) for i in range(steps)]
    empty = np.asarray(draw_sheet("t", "", [Section("Training", curve=[LossPoint(1, 0.0, 1e-3)])]))
    page = np.asarray(draw_sheet("t", "", [Section("Training", curve=curve)]))
    assert page.shape == empty.shape
    assert not np.array_equal(page, empty)


def test_sections_stand_below_each_other():
    one = draw_sheet("t", "", [Section("A", [Labelled(flat(COLOURS[0]))], 8)])
    two = draw_sheet("t", "", [Section("A", [Labelled(flat(COLOURS[0]))], 8), Section("B", [Labelled(flat(COLOURS[1]))], 8)])
    page = np.asarray(two)
    assert two.height > one.height
    assert places(page, COLOURS[0]).max(axis=0)[0] < places(page, COLOURS[1]).min(axis=0)[0]
