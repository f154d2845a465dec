"""What a safetensors file says about itself, read without loading a tensor: 8 bytes of length, then JSON."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facechain_ext.errors import FileFormatError

MOST_BYTES = 32 << 20
"""Of a header; those of LoRAs have some 100 kB."""
MOST_TEXT = 20_000
CONTEXTS = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
"""Width of the text that cross-attention reads, by family."""


@dataclass(frozen=True, slots=True)
class Header:
    """Metadata, and the shapes of the tensors by name."""

    metadata: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def is_lora(self) -> bool:
        """True when it holds low-rank updates of any kind."""
        return any(mark in name for name in self.shapes for mark in ("lora_down", "lora_up", "lora_A", "hada_w1", "lokr_w1", ".lora."))

    @property
    def context(self) -> int | None:
        """Width of the text that the LoRA's cross-attention reads, None when it has none."""
        found = (s[1] for n, s in self.shapes.items() if "attn2_to_k" in n and ("lora_down" in n or "lora_A" in n) and len(s) > 1)
        return next(found, None)

    @property
    def family(self) -> str | None:
        """``sd1``, ``sd2`` or ``sdxl``; None when it cannot be told."""
        version = self.metadata.get("ss_base_model_version", "")
        if version.startswith("sdxl") or any(n.startswith(("lora_te2_", "lora_unet_input_blocks")) for n in self.shapes):
            return "sdxl"
        if self.metadata.get("ss_v2") == "True" or version.startswith("sd_v2"):
            return "sd2"
        return CONTEXTS.get(self.context or 0) or ("sd1" if version.startswith("sd_v1") else None)


def read_header(file: Path) -> Header:
    """The header of ``file``.

    Raises:
        FileFormatError: when it is no safetensors file, or one cut off.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as source:
            length = int.from_bytes(source.read(8), "little")
            if not 2 <= length <= min(MOST_BYTES, size - 8):
                raise ValueError("length")
            data = json.loads(source.read(length))
        metadata = {str(k): str(v) for k, v in dict(data.pop("__metadata__", {})).items()}
        shapes = {str(name): tuple(int(n) for n in entry["shape"]) for name, entry in data.items()}
        ends = [int(entry["data_offsets"][1]) for entry in data.values()]
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise FileFormatError(f"{file.name} is not a safetensors file, or it is cut off. Copy or download it again.") from None
    if max(ends, default=0) != size - 8 - length:
        raise FileFormatError(f"{file.name} is cut off, or something is attached to it. Copy or download it again.")
    return Header(metadata, shapes)


def texts_in(value: str) -> list[str]:
    """The prompts in a header's value: the text itself, or those of a Python list written as text; never evaluated."""
    text = value.strip()
    if text.startswith("[") and text.endswith("]") and len(text) <= MOST_TEXT:
        try:
            found: Any = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            found = None
        if isinstance(found, list) and all(isinstance(one, str) for one in found):
            return [one.strip() for one in found if one.strip()]
    return [text[:MOST_TEXT]] if text else []
