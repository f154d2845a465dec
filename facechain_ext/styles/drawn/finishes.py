"""What a look does to the whole picture: film, print, pencil, paint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from facechain_ext.styles.drawn.canvas import HEIGHT, WIDTH

Picture = Image.Image


def _noise(picture: Picture, strength: float, seed: int = 7) -> Picture:
    grain = np.random.default_rng(seed).normal(0, strength, (picture.height, picture.width, 1))
    return Image.fromarray(np.clip(np.asarray(picture, np.float32) + grain, 0, 255).astype(np.uint8), "RGB")


def _grain(picture: Picture) -> Picture:
    return _noise(picture, 9)


def _duotone(picture: Picture, dark: str, light: str) -> Picture:
    return ImageOps.colorize(ImageOps.autocontrast(picture.convert("L"), cutoff=1), dark, light)


def _mono(picture: Picture) -> Picture:
    return _noise(_duotone(picture, "#0b0b0c", "#f4f4f2"), 7)


def _sepia(picture: Picture) -> Picture:
    """A print of about 1900 in an oval."""
    toned = _noise(_duotone(picture, "#2d1c10", "#efdcb8"), 7)
    mask = Image.new("L", (WIDTH * 2, HEIGHT * 2), 0)
    ImageDraw.Draw(mask).ellipse([WIDTH * 0.30, HEIGHT * 0.04, WIDTH * 1.70, HEIGHT * 1.96], fill=255)
    mask = mask.resize((WIDTH, HEIGHT)).filter(ImageFilter.GaussianBlur(3))
    return Image.composite(toned, Image.new("RGB", toned.size, "#e8d6b4"), mask)


def _tintype(picture: Picture) -> Picture:
    plate = _noise(_duotone(picture, "#14130f", "#b9b3a2"), 10, 3)
    draw = ImageDraw.Draw(plate)
    rng = np.random.default_rng(5)
    for _ in range(14):
        x, y = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        draw.line([(x, y), (x + rng.uniform(-9, 9), y + rng.uniform(-9, 9))], fill="#d8d2c0", width=1)
    return _bordered(plate, "#0c0b09", 5)


def _bordered(picture: Picture, colour: str, width: int) -> Picture:
    inner = picture.resize((WIDTH - 2 * width, HEIGHT - 2 * width), Image.Resampling.LANCZOS)
    sheet = Image.new("RGB", (WIDTH, HEIGHT), colour)
    sheet.paste(inner, (width, width))
    return sheet


def _film(picture: Picture) -> Picture:
    """Between the perforations of a 35 mm film."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "#15120f")
    sheet.paste(_grain(picture).resize((WIDTH, HEIGHT - 32), Image.Resampling.LANCZOS), (0, 16))
    draw = ImageDraw.Draw(sheet)
    for x in range(5, WIDTH, 16):
        for y in (4, HEIGHT - 12):
            draw.rounded_rectangle([x, y, x + 8, y + 7], 2, fill="#d9d2c4")
    return sheet


def _instant(picture: Picture) -> Picture:
    """An instant picture with its wide lower edge."""
    faded = Image.blend(_grain(picture), Image.new("RGB", picture.size, "#e7d3a8"), 0.18)
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "#8d8577")
    card = Image.new("RGB", (124, 138), "#f7f3ea")
    card.paste(ImageOps.fit(faded, (110, 106), Image.Resampling.LANCZOS), (7, 7))
    sheet.paste(card, (34, 3))
    return sheet


