"""Use case: train a face LoRA from a person's dataset and put it where it is found."""

from __future__ import annotations

import contextlib
import datetime
import shutil
from dataclasses import replace
from pathlib import Path

from facechain_ext.config import AS_SET, TrainConfig
from facechain_ext.errors import FaceChainError, UserInputError
from facechain_ext.faces.types import Dataset, Embedding, Image
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin
from facechain_ext.lora.sizes import Kind
from facechain_ext.portraits.rank import score
from facechain_ext.ports import CheckpointInfo, FaceAnalyzer, LoraShelf, TrainHost
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.services.people import dataset_of, note_outside, read_card, sha256, write_card
from facechain_ext.services.requests import TrainRequest, TrainResult
from facechain_ext.services.speeds import remember
from facechain_ext.services.summary import CARD_FILE, write_summary
from facechain_ext.training.checkpoints import saved_settings
from facechain_ext.training.fitting import Fitted, fitted
from facechain_ext.training.loop import STATE_FILE, Score, Sources, TrainOutcome, Watch, train
from facechain_ext.training.start import checked, read_start
from facechain_ext.workspace import PersonFolder, Workspace, atomic_path, held, lora_name, storage_errors

LOCK_FILE = ".lock"


def train_person(
    request: TrainRequest,
    workspace: Workspace,
    host: TrainHost,
    analyzer: FaceAnalyzer,
    on_progress: ProgressSink,
    cancel: CancelToken,
    shelf: LoraShelf | None = None,
) -> TrainResult:
    """Train; the finished LoRA appears at once and whole, on the host's ``shelf`` too, earlier ones stay.

    Raises:
        UserInputError: without a dataset, when there is nothing to resume, or the LoRA to continue does not fit.
        HostError: when another training of the person is under way, in this program or another.
        TrainingError, StorageError, Cancelled, Paused: what was learned up to the last saved state can be resumed.
    """
    folder = workspace.existing_person(request.person)
    dataset = dataset_of(folder, analyzer)
    on_progress(Progress(Stage.LOAD, message="Loading the checkpoint"))
    plan = _planned(request, folder, host)
    config, start = plan.config, None
    if request.continue_from is not None and not request.resume:
        start = read_start(lora_file(folder, request.continue_from))
    saving, precision = config.gradient_checkpointing, config.precision
    alone = held(folder.training / LOCK_FILE, f"Another training of '{folder.name}' is under way. Wait until it has ended, or stop it.")
    with alone, host.open_session(gradient_checkpointing=saving, precision=precision, on_progress=on_progress, cancel=cancel) as session:
        if not request.resume:
            # The earlier unfinished state stays until this training saves its own: it may be cancelled or fail before.
            with storage_errors("the training"):
                shutil.rmtree(folder.training / "previews", ignore_errors=True)
                (folder.training / CARD_FILE).unlink(missing_ok=True)
        watch = Watch(on_progress, cancel, likeness_to(dataset.mean_embedding, analyzer))
        if start is not None:
            checked(start, config, session.checkpoint.family)
        sources = Sources(folder.latents, folder.class_images, start)
        outcome = train(session, dataset, config, folder.training, watch, resume=request.resume, sources=sources)
        on_progress(Progress(Stage.SAVE, message="Saving the LoRA"))
        checkpoint = session.checkpoint
    if outcome.steps == 0:
        raise UserInputError("Training was stopped before its first step, so there is nothing to keep.")
    lora = _store(replace(request, config=config), folder, dataset, checkpoint, outcome)
    with contextlib.suppress(FaceChainError):  # only the next estimate would be the worse for it
        remember(workspace, host.footprint(), replace(config, steps=outcome.steps), outcome.seconds)
    if not outcome.stopped_early:
        (folder.training / STATE_FILE).unlink(missing_ok=True)
    if request.out is not None:
        note_outside(folder, _copied(lora, request.out))
    if shelf is not None:
        for file in shelf.put(lora, dataset.caption, checkpoint.family, next(iter(outcome.previews), None)):
            note_outside(folder, file)
    on_progress(Progress(Stage.DONE, 1, 1, "Done", likeness=outcome.likeness))
    card = write_summary(folder, dataset, checkpoint.family, config, outcome)
    return replace(_result(folder, lora, outcome, plan.reason, checkpoint.assumed), card=card)


def _planned(request: TrainRequest, folder: PersonFolder, host: TrainHost) -> Fitted:
    """Settings that fit the memory asked for; an unfinished training goes on with those it has."""
    if request.resume:
        fits = request.config.memory != AS_SET
        return Fitted(replace(resumed(folder, request.config), memory=AS_SET) if fits else _shared(folder, request.config), "", True)
    if request.config.memory == AS_SET:
        return Fitted(request.config, "", True)
    return fitted(host.footprint(), request.config)


