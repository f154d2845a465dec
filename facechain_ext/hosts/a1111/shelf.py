"""The WebUI's LoRA folder."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import networks
from modules import sd_models, shared
from PIL import Image as PilImage

from facechain_ext.ports import Family
from facechain_ext.workspace import atomic_path

FOLDER = "FaceChain"
VERSIONS = {Family.SD1: "SD1", Family.SD2: "SD2", Family.SDXL: "SDXL"}
"""What the WebUI's cards call the families (extensions-builtin/Lora/ui_edit_user_metadata.py)."""


class WebuiShelf:
    """Implements ``LoraShelf``: the LoRA is on a card and usable in prompts at once."""

    def put(self, lora: Path, activation: str, family: Family, preview: Path | None) -> Sequence[Path]:
        """See ``LoraShelf``."""
        target = Path(shared.cmd_opts.lora_dir) / FOLDER / lora.name
        card, picture = target.with_suffix(".json"), target.with_suffix(".png")
        with atomic_path(target, "the LoRA") as temporary:
            shutil.copyfile(lora, temporary)
        written = [target, card]
        with atomic_path(card, "the LoRA's card") as temporary:
            words = {
                "activation text": activation,
                "preferred weight": 0.9,
                "sd version": VERSIONS[family],
                "notes": "Trained by FaceChain.",
            }
            temporary.write_text(json.dumps(words, ensure_ascii=False, indent=1), encoding="utf-8")
        if preview is not None and preview.exists():
            with atomic_path(picture, "the LoRA's picture") as temporary:
                # Through pixels, so that nothing but the picture is in the file.
                PilImage.open(preview).convert("RGB").save(temporary, "PNG")
            written.append(picture)
        networks.list_available_networks()
        _forget_content(target)
        return written


def _forget_content(lora: Path) -> None:
    """Forge and reForge keep what they read from a LoRA by its path, and take one of the same path and weight for the one in use.

    A person may be deleted and come back, and so may the name of the file.
    """
    cached = getattr(getattr(networks, "load_lora_state_dict", None), "cache_clear", None)
    if cached is None:
        return
    cached()
    model = sd_models.model_data.sd_model
    if lora.name in (getattr(model, "current_lora_hash", None) or ""):
        # Equal to that of no prompt (their networks.py, load_networks).
        model.current_lora_hash = None
