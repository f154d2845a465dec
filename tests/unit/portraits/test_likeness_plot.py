"""The bench's picture: it changes with every number it shows, and no number breaks it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import ImageColor

from facechain_ext.portraits.likeness_plot import HEIGHT, STYLE_COLOURS, Dot, draw_plot
from facechain_ext.portraits.sheet import ACCENT, INK, MARGIN, PAPER, WIDTH

CURVES = {"orl-03": [(0, 0.1), (100, 0.4), (200, 0.6)], "orl-11": [(0, 0.0), (100, 0.2), (200, 0.5)]}
DOTS = [Dot("charcoal", 0.5, 0.5, 0.3), Dot("charcoal", 1.0, 0.3, 0.9), Dot("stencil", 0.5, 0.4, 0.2)]


def drawn(title="Likeness", curves=CURVES, ceiling=0.7, dots=()) -> np.ndarray:
    page = np.asarray(draw_plot(title, curves, ceiling, dots))
    assert page.shape == (HEIGHT, WIDTH, 3)
    return page


def rows(page: np.ndarray, colour: str, least: int = 1) -> np.ndarray:
    """Rows with at least ``least`` pixels of exactly that colour."""
    return np.flatnonzero((page == np.array(ImageColor.getrgb(colour))).all(axis=2).sum(axis=1) >= least)


def test_everything_shown_makes_a_difference():
    pages = [
        drawn(),
        drawn("Another title"),
        drawn(ceiling=0.8),
        drawn(curves={"orl-03": CURVES["orl-03"]}),
        drawn(curves=CURVES | {"orl-11": [(0, 0.0), (100, 0.2), (200, 0.45)]}),
        drawn(dots=DOTS),
        drawn(dots=[*DOTS[:2], Dot("stencil", 0.6, 0.4, 0.2)]),
        drawn(dots=[*DOTS[:2], Dot("stencil", 0.5, 0.4, 0.6)]),
    ]
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(pages, 2))


def test_a_higher_ceiling_stands_higher():
    low, high = (rows(drawn(ceiling=c), ACCENT, least=300) for c in (0.3, 0.8))
    assert high.max() < low.min()


def test_each_style_has_its_colour():
    page = drawn(dots=DOTS)
    assert len(rows(page, STYLE_COLOURS[0])) > 5
    assert len(rows(page, STYLE_COLOURS[1])) > 5
    assert len(rows(page, STYLE_COLOURS[2])) == 0
    many = [Dot(f"style-{i}", 1.0, 0.5, i / 10) for i in range(8)]
    assert all(len(rows(drawn(dots=many), c)) for c in STYLE_COLOURS)


def test_the_mean_is_drawn_only_where_everyone_has_a_point():
    def dark(curves):
        return int((drawn(curves=curves)[130:480, 150:] == np.array(ImageColor.getrgb(INK))).all(axis=2).sum())

    alone = {"orl-03": [(100, 0.4), (200, 0.6)], "orl-11": [(150, 0.2)]}
    assert dark(alone) == 0 < dark(CURVES)


@pytest.mark.parametrize(
    "curves",
    [{}, {"a": []}, {"a": [(0, 0.2)]}, {"a": [(5, 0.2)]}, {"a": [(0, -1.0), (10, 1.5)]}],
    ids=["nobody", "no points", "before training only", "one point", "out of range"],
)
def test_few_or_odd_points_are_drawn_all_the_same(curves):
    page = drawn(curves=curves, dots=[Dot("x", 1.0, -2.0, 3.0)])
    paper = np.array(ImageColor.getrgb(PAPER))
    assert (page[-15:] == paper).all(), "nothing may be drawn below the axes"


def test_a_long_title_ends_before_the_margin():
    page = drawn("How alike portraits of people become " * 8)
    assert (page[: MARGIN + 30, WIDTH - MARGIN + 2 :] == np.array(ImageColor.getrgb(PAPER))).all()
