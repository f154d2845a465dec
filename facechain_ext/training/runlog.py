"""What happened in a training, one JSON object a line; no photos, embeddings, captions or paths."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from facechain_ext.training.scalars import FOLDER, Scalars

LOG_FILE = "run.jsonl"


class RunLog:
    """Appends to ``file``, and to TensorBoard's beside it; a disk that is full or gone never ends a training."""

    def __init__(self, file: Path, *, fresh: bool) -> None:
        self._file, self._fresh = file, fresh
        self._scalars = Scalars(file.parent / FOLDER, fresh=fresh)

    def close(self) -> None:
        """Nothing more comes."""
        self._scalars.close()

    def write(self, kind: str, **values: Any) -> None:
        """One line: ``kind`` ("start", "step", "preview", "event", "end"), the time (UNIX, s) and ``values``; no number that is none."""
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        if kind in ("step", "preview"):
            self._scalars.add(values["step"], plain)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            # An earlier run's log stays until this one has something to say.
            with self._file.open("w" if self._fresh else "a", encoding="utf-8") as target:
                self._fresh = False
                target.write(json.dumps({"kind": kind, "time": round(time.time(), 3), **plain}) + "\n")
        except OSError:
            pass


def read_log(file: Path) -> list[dict[str, Any]]:
    """The lines of ``file``, a last one that was cut off left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found