def _halftone(picture: Picture) -> Picture:
    """Flat inks, dots in the shades, black lines."""
    flat = _flat(picture, 16)
    grey = np.asarray(picture.convert("L").resize((WIDTH // 4, HEIGHT // 4), Image.Resampling.BOX), np.float32) / 255
    dots = Image.new("L", (WIDTH * 4, HEIGHT * 4), 0)
    draw = ImageDraw.Draw(dots)
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            radius = 7.2 * max(0.0, 0.85 - grey[y, x])
            cx, cy = x * 16 + 8, y * 16 + 8 + 8 * (x % 2)
            draw.ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=170)
    inked = Image.composite(Image.new("RGB", picture.size, "#1a1a2a"), flat, dots.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))
    return ImageChops.multiply(inked, _contours(picture).convert("RGB"))


def _flat(picture: Picture, colours: int) -> Picture:
    """The picture in a few flat colours."""
    return picture.filter(ImageFilter.MedianFilter(5)).quantize(colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).convert("RGB")


def _outlined(picture: Picture) -> Picture:
    """Flat colours within dark lines."""
    return ImageChops.multiply(_flat(picture, 24), _contours(picture).convert("RGB"))


def _contours(picture: Picture) -> Picture:
    """Even dark lines on white."""
    return _edges(picture.filter(ImageFilter.MedianFilter(3)), 2.4).point([max(0, min(255, (v - 90) * 3)) for v in range(256)])


def _edges(picture: Picture, strength: float) -> Picture:
    """Dark lines on white."""
    grey = picture.convert("L").filter(ImageFilter.GaussianBlur(0.8))
    return ImageOps.invert(grey.filter(ImageFilter.FIND_EDGES).point([min(255, int(v * strength)) for v in range(256)])).crop((1, 1, WIDTH - 1, HEIGHT - 1)).resize((WIDTH, HEIGHT))


def _hatched(picture: Picture, paper: str, ink: str, steps: tuple[tuple[float, int], ...]) -> Picture:
    """Strokes the denser the darker; each step is (darker than, direction)."""
    grey = np.asarray(ImageOps.autocontrast(picture.convert("L").filter(ImageFilter.GaussianBlur(1))), np.float32) / 255
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH]
    lines = np.ones((HEIGHT, WIDTH), np.float32)
    for below, slope in steps:
        wave = 0.5 + 0.5 * np.sin((xs * 0.9 + ys * slope * 0.9) * 1.5)
        lines = np.where((grey < below) & (wave > 0.45), lines * 0.55, lines)
    lines *= np.asarray(_edges(picture, 3.0), np.float32) / 255
    return ImageOps.colorize(Image.fromarray((255 * np.clip(lines, 0, 1)).astype(np.uint8), "L"), ink, paper)


def _pencil(picture: Picture) -> Picture:
    return _noise(_hatched(picture, "#fbfaf6", "#3a3a3f", ((0.75, 1), (0.45, -1), (0.22, 0))), 3)


def _ink(picture: Picture) -> Picture:
    return _hatched(picture, "#f6f1e4", "#101014", ((0.5, 1), (0.3, -1)))


def _charcoal(picture: Picture) -> Picture:
    soft = _duotone(picture.filter(ImageFilter.GaussianBlur(0.7)), "#1b1a19", "#efece4")
    return _noise(Image.blend(soft, _hatched(picture, "#f2efe8", "#141414", ((0.6, 1), (0.35, -1))), 0.5), 13)


def _strokes(picture: Picture, count: int = 2600, size: float = 4.5) -> Picture:
    """Brush strokes along the shapes."""
    base = picture.filter(ImageFilter.GaussianBlur(3)).resize((WIDTH * 2, HEIGHT * 2))
    grey = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(2)), np.float32)
    down, right = np.asarray(np.gradient(grey, axis=0)), np.asarray(np.gradient(grey, axis=1))
    draw, pixels = ImageDraw.Draw(base), np.asarray(picture)
    rng = np.random.default_rng(11)
    for _ in range(count):
        x, y = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
        angle = np.arctan2(right[y, x], -down[y, x]) + rng.normal(0, 0.25)
        length = size * (0.6 + rng.random())
        tone = tuple(int(np.clip(v + rng.normal(0, 9), 0, 255)) for v in pixels[y, x])
        dx, dy = np.cos(angle) * length, np.sin(angle) * length
        draw.line([(2 * x - dx, 2 * y - dy), (2 * x + dx, 2 * y + dy)], fill=tone, width=4)
    return base.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _oil(picture: Picture) -> Picture:
    return _strokes(picture)


