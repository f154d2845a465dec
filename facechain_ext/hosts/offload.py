"""A UNet whose frozen weights wait in main memory, each on the device only while it computes: for cards that cannot hold it beside activations.

What autograd would keep of a weight for the backward pass is kept as a word for it, and fetched again there. Copies are exact, so every number
is the same as without. On CUDA the layer that came next the last time is copied by a second stream while the current one computes.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from facechain_ext.training.plan import OFFLOAD_WINDOW

LEAST = 2**18
"""Bytes; smaller weights stay: there are many, and they are nothing together."""


@dataclass(eq=False)
class _Layer:
    """A layer's weight, at home in main memory."""

    table: dict[str, Any]
    """The module's own parameters."""
    parameter: torch.nn.Parameter
    home: torch.Tensor
    placeholder: torch.nn.Parameter
    here: torch.Tensor | None = None
    """On the device."""
    copying: Any = None
    """CUDA event of a copy that may be under way."""

    @property
    def bytes(self) -> int:
        return self.home.numel() * self.home.element_size()


class OffloadedWeights:
    """The big frozen weights of ``unet`` at home in main memory until ``end``; adapters must be in it already."""

    def __init__(self, unet: torch.nn.Module, device: torch.device, *, window: int = OFFLOAD_WINDOW, least: int = LEAST) -> None:
        self._device, self._window = device, window
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._there: OrderedDict[int, _Layer] = OrderedDict()
        """Layers on the device by the address of their weight, the one used last at the end."""
        self._after: tuple[dict[_Layer, _Layer], dict[_Layer, _Layer]] = ({}, {})
        """Which layer came after which, in forward and in backward passes."""
        self._backward, self._last = True, None
        self._layers: list[_Layer] = []
        self._hooks = []
        modules = dict(unet.named_modules())
        for path, module in modules.items():
            weight = getattr(module, "weight", None)
            if not isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) or weight is None or weight.requires_grad:
                continue
            if weight.numel() * weight.element_size() < least:
                continue
            layer = self._sent_home(module._parameters, weight)
            # An adapter around the layer may read its weight before the layer itself is called.
            owner = modules[path.removesuffix(".base_layer")]
            self._hooks.append(owner.register_forward_pre_hook(partial(self._enter, layer), prepend=True))

    def _sent_home(self, table: Any, weight: torch.nn.Parameter) -> _Layer:
        home = weight.data.to("cpu")
        if self._stream is not None:
            home = home.pin_memory()
        layer = _Layer(table, weight, home, torch.nn.Parameter(torch.empty_like(weight, device="meta"), requires_grad=False))
        self._layers.append(layer)
        self._drop(layer)
        return layer

    @contextlib.contextmanager
    def forward(self) -> Iterator[None]:
        """Around a forward pass whose gradients are wanted."""
        self._backward, self._last = False, None
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._packed, self._unpacked):
                yield
        finally:
            self._backward, self._last = True, None

    def end(self) -> None:
        """Bring everything back; the UNet is as before."""
        for hook in self._hooks:
            hook.remove()
        self._there.clear()
        for layer in self._layers:
            layer.here = layer.copying = None
            layer.parameter.data = layer.home.to(self._device)
            layer.table["weight"] = layer.parameter
        self._layers, self._hooks = [], []

    def _packed(self, tensor: torch.Tensor) -> Any:
        layer = self._there.get(tensor.untyped_storage().data_ptr())
        return tensor if layer is None else (layer, tensor.size(), tensor.stride(), tensor.storage_offset())

    def _unpacked(self, kept: Any) -> torch.Tensor:
        if isinstance(kept, torch.Tensor):
            return kept
        layer, *shape = kept
        return self._fetch(layer).as_strided(*shape)

    def _enter(self, layer: _Layer, *_: Any) -> None:
        self._fetch(layer)

    def _fetch(self, layer: _Layer) -> torch.Tensor:
        """The weight of ``layer`` on the device, ready to be used by what comes next on the current stream."""
        self._copy(layer)
        here = layer.here
        if here is None:
            raise RuntimeError("a weight was let go of while it was fetched")
        if layer.copying is not None:
            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(layer.copying)
            # Allocated for the other stream: its memory must not be given away before this one is through with it.
            here.record_stream(stream)
            layer.copying = None
        layer.parameter.data = here
        layer.table["weight"] = layer.parameter
        after = self._after[self._backward]
        if self._last is not None:
            after[self._last] = layer
        self._last = layer
        coming = after.get(layer)
        self._there.move_to_end(here.untyped_storage().data_ptr())
        if coming is not None and self._stream is not None:
            self._copy(coming)
        self._make_room(layer, coming)
        return here

    def _copy(self, layer: _Layer) -> None:
        if layer.here is not None:
            return
        if self._stream is None:
            layer.here = layer.home.to(self._device)
        else:
            with torch.cuda.stream(self._stream):
                layer.here = layer.home.to(self._device, non_blocking=True)
                layer.copying = torch.cuda.Event()
                layer.copying.record(self._stream)
        self._there[layer.here.untyped_storage().data_ptr()] = layer

    def _make_room(self, *needed: _Layer | None) -> None:
        held = sum(layer.bytes for layer in self._there.values())
        for address, layer in list(self._there.items()):
            if held <= self._window:
                return
            if layer not in needed:
                del self._there[address]
                held -= layer.bytes
                self._drop(layer)

    def _drop(self, layer: _Layer) -> None:
        layer.here = layer.copying = None
        layer.parameter.data = layer.home
        layer.table["weight"] = layer.placeholder
