"""Follow a job from an event handler: a generator that sends only what changed, for a click and for a page load alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from facechain_ext.services.jobs import Job
from facechain_ext.ui.compat import update

POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Part:
    """One output: drawn anew when ``key`` differs from the last one's."""

    key: Hashable
    draw: Callable[[], Any]


def follow(job: Job, parts: Callable[[Job], list[Part]], poll_s: float = POLL_S) -> Iterator[list[Any]]:
    """Yield values for the outputs until the job has ended; the last ones show its end. A part without news yields no change."""
    shown: list[Hashable] = []
    while True:
        # Asked before drawing: what is drawn after the end shows the end.
        ended = job.wait(0)
        now = parts(job)
        keys = [part.key for part in now]
        if keys != shown:
            old = shown or [object()] * len(now)
            yield [update() if part.key == was else part.draw() for part, was in zip(now, old, strict=True)]
            shown = keys
        if ended:
            return
        job.wait(poll_s)
