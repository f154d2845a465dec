"""A finished LoRA as the beginning of another training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.lora.files import LoraFile, check_family, content_hashes, read_lora
from facechain_ext.lora.network import InjectedLora
from facechain_ext.ports import Family


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a training begins with instead of a fresh adapter."""

    lora: LoraFile
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
    shapes = {(module.rank, module.alpha) for module in lora.modules.values()}
    if len(shapes) > 1:
        raise UserInputError(f"The layers of {file.name} have different ranks, so it cannot be continued. Train anew, or choose another LoRA.")
    [(rank, alpha)] = shapes
    return Start(lora, f"{file.stem} {content_hashes(file.read_bytes())[0][:12]}", rank, alpha)


def checked(start: Start, config: TrainConfig, family: Family) -> Start:
    """``start``, when a training with ``config`` on ``family`` can begin with it.

    Raises:
        UserInputError: when the checkpoint is of another family, or rank and alpha are not the LoRA's own.
    """
    check_family(start.lora, family)
    if (config.rank, config.alpha) != (start.rank, start.alpha):
        raise UserInputError(
            f"The LoRA {start.lora.name} has rank {start.rank} and alpha {start.alpha:g}; a training that continues it keeps them. "
            f"Leave rank and alpha out, or train anew."
        )
    return start


def begin_with(start: Start, adapter: InjectedLora, targets: Mapping[str, str]) -> None:
    """Copy ``start`` into the fresh ``adapter``, whose layers have kohya's names by ``targets``; layers it does not have stay fresh.

    Raises:
        UserInputError: when it has layers that this training does not adapt, or of another shape.
    """
    named = {name: path for path, name in targets.items()}
    strange = [name for name in start.lora.modules if name not in named]
    state = {path: (down.detach().clone(), up.detach().clone()) for path, (down, up) in adapter.state().items()}
    for name, module in start.lora.modules.items():
        path = named.get(name)
        if path is None:
            continue
        halves = module.down.to(torch.float32), module.up.to(torch.float32)
        if any(new.shape != old.shape for new, old in zip(halves, state[path], strict=True)):
            strange.append(name)
            continue
        state[path] = halves
    if strange:
        raise UserInputError(
            f"The LoRA {start.lora.name} does not fit this training: {len(strange)} of its layers are not adapted here or have another shape. "
            "Continue it with the settings and the kind of checkpoint it was trained with."
        )
    adapter.load_state(state)
