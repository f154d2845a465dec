"""LoRAs added to the weights for a while: zero cost per step, and the very same bits back afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import LoraFile

BlockWeights = Callable[[str], float]
"""kohya's name of a module -> multiplier."""


@contextmanager
def merged(
    modules: Mapping[str, torch.nn.Module], loras: Sequence[tuple[LoraFile, float]], blocks: Sequence[BlockWeights] = ()
) -> Iterator[list[str]]:
    """Add ``loras`` with their weights to the ``modules`` (by kohya's name) while the block runs.

    ``blocks`` gives for each LoRA a further multiplier by kohya's name of the module (see ``naming.block_weights``).

    Yields the names in the files that none of the ``modules`` has. On exit every weight holds exactly the bits it held:
    they are copied back, since subtracting would change about one weight in thirty in the last bit.

    Raises:
        FileFormatError: when a LoRA was made for layers of other sizes.
    """
    backup: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    missing: list[str] = []
    try:
        with torch.no_grad():
            wanted: dict[str, list[tuple[LoraFile, float]]] = {}
            for i, (lora, strength) in enumerate(loras):
                of_block = blocks[i] if blocks else None
                for name in lora.modules:
                    here = strength * (of_block(name) if of_block else 1.0)
                    if name not in modules:
                        missing.append(name)
                    elif here:
                        wanted.setdefault(name, []).append((lora, here))
            for name, parts in wanted.items():
                weight = modules[name].weight
                if not isinstance(weight, torch.nn.Parameter):
                    raise FileFormatError(f"The layer {name} of this checkpoint has no weight a LoRA could change.")
                total = weight.detach().float()
                for lora, strength in parts:
                    total = total + strength * fitted(lora, name, weight)
                backup.append((weight, weight.detach().clone()))
                weight.copy_(total)
        yield missing
    finally:
        with torch.no_grad():
            for weight, original in reversed(backup):
                weight.copy_(original)


def fitted(lora: LoraFile, name: str, weight: torch.Tensor) -> torch.Tensor:
    """The change of ``weight`` by the LoRA's module ``name``.

    Raises:
        FileFormatError: when it was made for another size.
    """
    try:
        return lora.modules[name].delta(weight)
    except (ValueError, RuntimeError):
        raise wrong_size(lora, name) from None


def wrong_size(lora: LoraFile, name: str) -> FileFormatError:
    """What to say when the module ``name`` of ``lora`` does not fit the checkpoint's."""
    return FileFormatError(
        f"The LoRA {lora.name} was made for a checkpoint with layers of other sizes ({name}). Use it with the kind of checkpoint it was trained on."
    )
