"""Grids and files (modules/images.py)."""

import math
from pathlib import Path

from PIL import Image, PngImagePlugin


def image_grid(pictures, batch_size):
    rows = max(1, round(math.sqrt(len(pictures))))
    columns, (width, height) = math.ceil(len(pictures) / rows), pictures[0].size
    grid = Image.new("RGB", (columns * width, rows * height))
    for i, picture in enumerate(pictures):
        grid.paste(picture, (i % columns * width, i // columns * height))
    return grid


def save_image(image, path, basename, seed=None, prompt=None, extension="png", info=None):
    Path(path).mkdir(parents=True, exist_ok=True)
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", info or "")
    file = Path(path) / f"{basename}{len(list(Path(path).iterdir())):05d}-{seed}.{extension}"
    image.save(file, pnginfo=text)
    return str(file), None
