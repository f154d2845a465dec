"""The training curve as inline SVG; colours come from the page's stylesheet, so that it reads in both themes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from facechain_ext.progress import LossPoint

WIDTH, HEIGHT = 720, 264
LEFT, RIGHT, TOP, BOTTOM = 56, 52, 30, 40
POINTS = 360
"""Points drawn at most; a screen shows no more."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps ``low..high`` to ``start..end`` px; values outside stick to the edge."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where ``value`` lies, px."""
        span = self.high - self.low
        share = (value - self.low) / span if span else 0.0
        return round(self.start + (self.end - self.start) * min(1.0, max(0.0, share)), 2)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about a twentieth of the curve, eight points at least, without the bias of its start."""
    keep = 1 - 1 / max(8.0, len(values) / 20)
    total, weight, out = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        out.append(total / weight)
    return out


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten apart) from ``low`` to ``high``, about ``count`` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def thinned(points: Sequence[LossPoint], limit: int = POINTS) -> list[LossPoint]:
    """At most ``limit`` points with the means of those they stand for; the last step stays."""
    if len(points) <= limit:
        return list(points)
    size = math.ceil(len(points) / limit)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [LossPoint(g[-1].step, sum(p.loss for p in g) / len(g), g[-1].learning_rate) for g in groups]


def loss_chart(curve: Sequence[LossPoint], total: int = 0) -> str:
    """An ``<svg>``: loss (left axis; raw faint, smoothed bold) and likeness of the previews (right axis, dots).

    ``total`` is the number of steps planned, so that the curve grows into its place. Empty without finite losses.
    """
    finite = [p for p in curve if math.isfinite(p.loss)]
    if not finite:
        return ""
    points = thinned(finite)
    bold = smoothed([p.loss for p in points])
    last = max(total, points[-1].step, 1)
    # The first steps of a training are often far above the rest; they may leave the picture, the course may not.
    high = max(*bold, sorted(p.loss for p in points)[int(0.98 * (len(points) - 1))], 1e-9) * 1.08
    x = Scale(0, last, LEFT, WIDTH - RIGHT)
    y = Scale(0, high, HEIGHT - BOTTOM, TOP)
    scored = [p for p in finite if p.likeness is not None]
    parts = [_axes(x, y, last, high)]
    rates = [p.learning_rate for p in points]
    top = max(rates)
    if top > 0:
        # Of its own scale: its course is what matters, and its peak is in the legend.
        rate = Scale(0, top * 1.08, HEIGHT - BOTTOM, TOP)
        parts.append(_line("fc-rate", [(x.at(p.step), rate.at(p.learning_rate)) for p in points]))
    parts.append(_line("fc-raw", [(x.at(p.step), y.at(p.loss)) for p in points]))
    parts.append(_line("fc-smooth", [(x.at(p.step), y.at(v)) for p, v in zip(points, bold, strict=True)]))
    parts.append(_likeness(x, scored))
    parts.append(_legend(bool(scored), top))
    label = f"Loss after {points[-1].step} of {last} steps: {bold[-1]:.4f}."
    if scored:
        label += f" Likeness of the latest previews: {scored[-1].likeness:.2f}."
    return f'<svg class="fc-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def _axes(x: Scale, y: Scale, last: int, high: float) -> str:
    parts = []
    for value in ticks(0, high):
        height = y.at(value)
        parts.append(f'<line class="fc-grid" x1="{x.start}" x2="{x.end}" y1="{height}" y2="{height}"/>')
        parts.append(f'<text class="fc-tick" x="{x.start - 8}" y="{height + 4}" text-anchor="end">{value:g}</text>')
    for value in ticks(0, last, 6):
        if value == int(value):
            parts.append(f'<text class="fc-tick" x="{x.at(value)}" y="{y.start + 18}" text-anchor="middle">{int(value)}</text>')
    parts.append(f'<text class="fc-tick" x="{(x.start + x.end) / 2}" y="{HEIGHT - 4}" text-anchor="middle">steps</text>')
    return "".join(parts)


def _likeness(x: Scale, scored: Sequence[LossPoint]) -> str:
    if not scored:
        return ""
    values = [p.likeness or 0.0 for p in scored]
    scale = Scale(min(0.0, math.floor(min(values) * 10) / 10), 1.0, HEIGHT - BOTTOM, TOP)
    parts = [
        f'<text class="fc-tick fc-second" x="{WIDTH - RIGHT + 8}" y="{scale.at(v) + 4}">{v:g}</text>' for v in ticks(scale.low, 1.0, 4)
    ]
    places = [(x.at(p.step), scale.at(v)) for p, v in zip(scored, values, strict=True)]
    parts.append(_line("fc-likeness", places) if len(places) > 1 else "")
    said = max(1, len(places) // 12)
    for i, ((left, top), point) in enumerate(zip(places, scored, strict=True)):
        parts.append(
            f'<circle class="fc-dot" cx="{left}" cy="{top}" r="4"><title>step {point.step}: likeness {point.likeness:.2f}</title></circle>'
        )
        if i % said == 0 or i == len(places) - 1:
            anchor = "end" if left > WIDTH - RIGHT - 20 else "middle"
            parts.append(f'<text class="fc-value" x="{left}" y="{top - 9}" text-anchor="{anchor}">{point.likeness:.2f}</text>')
    return "".join(parts)


def _legend(likeness: bool, rate: float) -> str:
    parts = [_key("fc-smooth", LEFT, "loss, smoothed"), _key("fc-raw", LEFT + 128, "each step")]
    if rate > 0:
        parts.append(_key("fc-rate", LEFT + 226, f"learning rate, up to {rate:.2g}"))
    if likeness:
        right = WIDTH - RIGHT
        parts.append(f'<text class="fc-tick fc-second" x="{right}" y="16" text-anchor="end">likeness of previews</text>')
        parts.append(f'<circle class="fc-dot" cx="{right - 128}" cy="12" r="4"/>')
    return "".join(parts)


def _key(kind: str, x: float, text: str) -> str:
    return f'<line class="{kind}" x1="{x}" x2="{x + 18}" y1="12" y2="12"/><text class="fc-tick" x="{x + 24}" y="16">{escape(text)}</text>'


def _line(kind: str, points: Sequence[tuple[float, float]]) -> str:
    return f'<polyline class="{kind}" points="{" ".join(f"{a:g},{b:g}" for a, b in points)}"/>' if points else ""
