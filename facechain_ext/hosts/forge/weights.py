"""Lets gradients flow through weights that were made for inference only, without a copy of them and without a trace afterwards.

Forge loads everything under ``torch.inference_mode`` (backend/loader.py): autograd refuses to save such tensors for the backward pass,
whatever is done to them. A tensor of our own on the same storage is an ordinary one, so the modules get such views for as long as the
training runs, and the very same parameter objects back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


def ordinary(tensor: torch.Tensor) -> torch.Tensor:
    """A frozen view of ``tensor`` on the same memory that autograd may save; a parameter stays a parameter."""
    with torch.inference_mode(False):
        view = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        view.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
        return torch.nn.Parameter(view, requires_grad=False) if isinstance(tensor, torch.nn.Parameter) else view


class PlainLinear(torch.nn.Linear):
    """A real ``nn.Linear`` on the parameters of a layer that only looks like one, as Forge's do (backend/operations.py); PEFT wants this.

    Both share one table of parameters: what is put into the one is in the other.
    """

    def __init__(self, layer: Any) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features, self.training = layer.in_features, layer.out_features, layer.training
        self.__dict__["_parameters"] = layer._parameters
        for name in ("weight", "bias"):
            if name not in layer._parameters:
                self.__dict__[name] = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """As the layer computes: stored precision may be another than the activations'."""
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return torch.nn.functional.linear(input, self.weight.to(input.dtype), bias)


def _looks_linear(module: torch.nn.Module) -> bool:
    return not isinstance(module, torch.nn.Linear) and hasattr(module, "in_features") and hasattr(module, "out_features")


class BorrowedWeights:
    """The weights of ``model``, lent to autograd by ``lent``."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        # The tables themselves: a host that moves weights about may put new objects into them while they are suspended.
        self._slots: list[tuple[dict[str, Any], str]] = []
        self._own: list[Any] = []

    @contextlib.contextmanager
    def lent(self, targets: list[str]) -> Iterator[None]:
        """Every parameter and buffer is an ordinary tensor, and the modules at ``targets`` are such as PEFT knows, while the block runs."""
        self._slots = [
            (table, name)
            for module in self._model.modules()
            for table in (module._parameters, module._buffers)
            for name, tensor in table.items()
            if tensor is not None
        ]
        replaced = {path: module for path in targets if _looks_linear(module := self._model.get_submodule(path))}
        try:
            for path, module in replaced.items():
                _put(self._model, path, PlainLinear(module))
            self._lend()
            yield
        finally:
            self._take_back()
            for path, module in replaced.items():
                _put(self._model, path, module)
            self._slots = []

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """The model's own weights are in place, for the host to move and to sample with.

        What was put in meanwhile, the adapters, is replaced by copies: the host may move those too, under ``inference_mode``, and an
        optimizer's parameters would not survive that.
        """
        self._take_back()
        own = {(id(table), name) for table, name in self._slots}
        guests = [
            (module._parameters, name, parameter)
            for module in self._model.modules()
            for name, parameter in module._parameters.items()
            if parameter is not None and (id(module._parameters), name) not in own
        ]
        for table, name, parameter in guests:
            table[name] = torch.nn.Parameter(parameter.detach().clone(), requires_grad=False)
        try:
            yield
        finally:
            for table, name, parameter in guests:
                table[name] = parameter
            self._lend()

    def _lend(self) -> None:
        seen: dict[int, torch.Tensor] = {}
        self._own = [table[name] for table, name in self._slots]
        for (table, name), tensor in zip(self._slots, self._own, strict=True):
            if id(tensor) not in seen:
                seen[id(tensor)] = ordinary(tensor)
            table[name] = seen[id(tensor)]

    def _take_back(self) -> None:
        for (table, name), tensor in zip(self._slots, self._own, strict=False):
            table[name] = tensor
        self._own = []


def _put(model: torch.nn.Module, path: str, module: torch.nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    model.get_submodule(parent)._modules[name] = module
