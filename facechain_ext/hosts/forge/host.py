"""Forge and reForge as ``TrainHost``, ``ImageGenerator`` and ``Checkpoints``: always the checkpoint that is chosen at the top left."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from modules import call_queue

from facechain_ext.errors import HostError, UserInputError
from facechain_ext.faces.types import Image
from facechain_ext.hosts.a1111.model import family_of, prepare_settings, targets_of
from facechain_ext.hosts.a1111.sampling import made_with, sample
from facechain_ext.hosts.a1111.state import nested, queued
from facechain_ext.hosts.detect import WebUi
from facechain_ext.hosts.forge.blocks import trainable_blocks
from facechain_ext.hosts.forge.engine import NONE_CHOSEN, Engine, engine_of
from facechain_ext.hosts.forge.model import check_kind, check_resident, check_trainable, checkpoint_of, footprint_of, unet_of
from facechain_ext.hosts.forge.session import ForgeSession
from facechain_ext.hosts.forge.state import blended, pinned, undisturbed
from facechain_ext.hosts.forge.weights import BorrowedWeights
from facechain_ext.hosts.precision import AUTO, check_precision
from facechain_ext.hosts.standalone.sidecar import read_sidecar
from facechain_ext.ports import CheckpointInfo, Footprint, MadeWith, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage, silent
from facechain_ext.services.requests import CheckpointChoice


class ForgeHost:
    """Whatever checkpoint is chosen when it is asked; loaded then, if it is not. ``in_turn`` is for those who hold the WebUI's queue already."""

    def __init__(self, engine: Engine, *, in_turn: bool = False) -> None:
        self._engine = engine
        self._turn = nested if in_turn else queued

    @property
    def checkpoint(self) -> CheckpointInfo:
        """The chosen checkpoint; waits in the WebUI's queue while it is being loaded."""
        model = self._engine.held()
        if model is None:
            with call_queue.queue_lock:
                model = self._engine.load()
        return checkpoint_of(self._engine, model)

    @property
    def made(self) -> MadeWith:
        """See ``ImageGenerator``."""
        return made_with()

    def footprint(self) -> Footprint:
        """See ``TrainHost``."""
        return footprint_of(self._engine, chosen(self._engine))

    @contextlib.contextmanager
    def open_session(
        self,
        *,
        gradient_checkpointing: bool = False,
        precision: str = AUTO,
        on_progress: ProgressSink = silent,
        cancel: CancelToken | None = None,
    ) -> Iterator[ForgeSession]:
        """See ``TrainHost``; waits in the WebUI's queue."""
        engine = self._engine
        check_kind(chosen(engine))
        with queued("FaceChain training", on_progress, cancel):
            model = engine.load()
            check_trainable(engine, model)
            with undisturbed(model):
                unet = unet_of(model)
                # Also takes LoRAs out of the weights: with the original's patcher come the original's weights.
                engine.to_device(model.forge_objects_original.unet, alone=True)
                check_resident(model)
                weights = BorrowedWeights(unet)
                lent = weights.lent(list(targets_of(unet, family_of(model), "conv")))
                with trainable_blocks(unet), lent, contextlib.ExitStack() as stack:
                    session = ForgeSession(engine, model, weights, stack)
                    check_precision(precision, session.dtype)
                    if gradient_checkpointing:
                        session.checkpoint_blocks()
                    yield session

    def generate(self, request: SamplingRequest, on_progress: ProgressSink, cancel: CancelToken) -> Generator[Image, None, None]:
        """See ``ImageGenerator``; waits in the WebUI's queue."""

        def on_step(step: int, total: int) -> None:
            on_progress(Progress(Stage.GENERATE, step, total, "Sampling"))

        engine = self._engine
        with self._turn("FaceChain portraits", on_progress, cancel):
            model = engine.load()
            with undisturbed(model), blended(engine, model, request, family_of(model)), pinned(model):
                images = sample(model, request, cancel, on_step, pin=False)
        on_progress(Progress(Stage.GENERATE, request.steps, request.steps, "Sampling"))
        yield from images


def chosen(engine: Engine) -> Any:
    """What the WebUI knows of the chosen checkpoint.

    Raises:
        HostError: when there is none.
    """
    info = engine.selected()
    if info is None:
        raise HostError(NONE_CHOSEN)
    return info


class ForgeCheckpoints:
    """Implements ``Checkpoints``: the chosen one, loaded or not; which one that is, the WebUI's own dropdown decides."""

    def __init__(self, webui: WebUi) -> None:
        self._engine = engine_of(webui)
        self._host = ForgeHost(self._engine)

    def choices(self) -> Sequence[CheckpointChoice]:
        """The chosen checkpoint, none where there is no checkpoint at all."""
        return [self.find(None)] if self._engine.selected() is not None else []

    def find(self, choice: str | None) -> CheckpointChoice:
        """The chosen checkpoint, when ``choice`` is None or its name.

        Raises:
            UserInputError: when it is the name of another.
            HostError: when there is none.
        """
        info = chosen(self._engine)
        name, file = info.name_for_extra, Path(info.filename)
        if choice not in (None, name):
            raise UserInputError(
                f"The WebUI has {name} chosen, not '{choice}'. Choose the checkpoint at the top left of the page, then try again."
            )
        sidecar = read_sidecar(file)
        note = sidecar.note or "the checkpoint chosen in the WebUI"
        return CheckpointChoice(name, file, note, True, sidecar.train, sidecar.portrait, prepare_settings(sidecar))

    def footprint(self, choice: str | None) -> Footprint:
        """See ``TrainHost.footprint``."""
        self.find(choice)
        return self._host.footprint()

    def gpus(self) -> None:
        """The WebUI's own business."""

    def open(self, choice: str | None) -> ForgeHost:
        """The WebUI, when its chosen checkpoint is the one asked for."""
        self.find(choice)
        return self._host
