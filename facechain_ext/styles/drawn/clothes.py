"""Garments of the bust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from facechain_ext.styles.drawn.canvas import WIDTH, Canvas, mixed

X = WIDTH / 2
"""The middle of the picture, where the bust stands."""


@dataclass(frozen=True, slots=True)
class Tones:
    """Colours of the figure."""

    face: str
    cloth: str
    trim: str
    hair: str


def _collar(canvas: Canvas, t: Tones) -> None:
    """A shirt's collar."""
    canvas.polygon([(X - 13, 92), (X, 106), (X - 10, 116), (X - 22, 100)], t.trim)
    canvas.polygon([(X + 13, 92), (X, 106), (X + 10, 116), (X + 22, 100)], t.trim)


def _suit(canvas: Canvas, t: Tones) -> None:
    """Jacket over a shirt, no tie."""
    canvas.polygon([(X - 14, 94), (X + 14, 94), (X + 7, 150), (X - 7, 150)], t.trim)
    dark = mixed(t.cloth, "#000000", 0.3)
    canvas.polygon([(X - 14, 92), (X - 26, 102), (X - 30, 118), (X - 22, 120), (X - 5, 150), (X - 3, 150)], dark)
    canvas.polygon([(X + 14, 92), (X + 26, 102), (X + 30, 118), (X + 22, 120), (X + 5, 150), (X + 3, 150)], dark)
    _collar(canvas, t)


def _turtleneck(canvas: Canvas, t: Tones) -> None:
    canvas.box((X - 15, 84), (30, 17), mixed(t.cloth, t.trim, 0.35), round_by=5)
    canvas.line([(X - 15, 93), (X + 15, 93)], 1, t.cloth)


def _scarf(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 24, 88), (X, 94), (X + 24, 88), (X + 27, 100), (X, 110), (X - 27, 100)], t.trim)
    canvas.polygon([(X + 6, 102), (X + 22, 100), (X + 28, 144), (X + 12, 144)], mixed(t.trim, "#000000", 0.12))
    for y in (116, 126, 136):
        canvas.line([(X + 9 + (y - 102) * 0.14, y), (X + 23 + (y - 102) * 0.14, y - 2)], 1.6, t.cloth, 0.7)


def _coat(canvas: Canvas, t: Tones) -> None:
    """High open collar."""
    canvas.polygon([(X - 13, 96), (X + 13, 96), (X, 150)], mixed(t.trim, "#000000", 0.1))
    canvas.polygon([(X - 14, 80), (X - 32, 98), (X - 8, 150), (X - 2, 150), (X - 14, 104)], mixed(t.cloth, "#ffffff", 0.12))
    canvas.polygon([(X + 14, 80), (X + 32, 98), (X + 8, 150), (X + 2, 150), (X + 14, 104)], mixed(t.cloth, "#000000", 0.18))


def _crossed(canvas: Canvas, t: Tones) -> None:
    """A robe closed left over right."""
    canvas.polygon([(X - 14, 90), (X + 14, 90), (X, 112)], mixed(t.trim, "#ffffff", 0.6))
    canvas.polygon([(X + 13, 88), (X + 25, 98), (X + 6, 120), (X - 4, 112)], mixed(t.trim, "#000000", 0.18))
    canvas.polygon([(X - 13, 88), (X - 25, 98), (X + 22, 150), (X + 36, 150)], t.trim)
    canvas.line([(X - 19, 93), (X + 29, 150)], 1.2, mixed(t.trim, "#ffffff", 0.5))


def _drape(canvas: Canvas, t: Tones) -> None:
    """A length of cloth over one shoulder."""
    canvas.polygon([(X - 44, 106), (X - 16, 96), (X + 62, 132), (X + 66, 150), (X + 30, 150)], t.trim)
    dark = mixed(t.trim, "#000000", 0.2)
    for i in range(3):
        canvas.line([(X - 36 + i * 9, 104 - i * 2.5), (X + 40 + i * 9, 150 - i * 7)], 1.6, dark)


