"""Woven and printed backdrops for dress and print looks: one repeat each, over the whole picture."""

from __future__ import annotations

import math
from collections.abc import Callable

from facechain_ext.styles.drawn.canvas import HEIGHT, WIDTH, Canvas, mixed


def _scales(c: Canvas, one: str, two: str) -> None:
    """Overlapping waves."""
    for row in range(-1, 27):
        for i in range(-1, 10):
            x, y = i * 24 + 12 * (row % 2), row * 6 + 6
            for radius, tone in ((12, one), (8.6, two), (5.4, one), (2.2, two)):
                c.ellipse((x, y), (radius, radius), tone)


def _tartan(c: Canvas, one: str, two: str) -> None:
    for at, width, tone in ((0, 14, two), (20, 3, one), (28, 3, one)):
        for k in range(-1, 6):
            c.box((k * 40 + at, 0), (width, HEIGHT), tone, 0.55)
            c.box((0, k * 40 + at), (WIDTH, width), tone, 0.55)


def _blocks(c: Canvas, one: str, two: str) -> None:
    """Strips of woven blocks."""
    for i in range(9):
        for k in range(8):
            x, y = i * 23 - 4, k * 20
            tone = (one, two, "#1f1d1a", mixed(one, two, 0.5))[(i * 3 + k * 5 + (i * k) % 3) % 4]
            c.box((x, y), (22, 19), tone)
            if (i + k) % 2:
                for z in range(3):
                    c.box((x, y + 2 + z * 6.4), (22, 2.6), two if tone == one else one)
            else:
                c.box((x + 6, y + 5), (10, 9), two if tone == one else one)


