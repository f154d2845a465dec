"""The use cases behind one object: what the CLI, the pages and the API call. The composition root wires it to a host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.ports import Captioner, Estimate, FaceAnalyzer, Family, Footprint, ImageGenerator, LoraShelf, TrainHost
from facechain_ext.progress import CancelToken, ProgressSink, silent
from facechain_ext.services.jobs import Job, JobRunner
from facechain_ext.services.requests import (
    BalanceRequest,
    CheckpointChoice,
    Person,
    PortraitRequest,
    PrepareRequest,
    RankedPortraits,
    StyleTrainRequest,
    StyleTrainResult,
    TrainRequest,
    TrainResult,
)
from facechain_ext.workspace import Workspace

if TYPE_CHECKING:
    from facechain_ext.faces.types import Decisions, Preparation
    from facechain_ext.services.balance import Balance, Pair
    from facechain_ext.services.blends import ToldBlend
    from facechain_ext.services.composing import ToldPrompt
    from facechain_ext.services.prepare_person import Drafts
    from facechain_ext.services.style_material import Unfinished
    from facechain_ext.services.styles import Imported
    from facechain_ext.styles.catalog import Style
    from facechain_ext.training.fitting import Fitted


log = logging.getLogger(__name__)


class Host(TrainHost, ImageGenerator, Protocol):
    """A host that trains and samples with one checkpoint."""


class Checkpoints(Protocol):
    """The checkpoints a host offers."""

    def choices(self) -> Sequence[CheckpointChoice]:
        """All of them, the default first."""
        ...

    def open(self, choice: str | None) -> Host:
        """The host for a checkpoint by name or path; None is the default. Opening twice gives the same object.

        Raises:
            FileFormatError: when it is not a checkpoint we can work with.
        """
        ...

    def find(self, choice: str | None) -> CheckpointChoice:
        """The choice by name or path, without loading it."""
        ...

    def footprint(self, choice: str | None) -> Footprint:
        """What decides how much memory and time a training on it takes, without loading it."""
        ...

    def gpus(self) -> int | None:
        """GPUs of this machine, nothing is loaded for it; None where devices and precision are a WebUI's own business."""
        ...


