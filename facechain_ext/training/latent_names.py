"""Whose latents a stored file holds, and which to keep; no torch, so that preparing photos can ask without it."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from facechain_ext.faces.types import Image

SUFFIX = ".safetensors"


def photo_mark(image: Image) -> str:
    """What the files of the photo ``image`` (h, w, 3) begin with."""
    return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:16]


def forget_others(folder: Path, images: Iterable[Image]) -> int:
    """Delete the latents in ``folder`` of photos that are not among ``images``: they show the face as the photo did; return how many."""
    if not folder.is_dir():
        return 0
    wanted = {photo_mark(image) for image in images}
    gone = [file for file in folder.glob(f"*{SUFFIX}") if file.name.split("-")[0] not in wanted]
    for file in gone:
        with contextlib.suppress(FileNotFoundError):
            file.unlink()
    return len(gone)
