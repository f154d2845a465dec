"""The moving parts of one training, shared by the loop, its previews and its recovery."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facechain_ext.config import TrainConfig
from facechain_ext.faces.types import Dataset, Image
from facechain_ext.ports import TrainSession
from facechain_ext.progress import CancelToken, LossPoint, Progress, ProgressSink, Stage
from facechain_ext.training.cache import TrainingCache
from facechain_ext.training.choice import Candidates, Look
from facechain_ext.training.ema import MovingAverage
from facechain_ext.training.runlog import RunLog
from facechain_ext.training.start import Start

RECENT = 20
"""Steps whose mean is shown as the loss."""

Score = Callable[[Image], "float | None"]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on: hears progress, may stop the run, scores previews (None without a face)."""

    on_progress: ProgressSink
    cancel: CancelToken
    score: Score


@dataclass(frozen=True, slots=True)
class Sources:
    """What a training may build on, all of it kept with the person."""

    latents: Path | None = None
    """Folder of encoded photos."""
    class_images: Path | None = None
    """Folder of class pictures; None: beside the training's state."""
    start: Start | None = None
    """The LoRA that goes on learning; None begins anew."""


@dataclass
class Run:
    """One training while it goes on."""

    session: TrainSession
    dataset: Dataset
    config: TrainConfig
    folder: Path
    watch: Watch
    resolution: int
    log: RunLog
    candidates: Candidates
    sources: Sources = field(default_factory=Sources)
    class_pictures: Dataset | None = None
    """What prior preservation learns from."""
    prior: TrainingCache | None = None
    """The same, encoded."""
    grown_from: str = ""
    """Name and hash of the LoRA that this training began with."""
    step: int = 0
    before: float = 0.0
    """Seconds of earlier stretches."""
    began: float = 0.0
    curve: list[LossPoint] = field(default_factory=list)
    previews: list[Path] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    likeness: float | None = None
    previewed: int | None = None
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the gradient scaler as last saved."""
    rate: float = 1.0
    """Share of the learning rate still used."""
    saving: bool = False
    """True once memory ran out and gradient checkpointing was switched on."""
    offloading: bool = False
    """True once the checkpoint's weights wait in main memory."""
    portion: int = 0
    """Samples in each pass; fewer than ``config.batch`` once memory ran out."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what was not as planned."""
    average: MovingAverage | None = None
    """Of the adapter's steps."""
    ended: bool = False
    """True when more steps would not have helped."""

    @property
    def seconds(self) -> float:
        """Training time so far, earlier stretches included."""
        return self.before + (time.monotonic() - self.began if self.began else 0.0)

    def note(self, sentence: str) -> None:
        """Tell what was not as planned: now, in the log and with the result."""
        self.notes.append(sentence)
        self.log.write("event", step=self.step, said=sentence)
        self.watch.on_progress(Progress(Stage.TRAIN, self.step, self.config.steps, sentence))


def recent_loss(curve: Sequence[LossPoint]) -> float:
    """Mean loss of the latest steps."""
    return statistics.fmean(p.loss for p in curve[-RECENT:]) if curve else math.nan
