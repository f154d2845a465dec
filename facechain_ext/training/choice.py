"""Which of a training's LoRAs is kept, and when more steps no longer help: decided by the likeness of previews."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from facechain_ext.faces.types import Image
from facechain_ext.lora.adapters import AdapterState, flat, nested
from facechain_ext.lora.average import WITHOUT, mean_of
from facechain_ext.lora.sizes import Kind
from facechain_ext.workspace import write_bytes

BEST = 3
"""Adapters kept on disk while training goes on, and averaged at the end."""
BETTER = 0.01
"""Likeness by which one preview must beat the best before to count as better; two sets of four portraits of one LoRA differ by more."""
SAME_PICTURE = 0.3
"""Share of the first preview's variety below which the portraits have become one picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the previews of one step came to."""

    step: int
    likeness: float | None
    """Mean over those with a face, None without any."""
    score: float
    """Mean over all, 0 for those without a face: a LoRA that loses the face half of the time is no good one."""
    variety: float
    """How much the portraits differ among themselves, 0 one picture .. 1 nothing in common."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A LoRA that could be kept."""

    name: str
    """"the last step", "step 300" or "the mean of steps 200, 300 and 400"."""
    score: float
    """On the seeds that decide, which no preview used."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The LoRA that is kept and why."""

    kept: str
    reason: str
    """A sentence."""
    contenders: tuple[Contender, ...] = ()


def look(step: int, images: Sequence[Image], likenesses: Sequence[float | None]) -> Look:
    """Sum up the previews ``images`` of ``step``."""
    found = [v for v in likenesses if v is not None]
    mean = sum(found) / len(found) if found else None
    return Look(step, mean, sum(v or 0.0 for v in likenesses) / max(1, len(likenesses)), variety(images))


def variety(images: Sequence[Image]) -> float:
    """1 - mean correlation of each two of ``images``, seen small, 0..1; 1 for a single one."""
    if len(images) < 2:
        return 1.0
    small = [cv2.resize(i, (24, 24), interpolation=cv2.INTER_AREA).astype(np.float32).ravel() for i in images]
    level = [v - v.mean() for v in small]
    unit = np.stack([v / max(float(np.linalg.norm(v)), 1e-6) for v in level])
    pairs = (unit @ unit.T)[np.triu_indices(len(unit), 1)]
    return float(np.clip(1 - pairs.mean(), 0, 1))


def why_stop(looks: Sequence[Look], patience: int) -> str | None:
    """A sentence when the previews ``looks`` say that more steps do not help, else None."""
    if patience == 0 or len(looks) < 2 or all(v.likeness is None for v in looks):
        return None
    best = 0
    for i, seen in enumerate(looks):
        if seen.score > looks[best].score + BETTER:
            best = i
    without = len(looks) - 1 - best
    if looks[0].variety > 0 and all(v.variety < SAME_PICTURE * looks[0].variety for v in looks[-2:]) and without:
        return f"The portraits have become one and the same picture since step {looks[-2].step}: the LoRA has learned the photos by heart."
    if without < patience:
        return None
    return f"The likeness has not grown since step {looks[best].step} ({looks[best].score:.2f}), {without} previews ago."


class Candidates:
    """The adapters of the best previews, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def file(self, step: int) -> Path:
        """Where the adapter of ``step`` lies."""
        return self._folder / f"step-{step:05d}.safetensors"

    def add(self, state: AdapterState, looks: Sequence[Look]) -> None:
        """Keep ``state``, that of the last of ``looks``, when it is among the best; those that no longer are go.

        Raises:
            StorageError: when the disk is full.
        """
        best = {v.step for v in ranked(looks)[:BEST]}
        for file in self._folder.glob("step-*.safetensors"):
            if file not in {self.file(step) for step in best}:
                file.unlink(missing_ok=True)
        if looks[-1].step in best:
            tensors = {key: t.detach().cpu().contiguous() for key, t in flat(state).items()}
            write_bytes(self.file(looks[-1].step), save(tensors), "a preview's LoRA")

    def read(self, step: int) -> AdapterState | None:
        """The adapter of ``step``, None when it is not there any more."""
        try:
            return nested(load_file(self.file(step)))
        except (OSError, ValueError, SafetensorError):
            return None


def ranked(looks: Sequence[Look]) -> list[Look]:
    """``looks``, the best first; of equals the later."""
    return sorted(looks, key=lambda v: (v.score, v.step), reverse=True)


def choose(
    last: tuple[int, AdapterState],
    looks: Sequence[Look],
    candidates: Candidates,
    judge: Callable[[AdapterState], float],
    kind: Kind = Kind.LORA,
) -> tuple[AdapterState, Choice]:
    """The adapter to keep: ``judge`` scores the last step's, the best preview's and, of kinds that have one, the mean of the best ones."""
    step, state = last
    best = [v.step for v in ranked(looks)[:BEST] if v.likeness is not None]
    found = {s: kept for s in best if s != step and (kept := candidates.read(s)) is not None}
    if not found:
        return state, Choice("the last step", "The last step's previews were the most alike.")
    states = {"the last step": state}
    first = best[0]
    if first in found:
        states[f"step {first}"] = found[first]
    several = [s for s in best if s in found or s == step]
    if len(several) > 1 and kind not in WITHOUT:
        states[f"the mean of steps {_listed(sorted(several))}"] = mean_of([found.get(s, state) for s in several])
    scored = tuple(Contender(name, judge(value)) for name, value in states.items())
    # The last step is preferred where another is not clearly better: it is what was asked for.
    winner = max(scored, key=lambda c: c.score + (BETTER if c.name == "the last step" else 0.0))
    rest = ", ".join(f"{c.name} {c.score:.2f}" for c in scored if c is not winner)
    reason = f"On new seeds {winner.name} gave a likeness of {winner.score:.2f}; {rest}."
    if kind in WITHOUT:
        reason += f" Single steps were compared: {WITHOUT[kind]}."
    return states[winner.name], Choice(winner.name, reason[0].upper() + reason[1:], scored)


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps[:-1])) + f" and {steps[-1]}"
