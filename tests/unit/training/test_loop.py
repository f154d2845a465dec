"""The training loop on the embedded checkpoint: it learns, resumes bit for bit, stops, cancels, and leaves the host as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.errors import Cancelled, TrainingError, UserInputError
from facechain_ext.hosts.standalone.host import StandaloneSession
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training.checkpoints import load_state
from facechain_ext.training.loop import STATE_FILE, Watch, train
from tests.conftest import make_dataset
from tests.unit.training.host_state import snapshot

CONFIG = TrainConfig(steps=6, rank=2, alpha=2, batch=2, learning_rate=2e-3, resolution=64, previews=0, save_every=2)


def run(host, dataset, folder, config=CONFIG, *, resume=False, sink=silent, token=None, score=lambda _: 0.5):
    with host.open_session() as session:
        return train(session, dataset, config, folder, Watch(sink, token or CancelToken(), score), resume=resume)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for key in a.adapter for x, y in zip(a.adapter[key], b.adapter[key], strict=True))


@pytest.fixture(scope="module")
def whole(host, tmp_path_factory):
    """An uninterrupted run, and the host's state before it."""
    before = snapshot(host)
    outcome = run(host, make_dataset(), tmp_path_factory.mktemp("whole"))
    return outcome, before


def test_the_host_is_as_before(host, whole):
    assert snapshot(host) == whole[1]


def test_it_learns(host, dataset, tmp_path):
    outcome = run(host, dataset, tmp_path, replace(CONFIG, steps=40, batch=4, warmup=5, save_every=100))
    losses = [p.loss for p in outcome.curve]
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])


def test_the_same_seed_gives_the_same_lora_and_another_another(host, whole, dataset, tmp_path):
    assert same(run(host, dataset, tmp_path / "a"), whole[0])
    assert not same(run(host, dataset, tmp_path / "b", replace(CONFIG, seed=2)), whole[0])


def test_a_stopped_run_keeps_what_it_learned_and_resumes_bit_for_bit(host, whole, dataset, tmp_path):
    token = CancelToken()

    def stop_at_three(event):
        if event.stage is Stage.TRAIN and event.step == 3:
            token.stop()

    part = run(host, dataset, tmp_path, sink=stop_at_three, token=token)
    assert (part.steps, part.stopped_early) == (3, True)
    assert not same(part, whole[0])
    rest = run(host, dataset, tmp_path, resume=True)
    assert (rest.steps, rest.stopped_early) == (6, False)
    assert same(rest, whole[0])
    assert [p.loss for p in rest.curve] == [p.loss for p in whole[0].curve]


def test_a_killed_process_resumes_bit_for_bit(host, whole, dataset, tmp_path):
    script = textwrap.dedent(
        """
        import sys, pathlib, time
        sys.path.insert(0, sys.argv[2])
        from facechain_ext.hosts.standalone.checkpoints import SHIPPED
        from facechain_ext.hosts.standalone.host import StandaloneHost
        from facechain_ext.progress import Stage
        from tests.conftest import make_dataset
        from tests.unit.training.test_loop import run

        def slow(event):
            if event.stage is Stage.TRAIN and event.step > 4:
                time.sleep(60)

        run(StandaloneHost(SHIPPED / "tiny-faces.safetensors"), make_dataset(), pathlib.Path(sys.argv[1]), sink=slow)
        """
    )
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[".."] * 3))
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path), root])
    state = tmp_path / STATE_FILE
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and not (state.exists() and load_state(state)[0].step == 4):
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert load_state(state)[0].step == 4
    assert same(run(host, dataset, tmp_path, resume=True), whole[0])


