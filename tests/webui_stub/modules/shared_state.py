"""Progress and the Interrupt button (modules/shared_state.py)."""

from __future__ import annotations

from typing import Any


class State:
    skipped = interrupted = stopping_generation = False
    job, job_no, job_count = "", 0, 0
    sampling_step = sampling_steps = 0
    current_image: Any = None
    textinfo: str | None = None
    begun: list[str]

    def __init__(self) -> None:
        self.begun = []
        self.ended = 0

    def interrupt(self) -> None:
        self.interrupted = True

    def nextjob(self) -> None:
        self.job_no += 1
        self.sampling_step = 0

    def begin(self, job: str = "(unknown)") -> None:
        # -1: ``process_images`` makes it its own number of batches (processing.py:929).
        self.job_count, self.job_no, self.sampling_step = -1, 0, 0
        self.skipped = self.interrupted = self.stopping_generation = False
        self.textinfo, self.current_image, self.job = None, None, job
        self.begun.append(job)

    def end(self) -> None:
        # Neither flags nor steps are put back (:129).
        self.job, self.job_count = "", 0
        self.ended += 1
