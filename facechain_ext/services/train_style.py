"""Use case: train a style LoRA from a folder of pictures, with the trainer of faces; what comes of it is a style."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from facechain_ext.config import AS_SET, TrainConfig, plain_words
from facechain_ext.errors import FaceChainError, UserInputError
from facechain_ext.faces.reading import expand, natural_key, read_photo
from facechain_ext.faces.types import Dataset, Image, PreparedPhoto
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Captioner, CheckpointInfo, TrainHost
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.services.requests import StyleTrainRequest, StyleTrainResult
from facechain_ext.services.style_material import Material, forget, keep, kept
from facechain_ext.services.styles import save_style, trained_folder
from facechain_ext.styles.catalog import Style
from facechain_ext.styles.header import CONTEXTS, read_header
from facechain_ext.styles.importing import slug
from facechain_ext.styles.wording import gender_words, smuggled_words
from facechain_ext.training.checkpoints import saved_settings
from facechain_ext.training.fitting import fitted
from facechain_ext.training.loop import STATE_FILE, TrainOutcome, Watch, train
from facechain_ext.workspace import Workspace, held

LARGEST, SMALLEST = 1536, 64
"""px: longest side kept of a picture, and shortest side that can be learned from."""
MOST_PICTURES = 500
MOST_TEXT = 4000
COMMON = 0.5
"""Tags that more than this share of the captions has become the style's words (FaceChain's rule)."""
STYLE_WEIGHT = 0.8


def train_style(
    request: StyleTrainRequest,
    workspace: Workspace,
    host: TrainHost,
    captioner: Callable[[], Captioner | None],
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> StyleTrainResult:
    """Train; style and LoRA appear at once and whole when all is done.

    Raises:
        UserInputError: for a name that is taken, a trigger that is no plain word, pictures of which none can be used, and nothing to resume.
        HostError: when another training of the style is under way, in this program or another.
        TrainingError, StorageError, Cancelled, Paused: nothing of the style was stored; what was learned up to the last saved state can be
            resumed.
    """
    _, name = checked(request, workspace)
    notes: list[str] = []
    folder = trained_folder(workspace, name)
    with held(folder.parent / f".{name}.lock", f"Another training of the style '{name}' is under way. Wait until it has ended, or stop it."):
        if request.resume:
            material = kept(workspace, name)
        else:
            material = _material(request, workspace, captioner, notes, on_progress, cancel)
            keep(folder, material)
        try:
            outcome, checkpoint, config = _learned(material, request, folder, host, notes, on_progress, cancel)
        except BaseException:
            if not (folder / STATE_FILE).exists():
                forget(folder, state=True)
            raise
        on_progress(Progress(Stage.SAVE, message="Saving the style"))
        style = _stored(material, name, workspace, common_tags(material.tags, notes), checkpoint, outcome, config)
        if not outcome.stopped_early:
            forget(folder, state=True)
    on_progress(Progress(Stage.DONE, 1, 1, "Done"))
    if style.lora_file is None:
        raise UserInputError("The style's LoRA is gone.")
    return StyleTrainResult(
        style,
        style.lora_file,
        len(material.pictures),
        material.captioned,
        outcome.steps,
        outcome.seconds,
        outcome.loss,
        outcome.stopped_early,
        outcome.curve,
        outcome.previews,
        (*notes, *outcome.notes),
    )


def _material(
    request: StyleTrainRequest,
    workspace: Workspace,
    captioner: Callable[[], Captioner | None],
    notes: list[str],
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> Material:
    trigger, _ = checked(request, workspace)
    pictures, tags, captioned = _captioned(request, captioner, notes, on_progress, cancel)
    return Material(request.name.strip(), trigger, request.licence, request.checkpoint or "", captioned, pictures, tags)


def _learned(
    material: Material,
    request: StyleTrainRequest,
    folder: Path,
    host: TrainHost,
    notes: list[str],
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> tuple[TrainOutcome, CheckpointInfo, TrainConfig]:
    dataset = style_dataset(material.trigger, material.pictures, material.tags)
    # A style is in the whole picture, and nobody's likeness says which step was best.
    config = replace(request.config, face_weight=0.0, prior_weight=0.0, keep="last", patience=0, mask="face")
    on_progress(Progress(Stage.LOAD, message="Loading the checkpoint"))
    if request.resume:
        config = TrainConfig.from_dict({**config.to_dict(), **saved_settings(folder / STATE_FILE)[1], "memory": AS_SET})
    else:
        plan = fitted(host.footprint(), config)
        config = plan.config
        notes += [plan.reason] if plan.reason else []
    opened = host.open_session(
        gradient_checkpointing=config.gradient_checkpointing, precision=config.precision, on_progress=on_progress, cancel=cancel
    )
    with opened as session:
        outcome = train(session, dataset, config, folder, Watch(on_progress, cancel, lambda _: None), resume=request.resume)
        checkpoint = session.checkpoint
    if outcome.steps == 0:
        raise UserInputError("Training was stopped before its first step, so there is nothing to keep.")
    return outcome, checkpoint, config


def checked(request: StyleTrainRequest, workspace: Workspace) -> tuple[str, str]:
    """Trigger and id of the style to be; every mistake that can be seen at once.

    Raises:
        UserInputError: see ``train_style``.
    """
    if not request.name.strip():
        raise UserInputError("Give the style a name.")
    name = slug(request.name)
    trigger = request.trigger.strip() or f"{name.replace('-', '')[:16]}style"
    if not plain_words(trigger):
        raise UserInputError(f"The trigger '{trigger}' must be a few plain words without commas or brackets.")
    if request.resume:
        if not (trained_folder(workspace, name) / STATE_FILE).exists():
            kept(workspace, name)
    elif (workspace.styles / f"{name}.json").exists() and not request.replace:
        raise UserInputError(f"You have a style '{name}' already. Choose another name, or replace it.")
    return trigger, name


def style_dataset(trigger: str, pictures: Sequence[Image], tags: Sequence[Sequence[str]]) -> Dataset:
    """Pictures whole and without faces, as the trainer takes them; each caption is the trigger and its tags."""
    nobody = np.zeros(1, np.float32)
    photos = []
    for picture, said in zip(pictures, tags, strict=True):
        everywhere = np.full(picture.shape[:2], 255, np.uint8)
        caption = ", ".join(dict.fromkeys([trigger, *said]))
        photos.append(PreparedPhoto(picture, everywhere, caption, hashlib.sha256(picture.tobytes()).hexdigest(), nobody, 1.0))
    return Dataset(trigger, trigger, "person", LARGEST, tuple(photos), "none", "none", nobody)


def common_tags(tags: Sequence[Sequence[str]], notes: list[str]) -> list[str]:
    """Tags of more than half of the captions, the most frequent first; those about a person are left out and told in ``notes``."""
    counts = collections.Counter(tag for said in tags for tag in dict.fromkeys(said))
    found = [tag for tag, count in counts.most_common(20) if count > COMMON * len(tags)]
    about = [tag for tag in found if gender_words(tag) or smuggled_words(tag)]
    if about:
        notes.append(f"Not among the style's words, because they say something about people: {', '.join(about)}.")
    return [tag for tag in found if tag not in about]


def _captioned(
    request: StyleTrainRequest, captioner: Callable[[], Captioner | None], notes: list[str], on_progress: ProgressSink, cancel: CancelToken
) -> tuple[list[Image], list[list[str]], str]:
    """The pictures, their tags, and where these come from: text files beside them, else the host's captioner, else nothing."""
    files_given = sorted(expand(request.sources), key=natural_key)
    if len(files_given) > MOST_PICTURES:
        notes.append(f"Of {len(files_given)} pictures the first {MOST_PICTURES} are used.")
    pictures, tags = [], []
    for number, file in enumerate(files_given[:MOST_PICTURES], start=1):
        cancel.raise_if_cancelled()
        on_progress(Progress(Stage.PREPARE, number, min(len(files_given), MOST_PICTURES), "Reading pictures"))
        try:
            picture = _sized(read_photo(file))
        except FaceChainError as error:
            notes.append(str(error))
            continue
        if min(picture.shape[:2]) < SMALLEST:
            notes.append(f"{file.name} is smaller than {SMALLEST} px and was left out.")
            continue
        pictures.append(picture)
        tags.append(_text_beside(file))
    if not pictures:
        raise UserInputError("None of the pictures can be used. " + " ".join(notes[:3]))
    if any(tags):
        return pictures, tags, "the text files beside the pictures"
    host = captioner()
    if host is not None:
        on_progress(Progress(Stage.PREPARE, message=f"{host.name} says what the pictures show"))
        return pictures, [list(said) for said in host.tags(pictures, cancel)], host.name
    return pictures, tags, "none: the trigger alone"


