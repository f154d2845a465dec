"""The buttons of the train page: refused, followed, stopped, cancelled, failed and found again after a reload."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PilImage

from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig
from facechain_ext.errors import Cancelled, Paused, TrainingError, UserInputError
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage, silent
from facechain_ext.services.requests import CheckpointChoice, TrainRequest, TrainResult
from facechain_ext.services.studio import Studio
from facechain_ext.training.checkpoints import TrainState, save_state
from facechain_ext.training.optim import OptimizerState
from facechain_ext.ui.train_actions import TrainActions
from facechain_ext.workspace import Workspace

CHECK, TRAIN, RESUME, PAUSE, STOP, CANCEL = range(6)
OWN = TrainConfig(steps=30, rank=4)


class Checkpoints:
    """One checkpoint, never opened."""

    def gpus(self) -> int:
        return 1

    def choices(self) -> list[CheckpointChoice]:
        return [CheckpointChoice("tiny", Path("tiny"), "a note", True, OWN, PortraitConfig(), PrepareConfig())]

    def find(self, choice: str | None) -> CheckpointChoice:
        if choice not in (None, "tiny"):
            raise UserInputError(f"There is no checkpoint called '{choice}'.")
        return self.choices()[0]

    def open(self, choice: str | None) -> Any:
        raise NotImplementedError


class Scripted(Studio):
    """Trains until told to stop or cancel; fails with seed 13."""

    seen: TrainRequest | None = None

    def train(self, request: TrainRequest, on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> TrainResult:
        self.seen = request
        assert cancel is not None
        if request.config.seed == 13:
            raise TrainingError("Memory ran out. Choose a smaller batch.")
        step = 0
        while step < request.config.steps and not cancel.stopping:
            if cancel.cancelled:
                raise Cancelled("Cancelled at your request.")
            if cancel.pausing:
                raise Paused(f"Paused at step {step}.")
            step += 1
            on_progress(Progress(Stage.TRAIN, step, request.config.steps, loss=0.1))
            if request.config.steps == OWN.steps:
                cancel._stopped.wait(0.01)
        return TrainResult(request.person, Path("Anna.safetensors"), step, 1.0, 0.1, 0.5, cancel.stopping, (), ())


@pytest.fixture
def studio(tmp_path: Path) -> Scripted:
    made = Scripted(Workspace(tmp_path), lambda: None, Checkpoints())  # type: ignore[arg-type, return-value]
    dataset = made.workspace.person("Anna").dataset
    dataset.mkdir(parents=True)
    PilImage.new("RGB", (8, 8)).save(dataset / "001.png")
    return made


def on(state: dict[str, Any]) -> bool:
    return bool(state["interactive"])


def test_training_is_followed_to_its_summary(studio):
    outputs = list(TrainActions(studio, lambda: [None, None]).start("Anna", "tiny", {"steps": 3.0, "resolution": ""}))
    assert "The face LoRA is ready" in outputs[-1][0]
    assert studio.seen == TrainRequest("Anna", "tiny", TrainConfig(steps=3, rank=4))


@pytest.mark.parametrize(
    ("person", "values", "said"),
    [("", {}, "must have 1 to"), ("Nobody", {}, "no person called"), ("Anna", {"steps": 0}, "&#x27;Steps&#x27; must lie between")],
)
def test_what_cannot_start_is_refused_with_a_sentence(studio, person, values, said):
    (only,) = TrainActions(studio, lambda: [None, None]).start(person, "tiny", values)
    assert "Training did not start" in only[0]
    assert said in only[0]
    assert studio.jobs.jobs() == []


def test_a_failure_is_shown_in_its_own_words(studio):
    outputs = list(TrainActions(studio, lambda: [None, None]).start("Anna", "tiny", {"seed": 13}))
    assert "Training failed" in outputs[-1][0]
    assert "Choose a smaller batch" in outputs[-1][0]


@pytest.mark.parametrize(
    ("action", "said"), [("stop", "Stopped early, and kept"), ("cancel", "Cancelled at your request"), ("pause", "Paused at step")]
)
def test_stop_keeps_cancel_does_not_and_pause_lets_go(studio, action, said):
    act = TrainActions(studio, lambda: [None, None])
    running = act.start("Anna", "tiny", {})
    next(running)
    job = studio.jobs.current("train")
    assert job is not None
    while job.started is None:
        job.wait(0.01)
    states = act.buttons("Anna")
    assert [on(states[i]) for i in (TRAIN, PAUSE, STOP, CANCEL)] == [False, True, True, True]
    getattr(act, action)()
    assert said in list(running)[-1][0]
    states = act.buttons("Anna")
    assert [on(states[i]) for i in (TRAIN, PAUSE, STOP, CANCEL)] == [True, False, False, False]


def test_a_reload_finds_the_training_again(studio):
    list(TrainActions(studio, lambda: [None, None]).start("Anna", "tiny", {"steps": 2}))
    fresh = TrainActions(studio, lambda: [None, None])
    assert "The face LoRA is ready" in list(fresh.attach_train())[-1][0]
    assert "No photos checked yet" in next(iter(fresh.attach_check()))[0]


def test_resuming_takes_the_settings_of_the_unfinished_training(studio):
    folder = studio.workspace.person("Anna").training
    save_state(folder / "state.safetensors", TrainState(2, {}, OptimizerState(), (), 1.0), {"settings": json.dumps({"steps": 5, "rank": 8})})
    # The program was started anew since: only the file knows them. What may change on the way comes from the form.
    list(TrainActions(studio, lambda: [None, None]).resume("Anna", "tiny", {"steps": 99, "rank": 1, "previews": 2}))
    assert studio.seen == TrainRequest("Anna", "tiny", TrainConfig(steps=5, rank=8, previews=2), resume=True)


def test_resuming_nothing_is_refused_with_a_sentence(studio):
    (only,) = TrainActions(studio, lambda: [None, None]).resume("Anna", "tiny", {})
    assert "no unfinished training" in only[0]


def test_resume_is_offered_only_when_there_is_something_to_resume(studio):
    act = TrainActions(studio, lambda: [None, None])
    assert act.buttons("Anna")[RESUME]["visible"] is False
    training = studio.workspace.person("Anna").training
    training.mkdir()
    (training / "state.safetensors").write_bytes(b"x")
    assert act.buttons("Anna")[RESUME]["visible"] is True
    assert on(act.buttons("Nobody")[TRAIN]) is False
    assert on(act.buttons("Nobody")[CHECK]) is True
