"""The usual loop around diffusers and PEFT, one step at a time: ``diffusers_loop.py CHECKPOINT PHOTOS SETTINGS.json``.

As diffusers' own LoRA example and FaceChain v3 do it: every step encodes its pictures and captions anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]
from pace import Pace  # noqa: E402
from peft import LoraConfig  # noqa: E402

from facechain_ext.hosts.standalone.loading import load  # noqa: E402
from facechain_ext.hosts.standalone.sidecar import read_sidecar  # noqa: E402

TARGETS = ["to_k", "to_q", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]


def main() -> None:
    """Command line."""
    pace = Pace()
    checkpoint, photos, settings = map(Path, sys.argv[1:])
    config = json.loads(settings.read_text())
    parts = load(checkpoint, read_sidecar(checkpoint))
    pace.loaded()
    unet = parts.unet
    unet.add_adapter(LoraConfig(r=config["rank"], lora_alpha=config["alpha"], target_modules=TARGETS))
    unet.train()
    trained = [p for p in unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=config["learning_rate"])
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas = torch.cumprod(1 - betas, 0).to(parts.device)
    files = sorted(photos.glob("*.png"))
    draw = torch.Generator().manual_seed(1)
    pace.ready()
    for _ in range(config["steps"]):
        chosen = [files[i] for i in torch.randint(len(files), (config["batch"],), generator=draw).tolist()]
        pixels = np.stack([np.asarray(Image.open(f).convert("RGB").resize((config["resolution"],) * 2)) for f in chosen])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(127.5).sub(1).to(parts.device)
        words = [f.with_suffix(".txt").read_text().strip() for f in chosen]
        with torch.no_grad():
            latents = parts.vae.encode(images).latent_dist.sample() * parts.vae.config["scaling_factor"]
            tokens = parts.tokenizer(words, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
            context = parts.text_encoder(tokens.to(parts.device))[0]
        noise = torch.randn_like(latents)
        timesteps = torch.randint(1000, (config["batch"],), generator=draw).to(parts.device)
        share = alphas[timesteps].view(-1, 1, 1, 1)
        noisy = share.sqrt() * latents + (1 - share).sqrt() * noise
        loss = torch.nn.functional.mse_loss(unet(noisy.to(parts.dtype), timesteps, encoder_hidden_states=context).sample.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())
        pace.stepped()


if __name__ == "__main__":
    main()
