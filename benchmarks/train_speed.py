"""Trainers side by side, step by step in turns (A, B, C, A, B, C, ...) on one thread: CPU seconds, time to the first step, memory.

    python benchmarks/random_sd15.py sd15-random.safetensors
    python benchmarks/train_speed.py sd15-random.safetensors [--kohya CHECKOUT --kohya-python PYTHON] [--steps 8] [--batch 1]

Every trainer gets the same checkpoint, pictures, captions, rank, 192 targets, batch and resolution, float32, AdamW. ``diffusers`` is the usual loop
around diffusers and PEFT (benchmarks/trainers/diffusers_loop.py). ``--kohya`` names a checkout of kohya's sd-scripts and the Python it runs in; the
script runs unchanged, UNet only, latents cached, sdpa. A name with ``+malloc`` runs with glibc told not to give large blocks back, as our own standalone
program tells it; ``ours-malloc`` is ours without. The first step of each is not counted. The floor is the arithmetic of one step (torch's flop counter)
at the speed of a large matrix product, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
"""What ``hosts/standalone/heap.py`` sets from inside."""


@dataclass
class Trainer:
    """A trainer's process and what it told."""

    name: str
    process: subprocess.Popen[bytes]
    answers: Any
    orders: Any
    began: float
    steps: list[dict[str, float]] = field(default_factory=list)
    ready: float = 0.0
    loaded: int = 0

    def answer(self) -> dict[str, float]:
        """The next line of the process.

        Raises:
            SystemExit: when it has ended.
        """
        line = self.answers.readline()
        if not line:
            sys.exit(f"{self.name} ended with status {self.process.wait()}; its output is above.")
        return json.loads(line)

    def order(self, word: str) -> None:
        """``step`` or ``stop``."""
        self.orders.write(word + "\n")
        self.orders.flush()


def start(name: str, command: list[str], environment: dict[str, str]) -> Trainer:
    """Start ``command`` with its two pipes and wait until it is ready for the first step."""
    answers_in, answers_out = os.pipe()
    orders_in, orders_out = os.pipe()
    given = os.environ | environment | {"FACECHAIN_PACE_ANSWERS": str(answers_out), "FACECHAIN_PACE_ORDERS": str(orders_in)}
    process = subprocess.Popen(command, env=given, pass_fds=(answers_out, orders_in), stdout=sys.stderr)
    os.close(answers_out)
    os.close(orders_in)
    trainer = Trainer(name, process, os.fdopen(answers_in), os.fdopen(orders_out, "w"), time.monotonic())
    said = trainer.answer()
    trainer.ready, trainer.loaded = said["ready"] - trainer.began, int(said["loaded"])
    return trainer


def pictures(folder: Path, count: int, side: int) -> Path:
    """``count`` smooth random pictures with captions, also in the folder layout kohya wants."""
    draw = np.random.default_rng(1)
    kohya = folder / "pictures" / "1_sks person"
    kohya.mkdir(parents=True)
    for i in range(count):
        small = Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        small.resize((side, side), Image.Resampling.BICUBIC).save(kohya / f"{i}.png")
        (kohya / f"{i}.txt").write_text("photo of sks person\n")
    return kohya


def kohya_command(args: argparse.Namespace, photos: Path, out: Path) -> list[str]:
    """kohya's script with the settings that match ours."""
    cache = out / "tokenizers"
    cache.mkdir(exist_ok=True)
    # Where the script looks before it asks a model hub: the tokenizer that we ship.
    link = cache / "openai_clip-vit-large-patch14"
    if not link.exists():
        link.symlink_to(HERE.parent / "facechain_ext" / "data" / "sd15" / "tokenizer", target_is_directory=True)
    options = {
        "pretrained_model_name_or_path": args.checkpoint.resolve(),
        "train_data_dir": photos.parent,
        "output_dir": out / "kohya",
        "resolution": f"{args.resolution},{args.resolution}",
        "network_module": "networks.lora",
        "network_dim": args.rank,
        "network_alpha": args.rank,
        "max_train_steps": args.steps + 5,
        "train_batch_size": args.batch,
        "learning_rate": "1e-4",
        "optimizer_type": "AdamW",
        "mixed_precision": "no",
        "seed": 1,
        "caption_extension": ".txt",
        "tokenizer_cache_dir": cache,
        "max_data_loader_n_workers": 0,
        "save_model_as": "safetensors",
    }
    flags = ["--network_train_unet_only", "--cache_latents", "--sdpa"]
    words = [w for name, value in options.items() for w in (f"--{name}", str(value))]
    return [str(args.kohya_python), str(HERE / "trainers" / "kohya.py"), str(args.kohya), *words, *flags]


