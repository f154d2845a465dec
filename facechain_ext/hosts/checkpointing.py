"""Gradient checkpointing of a UNet with LDM's blocks, as A1111, Forge and reForge have it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

CHECKPOINTED = {"BasicTransformerBlock", "ResBlock"}


@contextlib.contextmanager
def checkpointed(unet: torch.nn.Module) -> Iterator[None]:
    """Forget activations inside blocks and compute them again: less memory, a third more time.

    Non-reentrant: with a frozen base the WebUI's own kind (modules/sd_hijack_checkpoint.py) finds nothing that needs a gradient.
    """
    blocks = [m for m in unet.modules() if type(m).__name__ in CHECKPOINTED]
    # Another extension may have put one on the object (ControlNet does so with the whole UNet's).
    others = {block: vars(block)["forward"] for block in blocks if "forward" in vars(block)}
    for block in blocks:
        original = block.forward

        def forward(*args: Any, run: Any = original, **kwargs: Any) -> Any:
            return checkpoint(run, *args, use_reentrant=False, **kwargs)

        block.forward = forward
    try:
        yield
    finally:
        for block in blocks:
            # The class's own method shows again.
            del block.forward
            if block in others:
                block.forward = others[block]
