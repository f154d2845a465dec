"""A trained adapter as a file that A1111, Forge, ComfyUI, kohya's and LyCORIS' tools and, but for LoHa, LoKr and DoRA, diffusers read.

All of these multiply the update with ``alpha / rank``, where the rank is a side of a factor; what another scale means is put into alpha:
rsLoRA's is alpha * sqrt(rank), as LyCORIS writes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from facechain_ext.lora.adapters import DOWN, MAGNITUDE, AdapterState, Tensors
from facechain_ext.lora.files import ALPHA, LoraOrigin, write_tensors
from facechain_ext.lora.sizes import LOKR_FACTOR, Kind, scale_of

LYCORIS = "lycoris.kohya"
PRESETS = {"attention": "attn-only", "linear": "attn-mlp", "conv": "full"}
"""LyCORIS' names for what is adapted."""
PRODUCTS = (Kind.LOHA, Kind.LOKR)
"""Kept in full precision: what is rounded in one factor is multiplied by the others, and A1111 multiplies these in the file's precision,
which it cannot in halves on a CPU (torch 2.1); it then leaves each such layer out without a word."""


def write_adapter(
    target: Path, state: AdapterState, origin: LoraOrigin, kind: Kind, reach: str = "linear", dtype: torch.dtype = torch.float16
) -> None:
    """Write ``state``, by kohya's names, as a file, whole or not at all; the same state gives the same bytes.

    ``reach`` is "attention", "linear" or "conv"; ``dtype`` is not that of LoHa and LoKr. Modules of another rank than the origin's (the text encoder's) have its share of alpha.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    scale = scale_of(kind, origin.rank, origin.alpha)
    if kind in PRODUCTS:
        dtype = torch.float32
    tensors: Tensors = {}
    for name, learned in sorted(state.items()):
        parts, alpha = _parts(learned, kind, scale, origin.rank)
        for key, value in parts.items():
            # The magnitude multiplies the whole weight: rounding it would cost as much as the update says.
            tensors[f"{name}.{key}"] = value.detach().to("cpu", torch.float32 if key == MAGNITUDE else dtype).contiguous()
        exact = float(torch.tensor(alpha, dtype=dtype)) == alpha
        tensors[name + ALPHA] = torch.tensor(alpha, dtype=dtype if exact else torch.float32)
    write_tensors(target, tensors, _told(origin, kind, reach))


def _parts(learned: Mapping[str, torch.Tensor], kind: Kind, scale: float, rank: int) -> tuple[Tensors, float]:
    """Tensors and alpha of one module, such that alpha over the rank that readers see is ``scale``."""
    parts = dict(learned)
    if kind is Kind.LOHA:
        return parts, scale * parts["hada_w1_b"].shape[0]
    if kind is not Kind.LOKR:
        return parts, scale * parts[DOWN].shape[0]
    if "lokr_w2_b" in parts:
        return parts, scale * parts["lokr_w2_b"].shape[0]
    # Without a factored part readers see no rank and scale by 1.
    parts["lokr_w1"] = parts["lokr_w1"].detach() * scale
    return parts, float(rank)


def _told(origin: LoraOrigin, kind: Kind, reach: str) -> LoraOrigin:
    """``origin`` with the module and arguments of the trainer whose networks are of this kind."""
    size = {"conv_dim": str(origin.rank), "conv_alpha": f"{origin.alpha:g}"} if reach == "conv" else {}
    if kind is Kind.LORA:
        return replace(origin, arguments=size)
    known = {
        Kind.RSLORA: {"algo": "lora", "rs_lora": "True"},
        Kind.DORA: {"algo": "lora", "dora_wd": "True", "wd_on_output": "False"},
        Kind.LOHA: {"algo": "loha"},
        Kind.LOKR: {"algo": "lokr", "factor": str(LOKR_FACTOR)},
    }[kind]
    return replace(origin, module=LYCORIS, arguments=known | size | {"preset": PRESETS[reach]})
