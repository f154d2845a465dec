"""The training loop on the embedded checkpoint: it learns, resumes bit for bit, stops, cancels, and leaves the host as it was."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.errors import Cancelled, HostError, StorageError, TrainingError, UserInputError
from facechain_ext.hosts.standalone.host import StandaloneSession
from facechain_ext.lora.adapters import flat
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training import loop
from facechain_ext.training.checkpoints import load_state
from facechain_ext.training.loop import STATE_FILE, Watch, train
from facechain_ext.training.optim import learning_rate
from facechain_ext.training.runlog import LOG_FILE, read_log
from tests.conftest import make_dataset
from tests.unit.training.host_state import snapshot

CONFIG = TrainConfig(steps=6, rank=2, alpha=2, batch=2, learning_rate=2e-3, resolution=64, previews=0, save_every=2)

KEPT = ["kept-1.png", "kept-2.png"]


def run(host, dataset, folder, config=CONFIG, *, resume=False, sink=silent, token=None, score=lambda _: 0.5):
    with host.open_session() as session:
        return train(session, dataset, config, folder, Watch(sink, token or CancelToken(), score), resume=resume)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flat(a.adapter).values(), flat(b.adapter).values(), strict=True))


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
    assert sorted(p.name for p in tmp_path.iterdir()) == [LOG_FILE, STATE_FILE]


def test_an_error_in_any_step_leaves_the_host_as_before(host, whole, dataset, tmp_path):
    def fail(event):
        if event.stage is Stage.TRAIN and event.step == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(host, dataset, tmp_path, sink=fail)
    assert snapshot(host) == whole[1]


def near(a, b) -> bool:
    return all(torch.allclose(x, y, atol=1e-5) for x, y in zip(flat(a.adapter).values(), flat(b.adapter).values(), strict=True))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["gpu", "cpu"])
def test_out_of_memory_makes_do_with_less_and_learns_the_same(host, whole, dataset, tmp_path, monkeypatch, error):
    real, sizes = StandaloneSession.predict, []

    def scarce(self, noisy, *args):
        sizes.append((len(noisy), self.unet.is_gradient_checkpointing))
        if len(sizes) >= 4 and sizes[-1] != (1, True):
            raise error
        return real(self, noisy, *args)

    monkeypatch.setattr(StandaloneSession, "predict", scarce)
    outcome = run(host, dataset, tmp_path)
    assert sizes == [(2, False)] * 4 + [(2, True)] + [(1, True)] * 6
    assert near(outcome, whole[0])
    assert [p.loss for p in outcome.curve] == pytest.approx([p.loss for p in whole[0].curve], rel=1e-4)
    assert len(outcome.notes) == 2
    assert "step 4: gradient checkpointing" in outcome.notes[0]
    assert "1 photo at a time" in outcome.notes[1]
    assert snapshot(host) == whole[1]


def test_out_of_memory_lowers_the_resolution_when_nothing_else_is_left(host, whole, dataset, tmp_path, monkeypatch):
    real = StandaloneSession.predict

    def scarce(self, noisy, *args):
        if noisy.shape[-1] > 32:
            raise MemoryError
        return real(self, noisy, *args)

    monkeypatch.setattr(StandaloneSession, "predict", scarce)
    outcome = run(host, dataset, tmp_path, replace(CONFIG, steps=2, batch=1, resolution=384))
    assert [n.partition(": ")[2] for n in outcome.notes] == ["gradient checkpointing is on from here.", "training goes on at 256 px."]
    assert snapshot(host) == whole[1]


def test_out_of_memory_in_spite_of_everything_is_said_and_leaves_the_host_as_before(host, whole, dataset, tmp_path, monkeypatch):
    real, calls = StandaloneSession.predict, []

    def scarce(self, *args):
        calls.append(1)
        if len(calls) >= 4:
            raise MemoryError
        return real(self, *args)

    monkeypatch.setattr(StandaloneSession, "predict", scarce)
    with pytest.raises(TrainingError, match="Memory ran out"):
        run(host, dataset, tmp_path)
    assert load_state(tmp_path / STATE_FILE)[0].step == 2
    assert snapshot(host) == whole[1]


def spoiled(monkeypatch, which):
    """Let the UNet give out no numbers in the calls for whose number ``which`` is true."""
    real, calls = StandaloneSession.predict, []

    def broken(self, *args):
        calls.append(1)
        return real(self, *args) * (float("nan") if which(len(calls)) else 1)

    monkeypatch.setattr(StandaloneSession, "predict", broken)


def test_a_loss_that_is_no_number_goes_back_and_on_more_slowly(host, whole, dataset, tmp_path, monkeypatch):
    spoiled(monkeypatch, lambda call: call == 4)
    outcome = run(host, dataset, tmp_path)
    assert [p.step for p in outcome.curve] == [1, 2, 3, 4, 5, 6]
    mine, theirs = ([p.learning_rate for p in o.curve] for o in (outcome, whole[0]))
    assert mine == pytest.approx([*theirs[:2], *(r / 2 for r in theirs[2:])])
    assert [p.loss for p in outcome.curve[:3]] == [p.loss for p in whole[0].curve[:3]]
    assert outcome.notes == ("The loss stopped being a number at step 4: back to step 2, with half the learning rate from here.",)
    assert outcome.notes[0] in [line.get("said") for line in read_log(tmp_path / LOG_FILE)]
    assert snapshot(host) == whole[1]


def test_the_slower_rate_survives_a_resume(host, dataset, tmp_path, monkeypatch):
    token = CancelToken()
    spoiled(monkeypatch, lambda call: call == 1)
    run(host, dataset, tmp_path, sink=lambda e: token.stop() if e.stage is Stage.TRAIN and e.step == 3 else None, token=token)
    rest = run(host, dataset, tmp_path, resume=True)
    assert [p.learning_rate for p in rest.curve] == pytest.approx([learning_rate(CONFIG, step) / 2 for step in range(6)])


def test_a_loss_that_stays_no_number_ends_the_run_with_advice(host, whole, dataset, tmp_path, monkeypatch):
    spoiled(monkeypatch, lambda call: call >= 4)
    with pytest.raises(TrainingError, match=r"at step 3 again.*much lower one"):
        run(host, dataset, tmp_path)
    assert load_state(tmp_path / STATE_FILE)[0].step == 2
    assert snapshot(host) == whole[1]


def test_passes_of_one_step_learn_as_one_batch(host, whole, dataset, tmp_path):
    outcome = run(host, dataset, tmp_path, replace(CONFIG, batch=1, accumulation=2))
    # Adam divides by the size of gradients: where they are next to nothing, rounding alone decides.
    pairs = list(zip(flat(outcome.adapter).values(), flat(whole[0].adapter).values(), strict=True))
    assert statistics.median(float((a - b).norm() / b.norm()) for a, b in pairs) < 1e-3
    assert [p.loss for p in outcome.curve] == pytest.approx([p.loss for p in whole[0].curve], rel=1e-4)


def test_a_full_disk_is_told_and_training_goes_on(host, whole, dataset, tmp_path, monkeypatch):
    real, calls = loop.save_state, []

    def full(*args):
        calls.append(1)
        if len(calls) == 1:
            raise StorageError("The disk is full.")
        real(*args)

    monkeypatch.setattr(loop, "save_state", full)
    outcome = run(host, dataset, tmp_path)
    assert same(outcome, whole[0])
    assert outcome.notes == ("Step 2 could not be saved, training goes on: The disk is full.",)


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
    pictures = [e.picture for e in seen if e.picture]
    assert [p.name for p in pictures] == ["step-00003-1.png", "step-00003-2.png", "step-00006-1.png", "step-00006-2.png", *KEPT]
    assert [p.name for p in outcome.previews] == KEPT
    assert all(p.exists() for p in pictures)
    assert [(p.step, p.likeness) for p in outcome.curve if p.likeness is not None] == [(3, 0.25), (6, 0.25)]


def test_gradient_checkpointing_gives_the_same_lora(host, whole, dataset, tmp_path):
    with host.open_session(gradient_checkpointing=True) as session:
        outcome = train(session, dataset, CONFIG, tmp_path, Watch(silent, CancelToken(), lambda _: None))
    close = [torch.allclose(x, y, atol=1e-5) for x, y in zip(flat(outcome.adapter).values(), flat(whole[0].adapter).values(), strict=True)]
    assert all(close)
    assert snapshot(host) == whole[1]


def test_mirrored_views_are_used_only_when_asked(host, whole, dataset, tmp_path):
    assert not same(run(host, dataset, tmp_path, replace(CONFIG, flip=True)), whole[0])


def test_the_lora_kept_is_the_one_that_is_most_alike(host, whole, dataset, tmp_path):
    """Likeness as if the training had gone too far: it falls from the second preview on, whichever seed draws."""
    shown = []

    def score(image):
        shown.append(1)
        return 0.6 if len(shown) in (1, 4) else 0.2

    config = replace(CONFIG, previews=1, preview_every=2)
    outcome = run(host, dataset, tmp_path, config, score=score)
    # Steps 2, 4 and 6, then on other seeds: the last step 0.6, step 2, the mean of all.
    assert [c.score for c in outcome.choice.contenders] == [0.6, 0.2, 0.2]
    assert outcome.choice.kept == "the last step"
    assert same(outcome, whole[0])
    shown.clear()
    outcome = run(
        host,
        dataset,
        tmp_path,
        config,
        score=lambda image: [0.6, 0.3, 0.2, 0.3, 0.7, 0.4, 0.7][len(shown) - 1] if shown.append(1) is None else 0,
    )
    early = run(host, dataset, tmp_path / "early", replace(CONFIG, steps=2))
    assert outcome.choice.kept == "step 2"
    assert outcome.likeness == 0.7
    assert "0.70" in outcome.choice.reason
    assert [c.name for c in outcome.choice.contenders] == ["the last step", "step 2", "the mean of steps 2, 4 and 6"]
    assert not same(outcome, whole[0])
    assert {k: v.shape for k, v in flat(outcome.adapter).items()} == {k: v.shape for k, v in flat(early.adapter).items()}
    assert not (tmp_path / "candidates").exists()


def test_the_last_step_is_kept_when_asked(host, whole, dataset, tmp_path):
    likeness = iter([0.6, 0.3, 0.2])
    outcome = run(host, dataset, tmp_path, replace(CONFIG, previews=1, preview_every=2, keep="last"), score=lambda _: next(likeness))
    assert outcome.choice is None
    assert same(outcome, whole[0])


def test_training_ends_when_previews_get_no_better(host, dataset, tmp_path):
    likeness = iter([0.3, 0.6, 0.5, 0.4, 0.3, 0.3, 0.3, 0.3])
    config = replace(CONFIG, steps=20, previews=1, preview_every=1, patience=2)
    outcome = run(host, dataset, tmp_path, config, score=lambda _: next(likeness))
    assert (outcome.steps, outcome.stopped_early) == (4, False)
    assert "step 2 (0.60), 2 previews ago" in outcome.notes[0]
    kinds = [line["kind"] for line in read_log(tmp_path / LOG_FILE)]
    assert (kinds.count("step"), kinds.count("preview"), kinds[0], kinds[-1]) == (4, 4, "start", "end")


OTHERS = {"adafactor": 2e-2, "prodigy": 1e-4, "schedule-free": 2e-3}
"""Optimizers beside AdamW that come as plain Python, and a rate that suits them."""


@pytest.fixture(scope="module")
def idle(host, tmp_path_factory):
    """Losses of the same samples when nothing is learned."""
    config = replace(CONFIG, learning_rate=1e-12, steps=60, batch=4, warmup=2)
    return [p.loss for p in run(host, make_dataset(), tmp_path_factory.mktemp("idle"), config).curve]


@pytest.mark.parametrize("kind", OTHERS)
def test_every_optimizer_learns_and_resumes_bit_for_bit(host, whole, idle, dataset, tmp_path, kind):
    config = replace(
        CONFIG,
        optimizer=kind,
        learning_rate=OTHERS[kind],
        steps=60,
        batch=4,
        warmup=2,
        save_every=6,
        previews=1,
        preview_every=30,
        keep="last",
    )
    uninterrupted = run(host, dataset, tmp_path / "whole", config)
    losses = [p.loss for p in uninterrupted.curve]
    assert sum(losses[-8:]) < 0.95 * sum(idle[-8:])
    token = CancelToken()
    run(
        host,
        dataset,
        tmp_path / "part",
        config,
        sink=lambda e: token.stop() if e.stage is Stage.TRAIN and e.step == 13 else None,
        token=token,
    )
    rest = run(host, dataset, tmp_path / "part", config, resume=True)
    assert [p.loss for p in rest.curve] == losses
    assert same(rest, uninterrupted)
    assert snapshot(host) == whole[1]


def test_previews_of_a_schedule_free_run_change_nothing(host, dataset, tmp_path):
    config = replace(CONFIG, optimizer="schedule-free", keep="last", patience=0)
    with_previews = run(host, dataset, tmp_path / "a", replace(config, previews=1, preview_every=1))
    assert same(with_previews, run(host, dataset, tmp_path / "b", config))


def test_an_optimizer_that_is_not_installed_is_said(host, whole, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(HostError, match=r"adamw8bit needs the Python package bitsandbytes.*pip install bitsandbytes.*choose adamw"):
        run(host, dataset, tmp_path, replace(CONFIG, optimizer="adamw8bit"))
    assert snapshot(host) == whole[1]


@pytest.mark.parametrize(
    "changed", [{"noise_offset": 0.1}, {"debiased": True}, {"gradient_clip": 0.01}, {"schedule": "constant"}, {"schedule": "linear"}]
)
def test_settings_of_the_objective_have_their_effect(host, whole, dataset, tmp_path, changed):
    assert not same(run(host, dataset, tmp_path, replace(CONFIG, **changed)), whole[0])
