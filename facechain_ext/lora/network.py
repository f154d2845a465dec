"""An adapter of PEFT's put into a live model and taken out again, the model left as it was: the same objects, bits and flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from facechain_ext.errors import HostError
from facechain_ext.lora.adapters import ADAPTER, AdapterState, initialise, peft_config, prepare, tensors_of
from facechain_ext.lora.fused import fuse
from facechain_ext.lora.sizes import Kind, scale_of


class InjectedLora:
    """An adapter inside a model, or several; made by ``inject``."""

    def __init__(self, layers: Mapping[str, Any], text: Sequence[str] = ()) -> None:
        self._layers = dict(layers)
        self._text = set(text)

    def with_text(self, other: InjectedLora) -> InjectedLora:
        """This one and ``other``, which is in a text encoder, as one; their names must differ."""
        if shared := set(self._layers) & set(other._layers):
            raise ValueError(f"both adapt {min(shared)}")
        return InjectedLora(self._layers | other._layers, (*self._text, *other._layers))

    @property
    def adapts_text(self) -> bool:
        """True when it is in a text encoder too."""
        return bool(self._text)

    def groups(self) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
        """The trainable parameters, float32, in a fixed order, those of each target in turn: the UNet's and the text encoders'."""
        groups: tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]] = ([], [])
        for name, layer in self._layers.items():
            groups[name in self._text].extend(tensors_of(layer).values())
        return groups

    def parameters(self) -> list[torch.nn.Parameter]:
        """All trainable parameters, the UNet's first."""
        unet, text = self.groups()
        return unet + text

    def state(self) -> AdapterState:
        """The adapter's tensors themselves, not copies."""
        return {name: dict(tensors_of(layer)) for name, layer in self._layers.items()}

    def copied(self, *, cpu: bool = False) -> AdapterState:
        """Copies of the adapter's tensors, on the CPU when ``cpu``."""
        return {
            name: {key: (t.detach().cpu() if cpu else t.detach()).clone() for key, t in tensors.items()}
            for name, tensors in self.state().items()
        }

    def load_state(self, state: AdapterState) -> None:
        """Copy ``state`` into the adapter.

        Raises:
            ValueError: when its modules, kind or shapes are others.
        """
        if set(state) != set(self._layers):
            raise ValueError("the state belongs to other modules")
        with torch.no_grad():
            for name, mine in self.state().items():
                if set(state[name]) != set(mine):
                    raise ValueError(f"{name}: the state is of another kind of adapter")
                for key, parameter in mine.items():
                    value = state[name][key]
                    if parameter.shape != value.shape:
                        raise ValueError(f"{name}: {tuple(value.shape)} does not fit {tuple(parameter.shape)}")
                    parameter.copy_(value)


@contextmanager
def inject(
    model: torch.nn.Module,
    *,
    targets: Mapping[str, str] | Sequence[str],
    rank: int,
    alpha: float,
    seed: int,
    kind: Kind = Kind.LORA,
    device: torch.device | None = None,
) -> Iterator[InjectedLora]:
    """Put a fresh adapter of ``kind`` on submodules of ``model`` for as long as the block runs.

    ``targets`` are their paths, with the names its state knows them by where they differ. It starts from ``seed`` alone as an update of
    zero, all float32 on ``device`` (None: where their layer is; a host that moves the model about names the device it computes on). The
    model's own parameters are frozen meanwhile. On exit, well or not, every module object, flag and attribute is what it was.

    Raises:
        HostError: when a target is missing, something else has put an adapter there, or PEFT cannot be imported.
    """
    try:
        from peft import inject_adapter_in_model
        from peft.tuners.tuners_utils import BaseTunerLayer
    except ImportError as error:
        raise HostError(
            f"Training needs the Python package peft, which cannot be used here ({error}). "
            "Start the WebUI without --skip-install, which installs a fitting one, or install it by hand."
        ) from error

    names = dict(targets) if isinstance(targets, Mapping) else {path: path for path in targets}
    originals = _originals(model, list(names))
    flags = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(m, m.training) for m in model.modules()]
    attributes = dict(model.__dict__)
    random = torch.get_rng_state()
    try:
        inject_adapter_in_model(peft_config(kind, rank, alpha, list(names)), model, adapter_name=ADAPTER)
        layers: dict[str, Any] = {path: model.get_submodule(path) for path in names}
        wrong = [p for p, m in layers.items() if not isinstance(m, BaseTunerLayer)]
        extra = sum(isinstance(m, BaseTunerLayer) for m in model.modules()) - len(layers)
        if wrong or extra:
            raise HostError("The LoRA could not be put on the wanted layers of this checkpoint. Report this with the checkpoint's name.")
        _make_ready(layers, originals, kind, scale_of(kind, rank, alpha), seed, device)
        yield InjectedLora({names[path]: layer for path, layer in layers.items()})
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


def _make_ready(
    layers: dict[str, Any], originals: dict[str, torch.nn.Module], kind: Kind, scale: float, seed: int, device: torch.device | None
) -> None:
    draw = torch.Generator().manual_seed(seed)
    for path, layer in layers.items():
        layer.train(originals[path].training)
        prepare(layer, kind, scale)
        there = device or layer.get_base_layer().weight.device
        for parameter in tensors_of(layer).values():
            parameter.data = parameter.data.to(device=there, dtype=torch.float32)
            parameter.requires_grad_(True)
        initialise(layer, draw)
        if kind in (Kind.LORA, Kind.RSLORA):
            fuse(layer)
