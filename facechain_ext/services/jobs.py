"""One worker thread that runs jobs in order, so that pages can start, watch, stop and find them again."""

from __future__ import annotations

import enum
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from facechain_ext.errors import Cancelled, FaceChainError, Paused, UserInputError
from facechain_ext.progress import CancelToken, LossPoint, Progress, ProgressSink, Stage

log = logging.getLogger(__name__)

FINISHED_JOBS_KEPT = 50
Work = Callable[[ProgressSink, CancelToken], Any]


def _nothing() -> None: ...


class JobState(str, enum.Enum):
    """A job's life."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"


@dataclass
class Job:
    """One piece of work; fields are written by the runner only."""

    id: str
    kind: str
    """``prepare``, ``train`` or ``portraits``."""
    person: str
    work: Work
    on_end: Callable[[], None] = _nothing
    """Called once however the job ends, also when it never began."""
    token: CancelToken = field(default_factory=CancelToken)
    state: JobState = JobState.QUEUED
    progress: Progress = field(default_factory=lambda: Progress(Stage.WAITING))
    curve: list[LossPoint] = field(default_factory=list)
    """Every loss point so far, for charts."""
    pictures: list[tuple[str, str]] = field(default_factory=list)
    """(file, caption) of every preview so far."""
    result: Any = None
    """What the work returned; of a failed job what its error has as ``result``, if anything."""
    error: str | None = None
    """A sentence for people."""
    version: int = 0
    """Grows with every change, so that watchers redraw only when needed."""
    started: float | None = None
    finished: float | None = None
    _done: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        """True while queued or running."""
        return self.state in (JobState.QUEUED, JobState.RUNNING)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the job ended; False when ``timeout`` seconds passed first."""
        return self._done.wait(timeout)


class JobRunner:
    """Runs one job at a time: the checkpoint is one, so is the work."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._queue: queue.Queue[Job] = queue.Queue()
        self._lock = threading.Lock()
        self._worker: threading.Thread | None = None

    def submit(self, kind: str, person: str, work: Work, on_end: Callable[[], None] = _nothing) -> Job:
        """Queue ``work``; it is called with a progress sink and a cancel token on the worker thread.

        ``on_end`` is called once however the job ends, also when it is cancelled before it began.
        """
        job = Job(secrets.token_hex(8), kind, person, work, on_end)
        with self._lock:
            finished = [j.id for j in self._jobs.values() if not j.active]
            for old in finished[: max(0, len(finished) - FINISHED_JOBS_KEPT)]:
                del self._jobs[old]
            self._jobs[job.id] = job
            self._queue.put(job)
            if self._worker is None or not self._worker.is_alive():
                self._worker = threading.Thread(target=self._run, name="facechain-jobs", daemon=True)
                self._worker.start()
        return job

    def get(self, job_id: str) -> Job:
        """The job ``job_id``.

        Raises:
            UserInputError: when there is none.
        """
        job = self._jobs.get(job_id)
        if job is None:
            raise UserInputError("There is no such job; it may have ended long ago. Look at the list of jobs.")
        return job

    def jobs(self) -> list[Job]:
        """All jobs known, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def current(self, kind: str | None = None) -> Job | None:
        """The job that runs or waits first, of ``kind`` if given."""
        return next((j for j in self.jobs() if j.active and kind in (None, j.kind)), None)

    def cancel(self, job_id: str) -> Job:
        """Give up the job; nothing of it is kept."""
        job = self.get(job_id)
        job.token.cancel()
        with self._lock:
            if job.state is JobState.QUEUED:
                self._end(job, JobState.CANCELLED, "Cancelled before it began.")
        return job

    def stop(self, job_id: str) -> Job:
        """Let the job finish early and keep what it has."""
        job = self.get(job_id)
        job.token.stop()
        return job

    def pause(self, job_id: str) -> Job:
        """Let a training save where it stands and end for now; a new one with ``resume`` goes on from there."""
        job = self.get(job_id)
        job.token.pause()
        return job

    def forget(self, person: str) -> None:
        """Drop finished jobs of ``person``; called when the person is deleted."""
        with self._lock:
            for job in [j for j in self._jobs.values() if j.person == person and not j.active]:
                del self._jobs[job.id]

    def _run(self) -> None:
        while True:
            job = self._queue.get()
            with self._lock:
                if job.state is not JobState.QUEUED:
                    continue
                job.state, job.started = JobState.RUNNING, time.time()
                job.version += 1
            self._work(job)

    def _work(self, job: Job) -> None:
        def sink(event: Progress) -> None:
            job.progress = event
            if event.stage is Stage.TRAIN and event.step_loss is not None:
                job.curve.append(LossPoint(event.step, event.step_loss, event.learning_rate or 0.0, event.likeness))
            if event.picture is not None:
                job.pictures.append((str(event.picture), event.message))
            job.version += 1

        try:
            job.result = job.work(sink, job.token)
            self._end(job, JobState.DONE, None)
        except Paused as error:
            self._end(job, JobState.PAUSED, str(error))
        except Cancelled as error:
            self._end(job, JobState.CANCELLED, str(error))
        except FaceChainError as error:
            job.result = getattr(error, "result", None)
            self._end(job, JobState.FAILED, str(error))
        except Exception as error:  # the job runner is an entry point: nothing may end the worker thread
            log.exception("%s job failed", job.kind)
            self._end(job, JobState.FAILED, f"Something unexpected went wrong ({type(error).__name__}); the log has the details.")

    def _end(self, job: Job, state: JobState, error: str | None) -> None:
        try:
            job.on_end()
        except Exception:  # whatever is left to clear away, the job has ended
            log.exception("clearing up after a %s job failed", job.kind)
        job.state, job.error, job.finished = state, error, time.time()
        job.version += 1
        job._done.set()
