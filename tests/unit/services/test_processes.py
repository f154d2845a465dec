"""An unfinished training goes on with as many processes as can share its steps evenly."""

from __future__ import annotations

import pytest

from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.ports import CheckpointInfo, Family, Prediction
from facechain_ext.services.train_person import STATE_FILE, _shared, resumed
from facechain_ext.training.checkpoints import TrainState, fingerprint, save_state
from facechain_ext.training.optim import OptimizerState
from facechain_ext.workspace import Workspace

INFO = CheckpointInfo("tiny", "0" * 64, Family.SD1, Prediction.EPS, 64)
BEGUN = TrainConfig(batch=3, processes=2)


@pytest.fixture
def folder(tmp_path, dataset):
    folder = Workspace(tmp_path).person("Anna")
    state = TrainState(2, {}, OptimizerState(), (), 1.0, processes=BEGUN.processes)
    save_state(folder.training / STATE_FILE, state, fingerprint(dataset, INFO, BEGUN))
    return folder


@pytest.mark.parametrize(("processes", "batch"), [(1, 6), (2, 3), (3, 2), (6, 1)])
def test_the_photos_of_a_step_are_shared_anew(folder, dataset, processes, batch):
    config = _shared(folder, TrainConfig(batch=3, processes=processes))
    assert (config.batch, config.processes) == (batch, processes)
    assert fingerprint(dataset, INFO, config) == fingerprint(dataset, INFO, BEGUN)


def test_what_cannot_be_shared_evenly_is_refused(folder):
    with pytest.raises(UserInputError, match="6 photos in each pass, which 4 processes cannot share evenly"):
        _shared(folder, TrainConfig(batch=3, processes=4))


def test_another_batch_is_left_to_be_refused_and_the_page_goes_on_as_it_began(folder):
    assert _shared(folder, TrainConfig(batch=2, processes=1)) == TrainConfig(batch=2)
    assert resumed(folder, TrainConfig()) == BEGUN
