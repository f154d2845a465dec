"""A PEFT LoRA put into a live model and taken out again, the model left as it was: the same objects, bits and flags."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from facechain_ext.errors import HostError

ADAPTER = "facechain"
AdapterState = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Module path -> (down, up); Linear (r, in) and (out, r), Conv2d (r, in, kh, kw) and (out, r, 1, 1)."""


class InjectedLora:
    """A LoRA inside ``model``; made by ``inject``."""

    def __init__(self, model: torch.nn.Module, targets: Sequence[str]) -> None:
        self._model = model
        self._targets = tuple(targets)

    def _layers(self) -> Iterator[tuple[str, Any]]:
        for path in self._targets:
            yield path, self._model.get_submodule(path)

    def parameters(self) -> list[torch.nn.Parameter]:
        """The trainable parameters, float32, in a fixed order: down and up of each target in turn."""
        found = []
        for _, layer in self._layers():
            found += [layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight]
        return found

    def state(self) -> AdapterState:
        """The adapter's tensors themselves, not copies."""
        return {path: (layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight) for path, layer in self._layers()}

    def load_state(self, state: AdapterState) -> None:
        """Copy ``state`` into the adapter.

        Raises:
            ValueError: when its modules or shapes are others.
        """
        if set(state) != set(self._targets):
            raise ValueError("the state belongs to other modules")
        with torch.no_grad():
            for path, mine in self.state().items():
                for parameter, value in zip(mine, state[path], strict=True):
                    if parameter.shape != value.shape:
                        raise ValueError(f"{path}: {tuple(value.shape)} does not fit {tuple(parameter.shape)}")
                    parameter.copy_(value)

    def set_scale(self, weight: float) -> None:
        """Let the adapter act with ``weight`` (1 as trained, 0 not at all)."""
        for _, layer in self._layers():
            layer.set_scale(ADAPTER, weight)


@contextmanager
def inject(
    model: torch.nn.Module, *, targets: Sequence[str], rank: int, alpha: float, seed: int, device: torch.device | None = None
) -> Iterator[InjectedLora]:
    """Put a fresh LoRA on the submodules ``targets`` of ``model`` for as long as the block runs.

    Down matrices start as kohya's (Kaiming, from ``seed`` alone), up matrices at zero, all float32 on ``device`` (None:
    where their layer is; a host that moves the model about names the device it computes on). The model's own parameters
    are frozen meanwhile. On exit, well or not, every module object, flag and attribute is what it was.

    Raises:
        HostError: when a target is missing, something else has put an adapter there, or PEFT cannot be imported.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise HostError(
            f"Training needs the Python package peft, which cannot be used here ({error}). "
            "Start the WebUI without --skip-install, which installs a fitting one, or install it by hand."
        ) from error

    originals = _originals(model, targets)
    flags = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(m, m.training) for m in model.modules()]
    attributes = dict(model.__dict__)
    random = torch.get_rng_state()
    try:
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets))  # pyright: ignore[reportArgumentType]
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
        layers: dict[str, Any] = {path: model.get_submodule(path) for path in targets}
        wrong = [p for p, m in layers.items() if not isinstance(m, BaseTunerLayer)]
        extra = sum(isinstance(m, BaseTunerLayer) for m in model.modules()) - len(layers)
        if wrong or extra:
            raise HostError("The LoRA could not be put on the wanted layers of this checkpoint. Report this with the checkpoint's name.")
        _initialise(layers, seed, device)
        yield InjectedLora(model, targets)
    finally:
        for path, module in originals.items():
            parent, _, name = path.rpartition(".")
            model.get_submodule(parent)._modules[name] = module
        for parameter, wanted in flags:
            parameter.requires_grad_(wanted)
        for module, training in modes:
            module.training = training
        for added in set(model.__dict__) - set(attributes):
            delattr(model, added)
        torch.set_rng_state(random)


def _originals(model: torch.nn.Module, targets: Sequence[str]) -> dict[str, torch.nn.Module]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    originals = {}
    for path in targets:
        try:
            originals[path] = model.get_submodule(path)
        except AttributeError:
            raise HostError(f"This checkpoint has no layer {path}; it is of another kind than it seems.") from None
    if hasattr(model, "peft_config") or any(isinstance(m, BaseTunerLayer) for m in model.modules()):
        raise HostError("Another program's adapter is still in the model. Remove it (or reload the checkpoint) and try again.")
    return originals


def _initialise(layers: dict[str, Any], seed: int, device: torch.device | None) -> None:
    draw = torch.Generator().manual_seed(seed)
    for layer in layers.values():
        down, up = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        for part in (down, up):
            part.to(device=device or layer.get_base_layer().weight.device, dtype=torch.float32)
            part.requires_grad_(True)
        # Kaiming uniform with a = sqrt(5): bound 1 / sqrt(fan in).
        bound = 1 / math.sqrt(down.weight[0].numel())
        with torch.no_grad():
            down.weight.copy_(torch.empty(down.weight.shape).uniform_(-bound, bound, generator=draw))
            up.weight.zero_()
