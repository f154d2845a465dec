"""CPU seconds until portraits reach a likeness: our trainer at the checkpoint's own settings, kohya's by its documentation and with our settings.

    python benchmarks/time_to_likeness.py --workspace WORKSPACE --people NAME,NAME --kohya CHECKOUT --kohya-python PYTHON [--aim 0.5]

People of the workspace need prepared photos; nothing is written to it. All trainers get the same crops and captions and the checkpoint that comes along,
one after another with one thread each; counted is all from the loaded model on (encoding, steps, saving) but the portraits that judge. They are the same
for all: with the seeds, prompt, sampler and steps of a training's previews, a portrait without a face counting as 0.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from facechain_ext.config import TrainConfig  # noqa: E402
from facechain_ext.faces.types import Dataset  # noqa: E402
from facechain_ext.hosts.standalone.checkpoints import SHIPPED, StandaloneCheckpoints  # noqa: E402
from facechain_ext.hosts.standalone.host import StandaloneHost  # noqa: E402
from facechain_ext.hosts.standalone.inspection import inspect  # noqa: E402
from facechain_ext.hosts.standalone.sidecar import read_sidecar  # noqa: E402
from facechain_ext.ports import LoraWeight, SamplingRequest  # noqa: E402
from facechain_ext.progress import CancelToken, Progress, Stage, silent  # noqa: E402
from facechain_ext.services.train_person import dataset_of, likeness_to  # noqa: E402
from facechain_ext.training.loop import Score, Watch, train  # noqa: E402
from facechain_ext.training.previews import PREVIEW_CFG, PREVIEW_SAMPLER, PREVIEW_STEPS  # noqa: E402
from facechain_ext.vision.insight import InsightAnalyzer  # noqa: E402
from facechain_ext.workspace import Workspace  # noqa: E402

CHECKPOINT = SHIPPED / "tiny-faces.safetensors"
Curve = list[tuple[int, float, float]]
"""(step, CPU seconds, likeness)."""
DOCUMENTED = {"network_dim": 16, "network_alpha": 1, "learning_rate": "1e-4", "lr_scheduler": "constant", "train_batch_size": 1, "max_train_steps": 1600}
"""The command of kohya's docs/train_network.md with AdamW for its 8-bit kind, which needs a GPU, float32, and the script's own number of steps."""


def ours(host: StandaloneHost, dataset: Dataset, config: TrainConfig, score: Score) -> Curve:
    """Our training; the clock stands still while portraits are made and judged."""
    curve: Curve = []
    spent, mark = 0.0, time.process_time()

    def heard(event: Progress) -> None:
        nonlocal spent, mark
        now = time.process_time()
        if event.stage in (Stage.CACHE, Stage.TRAIN) and event.likeness is None:
            spent += now - mark
        elif event.stage is Stage.TRAIN and event.likeness is not None:
            curve.append((event.step, spent, event.likeness))
        mark = now

    def judged(image: object) -> float:
        return score(image) or 0.0  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder, host.open_session() as session:
        mark = time.process_time()
        train(session, dataset, config, Path(folder), Watch(heard, CancelToken(), judged))
    return curve


def kohya(args: argparse.Namespace, photos: Path, options: dict[str, object], flags: list[str], folder: Path) -> list[tuple[int, float, Path]]:
    """kohya's training; (step, CPU seconds, LoRA) of every LoRA it saved."""
    shapes = inspect(CHECKPOINT)[1]
    sidecar = read_sidecar(CHECKPOINT)
    told = asdict(shapes) | {f"text_{name}": size for name, size in asdict(shapes.texts[0]).items()}
    (folder / "shapes.json").write_text(json.dumps(told | {"unet_heads": sidecar.unet_heads, "text_heads": sidecar.text_heads}))
    data = folder / "data" / "1_sks person"
    data.mkdir(parents=True)
    for file in sorted(photos.glob("[0-9]*.*")):
        shutil.copy(file, data)
    cache = folder / "tokenizers"
    cache.mkdir()
    (cache / "openai_clip-vit-large-patch14").symlink_to(HERE.parent / "facechain_ext" / "data" / "sd15" / "tokenizer", target_is_directory=True)
    common: dict[str, object] = {
        "pretrained_model_name_or_path": CHECKPOINT,
        "train_data_dir": data.parent,
        "output_dir": folder / "out",
        "output_name": "kohya",
        "resolution": "128,128",
        "network_module": "networks.lora",
        "optimizer_type": "AdamW",
        "mixed_precision": "no",
        "seed": 1,
        "caption_extension": ".txt",
        "tokenizer_cache_dir": cache,
        "max_data_loader_n_workers": 0,
        "save_model_as": "safetensors",
    }
    words = [w for name, value in (common | options).items() for w in (f"--{name}", str(value))]
    script = [str(args.kohya_python), str(HERE / "trainers" / "kohya_narrow.py"), str(args.kohya), str(folder / "shapes.json"), str(folder / "steps.jsonl")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(args.kohya)}
    subprocess.run([*script, *words, "--cache_latents", "--sdpa", *flags], env=environment, check=True, stdout=sys.stderr)
    cpu = {line["step"]: line["cpu"] for line in map(json.loads, (folder / "steps.jsonl").read_text().splitlines())}
    found = {}  # The last step is there twice: by its number and as the result.
    for file in sorted((folder / "out").glob("kohya*.safetensors")):
        step = int(file.stem.removeprefix("kohya-step")) if "-step" in file.stem else max(cpu)
        found[step] = (step, cpu[step], file)
    return sorted(found.values())


