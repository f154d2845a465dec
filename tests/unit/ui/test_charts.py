"""The training curve: valid SVG, numbers on the axes, robust against odd curves."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.progress import LossPoint
from facechain_ext.ui.charts import POINTS, loss_chart, smoothed, thinned, ticks


def curve(losses: list[float], likeness: dict[int, float] | None = None) -> list[LossPoint]:
    return [LossPoint(i + 1, loss, 1e-4, (likeness or {}).get(i + 1)) for i, loss in enumerate(losses)]


def test_without_losses_there_is_no_chart():
    assert loss_chart([]) == ""
    assert loss_chart(curve([math.nan, math.inf])) == ""


def test_the_axes_have_numbers_and_the_curve_its_place():
    root = ElementTree.fromstring(loss_chart(curve([0.2, 0.15, 0.1]), total=100))
    texts = [t.text for t in root.iter("text")]
    assert {"0", "0.1", "0.2", "20", "100", "steps", "loss, smoothed", "each step", "learning rate, up to 0.0001"} <= set(texts)
    assert "likeness of previews" not in texts
    last = root.findall("polyline")[-1].attrib["points"].split()[-1]
    assert float(last.split(",")[0]) < 100, "three of a hundred steps stay at the left"


def test_likeness_has_its_own_axis_and_values():
    root = ElementTree.fromstring(loss_chart(curve([0.2] * 10, {5: 0.31, 10: 0.62})))
    texts = [t.text for t in root.iter("text")]
    assert {"0.31", "0.62", "likeness of previews"} <= set(texts)
    assert "Likeness of the latest previews: 0.62" in root.attrib["aria-label"]


def test_long_curves_are_thinned_to_means_and_keep_their_end():
    points = thinned(curve([float(i % 2) for i in range(10_000)]))
    assert len(points) <= POINTS
    assert points[-1].step == 10_000
    assert all(0.4 < p.loss < 0.6 for p in points)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.floats(-1, 1), st.integers(0, 100))
def test_any_curve_gives_valid_svg_within_its_frame(losses, likeness, total):
    root = ElementTree.fromstring(loss_chart(curve(losses, {len(losses): likeness}), total))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for line in root.findall("polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0, 1, [0, 0.25, 0.5, 0.75, 1]), (0, 12, [0, 5, 10]), (0, 0.21, [0, 0.1, 0.2]), (-0.2, 1, [0, 0.5, 1]), (3, 3, [3])],
)
def test_ticks_are_round_numbers(low, high, wanted):
    assert ticks(low, high) == wanted


@given(st.floats(1e-6, 1e6), st.integers(1, 8))
def test_ticks_lie_within_and_are_few(high, count):
    marks = ticks(0, high, count)
    assert all(0 <= m <= high * (1 + 1e-6) for m in marks)
    assert 1 <= len(marks) <= 2 * count + 2


def test_smoothing_has_no_bias_at_its_start():
    assert smoothed([0.5] * 40) == pytest.approx([0.5] * 40)
