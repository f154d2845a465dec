"""Use cases: the user's own styles. They lie in the workspace's styles folder: ``ID.json``, ``thumbnails/ID.webp``, ``loras/``."""

from __future__ import annotations

import hashlib
import io
import shutil
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from PIL import ImageOps

from facechain_ext.errors import FaceChainError, FileFormatError, UserInputError
from facechain_ext.styles.catalog import SHIPPED, Style, find_style, load_styles, plain, read_style, style_problems
from facechain_ext.styles.drawn.canvas import HEIGHT, WIDTH
from facechain_ext.styles.drawn.thumbnail import drawn_for, encoded, thumbnail
from facechain_ext.styles.header import read_header
from facechain_ext.styles.importing import Options, read_foreign, slug, style_sources
from facechain_ext.styles.packing import SUFFIX, read_pack, write_pack
from facechain_ext.workspace import PrivateFolder, Workspace, atomic_path, storage_errors, write_bytes, write_json


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    styles: tuple[Style, ...]
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By the style's id: what was changed or is missing."""
    refused: tuple[str, ...] = ()
    """A sentence for each file that could not be used."""


def trained_folder(workspace: Workspace, style_id: str) -> Path:
    """Where a style's training keeps its state and previews."""
    return workspace.styles / "training" / style_id


def lora_files(folders: Iterable[Path]) -> dict[str, Path]:
    """LoRA files below ``folders`` by their stem; of two with one name the first."""
    found: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []:
            found.setdefault(file.stem, file)
    return found


def own_style(workspace: Workspace, wanted: str) -> Style:
    """The user's style with id or name ``wanted``.

    Raises:
        UserInputError: when there is none, or it is one of ours.
    """
    style = find_style(load_styles(workspace.styles, []), wanted)
    if not style.own:
        raise UserInputError(f"'{style.id}' is one of FaceChain's own styles, which stay as they are. Make one of your own from it.")
    return style


def save_style(
    workspace: Workspace,
    values: Mapping[str, Any],
    *,
    lora: Path | None = None,
    picture: Path | bytes | None = None,
    replace: bool = False,
) -> Style:
    """Store a style: ``values`` are those of its file, ``lora`` a LoRA to copy with it, ``picture`` another than the drawn one.

    Raises:
        UserInputError: for values that a style cannot have, and an id that is taken and not to be replaced.
    """
    data = {"schema": 1, "category": "own", "licence": "not stated", "source": "made by you", **values}
    data["id"] = str(data.get("id") or slug(str(data.get("name", ""))))
    problems = style_problems(data)
    if problems:
        raise UserInputError(f"The style cannot be saved: {' '.join(problems)}")
    target = workspace.styles / f"{data['id']}.json"
    if (SHIPPED / target.name).exists():
        raise UserInputError(f"'{data['id']}' is one of FaceChain's own styles. Choose another name.")
    if target.exists() and not replace:
        raise UserInputError(f"You have a style '{data['id']}' already. Choose another name, or replace it.")
    if lora is not None:
        data["lora"] = _shelved(workspace, lora, str(data.get("lora") or data["id"]))
    image = _picture(picture) if picture is not None else None
    drawn = workspace.styles / "thumbnails" / f"{data['id']}.webp"
    if image is None and not drawn.exists():
        image = encoded(thumbnail(data["id"], drawn_for(data["id"])))
    if image is not None:
        write_bytes(drawn, image, "the style's picture")
    write_json(target, data, "the style")
    return read_style(target)


