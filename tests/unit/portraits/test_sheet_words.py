"""The words on a sheet stay on it: long names, prompts over several lines, scripts Pillow cannot draw."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageColor

from facechain_ext.portraits.sheet import MARGIN, PAPER, WIDTH, Labelled, contact_sheet, draw_sheet, load_font

HEAD = MARGIN + 80
"""Rows that hold title and subtitle only, px."""
TILE = Labelled(np.full((8, 8, 3), 90, np.uint8), "likeness 0.512", "seed 3")


def head(title: str, subtitle: str = "") -> np.ndarray:
    """True where something is written in the sheet's head."""
    page = np.asarray(draw_sheet(title, subtitle, []))
    return (page[:HEAD] != np.array(ImageColor.getrgb(PAPER))).any(axis=2)


@pytest.mark.parametrize(("title", "subtitle"), [("W" * 64, ""), ("Ada", "wide words " * 60), ("m" * 64, "M" * 4000)])
def test_long_words_end_before_the_margin(title, subtitle):
    written = head(title, subtitle)
    columns = np.flatnonzero(written.any(axis=0))
    assert columns[0] >= MARGIN - 2
    # Nearly the whole width is used, and none of the margin.
    assert WIDTH - 3 * MARGIN < columns[-1] <= WIDTH - MARGIN


def test_words_that_fit_are_not_shortened():
    words = "photo of sks person, garden"
    room = WIDTH - 2 * MARGIN
    while load_font(16).getlength(words + " x") <= room:
        words += " x"
    assert not np.array_equal(head("Ada", words), head("Ada", words[:-1]))
    assert not np.array_equal(head("Ada", words), head("Ada", words + " xx"))


def test_a_very_long_prompt_takes_no_time():
    began = time.process_time()
    contact_sheet("Ada", [TILE], "sharp eyes, " * 2000)
    assert time.process_time() - began < 2


def test_a_prompt_over_several_lines_stands_on_one():
    assert np.array_equal(head("Ada", "photo of Ada,\n\tlaughing\r\n"), head("Ada", "photo of Ada, laughing"))
    assert np.array_equal(head("Ada\nLovelace"), head("Ada Lovelace"))


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=64), st.text(max_size=200))
def test_any_words_make_a_sheet_of_the_same_size(title, subtitle):
    assert contact_sheet(title, [TILE], subtitle).size == contact_sheet("Ada", [TILE]).size


def test_the_sheet_grows_with_its_rows():
    heights = [contact_sheet("Ada", [TILE] * n).height for n in (1, 4, 5, 8, 9)]
    assert heights[1] < heights[0], "four in a row are smaller than one or two"
    assert heights[2] - heights[1] == heights[4] - heights[3] > 0
    assert heights[2] == heights[3]
