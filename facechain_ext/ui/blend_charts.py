"""A blend as two small charts, inline SVG: weights in each of the UNet's blocks, and over the steps. Colours come from the stylesheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from facechain_ext.blend import Part, share_of
from facechain_ext.ui.charts import Scale, ticks

WIDTH, HEIGHT = 470, 156
LEFT, GAP, TOP, BOTTOM = 28, 40, 26, 24
SIDE = (WIDTH - LEFT - GAP - 6) / 2
"""Width of each chart, px."""
POINTS = 40
"""Of a curve over the steps."""
SAID = {"face": "face", "style": "style"}


def blend_chart(parts: Sequence[tuple[str, Part]], blocks: int, steps: int) -> str:
    """An ``<svg>`` of ``parts`` (name of the LoRA, what it does) on a UNet of so many ``blocks``, over ``steps`` steps."""
    weights = [by_block(part, blocks) for _, part in parts]
    curves = [over_steps(part, steps) for _, part in parts]
    values = [v for row in weights for v in row] + [v for row in curves for v in row]
    high, low = max(1.0, *values) * 1.06, min(0.0, *values)
    y = Scale(low, high, HEIGHT - BOTTOM, TOP)
    second = LEFT + SIDE + GAP
    roles = [part.role for _, part in parts]
    drawn = [
        _frame(y, low, high, LEFT, "Weight in each block"),
        _frame(y, low, high, second, "Over the steps"),
        _bars(weights, roles, y),
        _block_names(blocks),
        *(_curve(curve, role, second, y) for curve, role in zip(curves, roles, strict=True)),
        _text(second, HEIGHT - BOTTOM + 14, "step 1", "start"),
        _text(second + SIDE, HEIGHT - BOTTOM + 14, str(steps), "end"),
    ]
    label = "; ".join(f"{SAID.get(p.role, p.role)} {name}: {p}" for name, p in parts)
    return f'<svg class="fc-chart fc-blendchart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(drawn)}</svg>'


def legend(parts: Sequence[tuple[str, Part]]) -> str:
    """Which colour is whose, with weight and text weight."""
    items = []
    for name, part in parts:
        text = "" if part.text_weight == part.unet else f", text {part.text_weight:g}"
        text += "" if part.guided == 1 else f", guided {part.guided:g}"
        items.append(f'<span class="fc-role-{escape(part.role)}"><i></i>{SAID.get(part.role, part.role)} {escape(name)} <b>{part.unet:g}</b>{text}</span>')
    return f'<div class="fc-legend">{"".join(items)}</div>'


def by_block(part: Part, blocks: int) -> list[float]:
    """The weight of ``part`` in each of ``blocks`` blocks, at its highest over the steps."""
    peak = max(part.schedule.start, part.schedule.end) if part.schedule is not None else 1.0
    shares = part.blocks if len(part.blocks) == blocks else (1.0,) * blocks
    return [part.unet * peak * share for share in shares]


def over_steps(part: Part, steps: int) -> list[float]:
    """The weight of ``part`` at up to ``POINTS`` steps from the first to the last, where its blocks' weight is largest."""
    peak = max(part.blocks, default=1.0) if part.blocks else 1.0
    many = max(2, min(steps, POINTS))
    shares = [share_of(i, many) for i in range(many)]
    return [part.unet * peak * (part.schedule.at(s) if part.schedule is not None else 1.0) for s in shares]


def _frame(y: Scale, low: float, high: float, left: float, title: str) -> str:
    parts = [f'<text class="fc-title-of" x="{left}" y="12">{escape(title)}</text>']
    for value in ticks(low, high, 3):
        height = y.at(value)
        parts.append(f'<line class="fc-grid" x1="{left}" x2="{left + SIDE}" y1="{height}" y2="{height}"/>')
        parts.append(_text(left - 6, height + 4, f"{value:g}", "end"))
    return "".join(parts)


def _bars(weights: Sequence[Sequence[float]], roles: Sequence[str], y: Scale) -> str:
    many = len(weights[0]) if weights else 0
    slot = SIDE / max(1, many)
    width = slot * 0.78 / max(1, len(weights))
    parts = []
    for i, (row, role) in enumerate(zip(weights, roles, strict=True)):
        for block, value in enumerate(row):
            x, top, zero = LEFT + block * slot + slot * 0.11 + i * width, y.at(value), y.at(0)
            height = max(abs(zero - top), 0.6)
            parts.append(
                f'<rect class="fc-bar-{escape(role)}" x="{x:.1f}" y="{min(top, zero):.1f}" width="{width:.1f}" height="{height:.1f}">'
                f"<title>{block_name(block, many)}: {value:.2g}</title></rect>"
            )
    return "".join(parts)


def block_name(block: int, blocks: int) -> str:
    """``in 3``, ``middle`` or ``out 7``, as merging tools count them."""
    middle = blocks // 2
    return "middle" if block == middle else f"in {block}" if block < middle else f"out {block - middle - 1}"


def _block_names(blocks: int) -> str:
    slot, y = SIDE / blocks, HEIGHT - BOTTOM + 14
    middle = LEFT + SIDE / 2
    return (
        _text(LEFT, y, "in", "start")
        + _text(middle, y, "middle", "middle")
        + _text(LEFT + SIDE, y, "out", "end")
        + f'<line class="fc-grid" x1="{middle - slot / 2:.1f}" x2="{middle - slot / 2:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        + f'<line class="fc-grid" x1="{middle + slot / 2:.1f}" x2="{middle + slot / 2:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    )


def _curve(values: Sequence[float], role: str, left: float, y: Scale) -> str:
    points = " ".join(f"{left + SIDE * i / (len(values) - 1):.1f},{y.at(v):g}" for i, v in enumerate(values))
    return f'<polyline class="fc-line-{escape(role)}" points="{points}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text class="fc-tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
