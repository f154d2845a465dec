"""What the bust wears on its head, and what stands behind it."""

from __future__ import annotations

from collections.abc import Callable

from facechain_ext.styles.drawn.canvas import Canvas, mixed
from facechain_ext.styles.drawn.clothes import Tones, X


def _beret(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 30, 34), (X - 20, 17), (X + 10, 12), (X + 36, 24), (X + 24, 35), (X, 33)], t.trim)


def _cap(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 26, 41), (X - 23, 23), (X, 14), (X + 23, 23), (X + 26, 41), (X, 35)], t.trim)
    canvas.curve([(X - 28, 38), (X, 33), (X + 12, 37), (X - 10, 43), (X - 38, 46)], mixed(t.trim, "#000000", 0.28))


def _beanie(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 27, 40), (X - 24, 20), (X, 11), (X + 24, 20), (X + 27, 40), (X, 35)], t.trim)
    canvas.box((X - 28, 33), (56, 10), mixed(t.trim, "#ffffff", 0.28), round_by=4)
    canvas.ellipse((X, 11), (5.5, 5.5), mixed(t.trim, "#ffffff", 0.5))


def _helmet(canvas: Canvas, t: Tones) -> None:
    """A hard hat, or a rider's."""
    canvas.curve([(X - 29, 39), (X - 26, 20), (X, 9), (X + 26, 20), (X + 29, 39), (X, 34)], t.trim)
    canvas.box((X - 33, 35), (66, 5), mixed(t.trim, "#000000", 0.2), round_by=2)
    canvas.box((X - 4, 10), (8, 25), mixed(t.trim, "#ffffff", 0.3), round_by=3)


def _toque(canvas: Canvas, t: Tones) -> None:
    for dx, y in ((-15, 15), (0, 9), (15, 15)):
        canvas.ellipse((X + dx, y + 3), (14, 13), t.trim)
    canvas.box((X - 24, 20), (48, 17), mixed(t.trim, "#000000", 0.08), round_by=2)


def _crown(canvas: Canvas, t: Tones) -> None:
    canvas.polygon([(X - 24, 34), (X - 27, 12), (X - 13, 23), (X, 7), (X + 13, 23), (X + 27, 12), (X + 24, 34)], t.trim)
    for dx in (-14, 0, 14):
        canvas.ellipse((X + dx, 29), (2.6, 2.6), "#b3273a")


def _wide(canvas: Canvas, t: Tones) -> None:
    """A hat with a wide brim."""
    canvas.curve([(X - 20, 32), (X - 17, 12), (X, 15), (X + 17, 12), (X + 20, 32)], t.trim)
    canvas.ellipse((X, 34), (48, 8), mixed(t.trim, "#000000", 0.1))
    canvas.box((X - 20, 26), (40, 6), mixed(t.trim, "#000000", 0.45))


def _straw(canvas: Canvas, t: Tones) -> None:
    """A conical straw hat."""
    canvas.polygon([(X - 50, 41), (X, 4), (X + 50, 41)], t.trim)
    canvas.polygon([(X, 4), (X + 50, 41), (X + 12, 41)], mixed(t.trim, "#000000", 0.15))
    for i in (1, 2, 3):
        canvas.line([(X - 12.5 * i, 4 + 9.2 * i), (X + 12.5 * i, 4 + 9.2 * i)], 0.8, mixed(t.trim, "#000000", 0.3))


def _turban(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 28, 42), (X - 31, 24), (X - 14, 9), (X + 14, 9), (X + 31, 24), (X + 28, 42), (X, 30)], t.trim)
    for i in range(4):
        canvas.line([(X - 28 + 4 * i, 36 - 7 * i), (X + 6 + 4 * i, 12 + 2 * i)], 1.6, mixed(t.trim, "#000000", 0.22))
        canvas.line([(X + 28 - 4 * i, 36 - 7 * i), (X - 2 - 2 * i, 14 + 3 * i)], 1.6, mixed(t.trim, "#ffffff", 0.25))


def _tall(canvas: Canvas, t: Tones) -> None:
    """A tall hat: fur or a stovepipe."""
    canvas.box((X - 23, 2), (46, 32), t.trim, round_by=6)
    canvas.ellipse((X, 34), (33, 5), mixed(t.trim, "#000000", 0.25))


def _pointed(canvas: Canvas, t: Tones) -> None:
    canvas.polygon([(X - 25, 36), (X + 8, -8), (X + 25, 36)], t.trim)
    canvas.ellipse((X, 36), (44, 7), mixed(t.trim, "#000000", 0.2))
    canvas.box((X - 23, 28), (46, 6), "#e8c25a")


def _wreath(canvas: Canvas, t: Tones) -> None:
    for i in range(-5, 6):
        tone = t.trim if i % 2 else mixed(t.trim, "#ffffff", 0.55)
        canvas.ellipse((X + i * 5, 31 + i * i * 0.28), (4.2, 4.2), tone)
        canvas.ellipse((X + i * 5, 31 + i * i * 0.28), (1.4, 1.4), "#f4d35e")


def _headphones(canvas: Canvas, t: Tones) -> None:
    canvas.arc((X, 48), 31, (180, 360), 4, t.trim)
    for side in (-1, 1):
        canvas.box((X + side * 28 - 5, 45), (10, 22), t.trim, round_by=4)


