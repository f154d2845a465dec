"""Use cases: who is stored, what we keep about them, export, and deletion of everything."""

from __future__ import annotations

import functools
import hashlib
import logging
import zipfile
from pathlib import Path
from typing import Any

from facechain_ext.errors import FileFormatError, StorageError, UserInputError
from facechain_ext.faces.dataset import read_dataset
from facechain_ext.faces.reading import natural_key
from facechain_ext.faces.types import Dataset
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.services.requests import FaceLora, Person
from facechain_ext.workspace import PersonFolder, Workspace, atomic_path, read_json, remove_tree, write_json

log = logging.getLogger(__name__)

SCHEMA = 1


def read_card(folder: PersonFolder) -> dict[str, Any]:
    """``person.json`` as plain data, or a fresh one.

    Raises:
        FileFormatError: when it is damaged or newer than this program.
    """
    return _fresh_card(folder) | (read_json(folder.card, SCHEMA) if folder.card.exists() else {})


def _fresh_card(folder: PersonFolder) -> dict[str, Any]:
    return {"schema": SCHEMA, "name": folder.name, "trigger": "", "subject": "", "loras": [], "outside": []}


def _card_if_readable(folder: PersonFolder) -> dict[str, Any]:
    """As ``read_card``, but a damaged card neither hides the other people nor keeps this one from being deleted."""
    try:
        return read_card(folder)
    except FileFormatError:
        log.warning("the card of a person is damaged; what it said is ignored")
        return _fresh_card(folder)


def write_card(folder: PersonFolder, card: dict[str, Any]) -> None:
    """Write ``person.json``, whole or not at all."""
    write_json(folder.card, card, "the person's card")


def note_outside(folder: PersonFolder, file: Path) -> None:
    """Remember a file we wrote outside the workspace, with its hash, so that deletion finds it."""
    card = read_card(folder)
    entries = [e for e in card["outside"] if e["file"] != str(file)]
    card["outside"] = [*entries, {"file": str(file), "sha256": sha256(file)}]
    write_card(folder, card)


def sha256(file: Path) -> str:
    """SHA-256 of the file's bytes, hex; read again only when the file has changed."""
    seen = file.stat()
    return _sha256(file, seen.st_mtime_ns, seen.st_size)


@functools.lru_cache(maxsize=128)
def _sha256(file: Path, _changed: int, _size: int) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def show_person(workspace: Workspace, name: str) -> Person:
    """What we keep about ``name``.

    Raises:
        UserInputError: when there is no such person.
    """
    return _person(workspace.existing_person(name))


def list_people(workspace: Workspace) -> list[Person]:
    """Everyone stored."""
    return [_person(PersonFolder(workspace.people_root / name, name)) for name in workspace.people()]


def _person(folder: PersonFolder) -> Person:
    card = _card_if_readable(folder)
    crops = sorted(folder.dataset.glob("[0-9]*.png"))
    return Person(
        name=folder.name,
        trigger=card["trigger"],
        subject=card["subject"],
        photos=len(crops),
        originals=len(kept_photos(folder)),
        thumbnail=crops[0] if crops else None,
        loras=tuple(FaceLora(**{**e, "file": folder.loras / f"{e['name']}.safetensors"}) for e in card["loras"]),
        portraits=sum(1 for p in folder.portraits.rglob("*.png") if p.name != "sheet.png"),
        resumable=(folder.training / "state.safetensors").exists(),
    )


def kept_photos(folder: PersonFolder) -> list[Path]:
    """The photos kept as they were given, in natural order."""
    return sorted((p for p in folder.photos.glob("*") if p.is_file()), key=natural_key) if folder.photos.is_dir() else []


def delete_person(workspace: Workspace, name: str) -> int:
    """Delete everything kept about ``name``; return the number of files.

    Copies outside the workspace (``--out``) go too, unless they were changed since: then they are somebody's own work.

    Raises:
        UserInputError: when there is no such person.
        StorageError: when something could not be deleted.
    """
    folder = workspace.existing_person(name)
    count = 0
    for entry in _card_if_readable(folder)["outside"]:
        file = Path(entry["file"])
        try:
            if file.is_file() and sha256(file) == entry["sha256"]:
                file.unlink()
                count += 1
        except OSError as error:
            raise StorageError(f"The copy {file} could not be deleted. Close programs that use it and delete again.") from error
    return count + remove_tree(folder.root)


def export_person(workspace: Workspace, name: str, target: Path, *, photos: bool) -> Path:
    """Write the person's LoRAs and settings, and the photos when wanted, into the zip file ``target``.

    Raises:
        UserInputError: when there is no such person.
        StorageError: when ``target`` cannot be written.
    """
    folder = workspace.existing_person(name)
    files = sorted(folder.loras.glob("*.safetensors"))
    if photos:
        files += sorted(p for p in folder.dataset.rglob("*") if p.is_file()) + kept_photos(folder)
    with atomic_path(target, "the export") as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, file.relative_to(folder.root).as_posix())
    return target


def dataset_of(folder: PersonFolder, analyzer: FaceAnalyzer) -> Dataset:
    """The person's dataset, its embeddings comparable with ``analyzer``'s.

    Raises:
        UserInputError: when there is none, or another face model pack made it.
    """
    if not (folder.dataset / "manifest.json").exists():
        raise UserInputError(f"'{folder.name}' has no prepared photos. Prepare some first.")
    dataset = read_dataset(folder.dataset)
    if dataset.pack_sha256 != analyzer.pack.sha256:
        raise UserInputError(
            f"The photos of '{folder.name}' were prepared with the face models '{dataset.pack}', not '{analyzer.pack.name}'. Prepare them again."
        )
    return dataset
