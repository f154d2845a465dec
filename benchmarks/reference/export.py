"""Write the checkpoint as WebUIs load it: one LDM-keyed fp16 safetensors, its yaml, and diffusers' config files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from ldm_keys import to_ldm
from nets import UNET_HEADS, build_scheduler, build_text_encoder, build_unet, build_vae
from safetensors.torch import load_file, save_file
from sampling import unet_weights

CLIP_FOLDER = "@CLIP_FOLDER@"
"""Stands in the yaml for the folder of the text encoder's config and tokenizer, which is known only where it is installed."""
YAML = """model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    linear_start: 0.00085
    linear_end: 0.0120
    num_timesteps_cond: 1
    timesteps: 1000
    first_stage_key: jpg
    cond_stage_key: txt
    image_size: 16
    channels: 4
    cond_stage_trainable: false
    conditioning_key: crossattn
    scale_factor: 0.18215
    use_ema: false
    unet_config:
      target: ldm.modules.diffusionmodules.openaimodel.UNetModel
      params: {{image_size: 16, in_channels: 4, out_channels: 4, model_channels: 32, attention_resolutions: [4, 2, 1], num_res_blocks: 2,
        channel_mult: [1, 2, 4, 4], num_heads: {heads}, use_spatial_transformer: true, transformer_depth: 1, context_dim: 64,
        use_checkpoint: false, legacy: false}}
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:
        embed_dim: 4
        ddconfig: {{double_z: true, z_channels: 4, resolution: 128, in_channels: 3, out_ch: 3, ch: 32, ch_mult: [1, 2, 4, 4],
          num_res_blocks: 2, attn_resolutions: [], dropout: 0.0}}
        lossconfig: {{target: torch.nn.Identity}}
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenCLIPEmbedder
      params: {{version: "{clip}"}}
"""
LIMIT = 40 * 10**6


def write(file: Path, text: str) -> None:
    """Write atomically."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_text(text)
    temporary.replace(file)


def configs(heads: int) -> dict[str, dict[str, Any]]:
    """diffusers' and transformers' configurations by folder name."""
    return {
        "unet": dict(build_unet(heads).config),
        "vae": dict(build_vae().config),
        "scheduler": {"_class_name": "DDIMScheduler", **build_scheduler().config},
        "text_encoder": build_text_encoder().config.to_dict(),
    }


def weights_of(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """A run's averaged weights: the finished file, or the state of a run that is still going on."""
    finished, state = folder / f"{name}.safetensors", folder / f"{name}.state.pt"
    return load_file(finished) if finished.exists() else unet_weights(state)


def export(run: Path, out: Path, unet: str, vae: str, heads: int, measured: dict[str, Any]) -> Path:
    """Write ``reference.safetensors``, ``.yaml``, ``.json`` and ``diffusers/`` into ``out``.

    Raises:
        ValueError: when the checkpoint is larger than 40 MB.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = to_ldm(weights_of(run, unet), weights_of(run, vae), load_file(run / "text_encoder.safetensors"))
    file = out / "reference.safetensors"
    temporary = out / "reference.safetensors.tmp"
    save_file(weights, temporary, {"format": "pt"})
    if temporary.stat().st_size > LIMIT:
        raise ValueError(f"{temporary.stat().st_size} bytes are more than 40 MB")
    temporary.replace(file)
    write(out / "reference.yaml", YAML.format(heads=heads, clip=CLIP_FOLDER))
    write(
        out / "reference.json",
        json.dumps({"schema": 1, "unet_heads": heads, "text_heads": 4, "resolution": 128, **measured}, indent=1) + "\n",
    )
    for part, config in configs(heads).items():
        folder = out / "diffusers" / part
        folder.mkdir(parents=True, exist_ok=True)
        name = {"scheduler": "scheduler_config.json"}.get(part, "config.json")
        write(
            folder / name,
            json.dumps({k: v for k, v in config.items() if k != "_name_or_path"}, indent=1, sort_keys=True, default=str) + "\n",
        )
    return file


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--unet", default="unet")
    parser.add_argument("--vae", default="vae")
    parser.add_argument("--heads", type=int, default=UNET_HEADS)
    parser.add_argument("--measured", type=Path, help="JSON of evaluate.py to keep beside the weights")
    args = parser.parse_args()
    measured = json.loads(args.measured.read_text()) if args.measured else {}
    print(export(args.run, args.out, args.unet, args.vae, args.heads, measured))


if __name__ == "__main__":
    main()