def _armour(canvas: Canvas, t: Tones) -> None:
    canvas.polygon([(X - 34, 106), (X + 34, 106), (X + 40, 150), (X - 40, 150)], mixed(t.trim, t.cloth, 0.4))
    canvas.polygon([(X, 102), (X + 34, 106), (X + 40, 150), (X, 150)], "#000000", 0.14)
    for side in (-1, 1):
        for i, width in enumerate((25, 21, 17)):
            tone = mixed(t.trim, "#ffffff" if i % 2 else "#000000", 0.16)
            canvas.ellipse((X + side * (42 + 5 * i), 117 + 11 * i), (width, 15 - i), mixed(tone, "#000000", 0.16 if side > 0 else 0))
    canvas.box((X - 19, 86), (38, 16), t.trim, round_by=4)
    canvas.line([(X - 19, 94), (X + 19, 94)], 1.2, mixed(t.cloth, "#000000", 0.3))
    canvas.glow((X - 40, 114), 20, "#ffffff", 0.4)


def _ring(canvas: Canvas, t: Tones) -> None:
    """The neck ring and pack of a space suit."""
    canvas.ellipse((X, 99), (32, 11), t.trim)
    canvas.ellipse((X, 97), (25, 7), mixed(t.cloth, "#000000", 0.45))
    canvas.box((X - 15, 120), (30, 30), mixed(t.cloth, "#000000", 0.14), round_by=3)
    for i, colour in enumerate(("#e05a47", "#3f7fbf", "#e6b84a")):
        canvas.ellipse((X - 8 + 8 * i, 130), (2.4, 2.4), colour)


def _lab(canvas: Canvas, t: Tones) -> None:
    """An open white coat."""
    canvas.polygon([(X - 13, 95), (X + 13, 95), (X + 9, 150), (X - 9, 150)], t.trim)
    for side in (-1, 1):
        canvas.polygon([(X + side * 13, 92), (X + side * 27, 101), (X + side * 24, 122), (X + side * 8, 150)], mixed(t.cloth, "#000000", 0.1))
    canvas.box((X + 28, 126), (14, 24), mixed(t.cloth, "#000000", 0.1), round_by=1)


def _apron(canvas: Canvas, t: Tones) -> None:
    canvas.polygon([(X - 20, 116), (X + 20, 116), (X + 26, 150), (X - 26, 150)], t.trim)
    for side in (-1, 1):
        canvas.line([(X + side * 18, 117), (X + side * 16, 99)], 3, t.trim)


def _ruff(canvas: Canvas, t: Tones) -> None:
    for i in range(-6, 7):
        canvas.ellipse((X + i * 5.4, 97 - abs(i) * 0.8), (4.6, 7.5), mixed(t.trim, "#000000", 0.1 if i % 2 else 0))


def _hoodie(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 33, 98), (X - 15, 88), (X, 94), (X + 15, 88), (X + 33, 98), (X + 16, 116), (X, 108), (X - 16, 116)], mixed(t.cloth, "#000000", 0.25))
    for side in (-1, 1):
        canvas.line([(X + side * 9, 108), (X + side * 10, 136)], 1.5, t.trim)


def _jersey(canvas: Canvas, t: Tones) -> None:
    canvas.polygon([(X - 15, 92), (X + 15, 92), (X, 111)], t.trim)
    canvas.polygon([(X - 9, 93), (X + 9, 93), (X, 104)], mixed(t.cloth, "#000000", 0.3))
    canvas.polygon([(X - 57, 121), (X, 127), (X + 57, 121), (X + 60, 131), (X, 137), (X - 60, 131)], t.trim)


def _buttoned(canvas: Canvas, t: Tones) -> None:
    """Stand-up collar and a row of buttons."""
    canvas.box((X - 15, 88), (30, 11), mixed(t.cloth, "#000000", 0.2), round_by=3)
    canvas.line([(X, 99), (X, 150)], 1.2, mixed(t.cloth, "#000000", 0.35))
    for y in (108, 119, 130, 141):
        canvas.ellipse((X + 5, y), (2.3, 2.3), t.trim)


def _uniform(canvas: Canvas, t: Tones) -> None:
    """The same with epaulettes."""
    _buttoned(canvas, t)
    for side in (-1, 1):
        canvas.polygon([(X + side * 30, 101), (X + side * 55, 116), (X + side * 50, 121), (X + side * 27, 106)], t.trim)


def _striped(canvas: Canvas, t: Tones) -> None:
    """A sailor's shirt."""
    for i in range(5):
        y, half = 106 + i * 9, min(62, 36 + i * 8)
        canvas.line([(X - half, y + 3), (X, y), (X + half, y + 3)], 3.4, t.trim)
    canvas.curve([(X - 15, 93), (X, 98), (X + 15, 93), (X + 18, 99), (X, 106), (X - 18, 99)], t.trim)