def _shelved(workspace: Workspace, lora: Path, name: str) -> str:
    """Copy ``lora`` to the styles; another one of the same name keeps it."""
    folder = workspace.styles / "loras"
    target = folder / f"{name}.safetensors"
    if lora.resolve() == target.resolve():
        return name
    if target.exists() and _sha256(target) != _sha256(lora):
        target = folder / f"{name}-{_sha256(lora)[:8]}.safetensors"
    if not target.exists():
        with atomic_path(target, "the style's LoRA") as temporary:
            shutil.copyfile(lora, temporary)
    return target.stem


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while piece := source.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _picture(picture: Path | bytes) -> bytes | None:
    """The picture through pixels and small, None when it cannot be shown."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PilImage.DecompressionBombWarning)
            with PilImage.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
                fitted = ImageOps.fit(ImageOps.exif_transpose(opened).convert("RGB"), (WIDTH, HEIGHT), centering=(0.5, 0.3))
        return encoded(fitted)
    except (OSError, ValueError, SyntaxError, PilImage.DecompressionBombError, PilImage.DecompressionBombWarning):
        return None


def delete_style(workspace: Workspace, wanted: str) -> Style:
    """Delete a style of the user's, with its picture, and its LoRA when no other style uses it; LoRAs in the host's folder stay."""
    style = own_style(workspace, wanted)
    others = [s for s in load_styles(workspace.styles, []) if s.own and s.id != style.id]
    places = (f"{style.id}.json", f"thumbnails/{style.id}.webp", f"exports/{style.id}{SUFFIX}")
    files = [workspace.styles / place for place in places]
    if style.lora and all(s.lora != style.lora for s in others):
        files.append(workspace.styles / "loras" / f"{style.lora}.safetensors")
    with storage_errors("the deletion"):
        for file in files:
            file.unlink(missing_ok=True)
        shutil.rmtree(trained_folder(workspace, style.id), ignore_errors=True)
    return style


def export_style(style: Style, target: Path, *, with_lora: bool) -> Path:
    """Write ``style`` as one file to share; ``target`` may be a folder.

    Raises:
        UserInputError: when its LoRA is wanted and not there.
    """
    target = target.expanduser().resolve()
    target = target / f"{style.id}{SUFFIX}" if target.is_dir() else target
    lora = style.lora_file if with_lora else None
    if with_lora and (lora is None or not lora.exists()):
        raise UserInputError(f"The style '{style.id}' has no LoRA here to go along." if style.lora else f"The style '{style.id}' has no LoRA.")
    picture = style.thumbnail.read_bytes() if style.thumbnail else encoded(thumbnail(style.id, drawn_for(style.id)))
    with atomic_path(target, "the style") as temporary:
        write_pack(temporary, plain(style), picture, lora)
    return target


def import_styles(workspace: Workspace, path: Path, loras: Mapping[str, Path], *, keep_weights: bool = False) -> Imported:
    """Store every style in ``path``: a style file, FaceChain's styles, EasyPhoto's scenes, or a folder of any of them.

    A style of the user's that was imported before is replaced; one of another origin with its id stays.

    Raises:
        UserInputError: when there is no style in it.
    """
    path = path.expanduser()
    if not path.exists():
        raise UserInputError(f"There is nothing at {path}.")
    options, styles = Options(keep_weights, loras), []
    notes: dict[str, tuple[str, ...]] = {}
    refused: list[str] = []
    for file in style_sources(path):
        try:
            style, said = _imported(workspace, file, options)
        except FaceChainError as error:
            refused.append(str(error))
            continue
        if style is not None:
            styles.append(style)
            notes[style.id] = said
    if not styles and not refused:
        raise UserInputError(
            f"There is no style in {path.name}. Give a {SUFFIX} file, FaceChain's styles folder, or an EasyPhoto scene LoRA (.safetensors)."
        )
    return Imported(tuple(styles), notes, tuple(refused))


def _imported(workspace: Workspace, file: Path, options: Options) -> tuple[Style | None, tuple[str, ...]]:
    if file.suffix.lower() == SUFFIX:
        folder = PrivateFolder(workspace)
        try:
            pack = read_pack(file, folder.path)
            notes = () if pack.lora or not pack.data.get("lora") or pack.data["lora"] in options.loras else _missing(pack.data["lora"])
            data = _free(workspace, pack.data)
            return save_style(workspace, data, lora=pack.lora, picture=pack.picture, replace=True), notes
        finally:
            folder.remove()
    if file.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin", ".pkl"):
        raise FileFormatError(f"{file.name} is a pickle, which can run any program when it is opened, so it is refused.")
    found = read_foreign(file, options)
    if found is None:
        return None, ()
    return save_style(workspace, _free(workspace, found.data), lora=found.lora, picture=found.picture, replace=True), found.notes


def _missing(name: str) -> tuple[str, ...]:
    return (f"Its LoRA {name}.safetensors did not come along. Put it into your LoRA folder.",)


def _free(workspace: Workspace, data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` with an id that neither ours nor a style of another origin has."""
    known = {s.id: s for s in load_styles(workspace.styles, [])}
    stem, number = str(data["id"]), 1
    name = stem
    while name in known and not (known[name].own and known[name].source == data.get("source") and known[name].name == data["name"]):
        number += 1
        name = f"{stem[:56]}-{number}"
    return {**data, "id": name}


def make_style(
    workspace: Workspace,
    values: Mapping[str, Any],
    *,
    words: str,
    lora: str | None,
    loras: Mapping[str, Path],
    replace: bool = False,
    picture: Path | None = None,
) -> Style:
    """A style of the user's from ``words`` and a ``lora``: one of ``loras`` by its stem, which is used where it lies, or the path of one to copy.

    Without words, those are taken that the LoRA's header names as its trigger.

    Raises:
        UserInputError: for a LoRA that is not there, and for neither words nor a LoRA.
        FileFormatError: for a file that is no LoRA.
    """
    file = _lora_named(lora, loras) if lora else None
    prompt, more = words.strip(), {}
    if file is not None:
        header = read_header(file)
        if not header.is_lora:
            raise FileFormatError(f"{file.name} holds no LoRA.")
        more = {"lora": file.stem, "family": header.family}
        prompt = prompt or header.metadata.get("modelspec.trigger_phrase", "").strip()
    if not prompt and file is None:
        raise UserInputError("A style needs words, a LoRA or both.")
    if "{person}" not in prompt:
        prompt = f"photo of {{person}}, {prompt}" if prompt else "photo of {person}"
    copy = file if file is not None and loras.get(file.stem) != file else None
    return save_style(workspace, {**values, "prompt": prompt, **more}, lora=copy, picture=picture, replace=replace)


def _lora_named(wanted: str, loras: Mapping[str, Path]) -> Path:
    name = wanted.removesuffix(".safetensors")
    if name in loras:
        return loras[name]
    file = Path(wanted).expanduser()
    if file.suffix.lower() in (".ckpt", ".pt", ".pth", ".bin", ".pkl"):
        raise FileFormatError(f"{file.name} is a pickle, which can run any program when it is opened, so it is refused. Use its .safetensors version.")
    if not file.is_file():
        raise UserInputError(f"There is no LoRA '{wanted}' in the LoRA folder, nor a file of that path.")
    return file.resolve()
