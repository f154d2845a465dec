"""What a training does when memory runs out or the loss runs away: less at once, or back to where all was well and slower."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Mapping, Sequence

import torch

from facechain_ext.progress import LossPoint
from facechain_ext.training.plan import SMALLEST
from facechain_ext.training.run import RECENT, Run

MOST_BACK = 3
"""Times a training goes back before it gives up: an eighth of the learning rate."""
RUNAWAY = 3.0
"""Times the loss of the first steps that the recent ones must have, and be above 1: predicting nothing at all has a loss of about 1."""
RESOLUTIONS = (768, 512, 384, SMALLEST)


def ran_away(curve: Sequence[LossPoint]) -> bool:
    """True when the loss of the last step is no number, or that of the recent steps is far above that of the first."""
    if not curve:
        return False
    if not math.isfinite(curve[-1].loss):
        return True
    if len(curve) < 2 * RECENT:
        return False
    first, recent = (statistics.fmean(p.loss for p in part) for part in (curve[:RECENT], curve[-RECENT:]))
    return recent > max(1.0, RUNAWAY * first)


def lighten(run: Run) -> str | None:
    """Let ``run`` need less memory, the mildest way first; what was done in words, None when nothing is left to do.

    The same samples make a step as before, in more passes: only rounding differs. A lower resolution is another training in all else.
    """
    if run.session.checkpoint_blocks():
        run.saving = True
        return "gradient checkpointing is on from here"
    if run.portion > 1:
        run.portion = (run.portion + 1) // 2
        return f"{run.portion} photo{'s' if run.portion > 1 else ''} at a time from here, the same number in each step"
    if run.session.offload_blocks():
        run.offloading = True
        return "the checkpoint's weights wait in main memory from here, and come to the graphics card one by one"
    lower = next((side for side in RESOLUTIONS if side < run.resolution), None)
    if lower is None:
        return None
    run.resolution = lower
    return f"training goes on at {lower} px"


def given_up(run: Run) -> dict[str, int]:
    """What ``lighten`` has done to ``run`` so far, as plain data."""
    return {"saving": int(run.saving), "offloading": int(run.offloading), "portion": run.portion, "resolution": run.resolution}


def give_up(run: Run, lean: Mapping[str, int]) -> None:
    """Let ``run`` do without what an earlier stretch of it had to give up."""
    if lean.get("saving"):
        run.session.checkpoint_blocks()
        run.saving = True
    if lean.get("offloading"):
        run.offloading = run.session.offload_blocks()
    run.portion = min(run.portion, lean.get("portion", run.portion))
    run.resolution = min(run.resolution, lean.get("resolution", run.resolution))


def release(device: torch.device) -> None:
    """Give back what a failed step held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
