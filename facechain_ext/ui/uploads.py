"""Uploaded photos are personal data: gradio's temporary copies live only as long as the check needs them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def upload_folder() -> Path:
    """Where gradio keeps uploads."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio").resolve()


def only_uploads(files: Sequence[Path]) -> list[Path]:
    """Those of ``files`` that lie where gradio keeps uploads; a made-up request cannot name any other file of this machine."""
    root = upload_folder()
    return [file for file in files if root in file.resolve().parents]


def discard(files: Sequence[Path]) -> int:
    """Delete those of ``files`` that are gradio's copies, and the folders they leave empty; return how many."""
    root, count = upload_folder(), 0
    for file in files:
        resolved = file.resolve()
        # Anything else is the user's own file.
        if root not in resolved.parents:
            continue
        with contextlib.suppress(FileNotFoundError):
            resolved.unlink()
            count += 1
        for folder in resolved.parents:
            if folder == root:
                break
            try:
                folder.rmdir()
            except OSError:  # another upload lies there
                break
    return count
