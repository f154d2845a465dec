"""A frozen module that leaves the device while only the UNet is needed there, and comes back when it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch


class Resting:
    """A module whose weights can wait in main memory: the same tensor objects with the same bits when they are back.

    Meanwhile every parameter and buffer has a placeholder without memory in its place, so that a use that was not meant fails at once.
    """

    def __init__(self, module: torch.nn.Module, device: torch.device) -> None:
        self._module, self._device = module, device
        self._taken: list[tuple[dict[str, Any], str, torch.Tensor]] = []

    @property
    def away(self) -> bool:
        """True between ``leave`` and ``back``."""
        return bool(self._taken)

    def leave(self) -> None:
        """Free the device's memory of it."""
        if self._taken:
            return
        for owner in self._module.modules():
            for table in cast(Sequence[dict[str, Any]], (owner._parameters, owner._buffers)):
                for name, tensor in list(table.items()):
                    if tensor is not None:
                        table[name] = _placeholder(tensor)
                        tensor.data = tensor.data.to("cpu")
                        self._taken.append((table, name, tensor))

    def back(self) -> None:
        """Use it again."""
        for table, name, tensor in self._taken:
            tensor.data = tensor.data.to(self._device)
            table[name] = tensor
        self._taken = []


def _placeholder(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return torch.nn.Parameter(empty, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else empty
