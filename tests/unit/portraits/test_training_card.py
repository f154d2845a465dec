"""The picture that sums a training up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facechain_ext.config import TrainConfig
from facechain_ext.portraits.sheet import ACCENT, WARN
from facechain_ext.portraits.training_card import TrainingCard, draw_card, in_words, smoothed
from facechain_ext.progress import LossPoint


def card(curve=None, kept="step 60", **more) -> TrainingCard:
    points = [LossPoint(i, 1 / i, 1e-3, 0.3 if i == 30 else 0.5 if i == 60 else 0.4 if i == 90 else None) for i in range(1, 91)]
    config = TrainConfig(steps=90, batch=2, accumulation=3, resolution=512)
    return TrainingCard("Ada Lovelace", config, "SDXL", 90, 125.0, 5, points if curve is None else curve, kept, 0.51, **more)


def pixels_of(picture, colour) -> np.ndarray:
    """Places (x, y) of ``colour``."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.argwhere((np.asarray(picture) == wanted).all(-1))[:, ::-1]


def test_it_says_how_it_went_and_with_what():
    went, settings = in_words(card())
    assert went == "90 of 90 steps in 2 min 5 s · 5 photos · kept: step 60 · likeness 0.51"
    assert settings == "SDXL · 512 px · rank 16, alpha 16 · adamw at 0.0003, cosine · batch 2 x 3"


@pytest.mark.parametrize(("kept", "share"), [("step 30", 1 / 3), ("step 60", 2 / 3), ("the last step", 1.0)])
def test_the_step_that_was_kept_is_marked_at_its_place(kept, share):
    low = pixels_of(draw_card(card(kept=kept)), WARN)
    dots = low[low[:, 1] > 540]
    middle = 92 + (1200 - 40 - 92) * share
    assert np.abs(np.median(dots[:, 0]) - middle) < 40
    assert len(pixels_of(draw_card(card(kept=kept)), ACCENT)) > 500


def test_a_mean_marks_each_of_its_steps():
    alone, three = (pixels_of(draw_card(card(kept=kept)), WARN) for kept in ("step 60", "the mean of steps 30, 60 and 90"))
    assert len(three[three[:, 1] > 540]) > 2 * len(alone[alone[:, 1] > 540])


def test_previews_stand_below_and_odd_curves_are_drawn_too():
    grey = np.full((64, 64, 3), 128, np.uint8)
    with_two, with_none = draw_card(card(first=[grey] * 2, last=[grey] * 6)), draw_card(card())
    assert with_two.height > with_none.height + 500
    assert len(pixels_of(with_two, "#808080")) == 6 * 268 * 268
    for curve in ((), [LossPoint(1, math.nan, 1e-3)], [LossPoint(1, 0.0, 0.0)], [LossPoint(1, 0.1, 1e-3), LossPoint(2, math.inf, 1e-3)]):
        assert draw_card(card(curve=curve)).size == with_none.size


def test_smoothing_is_the_mean_of_the_latest():
    assert smoothed([1.0, 3.0]) == [1.0, 2.0]
    assert smoothed([0.0] * 30 + [20.0])[-1] == 1.0
