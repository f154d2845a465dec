"""The main job's commands on a full-size checkpoint: seconds and peak memory of each, as JSON.

python benchmarks/random_sd15.py sd15-random.safetensors
python benchmarks/full_size.py sd15-random.safetensors
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from facechain_ext.services.demo import SUBJECT, orl_photos


def measured(command: list[str]) -> dict[str, object]:
    """Run ``facechain`` with ``command``; its seconds, peak resident memory in GiB and JSON.

    Raises:
        RuntimeError: when it fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "facechain_ext", *command, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{command[2]} failed with status {status}")
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    peak = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return {"seconds": round(time.perf_counter() - began, 1), "peak_gib": round(peak / 2**30, 2), "result": json.loads(said)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--resolution", type=int, default=256)
    args = parser.parse_args()
    base, size = str(args.checkpoint.resolve()), f"{args.resolution}x{args.resolution}"
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "train.json"
        config.write_text(json.dumps({"previews": 0, "batch": 1}))
        head = ["--workspace", folder]
        photos = [str(p) for p in orl_photos(SUBJECT, range(1, 6))]
        report = {
            "prepare": measured([*head, "prepare", *photos, "--person", "Full"]),
            "train": measured(
                [
                    *head,
                    "train",
                    "--person",
                    "Full",
                    "--base",
                    base,
                    "--config",
                    str(config),
                    "--steps",
                    str(args.steps),
                    "--resolution",
                    str(args.resolution),
                ]
            ),
            "generate": measured(
                [*head, "generate", "--person", "Full", "--base", base, "--steps", "2", "--count", "1", "--size", size, "--seed", "1"]
            ),
        }
        report["lora_mb"] = round(next(Path(folder).rglob("loras/*.safetensors")).stat().st_size / 1e6, 1)
    for step in ("prepare", "train", "generate"):
        report[step].pop("result")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
