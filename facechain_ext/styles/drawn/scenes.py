"""Backdrops: what lies behind the bust, each in the two accents of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable

from facechain_ext.styles.drawn.canvas import WIDTH, Canvas, mixed


def _plain(c: Canvas, one: str, two: str) -> None:
    c.glow((WIDTH / 2, 62), 120, one, 0.75)
    c.vignette(two, 0.55)


def _softbox(c: Canvas, one: str, two: str) -> None:
    c.glow((40, 34), 130, one, 0.9)
    c.polygon([(8, 10), (44, 20), (44, 66), (8, 72)], two)
    c.polygon([(12, 15), (41, 23), (41, 62), (12, 67)], "#ffffff", 0.92)
    c.line([(22, 72), (14, 144)], 2, two)
    c.vignette("#000000", 0.25)


def _side_light(c: Canvas, one: str, two: str) -> None:
    c.glow((0, 50), 120, one, 0.85)
    c.polygon([(0, 16), (0, 84), (96, 130), (96, 40)], one, 0.14)
    c.vignette(two, 0.7)


def _window(c: Canvas, one: str, two: str) -> None:
    c.polygon([(14, 8), (76, 8), (76, 104), (14, 104)], one)
    c.glow((45, 50), 90, "#ffffff", 0.7)
    for x in (14, 44, 74):
        c.box((x, 8), (3, 98), two)
    for y in (6, 54, 103):
        c.box((10, y), (71, 3), two)
    c.polygon([(76, 20), (76, 100), (192, 144), (192, 76)], "#ffffff", 0.10)


def _office(c: Canvas, one: str, two: str) -> None:
    for i in range(7):
        x = i * 30 - 6
        c.box((x, 12), (25, 62), one, 0.85)
        c.box((x, 74 - 8 * ((i * 5) % 4)), (25, 8 * ((i * 5) % 4)), two, 0.5)
    c.box((0, 86), (192, 5), two, 0.6)
    for x, y, r in c.scatter(8, 92, 140):
        c.ellipse((x, y), (5 + 6 * r, 5 + 6 * r), "#ffffff", 0.14)
    c.blur(2.2)


def _shelves(c: Canvas, one: str, two: str) -> None:
    tones = [one, two, mixed(one, two, 0.5), mixed(one, "#ffffff", 0.35), mixed(two, "#000000", 0.25)]
    for row in range(4):
        y = 4 + row * 37
        c.box((0, y + 31), (192, 4), mixed(two, "#000000", 0.5))
        x = 0.0
        while x < WIDTH:
            width, height = 4 + 6 * c.random.random(), 20 + 10 * c.random.random()
            c.box((x, y + 31 - height), (width, height), tones[int(c.random.integers(5))])
            x += width + 0.8
    c.blur(0.7)


def _skyline(c: Canvas, one: str, two: str) -> None:
    for layer, tone in enumerate((mixed(one, two, 0.45), two)):
        x = -6.0
        while x < WIDTH:
            width, top = 14 + 12 * c.random.random(), 30 + 24 * layer + 38 * c.random.random()
            c.box((x, top), (width, 150), tone)
            for wy in range(int(top) + 6, 140, 9):
                for wx in range(int(x) + 3, int(x + width) - 3, 6):
                    if c.random.random() < 0.45:
                        c.box((wx, wy), (2.4, 3.4), "#ffe3a0", 0.85)
            x += width + 3
    c.blur(0.5)


def _neon(c: Canvas, one: str, two: str) -> None:
    for x, width, tone in ((6, 16, one), (30, 10, two), (150, 12, one), (168, 18, two)):
        top = 8 + 18 * c.random.random()
        c.glow((x + width / 2, 60), 48, tone, 0.55)
        c.box((x, top), (width, 92), mixed(tone, "#000000", 0.65), round_by=3)
        for i in range(5):
            y = top + 9 + i * 17
            if i % 2:
                c.arc((x + width / 2, y + 4), width / 3, (0, 360), 1.8, tone)
            else:
                c.line([(x + 3, y), (x + width - 3, y), (x + width / 2, y + 8), (x + 3, y + 9)], 1.8, tone)
    for x, y, r in c.scatter(26, 112, 144):
        c.box((x, y), (10 + 16 * r, 1.2), one if r > 0.5 else two, 0.4)


def _rain(c: Canvas, one: str, two: str) -> None:
    for x, y, r in c.scatter(14, 10, 110):
        c.ellipse((x, y), (5 + 8 * r, 5 + 8 * r), two if r > 0.5 else "#ffd98a", 0.28)
    c.blur(1.6)
    for x, y, r in c.scatter(70):
        c.line([(x, y), (x - 3, y + 9 + 7 * r)], 0.9, one, 0.65)


def _lamps(c: Canvas, one: str, two: str) -> None:
    """A street in winter."""
    c.polygon([(0, 60), (60, 84), (60, 112), (0, 124)], two)
    c.polygon([(192, 52), (136, 82), (136, 112), (192, 124)], mixed(two, "#000000", 0.15))
    for x, y, size in ((22, 74, 6), (42, 82, 4), (170, 70, 6), (152, 80, 4), (8, 92, 6)):
        c.box((x, y), (size, size * 1.5), "#ffd27a")
    c.polygon([(0, 124), (70, 108), (122, 108), (192, 124), (192, 144), (0, 144)], "#f4f7fb")
    for x in (34, 158):
        c.line([(x, 124), (x, 44)], 2.2, "#2f3440")
        c.glow((x, 42), 30, "#ffdf9a", 0.9)
        c.ellipse((x, 42), (4, 5), "#fff3cf")
    _flakes(c, 46, one)


def _flakes(c: Canvas, count: int, colour: str) -> None:
    for x, y, r in c.scatter(count):
        c.ellipse((x, y), (0.9 + 1.6 * r, 0.9 + 1.6 * r), colour, 0.9)


def ridge(c: Canvas, base: float, height: float, peaks: int, colour: str, snow: str = "") -> None:
    """A row of mountains that stand on ``base``, with caps of ``snow`` where it is a colour."""
    step = WIDTH / peaks
    for i in range(-1, peaks + 1):
        x, top = (i + 0.5) * step + 10 * (c.random.random() - 0.5), base - height * (0.65 + 0.35 * c.random.random())
        c.polygon([(x - step, base + 4), (x, top), (x + step, base + 4)], colour)
        if snow:
            h = (base - top) * 0.3
            w = step * 0.3
            c.polygon([(x - w, top + h), (x, top), (x + w, top + h), (x + w * 0.4, top + h * 0.75), (x, top + h * 1.15), (x - w * 0.45, top + h * 0.72)], snow)
            c.polygon([(x, top), (x + step, base + 4), (x + step * 0.15, base + 4)], "#000000", 0.12)
    c.box((0, base), (192, 60), colour)


def _mountains(c: Canvas, one: str, two: str) -> None:
    c.ellipse((150, 28), (13, 13), "#fff6d8", 0.9)
    ridge(c, 100, 70, 4, mixed(one, two, 0.3), "#ffffff")
    for x, y, r in c.scatter(7, 84, 100):
        c.ellipse((x, y), (22 + 14 * r, 5), "#ffffff", 0.55)
    ridge(c, 132, 36, 5, two)


def _snow_peaks(c: Canvas, one: str, two: str) -> None:
    ridge(c, 108, 84, 3, two, "#ffffff")
    c.curve([(-20, 112), (60, 98), (130, 116), (212, 96), (212, 160), (-20, 160)], one)
    for k in (0, 5):
        c.line([(192, 104 + k), (120, 120 + k), (60, 144 + k)], 1.1, mixed(one, two, 0.5))
    _flakes(c, 22, "#ffffff")


def _sun(c: Canvas, one: str, two: str) -> None:
    """A low sun over a meadow."""
    c.glow((146, 62), 100, one, 0.9)
    c.ellipse((146, 62), (17, 17), "#fff4cf")
    ridge(c, 104, 18, 3, mixed(two, one, 0.45))
    c.box((0, 106), (192, 40), two)
    for x, y, r in c.scatter(90, 102, 140):
        c.line([(x, y + 8), (x + 5 * (r - 0.5), y - 4 - 5 * r)], 1, mixed(one, two, 0.35 + 0.4 * r))


def _sea(c: Canvas, one: str, two: str) -> None:
    c.ellipse((44, 40), (14, 14), "#fff6d8", 0.95)
    c.box((0, 84), (192, 60), two)
    for x, y, r in c.scatter(34, 88, 118):
        c.line([(x, y), (x + 8 + 10 * r, y)], 1.1, "#ffffff", 0.4)
    c.polygon([(150, 84), (160, 84), (156, 56)], "#ffffff", 0.95)
    c.polygon([(146, 85), (166, 85), (162, 90), (150, 90)], "#7b3f2c")
    c.curve([(-20, 128), (60, 119), (140, 128), (212, 118), (212, 160), (-20, 160)], one)


def _waves(c: Canvas, one: str, two: str) -> None:
    """Under and around water: bands of light."""
    for i in range(9):
        y = 10 + i * 16
        points = [(x, y + 4 * math.sin(x / 15 + i * 1.7)) for x in range(0, 200, 8)]
        c.line(points, 2.4, one if i % 2 else "#ffffff", 0.4)
    for x in (34, 158):
        for y in range(0, 150, 12):
            c.ellipse((x + (y % 24) / 6, y), (5, 4), two if (y // 12) % 2 else "#ffffff", 0.95)


def _forest(c: Canvas, one: str, two: str) -> None:
    c.glow((96, 46), 90, "#fff7cf", 0.7)
    for layer, tone in enumerate((mixed(one, "#ffffff", 0.25), mixed(one, two, 0.5), two)):
        for i in range(5 + layer):
            x = (i + 0.5) * WIDTH / (5 + layer) + 14 * (c.random.random() - 0.5)
            if layer == 2 and 52 < x < 140:
                continue
            width = 3 + 3 * layer
            c.polygon([(x - width, 150), (x - width * 0.6, -4), (x + width * 0.6, -4), (x + width, 150)], tone)
    for x, y, r in c.scatter(40, 0, 34):
        c.ellipse((x, y), (9 + 8 * r, 6 + 4 * r), one if r > 0.5 else two, 0.85)
    c.box((0, 128), (192, 20), mixed(two, "#000000", 0.15))


def _leaves(c: Canvas, one: str, two: str) -> None:
    for x, y, r in c.scatter(46):
        tone = (one, two, mixed(one, two, 0.5), mixed(one, "#ffe08a", 0.6))[int(r * 4) % 4]
        a, size = r * 6.3, 6 + 5 * r
        dx, dy = math.cos(a) * size, math.sin(a) * size
        c.curve([(x - dx, y - dy), (x - dy * 0.5, y + dx * 0.5), (x + dx, y + dy), (x + dy * 0.5, y - dx * 0.5)], tone)
        c.line([(x - dx, y - dy), (x + dx, y + dy)], 0.6, "#000000", 0.25)


def _blossom(c: Canvas, one: str, two: str) -> None:
    for start, end in (((-4, 20), (84, 34)), ((196, 8), (116, 40)), ((-4, 64), (48, 54)), ((196, 74), (150, 52))):
        c.line([start, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 - 9), end], 2.6, two)
    for x, y, r in c.scatter(38, 2, 92):
        for i in range(5):
            a = i * 1.2566 + r * 3
            c.ellipse((x + 3.4 * math.cos(a), y + 3.4 * math.sin(a)), (2.9, 2.9), mixed(one, "#ffffff", 0.5 * r))
        c.ellipse((x, y), (1.4, 1.4), "#e9a53b")
    for x, y, _ in c.scatter(12, 92, 140):
        c.ellipse((x, y), (2.4, 1.5), one)


def _flowers(c: Canvas, one: str, two: str) -> None:
    ridge(c, 86, 14, 3, mixed(two, "#ffffff", 0.3))
    for row in range(6):
        y, size = 88 + row * 10, 2 + row * 0.7
        for i in range(22 - 2 * row):
            x = (i + 0.5 * (row % 2)) * WIDTH / (21 - 2 * row)
            c.line([(x, y), (x, y + size * 2)], 0.8, two)
            c.ellipse((x, y), (size, size * 1.1), one if (i + row) % 3 else mixed(one, "#ffffff", 0.5))


def _desert(c: Canvas, one: str, two: str) -> None:
    c.ellipse((148, 36), (15, 15), "#fff2c6")
    for i, y in enumerate((84, 100, 118)):
        tone = mixed(one, two, i / 2.4)
        s = 1 if i % 2 else -1
        c.curve([(-20, y + 8), (50, y - 10 * s), (120, y + 9 * s), (212, y - 8 * s), (220, 170), (-20, 170)], tone)


def _waterfall(c: Canvas, one: str, two: str) -> None:
    c.polygon([(0, 0), (66, 0), (58, 118), (0, 126)], two)
    c.polygon([(192, 0), (126, 0), (134, 118), (192, 126)], mixed(two, "#000000", 0.2))
    for x in range(66, 128, 4):
        c.line([(x, 0), (x + 2 * c.random.random(), 116)], 3, one if x % 8 else "#ffffff", 0.85)
    for x, y, r in c.scatter(22, 104, 134):
        c.ellipse((x, y), (10 + 10 * r, 6), "#ffffff", 0.5)
    for x, y, r in c.scatter(14, 0, 110):
        if not 56 < x < 136:
            c.ellipse((x, y), (6 + 6 * r, 4 + 3 * r), "#3f7a4a", 0.9)


def _stars(c: Canvas, one: str, two: str) -> None:
    for x, y, r in c.scatter(70):
        c.ellipse((x, y), (0.4 + r, 0.4 + r), "#ffffff", 0.9)
    c.glow((164, 110), 84, one, 0.5)
    c.ellipse((160, 34), (22, 22), two)
    c.ellipse((167, 28), (20, 20), mixed(two, "#ffffff", 0.22), 0.5)
    c.arc((160, 34), 30, (160, 380), 1.6, mixed(one, "#ffffff", 0.4))


def _aurora(c: Canvas, one: str, two: str) -> None:
    for x, y, r in c.scatter(40, 0, 90):
        c.ellipse((x, y), (0.4 + 0.7 * r, 0.4 + 0.7 * r), "#ffffff", 0.9)
    for k, tone in enumerate((one, two, one)):
        for i in range(0, 200, 3):
            y = 34 + 16 * k + 13 * math.sin(i / 26 + k * 2)
            c.line([(i, y), (i + 3, y - 30 - 9 * math.sin(i / 9))], 3.4, tone, 0.20)
    c.blur(1.4)
    ridge(c, 124, 24, 6, "#101d2e")


SCENES: dict[str, Callable[[Canvas, str, str], None]] = {
    "plain": _plain, "softbox": _softbox, "side-light": _side_light, "window": _window, "office": _office, "shelves": _shelves,
    "skyline": _skyline, "neon": _neon, "rain": _rain, "lamps": _lamps, "mountains": _mountains, "snow-peaks": _snow_peaks,
    "sun": _sun, "sea": _sea, "waves": _waves, "forest": _forest, "leaves": _leaves, "blossom": _blossom, "flowers": _flowers,
    "desert": _desert, "waterfall": _waterfall, "stars": _stars, "aurora": _aurora,
}  # fmt: skip
"""Backdrops of light, weather and land by name; ``places`` has those that people built, ``patterns`` the woven ones."""
