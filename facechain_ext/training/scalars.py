"""A training's numbers for TensorBoard, where that is installed."""

from __future__ import annotations

import importlib.util
import logging
import shutil
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FOLDER = "tensorboard"
NAMES = {"loss": "training/loss", "learning_rate": "training/learning rate", "likeness": "previews/likeness", "variety": "previews/variety"}
"""What of a log line is a scalar, and its name there."""


class Scalars:
    """Writes event files into ``folder``; does nothing without the package, and never ends a training."""

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._folder, self._fresh = folder, fresh
        self._writer: Any = None
        self._possible = importlib.util.find_spec("tensorboard") is not None

    def add(self, step: int, values: dict[str, Any]) -> None:
        """The scalars among ``values`` at ``step``."""
        found = {name: values[key] for key, name in NAMES.items() if isinstance(values.get(key), (int, float))}
        if not found or not self._possible:
            return
        try:
            if self._writer is None:
                self._writer = self._opened(step)
            for name, value in found.items():
                self._writer.add_scalar(name, value, step)
        except Exception as error:  # a package of others, in whatever version: curves are not worth a training
            self._possible = False
            log.warning("TensorBoard's curves end here: %s", type(error).__name__)

    def close(self) -> None:
        """Write what is still in memory."""
        if self._writer is not None and self._possible:
            try:
                self._writer.close()
            except OSError as error:
                log.warning("TensorBoard's curves are cut off: %s", type(error).__name__)
        self._writer = None

    def _opened(self, step: int) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        if self._fresh:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._fresh = False
        # A resumed run goes back to its last saved state: what was drawn beyond it is hidden.
        return SummaryWriter(str(self._folder), purge_step=step)
