"""A sheet to draw on in the picture's own pixels, four times as fine while it is drawn."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, FINE = 192, 144, 4
Point = tuple[float, float]
Colour = tuple[int, int, int] | tuple[int, int, int, int]


def rgb(text: str, alpha: float = 1.0) -> Colour:
    """``#rrggbb`` as numbers, with its opacity 0..1 when not opaque."""
    red, green, blue = (int(text[i : i + 2], 16) for i in (1, 3, 5))
    return (red, green, blue) if alpha >= 1 else (red, green, blue, round(255 * alpha))


def mixed(one: str, other: str, share: float) -> str:
    """``one`` with ``share`` 0..1 of ``other``."""
    a, b = rgb(one), rgb(other)
    return "#" + "".join(f"{round(a[i] + (b[i] - a[i]) * share):02x}" for i in range(3))


def from_hue(hue: float, saturation: float, value: float) -> str:
    """A colour by hue, saturation and value, each 0..1."""
    return "#" + "".join(f"{round(255 * c):02x}" for c in colorsys.hsv_to_rgb(hue % 1, saturation, value))


class Canvas:
    """An RGB picture of 192 x 144 px; every drawing may be translucent."""

    def __init__(self, top: str, bottom: str, seed: int = 0) -> None:
        share = np.linspace(0, 1, HEIGHT * FINE)[:, None, None]
        rows = np.array(rgb(top)) * (1 - share) + np.array(rgb(bottom)) * share
        self.image = Image.fromarray(np.broadcast_to(rows, (HEIGHT * FINE, WIDTH * FINE, 3)).round().astype(np.uint8).copy(), "RGB")
        self.random = np.random.default_rng(seed)

    @property
    def _draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.image, "RGBA")

    def polygon(self, points: Sequence[Point], colour: str, alpha: float = 1.0) -> None:
        """A filled polygon."""
        self._draw.polygon([(x * FINE, y * FINE) for x, y in points], rgb(colour, alpha))

    def ellipse(self, centre: Point, radii: Point, colour: str, alpha: float = 1.0) -> None:
        """A filled ellipse."""
        (x, y), (rx, ry) = centre, radii
        self._draw.ellipse([(x - rx) * FINE, (y - ry) * FINE, (x + rx) * FINE, (y + ry) * FINE], rgb(colour, alpha))

    def box(self, corner: Point, size: Point, colour: str, alpha: float = 1.0, *, round_by: float = 0.0) -> None:
        """A filled rectangle by its upper left corner."""
        (x, y), (w, h) = corner, size
        self._draw.rounded_rectangle([x * FINE, y * FINE, (x + w) * FINE, (y + h) * FINE], round_by * FINE, rgb(colour, alpha))

    def line(self, points: Sequence[Point], width: float, colour: str, alpha: float = 1.0) -> None:
        """A line through ``points``."""
        self._draw.line([(x * FINE, y * FINE) for x, y in points], rgb(colour, alpha), round(width * FINE), joint="curve")

    def arc(self, centre: Point, radius: float, span: Point, width: float, colour: str) -> None:
        """Part of a circle, from and to in degrees, clockwise from the right."""
        x, y = centre
        box = [(x - radius) * FINE, (y - radius) * FINE, (x + radius) * FINE, (y + radius) * FINE]
        self._draw.arc(box, span[0], span[1], rgb(colour), round(width * FINE))

    def curve(self, points: Sequence[Point], colour: str, alpha: float = 1.0) -> None:
        """A filled shape through ``points``, rounded (Catmull-Rom)."""
        p = np.array([points[-1], *points, points[0], points[1]], float)
        t = np.linspace(0, 1, 12, endpoint=False)[:, None]
        pieces = []
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False):
            pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
        self.polygon([(float(x), float(y)) for x, y in np.vstack(pieces)], colour, alpha)

    def glow(self, centre: Point, radius: float, colour: str, strength: float = 0.6) -> None:
        """Light that fades out towards ``radius``."""
        ys, xs = np.mgrid[0 : HEIGHT * FINE, 0 : WIDTH * FINE].astype(np.float32) / FINE
        distance = np.hypot(xs - centre[0], ys - centre[1]) / radius
        mask = Image.fromarray((255 * strength * np.clip(1 - distance, 0, 1) ** 2).astype(np.uint8), "L")
        self.image.paste(Image.new("RGB", self.image.size, rgb(colour)), mask=mask)

    def vignette(self, colour: str, strength: float = 0.5) -> None:
        """Towards ``colour`` at the corners."""
        ys, xs = np.mgrid[0 : HEIGHT * FINE, 0 : WIDTH * FINE].astype(np.float32)
        distance = np.hypot(xs / (WIDTH * FINE) - 0.5, ys / (HEIGHT * FINE) - 0.5) / 0.72
        mask = Image.fromarray((255 * strength * np.clip(distance, 0, 1) ** 2.2).astype(np.uint8), "L")
        self.image.paste(Image.new("RGB", self.image.size, rgb(colour)), mask=mask)

    def blur(self, radius: float) -> None:
        """Soften all that was drawn so far."""
        self.image = self.image.filter(ImageFilter.GaussianBlur(radius * FINE))

    def scatter(self, count: int, top: float = 0.0, bottom: float = float(HEIGHT)) -> list[tuple[float, float, float]]:
        """``count`` places (x, y) spread evenly by chance, and a number 0..1 for each."""
        found: list[tuple[float, float, float]] = []
        for _ in range(count):
            # The best of a few: far from all others (Mitchell's best candidate).
            tries = np.column_stack([self.random.uniform(0, WIDTH, 8), self.random.uniform(top, bottom, 8)])
            gaps = [min((float(np.hypot(x - a, y - b)) for a, b, _ in found), default=1e9) for x, y in tries]
            x, y = tries[int(np.argmax(gaps))]
            found.append((float(x), float(y), float(self.random.random())))
        return found

    def finished(self) -> Image.Image:
        """The picture at its own size."""
        return self.image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
