"""The line that says what a training will take."""

from __future__ import annotations

from facechain_ext.ports import Estimate
from facechain_ext.ui.estimates import estimate_line


def test_time_and_memory_are_said():
    html = estimate_line(Estimate(2_140_000_000, 9_800_000_000, 372, True))
    assert "about 6 min" in html
    assert "as fast as the last training here" in html
    assert "about 2.1 GB" in html
    assert "of 9.8 GB free" in html
    assert "fc-warn" not in html


def test_a_guess_is_called_one():
    assert "a guess until the first training here" in estimate_line(Estimate(10**6, None, 40, False))
    assert "known after the first training here" in estimate_line(Estimate(10**6, None, None, False))


def test_what_does_not_fit_is_said_with_what_would():
    short = Estimate(8 * 10**9, 6 * 10**9, 60, True)
    assert "This is more than is free. To fit: 384 px." in estimate_line(short, "To fit: 384 px.")
    assert "smaller checkpoint" in estimate_line(short)