def _goggles(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 27, 40), (X - 24, 20), (X, 12), (X + 24, 20), (X + 27, 40), (X, 34)], mixed(t.cloth, "#000000", 0.25))
    for side in (-1, 1):
        canvas.ellipse((X + side * 11, 35), (10, 7.5), t.trim)
        canvas.ellipse((X + side * 11, 35), (7, 5), "#cfe8ef")


def _glasses(canvas: Canvas, t: Tones) -> None:
    tone = mixed(t.hair, "#000000", 0.45)
    for side in (-1, 1):
        canvas.ellipse((X + side * 10, 57), (8, 8), "#ffffff", 0.3)
        canvas.arc((X + side * 10, 57), 8.6, (0, 360), 2, tone)
    canvas.line([(X - 3, 56), (X + 3, 56)], 1.8, tone)


def _kufi(canvas: Canvas, t: Tones) -> None:
    """A round brimless cap."""
    canvas.curve([(X - 26, 38), (X - 24, 17), (X, 12), (X + 24, 17), (X + 26, 38), (X, 32)], t.trim)
    for i in range(-3, 4):
        canvas.polygon([(X + i * 7, 24), (X + i * 7 + 3, 28.5), (X + i * 7, 33), (X + i * 7 - 3, 28.5)], mixed(t.trim, "#ffffff", 0.5))


def _mortarboard(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 25, 38), (X - 23, 22), (X, 18), (X + 23, 22), (X + 25, 38), (X, 32)], mixed(t.cloth, "#000000", 0.25))
    canvas.polygon([(X - 46, 20), (X, 7), (X + 46, 20), (X, 32)], t.cloth)
    canvas.line([(X, 19), (X + 34, 24), (X + 35, 44)], 1.6, t.trim)
    canvas.box((X + 33, 43), (4, 9), t.trim, round_by=1)


def _peaked(canvas: Canvas, t: Tones) -> None:
    """A cap with a band and a peak."""
    canvas.curve([(X - 34, 22), (X - 20, 10), (X, 6), (X + 20, 10), (X + 34, 22), (X + 25, 34), (X - 25, 34)], t.cloth)
    canvas.box((X - 26, 28), (52, 8), mixed(t.cloth, "#000000", 0.4), round_by=2)
    canvas.curve([(X - 24, 36), (X, 32), (X + 24, 36), (X, 45)], "#15161c")
    canvas.ellipse((X, 28), (5, 5), t.trim)


def _party(canvas: Canvas, t: Tones) -> None:
    canvas.polygon([(X - 17, 32), (X + 2, -2), (X + 17, 31)], "#e8406a")
    for k, tone in enumerate(("#ffffff", "#4fb0e8", "#ffffff")):
        canvas.line([(X - 13 + 4 * k, 25 - 8 * k), (X + 14 - 4 * k, 24 - 8 * k)], 2, tone)
    canvas.ellipse((X + 2, 0), (4.5, 4.5), "#f4c83f")


def _band(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 25, 44), (X, 36), (X + 25, 44), (X + 25, 37), (X, 29), (X - 25, 37)], t.trim)


HATS: dict[str, Callable[[Canvas, Tones], None]] = {
    "beret": _beret, "cap": _cap, "beanie": _beanie, "helmet": _helmet, "toque": _toque, "crown": _crown, "wide": _wide, "straw": _straw,
    "turban": _turban, "tall": _tall, "pointed": _pointed, "wreath": _wreath, "headphones": _headphones, "goggles": _goggles,
    "glasses": _glasses, "band": _band, "kufi": _kufi, "mortarboard": _mortarboard, "peaked": _peaked, "party": _party,
}  # fmt: skip
"""What is worn on the head, by name."""


def _hood(canvas: Canvas, t: Tones) -> None:
    canvas.curve([(X - 38, 96), (X - 40, 50), (X - 22, 16), (X, 8), (X + 22, 16), (X + 40, 50), (X + 38, 96), (X, 112)], t.trim)
    canvas.curve([(X - 29, 92), (X - 31, 52), (X - 18, 24), (X, 19), (X + 18, 24), (X + 31, 52), (X + 29, 92), (X, 104)], mixed(t.trim, "#000000", 0.5))


def _globe(canvas: Canvas, t: Tones) -> None:
    """An open helmet behind the head."""
    canvas.ellipse((X, 54), (46, 46), "#ffffff", 0.35)
    canvas.arc((X, 54), 46, (150, 390), 3, t.trim)


def _wings(canvas: Canvas, t: Tones) -> None:
    for side in (-1, 1):
        for i in range(4):
            canvas.curve([(X + side * 24, 118), (X + side * (58 + 6 * i), 40 + 18 * i), (X + side * (74 + 4 * i), 44 + 20 * i), (X + side * 40, 128)], mixed(t.trim, "#ffffff", 0.2 * i), 0.9)


def _veil(canvas: Canvas, t: Tones) -> None:
    """A cloth over the hair, down to the shoulders."""
    canvas.curve([(X - 34, 118), (X - 34, 44), (X - 20, 20), (X, 14), (X + 20, 20), (X + 34, 44), (X + 34, 118), (X, 100)], t.trim)


BEHIND: dict[str, Callable[[Canvas, Tones], None]] = {"hood": _hood, "globe": _globe, "wings": _wings, "veil": _veil}
"""What stands behind the head, by name."""
