"""Progress events out, stop and cancel requests in."""

from __future__ import annotations

import enum
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facechain_ext.errors import Cancelled


class Stage(str, enum.Enum):
    """What a job is busy with, in the order a whole run passes through them."""

    WAITING = "waiting"
    PREPARE = "prepare"
    LOAD = "load"
    PRIOR = "prior"
    CACHE = "cache"
    TRAIN = "train"
    PREVIEW = "preview"
    SAVE = "save"
    GENERATE = "generate"
    RANK = "rank"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """One event; ``step`` of ``total`` within ``stage``, 0 <= step <= total, ``eta_s`` seconds to the end of the stage."""

    stage: Stage
    step: int = 0
    total: int = 0
    message: str = ""
    loss: float | None = None
    """Mean of the most recent steps."""
    step_loss: float | None = None
    """Of this step alone."""
    learning_rate: float | None = None
    likeness: float | None = None
    eta_s: float | None = None
    picture: Path | None = None

    @property
    def fraction(self) -> float:
        """Share of the stage that is done, 0..1."""
        return min(1.0, self.step / self.total) if self.total > 0 else 0.0


@dataclass(frozen=True, slots=True)
class LossPoint:
    """One point of a training curve; ``likeness`` only where previews were scored."""

    step: int
    loss: float
    learning_rate: float
    likeness: float | None = None


ProgressSink = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """A sink for callers that do not want to hear."""


class CancelToken:
    """Carries a request to stop from any thread to the worker.

    ``cancel()`` means: give up, keep nothing new. ``stop()`` means: end after the current step and keep what was learned.
    ``pause()`` means: save where it stands after the current step and let go of everything, to go on later.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._stopped = threading.Event()
        self._paused = threading.Event()

    def cancel(self) -> None:
        """Ask the worker to give up."""
        self._cancelled.set()

    def stop(self) -> None:
        """Ask the worker to finish early and keep its result."""
        self._stopped.set()

    def pause(self) -> None:
        """Ask the worker to save where it stands and end for now."""
        self._paused.set()

    @property
    def pausing(self) -> bool:
        """True once ``pause()`` was called."""
        return self._paused.is_set()

    @property
    def cancelled(self) -> bool:
        """True once ``cancel()`` was called."""
        return self._cancelled.is_set()

    @property
    def stopping(self) -> bool:
        """True once ``stop()`` was called."""
        return self._stopped.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise ``Cancelled`` once ``cancel()`` was called."""
        if self._cancelled.is_set():
            raise Cancelled("Cancelled at your request. Nothing was changed.")


class Eta:
    """Estimates seconds to go from the mean duration of the most recent steps."""

    def __init__(self, total: int, window: int = 20, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._marks: deque[tuple[int, float]] = deque(maxlen=window + 1)

    def update(self, step: int) -> float | None:
        """Note that ``step`` steps are done; return seconds to go, or None before two marks."""
        self._marks.append((step, self._clock()))
        first_step, first_time = self._marks[0]
        last_step, last_time = self._marks[-1]
        if last_step <= first_step:
            return None
        return max(0.0, (last_time - first_time) / (last_step - first_step) * (self._total - last_step))
