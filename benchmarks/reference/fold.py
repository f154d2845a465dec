"""Fold the latents' spread into the VAE's 1x1 convolutions, then encode the training set once.

Afterwards every channel has mean 0 and standard deviation 1 / 0.18215 on photos, so that SD1's scale factor holds for every tool that assumes it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from data import load_images, taught
from diffusers import AutoencoderKL
from nets import SCALE, build_vae, load_weights
from safetensors.torch import save_file


@torch.no_grad()
def encode(vae: AutoencoderKL, people: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (N, 4, 16, 16) of every latent: per person and look ten photos, then the same mirrored."""
    means, stds = [], []
    for person in people:
        for photos in load_images([person])[0]:
            posterior = vae.encode(torch.cat([photos, photos.flip(-1)])).latent_dist
            means.append(posterior.mean)
            stds.append(posterior.std)
    return torch.cat(means), torch.cat(stds)


@torch.no_grad()
def fold(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Shift and scale the latents by per-channel ``mean`` (4,) and ``1 / (std * SCALE)`` without changing any reconstruction."""
    gain = 1 / (std * SCALE)
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4] *= gain[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) * gain
    quant.bias[4:] += 2 * gain.log()
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight /= gain[None, :, None, None]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vae", type=Path, required=True, help="safetensors from train_vae.py")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets vae.safetensors and latents.safetensors")
    args = parser.parse_args()
    vae = build_vae().eval()
    load_weights(vae, args.vae)
    with torch.no_grad():
        photos = load_images(taught(), ("photo",)).flatten(0, 2)
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in photos.split(20)])
    fold(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    mean, std = encode(vae, taught())
    save_file({"mean": mean, "std": std}, args.out / "latents.safetensors")
    save_file({k: v.contiguous() for k, v in vae.state_dict().items()}, args.out / "vae.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
