"""Which layers of a UNet an adapter is on, and what it keeps there for the backward pass; from shapes alone, no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from facechain_ext.config import TrainConfig
from facechain_ext.lora.sizes import Kind, parameters_of

REACHES = ("attention", "linear", "conv")
"""Values of ``TrainConfig.targets``; each holds those before it."""
PATTERNS = (
    re.compile(r"transformer_blocks\.\d+\.attn[12]\.to_(q|k|v|out\.0)\.weight$"),
    re.compile(r"(proj_in|proj_out|ff\.net\.(0\.proj|2))\.weight$"),
    re.compile(r"(input|middle|output)_blocks?\.\d+\.(\d+\.)?(in_layers\.2|out_layers\.3|emb_layers\.1|skip_connection|op|conv)\.weight$"),
)
OF_TEXT, OF_TIME = re.compile(r"attn2\.to_[kv]\."), re.compile(r"emb_layers\.1\.")
TEXT_TOKENS = 77


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that an adapter may be on."""

    reach: int
    """Index of the first of ``REACHES`` that holds it."""
    shape: Sequence[int]
    """(out, in[, kh, kw])."""
    tokens: int | None
    """Of its input; None: the picture's."""


def layers(shapes: Mapping[str, Sequence[int]], head: str = "") -> tuple[Layer, ...]:
    """The layers whose names in ``shapes`` begin with ``head``."""
    found = []
    for name, shape in shapes.items():
        if not name.startswith(head) or len(shape) < 2:
            continue
        reach = next((i for i, pattern in enumerate(PATTERNS) if pattern.search(name)), None)
        if reach is not None:
            found.append(Layer(reach, shape, TEXT_TOKENS if OF_TEXT.search(name) else 1 if OF_TIME.search(name) else None))
    return tuple(found)


def chosen(of: Sequence[Layer], config: TrainConfig) -> list[Layer]:
    """Those that a training with ``config`` adapts."""
    return [layer for layer in of if layer.reach <= REACHES.index(config.targets)]


def parameters(of: Sequence[Layer], config: TrainConfig) -> int:
    """How many an adapter has on them."""
    return sum(parameters_of(Kind(config.kind), config.rank, layer.shape) for layer in chosen(of, config))


def kept(of: Sequence[Layer], config: TrainConfig, tokens: int) -> float:
    """Elements for each sample that an adapter on them keeps for the backward pass, with ``tokens`` in the picture."""
    on, kind = chosen(of, config), Kind(config.kind)
    if kind in (Kind.LOHA, Kind.LOKR):
        # Their update is made as a whole once for a batch.
        return sum(prod(layer.shape) for layer in on) / config.batch
    scaled = kind is Kind.DORA
    return sum((config.rank + (layer.shape[1] if scaled else 0)) * (layer.tokens or tokens) for layer in on)
