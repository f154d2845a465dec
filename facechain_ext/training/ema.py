"""The moving average of an adapter over its steps, which is steadier than the last step (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from facechain_ext.lora.adapters import AdapterState
from facechain_ext.lora.network import InjectedLora


class MovingAverage:
    """Of the numbers of ``adapter``, on their device; ``decay`` is what each step keeps of it, 0 follows the adapter itself."""

    def __init__(self, adapter: InjectedLora, decay: float) -> None:
        self._adapter, self._decay = adapter, decay
        self._numbers = adapter.parameters()
        self._mean = adapter.copied() if decay else {}

    def _means(self) -> list[torch.Tensor]:
        """In the order of the adapter's parameters, which is that of its state."""
        return [tensor for tensors in self._mean.values() for tensor in tensors.values()]

    def update(self, step: int) -> None:
        """Take in the adapter after ``step`` steps; at first it follows faster, as the start would weigh for too long."""
        if self._decay:
            keep = min(self._decay, step / (step + 9))
            means = self._means()
            torch._foreach_mul_(means, keep)
            torch._foreach_add_(means, [p.detach() for p in self._numbers], alpha=1 - keep)

    def state(self) -> AdapterState:
        """The average's tensors themselves; empty when there is none."""
        return self._mean

    def load(self, state: AdapterState) -> None:
        """Go on from ``state``; empty: from the adapter as it is."""
        wanted = state or self._adapter.state()
        for name, tensors in self._mean.items():
            for key, mean in tensors.items():
                mean.copy_(wanted[name][key].detach())

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The adapter is the average while the block runs."""
        if not self._decay:
            yield
            return
        learning = self._adapter.copied()
        self._adapter.load_state(self._mean)
        try:
            yield
        finally:
            self._adapter.load_state(learning)

    def settle(self) -> None:
        """Training is over: the adapter becomes the average."""
        if self._decay:
            self._adapter.load_state(self._mean)
