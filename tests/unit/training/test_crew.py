"""Two processes on a CPU: they learn what one with both shares does, end together, and lose nothing when one is killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import psutil
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.errors import Cancelled, HostError, Paused, TrainingError
from facechain_ext.lora.adapters import flat
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training.checkpoints import load_state
from facechain_ext.training.loop import STATE_FILE, Watch, train
from tests.conftest import make_dataset
from tests.unit.training.host_state import snapshot
from tests.unit.training.small_session import SmallSession

pytestmark = pytest.mark.skipif(not torch.distributed.is_available() or not torch.distributed.is_gloo_available(), reason="torch has no gloo")

ONE = TrainConfig(steps=6, rank=2, alpha=2, batch=4, learning_rate=2e-3, resolution=64, previews=0, save_every=2, seed=3)
TWO = replace(ONE, batch=2, processes=2)


class Shared(SmallSession):
    """The small session, and another in each worker; ``faults`` go wrong in the workers."""

    faults: tuple[str, ...] = ()

    def elsewhere(self, processes):
        return partial(opened, self.faults)


@contextlib.contextmanager
def opened(faults, number):
    if "start" in faults:
        raise HostError("There is no such GPU.")
    session = Shared()
    if faults:
        session.predict = partial(faulty, session, faults, session.predict)
    yield session


def faulty(session, faults, predict, noisy, *more):
    session.calls = getattr(session, "calls", 0) + 1
    if "memory" in faults and len(noisy) > 1:
        raise MemoryError
    return predict(noisy, *more) * (float("nan") if "nan" in faults and session.calls == 7 else 1)


def run(session, folder, config, *, resume=False, sink=silent, token=None):
    return train(session, make_dataset(), config, folder, Watch(sink, token or CancelToken(), lambda _: 0.5), resume=resume)


def at(step, act):
    def sink(event):
        if event.stage is Stage.TRAIN and event.step_loss is not None and event.step == step:
            act()

    return sink


def agree(a, b):
    assert [p.loss for p in a.curve] == pytest.approx([p.loss for p in b.curve], rel=1e-4)
    ours, theirs = (torch.cat([t.flatten() for t in flat(o.adapter).values()]) for o in (a, b))
    # Adam makes much of gradients that are nothing but rounding, so the whole is compared, not each number.
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


@pytest.fixture(autouse=True)
def nobody_left():
    before = torch.get_num_threads(), os.environ.get("GLOO_SOCKET_IFNAME")
    yield
    assert multiprocessing.active_children() == []
    assert not torch.distributed.is_initialized()
    assert (torch.get_num_threads(), os.environ.get("GLOO_SOCKET_IFNAME")) == before


@pytest.mark.slow
def test_on_a_checkpoint_two_processes_learn_what_one_does(host, dataset, tmp_path):
    before = snapshot(host)
    outcomes = []
    for config in (TWO, ONE, replace(ONE, batch=2)):
        with host.open_session() as session:
            watch = Watch(silent, CancelToken(), lambda _: 0.5)
            outcomes.append(train(session, dataset, config, tmp_path / str(len(outcomes)), watch))
    agree(*outcomes[:2])
    with pytest.raises(AssertionError):
        agree(outcomes[2], outcomes[1])
    assert snapshot(host) == before


@pytest.mark.slow
def test_with_everything_a_training_can_have_and_resumed_by_one_alone(tmp_path):
    more = {"text_encoder_rate": 1e-3, "ema": 0.9, "accumulation": 2, "prior_weight": 1.0, "class_images": 2, "shuffle_captions": True}
    one, two = replace(ONE, kind="dora", **more), replace(TWO, kind="dora", **more)
    whole = run(SmallSession(), tmp_path / "one", one)
    agree(run(Shared(), tmp_path / "two", two), whole)
    token = CancelToken()
    with pytest.raises(Paused, match="step 3"):
        run(Shared(), tmp_path / "part", two, sink=at(3, token.pause), token=token)
    assert load_state(tmp_path / "part" / STATE_FILE)[0].processes == 2
    agree(run(SmallSession(), tmp_path / "part", one, resume=True), whole)


@pytest.mark.slow
def test_a_killed_worker_ends_the_training_with_all_its_steps_kept(tmp_path):
    def kill():
        [worker] = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"Process 2 of 2 ended unexpectedly \(killed by signal 9\).* state at step 3 is kept"):
        run(Shared(), tmp_path, TWO, sink=at(3, kill))
    agree(run(Shared(), tmp_path, TWO, resume=True), run(SmallSession(), tmp_path / "one", ONE))


@pytest.mark.slow
def test_memory_and_losses_of_a_worker_are_everybodys(tmp_path):
    session = Shared()
    session.faults = ("memory", "nan")
    outcome = run(session, tmp_path, TWO)
    assert outcome.steps == 6
    assert "step 1: 1 photo at a time" in outcome.notes[0]
    assert "stopped being a number" in outcome.notes[1]


@pytest.mark.slow
def test_what_fails_in_a_worker_is_told_and_cancelling_reaches_all(tmp_path):
    session = Shared()
    session.faults = ("start",)
    with pytest.raises(TrainingError, match="no such GPU"):
        run(session, tmp_path / "a", TWO)
    token = CancelToken()

    def everybody_is_told():
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGINT)
            os.kill(worker.pid, signal.SIGTERM)

    def cancel_later(event):
        at(1, everybody_is_told)(event)
        at(3, token.cancel)(event)

    with pytest.raises(Cancelled, match="state at step 2 is kept"):
        run(Shared(), tmp_path / "b", TWO, sink=cancel_later, token=token)


@pytest.mark.slow
def test_no_worker_outlives_a_leader_that_is_killed(tmp_path):
    script = "from tests.unit.training.test_crew import *; import pathlib, time; run(Shared(), pathlib.Path(sys.argv[1]), TWO, sink=at(2, lambda: print('on', flush=True) or time.sleep(60)))"
    leader = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert leader.stdout is not None
    assert leader.stdout.readline() == "on\n"
    workers = psutil.Process(leader.pid).children(recursive=True)
    assert any("spawn_main" in " ".join(w.cmdline()) for w in workers)
    leader.kill()
    leader.wait()
    assert psutil.wait_procs(workers, timeout=30)[1] == []
