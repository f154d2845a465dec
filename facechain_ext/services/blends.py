"""Use case: how the LoRAs of a request will act, told before anything is generated."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facechain_ext.blend import SUM, Part
from facechain_ext.lora.files import check_family, read_lora
from facechain_ext.lora.fit import misfit
from facechain_ext.lora.naming import BLOCKS, SUPPORTED, diffusers_path, kohya_name
from facechain_ext.ports import Family, Footprint, ImageGenerator, LoraWeight
from facechain_ext.services.balance import Balance, remembered
from facechain_ext.services.portraits import loras_of, pair_of
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.styles.catalog import Style
from facechain_ext.workspace import Workspace


@dataclass(frozen=True, slots=True)
class ToldPart:
    """One LoRA of the blend."""

    name: str
    """File stem."""
    part: Part


@dataclass(frozen=True, slots=True)
class ToldBlend:
    """What will be done with a person's LoRA and a style's."""

    parts: tuple[ToldPart, ...]
    """The person's first."""
    blocks: int
    """Of the checkpoint's UNet."""
    steps: int
    why: str
    """A sentence: where the blend comes from."""
    balance: Balance | None
    """What was measured for the two, None when nothing was."""
    problems: tuple[str, ...] = ()
    """Sentences: what of the files this checkpoint cannot use."""
    measurable: bool = False
    """True where there are two LoRAs to be balanced."""


def told_blend(
    request: PortraitRequest, workspace: Workspace, host: ImageGenerator, footprint: Footprint, style: Style | None
) -> ToldBlend:
    """How face and style LoRA of ``request`` will act on the checkpoint of ``host``; loads no model.

    Raises:
        FaceChainError: for what cannot be: nobody of that name, no LoRA, a LoRA of another model family.
    """
    folder, checkpoint = workspace.existing_person(request.person), host.checkpoint
    loras = loras_of(folder, host, style, request.config, request.loras)
    others = [w for name in request.beside for w in loras_of(workspace.existing_person(name), host, None, request.config, request.loras)]
    known = remembered(pair_of(folder, style, host)) if style is not None and len(loras) > 1 else None
    return ToldBlend(
        tuple(ToldPart(w.file.stem, w.part(role)) for w, role in zip(loras, ("face", "style"), strict=False)),
        BLOCKS[checkpoint.family],
        request.config.steps,
        _why(request, known, alone=len(loras) == 1),
        known,
        tuple(misfits([*loras, *others], footprint, checkpoint.family)),
        len(loras) > 1,
    )


def _why(request: PortraitRequest, known: Balance | None, *, alone: bool) -> str:
    config = request.config
    if alone:
        return "Only the face LoRA acts: the style is made of words."
    if config.blend == SUM:
        return "Both LoRAs are added as they are."
    if config.blend:
        return "As the blend in the advanced settings says."
    if known is not None:
        return known.explained(config.balance)
    return "Nothing was measured for these two yet: the style's own blend, and half way of the slider the weights as they are set."


def misfits(loras: Sequence[LoraWeight], footprint: Footprint, family: Family) -> list[str]:
    """A sentence for each of ``loras`` that a checkpoint with this ``footprint`` cannot use wholly.

    Raises:
        FileFormatError: for a LoRA of another model family, or a file that cannot be read.
    """
    layers = layer_names(footprint.shapes, family)
    files = dict.fromkeys(w.file for w in loras)
    return [said for file in files if (said := _misfit(file, file.stat().st_mtime_ns, layers, family)) is not None]


@functools.lru_cache(maxsize=64)
def _misfit(file: Path, _changed: int, layers: frozenset[str], family: Family) -> str | None:
    lora = read_lora(file)
    check_family(lora, family)
    return misfit(lora, layers)


def layer_names(shapes: Mapping[str, Sequence[int]], family: Family) -> frozenset[str]:
    """kohya's names of all layers that a LoRA may change in a UNet with weights of these LDM names."""
    found = set()
    for name in shapes:
        path = name.removesuffix(".weight")
        try:
            diffusers = diffusers_path(path, family)
        except KeyError:
            continue
        if SUPPORTED.search(diffusers):
            found.add(kohya_name(path if family is Family.SDXL else diffusers))
    return frozenset(found)
