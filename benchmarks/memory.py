"""Memory that trainings take beyond the loaded model, measured in a process of their own, against what ``training/plan.py`` says.

    python benchmarks/random_sd15.py sd15-random.safetensors
    python benchmarks/memory.py sd15-random.safetensors [--resolution 256] [--rank 16] [--settings 1,1+save,2,2+save]

Each setting is a batch, with ``+save`` for gradient checkpointing. On a GPU it is torch's own peak of what was allocated, on a CPU private
resident memory (mapped files left out), looked at every 5 ms; both count from the loaded model on. Three steps, no previews, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "trainers")]

STEPS = 3
UNKNOWN = np.zeros(128, np.float32)


class Peak:
    """The most memory in use since ``begin``."""

    def __init__(self, device: str) -> None:
        self._device, self._most, self._base = device, 0, 0
        self._done = threading.Event()

    def begin(self) -> None:
        """Count from here on."""
        if self._device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
            self._base = torch.cuda.memory_allocated()
            return
        from pace import resident

        self._base = resident()

        def watch() -> None:
            while not self._done.is_set():
                self._most = max(self._most, resident())
                time.sleep(0.005)

        threading.Thread(target=watch, daemon=True).start()

    def end(self) -> int:
        """Bytes above the beginning, at the most."""
        self._done.set()
        if self._device == "cuda":
            import torch

            self._most = torch.cuda.max_memory_allocated()
        return self._most - self._base


def measure(checkpoint: Path, values: dict[str, Any]) -> dict[str, float]:
    """Train in this process and return what was measured and what was said, bytes."""
    from facechain_ext.config import TrainConfig
    from facechain_ext.faces.types import Dataset, PreparedPhoto
    from facechain_ext.hosts.standalone.host import StandaloneHost
    from facechain_ext.progress import CancelToken, silent
    from facechain_ext.training.loop import Watch, train
    from facechain_ext.training.plan import estimate

    config = TrainConfig.from_dict(values)
    side = config.resolution or 512
    image, mask = np.zeros((side, side, 3), np.uint8), np.full((side, side), 255, np.uint8)
    photos = tuple(PreparedPhoto(image + 40 * i, mask, "photo of sks person", str(i), UNKNOWN, 1.0) for i in range(2))
    dataset = Dataset("bench", "sks", "person", side, photos, "none", "none", UNKNOWN)
    host = StandaloneHost(checkpoint)
    device = host.parts().device.type
    said = estimate(host.footprint(), config, None).memory
    with tempfile.TemporaryDirectory() as folder, host.open_session(gradient_checkpointing=config.gradient_checkpointing) as session:
        peak = Peak(device)
        peak.begin()
        train(session, dataset, config, Path(folder), Watch(silent, CancelToken(), lambda _: None))
        return {"measured": peak.end(), "said": said}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--settings", default="1,1+save,2,2+save")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.checkpoint, json.loads(args.one))))
        return
    print("| batch | checkpointing | measured | said | said / measured |\n|---|---|---|---|---|")
    for setting in args.settings.split(","):
        batch, _, saving = setting.partition("+")
        values = {"steps": STEPS, "rank": args.rank, "alpha": float(args.rank), "batch": int(batch), "resolution": args.resolution}
        values |= {"gradient_checkpointing": bool(saving), "previews": 0, "save_every": 10000}
        command = [sys.executable, __file__, str(args.checkpoint), "--one", json.dumps(values)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        measured, said = found["measured"] / 2**30, found["said"] / 2**30
        print(f"| {batch} | {'on' if saving else 'off'} | {measured:.2f} GiB | {said:.2f} GiB | {said / measured:.2f} |", flush=True)


if __name__ == "__main__":
    main()
