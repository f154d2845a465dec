"""Copies a checkpoint of ours into a WebUI's folders, with the yaml and the text encoder's files that a narrow one needs there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from facechain_ext.errors import UserInputError
from facechain_ext.hosts.standalone.inspection import inspect
from facechain_ext.hosts.standalone.loading import write_config
from facechain_ext.hosts.standalone.sidecar import SUFFIX, read_sidecar
from facechain_ext.workspace import atomic_path, replaced_folder

PLACE = "@CLIP_FOLDER@"
"""In the yaml, where the absolute folder of the text encoder's config and tokenizer goes: known only on the machine it is used on."""


def copy_to_webui(checkpoint: Path, webui: Path) -> Path:
    """Put ``checkpoint`` into the WebUI at ``webui``; return where it lies there.

    Raises:
        UserInputError: when ``webui`` is no WebUI.
        StorageError: when there is no room.
    """
    webui = webui.expanduser().resolve()
    models = webui / "models" / "Stable-diffusion"
    if not models.is_dir():
        raise UserInputError(
            f"{webui.name} is not a WebUI's folder: it has no models/Stable-diffusion. Give the folder that holds webui.py."
        )
    family, shapes = inspect(checkpoint)
    recipe = checkpoint.with_suffix(".yaml")
    if recipe.exists():
        clip = webui / "models" / "FaceChain" / f"clip-{checkpoint.stem}"
        with tempfile.TemporaryDirectory() as config, replaced_folder(clip, "the text encoder's files") as fresh:
            write_config(Path(config), family, shapes, read_sidecar(checkpoint))
            shutil.copy(Path(config) / "text_encoder" / "config.json", fresh)
            for file in (Path(config) / "tokenizer").iterdir():
                shutil.copy(file, fresh)
        with atomic_path(models / recipe.name, "the checkpoint's yaml") as temporary:
            temporary.write_text(recipe.read_text(encoding="utf-8").replace(PLACE, clip.as_posix()), encoding="utf-8")
    hints = checkpoint.with_name(checkpoint.stem + SUFFIX)
    if hints.exists():
        with atomic_path(models / hints.name, "the checkpoint's settings") as temporary:
            shutil.copyfile(hints, temporary)
    target = models / checkpoint.name
    with atomic_path(target, "the checkpoint") as temporary:
        shutil.copyfile(checkpoint, temporary)
    return target
