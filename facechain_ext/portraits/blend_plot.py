"""The blend bench as one picture: likeness against style score, a curve for each way of blending, a panel for each style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image as PilImage
from PIL import ImageDraw

from facechain_ext.portraits.sheet import ACCENT, FAINT, INK, MARGIN, PAPER, RULE, WARN, WIDTH, fitted, load_font

COLOURS = ("#3d5a98", "#7a5195", "#b08900", "#c0579a", "#5f8fb0", "#8a8f3c", "#9a6b4f", "#6b7078")
"""Of curves without one of their own, in turn."""
PANEL, LEGEND_ROW, COLUMNS = 470, 24, 3
"""px, px, and columns of the legend."""
Place = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, px."""


@dataclass(frozen=True, slots=True)
class BlendCurve:
    """One way of blending at several strengths."""

    name: str
    points: Sequence[tuple[float, float, str]]
    """(style score, likeness, strength)."""
    role: str = ""
    """``ours``, ``rival`` or ``bound`` are drawn as such; anything else as one of many."""


@dataclass(frozen=True, slots=True)
class _Axes:
    box: tuple[int, int, int, int]
    right: float
    top: float

    def at(self, x: float, y: float) -> Place:
        left, high, right, low = self.box
        return left + (right - left) * min(max(x / self.right, 0), 1), low - (low - high) * min(max(y / self.top, 0), 1)


def draw_blends(title: str, panels: Mapping[str, Sequence[BlendCurve]]) -> PilImage.Image:
    """A panel for each style in ``panels``, two in a row; below them what each colour means."""
    names = list(dict.fromkeys(c.name for curves in panels.values() for c in curves))
    colours = _colours(panels)
    rows = -(-len(panels) // 2)
    legend = LEGEND_ROW * -(-len(names) // COLUMNS)
    page = PilImage.new("RGB", (WIDTH, 96 + rows * PANEL + legend + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN - 10), fitted(title, load_font(26), WIDTH - 2 * MARGIN), INK, load_font(26))
    wide = (WIDTH - 2 * MARGIN) // min(2, max(1, len(panels)))
    for i, (style, curves) in enumerate(panels.items()):
        left, top = MARGIN + (i % 2) * wide, 84 + i // 2 * PANEL
        points = [p for c in curves for p in c.points]
        axes = _Axes(
            (left + 40, top + 48, left + wide - 30, top + PANEL - 46),
            _ceiling([s for s, _, _ in points]),
            _ceiling([x for _, x, _ in points]),
        )
        _frame(pen, axes, style)
        # Ours last, above the others.
        for curve in sorted(curves, key=lambda c: ("", "bound", "rival", "ours").index(c.role)):
            _draw(pen, axes, curve, colours[curve.name])
        _label(pen, axes, curves, colours)
    width = (WIDTH - 2 * MARGIN) // COLUMNS
    for i, name in enumerate(names):
        x, y = MARGIN + (i % COLUMNS) * width, 96 + rows * PANEL + i // COLUMNS * LEGEND_ROW
        pen.ellipse((x + 4, y + 5, x + 14, y + 15), colours[name])
        pen.text((x + 22, y), fitted(name, load_font(15), width - 30), INK, load_font(15))
    return page


def _colours(panels: Mapping[str, Sequence[BlendCurve]]) -> dict[str, str]:
    fixed, found, free = {"ours": ACCENT, "rival": WARN, "bound": INK}, {}, 0
    for curve in (c for curves in panels.values() for c in curves):
        if curve.name not in found:
            found[curve.name] = fixed.get(curve.role) or COLOURS[free % len(COLOURS)]
            free += curve.role not in fixed
    return found


def _ceiling(values: Sequence[float]) -> float:
    """The next tenth above all of ``values``."""
    return max(1, math.ceil(max(values, default=0.1) * 10 + 0.2)) / 10


def _frame(pen: ImageDraw.ImageDraw, axes: _Axes, style: str) -> None:
    left, top, right, bottom = axes.box
    small = load_font(13)
    pen.text((left, top - 34), f"{style}: likeness (up) against style score (right)", INK, load_font(17))
    for i in range(round(axes.top * 10) + 1):
        _, y = axes.at(0, i / 10)
        pen.line((left, y, right, y), RULE, 1)
        pen.text((left - 30, y - 8), f"{i / 10:.1f}", FAINT, small)
    for i in range(round(axes.right * 10) + 1):
        x, _ = axes.at(i / 10, 0)
        pen.line((x, bottom, x, bottom + 4), RULE, 1)
        pen.text((x - 9, bottom + 8), f"{i / 10:.1f}", FAINT, small)


def _draw(pen: ImageDraw.ImageDraw, axes: _Axes, curve: BlendCurve, colour: str) -> None:
    places = [axes.at(score, likeness) for score, likeness, _ in curve.points]
    strong = curve.role in ("ours", "rival")
    if len(places) > 1:
        pen.line(places, colour, 4 if strong else 2, joint="curve")
    size = 6 if strong else 4
    for x, y in places:
        pen.ellipse((x - size, y - size, x + size, y + size), colour)


def _label(pen: ImageDraw.ImageDraw, axes: _Axes, curves: Sequence[BlendCurve], colours: Mapping[str, str]) -> None:
    """Strengths and names beside their points, where no point and no other label is."""
    font = load_font(13)
    taken = [(x - 6, y - 6, x + 6, y + 6) for c in curves for x, y in (axes.at(score, likeness) for score, likeness, _ in c.points)]
    for curve in sorted((c for c in curves if c.role), key=lambda c: ("ours", "rival", "bound").index(c.role)):
        for score, likeness, strength in curve.points:
            text = curve.name if curve.role == "bound" else strength
            x, y = axes.at(score, likeness)
            wide = pen.textlength(text, font)
            # Right of it, above, below; a name that has no room there, a line further away.
            middle, before = (max(axes.box[0] + 4, x - part * wide) for part in (0.5, 1))
            corners = [(x + 8, y - 22), (x + 8, y - 8), (middle, y - 24), (before, y + 8), (x + 8, y + 9)]
            corners += [(middle, y + sign * 15 * away - 8) for away in range(2, 7) for sign in (-1, 1)]
            # Never above the axes, where the title is.
            boxes = [(left, top, left + wide, top + 15) for left, top in corners if top >= axes.box[1] - 6]
            box = next((box for box in boxes if not any(_meet(box, other) for other in taken)), boxes[-1])
            taken.append(box)
            # Lines may pass below.
            pen.text(box[:2], text, colours[curve.name], font, stroke_width=2, stroke_fill=PAPER)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
