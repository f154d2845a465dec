"""One picture for a style: backdrop, bust, finish."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

from PIL import Image

from facechain_ext.styles.drawn.canvas import Canvas, from_hue, mixed
from facechain_ext.styles.drawn.clothes import Tones
from facechain_ext.styles.drawn.figure import draw
from facechain_ext.styles.drawn.finishes import FINISHES
from facechain_ext.styles.drawn.patterns import PATTERNS
from facechain_ext.styles.drawn.places import PLACES
from facechain_ext.styles.drawn.scenes import SCENES

LIMIT = 10_000
"""Bytes of one picture at most."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a thumbnail is made of; colours are ``#rrggbb``, several separated by spaces."""

    sky: str
    """Top and bottom of the backdrop."""
    scene: str
    """A name in ``SCENES``, ``PLACES`` or ``PATTERNS``."""
    accents: str
    """Two colours of the scene."""
    figure: str
    """Face, cloth, trim and hair."""
    wear: str = ""
    hat: str = ""
    finish: str = ""


def thumbnail(style_id: str, recipe: Recipe) -> Image.Image:
    """The picture (192 x 144 px, RGB), the same every time."""
    canvas = Canvas(*recipe.sky.split(), seed=zlib.crc32(style_id.encode()))
    (SCENES | PLACES | PATTERNS)[recipe.scene](canvas, *recipe.accents.split())
    if recipe.scene in PATTERNS:
        # Cloth behind the bust steps back, so that the bust stands out.
        top, bottom = recipe.sky.split()
        canvas.glow((96, 60), 96, mixed(top, bottom, 0.4), 0.72)
    canvas.glow((96, 50), 84, "#ffffff", 0.22)
    draw(canvas, Tones(*recipe.figure.split()), recipe.wear, recipe.hat)
    picture = canvas.finished()
    return FINISHES[recipe.finish](picture) if recipe.finish else picture


def drawn_for(style_id: str) -> Recipe:
    """A recipe for a style we have none for: quiet, in colours of its own by its id."""
    number = zlib.crc32(style_id.encode())
    hue = number % 360 / 360
    scenes = ("plain", "clouds", "lattice", "leaves", "steps", "stars")
    pale, deep = from_hue(hue, 0.22, 0.95), from_hue(hue + 0.06, 0.5, 0.6)
    figure = f"{from_hue(hue + 0.5, 0.14, 0.96)} {from_hue(hue + 0.45, 0.5, 0.5)} {from_hue(hue + 0.55, 0.3, 0.9)} {from_hue(hue, 0.4, 0.25)}"
    return Recipe(f"{pale} {from_hue(hue, 0.4, 0.8)}", scenes[number // 360 % len(scenes)], f"{from_hue(hue, 0.15, 1.0)} {deep}", figure, "shirt")


def encoded(picture: Image.Image) -> bytes:
    """``picture`` as WebP of at most ``LIMIT`` bytes."""
    data = b""
    for quality in (82, 70, 58, 45, 30):
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "WEBP", quality=quality, method=6)
        data = buffer.getvalue()
        if len(data) <= LIMIT:
            break
    return data
