"""The adapter in a file of ours, as it was while it learned: the inverse of ``export``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from facechain_ext.errors import UserInputError
from facechain_ext.lora.adapters import DOWN, MAGNITUDE, UP, AdapterState, Tensors
from facechain_ext.lora.files import LoraFile
from facechain_ext.lora.kinds import DoraModule, HadamardModule, KroneckerModule, LoraModule, Update
from facechain_ext.lora.sizes import Kind, scale_of

UNET = "lora_unet_"


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What a file holds, with the settings it is of."""

    state: AdapterState
    kind: Kind
    rank: int
    """Of the UNet's part, where there is one."""
    alpha: float
    text_rank: int | None = None
    """Of the text encoders' part where that is another."""


def learned_in(lora: LoraFile) -> Learned:
    """The adapter in ``lora``.

    Raises:
        UserInputError: for forms that no training here has: Tucker's cores, whole differences, DoRA by outputs, kinds mixed, several ranks.
    """
    kinds = {_kind(module, lora) for module in lora.modules.values()}
    if len(kinds) > 1:
        raise _strange(lora, "different kinds of layers")
    [kind] = kinds
    main = {name: module for name, module in lora.modules.items() if name.startswith(UNET)} or lora.modules
    rank, scale = _rank(main, lora), _scale(main, lora)
    alpha = scale * (math.sqrt(rank) if kind is Kind.RSLORA else rank)
    text = {name: module for name, module in lora.modules.items() if name not in main}
    text_rank = _rank(text, lora) if text else rank
    state = {name: _tensors(module, scale) for name, module in lora.modules.items()}
    # In halves an alpha that is no whole number comes back a little off.
    return Learned(state, kind, rank, _near(alpha, scale_of(kind, rank, 1.0)), None if text_rank == rank else text_rank)


def _kind(module: Update, lora: LoraFile) -> Kind:
    if isinstance(module, LoraModule) and module.mid is None:
        return Kind.RSLORA if _arguments(lora).get("rs_lora") == "True" else Kind.LORA
    if isinstance(module, DoraModule):
        if not isinstance(module.inner, LoraModule) or module.inner.mid is not None:
            raise _strange(lora, "DoRA around another kind than LoRA")
        if module.by_rows:
            raise _strange(lora, "DoRA with a magnitude for each output, where ours has one for each input")
        return Kind.DORA
    if isinstance(module, HadamardModule) and all(core is None for _, _, core in module.pairs):
        return Kind.LOHA
    if isinstance(module, KroneckerModule) and len(module.w1) == 1 and len(module.w2) < 3:
        return Kind.LOKR
    raise _strange(lora, "Tucker's form or whole differences")


def _strange(lora: LoraFile, what: str) -> UserInputError:
    return UserInputError(f"{lora.name} has {what}, so it cannot be continued. Train anew, or choose another LoRA.")


def _arguments(lora: LoraFile) -> Mapping[str, str]:
    try:
        found = json.loads(lora.metadata.get("ss_network_args", "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _rank(modules: Mapping[str, Update], lora: LoraFile) -> int:
    ranks = {module.size for module in modules.values()} - {0}
    if len(ranks) > 1:
        raise UserInputError(f"The layers of {lora.name} have different ranks, so it cannot be continued. Train anew, or choose another LoRA.")
    said = lora.metadata.get("ss_network_dim", "")
    # A LoKr of two whole factors shows no rank.
    return ranks.pop() if ranks else int(said) if said.isdigit() and int(said) else 1


def _scale(modules: Mapping[str, Update], lora: LoraFile) -> float:
    scales = {_scaled(module) for module in modules.values() if module.size}
    if scales and max(scales) - min(scales) > 1e-3 * abs(max(scales)):
        raise UserInputError(f"The layers of {lora.name} have different alphas, so it cannot be continued. Train anew, or choose another LoRA.")
    return max(scales) if scales else 1.0


def _scaled(module: Update) -> float:
    inner = module.inner if isinstance(module, DoraModule) else module
    assert isinstance(inner, (LoraModule, HadamardModule, KroneckerModule))
    return inner.scale


def _near(alpha: float, unit: float) -> float:
    whole = round(alpha * 2) / 2
    return whole if abs(whole - alpha) * unit < 1e-3 and whole else alpha


def _tensors(module: Update, scale: float) -> Tensors:
    found: dict[str, torch.Tensor] = {}
    if isinstance(module, DoraModule):
        found[MAGNITUDE], module = module.magnitude, module.inner
    if isinstance(module, LoraModule):
        found |= {DOWN: module.down, UP: module.up}
    elif isinstance(module, HadamardModule):
        for i, (a, b, _) in enumerate(module.pairs, start=1):
            found |= {f"hada_w{i}_a": a, f"hada_w{i}_b": b}
    elif isinstance(module, KroneckerModule):
        # Of two whole factors the first one carries the scale in files.
        found["lokr_w1"] = module.w1[0] if module.size else module.w1[0].float() / scale
        found |= {"lokr_w2": module.w2[0]} if len(module.w2) == 1 else {"lokr_w2_a": module.w2[0], "lokr_w2_b": module.w2[1]}
    return {key: tensor.to(torch.float32) for key, tensor in found.items()}