def test_cancelling_says_what_is_kept(host, whole, dataset, tmp_path):
    token = CancelToken()

    def cancel_at_three(event):
        if event.stage is Stage.TRAIN and event.step == 3:
            token.cancel()

    with pytest.raises(Cancelled, match="state at step 2 is kept"):
        run(host, dataset, tmp_path, sink=cancel_at_three, token=token)
    assert snapshot(host) == whole[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == [STATE_FILE]


def test_an_error_in_any_step_leaves_the_host_as_before(host, whole, dataset, tmp_path):
    def fail(event):
        if event.stage is Stage.TRAIN and event.step == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(host, dataset, tmp_path, sink=fail)
    assert snapshot(host) == whole[1]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(torch.OutOfMemoryError("CUDA out of memory"), "Memory ran out"), (MemoryError(), "Memory ran out")],
    ids=["gpu", "cpu"],
)
def test_out_of_memory_is_said_and_leaves_the_host_as_before(host, whole, dataset, tmp_path, monkeypatch, error, wanted):
    real = StandaloneSession.predict
    calls = []

    def scarce(self, *args):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return real(self, *args)

    monkeypatch.setattr(StandaloneSession, "predict", scarce)
    with pytest.raises(TrainingError, match=wanted):
        run(host, dataset, tmp_path)
    assert load_state(tmp_path / STATE_FILE)[0].step == 2
    assert snapshot(host) == whole[1]


def test_a_loss_that_is_no_number_ends_the_run_with_advice(host, whole, dataset, tmp_path, monkeypatch):
    real = StandaloneSession.predict
    calls = []

    def broken(self, *args):
        calls.append(1)
        return real(self, *args) * (float("nan") if len(calls) == 4 else 1)

    monkeypatch.setattr(StandaloneSession, "predict", broken)
    with pytest.raises(TrainingError, match=r"at step 4.*lower learning rate"):
        run(host, dataset, tmp_path)
    assert load_state(tmp_path / STATE_FILE)[0].step == 2
    assert snapshot(host) == whole[1]


def test_resuming_something_else_is_refused(host, dataset, tmp_path):
    with pytest.raises(UserInputError, match="no unfinished training"):
        run(host, dataset, tmp_path, resume=True)
    run(host, dataset, tmp_path, replace(CONFIG, steps=2))
    with pytest.raises(UserInputError, match=r"rank \(2 then, 4 now\)"):
        run(host, dataset, tmp_path, replace(CONFIG, steps=2, rank=4, alpha=2), resume=True)
    with pytest.raises(UserInputError, match="the photos"):
        run(host, make_dataset(seed=9), tmp_path, replace(CONFIG, steps=2), resume=True)


def test_previews_are_shown_scored_and_do_not_disturb_learning(host, whole, dataset, tmp_path):
    seen = []
    config = replace(CONFIG, previews=2, preview_every=3)
    outcome = run(host, dataset, tmp_path, config, sink=seen.append, score=lambda image: float(image.mean() > -1) * 0.25)
    assert same(outcome, whole[0])
    assert outcome.likeness == 0.25
    pictures = [e.picture for e in seen if e.stage is Stage.PREVIEW]
    assert [p.name for p in pictures] == ["step-00003-1.png", "step-00003-2.png", "step-00006-1.png", "step-00006-2.png"]
    assert all(p.exists() for p in pictures)
    assert [(p.step, p.likeness) for p in outcome.curve if p.likeness is not None] == [(3, 0.25), (6, 0.25)]


def test_gradient_checkpointing_gives_the_same_lora(host, whole, dataset, tmp_path):
    with host.open_session(gradient_checkpointing=True) as session:
        outcome = train(session, dataset, CONFIG, tmp_path, Watch(silent, CancelToken(), lambda _: None))
    close = [torch.allclose(x, y, atol=1e-5) for k in outcome.adapter for x, y in zip(outcome.adapter[k], whole[0].adapter[k], strict=True)]
    assert all(close)
    assert snapshot(host) == whole[1]


def test_mirrored_views_are_used_only_when_asked(host, whole, dataset, tmp_path):
    assert not same(run(host, dataset, tmp_path, replace(CONFIG, flip=True)), whole[0])