def _zigzag(c: Canvas, one: str, two: str) -> None:
    for row in range(12):
        tone = (one, two, mixed(one, "#ffffff", 0.6))[row % 3]
        points = [(x, row * 13 + (6 if (x // 12) % 2 else -2)) for x in range(-12, 216, 12)]
        c.line(points, 4.2, tone)


def _stripes(c: Canvas, one: str, two: str) -> None:
    widths, tones = (10, 3, 6, 3, 14, 3), (one, "#ffffff", two, "#ffffff", mixed(one, two, 0.5), "#1f1d1a")
    y, i = 0.0, 0
    while y < HEIGHT:
        c.box((0, y), (WIDTH, widths[i % 6]), tones[i % 6], 0.92)
        y, i = y + widths[i % 6], i + 1


def _tiles(c: Canvas, one: str, two: str) -> None:
    """Eight-pointed stars."""
    for row in range(-1, 6):
        for i in range(-1, 8):
            x, y = i * 28 + 14, row * 28 + 14
            for turn in (0, math.pi / 4):
                corners = [(x + 12 * math.cos(turn + k * math.pi / 2), y + 12 * math.sin(turn + k * math.pi / 2)) for k in range(4)]
                c.polygon(corners, one)
            c.ellipse((x, y), (4.6, 4.6), two)
            c.polygon([(x + 14, y + 9), (x + 19, y + 14), (x + 14, y + 19), (x + 9, y + 14)], two)


def _rosettes(c: Canvas, one: str, two: str) -> None:
    """Embroidered flowers."""
    for row in range(-1, 6):
        for i in range(-1, 7):
            x, y = i * 34 + 17 * (row % 2), row * 29 + 14
            for k in range(8):
                a = k * math.pi / 4
                c.ellipse((x + 6 * math.cos(a), y + 6 * math.sin(a)), (3, 3), one)
            c.ellipse((x, y), (3, 3), two)
            c.line([(x + 11, y + 10), (x + 17, y + 15), (x + 23, y + 10)], 1.2, two)


def _drops(c: Canvas, one: str, two: str) -> None:
    """Paisley."""
    for row in range(-1, 6):
        for i in range(-1, 8):
            x, y = i * 30 + 15 * (row % 2), row * 30 + 12
            c.curve([(x, y - 10), (x + 8, y), (x + 3, y + 9), (x - 6, y + 7), (x - 7, y - 1), (x - 1, y - 4)], one)
            c.ellipse((x - 0.5, y + 2.5), (3, 3.4), two)


def _lattice(c: Canvas, one: str, two: str) -> None:
    for k in range(-9, 16):
        c.line([(k * 18, 0), (k * 18 + 144, 144)], 1.6, one)
        c.line([(k * 18, 144), (k * 18 + 144, 0)], 1.6, one)
    for row in range(10):
        for i in range(12):
            c.ellipse((i * 18 + 9 * (row % 2), row * 18 + 9 * ((row + 1) % 2)), (2, 2), two)


def _clouds(c: Canvas, one: str, two: str) -> None:
    for x, y, r in c.scatter(17):
        for k, (dx, radius) in enumerate(((-8, 5), (0, 7.4), (8, 5))):
            c.ellipse((x + dx, y), (radius, radius), one)
            c.arc((x + dx, y), radius * 0.62, (180, 420 if k == 1 else 360), 1.1, two)
        c.box((x - 14, y + 3), (28, 4), one, round_by=2)
        if r > 0.6:
            c.line([(x + 14, y + 5), (x + 26, y + 5)], 1.4, two)


def _dots(c: Canvas, one: str, two: str) -> None:
    """Paintings in dots: rings around centres."""
    for x, y, r in c.scatter(9):
        for ring in range(1, 5):
            for k in range(6 * ring):
                a = k * 2 * math.pi / (6 * ring)
                c.ellipse((x + ring * 5 * math.cos(a), y + ring * 5 * math.sin(a)), (1.5, 1.5), one if ring % 2 else two)
        c.ellipse((x, y), (2.6, 2.6), two if r > 0.5 else one)


def _steps(c: Canvas, one: str, two: str) -> None:
    """Stepped diamonds."""
    for row in range(-1, 5):
        for i in range(-1, 6):
            x, y = i * 42 + 21 * (row % 2), row * 36 + 14
            for k, width in enumerate((6, 14, 22, 30, 22, 14, 6)):
                c.box((x - width / 2, y - 14 + k * 4), (width, 4), one)
            for k, width in enumerate((4, 12, 4)):
                c.box((x - width / 2, y - 6 + k * 4), (width, 4), two)


def _burst(c: Canvas, one: str, two: str) -> None:
    """Rays of a comic."""
    for k in range(24):
        a, b = k * math.pi / 12, (k + 0.5) * math.pi / 12
        c.polygon([(96, 60), (96 + 220 * math.cos(a), 60 + 220 * math.sin(a)), (96 + 220 * math.cos(b), 60 + 220 * math.sin(b))], one)
    for i in range(26):
        for k in range(20):
            reach = math.hypot(i * 8 - 96, k * 8 - 72) / 120
            c.ellipse((i * 8 + 4 * (k % 2), k * 8), (2.9 * reach, 2.9 * reach), two, 0.75)


def _deco(c: Canvas, one: str, two: str) -> None:
    """Fans of the 1920s."""
    for row in range(-1, 5):
        for i in range(-1, 6):
            x, y = i * 44 + 22 * (row % 2), row * 36 + 36
            for k in range(9):
                a = math.pi + k * math.pi / 8
                c.line([(x, y), (x + 21 * math.cos(a), y + 21 * math.sin(a))], 1, one)
            for radius in (21, 14):
                c.arc((x, y), radius, (180, 360), 1.6, two)


def _grid(c: Canvas, one: str, two: str) -> None:
    """A horizon of lines."""
    c.ellipse((96, 60), (44, 44), two)
    for k in range(5):
        c.box((40, 66 + k * 8), (112, 1.6 + k * 0.9), "#23104a")
    c.box((0, 104), (192, 60), "#23104a")
    for k in range(-12, 13):
        c.line([(96 + k * 10, 104), (96 + k * 46, 150)], 1, one)
    for y in (104, 109, 116, 126, 139):
        c.line([(0, y), (192, y)], 1, one)


def _cogs(c: Canvas, one: str, two: str) -> None:
    for x, y, size, tone in ((30, 36, 26, one), (74, 14, 14, two), (164, 44, 30, two), (128, 8, 12, one), (18, 92, 18, two), (178, 100, 16, one)):
        for k in range(12):
            a = k * math.pi / 6
            c.line([(x, y), (x + size * math.cos(a), y + size * math.sin(a))], size / 4.6, tone)
        c.ellipse((x, y), (size * 0.82, size * 0.82), tone)
        c.ellipse((x, y), (size * 0.5, size * 0.5), mixed(tone, "#000000", 0.45))
        c.ellipse((x, y), (size * 0.2, size * 0.2), tone)


def _bricks(c: Canvas, one: str, two: str) -> None:
    for row in range(13):
        for i in range(9):
            tone = mixed(one, two, float(c.random.random()) * 0.5)
            c.box((i * 25 - 12 * (row % 2), row * 12), (23.4, 10.4), tone, round_by=0.8)
    for x in (18, 172):
        for k in range(7):
            c.curve([(x, 120), (x - 24 + 8 * k, 62 + 5 * abs(3 - k)), (x + 3, 118)], "#4f9a5f" if k % 2 else "#357a4a")
        c.polygon([(x - 9, 116), (x + 9, 116), (x + 7, 150), (x - 7, 150)], "#e8dcc8")


PATTERNS: dict[str, Callable[[Canvas, str, str], None]] = {
    "scales": _scales, "tartan": _tartan, "blocks": _blocks, "zigzag": _zigzag, "stripes": _stripes, "tiles": _tiles,
    "rosettes": _rosettes, "drops": _drops, "lattice": _lattice, "clouds": _clouds, "dots": _dots, "steps": _steps, "burst": _burst,
    "deco": _deco, "grid": _grid, "cogs": _cogs, "bricks": _bricks,
}  # fmt: skip
"""Patterns by name."""
