"""kohya's train_network.py, unchanged, one step at a time: ``kohya.py CHECKOUT ARGUMENTS…``. Runs in the peer's own environment."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pace import Pace


def main() -> None:
    """Command line."""
    checkout = Path(sys.argv[1]).resolve()
    sys.path[0] = str(checkout)
    os.chdir(checkout)
    import accelerate
    from library import train_util  # type: ignore[import-not-found]

    pace, begun = Pace(), False
    accumulate, load = accelerate.Accelerator.accumulate, train_util.load_target_model

    def loading(*args: Any, **kwargs: Any) -> Any:
        found = load(*args, **kwargs)
        pace.loaded()
        return found

    @contextlib.contextmanager
    def paced(self: Any, *models: Any) -> Iterator[None]:
        # What lies between two steps (fetching the batch, writing the log) belongs to the step before.
        nonlocal begun
        if begun:
            pace.stepped()
        else:
            begun = True
            pace.ready()
        with accumulate(self, *models):
            yield

    train_util.load_target_model = loading
    accelerate.Accelerator.accumulate = paced
    sys.argv = ["train_network.py", *sys.argv[2:]]
    runpy.run_path(str(checkout / "train_network.py"), run_name="__main__")


if __name__ == "__main__":
    main()
