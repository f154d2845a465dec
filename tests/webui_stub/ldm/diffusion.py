"""The whole model as the WebUI holds it: LDM's ``LatentDiffusion``, its text encoder wrapped by the WebUI (modules/sd_hijack.py)."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from ldm.autoencoder import AutoencoderKL, DiagonalGaussianDistribution
from ldm.unet import UNetModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SHIPPED = Path(__file__).parents[3] / "facechain_ext" / "data"
CHUNK = 75


class DiffusionWrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.diffusion_model = UNetModel()
        self.conditioning_key = "crossattn"

    def forward(self, x: torch.Tensor, t: torch.Tensor, c_crossattn: Sequence[torch.Tensor]) -> torch.Tensor:
        return self.diffusion_model(x, t, context=torch.cat(list(c_crossattn), 1))


class FrozenCLIPEmbedder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        config = json.loads((SHIPPED / "sd15" / "text_encoder" / "config.json").read_text(encoding="utf-8"))
        config.update(hidden_size=64, intermediate_size=256, num_attention_heads=4)
        self.tokenizer = CLIPTokenizer.from_pretrained(str(SHIPPED / "sd15" / "tokenizer"), local_files_only=True)
        self.transformer = CLIPTextModel(CLIPTextConfig(**config))
        self.requires_grad_(False)


class FrozenCLIPEmbedderWithCustomWords(nn.Module):
    """Chunks of 75 words, each with its own beginning and end (modules/sd_hijack_clip.py:199)."""

    def __init__(self) -> None:
        super().__init__()
        self.wrapped = FrozenCLIPEmbedder()

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        from modules import shared

        words = [self.wrapped.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        chunks = max(1, *(-(-len(ids) // CHUNK) for ids in words))
        first, last = self.wrapped.tokenizer.bos_token_id, self.wrapped.tokenizer.eos_token_id
        rows = []
        for ids in words:
            padded = ids + [last] * (chunks * CHUNK - len(ids))
            rows.append([[first, *padded[i * CHUNK : (i + 1) * CHUNK], last] for i in range(chunks)])
        encoder = self.wrapped.transformer
        parts = []
        for chunk in torch.tensor(rows).unbind(1):
            # Not under no_grad: whoever encodes for training must see to that.
            out = encoder(input_ids=chunk, output_hidden_states=True).hidden_states[-shared.opts.CLIP_stop_at_last_layers]
            parts.append(encoder.text_model.final_layer_norm(out))
        return torch.cat(parts, dim=1)


class LatentDiffusion(nn.Module):
    """SD1: ``is_sd1`` and the like are set on the object by modules/sd_models.py:380."""

    def __init__(self) -> None:
        super().__init__()
        betas = torch.linspace(0.00085**0.5, 0.0120**0.5, 1000, dtype=torch.float64) ** 2
        self.register_buffer("alphas_cumprod", torch.cumprod(1 - betas, 0).float())
        self.model = DiffusionWrapper()
        self.first_stage_model = AutoencoderKL().requires_grad_(False)
        self.cond_stage_model = FrozenCLIPEmbedderWithCustomWords()
        self.parameterization, self.scale_factor = "eps", 0.18215

    @contextlib.contextmanager
    def ema_scope(self) -> Iterator[None]:
        yield

    @torch.no_grad()
    def encode_first_stage(self, x: torch.Tensor) -> DiagonalGaussianDistribution:
        return self.first_stage_model.encode(x)

    def get_first_stage_encoding(self, posterior: DiagonalGaussianDistribution) -> torch.Tensor:
        return self.scale_factor * posterior.sample()

    @torch.no_grad()
    def decode_first_stage(self, z: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.decode(z / self.scale_factor)

    def get_learned_conditioning(self, texts: Sequence[str]) -> torch.Tensor:
        return self.cond_stage_model(texts)

    def apply_model(self, x: torch.Tensor, t: torch.Tensor, cond: Any) -> torch.Tensor:
        return self.model(x, t, **(cond if isinstance(cond, dict) else {"c_crossattn": [cond]}))
