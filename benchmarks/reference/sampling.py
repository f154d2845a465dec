"""Pictures from the three networks: DDIM with classifier-free guidance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from data import to_images
from diffusers import AutoencoderKL, UNet2DConditionModel
from nets import SCALE, UNET_HEADS, build_scheduler, build_text_encoder, build_tokenizer, build_unet, build_vae, load_weights, tokenize
from transformers import CLIPTextModel, CLIPTokenizer


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The frozen networks, on the CPU."""

    unet: UNet2DConditionModel
    encoder: CLIPTextModel
    vae: AutoencoderKL
    tokenizer: CLIPTokenizer

    @torch.no_grad()
    def contexts(self, prompts: list[str]) -> torch.Tensor:
        """(B, 77, C)."""
        return self.encoder(tokenize(self.tokenizer, prompts)).last_hidden_state

    @torch.no_grad()
    def sample(self, prompts: list[str], seed: int, steps: int = 20, guidance: float = 3.0) -> np.ndarray:
        """Images (B, 128, 128, 3) uint8, one per prompt; image i depends on seed and i alone."""
        scheduler, count = build_scheduler(), len(prompts)
        scheduler.set_timesteps(steps)
        latents = torch.cat([torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)])
        contexts = torch.cat([self.contexts([""]).expand(count, -1, -1), self.contexts(prompts)])
        for step in scheduler.timesteps:
            plain, told = self.unet(torch.cat([latents, latents]), step, contexts, return_dict=False)[0].chunk(2)
            latents = scheduler.step(plain + guidance * (told - plain), step, latents).prev_sample
        return np.concatenate([to_images(self.vae.decode(part / SCALE, return_dict=False)[0]) for part in latents.split(4)])


def unet_weights(file: Path) -> dict[str, torch.Tensor]:
    """Averaged weights from a run's ``*.state.pt`` (also of a run that is still going on)."""
    return torch.load(file, map_location="cpu", weights_only=True)["average"]


def load_pipeline(folder: Path, unet: str = "unet", vae: str = "vae", heads: int = UNET_HEADS) -> Pipeline:
    """The networks of a run's folder; ``unet`` and ``vae`` name a safetensors file, or a state when there is none yet."""
    denoiser, coder, encoder = build_unet(heads), build_vae(), build_text_encoder()
    for module, name in ((denoiser, unet), (coder, vae)):
        if (folder / f"{name}.safetensors").exists():
            load_weights(module, folder / f"{name}.safetensors")
        else:
            module.load_state_dict(unet_weights(folder / f"{name}.state.pt"))
    load_weights(encoder, folder / "text_encoder.safetensors")
    for module in (denoiser, coder, encoder):
        module.eval().requires_grad_(False)
    return Pipeline(denoiser, encoder, coder, build_tokenizer())