def portraits(host: StandaloneHost, lora: Path, score: Score, config: TrainConfig) -> float:
    """Mean likeness of the portraits that judge."""
    side = host.checkpoint.resolution
    seeds = tuple(config.seed + i for i in range(config.previews))
    request = SamplingRequest("photo of sks person", "", seeds, side, side, PREVIEW_STEPS, PREVIEW_CFG, PREVIEW_SAMPLER, (LoraWeight(lora),))
    return sum(score(image) or 0.0 for image in host.generate(request, silent, CancelToken())) / config.previews


def reached(curve: Curve, aim: float) -> str:
    """When ``aim`` was reached, between the two measurements around it (on a straight line), in words."""
    before = (0, 0.0, 0.0)
    for point in curve:
        if point[2] >= aim:
            share = (aim - before[2]) / max(1e-9, point[2] - before[2])
            return f"{before[1] + share * (point[1] - before[1]):.0f} s (step {before[0] + share * (point[0] - before[0]):.0f})"
        before = point
    best = max(curve, key=lambda p: p[2])
    return f"not in {curve[-1][1]:.0f} s ({curve[-1][0]} steps; best {best[2]:.2f})"


def show(person: str, trainer: str, curve: Curve, aim: float) -> None:
    """One row of the table."""
    said = ", ".join(f"{step}: {cpu:.0f}, {likeness:.2f}" for step, cpu, likeness in curve)
    print(f"| {person} | {trainer} | {reached(curve, aim)} | {said} |", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--people", required=True)
    parser.add_argument("--kohya", type=Path, required=True)
    parser.add_argument("--kohya-python", type=Path, required=True)
    parser.add_argument("--aim", type=float, default=0.5)
    parser.add_argument("--portraits", type=int, default=8, help="that judge each time")
    parser.add_argument("--every", type=int, default=25, help="steps of ours between judgements; four times as many of kohya's documented recipe")
    args = parser.parse_args()
    workspace, analyzer = Workspace(args.workspace), InsightAnalyzer(threads=1)
    own = StandaloneCheckpoints(workspace).find(None).train
    config = replace(own, previews=args.portraits, preview_every=args.every, keep="last", patience=0)
    host = StandaloneHost(CHECKPOINT)
    host.parts()
    same = {"network_dim": own.rank, "network_alpha": own.alpha, "learning_rate": own.learning_rate, "train_batch_size": own.batch}
    same |= {"lr_scheduler": "constant", "max_train_steps": own.steps, "save_every_n_steps": args.every}
    recipes = {
        "kohya, documented": (DOCUMENTED | {"save_every_n_steps": 4 * args.every}, []),
        "kohya, our rank, rate, batch": (same, ["--network_train_unet_only"]),
    }
    print("| person | trainer | likeness reached | curve (step: CPU s, likeness) |\n|---|---|---|---|")
    for person in args.people.split(","):
        home = workspace.existing_person(person)
        dataset = dataset_of(home, analyzer)
        score = likeness_to(dataset.mean_embedding, analyzer)
        show(person, "ours", ours(host, dataset, config, score), args.aim)
        for name, (options, flags) in recipes.items():
            with tempfile.TemporaryDirectory() as folder:
                saved = kohya(args, home.dataset, options, flags, Path(folder))
                show(person, name, [(step, cpu, portraits(host, file, score, config)) for step, cpu, file in saved], args.aim)


if __name__ == "__main__":
    main()
