"""A finished LoRA as the beginning of another training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.lora.adapters import DOWN, UP
from facechain_ext.lora.files import LoraFile, check_family, content_hashes, read_lora
from facechain_ext.lora.kinds import LoraModule
from facechain_ext.lora.network import InjectedLora
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Family


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a training begins with instead of a fresh adapter."""

    lora: LoraFile
    modules: Mapping[str, LoraModule]
    """Its layers, all of them plain."""
    said: str
    """Name and content hash, for the metadata of what grows from it."""
    rank: int
    alpha: float


def read_start(file: Path) -> Start:
    """The LoRA in ``file`` as a beginning.

    Raises:
        FileFormatError: when it cannot be read, or is not a plain LoRA.
        UserInputError: when its layers have different ranks, which one training cannot go on with.
    """
    lora = read_lora(file)
    modules = {name: module for name, module in lora.modules.items() if isinstance(module, LoraModule) and module.mid is None}
    if len(modules) < len(lora.modules):
        raise UserInputError(f"{file.name} is no plain LoRA, and only these can be continued. Train anew, or choose another LoRA.")
    shapes = {(module.rank, module.alpha) for module in modules.values()}
    if len(shapes) > 1:
        raise UserInputError(f"The layers of {file.name} have different ranks, so it cannot be continued. Train anew, or choose another LoRA.")
    [(rank, alpha)] = shapes
    return Start(lora, modules, f"{file.stem} {content_hashes(file.read_bytes())[0][:12]}", rank, alpha)


def checked(start: Start, config: TrainConfig, family: Family) -> Start:
    """``start``, when a training with ``config`` on ``family`` can begin with it.

    Raises:
        UserInputError: when the checkpoint is of another family, or kind, rank and alpha are not the LoRA's own.
    """
    check_family(start.lora, family)
    if (config.rank, config.alpha) != (start.rank, start.alpha):
        raise UserInputError(
            f"The LoRA {start.lora.name} has rank {start.rank} and alpha {start.alpha:g}; a training that continues it keeps them. "
            f"Leave rank and alpha out, or train anew."
        )
    if config.kind != Kind.LORA.value:
        raise UserInputError(f"{start.lora.name} is a plain LoRA and can go on as one only, not as {config.kind}. Set the kind to lora.")
    return start


def begin_with(start: Start, adapter: InjectedLora) -> None:
    """Copy ``start`` into the fresh ``adapter``; layers it does not have stay fresh.

    Raises:
        UserInputError: when it has layers that this training does not adapt, or of another shape.
    """
    state, strange = adapter.copied(), []
    for name, module in start.modules.items():
        halves = {DOWN: module.down.to(torch.float32), UP: module.up.to(torch.float32)}
        if name not in state or any(half.shape != state[name][key].shape for key, half in halves.items()):
            strange.append(name)
        else:
            state[name] = halves
    if strange:
        raise UserInputError(
            f"The LoRA {start.lora.name} does not fit this training: {len(strange)} of its layers are not adapted here or have another shape. "
            "Continue it with the settings and the kind of checkpoint it was trained with."
        )
    adapter.load_state(state)