class Studio:
    """Photos in, face LoRA trained, portraits out. Heavy modules load with the first use case that needs them."""

    def __init__(
        self,
        workspace: Workspace,
        analyzer: Callable[[], FaceAnalyzer],
        checkpoints: Checkpoints,
        shelf: LoraShelf | None = None,
        captioner: Callable[[], Captioner | None] = lambda: None,
        lora_folders: Callable[[], Sequence[Path]] = tuple,
    ) -> None:
        self.workspace = workspace
        self._lora_folders = lora_folders
        self._captioner = captioner
        self._shelf = shelf
        self.jobs = JobRunner()
        self._drafts: Drafts | None = None
        self._analyzer = analyzer
        self._checkpoints = checkpoints

    @property
    def analyzer(self) -> FaceAnalyzer:
        """The face models in use."""
        return self._analyzer()

    def checkpoints(self) -> Sequence[CheckpointChoice]:
        """Checkpoints to train on and generate with, the default first."""
        return self._checkpoints.choices()

    def checkpoint(self, choice: str | None) -> CheckpointChoice:
        """One of them by name or path; None is the default."""
        return self._checkpoints.find(choice)

    def host(self, choice: str | None) -> Host:
        """The host of a checkpoint by name or path; None is the default."""
        return self._checkpoints.open(choice)

    @property
    def gpus(self) -> int | None:
        """GPUs of this machine; None where devices and precision are a WebUI's own business."""
        return self._checkpoints.gpus()

    def beside(self, workspace: Workspace) -> Studio:
        """The same face models and host on another workspace."""
        return Studio(workspace, self._analyzer, self._checkpoints, captioner=self._captioner, lora_folders=self._lora_folders)

    def styles(self, problems: list[str] | None = None) -> Sequence[Style]:
        """Our catalogue and the user's own styles; a sentence goes to ``problems``, else to the log, for each file that cannot be used."""
        from facechain_ext.styles.catalog import load_styles

        found: list[str] = []
        styles = load_styles(self.workspace.styles, found, self.loras)
        if problems is not None:
            problems += found
        else:
            for sentence in found:
                log.warning("%s", sentence)
        return styles

    def loras(self) -> dict[str, Path]:
        """LoRA files of the host and the workspace by their stem, for styles."""
        from facechain_ext.services.styles import lora_files

        return lora_files([*self._lora_folders(), self.workspace.loras, self.workspace.styles / "loras"])

    def import_styles(self, path: Path, *, keep_weights: bool = False) -> Imported:
        """Store every style in ``path``, see ``services.styles``."""
        from facechain_ext.services.styles import import_styles

        return import_styles(self.workspace, path, self.loras(), keep_weights=keep_weights)

    def train_style(self, request: StyleTrainRequest, on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> StyleTrainResult:
        """Train a style LoRA from pictures; what comes of it is a style of the user's."""
        from facechain_ext.services.train_style import checked, train_style

        _, style = checked(request, self.workspace)
        began_on = next((u.checkpoint for u in self.unfinished_styles() if request.resume and u.style == style), "")
        host = self._checkpoints.open(request.checkpoint or began_on or None)
        return train_style(request, self.workspace, host, self._captioner, on_progress, cancel or CancelToken())

    def unfinished_styles(self) -> list[Unfinished]:
        """Trainings of styles that can be resumed."""
        from facechain_ext.services.style_material import unfinished

        return unfinished(self.workspace)

    def submit_train_style(self, request: StyleTrainRequest, on_end: Callable[[], None] = lambda: None) -> Job:
        """``train_style`` as a background job; mistakes that can be seen at once are raised at once."""
        from facechain_ext.services.train_style import checked

        checked(request, self.workspace)
        self.checkpoint(request.checkpoint)
        # A colon is in no person's name.
        return self.jobs.submit("style", f"style: {request.name.strip()}", lambda sink, token: self.train_style(request, sink, token), on_end)

    def prepare(self, request: PrepareRequest, on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> Preparation:
        """Turn photos into the person's dataset.

        Raises:
            UserInputError: when no photo can be used; the verdicts are in its ``verdicts``. An older dataset stays as it was.
        """
        from facechain_ext.services.prepare_person import prepare_person

        return prepare_person(request, self.workspace, self.analyzer, self.drafts, self._captioner, on_progress, cancel or CancelToken())

    @property
    def drafts(self) -> Drafts:
        """What was seen in the photos of the last checks."""
        if self._drafts is None:
            from facechain_ext.services.prepare_person import Drafts

            self._drafts = Drafts()
        return self._drafts

    def decide(self, person: str, decisions: Decisions) -> Preparation:
        """Judge the photos of ``person``'s last check again, with the user's ``decisions`` before every rule."""
        from facechain_ext.services.prepare_person import decide_person

        return decide_person(person, decisions, self.workspace, self.analyzer, self.drafts, self._captioner)

    def train(self, request: TrainRequest, on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> TrainResult:
        """Train a face LoRA from the person's dataset; the earlier LoRA stays until the new one is complete."""
        from facechain_ext.services.train_person import train_person

        self.workspace.existing_person(request.person)
        host = self._checkpoints.open(request.checkpoint)
        return train_person(request, self.workspace, host, self.analyzer, on_progress, cancel or CancelToken(), self._shelf)

    def resumed(self, person: str, config: TrainConfig) -> TrainConfig:
        """The settings with which ``person``'s unfinished training goes on: its own, and from ``config`` what may change on the way."""
        from facechain_ext.services.train_person import resumed

        return resumed(self.workspace.existing_person(person), config)

    def continued(self, person: str, lora: str, config: TrainConfig) -> TrainConfig:
        """The settings with which ``person``'s finished ``lora`` goes on learning: ``config`` with its rank and alpha."""
        from facechain_ext.services.train_person import continued

        return continued(self.workspace.existing_person(person), lora, config)

    def fitted(self, checkpoint: str | None, config: TrainConfig) -> Fitted:
        """``config`` with what ``config.memory`` asks for worked out, and the reason in a sentence."""
        from facechain_ext.training.fitting import fitted

        return fitted(self._checkpoints.footprint(checkpoint), config)

    def estimate(self, checkpoint: str | None, config: TrainConfig) -> Estimate:
        """Memory and time that training with ``config`` will take."""
        from facechain_ext.services.speeds import told
        from facechain_ext.training.fitting import fitted

        footprint = self._checkpoints.footprint(checkpoint)
        return told(self.workspace, footprint, fitted(footprint, config).config)

    def leaner(self, checkpoint: str | None, config: TrainConfig) -> Fitted | None:
        """``config`` with the mildest changes that let the training fit into the memory that is free; None when nothing does."""
        found = self.fitted(checkpoint, replace(config, memory="auto"))
        return found if found.fits and found.reason else None

    def portraits(self, request: PortraitRequest, on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> RankedPortraits:
        """Generate portraits, score each against the person's photos, best first."""
        from facechain_ext.services.portraits import Stock, make_portraits

        self.workspace.existing_person(request.person)
        # Before anything is loaded: a LoRA of another model family is refused here.
        problems = self.blend(request).problems if request.with_lora else ()
        host = self._checkpoints.open(request.checkpoint)
        stock = Stock(self.styles(), self._named_loras())
        made = make_portraits(request, self.workspace, host, self.analyzer, stock, on_progress, cancel or CancelToken())
        return replace(made, notes=(*made.notes, *problems))

    def blend(self, request: PortraitRequest) -> ToldBlend:
        """How the LoRAs of ``request`` will act, where that comes from, and what of them the checkpoint cannot use; loads no model."""
        from facechain_ext.services.blends import told_blend
        from facechain_ext.styles.catalog import find_style

        host = self._checkpoints.open(request.checkpoint)
        style = find_style(self.styles(), request.style).on(host.checkpoint.name) if request.style else None
        return told_blend(request, self.workspace, host, host.footprint(), style)

    def _named_loras(self) -> dict[str, Path]:
        """What a LoRA tag can name, by stem: people's and all others."""
        people = {file.stem: file for file in self.workspace.people_root.glob("*/loras/*.safetensors")}
        return {**people, **self.loras()}

    def composed(self, request: PortraitRequest) -> ToldPrompt:
        """The prompts that ``request`` will be made with, every part of them, and what is worth knowing about them; loads no model."""
        from facechain_ext.services.composing import told
        from facechain_ext.styles.catalog import find_style

        person = self.person(request.person)
        style = find_style(self.styles(), request.style).on(self.checkpoint(request.checkpoint).name) if request.style else None
        return told(style, f"{person.trigger} {person.subject}".strip(), request)

    def balance(self, request: BalanceRequest, on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> Balance:
        """Try how ``request``'s person and style go together, and remember it for their portraits."""
        from facechain_ext.services.balance import measure_balance

        return measure_balance(self._pair(request), self.analyzer, request.config, request.seconds, on_progress, cancel or CancelToken())

    def balanced(self, request: BalanceRequest) -> Balance | None:
        """What is remembered of them."""
        from facechain_ext.services.balance import remembered

        return remembered(self._pair(request))

    def _pair(self, request: BalanceRequest) -> Pair:
        from facechain_ext.services.portraits import pair_of
        from facechain_ext.styles.catalog import find_style

        folder = self.workspace.existing_person(request.person)
        host = self._checkpoints.open(request.checkpoint)
        return pair_of(folder, find_style(self.styles(), request.style).on(host.checkpoint.name), host)

    def submit_balance(self, request: BalanceRequest) -> Job:
        """``balance`` as a background job; mistakes that can be seen at once are raised at once."""
        name = self.workspace.existing_person(request.person).name
        self.checkpoint(request.checkpoint)
        return self.jobs.submit("balance", name, lambda sink, token: self.balance(request, sink, token))

    def style_pictures(self, person: str) -> dict[str, Path]:
        """The best portrait of ``person``'s latest run in each style, by the style's id."""
        from facechain_ext.services.portraits import style_pictures

        return style_pictures(self.workspace.existing_person(person))

    def shelve(self, lora: Path, words: str, family: Family) -> None:
        """Put a LoRA where the host's own loader finds it, when the host has such a place; a person's goes with the person."""
        from facechain_ext.services.people import note_outside

        if self._shelf is None:
            return
        written = self._shelf.put(lora, words, family, None)
        if self.workspace.people_root in lora.parents:
            folder = self.workspace.existing_person(lora.relative_to(self.workspace.people_root).parts[0])
            for file in written:
                note_outside(folder, file)

    def people(self) -> list[Person]:
        """Everyone stored."""
        from facechain_ext.services.people import list_people

        return list_people(self.workspace)

    def person(self, name: str) -> Person:
        """One of them."""
        from facechain_ext.services.people import show_person

        return show_person(self.workspace, name)

    def delete_person(self, name: str) -> int:
        """Delete everything kept about the person, copies of the LoRA elsewhere included; return the number of files."""
        from facechain_ext.services.people import delete_person

        folder = self.workspace.existing_person(name)
        busy = next((j for j in self.jobs.jobs() if j.active and j.person == folder.name), None)
        if busy is not None:
            raise UserInputError(f"A {busy.kind} job of '{folder.name}' is under way. Cancel it, then delete.")
        self.jobs.forget(folder.name)
        self.drafts.forget(folder.name)
        return delete_person(self.workspace, name)

    def export_person(self, name: str, target: Path, *, photos: bool = False) -> Path:
        """Write LoRA and settings (and the prepared photos) as one zip file ``target``."""
        from facechain_ext.services.people import export_person

        return export_person(self.workspace, name, target, photos=photos)

    def submit_prepare(self, request: PrepareRequest) -> Job:
        """``prepare`` as a background job."""
        name = self.workspace.person(request.person).name
        return self.jobs.submit("prepare", name, lambda sink, token: self.prepare(request, sink, token))

    def submit_train(self, request: TrainRequest) -> Job:
        """``train`` as a background job; mistakes that can be seen at once are raised at once."""
        name = self.workspace.existing_person(request.person).name
        self.checkpoint(request.checkpoint)
        return self.jobs.submit("train", name, lambda sink, token: self.train(request, sink, token))

    def submit_portraits(self, request: PortraitRequest) -> Job:
        """``portraits`` as a background job; mistakes that can be seen at once are raised at once."""
        name = self.workspace.existing_person(request.person).name
        for other in request.beside:
            self.workspace.existing_person(other)
        self.checkpoint(request.checkpoint)
        return self.jobs.submit("portraits", name, lambda sink, token: self.portraits(request, sink, token))
