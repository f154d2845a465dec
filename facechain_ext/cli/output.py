"""What the commands print: people read stderr and tables, programs read one JSON object on stdout."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from facechain_ext.progress import Progress as Event
from facechain_ext.progress import Stage

STAGES = {
    Stage.PREPARE: "Checking photos",
    Stage.LOAD: "Loading",
    Stage.PRIOR: "Class images",
    Stage.CACHE: "Encoding photos",
    Stage.TRAIN: "Training",
    Stage.PREVIEW: "Previews",
    Stage.GENERATE: "Generating",
    Stage.RANK: "Measuring likeness",
}


class Output:
    """Where results and messages go; with ``as_json`` only the result reaches stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.messages = Console(stderr=True, highlight=False)
        self.page = self.messages if as_json else Console(highlight=False)

    def say(self, text: str) -> None:
        """A line for people."""
        self.page.print(text, markup=False, soft_wrap=True)

    def result(self, value: dict[str, Any]) -> None:
        """The one JSON object of the command, printed with ``--json`` only."""
        if self.as_json:
            sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
            sys.stdout.flush()

    def live(self) -> LiveProgress:
        """A progress bar on stderr."""
        return LiveProgress(self.messages)


class LiveProgress:
    """A progress bar fed by events; a context manager."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[detail]}"),
        )
        self._bar = Progress(*columns, console=console, transient=False)
        self._tasks: dict[Stage, TaskID] = {}
        self._likeness: float | None = None

    def __enter__(self) -> LiveProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show ``event``; it may come from any thread."""
        if event.stage not in STAGES or event.total == 0:
            return
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._bar.add_task(STAGES[event.stage], total=event.total, detail="")
        self._bar.update(self._tasks[event.stage], completed=event.step, total=event.total, detail=self._detail(event))

    def _detail(self, event: Event) -> str:
        self._likeness = event.likeness if event.likeness is not None else self._likeness
        parts = []
        if event.loss is not None:
            parts.append(f"loss {event.loss:.4f}")
        if self._likeness is not None and event.stage in (Stage.TRAIN, Stage.PREVIEW, Stage.RANK):
            parts.append(f"likeness {self._likeness:.2f}")
        if event.eta_s is not None:
            parts.append(f"{duration(event.eta_s)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """``75`` -> ``1 min 15 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
