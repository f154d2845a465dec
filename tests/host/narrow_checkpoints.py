"""Writes narrow SD2 (v-prediction) and SDXL checkpoints with random weights, for the tests on a real WebUI: topology, names and text
encoders' sizes are those of the real ones, only the UNet's and the VAE's channels are fewer. What they draw means nothing.

    python tests/host/narrow_checkpoints.py WEBUI/models/Stable-diffusion        (SD2 0.8 GB, SDXL 1.8 GB)

Beside each lies the ``.yaml`` the WebUI builds the model from, a sidecar with the native size, and for SDXL a folder with the first
encoder's configuration and tokenizer, which the WebUI would download otherwise. The VAE is the embedded checkpoint's.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

DATA = Path(__file__).parents[2] / "facechain_ext" / "data"
FAMILIES = ("sd2", "sdxl")
CHANNELS, NATIVE = 32, 128
"""The UNet's narrowest level, which is also the width of one attention head; native px."""
TOKENS = 49408
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def linear(name: str, wide: int, into: int, *, bias: bool = True) -> Shapes:
    yield f"{name}.weight", (into, wide)
    if bias:
        yield f"{name}.bias", (into,)


def conv(name: str, wide: int, into: int, kernel: int = 3) -> Shapes:
    yield f"{name}.weight", (into, wide, kernel, kernel)
    yield f"{name}.bias", (into,)


def norm(name: str, wide: int) -> Shapes:
    yield f"{name}.weight", (wide,)
    yield f"{name}.bias", (wide,)


def residual(name: str, wide: int, into: int, embedding: int) -> Shapes:
    yield from norm(f"{name}.in_layers.0", wide)
    yield from conv(f"{name}.in_layers.2", wide, into)
    yield from linear(f"{name}.emb_layers.1", embedding, into)
    yield from norm(f"{name}.out_layers.0", into)
    yield from conv(f"{name}.out_layers.3", into, into)
    if wide != into:
        yield from conv(f"{name}.skip_connection", wide, into, 1)


def transformer(name: str, wide: int, depth: int, context: int) -> Shapes:
    """LDM's SpatialTransformer with linear projections, as SD2 and SDXL have it."""
    yield from norm(f"{name}.norm", wide)
    yield from linear(f"{name}.proj_in", wide, wide)
    for number in range(depth):
        block = f"{name}.transformer_blocks.{number}"
        for attention, source in (("attn1", wide), ("attn2", context)):
            yield from linear(f"{block}.{attention}.to_q", wide, wide, bias=False)
            yield from linear(f"{block}.{attention}.to_k", source, wide, bias=False)
            yield from linear(f"{block}.{attention}.to_v", source, wide, bias=False)
            yield from linear(f"{block}.{attention}.to_out.0", wide, wide)
        yield from linear(f"{block}.ff.net.0.proj", wide, wide * 8)
        yield from linear(f"{block}.ff.net.2", wide * 4, wide)
        for number_of_norm in (1, 2, 3):
            yield from norm(f"{block}.norm{number_of_norm}", wide)
    yield from linear(f"{name}.proj_out", wide, wide)


def unet(depths: Sequence[int], context: int, extra: int, channels: int = CHANNELS) -> Shapes:
    """LDM's UNetModel; ``depths`` are the transformer blocks of each level (0: no transformer), ``extra`` the width of SDXL's vector."""
    embedding, widths = channels * 4, [channels * m for m in (1, 2, 4, 4)[: len(depths)]]
    yield from linear("time_embed.0", channels, embedding)
    yield from linear("time_embed.2", embedding, embedding)
    if extra:
        yield from linear("label_emb.0.0", extra, embedding)
        yield from linear("label_emb.0.2", embedding, embedding)
    yield from conv("input_blocks.0.0", 4, channels)
    number, wide, skips = 1, channels, [channels]
    for level, (into, depth) in enumerate(zip(widths, depths, strict=True)):
        for _ in range(2):
            yield from residual(f"input_blocks.{number}.0", wide, into, embedding)
            if depth:
                yield from transformer(f"input_blocks.{number}.1", into, depth, context)
            number, wide = number + 1, into
            skips.append(wide)
        if level < len(widths) - 1:
            yield from conv(f"input_blocks.{number}.0.op", wide, wide)
            number += 1
            skips.append(wide)
    yield from residual("middle_block.0", wide, wide, embedding)
    yield from transformer("middle_block.1", wide, depths[-1] or 1, context)
    yield from residual("middle_block.2", wide, wide, embedding)
    number = 0
    for level, (into, depth) in reversed(list(enumerate(zip(widths, depths, strict=True)))):
        for layer in range(3):
            yield from residual(f"output_blocks.{number}.0", wide + skips.pop(), into, embedding)
            wide = into
            if depth:
                yield from transformer(f"output_blocks.{number}.1", wide, depth, context)
            if layer == 2 and level:
                yield from conv(f"output_blocks.{number}.{2 if depth else 1}.conv", wide, wide)
            number += 1
    yield from norm("out.0", wide)
    yield from conv("out.2", wide, 4)


