"""How fast trainings ran on this machine, so that the next estimate of time is a measured one. Numbers only, nobody's name."""

from __future__ import annotations

from facechain_ext.config import TrainConfig
from facechain_ext.errors import FaceChainError
from facechain_ext.ports import Estimate, Footprint
from facechain_ext.training.plan import estimate, operations
from facechain_ext.workspace import Workspace, read_json, write_json

SCHEMA = 1
KEPT = 50
SHARE_OF_PEAK = 0.3
"""What a first training is taken to reach of the speed of large matrix products: a guess, called one on the page."""


def told(workspace: Workspace, footprint: Footprint, config: TrainConfig) -> Estimate:
    """What training with ``config`` takes, from the last training with this checkpoint here, else from the machine's peak."""
    known = _read(workspace).get(_key(footprint))
    if known:
        return estimate(footprint, config, known, measured=True)
    return estimate(footprint, config, footprint.peak * SHARE_OF_PEAK if footprint.peak else None)


def remember(workspace: Workspace, footprint: Footprint, config: TrainConfig, seconds: float) -> None:
    """Keep the speed of a training with ``config`` that took ``seconds``; ``config.steps`` are those really done."""
    if seconds <= 0 or config.steps <= 0:
        return
    side = (config.resolution or footprint.resolution) // 8
    speeds = _read(workspace)
    speeds.pop(_key(footprint), None)
    speeds[_key(footprint)] = operations(footprint, config, side) / seconds
    newest = dict(list(speeds.items())[-KEPT:])
    write_json(workspace.speeds, {"schema": SCHEMA, "operations_per_second": newest}, "the training speeds")


def _key(footprint: Footprint) -> str:
    return f"{footprint.checkpoint} {footprint.device} {footprint.bytes_each:g}"


def _read(workspace: Workspace) -> dict[str, float]:
    try:
        found = read_json(workspace.speeds, SCHEMA)["operations_per_second"]
        return {str(k): float(v) for k, v in found.items() if float(v) > 0}
    except (FaceChainError, OSError, LookupError, AttributeError, TypeError, ValueError):
        return {}
