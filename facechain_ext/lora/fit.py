"""What of a LoRA file a checkpoint cannot use, in a sentence."""

from __future__ import annotations

from collections.abc import Collection

from facechain_ext.lora.files import LoraFile
from facechain_ext.lora.naming import TEXT


def lacking(lora: LoraFile, layers: Collection[str]) -> list[str]:
    """Layers of ``lora`` that are not among the UNet's ``layers`` (kohya's names).

    The text encoders' are taken for granted: each family's are always the same.
    """
    return [name for name in lora.modules if name not in layers and not name.startswith(TEXT[:-1])]


def misfit(lora: LoraFile, layers: Collection[str]) -> str | None:
    """A sentence about what of ``lora`` a checkpoint with the UNet's ``layers`` cannot use; None when everything is used."""
    missing = len(lacking(lora, layers))
    parts = []
    if missing:
        parts.append(f"{missing} of its {len(lora.modules)} layers {'is' if missing == 1 else 'are'} not in this checkpoint")
    if lora.unread:
        parts.append(f"{len(lora.unread)} of its keys {'is' if len(lora.unread) == 1 else 'are'} unknown")
    if not parts:
        return None
    if missing == len(lora.modules):
        return f"The LoRA {lora.name} fits no layer of this checkpoint. Use it with the one it was trained on."
    return f"The LoRA {lora.name} acts only in part: {' and '.join(parts)}."