def _result(folder: PersonFolder, lora: Path, outcome: TrainOutcome, *said: str) -> TrainResult:
    return TrainResult(
        folder.name,
        lora,
        outcome.steps,
        outcome.seconds,
        outcome.loss,
        outcome.likeness,
        outcome.stopped_early,
        outcome.curve,
        outcome.previews,
        outcome.choice.kept if outcome.choice else "the last step",
        outcome.choice.reason if outcome.choice else "",
        (*(sentence for sentence in said if sentence), *outcome.notes),
    )


def continued(folder: PersonFolder, name: str, config: TrainConfig) -> TrainConfig:
    """``config`` with the kind, rank and alpha of the person's LoRA ``name``, which a training that continues it keeps.

    Raises:
        UserInputError: when the person has no such LoRA, or it is of a form that no training here has.
        FileFormatError: when it cannot be read.
    """
    return read_start(lora_file(folder, name)).settings(config)


def lora_file(folder: PersonFolder, name: str) -> Path:
    """The file of the person's LoRA ``name``.

    Raises:
        UserInputError: naming those there are.
    """
    known = [entry["name"] for entry in read_card(folder)["loras"]]
    file = folder.loras / f"{name}.safetensors"
    if name not in known or not file.exists():
        there = f"There are: {', '.join(known)}." if known else "Train one first."
        raise UserInputError(f"'{folder.name}' has no LoRA called '{name}'. {there}")
    return file


def resumed(folder: PersonFolder, config: TrainConfig) -> TrainConfig:
    """The settings of the person's unfinished training; what may change on the way comes from ``config``.

    Raises:
        UserInputError: when there is none.
    """
    if not (folder.training / STATE_FILE).exists():
        raise UserInputError(f"There is no unfinished training of '{folder.name}' to resume.")
    _, settings = saved_settings(folder.training / STATE_FILE)
    return TrainConfig.from_dict({**config.to_dict(), **settings})


def _shared(folder: PersonFolder, config: TrainConfig) -> TrainConfig:
    """``config`` with the batch that lets its number of processes go on with what others began.

    Raises:
        UserInputError: when so many cannot share the samples of a step evenly.
    """
    state = folder.training / STATE_FILE
    if not state.exists():
        return config
    _, saved = saved_settings(state)
    if saved["batch"] != config.batch or saved["processes"] == config.processes:
        return config
    together = saved["batch"] * saved["processes"]
    if together % config.processes:
        raise UserInputError(
            f"The unfinished training learns from {together} photos in each pass, which {config.processes} processes cannot share evenly. "
            f"Set processes to {saved['processes']}, as it began, or to 1."
        )
    return replace(config, batch=together // config.processes)


def likeness_to(person: Embedding, analyzer: FaceAnalyzer) -> Score:
    """A function image -> likeness to ``person``, None without a face."""

    def measure(image: Image) -> float | None:
        return score(image, analyzer, person).likeness

    return measure


def _store(
    request: TrainRequest,
    folder: PersonFolder,
    dataset: Dataset,
    checkpoint: CheckpointInfo,
    outcome: TrainOutcome,
) -> Path:
    card = read_card(folder)
    name = _free_name(folder, lora_name(folder.name))
    target = folder.loras / f"{name}.safetensors"
    config = request.config
    origin = LoraOrigin(
        name=name,
        family=checkpoint.family,
        prediction=checkpoint.prediction,
        checkpoint=checkpoint.name,
        checkpoint_sha256=checkpoint.sha256,
        alpha=config.alpha,
        rank=config.rank,
        steps=outcome.steps,
        resolution=request.config.resolution or checkpoint.resolution,
        trigger=dataset.trigger,
        captions=[p.caption for p in dataset.photos],
        seed=request.config.seed,
        grown_from=outcome.grown_from,
    )
    write_adapter(target, outcome.adapter, origin, Kind(config.kind), config.targets)
    entry = {
        "name": name,
        "sha256": sha256(target),
        "family": checkpoint.family.value,
        "checkpoint": checkpoint.name,
        "kind": config.kind,
        "rank": config.rank,
        "steps": outcome.steps,
        "likeness": outcome.likeness,
        "grown_from": outcome.grown_from.rpartition(" ")[0],
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    card["loras"] = [*card["loras"], entry]
    write_card(folder, card)
    return target


def _free_name(folder: PersonFolder, stem: str) -> str:
    """``stem``, else ``stem-2`` and so on: hosts keep the content of a LoRA file they know, so a name is never reused.

    Nor by another person: "Ada Lovelace" and "Ada_Lovelace" are two, whose LoRAs lie side by side on a host's shelf.
    """
    taken = {file.stem.casefold() for file in folder.root.parent.glob("*/loras/*.safetensors")}
    number = 1
    while f"{stem}{'' if number == 1 else f'-{number}'}".casefold() in taken:
        number += 1
    return stem if number == 1 else f"{stem}-{number}"


def _copied(file: Path, folder: Path) -> Path:
    target = folder.expanduser().resolve() / file.name
    with atomic_path(target, "the LoRA") as temporary:
        temporary.write_bytes(file.read_bytes())
    return target