def _dabs(picture: Picture) -> Picture:
    """Short dabs of pure colour."""
    return _strokes(ImageOps.autocontrast(picture, cutoff=2), 5200, 2.2)


def _swirls(picture: Picture) -> Picture:
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    shifted = np.asarray(picture)[
        np.clip(ys + 3 * np.sin(xs / 7), 0, HEIGHT - 1).astype(int), np.clip(xs + 3 * np.cos(ys / 7), 0, WIDTH - 1).astype(int)
    ]
    return _strokes(Image.fromarray(shifted, "RGB"), 3600, 5.5)


def _watercolour(picture: Picture) -> Picture:
    """Washes with darker rims, paper at the edges."""
    wet = _flat(picture, 28).filter(ImageFilter.GaussianBlur(0.8))
    light = Image.blend(wet, Image.new("RGB", wet.size, "#ffffff"), 0.1)
    rng = np.random.default_rng(2)
    blots = Image.fromarray((rng.random((14, 19)) * 255).astype(np.uint8), "L").resize(light.size, Image.Resampling.BICUBIC)
    light = Image.composite(light, Image.blend(light, Image.new("RGB", light.size, "#ffffff"), 0.22), blots)
    light = ImageChops.multiply(light, _edges(picture, 1.1).convert("RGB"))
    mask = Image.new("L", light.size, 0)
    edge = [(5 + rng.uniform(0, 9), y) for y in range(7, HEIGHT - 4, 5)] + [(WIDTH - 5 - rng.uniform(0, 9), y) for y in range(HEIGHT - 7, 4, -5)]
    ImageDraw.Draw(mask).polygon(edge, fill=255)
    return Image.composite(light, Image.new("RGB", light.size, "#fbf9f3"), mask.filter(ImageFilter.GaussianBlur(1.2)))


def _pastel(picture: Picture) -> Picture:
    return _noise(Image.blend(_strokes(picture, 2000, 6), Image.new("RGB", picture.size, "#fff4e8"), 0.22), 12)


def _stencil(picture: Picture) -> Picture:
    """Black and white only, the bridges of a stencil as lines."""
    grey = np.asarray(picture.convert("L").filter(ImageFilter.MedianFilter(5)))
    ink = (grey > 150) & (np.asarray(_contours(picture).filter(ImageFilter.MinFilter(3))) > 100)
    return Image.fromarray(np.where(ink, 245, 18).astype(np.uint8), "L").convert("RGB").filter(ImageFilter.SMOOTH)


def _poster(picture: Picture) -> Picture:
    """A screen print in few flat inks."""
    quantised = picture.filter(ImageFilter.MedianFilter(5)).quantize(9, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return _noise(ImageOps.autocontrast(quantised.convert("RGB"), cutoff=1), 3)


def _linocut(picture: Picture) -> Picture:
    """Carved out of one block: light is paper, shade is cut in lines."""
    grey = np.asarray(ImageOps.autocontrast(picture.convert("L").filter(ImageFilter.GaussianBlur(0.8)), cutoff=3), np.float32) / 255
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH]
    wave = np.sin(ys * 1.7 + 1.6 * np.sin(xs / 11))
    cut = (grey + 0.30 * wave > 0.52) & (np.asarray(_edges(picture, 3.5)) > 110)
    block = Image.fromarray((255 * cut).astype(np.uint8), "L").resize((WIDTH * 3, HEIGHT * 3), Image.Resampling.BICUBIC)
    sharp = block.filter(ImageFilter.GaussianBlur(1.4)).point([255 if v > 128 else 0 for v in range(256)]).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    return ImageOps.colorize(sharp, "#17233a", "#f3ead8")


