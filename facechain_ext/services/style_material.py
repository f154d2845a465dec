"""What an unfinished style's training learns from, kept beside its state so that it can go on without the files it came from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.faces.types import Image
from facechain_ext.services.styles import trained_folder
from facechain_ext.training.checkpoints import saved_settings
from facechain_ext.training.loop import STATE_FILE
from facechain_ext.workspace import Workspace, atomic_path, read_json, storage_errors, write_json

SCHEMA = 1
CARD_FILE, PICTURES = "style.json", "pictures"


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """A style to be, and the pictures to learn it from."""

    name: str
    """As people know it."""
    trigger: str
    licence: str
    checkpoint: str
    captioned: str
    """Where the captions come from, for people."""
    pictures: Sequence[Image]
    tags: Sequence[Sequence[str]]
    """Of each picture."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A style's training that can go on."""

    style: str
    """The id it will have."""
    name: str
    checkpoint: str
    step: int
    steps: int


def keep(folder: Path, material: Material) -> None:
    """Write ``material`` into ``folder``, in place of any before.

    Raises:
        StorageError: when there is no room; nothing is left then.
    """
    place = folder / PICTURES
    try:
        with storage_errors("the training's pictures"):
            shutil.rmtree(folder, ignore_errors=True)
            place.mkdir(parents=True, exist_ok=True)
            for number, picture in enumerate(material.pictures):
                with atomic_path(place / f"{number:04d}.png", "the training's pictures") as temporary:
                    # Little compression: much quicker, and they are soon gone.
                    PilImage.fromarray(picture).save(temporary, "PNG", compress_level=1)
        said = {name: getattr(material, name) for name in ("name", "trigger", "licence", "checkpoint", "captioned")}
        write_json(folder / CARD_FILE, {"schema": SCHEMA, **said, "tags": [list(tags) for tags in material.tags]}, "the training")
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def kept(workspace: Workspace, style: str) -> Material:
    """What the unfinished training of ``style`` (an id) learns from.

    Raises:
        UserInputError: when there is no such training.
        FileFormatError: when what was kept is damaged.
    """
    folder = trained_folder(workspace, style)
    if not (folder / STATE_FILE).exists() or not (folder / CARD_FILE).exists():
        known = ", ".join(f"'{found.name}'" for found in unfinished(workspace))
        raise UserInputError(f"There is no unfinished training of a style '{style}' to resume. " + (f"There are: {known}." if known else "Train it."))
    card = _card(folder)
    try:
        pictures = [_read(file) for file in sorted((folder / PICTURES).glob("*.png"))]
        words = {name: str(card[name]) for name in ("name", "trigger", "licence", "checkpoint", "captioned")}
        tags = [[str(tag) for tag in said] for said in card["tags"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise _damaged(style) from error
    if not pictures or len(pictures) != len(tags):
        raise _damaged(style)
    return Material(**words, pictures=pictures, tags=tags)


def unfinished(workspace: Workspace) -> list[Unfinished]:
    """Trainings of styles that can go on, by name; those whose files are damaged are left out."""
    found = []
    for file in sorted(trained_folder(workspace, "x").parent.glob(f"*/{STATE_FILE}")):
        try:
            card = _card(file.parent)
            step, settings = saved_settings(file)
            found.append(Unfinished(file.parent.name, str(card["name"]), str(card["checkpoint"]), step, int(settings["steps"])))
        except (FileFormatError, KeyError, ValueError):
            continue
    return found


def forget(folder: Path, *, state: bool) -> None:
    """Delete the pictures kept in ``folder``, with ``state`` the state too; previews stay."""
    if state:
        (folder / STATE_FILE).unlink(missing_ok=True)
    (folder / CARD_FILE).unlink(missing_ok=True)
    shutil.rmtree(folder / PICTURES, ignore_errors=True)


def _card(folder: Path) -> dict[str, Any]:
    return read_json(folder / CARD_FILE, SCHEMA)


def _read(file: Path) -> Image:
    with PilImage.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def _damaged(style: str) -> FileFormatError:
    return FileFormatError(f"What the unfinished training of '{style}' learned from is damaged. Train the style anew.")
