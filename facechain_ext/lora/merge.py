"""LoRAs added to the weights for a while: zero cost per step, and the very same bits back afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import LoraFile, LoraModule


def update_of(module: LoraModule, weight: torch.Tensor) -> torch.Tensor:
    """scale * up @ down in float32, in the shape of ``weight`` (out, in) or (out, in, kh, kw), on its device.

    Raises:
        ValueError: when the sizes do not fit.
    """
    down = module.down.to(weight.device, torch.float32)
    up = module.up.to(weight.device, torch.float32)
    # A convolution LoRA is a kh x kw "down" followed by a 1x1 "up": one matrix product over flattened inputs.
    product = up.flatten(1) @ down.flatten(1)
    if product.numel() != weight.numel() or product.shape[0] != weight.shape[0]:
        raise ValueError(f"{tuple(product.shape)} for {tuple(weight.shape)}")
    return product.mul_(module.scale).view(weight.shape)


@contextmanager
def merged(modules: Mapping[str, torch.nn.Module], loras: Sequence[tuple[LoraFile, float]]) -> Iterator[list[str]]:
    """Add ``loras`` with their weights to the ``modules`` (by kohya's name) while the block runs.

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
            for lora, strength in loras:
                for name in lora.modules:
                    if name not in modules:
                        missing.append(name)
                    elif strength:
                        wanted.setdefault(name, []).append((lora, strength))
            for name, parts in wanted.items():
                weight = modules[name].weight
                if not isinstance(weight, torch.nn.Parameter):
                    raise FileFormatError(f"The layer {name} of this checkpoint has no weight a LoRA could change.")
                total = weight.detach().float()
                for lora, strength in parts:
                    total = total + strength * _fitted(lora, name, weight)
                backup.append((weight, weight.detach().clone()))
                weight.copy_(total)
        yield missing
    finally:
        with torch.no_grad():
            for weight, original in reversed(backup):
                weight.copy_(original)


def _fitted(lora: LoraFile, name: str, weight: torch.Tensor) -> torch.Tensor:
    try:
        return update_of(lora.modules[name], weight)
    except (ValueError, RuntimeError):
        raise FileFormatError(
            f"The LoRA {lora.name} was made for a checkpoint with layers of other sizes ({name}). Use it with the kind of checkpoint it was trained on."
        ) from None
