"""Pictures inside HTML: as data, so that gradio makes no copies of them that outlive a person's deletion."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path

from PIL import Image as PilImage
from PIL import ImageOps

RAW_BYTES = 200_000
"""Files up to this size are shown as they are."""
MAX_PIXELS = 120_000_000


def inline(file: Path, side: int) -> str | None:
    """A ``data:`` address of the picture, at most ``side`` px, or None when it cannot be shown."""
    try:
        if file.suffix.lower() == ".png" and file.stat().st_size <= RAW_BYTES:
            with PilImage.open(file) as picture:
                if picture.format == "PNG" and max(picture.size) <= 2 * side and picture.mode == "RGB":
                    return _data(file.read_bytes(), "png")
        return _data(_jpeg(file, side), "jpeg")
    # Whatever cannot be decoded is simply not shown: its verdict says why.
    except (OSError, ValueError, SyntaxError, PilImage.DecompressionBombError):
        return None


def _jpeg(file: Path, side: int) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PilImage.DecompressionBombWarning)
        with PilImage.open(file) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError("too large to show")
            picture.draft("RGB", (side, side))
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((side, side))
            buffer = io.BytesIO()
            upright.convert("RGB").save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _data(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
