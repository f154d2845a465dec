"""A training killed again and again, in forks of one process: ``python -m tests.unit.training.killed FOLDER SETTINGS.json``.

Prints the losses and a hash of the LoRA of the run that was never killed, then of the one that was. A moment to be killed at is ``step N`` (after
that step), ``half N`` (while the N-th state is being written), ``before N`` or ``after N`` (it takes the old one's place).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import peft  # noqa: F401 - once here, not again in every fork
import torch

from facechain_ext import workspace
from facechain_ext.config import TrainConfig
from facechain_ext.progress import CancelToken, Progress, Stage
from facechain_ext.training.loop import STATE_FILE, Watch, train
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession


class Scarce(SmallSession):
    """From step ``short`` on there is memory for one sample at a time only."""

    def __init__(self, short: int) -> None:
        super().__init__()
        self.short, self.step = short, 0

    def predict(self, noisy: Any, timesteps: Any, conditioning: Any) -> Any:
        if self.short and self.step >= self.short and len(noisy) > 1:
            raise MemoryError
        return super().predict(noisy, timesteps, conditioning)


def die() -> None:
    """As the kernel does it: nothing is tidied up."""
    os.kill(os.getpid(), signal.SIGKILL)


def armed(kind: str, number: int) -> None:
    """Kill this process while the ``number``-th state is stored."""
    real_write, real_replace, seen = Path.write_bytes, os.replace, [0]

    def write(self: Path, data: bytes) -> int:
        if not self.name.startswith(f".{Path(STATE_FILE).stem}-"):
            return real_write(self, data)
        seen[0] += 1
        if kind == "half" and seen[0] == number:
            real_write(self, data[: len(data) // 2])
            die()
        return real_write(self, data)

    def replace(source: Any, target: Any) -> None:
        now = Path(target).name == STATE_FILE and seen[0] == number
        if kind == "before" and now:
            die()
        real_replace(source, target)
        if kind == "after" and now:
            die()

    Path.write_bytes, workspace.os.replace = write, replace  # type: ignore[method-assign]


def learn(folder: Path, settings: dict[str, Any], moment: str) -> dict[str, Any]:
    """Train, or go on with what is there; ``moment`` is when to die, empty never."""
    kind, _, number = moment.partition(" ")
    if kind in ("half", "before", "after"):
        armed(kind, int(number))
    session = Scarce(settings.get("short", 0))

    def heard(event: Progress) -> None:
        if event.stage is Stage.TRAIN and event.step_loss is not None:
            session.step = event.step
            if kind == "step" and event.step == int(number):
                die()

    config = TrainConfig.from_dict(settings["config"])
    resume = (folder / STATE_FILE).exists()
    outcome = train(session, make_dataset(), config, folder, Watch(heard, CancelToken(), lambda _: None), resume=resume)
    mark = hashlib.sha256()
    for name, halves in sorted(outcome.adapter.items()):
        for key, tensor in sorted(halves.items()):
            mark.update(f"{name} {key}".encode() + tensor.numpy().tobytes())
    return {"losses": [p.loss for p in outcome.curve], "lora": mark.hexdigest()}


def main() -> None:
    """Command line."""
    torch.set_num_threads(1)
    folder, settings = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    for moment in settings["moments"]:
        child = os.fork()
        if child == 0:
            learn(folder / "killed", settings, moment)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"not killed at {moment}: {status}")
    print(json.dumps([learn(folder / "whole", settings, ""), learn(folder / "killed", settings, "")]))


if __name__ == "__main__":
    main()
