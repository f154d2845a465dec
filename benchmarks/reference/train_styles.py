"""Train the style LoRAs of the tiny checkpoint with FaceChain's own trainer, and fit the statistic that scores each style.

python benchmarks/reference/train_styles.py --out RUN/styles
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
from data import LOOKS, SIZE, STYLES, captions_table, read_photo, render_look, render_style, taught

from facechain_ext.config import TrainConfig
from facechain_ext.faces.types import Dataset, PreparedPhoto
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin
from facechain_ext.lora.sizes import Kind
from facechain_ext.portraits.style_score import fit, save_statistic
from facechain_ext.progress import CancelToken, Progress, Stage
from facechain_ext.training.loop import Watch, train

PHOTOS = (1, 4, 7, 9)
"""Photos of each taught person that a style is learned from; the statistic is fitted on the same and checked on the rest."""
CHECKED = (2, 5)
LIMIT = 2 * 10**6


def style_dataset(style: str) -> Dataset:
    """Taught people in ``style``, captioned so that only the style is new."""
    words, everywhere = captions_table()["words"], np.full((SIZE, SIZE), 255, np.uint8)
    nobody = np.zeros(1, np.float32)
    photos = []
    for person in taught():
        for number in PHOTOS:
            image = render_style(read_photo(person, number), style)
            caption = f"{style} of {words[str(person)]} person"
            photos.append(PreparedPhoto(image, everywhere, caption, hashlib.sha256(image.tobytes()).hexdigest(), nobody, 1.0))
    return Dataset(style, style, "", SIZE, tuple(photos), "none", "none", nobody)


def train_style(host: StandaloneHost, style: str, config: TrainConfig, out: Path) -> Path:
    """Train the LoRA of ``style`` into ``out``; goes on where an earlier run was ended."""
    dataset, name = style_dataset(style), style.replace(" ", "-")

    def show(event: Progress) -> None:
        if event.stage is Stage.TRAIN and event.step % 20 == 0:
            print(json.dumps({"style": style, "step": event.step, "loss": event.loss}), flush=True)

    folder = out / f"{name}-run"
    with host.open_session() as session:
        watch = Watch(show, CancelToken(), lambda _: None)
        outcome = train(session, dataset, config, folder, watch, resume=(folder / "state.safetensors").exists())
    origin = LoraOrigin(
        name=name,
        family=host.checkpoint.family,
        prediction=host.checkpoint.prediction,
        checkpoint=host.checkpoint.name,
        checkpoint_sha256=host.checkpoint.sha256,
        alpha=config.alpha,
        rank=config.rank,
        steps=outcome.steps,
        resolution=SIZE,
        trigger=style,
        captions=[style],
        seed=config.seed,
    )
    target = out / f"{name}.safetensors"
    write_adapter(target, outcome.adapter, origin, Kind.LORA)
    if target.stat().st_size > LIMIT:
        raise ValueError(f"{target.stat().st_size} bytes are more than 2 MB")
    return target


def fit_style(style: str, out: Path) -> dict[str, float]:
    """Fit and save the statistic of ``style``; return its mean score on photos it was not fitted on."""

    def looks(numbers: tuple[int, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        photos = [read_photo(p, n) for p in taught() for n in numbers]
        other = [render_look(photo, look) for photo in photos for look in LOOKS]
        other += [render_style(photo, s) for photo in photos for s in STYLES if s != style]
        return [render_style(photo, style) for photo in photos], other

    statistic = fit(*looks(PHOTOS))
    note = "0: ORL photos plain, in the looks the checkpoint knows and in the other styles; 1: the same photos rendered in this style"
    save_statistic(statistic, out / f"{style.replace(' ', '-')}.score.json", note)
    styled, other = looks(CHECKED)
    return {"styled": float(np.mean([statistic.score(i) for i in styled])), "other": float(np.mean([statistic.score(i) for i in other]))}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", type=Path, default=SHIPPED / "tiny-faces.safetensors")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", choices=STYLES)
    parser.add_argument("--examples", type=Path, help="only write a picture of the rendered looks and styles")
    args = parser.parse_args()
    if args.examples:
        photos = [read_photo(p, 1) for p in taught()[:3]]
        rows = [np.hstack([*(render_look(photo, k) for k in LOOKS), *(render_style(photo, s) for s in STYLES)]) for photo in photos]
        cv2.imwrite(str(args.examples), np.vstack(rows)[..., ::-1])
        return
    # Gamma 1 counts the noisiest steps most: a style is in the large tones, which those decide.
    config = TrainConfig(
        steps=args.steps,
        rank=16,
        alpha=16,
        batch=8,
        learning_rate=2e-3,
        resolution=SIZE,
        face_weight=0.0,
        min_snr_gamma=1.0,
        previews=0,
        save_every=50,
    )
    args.out.mkdir(parents=True, exist_ok=True)
    host = StandaloneHost(args.base)
    for style in STYLES if args.only is None else (args.only,):
        print(json.dumps({"style": style, **fit_style(style, args.out)}), flush=True)
        print(train_style(host, style, config, args.out), flush=True)


if __name__ == "__main__":
    main()
