"""The WebUI as ``TrainHost``, ``ImageGenerator`` and ``Checkpoints``: always the checkpoint that is loaded."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from facechain_ext.errors import UserInputError
from facechain_ext.faces.types import Image
from facechain_ext.hosts.a1111.model import (
    check_trainable,
    checkpoint_of,
    family_of,
    footprint_of,
    loaded,
    prepare_settings,
    sidecar_of,
    unet_of,
)
from facechain_ext.hosts.a1111.sampling import blended, made_with, sample
from facechain_ext.hosts.a1111.session import WebuiSession
from facechain_ext.hosts.a1111.state import nested, queued, undisturbed
from facechain_ext.hosts.precision import AUTO, check_precision
from facechain_ext.ports import CheckpointInfo, Footprint, MadeWith, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage, silent
from facechain_ext.services.requests import CheckpointChoice


class WebuiHost:
    """Whatever checkpoint is loaded when it is asked; with ``in_turn`` for those who hold the WebUI's queue already."""

    def __init__(self, *, in_turn: bool = False) -> None:
        self._turn = nested if in_turn else queued

    @property
    def checkpoint(self) -> CheckpointInfo:
        """The loaded checkpoint."""
        return checkpoint_of(loaded())

    @property
    def made(self) -> MadeWith:
        """See ``ImageGenerator``."""
        return made_with()

    def footprint(self) -> Footprint:
        """See ``TrainHost``."""
        return footprint_of(loaded())

    @contextlib.contextmanager
    def open_session(
        self,
        *,
        gradient_checkpointing: bool = False,
        precision: str = AUTO,
        on_progress: ProgressSink = silent,
        cancel: CancelToken | None = None,
    ) -> Iterator[WebuiSession]:
        """See ``TrainHost``; waits in the WebUI's queue."""
        check_trainable(loaded())
        with queued("FaceChain training", on_progress, cancel):
            # Another user may have switched the checkpoint while we waited.
            model = loaded()
            check_trainable(model)
            with undisturbed(model), contextlib.ExitStack() as stack:
                unet_of(model).eval()
                session = WebuiSession(model, stack)
                check_precision(precision, session.dtype)
                if gradient_checkpointing:
                    session.checkpoint_blocks()
                yield session

    def generate(self, request: SamplingRequest, on_progress: ProgressSink, cancel: CancelToken) -> Generator[Image, None, None]:
        """See ``ImageGenerator``; waits in the WebUI's queue."""

        def on_step(step: int, total: int) -> None:
            on_progress(Progress(Stage.GENERATE, step, total, "Sampling"))

        with self._turn("FaceChain portraits", on_progress, cancel):
            model = loaded()
            with undisturbed(model), blended(model, request, family_of(model)):
                images = sample(model, request, cancel, on_step)
        on_progress(Progress(Stage.GENERATE, request.steps, request.steps, "Sampling"))
        yield from images


class WebuiCheckpoints:
    """Implements ``Checkpoints``: the loaded one; which one that is, the WebUI's own dropdown decides."""

    def __init__(self) -> None:
        self._host = WebuiHost()

    def choices(self) -> Sequence[CheckpointChoice]:
        """The loaded checkpoint, none while nothing is loaded."""
        from modules import sd_models

        return [self.find(None)] if sd_models.model_data.sd_model is not None else []

    def find(self, choice: str | None) -> CheckpointChoice:
        """The loaded checkpoint, when ``choice`` is None or its name.

        Raises:
            UserInputError: when it is the name of another.
            HostError: when nothing is loaded.
        """
        model = loaded()
        name, sidecar = model.sd_checkpoint_info.name_for_extra, sidecar_of(model)
        if choice not in (None, name):
            raise UserInputError(
                f"The WebUI has {name} loaded, not '{choice}'. Choose the checkpoint at the top left of the page, then try again."
            )
        note = sidecar.note or "the checkpoint the WebUI has loaded"
        return CheckpointChoice(name, Path(model.sd_checkpoint_info.filename), note, True, sidecar.train, sidecar.portrait, prepare_settings(sidecar))

    def footprint(self, choice: str | None) -> Footprint:
        """See ``TrainHost.footprint``."""
        self.find(choice)
        return self._host.footprint()

    def gpus(self) -> None:
        """The WebUI's own business."""

    def open(self, choice: str | None) -> WebuiHost:
        """The WebUI, when its loaded checkpoint is the one asked for."""
        self.find(choice)
        return self._host
