"""Keys of LoRA files: kohya's and LyCORIS's, PEFT's and diffusers', all brought to (kohya's module name, part)."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from facechain_ext.lora.naming import TEXT, kohya_name, ldm_path
from facechain_ext.ports import Family

PARTS = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_mid.weight": "mid",
    ".alpha": "alpha",
    ".dora_scale": "dora_scale",
    ".diff": "diff",
    **{f".{name}": name for name in ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")},
    **{f".{name}": name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")},
}
"""Ends of kohya's and LyCORIS's keys -> the part's short name."""
FOREIGN_PARTS = {
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_A.default.weight": "down",
    "lora_B.default.weight": "up",
    "lora.down.weight": "down",
    "lora.up.weight": "up",
    "lora_linear_layer.down.weight": "down",
    "lora_linear_layer.up.weight": "up",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    **{name: name for name in ("alpha", "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")},
    **{name: name for name in ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")},
}
"""Ends of PEFT's and diffusers' keys; the WebUI's loader knows the A and B of them."""
UNKNOWN_KINDS = {
    "oft_": "OFT",
    "boft_": "BOFT",
    ".a1.weight": "GLoRA",
    ".w_norm": "norm layers",
    ".b_norm": "norm layers",
    "on_input": "IA3",
    ".diff_b": "biases",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
}
"""Marks of what is not read, for the sentence that says so."""
_FOREIGN_ROOTS = (("unet.", "unet"), ("text_encoder_2.", "te2"), ("text_encoder.", "te"), ("base_model.model.", "unet"))
Grouped = dict[str, dict[str, torch.Tensor]]


def grouped(tensors: Mapping[str, torch.Tensor]) -> tuple[Grouped, list[str]]:
    """The ``tensors`` of a file by kohya's module name and part, and the keys that are none of these."""
    modules: Grouped = {}
    others: list[str] = []
    foreign: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        root = next((kind for start, kind in _FOREIGN_ROOTS if key.startswith(start)), None)
        if root is not None and (found := _foreign(key)) is not None:
            path, part = found
            foreign.setdefault((root, path), {})[part] = tensor
            continue
        end = next((e for e in PARTS if key.endswith(e)), None)
        if end is None:
            others.append(key)
        else:
            modules.setdefault(key.removesuffix(end), {})[PARTS[end]] = tensor
    wide = any(path.endswith("attn2.to_k") and _inputs(parts) == 2048 for (_, path), parts in foreign.items())
    family = Family.SDXL if wide or any(root == "te2" for root, _ in foreign) else Family.SD1
    for (root, path), parts in foreign.items():
        name = _named(root, path, family)
        if name is None:
            others.append(f"{root} {path}")
            continue
        if "magnitude" in parts:
            # PEFT normalises rows always; the shape says so to everybody else.
            parts["dora_scale"] = parts.pop("magnitude").reshape(-1, 1)
        modules.setdefault(name, {}).update(parts)
    return modules, others


def _foreign(key: str) -> tuple[str, str] | None:
    """``unet.….to_q.lora_A.weight`` -> (diffusers path, part)."""
    path = key
    for start, _ in _FOREIGN_ROOTS:
        path = path.removeprefix(start)
    path = path.removeprefix("unet.")
    for end, part in FOREIGN_PARTS.items():
        if path.endswith(f".{end}"):
            return path.removesuffix(f".{end}"), part
        # Attention processors of diffusers before 0.22: attn1.processor.to_out_lora.down.weight.
        old = re.fullmatch(r"(.+)\.processor\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight", path)
        if old:
            return f"{old[1]}.{old[2] + ('.0' if old[2] == 'to_out' else '')}", old[3]
    return None


def _named(root: str, path: str, family: Family) -> str | None:
    if root == "unet":
        try:
            return kohya_name(ldm_path(path, family) if family is Family.SDXL else path)
        except KeyError:
            return None
    prefix = TEXT if family is not Family.SDXL else ("lora_te2_" if root == "te2" else "lora_te1_")
    return kohya_name("text_model." + path.removeprefix("text_model."), prefix)


def _inputs(parts: Mapping[str, torch.Tensor]) -> int:
    return parts["down"].shape[-1] if "down" in parts and parts["down"].ndim else 0


def unknown_kinds(keys: list[str]) -> list[str]:
    """What the ``keys`` that were not read belong to, for people."""
    return sorted({kind for mark, kind in UNKNOWN_KINDS.items() if any(mark in key for key in keys)})
