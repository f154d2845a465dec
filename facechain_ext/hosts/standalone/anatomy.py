"""The sizes of a checkpoint's networks, read from the shapes of its tensors: everything its configuration must say that files differ in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from facechain_ext.ports import Family

UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXTS = {
    Family.SD1: ("cond_stage_model.transformer.",),
    Family.SD2: ("cond_stage_model.model.",),
    Family.SDXL: ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."),
}
"""Where each text encoder's tensors are; those ending in ``model.`` are OpenCLIP's, the others CLIP's of transformers."""
FIRST_BLOCKS = {Family.SD1: (1, 4, 7, 10), Family.SD2: (1, 4, 7, 10), Family.SDXL: (1, 4, 7)}
"""The first input block of each level of the UNet."""
VIT_H = (24, 23)
"""Layers of SD2's text encoder in the file, and those that its conditioning uses; some tools leave the last one out of the file."""
Header = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class TextShapes:
    """One text encoder."""

    width: int
    inner: int
    """Width of the feed-forward layers."""
    layers: int
    """That the conditioning uses."""
    vocabulary: int
    projection: int | None = None
    """Width of the pooled output; None where it is not used."""


@dataclass(frozen=True, slots=True)
class Shapes:
    """The sizes that distinguish one checkpoint of a family from another."""

    unet_channels: tuple[int, ...]
    """Channels of each level."""
    depths: tuple[int, ...]
    """Transformer blocks in each spatial transformer of each level, 0 where it has none."""
    context: int
    """Width of the text conditioning."""
    vector: int | None
    """Width of what SDXL is told beside it: pooled text and sizes."""
    vae_channels: tuple[int, ...]
    texts: tuple[TextShapes, ...]


def shapes_of(header: Header, family: Family) -> Shapes:
    """The sizes of a checkpoint of ``family``.

    Raises:
        LookupError, ValueError: when parts of it are missing.
    """
    if len(header[f"{UNET}input_blocks.0.0.weight"]) != 4:
        raise ValueError("the first layer is no convolution")
    firsts = FIRST_BLOCKS[family]
    depths = tuple(_depth(header, f"{UNET}input_blocks.{n}.1.") for n in firsts)
    level = next(n for n, depth in zip(firsts, depths, strict=True) if depth)
    label = f"{UNET}label_emb.0.0.weight"
    return Shapes(
        tuple(header[f"{UNET}input_blocks.{n}.0.out_layers.3.weight"][0] for n in firsts),
        depths,
        header[f"{UNET}input_blocks.{level}.1.transformer_blocks.0.attn2.to_k.weight"][1],
        header[label][1] if family is Family.SDXL else None,
        tuple(header[f"{VAE}encoder.down.{level}.block.0.conv1.weight"][0] for level in range(4)),
        tuple(_open_clip(header, at, family) if at.endswith(".model.") else _clip(header, at) for at in TEXTS[family]),
    )


def is_regular(header: Header, depths: tuple[int, ...], family: Family) -> bool:
    """Whether both transformers of each level, and the middle one, have as many blocks as the family's rule says; distilled ones have not."""
    middle = _depth(header, f"{UNET}middle_block.1.")
    each = all(_depth(header, f"{UNET}input_blocks.{n + 1}.1.") == d for n, d in zip(FIRST_BLOCKS[family], depths, strict=True))
    rising = enumerate(reversed(depths))
    out = all(_depth(header, f"{UNET}output_blocks.{3 * level + i}.1.") == depth for level, depth in rising for i in range(3))
    return each and out and middle == (depths[-1] or 1)


def _depth(header: Header, at: str) -> int:
    found = {int(m[1]) for name in header if name.startswith(at) and (m := re.match(r"transformer_blocks\.(\d+)\.", name[len(at) :]))}
    return len(found)


def _clip(header: Header, at: str) -> TextShapes:
    prefix = at + ("text_model." if f"{at}text_model.embeddings.token_embedding.weight" in header else "")
    vocabulary, width = header[f"{prefix}embeddings.token_embedding.weight"]
    inner = header[f"{prefix}encoder.layers.0.mlp.fc1.weight"][0]
    return TextShapes(width, inner, _layers(header, f"{prefix}encoder.layers."), vocabulary)


def _open_clip(header: Header, at: str, family: Family) -> TextShapes:
    vocabulary, width = header[f"{at}token_embedding.weight"]
    inner = header[f"{at}transformer.resblocks.0.mlp.c_fc.weight"][0]
    layers = _layers(header, f"{at}transformer.resblocks.")
    if family is Family.SD2:
        # The conditioning is what the last layer but one gives, with the norm behind the last.
        return TextShapes(width, inner, layers if layers == VIT_H[1] else layers - 1, vocabulary)
    return TextShapes(width, inner, layers, vocabulary, header[f"{at}text_projection"][1])


def _layers(header: Header, at: str) -> int:
    return 1 + max(int(m[1]) for name in header if name.startswith(at) and (m := re.match(r"(\d+)\.", name[len(at) :])))