def _embroidered(canvas: Canvas, t: Tones) -> None:
    """A shirt with stitched collar and front."""
    canvas.polygon([(X - 6, 100), (X + 6, 100), (X + 6, 150), (X - 6, 150)], mixed(t.cloth, t.trim, 0.12))
    for y in range(104, 150, 8):
        for dx, dy in ((0, 0), (-3, -3), (3, -3), (-3, 3), (3, 3)):
            canvas.box((X + dx - 1.3, y + dy - 1.3), (2.6, 2.6), t.trim)
    canvas.box((X - 16, 89), (32, 10), t.cloth, round_by=3)
    for i in range(-3, 4):
        canvas.polygon([(X + i * 4.4, 90.5), (X + i * 4.4 + 2, 94), (X + i * 4.4, 97.5), (X + i * 4.4 - 2, 94)], t.trim)


def _microphone(canvas: Canvas, t: Tones) -> None:
    _coat(canvas, t)
    canvas.line([(X - 34, 150), (X - 20, 100)], 3, "#2a2a30")
    canvas.ellipse((X - 18, 96), (7, 8.5), "#55555e")
    canvas.ellipse((X - 20, 93), (2.4, 3), "#a8a8b2")


def _knit(canvas: Canvas, t: Tones) -> None:
    """A sweater with a patterned yoke."""
    _turtleneck(canvas, t)
    for row, y in enumerate((107, 115, 123)):
        for i in range(-7, 8):
            if abs(i) * 7 < 30 + row * 12:
                x, d = X + i * 7, 2.4
                lift = abs(i) * 0.9
                canvas.polygon([(x, y - d + lift), (x + d, y + lift), (x, y + d + lift), (x - d, y + lift)], t.trim)


def _beads(canvas: Canvas, t: Tones) -> None:
    """A broad collar in rings."""
    for i, share in enumerate((0.0, 0.45, 0.15, 0.6)):
        width = 20 + 7 * i
        canvas.arc((X, 84 - i), width + 4, (25, 155), 4.4, mixed(t.trim, t.cloth if i % 2 else "#ffffff", share))


def _poncho(canvas: Canvas, t: Tones) -> None:
    for i in range(5):
        y = 104 + 9 * i
        canvas.polygon([(X - 66, y + 22), (X, y + 4), (X + 66, y + 22), (X + 66, y + 27), (X, y + 9), (X - 66, y + 27)], t.trim if i % 2 == 0 else mixed(t.trim, "#ffffff", 0.5))


def _vest(canvas: Canvas, t: Tones) -> None:
    """An embroidered waistcoat or bodice over a blouse."""
    for side in (-1, 1):
        canvas.polygon([(X + side * 20, 99), (X + side * 34, 104), (X + side * 36, 150), (X + side * 4, 150), (X + side * 8, 122)], t.trim)
        for y in (112, 124, 136):
            canvas.ellipse((X + side * (17 + (y - 112) * 0.1), y), (2.2, 2.2), mixed(t.trim, "#ffffff", 0.65))
    canvas.curve([(X - 14, 93), (X, 104), (X + 14, 93), (X + 18, 99), (X, 112), (X - 18, 99)], mixed(t.cloth, "#ffffff", 0.5))


def _cape(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 30, 97), (X, 106), (X + 30, 97), (X + 60, 120), (X + 68, 150), (X + 22, 150), (X, 112), (X - 22, 150), (X - 68, 150), (X - 60, 120)], t.trim)
    canvas.ellipse((X, 107), (4, 4), mixed(t.trim, "#ffe9a8", 0.75))


WEAR: dict[str, Callable[[Canvas, Tones], None]] = {
    "shirt": _collar, "suit": _suit, "turtleneck": _turtleneck, "scarf": _scarf, "coat": _coat, "crossed": _crossed, "drape": _drape,
    "armour": _armour, "ring": _ring, "lab": _lab, "apron": _apron, "ruff": _ruff, "hoodie": _hoodie, "jersey": _jersey,
    "uniform": _uniform, "buttoned": _buttoned, "striped": _striped, "embroidered": _embroidered, "mic": _microphone, "knit": _knit, "beads": _beads, "poncho": _poncho, "vest": _vest, "cape": _cape,
}  # fmt: skip
"""Garments by name."""
