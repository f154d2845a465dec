"""Kinds of adapters: how PEFT makes each, how it starts, and what its tensors are called in files.

| kind | weight of a layer becomes | source |
|---|---|---|
| LoRA | W + alpha / r * up @ down | Hu et al. 2021 |
| rsLoRA | W + alpha / sqrt(r) * up @ down | Kalajdzievski 2023 |
| DoRA | (W + alpha / r * up @ down) * m / its norm for each input | Liu et al. 2024 |
| LoHa | W + alpha / r * (w1_a @ w1_b) * (w2_a @ w2_b), elementwise | Hyeon-Woo et al. 2021; LyCORIS |
| LoKr | W + alpha / r * kron(w1, w2), w2 = w2_a @ w2_b where that is smaller | Edalati et al. 2022; LyCORIS |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch

from facechain_ext.lora.sizes import LOKR_FACTOR, Kind

ADAPTER = "facechain"
Tensors = dict[str, torch.Tensor]
"""What an adapter has learned about one module, by the names in files: ``lora_down.weight``, ``hada_w1_a``, ``lokr_w2``."""
AdapterState = dict[str, Tensors]
"""The same by kohya's module name."""

DOWN, UP, MAGNITUDE = "lora_down.weight", "lora_up.weight", "dora_scale"


def peft_config(kind: Kind, rank: int, alpha: float, targets: Sequence[str]) -> Any:
    """PEFT's configuration of ``kind`` on the modules at the paths ``targets``."""
    import peft

    where, strength = list(targets), cast(int, alpha)
    if kind is Kind.LOHA:
        return peft.LoHaConfig(r=rank, alpha=rank, target_modules=where)
    if kind is Kind.LOKR:
        return peft.LoKrConfig(r=rank, alpha=rank, target_modules=where, decompose_factor=LOKR_FACTOR)
    # DoRA's magnitudes are ours: PEFT has one for each output, the WebUIs read one for each input, as the paper has it.
    return peft.LoraConfig(r=rank, lora_alpha=strength, use_rslora=kind is Kind.RSLORA, target_modules=where)


def prepare(layer: Any, kind: Kind, scale: float) -> None:
    """Let the new PEFT ``layer`` compute as ``kind`` says, scaled by ``scale`` in every version of PEFT."""
    if kind is Kind.DORA:
        layer.facechain_magnitude = Magnitude(layer)
        layer.register_forward_pre_hook(_rescaled)
    elif kind in (Kind.LOHA, Kind.LOKR):
        # At or above 0 it draws from the global generator in every pass, and leaves the layer out once in some million.
        layer.module_dropout[ADAPTER] = -1.0
        unscaled, dtype = layer.get_delta_weight, layer.get_base_layer().weight.dtype
        layer.facechain_scale = scale
        # PEFT 0.13 leaves out LoKr's scale, and does not bring the update to the precision of the layer's inputs.
        layer.get_delta_weight = lambda *args, **more: (unscaled(*args, **more) * layer.facechain_scale).to(dtype)


class Magnitude(torch.nn.Module):
    """DoRA's magnitude of a LoRA layer, one number for each input."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        weight = layer.get_base_layer().weight
        self._within = (0, *range(2, weight.ndim))
        """Dimensions of one input's weights."""
        with torch.no_grad():
            self._squares = weight.detach().float().square().sum(self._within, keepdim=True)
        self.weight = torch.nn.Parameter(self._squares.sqrt())
        """(1, in) or (1, in, 1, 1), as in files."""

    def factor(self, layer: Any) -> torch.Tensor:
        """What to multiply each input with: the magnitude over the norm, which counts as a constant (Liu et al. 2024, section 4.3)."""
        with torch.no_grad():
            weight = layer.get_base_layer().weight.detach()
            down, up = layer.lora_A[ADAPTER].weight.flatten(1), layer.scaling[ADAPTER] * layer.lora_B[ADAPTER].weight.flatten(1)
            # |W + U|^2 = |W|^2 + 2 W.U + |U|^2 summed in the rank's dimensions: U itself is never made.
            against = 2 * (up.T @ weight.flatten(1).float()) + (up.T @ up) @ down
            change = (down * against).sum(0).view(1, *weight.shape[1:]).sum(self._within, keepdim=True)
            norm = (self._squares.to(change.device) + change).clamp_min(1e-12).sqrt()
        return self.weight / norm


def _rescaled(layer: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Columns of a weight scaled are inputs scaled."""
    x, *rest = inputs
    return ((x * layer.facechain_magnitude.factor(layer)).to(x.dtype), *rest)


def tensors_of(layer: Any) -> dict[str, torch.nn.Parameter]:
    """The trainable parameters of a PEFT ``layer`` by their names in files, in a fixed order."""
    if hasattr(layer, "lora_A"):
        found = {DOWN: layer.lora_A[ADAPTER].weight, UP: layer.lora_B[ADAPTER].weight}
        return found | ({MAGNITUDE: layer.facechain_magnitude.weight} if hasattr(layer, "facechain_magnitude") else {})
    return {name: getattr(layer, name)[ADAPTER] for name in layer.adapter_layer_names if ADAPTER in getattr(layer, name)}


def flat(state: AdapterState) -> Tensors:
    """``state`` as one table, ``NAME.lora_down.weight`` and so on; kohya's names hold no dot."""
    return {f"{name}.{key}": tensor for name, tensors in state.items() for key, tensor in tensors.items()}


def nested(tensors: Tensors) -> AdapterState:
    """The inverse of ``flat``."""
    state: AdapterState = {}
    for key, tensor in tensors.items():
        name, _, rest = key.partition(".")
        state.setdefault(name, {})[rest] = tensor
    return state


def initialise(layer: Any, draw: torch.Generator) -> None:
    """Start as an update of zero, drawn from ``draw`` alone, as kohya and LyCORIS do."""
    tensors = tensors_of(layer)
    for name, tensor in tensors.items():
        if name == MAGNITUDE:
            continue
        with torch.no_grad():
            if _starts_at_zero(name, tensors):
                tensor.zero_()
            elif name.startswith("hada_"):
                spread = 0.1 if name == "hada_w1_a" else 1.0
                tensor.copy_(torch.empty(tensor.shape).normal_(0, spread, generator=draw))
            else:
                # Kaiming uniform with a = sqrt(5): bound 1 / sqrt(fan in).
                bound = 1 / math.sqrt(tensor[0].numel())
                tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=draw))


def _starts_at_zero(name: str, tensors: dict[str, torch.nn.Parameter]) -> bool:
    """One factor of each product."""
    if name == "lokr_w2_b":
        return "lokr_w2" not in tensors
    return name in (UP, "hada_w2_a", "lokr_w2")