def open_clip(wide: int, layers: int) -> Shapes:
    """OpenCLIP's text encoder."""
    yield "positional_embedding", (77, wide)
    yield "text_projection", (wide, wide)
    yield "token_embedding.weight", (TOKENS, wide)
    yield from norm("ln_final", wide)
    for number in range(layers):
        block = f"transformer.resblocks.{number}"
        yield from norm(f"{block}.ln_1", wide)
        yield from norm(f"{block}.ln_2", wide)
        yield f"{block}.attn.in_proj_weight", (3 * wide, wide)
        yield f"{block}.attn.in_proj_bias", (3 * wide,)
        yield from linear(f"{block}.attn.out_proj", wide, wide)
        yield from linear(f"{block}.mlp.c_fc", wide, wide * 4)
        yield from linear(f"{block}.mlp.c_proj", wide * 4, wide)


def clip(wide: int, layers: int) -> Shapes:
    """transformers' CLIPTextModel."""
    yield "embeddings.token_embedding.weight", (TOKENS, wide)
    yield "embeddings.position_embedding.weight", (77, wide)
    yield from norm("final_layer_norm", wide)
    for number in range(layers):
        block = f"encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from linear(f"{block}.self_attn.{part}", wide, wide)
        yield from linear(f"{block}.mlp.fc1", wide, wide * 4)
        yield from linear(f"{block}.mlp.fc2", wide * 4, wide)
        yield from norm(f"{block}.layer_norm1", wide)
        yield from norm(f"{block}.layer_norm2", wide)


def filled(prefix: str, shapes: Shapes, draw: torch.Generator) -> dict[str, torch.Tensor]:
    """Random weights of a size that keeps activations near 1: norms do nothing."""
    made = {}
    for name, shape in shapes:
        if len(shape) == 1:
            # Only norms have weights of one dimension. The WebUI divides by the mean of the encoded words, which must not be 0.
            value = torch.full(shape, 1.0 if name.endswith(".weight") else 0.02)
        else:
            embedding = "embedding" in name
            value = torch.randn(shape, generator=draw) * (0.02 if embedding else 1 / math.sqrt(math.prod(shape[1:])))
        made[prefix + name] = value.half()
    return made


UNET_YAML = """{{in_channels: 4, out_channels: 4, model_channels: {channels}, num_res_blocks: 2, num_head_channels: {channels},
        use_spatial_transformer: true, use_linear_in_transformer: true, use_checkpoint: false, legacy: false, {more}}}"""
VAE_YAML = """
        embed_dim: 4
        ddconfig: {double_z: true, z_channels: 4, resolution: 128, in_channels: 3, out_ch: 3, ch: 32, ch_mult: [1, 2, 4, 4],
          num_res_blocks: 2, attn_resolutions: [], dropout: 0.0}
        lossconfig: {target: torch.nn.Identity}"""
