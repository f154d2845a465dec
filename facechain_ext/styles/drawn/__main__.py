"""Draw the thumbnails of all our styles: ``python -m facechain_ext.styles.drawn [FOLDER]``."""

from __future__ import annotations

import sys
from pathlib import Path

from facechain_ext.styles.catalog import SHIPPED
from facechain_ext.styles.drawn.recipes import RECIPES
from facechain_ext.styles.drawn.thumbnail import encoded, thumbnail
from facechain_ext.workspace import write_bytes


def main() -> None:
    """Write one WebP file for each recipe."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED / "thumbnails"
    for name, recipe in RECIPES.items():
        write_bytes(folder / f"{name}.webp", encoded(thumbnail(name, recipe)), "a thumbnail")


if __name__ == "__main__":
    main()
