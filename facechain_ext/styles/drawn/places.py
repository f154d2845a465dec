"""Backdrops that people built: castles, stages, sports grounds, work places, feasts."""

from __future__ import annotations

import math
from collections.abc import Callable

from facechain_ext.styles.drawn.canvas import Canvas, mixed
from facechain_ext.styles.drawn.scenes import ridge


def _castle(c: Canvas, one: str, two: str) -> None:
    for x, top, width in ((6, 36, 26), (42, 58, 34), (126, 50, 30), (160, 28, 28)):
        c.box((x, top), (width, 120), one)
        for i in range(int(width // 8) + 1):
            c.box((x - 1 + i * (width - 4) / (width // 8), top - 6), (5, 7), one)
        c.box((x + width / 2 - 2.5, top + 16), (5, 11), two, round_by=2.5)
    c.polygon([(174, 20), (174, 6), (190, 11)], "#b3273a")
    c.box((0, 104), (192, 44), mixed(one, two, 0.4))


def _columns(c: Canvas, one: str, two: str) -> None:
    c.polygon([(0, 26), (96, -14), (192, 26)], mixed(one, two, 0.2))
    c.box((0, 26), (192, 8), one)
    for x in (8, 42, 132, 166):
        c.box((x - 3, 34), (24, 6), one)
        c.box((x, 38), (18, 120), mixed(one, "#ffffff", 0.25))
        for k in (4, 9, 14):
            c.line([(x + k, 42), (x + k, 146)], 1.2, two, 0.55)


def _stage(c: Canvas, one: str, two: str) -> None:
    for x, lean, tone in ((24, 46, one), (74, 10, two), (120, -12, one), (168, -46, two)):
        c.polygon([(x - 3, 0), (x + 3, 0), (x + lean + 24, 150), (x + lean - 24, 150)], tone, 0.34)
        c.ellipse((x, 2), (5, 4), "#ffffff")
    for x, y, r in c.scatter(26, 100, 140):
        c.ellipse((x, y), (2 + 3 * r, 2 + 3 * r), one if r > 0.5 else two, 0.35)


def _stadium(c: Canvas, one: str, two: str) -> None:
    for x, y, r in c.scatter(230, 10, 84):
        c.ellipse((x, y), (1.7, 1.7), (one, "#ffffff", two, mixed(two, "#000000", 0.4))[int(r * 4) % 4], 0.75)
    c.blur(0.6)
    for i in range(8):
        c.polygon([(i * 32 - 60, 150), (i * 32 - 28, 150), (i * 22 + 22, 88), (i * 22, 88)], two if i % 2 else mixed(two, "#ffffff", 0.12))
    c.line([(0, 88), (192, 88)], 2, "#ffffff")
    for x in (20, 172):
        c.glow((x, 10), 34, "#ffffff", 0.85)


def _court(c: Canvas, one: str, two: str) -> None:
    c.box((0, 92), (192, 60), two)
    for points in (((0, 104), (192, 104)), ((30, 150), (62, 92)), ((162, 150), (130, 92))):
        c.line(points, 1.8, "#ffffff")
    for x in range(0, 193, 6):
        c.line([(x, 64), (x, 92)], 0.6, one, 0.8)
    for y in range(64, 93, 5):
        c.line([(0, y), (192, y)], 0.6, one, 0.8)
    c.box((0, 61), (192, 3.4), "#ffffff")
    c.ellipse((162, 34), (9, 9), one)
    c.arc((154, 34), 9, (310, 410), 1.2, "#ffffff")


def _track(c: Canvas, one: str, two: str) -> None:
    for i in range(9):
        c.polygon([(i * 44 - 110, 150), (i * 44 - 68, 150), (i * 9 + 58, 66), (i * 9 + 49, 66)], one if i % 2 else mixed(one, "#000000", 0.12))
        c.line([(i * 44 - 110, 150), (i * 9 + 49, 66)], 1.1, "#ffffff", 0.9)
    c.box((0, 56), (192, 11), two)


def _kitchen(c: Canvas, one: str, two: str) -> None:
    for i in range(12):
        for k in range(7):
            c.box((i * 17 - 4 - 8 * (k % 2), 4 + k * 13), (15.4, 11.4), mixed(one, "#ffffff", 0.3 * c.random.random()), round_by=1)
    c.line([(0, 32), (192, 32)], 2, two)
    for i, x in enumerate((16, 36, 152, 174)):
        c.line([(x, 32), (x, 46)], 1.2, two)
        c.ellipse((x, 54), (8, 9) if i % 2 else (6, 10), mixed(two, "#d98b4a", 0.45))
    c.box((0, 100), (192, 50), mixed(two, "#000000", 0.1))


def _workshop(c: Canvas, one: str, two: str) -> None:
    for i in range(8):
        c.box((i * 25, 0), (24, 150), mixed(one, two, 0.22 * (i % 3)))
    for x in (14, 34, 154, 176):
        c.line([(x, 20), (x, 54)], 3, mixed(two, "#000000", 0.2))
        c.box((x - 6, 50), (12, 8), two, round_by=1.5)
    c.box((0, 108), (192, 8), two)


def _glassware(c: Canvas, one: str, two: str) -> None:
    c.box((0, 104), (192, 44), mixed(two, "#ffffff", 0.5))
    for x, tone in ((24, one), (52, "#e6a23c"), (146, two), (172, one)):
        c.polygon([(x - 3, 56), (x + 3, 56), (x + 4, 74), (x + 13, 104), (x - 13, 104), (x - 4, 74)], "#ffffff", 0.75)
        c.polygon([(x - 8, 90), (x + 8, 90), (x + 13, 104), (x - 13, 104)], tone)
    for i in range(4):
        c.arc((96, 44), 40 + i * 16, (200, 340), 0.8, two)


def _board(c: Canvas, one: str, two: str) -> None:
    c.box((10, 8), (172, 96), two, round_by=2)
    c.box((14, 12), (164, 88), one)
    for i, y in enumerate((26, 40, 54, 68)):
        for side in (24, 136):
            c.line([(side + k * 4, y + 2.4 * math.sin(k * 1.9 + i)) for k in range(9)], 1.2, "#ffffff", 0.85)
    c.arc((42, 86), 8, (0, 360), 1.2, "#ffffff")


def _monitors(c: Canvas, one: str, two: str) -> None:
    for x, y in ((6, 26), (130, 26)):
        c.glow((x + 28, y + 24), 52, one, 0.5)
        c.box((x, y), (56, 46), "#0d1420", round_by=2.5)
        for k in range(6):
            c.box((x + 5 + 4 * (k % 3), y + 6 + k * 6.4), (18 + 7 * ((k * 5) % 4), 2.6), one if k % 2 else two)
    c.box((0, 112), (192, 40), mixed(two, "#000000", 0.7))


def _field(c: Canvas, one: str, two: str) -> None:
    """Rows of a tilled field."""
    ridge(c, 74, 12, 3, mixed(two, "#ffffff", 0.35))
    c.box((0, 74), (192, 80), one)
    for i in range(-8, 9):
        c.polygon([(96 + i * 7, 74), (96 + i * 7 + 3, 74), (96 + i * 34 + 14, 150), (96 + i * 34, 150)], two)


def _balloons(c: Canvas, one: str, two: str) -> None:
    for x, y, r in c.scatter(16, 6, 90):
        tone = (one, two, "#ffffff", "#f4c542")[int(r * 4) % 4]
        c.line([(x, y + 8), (x + 2, y + 30)], 0.6, "#ffffff", 0.8)
        c.ellipse((x, y), (7.5, 9), tone, 0.95)
        c.ellipse((x - 2.4, y - 3), (1.8, 2.6), "#ffffff", 0.6)
    for x, y, r in c.scatter(40):
        c.box((x, y), (2.2, 2.2), (one, two, "#f4c542")[int(r * 3) % 3], 0.9)


def _fireworks(c: Canvas, one: str, two: str) -> None:
    for x, y, size, tone in ((36, 40, 30, one), (152, 30, 26, two), (170, 82, 16, "#ffe08a"), (20, 92, 14, two)):
        for i in range(18):
            a = i * math.pi / 9
            c.line([(x + 0.3 * size * math.cos(a), y + 0.3 * size * math.sin(a)), (x + size * math.cos(a), y + size * math.sin(a))], 1.1, tone, 0.9)
            c.ellipse((x + size * math.cos(a), y + size * math.sin(a)), (1.4, 1.4), "#ffffff")


def _lanterns(c: Canvas, one: str, two: str) -> None:
    for x, y, size in ((20, 34, 12), (48, 66, 8), (70, 22, 7), (132, 26, 8), (152, 62, 10), (176, 30, 13), (24, 92, 7)):
        c.line([(x, 0), (x, y)], 0.8, two)
        c.glow((x, y), size * 2.6, one, 0.6)
        c.ellipse((x, y), (size, size * 0.85), one)
        for k in (-0.5, 0, 0.5):
            c.line([(x + k * size, y - size * 0.7), (x + k * size, y + size * 0.7)], 0.7, two, 0.6)
        c.box((x - size * 0.4, y - size * 0.95), (size * 0.8, 2), two)
        c.line([(x, y + size * 0.8), (x, y + size * 1.6)], 1.4, two)


PLACES: dict[str, Callable[[Canvas, str, str], None]] = {
    "castle": _castle, "columns": _columns, "stage": _stage, "stadium": _stadium, "court": _court, "track": _track,
    "kitchen": _kitchen, "workshop": _workshop, "glassware": _glassware, "board": _board, "monitors": _monitors, "field": _field,
    "balloons": _balloons, "fireworks": _fireworks, "lanterns": _lanterns,
}  # fmt: skip
"""Places by name."""
