"""``<checkpoint>.facechain.json``: what the weights do not tell (heads, native size) and settings that suit the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig
from facechain_ext.errors import ConfigError, FileFormatError
from facechain_ext.workspace import read_json

SCHEMA = 1
SUFFIX = ".facechain.json"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Hints beside a checkpoint; the defaults are those of a full-size SD1.5."""

    note: str = ""
    resolution: int = 512
    """Native px."""
    unet_heads: int = 8
    text_heads: int | None = None
    """None: width / 64, as in CLIP."""
    train: TrainConfig = field(default_factory=TrainConfig)
    portrait: PortraitConfig = field(default_factory=PortraitConfig)
    prepare: PrepareConfig = field(default_factory=PrepareConfig)


def read_sidecar(checkpoint: Path) -> Sidecar:
    """The sidecar of ``checkpoint``, or the defaults when there is none.

    Raises:
        FileFormatError: when it is damaged.
    """
    file = checkpoint.with_name(checkpoint.stem + SUFFIX)
    if not file.exists():
        return Sidecar()
    data: dict[str, Any] = read_json(file, SCHEMA)
    try:
        return Sidecar(
            note=str(data.get("note", "")),
            resolution=int(data.get("resolution", 512)),
            unet_heads=int(data.get("unet_heads", 8)),
            text_heads=int(data["text_heads"]) if data.get("text_heads") else None,
            train=TrainConfig.from_dict(data.get("train", {})),
            portrait=PortraitConfig.from_dict(data.get("portrait", {})),
            prepare=PrepareConfig.from_dict(data.get("prepare", {})),
        )
    except (ConfigError, TypeError, ValueError) as error:
        raise FileFormatError(f"{file.name} is damaged: {error}") from None
