"""The likeness bench as one picture: a curve per person over the training, and likeness against style for every blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image as PilImage
from PIL import ImageDraw

from facechain_ext.portraits.sheet import ACCENT, FAINT, INK, MARGIN, PAPER, RULE, WARN, WIDTH, fitted, load_font

HEIGHT = 560
STYLE_COLOURS = (WARN, "#3d5a98", "#7a5195", "#b08900", "#2f6f63")


@dataclass(frozen=True, slots=True)
class Dot:
    """One style at one weight."""

    style: str
    weight: float
    likeness: float
    style_score: float


@dataclass(frozen=True, slots=True)
class _Axes:
    box: tuple[int, int, int, int]
    low: float
    high: float
    right: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        share = (min(max(y, self.low), self.high) - self.low) / (self.high - self.low)
        return left + (right - left) * x / self.right, bottom - (bottom - top) * share


def draw_plot(title: str, curves: Mapping[str, Sequence[tuple[int, float]]], ceiling: float, dots: Sequence[Dot]) -> PilImage.Image:
    """``curves`` person -> (step, likeness); ``ceiling`` is the mean likeness of real photos. The right half only when there are ``dots``."""
    page = PilImage.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, MARGIN - 10), fitted(title, load_font(26), WIDTH - 2 * MARGIN), INK, load_font(26))
    middle = WIDTH // 2 if dots else WIDTH - MARGIN - 70
    steps = max((s for points in curves.values() for s, _ in points), default=1) or 1
    left = _Axes((MARGIN + 44, 120, middle, HEIGHT - 70), -0.1, 1.0, float(steps))
    _frame(pen, left, "Likeness to photos the training never saw", f"{steps} steps")
    pen.line([left.at(0, ceiling), left.at(steps, ceiling)], ACCENT, 1)
    pen.text((left.box[0] + 6, left.at(0, ceiling)[1] - 18), f"real photos {ceiling:.2f}", ACCENT, load_font(13))
    for points in curves.values():
        pen.line([left.at(*p) for p in points], "#b9bdc4", 2)
    mean = _mean_curve(list(curves.values()))
    pen.line([left.at(*p) for p in mean], INK, 4, joint="curve")
    for step, value in mean:
        x, y = left.at(step, value)
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), INK)
        pen.text((x - 14, y - 26), f"{value:.2f}", INK, load_font(15))
    if dots:
        _draw_dots(pen, dots, _Axes((WIDTH // 2 + 90, 120, WIDTH - MARGIN - 20, HEIGHT - 70), -0.1, 1.0, 1.0))
    return page


def _frame(pen: ImageDraw.ImageDraw, axes: _Axes, title: str, right: str) -> None:
    small = load_font(13)
    pen.text((axes.box[0], axes.box[1] - 44), title, INK, load_font(17))
    for tenth in range(0, 11, 2):
        (x0, y), (x1, _) = axes.at(0, tenth / 10), axes.at(axes.right, tenth / 10)
        pen.line((x0, y, x1, y), RULE, 1)
        pen.text((x0 - 32, y - 8), f"{tenth / 10:.1f}", FAINT, small)
    pen.text((axes.box[0], axes.box[3] + 10), "0", FAINT, small)
    pen.text((axes.box[2] - pen.textlength(right, small), axes.box[3] + 10), right, FAINT, small)


def _mean_curve(curves: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    by_step: dict[int, list[float]] = {}
    for points in curves:
        for step, value in points:
            by_step.setdefault(step, []).append(value)
    return [(step, sum(values) / len(values)) for step, values in sorted(by_step.items()) if len(values) == len(curves)]


def _draw_dots(pen: ImageDraw.ImageDraw, dots: Sequence[Dot], axes: _Axes) -> None:
    _frame(pen, axes, "Likeness (up) against style (right), by weight of the style", "style score 1")
    names = list(dict.fromkeys(d.style for d in dots))
    small = load_font(13)
    for i, name in enumerate(names):
        colour = STYLE_COLOURS[i % len(STYLE_COLOURS)]
        mine = sorted((d for d in dots if d.style == name), key=lambda d: d.weight)
        points = [axes.at(d.style_score, d.likeness) for d in mine]
        if len(points) > 1:
            pen.line(points, colour, 2)
        for (x, y), dot in zip(points, mine, strict=True):
            pen.ellipse((x - 5, y - 5, x + 5, y + 5), colour)
            pen.text((x + 8, y - 8), f"{dot.weight:g}", colour, small)
        pen.text((axes.box[0] + 8, axes.box[1] + 6 + 18 * i), name, colour, load_font(14))
