"""Write a random-weight checkpoint of Stable Diffusion 2's or SDXL's full size, as one fp16 safetensors file (SD2 2.6 GB, SDXL 6.9 GB).

It draws noise; it is for measuring memory and time where no real one can be downloaded. Written tensor by tensor, so it needs little memory.

    python benchmarks/random_checkpoint.py sdxl sdxl-random.safetensors
    python benchmarks/random_checkpoint.py sdxl --plan          # writes nothing: sizes, and what a training of it would take
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "reference")]
from ldm_keys import VAE, vae_entry  # noqa: E402

from facechain_ext.config import TrainConfig  # noqa: E402
from facechain_ext.hosts.standalone.anatomy import UNET  # noqa: E402
from facechain_ext.hosts.standalone.loading import DATA  # noqa: E402
from facechain_ext.ports import Family, Footprint  # noqa: E402
from facechain_ext.training.plan import estimate  # noqa: E402
from tests.host.narrow_checkpoints import clip, open_clip, unet  # noqa: E402

WIDTH = 320
"""Channels of the UNet's outermost blocks."""


def full_size(family: Family) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor of a whole checkpoint of ``family`` (SD2 or SDXL)."""

    def named(prefix: str, shapes: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, tuple[int, ...]]:
        return {prefix + name: shape for name, shape in shapes}

    if family is Family.SDXL:
        found = named(UNET, unet((0, 2, 10), 2048, 2816, WIDTH))
        found |= named("conditioner.embedders.0.transformer.text_model.", clip(768, 12))
        found |= named("conditioner.embedders.1.model.", open_clip(1280, 32))
    else:
        found = named(UNET, unet((1, 1, 1, 0), 1024, 0, WIDTH)) | named("cond_stage_model.model.", open_clip(1024, 24))
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(json.loads((DATA / "sd15" / "vae" / "config.json").read_text())).state_dict()
    return found | {VAE + name: tuple(value.shape) for name, value in (vae_entry(*item) for item in vae.items())}


def write(shapes: dict[str, tuple[int, ...]], file: Path, seed: int) -> None:
    """Random fp16 tensors of ``shapes``: 1 / sqrt(fan-in) for matrices, ones and zeros for norms and biases."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    draw = torch.Generator().manual_seed(seed)
    with file.open("wb") as target:
        target.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            if len(shape) == 1:
                value = torch.zeros(shape) if name.endswith("bias") else torch.ones(shape)
            else:
                value = torch.empty(shape).normal_(generator=draw) / math.sqrt(math.prod(shape[1:]))
            target.write(value.half().numpy().tobytes())


def plan(family: Family, shapes: dict[str, tuple[int, ...]]) -> None:
    """Print what trainings on a GPU in half precision would take beside the loaded weights, by our own estimate."""
    weights = {name.removeprefix(UNET): shape for name, shape in shapes.items() if name.startswith(UNET) and name.endswith(".weight")}
    native = 1024 if family is Family.SDXL else 768
    footprint = Footprint(weights, native, family.value, "gpu", 2.2, None)
    loaded = 2 * sum(math.prod(s) for s in shapes.values()) + 2 * sum(math.prod(s) for n, s in shapes.items() if n.startswith(VAE))
    print(f"{family.value}: {len(shapes)} tensors, weights in memory {loaded / 1e9:.2f} GB (half precision, VAE float32)")
    for side in (native, 512):
        for saving in (False, True):
            memory = estimate(footprint, TrainConfig(batch=1, resolution=side, gradient_checkpointing=saving), None).memory
            print(f"  {side:4} px, batch 1, checkpointing {'on ' if saving else 'off'}: {memory / 1e9:5.2f} GB more")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=("sd2", "sdxl"))
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    family = Family(args.family)
    shapes = full_size(family)
    if args.plan or args.out is None:
        plan(family, shapes)
        return
    write(shapes, args.out, args.seed)
    print(f"{args.out}: {args.out.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
