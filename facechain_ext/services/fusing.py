"""Use case: several LoRA files merged into one, which remembers its parents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facechain_ext.errors import UserInputError
from facechain_ext.lora.files import LoraFile, LoraOrigin, read_lora, write
from facechain_ext.lora.fuse import FuseSettings, fuse
from facechain_ext.ports import Prediction
from facechain_ext.services.people import sha256

__all__ = ["FuseSettings", "MergedFile", "merge_files"]


@dataclass(frozen=True, slots=True)
class MergedFile:
    """A LoRA that was merged."""

    file: Path
    layers: int
    kept: float
    """Share of the merged change's squared length that the file holds, 0..1."""
    chosen: Mapping[str, str]
    """Layer -> parent, where each layer was taken from one."""


def merge_files(loras: Sequence[tuple[Path, float]], out: Path, settings: FuseSettings) -> MergedFile:
    """Merge the files with their weights into ``out``, whole or not at all; its metadata names the parents by name, hash and weight.

    Raises:
        UserInputError, FileFormatError: see ``lora.fuse.fuse``; also for a target that is no .safetensors file or one of the parents.
        StorageError: when it cannot be written.
    """
    out = out.expanduser().resolve()
    if out.suffix != ".safetensors":
        raise UserInputError(f"{out.name} must end in .safetensors: that is what every program loads.")
    if out in [file.expanduser().resolve() for file, _ in loras]:
        raise UserInputError(f"{out.name} is one of the LoRAs to be merged. Give the new one another name.")
    read = [(read_lora(file), weight) for file, weight in loras]
    made = fuse(read, settings)
    parents = [
        {"name": lora.name, "sha256": sha256(file), "weight": weight, "trigger": _trigger(lora)}
        for (lora, weight), (file, _) in zip(read, loras, strict=True)
    ]
    write(out, made.state, _origin(out.stem, read, made.rank, parents, settings))
    return MergedFile(out, len(made.state), made.kept, made.chosen)


def _trigger(lora: LoraFile) -> str:
    return lora.metadata.get("modelspec.trigger_phrase", "")


def _origin(
    name: str, read: Sequence[tuple[LoraFile, float]], rank: int, parents: list[dict[str, object]], settings: FuseSettings
) -> LoraOrigin:
    first = read[0][0]
    triggers = [t for lora, _ in read if (t := _trigger(lora))]
    v = first.metadata.get("modelspec.prediction_type") == "v"
    return LoraOrigin(
        name=name,
        family=first.family,
        prediction=Prediction.V if v else Prediction.EPS,
        checkpoint=first.metadata.get("ss_sd_model_name", "").removesuffix(".safetensors"),
        checkpoint_sha256=first.metadata.get("ss_new_sd_model_hash", ""),
        alpha=float(rank),
        rank=rank,
        steps=0,
        resolution=_resolution(first),
        trigger=", ".join(triggers),
        captions=triggers,
        seed=settings.seed,
        arguments={"method": settings.method, "parents": json.dumps(parents)},
    )


def _resolution(lora: LoraFile) -> int:
    said = lora.metadata.get("modelspec.resolution", "").split("x")[0]
    return int(said) if said.isdigit() else 512