def _pixels(picture: Picture) -> Picture:
    small = picture.resize((WIDTH // 4, HEIGHT // 4), Image.Resampling.BOX).quantize(14, dither=Image.Dither.NONE).convert("RGB")
    return small.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)


def _mosaic(picture: Picture) -> Picture:
    small = np.asarray(ImageOps.autocontrast(picture, cutoff=2).resize((WIDTH // 4, HEIGHT // 4), Image.Resampling.BOX), np.float32)
    small = np.clip(small + np.random.default_rng(4).normal(0, 9, (*small.shape[:2], 1)), 0, 255)
    big = Image.fromarray(small.astype(np.uint8), "RGB").resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(big)
    for x in range(0, WIDTH, 4):
        draw.line([(x, 0), (x, HEIGHT)], fill="#c9bfa9")
    for y in range(0, HEIGHT, 4):
        draw.line([(0, y), (WIDTH, y)], fill="#c9bfa9")
    return big


def _glass(picture: Picture) -> Picture:
    """Panes of one colour between leads, which follow the figure too."""
    rng, count = np.random.default_rng(9), 70
    seeds = np.column_stack([rng.uniform(0, WIDTH, count), rng.uniform(0, HEIGHT, count)])
    ys, xs = np.mgrid[0:HEIGHT, 0:WIDTH]
    distance = (xs[..., None] - seeds[:, 0]) ** 2 + (ys[..., None] - seeds[:, 1]) ** 2
    nearest, of = np.partition(distance, 1, axis=-1), np.argmin(distance, axis=-1)
    flat = _flat(ImageOps.autocontrast(picture, cutoff=2), 14)
    panes = np.asarray(flat, np.float32) * rng.uniform(0.8, 1.15, count)[of][..., None]
    lead = (np.sqrt(nearest[..., 1]) - np.sqrt(nearest[..., 0]) < 1.2) | (np.asarray(_contours(picture).filter(ImageFilter.MinFilter(3))) < 120)
    return Image.fromarray(np.where(lead[..., None], 22, np.clip(panes, 0, 255)).astype(np.uint8), "RGB")


def _low_poly(picture: Picture) -> Picture:
    """Triangles, each in the colour of its middle."""
    pixels = np.asarray(picture.filter(ImageFilter.MedianFilter(5)))
    sheet = Image.new("RGB", (WIDTH * 2, HEIGHT * 2))
    draw = ImageDraw.Draw(sheet)
    rng, step = np.random.default_rng(6), 8
    rows, columns = HEIGHT // step + 3, WIDTH // step + 3
    places = np.stack(np.meshgrid(np.arange(columns) - 1.0, np.arange(rows) - 1.0), -1) * step + rng.uniform(-2.6, 2.6, (rows, columns, 2))
    for k in range(rows - 1):
        for i in range(columns - 1):
            a, b, c, d = places[k, i], places[k, i + 1], places[k + 1, i], places[k + 1, i + 1]
            for corners in ((a, b, c), (b, c, d)):
                x, y = np.clip(np.mean(corners, axis=0), 0, (WIDTH - 1, HEIGHT - 1)).astype(int)
                tone = np.clip(pixels[y, x] * (1 + rng.uniform(-0.05, 0.05)), 0, 255).astype(int)
                draw.polygon([(2 * p[0], 2 * p[1]) for p in corners], fill=(int(tone[0]), int(tone[1]), int(tone[2])))
    return sheet.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


FINISHES: dict[str, Callable[[Picture], Picture]] = {
    "grain": _grain, "mono": _mono, "sepia": _sepia, "tintype": _tintype, "film": _film, "instant": _instant, "halftone": _halftone,
    "outlined": _outlined, "pencil": _pencil, "ink": _ink, "charcoal": _charcoal, "oil": _oil, "dabs": _dabs, "swirls": _swirls,
    "watercolour": _watercolour, "pastel": _pastel, "stencil": _stencil, "poster": _poster, "linocut": _linocut, "pixels": _pixels,
    "mosaic": _mosaic, "glass": _glass, "low-poly": _low_poly,
}  # fmt: skip
"""Finishes by name."""
