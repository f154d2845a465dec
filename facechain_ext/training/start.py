"""A finished LoRA as the beginning of another training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.lora.files import LoraFile, check_family, content_hashes, read_lora
from facechain_ext.lora.network import InjectedLora
from facechain_ext.lora.restore import Learned, learned_in
from facechain_ext.ports import Family


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a training begins with instead of a fresh adapter."""

    lora: LoraFile
    learned: Learned
    said: str
    """Name and content hash, for the metadata of what grows from it."""

    def settings(self, config: TrainConfig) -> TrainConfig:
        """``config`` with the settings that the LoRA decides."""
        found = self.learned
        return replace(config, kind=found.kind.value, rank=found.rank, alpha=found.alpha, text_rank=found.text_rank)


def read_start(file: Path) -> Start:
    """The LoRA in ``file`` as a beginning.

    Raises:
        FileFormatError: when it cannot be read.
        UserInputError: when it is of a form that no training here has, see ``learned_in``.
    """
    lora = read_lora(file)
    return Start(lora, learned_in(lora), f"{file.stem} {content_hashes(file.read_bytes())[0][:12]}")


def checked(start: Start, config: TrainConfig, family: Family) -> Start:
    """``start``, when a training with ``config`` on ``family`` can begin with it.

    Raises:
        UserInputError: when the checkpoint is of another family, or kind, rank and alpha are not the LoRA's own.
    """
    check_family(start.lora, family)
    found = start.learned
    if config.kind != found.kind.value:
        raise UserInputError(f"{start.lora.name} is of the kind {found.kind.value} and can go on as that only, not as {config.kind}.")
    if (config.rank, config.alpha) != (found.rank, found.alpha):
        raise UserInputError(
            f"The LoRA {start.lora.name} has rank {found.rank} and alpha {found.alpha:g}; a training that continues it keeps them. "
            f"Leave rank and alpha out, or train anew."
        )
    return start


def begin_with(start: Start, adapter: InjectedLora) -> None:
    """Copy ``start`` into the fresh ``adapter``; layers it does not have stay fresh.

    Raises:
        UserInputError: when it has layers that this training does not adapt, or of another shape.
    """
    state, strange = adapter.copied(), []
    for name, tensors in start.learned.state.items():
        mine = state.get(name, {})
        if {key: tensor.shape for key, tensor in tensors.items()} != {key: tensor.shape for key, tensor in mine.items()}:
            strange.append(name)
        else:
            state[name] = tensors
    if strange:
        raise UserInputError(
            f"The LoRA {start.lora.name} does not fit this training: {len(strange)} of its layers are not adapted here or have another shape, "
            f"{strange[0]} for one. Continue it with the settings and the kind of checkpoint it was trained with."
        )
    adapter.load_state(state)
