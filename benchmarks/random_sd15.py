"""Write a random-weight checkpoint of Stable Diffusion 1.5's full size, as one LDM-keyed fp16 safetensors file (2 GB).

It draws noise; it is for measuring memory and time, and for seeing that full-size files load, where no real one can be downloaded.

    python benchmarks/random_sd15.py sd15-random.safetensors
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

sys.path.insert(0, str(Path(__file__).resolve().parent / "reference"))
from ldm_keys import to_ldm

CONFIG = Path(__file__).resolve().parents[1] / "facechain_ext" / "data" / "sd15"


def config_of(part: str) -> dict[str, Any]:
    """The part's published configuration, as the package ships it."""
    return json.loads((CONFIG / part / "config.json").read_text())


def random_weights(build: Callable[[], torch.nn.Module], seed: int) -> dict[str, torch.Tensor]:
    """fp16 weights of the module that ``build`` makes: 1 / sqrt(fan-in) for matrices, ones and zeros for norms and biases."""
    with torch.device("meta"):
        shapes = build().state_dict()
    generator, weights = torch.Generator().manual_seed(seed), {}
    for name, meta in shapes.items():
        if not meta.is_floating_point():
            continue
        if meta.ndim == 1:
            value = torch.zeros(meta.shape) if name.endswith("bias") else torch.ones(meta.shape)
        else:
            value = torch.empty(meta.shape).normal_(generator=generator) / meta[0].numel() ** 0.5
        weights[name] = value.half()
    return weights


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    unet = random_weights(lambda: UNet2DConditionModel.from_config(config_of("unet")), args.seed)
    vae = random_weights(lambda: AutoencoderKL.from_config(config_of("vae")), args.seed + 1)
    text = random_weights(lambda: CLIPTextModel(CLIPTextConfig(**config_of("text_encoder"))), args.seed + 2)
    save_file(to_ldm(unet, vae, text), args.out, {"format": "pt"})
    print(f"{args.out}: {args.out.stat().st_size / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
