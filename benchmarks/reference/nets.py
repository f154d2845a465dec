"""The narrow SD1.5 networks: the topology key for key, with 32 model channels, a context of 64 and a 128-px image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

CONTEXT = 64
"""Width of the text conditioning."""
TEXT_HEADS = 4
UNET_HEADS = 2
"""Heads per attention, not their width: key names do not depend on it, but whoever loads the weights must be told."""
WIDTHS = (32, 64, 128, 128)
SCALE = 0.18215
"""SD1's latent scale factor; the VAE's own spread is folded into its 1x1 convolutions so that this holds."""
TOKENIZER = Path(__file__).resolve().parents[2] / "facechain_ext" / "data" / "sd15" / "tokenizer"
PADDED = 77


def build_vae() -> AutoencoderKL:
    """The autoencoder: images (B, 3, H, W) in [-1, 1] to latents (B, 4, H/8, W/8)."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        norm_num_groups=32,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=128,
        scaling_factor=SCALE,
    )


def build_unet(heads: int = UNET_HEADS) -> UNet2DConditionModel:
    """The denoiser; diffusers' ``attention_head_dim`` is the number of heads in SD1 configurations."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        cross_attention_dim=CONTEXT,
        attention_head_dim=heads,
        norm_num_groups=32,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )


def build_text_encoder() -> CLIPTextModel:
    """CLIP's text model with its real vocabulary, 12 layers of width 64: ids (B, 77) to contexts (B, 77, 64)."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=CONTEXT,
            intermediate_size=4 * CONTEXT,
            num_hidden_layers=12,
            num_attention_heads=TEXT_HEADS,
            max_position_embeddings=PADDED,
            hidden_act="quick_gelu",
            projection_dim=CONTEXT,
            pad_token_id=1,
            bos_token_id=49406,
            eos_token_id=49407,
        )
    )


def build_scheduler() -> DDIMScheduler:
    """SD1's noise schedule."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build_tokenizer(folder: Path = TOKENIZER) -> CLIPTokenizer:
    """SD1's tokenizer from the files the extension ships."""
    return CLIPTokenizer.from_pretrained(folder)


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str], length: int = PADDED) -> torch.Tensor:
    """Prompts to ids (B, length), padded with the end token as SD1 does."""
    return tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


def load_weights(module: torch.nn.Module, file: Path) -> None:
    """Fill ``module`` from a safetensors file of any float type; keys must match (buffers such as position ids may lack)."""
    weights: Mapping[str, torch.Tensor] = {k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()}
    missing, unexpected = module.load_state_dict(weights, strict=False)
    if unexpected or [k for k in missing if "position_ids" not in k]:
        raise ValueError(f"{file.name} does not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")


def parameter_count(module: torch.nn.Module) -> int:
    """How many numbers ``module`` learns."""
    return sum(p.numel() for p in module.parameters())
