"""Measure a run: VAE likeness of taught and held-out people, and whether prompts steer the base to the person they name."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import torch
from captions import plain_caption
from data import held_out, load_images, taught, to_images
from diffusers import AutoencoderKL
from judge import PACK, Judge, shipped_judge
from nets import UNET_HEADS
from sampling import Pipeline, load_pipeline


@torch.no_grad()
def vae_likeness(vae: AutoencoderKL, judge: Judge, people: list[int], every: int = 3) -> float:
    """Mean SFace cosine of reconstruction to original over every ``every``-th photo."""
    photos = load_images(people, ("photo",))[:, 0, ::every].flatten(0, 1)
    made = torch.cat([vae.decode(vae.encode(p).latent_dist.mode(), return_dict=False)[0] for p in photos.split(4)])
    return judge.similarity(list(to_images(made)), list(to_images(photos)))


def base_score(pipeline: Pipeline, judge: Judge, each: int, guidance: float, steps: int) -> tuple[dict[str, float], np.ndarray, list[int]]:
    """Score of ``each`` images per taught person, the images and whom they should show."""
    people = [p for p in taught() for _ in range(each)]
    images = pipeline.sample([plain_caption(p) for p in people], 1000, steps, guidance)
    return judge.score(list(images), people).as_dict(), images, people


def sheet(images: np.ndarray, columns: int = 12) -> np.ndarray:
    """A contact sheet (H, W, 3) uint8 RGB of generated images."""
    rows = [np.hstack(images[i : i + columns]) for i in range(0, len(images) - len(images) % columns, columns)]
    return np.vstack(rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    parser.add_argument("--unet", default="unet")
    parser.add_argument("--vae", default="vae")
    parser.add_argument("--heads", type=int, default=UNET_HEADS)
    parser.add_argument("--pack", type=Path, default=PACK, help="folder with YuNet and SFace")
    parser.add_argument("--each", type=int, default=1, help="images per taught person")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip-vae", action="store_true")
    parser.add_argument("--sheet", type=Path, help="write the generated images here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    judge, pipeline = shipped_judge(args.pack), load_pipeline(args.run, args.unet, args.vae, args.heads)
    report: dict[str, object] = {}
    if not args.skip_vae:
        report["vae"] = {
            name: round(vae_likeness(pipeline.vae, judge, who), 3) for name, who in (("taught", taught()[::3]), ("held_out", held_out()))
        }
    report["base"], images, _ = base_score(pipeline, judge, args.each, args.guidance, args.steps)
    if args.sheet:
        cv2.imwrite(str(args.sheet), sheet(images)[..., ::-1])
    print(json.dumps(report))


if __name__ == "__main__":
    main()
