"""Forwards of UNet blocks that autograd can follow.

Forge adds in place what a norm has saved for the backward pass (backend/nn/unet.py, ``x += n``), and its attention is chosen for inference:
xformers, split or sub-quadratic. These compute the same, out of place, with torch's own attention. Patches of other extensions
(``transformer_options``) have no place in a training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

BLOCK = "BasicTransformerBlock"


@contextlib.contextmanager
def trainable_blocks(unet: torch.nn.Module) -> Iterator[None]:
    """The blocks of ``unet`` can be differentiated while the block runs."""
    changed = [module for module in unet.modules() if type(module).__name__ == BLOCK]
    try:
        for module in changed:
            module.forward = _block_forward(module)  # pyright: ignore[reportAttributeAccessIssue]
        yield
    finally:
        for module in changed:
            # The class's own method shows again.
            vars(module).pop("forward", None)


def _block_forward(block: Any) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor, context: torch.Tensor | None = None, transformer_options: Any = None) -> torch.Tensor:
        x = x + attend(block.attn1, block.norm1(x), context if block.disable_self_attn else None)
        if block.attn2 is not None:
            x = x + attend(block.attn2, block.norm2(x), context)
        return x + block.ff(block.norm3(x))

    return forward


def attend(attention: Any, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
    """Attention of ``x`` (B, N, C) to ``context`` (B, M, D), to itself without one; returns (B, N, C)."""
    source = x if context is None else context
    parts = (attention.to_q(x), attention.to_k(source), attention.to_v(source))
    q, k, v = (part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in parts)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    return attention.to_out(out.transpose(1, 2).flatten(2))