SD2_YAML = """model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "v"
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
      params: @UNET@
    first_stage_config:
      target: ldm.models.autoencoder.AutoencoderKL
      params:@VAE@
    cond_stage_config:
      target: ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder
      params: {freeze: true, layer: penultimate}
"""
SDXL_YAML = """model:
  target: sgm.models.diffusion.DiffusionEngine
  params:
    scale_factor: 0.13025
    disable_first_stage_autocast: true
    denoiser_config:
      target: sgm.modules.diffusionmodules.denoiser.DiscreteDenoiser
      params:
        num_idx: 1000
        weighting_config: {target: sgm.modules.diffusionmodules.denoiser_weighting.EpsWeighting}
        scaling_config: {target: sgm.modules.diffusionmodules.denoiser_scaling.EpsScaling}
        discretization_config: {target: sgm.modules.diffusionmodules.discretizer.LegacyDDPMDiscretization}
    network_config:
      target: sgm.modules.diffusionmodules.openaimodel.UNetModel
      params: @UNET@
    conditioner_config:
      target: sgm.modules.GeneralConditioner
      params:
        emb_models:
          - is_trainable: false
            input_key: txt
            target: sgm.modules.encoders.modules.FrozenCLIPEmbedder
            params: {version: "@CLIP@", layer: hidden, layer_idx: 11}
          - is_trainable: false
            input_key: txt
            target: sgm.modules.encoders.modules.FrozenOpenCLIPEmbedder2
            params: {arch: ViT-bigG-14, version: laion2b_s39b_b160k, freeze: true, layer: penultimate, always_return_pooled: true,
              legacy: false}
          - {is_trainable: false, input_key: original_size_as_tuple,
             target: sgm.modules.encoders.modules.ConcatTimestepEmbedderND, params: {outdim: 256}}
          - {is_trainable: false, input_key: crop_coords_top_left,
             target: sgm.modules.encoders.modules.ConcatTimestepEmbedderND, params: {outdim: 256}}
          - {is_trainable: false, input_key: target_size_as_tuple,
             target: sgm.modules.encoders.modules.ConcatTimestepEmbedderND, params: {outdim: 256}}
    first_stage_config:
      target: sgm.models.autoencoder.AutoencoderKLInferenceWrapper
      params:@VAE@
"""
CLIP_CONFIG = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "vocab_size": TOKENS,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 1,
}


def write(family: str, folder: Path, seed: int = 0) -> Path:
    """``narrow-sd2v.safetensors`` or ``narrow-sdxl.safetensors`` in ``folder``, and what lies beside it."""
    draw = torch.Generator().manual_seed(seed)
    if family == "sd2":
        name, depths, context, extra = "narrow-sd2v", (1, 1, 1, 0), 1024, 0
        yaml, more = (
            SD2_YAML,
            "image_size: 16, attention_resolutions: [4, 2, 1], channel_mult: [1, 2, 4, 4], transformer_depth: 1, context_dim: 1024",
        )
        text = filled("cond_stage_model.model.", open_clip(1024, 24), draw)
    else:
        name, depths, context, extra = "narrow-sdxl", (0, 2, 10), 2048, 2816
        yaml, more = (
            SDXL_YAML,
            (
                "adm_in_channels: 2816, num_classes: sequential, attention_resolutions: [4, 2], channel_mult: [1, 2, 4],\n"
                "        transformer_depth: [1, 2, 10], context_dim: 2048, spatial_transformer_attn_type: softmax-xformers"
            ),
        )
        text = filled("conditioner.embedders.0.transformer.text_model.", clip(768, 12), draw)
        text |= filled("conditioner.embedders.1.model.", open_clip(1280, 32), draw)
        yaml = yaml.replace("@CLIP@", str(_clip_folder(folder / f"{name}-clip")))
    weights = {**text, **filled("model.diffusion_model.", unet(depths, context, extra), draw)}
    shipped = load_file(DATA / "checkpoints" / "tiny-faces.safetensors")
    weights |= {key: value for key, value in shipped.items() if key.startswith("first_stage_model.")}
    file = folder / f"{name}.safetensors"
    save_file(weights, file)
    yaml = yaml.replace("@UNET@", UNET_YAML.format(channels=CHANNELS, more=more)).replace("@VAE@", VAE_YAML)
    file.with_suffix(".yaml").write_text(yaml, encoding="utf-8")
    sidecar = {"schema": 1, "note": "random weights, for tests", "resolution": NATIVE}
    sidecar |= {"prepare": {"resolution": NATIVE, "crop_scale": 1.5}, "train": {"resolution": NATIVE}}
    (folder / f"{name}.facechain.json").write_text(json.dumps(sidecar, indent=1), encoding="utf-8")
    return file


def _clip_folder(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for file in (DATA / "sd15" / "tokenizer").iterdir():
        shutil.copyfile(file, folder / file.name)
    (folder / "config.json").write_text(json.dumps(CLIP_CONFIG, indent=1), encoding="utf-8")
    return folder.resolve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the WebUI's folder of checkpoints")
    parser.add_argument("families", nargs="*", default=FAMILIES, metavar="FAMILY", help="sd2, sdxl; both when left out")
    chosen = parser.parse_args()
    for each in chosen.families:
        print(write(each, chosen.folder))
