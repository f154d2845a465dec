"""The line that says what a training will take."""

from __future__ import annotations

import pytest

from facechain_ext.config import TrainConfig
from facechain_ext.ports import Estimate
from facechain_ext.ui.estimates import estimate_line


def test_time_and_memory_are_said():
    html = estimate_line(Estimate(2_140_000_000, 9_800_000_000, 372, True), None)
    assert "about 6 min" in html
    assert "as fast as the last training here" in html
    assert "about 2.1 GB" in html
    assert "of 9.8 GB free" in html
    assert "fc-warn" not in html


def test_a_guess_is_called_one():
    assert "a guess until the first training here" in estimate_line(Estimate(10**6, None, 40, False), None)
    assert "known after the first training here" in estimate_line(Estimate(10**6, None, None, False), None)


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (TrainConfig(gradient_checkpointing=True), "Use Save memory."),
        (TrainConfig(gradient_checkpointing=True, batch=1, resolution=512), "Use Save memory, batch 1, resolution 512."),
        (None, "smaller checkpoint"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(instead, said):
    assert said in estimate_line(Estimate(8 * 10**9, 6 * 10**9, 60, True), instead)