def _sized(picture: Image) -> Image:
    share = LARGEST / max(picture.shape[:2])
    if share >= 1:
        return picture
    size = (max(1, round(picture.shape[1] * share)), max(1, round(picture.shape[0] * share)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _text_beside(file: Path) -> list[str]:
    text = next((t for t in (file.with_suffix(".txt"), file.with_suffix(".caption")) if t.is_file()), None)
    if text is None or text.stat().st_size > MOST_TEXT:
        return []
    words = text.read_text(encoding="utf-8", errors="replace").replace("\n", ",")
    return [" ".join(tag.split()) for tag in words.split(",") if tag.strip()]


def _stored(
    material: Material,
    name: str,
    workspace: Workspace,
    words: Sequence[str],
    checkpoint: CheckpointInfo,
    outcome: TrainOutcome,
    config: TrainConfig,
) -> Style:
    trigger = material.trigger
    lora = _free(workspace.styles / "loras", name)
    origin = LoraOrigin(
        name=lora.stem,
        family=checkpoint.family,
        prediction=checkpoint.prediction,
        checkpoint=checkpoint.name,
        checkpoint_sha256=checkpoint.sha256,
        alpha=config.alpha,
        rank=config.rank,
        steps=outcome.steps,
        resolution=config.resolution or checkpoint.resolution,
        trigger=trigger,
        captions=[", ".join([trigger, *words])],
        seed=config.seed,
    )
    write_adapter(lora, outcome.adapter, origin, Kind(config.kind), config.targets)
    width = read_header(lora).context
    values = {
        "id": name,
        "name": material.name,
        "category": "own",
        "prompt": ", ".join(["{person}", trigger, *words]),
        "lora": lora.stem,
        "lora_for": checkpoint.name if width is not None and width not in CONTEXTS else None,
        "weight": STYLE_WEIGHT,
        "family": checkpoint.family.value,
        "licence": material.licence,
        "source": f"trained by FaceChain for WebUI on {checkpoint.name}, {outcome.steps} steps",
    }
    try:
        return save_style(workspace, values, picture=next(iter(outcome.previews), None), replace=True)
    except BaseException:
        lora.unlink(missing_ok=True)
        raise


def _free(folder: Path, stem: str) -> Path:
    """A file that is not there yet: hosts keep the content of a LoRA they know by its name."""
    number = 1
    while (target := folder / f"{stem}{'' if number == 1 else f'-{number}'}.safetensors").exists():
        number += 1
    return target
