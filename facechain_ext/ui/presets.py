"""Fast, Balanced and Best: three ways from a checkpoint's own training settings."""

from __future__ import annotations

import dataclasses
import enum

from facechain_ext.config import TrainConfig
from facechain_ext.ui.fields import field_of


class Preset(str, enum.Enum):
    """How much time to give."""

    FAST = "Fast"
    BALANCED = "Balanced"
    BEST = "Best"


DEFAULT = Preset.BALANCED.value
SHARE_OF_STEPS = {Preset.FAST: 1 / 3, Preset.BALANCED: 1.0, Preset.BEST: 2.0}


def apply(preset: Preset, own: TrainConfig) -> TrainConfig:
    """``own``, the settings that suit the checkpoint, with the preset's steps; previews and warm-up keep their share of the run."""
    share = SHARE_OF_STEPS[preset]
    if share == 1.0:
        return own
    scaled = {
        name: _within(name, getattr(own, name) * share) for name in ("steps", "warmup", "preview_every", "save_every") if getattr(own, name)
    }
    # Longer runs end on a finer scale, shorter ones need each step to count.
    rate = own.learning_rate * (0.7 if preset is Preset.BEST else 1.0)
    return dataclasses.replace(own, learning_rate=rate, **scaled)


def _within(name: str, value: float) -> int:
    field = field_of(TrainConfig, name)
    return round(min(field.high or value, max(field.low or 1, 1, value)))


def said(config: TrainConfig) -> str:
    """What a preset means, in one line."""
    size = f", {config.resolution} px" if config.resolution else ""
    return f"{config.steps} steps, rank {config.rank}, {config.batch} photo{'s' if config.batch != 1 else ''} a step{size}"
