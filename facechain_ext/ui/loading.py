"""What a page asks of the Blocks around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Loads: TypeAlias = "list[tuple[Callable[..., Any], list[Any]]]"
"""(handler without inputs, outputs) to run whenever the page loads; a standalone page binds them to ``Blocks.load``."""
