"""Names of the Stable Diffusion 1 checkpoint format (CompVis' LDM) for diffusers' and transformers' weights."""

from __future__ import annotations

import re

import torch

RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."


def _renamed(key: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        if key.startswith(old + "."):
            return new + key[len(old) :]
    raise KeyError(key)


def unet_key(key: str) -> str:
    """LDM's name of a diffusers UNet key.

    Raises:
        KeyError: for a key that SD1's UNet does not have.
    """
    if match := re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", key):
        way, level, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if kind == "downsamplers":
            return f"input_blocks.{3 * (level + 1)}.0.op." + rest.removeprefix("conv.")
        if kind == "upsamplers":
            return f"output_blocks.{3 * level + 2}.{1 if level == 0 else 2}." + rest
        block = f"input_blocks.{3 * level + index + 1}" if way == "down" else f"output_blocks.{3 * level + index}"
        return f"{block}.0.{_renamed(rest, RES)}" if kind == "resnets" else f"{block}.1.{rest}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        return f"middle_block.1.{match[3]}" if match[1] == "attentions" else f"middle_block.{2 * int(match[2])}.{_renamed(match[3], RES)}"
    return _renamed(key, UNET_ENDS)


def vae_entry(key: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    """LDM's name and shape of a diffusers VAE weight; its attention is made of 1x1 convolutions."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets", r"encoder.down.\1.block", key)
    key = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.resnets", lambda m: f"decoder.up.{3 - int(m[1])}.block", key)
    key = re.sub(r"decoder\.up_blocks\.(\d)\.upsamplers\.0", lambda m: f"decoder.up.{3 - int(m[1])}.upsample", key)
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", key)
    head, attention, rest = key.partition("mid_block.attentions.0.")
    if attention:
        return head + "mid.attn_1." + _renamed(rest, VAE_ATTENTION), value[..., None, None] if value.ndim == 2 else value
    return key, value


def text_key(key: str) -> str:
    """LDM's name of a CLIP text weight; transformers 5 left the ``text_model.`` prefix away."""
    return key if key.startswith("text_model.") else "text_model." + key


def to_ldm(unet: dict[str, torch.Tensor], vae: dict[str, torch.Tensor], text: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One fp16 checkpoint of the three networks' weights."""
    weights = {UNET + unet_key(k): v for k, v in unet.items()}
    for key, value in vae.items():
        name, shaped = vae_entry(key, value)
        weights[VAE + name] = shaped
    weights |= {TEXT + text_key(k): v for k, v in text.items() if v.is_floating_point()}
    result = {k: v.detach().cpu().half().contiguous().clone() for k, v in weights.items()}
    result[TEXT + "text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return result
