"""Which WebUI this is."""

from __future__ import annotations

import enum
import functools
from importlib.util import find_spec


class WebUi(enum.Enum):
    """The WebUIs this extension knows, by what it has to do differently in them."""

    A1111 = "A1111"
    """Also whatever is derived from it and keeps its model classes."""
    FORGE = "Forge"
    """Since August 2024: its own ``backend``, weights that are inference tensors."""
    REFORGE = "reForge"
    """Also Forge before that: ComfyUI's code in ``ldm_patched``."""


def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        # A parent that is no package, or that is half there.
        return False


@functools.cache
def detect() -> WebUi:
    """The WebUI we run in, by the packages on its path; only parents of ``backend`` and ``ldm_patched`` are imported for this."""
    if not _exists("modules_forge"):
        return WebUi.A1111
    if _exists("backend.memory_management"):
        return WebUi.FORGE
    if _exists("ldm_patched.modules.model_management"):
        return WebUi.REFORGE
    return WebUi.A1111
