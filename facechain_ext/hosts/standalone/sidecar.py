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


Stamp = tuple[Path, int, int]
"""What tells a file from another that took its place."""


def stamp_of(file: Path) -> Stamp:
    """``file``'s real path, size and time of change (ns); zeros when it is gone."""
    try:
        found = file.stat()
    except OSError:
        return file.resolve(), 0, 0
    return file.resolve(), found.st_size, found.st_mtime_ns


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
            resolution=_number(data, "resolution", 512, multiple=8),
            unet_heads=_number(data, "unet_heads", 8),
            text_heads=_number(data, "text_heads", 1) if data.get("text_heads") else None,
            train=TrainConfig.from_dict(_settings(data, "train")),
            portrait=PortraitConfig.from_dict(_settings(data, "portrait")),
            prepare=PrepareConfig.from_dict(_settings(data, "prepare")),
        )
    except (ConfigError, ValueError) as error:
        raise FileFormatError(f"{file.name} is damaged: {error}") from None


def _number(data: dict[str, Any], key: str, default: int, *, multiple: int = 1) -> int:
    value = data.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0 or value % multiple:
        raise ValueError(f"'{key}' must be a whole number above 0{f', a multiple of {multiple}' if multiple > 1 else ''}, not {value!r}.")
    return value


def _settings(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"'{key}' must hold settings by name, not {value!r}.")
    return value
