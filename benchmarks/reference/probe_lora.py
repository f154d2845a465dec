"""A quick look at how well the base learns a new person: LoRA on all linear layers from five photos, judged against the other five."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from data import captions_table, held_out, load_images
from judge import PACK, shipped_judge
from nets import SCALE, UNET_HEADS, build_scheduler
from peft import LoraConfig, inject_adapter_in_model
from sampling import Pipeline, load_pipeline

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
"""In SD1's layout ``proj_in`` and ``proj_out`` are 1x1 convolutions; kohya counts them among the linear targets."""


def train_person(pipeline: Pipeline, person: int, steps: int, batch: int, rate: float, rank: int, prompt: str) -> float:
    """Train a LoRA into ``pipeline.unet`` in place; returns the seconds it took."""
    started = time.perf_counter()
    torch.manual_seed(person)
    with torch.no_grad():
        posterior = pipeline.vae.encode(load_images([person], ("photo",))[0, 0, :5]).latent_dist
        context = pipeline.contexts([prompt])
    unet = inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS), pipeline.unet)
    weights = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, rate, weight_decay=1e-2)
    scheduler = build_scheduler()
    snr = scheduler.alphas_cumprod / (1 - scheduler.alphas_cumprod)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 20) * (1 - 0.95 * step / steps)
        index = torch.randint(0, 5, (batch,))
        latents = posterior.mean[index] * SCALE
        times = ((torch.arange(batch) + torch.rand(batch)) * (1000 / batch)).long()
        noise = torch.randn_like(latents)
        made = unet(scheduler.add_noise(latents, noise, times), times, context.expand(batch, -1, -1), return_dict=False)[0]
        loss = ((made - noise).square().mean((1, 2, 3)) * snr[times].clamp(max=5) / snr[times]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--unet", default="unet")
    parser.add_argument("--vae", default="vae")
    parser.add_argument("--heads", type=int, default=UNET_HEADS)
    parser.add_argument("--pack", type=Path, default=PACK)
    parser.add_argument("--people", type=int, nargs="*", default=held_out())
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    judge, prompt, rows = shipped_judge(args.pack), f"photo of {captions_table()['trigger']} person", []
    for person in args.people:
        pipeline = load_pipeline(args.run, args.unet, args.vae, args.heads)
        before = pipeline.sample([prompt] * args.images, 7, guidance=args.guidance)
        seconds = train_person(pipeline, person, args.steps, args.batch, args.rate, args.rank, prompt)
        after = pipeline.sample([prompt] * args.images, 7, guidance=args.guidance)
        scores = {
            "before": judge.score(list(before), [person] * args.images).as_dict(),
            "after": judge.score(list(after), [person] * args.images).as_dict(),
        }
        print(json.dumps({"person": person, **scores, "seconds": round(seconds)}), flush=True)
        rows.append(np.hstack([*before[:3], *after]))
    if args.sheet:
        cv2.imwrite(str(args.sheet), np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    main()
