"""What people give a training: one photo, hundreds, no words, every shape, a clock that jumps. All of it learns, or is refused with a sentence."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.errors import ConfigError
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training.loop import Watch, train
from facechain_ext.training.runlog import LOG_FILE, read_log
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession, untouched

CONFIG = TrainConfig(steps=40, rank=4, alpha=4, batch=4, learning_rate=2e-2, warmup=2, resolution=64, previews=0, save_every=10)


def run(dataset, folder, config=CONFIG, sink=silent, session=None):
    session = session or SmallSession()
    with untouched(session):
        return train(session, dataset, config, folder, Watch(sink, CancelToken(), lambda _: None))


def falls(outcome) -> bool:
    losses = [p.loss for p in outcome.curve]
    return sum(losses[-10:]) < 0.97 * sum(losses[:10])


def test_one_photo(tmp_path):
    assert falls(run(make_dataset(1), tmp_path))


def test_five_hundred_photos_are_each_encoded_once_and_all_are_seen(tmp_path):
    session = SmallSession()
    outcome = run(make_dataset(500), tmp_path, replace(CONFIG, batch=25, steps=20), session=session)
    assert session.images == 500
    assert len(outcome.curve) == 20


def test_empty_captions(tmp_path):
    dataset = make_dataset()
    assert falls(run(replace(dataset, photos=tuple(replace(p, caption="") for p in dataset.photos)), tmp_path))


def test_photos_of_every_shape(tmp_path):
    dataset = make_dataset(4)

    def cut(photo, height, width):
        return replace(photo, image=np.ascontiguousarray(photo.image[:height, :width]), mask=np.ascontiguousarray(photo.mask[:height, :width]))

    sizes = [(64, 64), (64, 40), (40, 64), (33, 61)]
    photos = tuple(cut(p, *size) for p, size in zip(dataset.photos, sizes, strict=True))
    assert falls(run(replace(dataset, photos=photos), tmp_path))


def test_rates_and_ranks_that_cannot_be():
    with pytest.raises(ConfigError) as error:
        TrainConfig(learning_rate=10.0, rank=0)
    assert len(error.value.problems) == 2


def test_the_highest_rate_allowed_ends_or_is_halved_and_is_said(tmp_path):
    """0.1, a thousand times the usual: the adapter that comes out holds numbers."""
    outcome = run(make_dataset(), tmp_path, replace(CONFIG, learning_rate=0.1, gradient_clip=0.0, schedule="constant"))
    assert all(bool(torch.isfinite(t).all()) for halves in outcome.adapter.values() for t in halves.values())


def test_a_clock_that_jumps_decides_nothing(tmp_path, monkeypatch):
    whole = run(make_dataset(), tmp_path / "whole")
    jumps = itertools.cycle([0.0, 4e9, -1e9, 1e15])
    left = []
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    outcome = run(make_dataset(), tmp_path / "jumps", sink=lambda e: left.append(e.eta_s) if e.stage is Stage.TRAIN and e.step > 1 else None)
    assert [p.loss for p in outcome.curve] == [p.loss for p in whole.curve]
    assert 0 <= outcome.seconds < 300
    assert all(v is None or 0 <= v < 300 for v in left)
    assert left[-1] == 0
    assert len(read_log(tmp_path / "jumps" / LOG_FILE)) == CONFIG.steps + 2