def trainers(args: argparse.Namespace, folder: Path) -> list[Trainer]:
    """All that were asked for, started one after another."""
    photos = pictures(folder, args.pictures, args.resolution)
    settings = folder / "settings.json"
    values = {"steps": args.steps + 5, "rank": args.rank, "alpha": float(args.rank), "batch": args.batch, "learning_rate": 1e-4}
    settings.write_text(json.dumps(values | {"resolution": args.resolution, "previews": 0, "save_every": 10000, "seed": 1}))
    common = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    found = []
    for name in args.trainers.split(","):
        kind = name.removesuffix("+malloc").removesuffix("-malloc")
        if kind == "kohya":
            command = kohya_command(args, photos, folder)
        else:
            script = {"ours": "ours.py", "diffusers": "diffusers_loop.py"}[kind]
            command = [sys.executable, str(HERE / "trainers" / script), str(args.checkpoint.resolve()), str(photos), str(settings)]
        extra = MALLOC if name.endswith("+malloc") else {"FACECHAIN_BENCH_PLAIN_MALLOC": "1"} if name.endswith("-malloc") else {}
        found.append(start(name, command, common | extra))
    return found


def take_turns(running: list[Trainer], steps: int) -> None:
    """``steps`` steps of each after one that is not counted."""
    for number in range(steps + 1):
        for trainer in running:
            trainer.order("step")
            said = trainer.answer()
            if number:
                trainer.steps.append(said)
            print(f"{number:3d} {trainer.name:16s} {said['cpu']:7.2f} s", file=sys.stderr, flush=True)
    for trainer in running:
        trainer.order("stop")
        trainer.process.wait()


def floor(args: argparse.Namespace) -> tuple[float, float]:
    """Operations of one of our steps, and those per second of a large matrix product on one thread."""
    command = [sys.executable, str(HERE / "trainers" / "arithmetic.py"), str(args.checkpoint), str(args.resolution), str(args.rank)]
    said = json.loads(subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True).stdout)
    return said["operations"] * args.batch, said["speed"]


def table(running: list[Trainer], args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each trainer."""
    operations, speed = floor(args)
    least = operations / speed
    base = next((t for t in running if t.name == "kohya"), running[0])
    rows = []
    for trainer in running:
        cpu = statistics.median(s["cpu"] for s in trainer.steps)
        paired = statistics.median(a["cpu"] / b["cpu"] for a, b in zip(trainer.steps, base.steps, strict=True))
        rows.append(
            {
                "trainer": trainer.name,
                "CPU s a step": round(cpu, 2),
                f"times {base.name}": round(paired, 3),
                "times the floor": round(cpu / least, 2),
                "s to the first step": round(trainer.ready, 1),
                "GiB beyond the model": round((max(s["peak"] for s in trainer.steps) - trainer.loaded) / 2**30, 2),
                "GiB at the peak": round(max(s["peak"] for s in trainer.steps) / 2**30, 2),
            }
        )
    print(f"floor: {operations / 1e9:.0f} GFLOP at {speed / 1e9:.1f} GFLOP/s = {least:.2f} s", file=sys.stderr)
    return rows


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--trainers", default="ours,diffusers", help="of ours, ours-malloc, diffusers, diffusers+malloc, kohya, kohya+malloc"
    )
    parser.add_argument("--kohya", type=Path, help="a checkout of kohya-ss/sd-scripts")
    parser.add_argument("--kohya-python", type=Path, default=Path(sys.executable))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if "kohya" in args.trainers and args.kohya is None:
        parser.error("kohya needs --kohya CHECKOUT")
    with tempfile.TemporaryDirectory() as folder:
        running = trainers(args, Path(folder))
        take_turns(running, args.steps)
    rows = table(running, args)
    print("| " + " | ".join(rows[0]) + " |\n|" + " --- |" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    if args.json:
        args.json.write_text(json.dumps({"settings": {k: str(v) for k, v in vars(args).items()}, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
