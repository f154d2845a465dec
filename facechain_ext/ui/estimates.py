"""What a training will take, before it starts, in one line; and what to change when memory is short."""

from __future__ import annotations

from html import escape

from facechain_ext.ports import Estimate
from facechain_ext.ui.words import duration

GB = 10**9

def estimate_line(said: Estimate, instead: str = "", plan: str = "") -> str:
    """Time and memory; ``instead`` says what would fit, when ``said`` does not, ``plan`` what was fitted to memory."""
    time = duration(_rounded(said.seconds)) if said.seconds is not None else "known after the first training here"
    source = "as fast as the last training here" if said.measured else "a guess until the first training here"
    time = f"<span>Time</span> <b>about {escape(time)}</b> <small>{source}</small>" if said.seconds is not None else f"<span>Time</span> <b>{time}</b>"
    free = f"<small>of {_size(said.free)} free</small>" if said.free is not None else ""
    memory = f"<span>Memory</span> <b>about {_size(said.memory)}</b> {free}"
    warning = ""
    if plan:
        warning = f'<p class="fc-hint">{escape(plan)}</p>'
    elif not said.fits:
        what = instead or "Use a smaller checkpoint, or a machine with more memory."
        warning = f'<p class="fc-warn">This is more than is free. {escape(what)}</p>'
    return f'<div class="fc-estimate"><p>{time}</p><p>{memory}</p>{warning}</div>'


def _size(number: int) -> str:
    return f"{number / GB:.1f} GB" if number >= GB else f"{max(1, round(number / 10**6))} MB"


def _rounded(seconds: float) -> float:
    """Nobody can tell 61 s from 64 s before it began."""
    for step, limit in ((5, 60), (15, 300), (60, 3600)):
        if seconds < limit:
            return max(step, round(seconds / step) * step)
    return round(seconds / 300) * 300
