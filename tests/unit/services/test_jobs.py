"""Background jobs: one at a time and in order, each ending in one state with a sentence, none taking the worker down."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from facechain_ext.errors import Cancelled, UserInputError
from facechain_ext.progress import Progress, Stage
from facechain_ext.services.jobs import FINISHED_JOBS_KEPT, JobRunner, JobState

PATIENCE = 20


class Gate:
    """Work that says when it began and goes on when told to."""

    def __init__(self) -> None:
        self.began, self.open = threading.Event(), threading.Event()

    def __call__(self, sink, token):
        self.began.set()
        assert self.open.wait(PATIENCE)
        token.raise_if_cancelled()
        return "kept" if token.stopping else "whole"


@pytest.fixture
def runner() -> JobRunner:
    return JobRunner()


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open.set()


def ended(job):
    assert job.wait(PATIENCE)
    return job


def test_a_job_that_ends_well(runner):
    job = ended(runner.submit("prepare", "Ada", lambda sink, token: 42))
    assert (job.state, job.result, job.error, job.active) == (JobState.DONE, 42, None, False)
    assert job.started is not None
    assert job.finished is not None
    assert job.started <= job.finished
    assert runner.get(job.id) is job


def test_one_at_a_time_in_order(runner, gate):
    seen = []
    first = runner.submit("train", "Ada", gate)
    rest = [runner.submit("prepare", "Ada", lambda sink, token, i=i: seen.append(i)) for i in range(5)]
    assert gate.began.wait(PATIENCE)
    assert first.state is JobState.RUNNING
    assert {j.state for j in rest} == {JobState.QUEUED}
    assert all(j.active and j.progress.stage is Stage.WAITING for j in rest)
    assert runner.current() is first
    assert runner.current("prepare") is rest[0]
    assert runner.current("portraits") is None
    assert not rest[0].wait(0.01)
    gate.open.set()
    for job in rest:
        ended(job)
    assert seen == [0, 1, 2, 3, 4]
    assert runner.current() is None
    assert runner.jobs() == [first, *rest]


def test_our_errors_are_told_as_they_are(runner):
    def fail(sink, token):
        raise UserInputError("There is no face.")

    job = ended(runner.submit("prepare", "Ada", fail))
    assert (job.state, job.error) == (JobState.FAILED, "There is no face.")


def test_other_errors_are_logged_and_told_without_their_words(runner, caplog):
    def fail(sink, token):
        raise ZeroDivisionError("/home/ada/photo.jpg")

    with caplog.at_level(logging.ERROR):
        job = ended(runner.submit("prepare", "Ada", fail))
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "ZeroDivisionError" in job.error
    assert "photo.jpg" not in job.error
    assert any(r.exc_info for r in caplog.records)


def test_the_worker_lives_on_after_an_error(runner):
    def fail(sink, token):
        raise RuntimeError

    ended(runner.submit("prepare", "Ada", fail))
    assert ended(runner.submit("prepare", "Ada", lambda sink, token: 1)).result == 1


def test_a_running_job_can_be_cancelled(runner, gate):
    job = runner.submit("train", "Ada", gate)
    assert gate.began.wait(PATIENCE)
    runner.cancel(job.id)
    assert job.state is JobState.RUNNING
    gate.open.set()
    assert ended(job).state is JobState.CANCELLED
    assert job.result is None
    assert job.error == "Cancelled at your request. Nothing was changed."


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(runner, gate):
    ran = []
    runner.submit("train", "Ada", gate)
    assert gate.began.wait(PATIENCE)
    waiting = runner.submit("train", "Ada", lambda sink, token: ran.append(1))
    runner.cancel(waiting.id)
    assert waiting.wait(0)
    assert (waiting.state, waiting.started) == (JobState.CANCELLED, None)
    gate.open.set()
    ended(runner.submit("train", "Ada", lambda sink, token: None))
    assert ran == []
    assert waiting.state is JobState.CANCELLED


def test_a_stopped_job_keeps_what_it_has(runner, gate):
    job = runner.submit("train", "Ada", gate)
    runner.stop(job.id)
    gate.open.set()
    assert (ended(job).state, job.result) == (JobState.DONE, "kept")


def test_cancelling_what_ended_changes_nothing(runner):
    job = ended(runner.submit("prepare", "Ada", lambda sink, token: 1))
    runner.cancel(job.id)
    assert (job.state, job.result, job.error) == (JobState.DONE, 1, None)


def test_unknown_jobs_are_the_users_mistake(runner):
    for call in (runner.get, runner.cancel, runner.stop):
        with pytest.raises(UserInputError, match="no such job"):
            call("nonsuch")


def test_watchers_see_progress_curve_and_pictures(runner):
    def work(sink, token):
        sink(Progress(Stage.LOAD, message="Loading"))
        sink(Progress(Stage.TRAIN, 1, 2, loss=0.4, step_loss=0.5, learning_rate=1e-3))
        sink(Progress(Stage.PREVIEW, 1, 1, "step 1, likeness 0.30", likeness=0.3, picture=Path("p.png")))
        sink(Progress(Stage.TRAIN, 2, 2, loss=0.3, step_loss=0.25, learning_rate=1e-4, likeness=0.3))

    job = runner.submit("train", "Ada", work)
    ended(job)
    assert [(p.step, p.loss, p.learning_rate, p.likeness) for p in job.curve] == [(1, 0.5, 1e-3, None), (2, 0.25, 1e-4, 0.3)]
    assert job.pictures == [("p.png", "step 1, likeness 0.30")]
    assert (job.progress.stage, job.progress.step) == (Stage.TRAIN, 2)
    assert job.version >= 6


def test_every_change_is_a_new_version(runner, gate):
    job = runner.submit("train", "Ada", gate)
    assert gate.began.wait(PATIENCE)
    running = job.version
    gate.open.set()
    assert ended(job).version > running > 0


def test_old_jobs_are_forgotten_active_ones_never(runner, gate):
    waiting = runner.submit("train", "Ada", gate)
    assert gate.began.wait(PATIENCE)
    cancelled = [runner.submit("prepare", "Ada", lambda sink, token: 1) for _ in range(FINISHED_JOBS_KEPT + 10)]
    for job in cancelled:
        runner.cancel(job.id)
    last = runner.submit("prepare", "Ada", lambda sink, token: 1)
    known = runner.jobs()
    assert waiting in known
    assert last in known
    assert sum(not j.active for j in known) == FINISHED_JOBS_KEPT
    assert cancelled[0] not in known
    assert cancelled[-1] in known


def test_forgetting_a_person_leaves_the_jobs_of_others_and_those_under_way(runner, gate):
    done = [ended(runner.submit("prepare", name, lambda sink, token: 1)) for name in ("Ada", "Bob")]
    active = runner.submit("train", "Ada", gate)
    runner.forget("Ada")
    assert runner.jobs() == [done[1], active]


def test_cancelled_by_the_work_itself(runner):
    def work(sink, token):
        raise Cancelled("The state at step 2 is kept.")

    job = ended(runner.submit("train", "Ada", work))
    assert (job.state, job.error) == (JobState.CANCELLED, "The state at step 2 is kept.")


def test_clearing_up_happens_once_however_a_job_ends(runner, gate):
    cleared = []

    def fail(_sink, _token):
        raise UserInputError("No.")

    running = runner.submit("train", "Ada", gate, lambda: cleared.append("done"))
    waiting = runner.submit("prepare", "Ada", gate, lambda: cleared.append("never began"))
    failing = runner.submit("prepare", "Ada", fail, lambda: cleared.append("failed"))
    runner.cancel(waiting.id)
    assert cleared == ["never began"]
    gate.open.set()
    assert ended(running).state is JobState.DONE
    assert ended(failing).state is JobState.FAILED
    assert cleared == ["never began", "done", "failed"]


def test_a_job_whose_clearing_up_fails_has_ended_all_the_same(runner, caplog):
    def fail():
        raise OSError("disk")

    assert ended(runner.submit("prepare", "Ada", lambda sink, token: 1, fail)).state is JobState.DONE
    assert "clearing up after a prepare job failed" in caplog.text
    assert ended(runner.submit("prepare", "Ada", lambda sink, token: 2)).result == 2


def test_a_failed_job_shows_what_its_error_carries(runner):
    error = UserInputError("None can be used.")
    error.result = "verdicts"

    def fail(_sink, _token):
        raise error

    job = ended(runner.submit("prepare", "Ada", fail))
    assert (job.state, job.error, job.result) == (JobState.FAILED, "None can be used.", "verdicts")
