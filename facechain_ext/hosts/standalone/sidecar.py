"""``<checkpoint>.facechain.json``: what the weights do not tell (heads, native size) and settings that suit the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facechain_ext.config import PortraitConfig, PrepareConfig, TrainConfig
from facechain_ext.errors import ConfigError, FileFormatError
from facechain_ext.ports import Family, Prediction
from facechain_ext.workspace import read_json

SCHEMA = 1
SUFFIX = ".facechain.json"


def native(family: Family, prediction: Prediction | None) -> int:
    """Side px of the pictures that checkpoints of ``family`` were taught with; SD2's that predict noise are the 512 px base."""
    if family is Family.SDXL:
        return 1024
    return 768 if family is Family.SD2 and prediction is not Prediction.EPS else 512


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
    """Hints beside a checkpoint; the defaults are those of full-size ones."""

    note: str = ""
    resolution: int | None = None
    """Native px; None: the family's."""
    prediction: Prediction | None = None
    """What the UNet predicts; None: see ``prediction``."""
    zero_terminal_snr: bool | None = None
    """Whether the last timestep holds noise only; None: when the file is marked so."""
    unet_heads: int = 8
    """Attention heads of each block of SD1's UNet."""
    head_width: int = 64
    """Channels of each attention head of SD2's and SDXL's."""
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
            resolution=_number(data, "resolution", 8, multiple=8) if "resolution" in data else None,
            prediction=_prediction(data),
            zero_terminal_snr=_flag(data, "zero_terminal_snr"),
            unet_heads=_number(data, "unet_heads", 8),
            head_width=_number(data, "head_width", 64),
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


def _prediction(data: dict[str, Any]) -> Prediction | None:
    value = data.get("prediction")
    known = [p.value for p in Prediction]
    if value is not None and value not in known:
        raise ValueError(f"'prediction' must be one of {', '.join(known)}, not {value!r}.")
    return None if value is None else Prediction(value)


def _flag(data: dict[str, Any], key: str) -> bool | None:
    value = data.get(key)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"'{key}' must be true or false, not {value!r}.")
    return value


def _settings(data: dict[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key, {})
    if not isinstance(value, dict):
        raise ValueError(f"'{key}' must hold settings by name, not {value!r}.")
    return value
