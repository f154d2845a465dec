"""Estimates of time: from the machine's peak at first, from real trainings later."""

from __future__ import annotations

from dataclasses import replace

import pytest

from facechain_ext.config import TrainConfig
from facechain_ext.ports import Footprint
from facechain_ext.services.speeds import remember, told
from facechain_ext.workspace import Workspace

SHAPES = {"input_blocks.1.0.in_layers.2.weight": (8, 8, 3, 3), "input_blocks.1.1.proj_in.weight": (8, 8, 1, 1)}
FOOTPRINT = Footprint(SHAPES, 64, "tiny 1000", "cpu", 4, 10**9, peak=1e9)
CONFIG = TrainConfig(steps=100)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path)


def test_a_first_training_is_guessed_from_the_peak(workspace):
    said = told(workspace, FOOTPRINT, CONFIG)
    assert said.seconds is not None
    assert not said.measured
    assert told(workspace, replace(FOOTPRINT, peak=2e9), CONFIG).seconds == pytest.approx(said.seconds / 2)
    assert told(workspace, replace(FOOTPRINT, peak=None), CONFIG).seconds is None


def test_the_next_is_as_fast_as_the_last(workspace):
    remember(workspace, FOOTPRINT, CONFIG, 50.0)
    remember(workspace, FOOTPRINT, CONFIG, 80.0)
    said = told(workspace, FOOTPRINT, CONFIG)
    assert said.measured
    assert said.seconds == pytest.approx(80)
    # Without previews, whose share is known: twice the steps, twice the time.
    once, twice = (told(workspace, FOOTPRINT, replace(CONFIG, steps=n, previews=0)).seconds for n in (100, 200))
    assert once is not None
    assert twice == pytest.approx(2 * once)


def test_another_checkpoint_or_machine_is_guessed_anew(workspace):
    remember(workspace, FOOTPRINT, CONFIG, 50.0)
    assert not told(workspace, replace(FOOTPRINT, checkpoint="other 1000"), CONFIG).measured
    assert not told(workspace, replace(FOOTPRINT, device="Some GPU"), CONFIG).measured


@pytest.mark.parametrize("damage", ["", "[]", '{"schema": 1}', '{"schema": 1, "operations_per_second": {"tiny 1000 cpu 4": "fast"}}'])
def test_a_damaged_file_is_as_none(workspace, damage):
    workspace.speeds.write_text(damage)
    assert not told(workspace, FOOTPRINT, CONFIG).measured
    remember(workspace, FOOTPRINT, CONFIG, 50.0)
    assert told(workspace, FOOTPRINT, CONFIG).measured


def test_nothing_done_teaches_nothing(workspace):
    remember(workspace, FOOTPRINT, CONFIG, 0.0)
    assert not workspace.speeds.exists()
