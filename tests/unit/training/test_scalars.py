"""TensorBoard's curves beside the run's log: what the log says, hidden beyond a resume, and never in the way."""

from __future__ import annotations

import sys
import types

import pytest

pytest.importorskip("torch")

from facechain_ext.training import scalars
from facechain_ext.training.runlog import RunLog
from facechain_ext.training.scalars import FOLDER


def steps(log: RunLog, first: int, last: int) -> None:
    for step in range(first, last + 1):
        log.write("step", step=step, loss=1 / step, learning_rate=1e-4)


def test_the_curves_are_the_logs(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = RunLog(tmp_path / "run.jsonl", fresh=True)
    log.write("start", step=0, checkpoint="x")
    steps(log, 1, 5)
    log.write("preview", step=5, likeness=0.4, score=0.4, variety=0.7)
    log.close()
    log = RunLog(tmp_path / "run.jsonl", fresh=False)
    steps(log, 4, 6)
    log.close()
    found = EventAccumulator(str(tmp_path / FOLDER)).Reload()
    assert set(found.Tags()["scalars"]) == set(scalars.NAMES.values())
    losses = [(e.step, e.value) for e in found.Scalars("training/loss")]
    assert [step for step, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert [value for _, value in losses] == pytest.approx([1 / step for step in range(1, 7)])
    assert [(e.step, e.value) for e in found.Scalars("previews/likeness")] in ([(5, pytest.approx(0.4))], [])
    fresh = RunLog(tmp_path / "run.jsonl", fresh=True)
    steps(fresh, 1, 2)
    fresh.close()
    assert [e.step for e in EventAccumulator(str(tmp_path / FOLDER)).Reload().Scalars("training/loss")] == [1, 2]


def test_without_the_package_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(scalars.importlib.util, "find_spec", lambda name: None)
    log = RunLog(tmp_path / "run.jsonl", fresh=True)
    steps(log, 1, 3)
    log.close()
    assert [p.name for p in tmp_path.iterdir()] == ["run.jsonl"]


def test_a_package_that_breaks_ends_no_training(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(scalars.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.ModuleType("broken"))
    log = RunLog(tmp_path / "run.jsonl", fresh=True)
    steps(log, 1, 3)
    log.close()
    assert len((tmp_path / "run.jsonl").read_text().splitlines()) == 3
    assert caplog.text.count("TensorBoard") == 1
