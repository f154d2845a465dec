"""Settings that fit a given memory: the fastest of those that learn the same, then lower resolutions. No torch, as in ``plan``."""

from __future__ import annotations

from dataclasses import dataclass, replace

from facechain_ext.config import AS_SET, TrainConfig
from facechain_ext.ports import Footprint
from facechain_ext.training.plan import SMALLEST, Blocks, memory_bytes, weight_bytes

RESERVED = 600 * 2**20
"""Bytes of a graphics card that driver, CUDA context and desktop take."""
ALL_WEIGHTS = 1.35
"""Weights of a checkpoint for each of its UNet's: text encoders and VAE beside it (1.24 for SD1.5, 1.35 for SDXL)."""
RESOLUTIONS = (1024, 768, 640, 512, 384, SMALLEST)
MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Fitted:
    """The settings chosen for a memory, and why in a sentence."""

    config: TrainConfig
    reason: str
    fits: bool


def fitted(footprint: Footprint, config: TrainConfig) -> Fitted:
    """``config`` as ``config.memory`` asks: as it is, or the best that fits what is free ("auto") or a card of so many GB.

    The number of samples that make a step stays the same, so that batch and gradient checkpointing change time and rounding only; a lower
    resolution comes last.
    """
    wanted = replace(config, memory=AS_SET)
    budget = _budget(footprint, config)
    if config.memory == AS_SET or budget is None:
        return Fitted(wanted, "", True)
    ways = _ways(footprint, wanted)
    blocks = Blocks(footprint)
    best = next((way for way in ways if memory_bytes(footprint, way, blocks) <= budget), None)
    chosen = best or ways[-1]
    return Fitted(chosen, _said(config, chosen, (memory_bytes(footprint, chosen, blocks), budget), best is not None), best is not None)


def _budget(footprint: Footprint, config: TrainConfig) -> int | None:
    """Bytes the training may take beyond what is loaded already."""
    memory = config.memory
    if not memory.endswith(" GB"):
        return footprint.free
    weights = ALL_WEIGHTS * weight_bytes(footprint, config)
    return int(int(memory.split()[0]) * 2**30 - RESERVED - max(0.0, weights - footprint.unloaded))


def _ways(footprint: Footprint, config: TrainConfig) -> list[TrainConfig]:
    """From the fastest to the leanest."""
    samples = config.batch * config.accumulation
    batches = [n for n in range(min(samples, MOST_AT_ONCE), 0, -1) if samples % n == 0 and samples // n <= MOST_AT_ONCE]
    own = config.resolution or footprint.resolution
    sides = [config.resolution, *(side for side in RESOLUTIONS if side < own)]
    lean = [(False, False), (True, False), *([(True, True)] if footprint.offloads else [])]
    return [
        replace(config, resolution=side, gradient_checkpointing=saving, offload=away, batch=batch, accumulation=samples // batch)
        for side in sides
        for saving, away in lean
        for batch in batches
    ]


def _said(config: TrainConfig, chosen: TrainConfig, bytes_: tuple[int, int], fits: bool) -> str:
    room = "the memory that is free" if config.memory == "auto" else config.memory
    needed = f"about {bytes_[0] / 1e9:.1f} of {max(0, bytes_[1]) / 1e9:.1f} GB"
    changes = []
    if chosen.batch != config.batch or chosen.accumulation != config.accumulation:
        passes = f" in {chosen.accumulation} passes a step" if chosen.accumulation > 1 else ""
        changes.append(f"{chosen.batch} photo{'s' if chosen.batch > 1 else ''} at a time{passes}")
    if chosen.gradient_checkpointing != config.gradient_checkpointing:
        changes.append(f"gradient checkpointing {'on' if chosen.gradient_checkpointing else 'off'}")
    if chosen.offload != config.offload:
        changes.append(f"weights in {'main memory' if chosen.offload else 'the card'}")
    if chosen.resolution != config.resolution:
        changes.append(f"{chosen.resolution} px")
    if not fits:
        return f"Even the leanest settings need more than {room}: {needed}. They are tried all the same: {', '.join(changes) or 'as set'}."
    if not changes:
        return f"The settings fit {room} as they are ({needed})."
    return f"To fit {room}: {', '.join(changes)} ({needed})."
