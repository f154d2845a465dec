"""kohya's names for LoRA modules, as A1111, Forge, ComfyUI, kohya's tools and diffusers read them. Strings only.

SD1 and SD2 files name UNet modules by their diffusers path; SDXL files by their LDM path (kohya's ``networks/lora.py``).
The WebUI's own modules carry LDM paths in every family, so both directions are needed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from facechain_ext.errors import UserInputError
from facechain_ext.ports import Family

UNET, TEXT = "lora_unet_", "lora_te_"
TEXT_PREFIXES = {Family.SD1: (TEXT,), Family.SD2: (TEXT,), Family.SDXL: ("lora_te1_", "lora_te2_")}
"""Of each text encoder's modules."""
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FACE_TARGETS = re.compile(
    r"attentions\.\d+\.(proj_in|proj_out|transformer_blocks\.\d+\.(attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2)))$"
)
"""What a face LoRA adapts, by diffusers path: every linear or 1x1 layer of the spatial transformers."""
RESIDUAL_TARGETS = re.compile(r"(resnets\.\d+\.(conv1|conv2|conv_shortcut|time_emb_proj)|(down|up)samplers\.0\.conv)$")
"""What LoCon adapts beside those: every layer of the residual blocks and samplers, as kohya's ``conv_dim`` does."""
TEXT_TARGETS = re.compile(r"encoder\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|mlp\.(fc1|fc2))$")
SUPPORTED = re.compile(
    r"(proj_in|proj_out|attn[12]\.(to_q|to_k|to_v|to_out\.0)|ff\.net\.(0\.proj|2)|conv1|conv2|conv_shortcut|time_emb_proj"
    r"|(down|up)samplers\.0\.conv|conv_in|conv_out|time_embedding\.linear_[12])$"
)
"""Everything a LoRA or LoCon file may adapt in a UNet."""

_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_OUTER = {
    "input_blocks.0.0": "conv_in",
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
_LEVELS = {Family.SD1: 4, Family.SD2: 4, Family.SDXL: 3}
_LAYERS = 2
"""Residual blocks a level on the way down; one more on the way up."""


def kohya_name(path: str, prefix: str = UNET) -> str:
    """``mid_block.attentions.0.proj_in`` -> ``lora_unet_mid_block_attentions_0_proj_in``."""
    return prefix + path.replace(".", "_")


def diffusers_path(ldm: str, family: Family) -> str:
    """The diffusers path of the UNet module that LDM calls ``ldm``, e.g. ``input_blocks.1.1.proj_in``.

    Raises:
        KeyError: when LDM has no such module.
    """
    for inner, outer in _OUTER.items():
        if ldm == inner:
            return outer
    match = re.fullmatch(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)(?:\.(.+))?|middle_block\.(\d)(?:\.(.+))?", ldm)
    if match is None:
        raise KeyError(ldm)
    if match[5] is not None:
        place, rest = int(match[5]), match[6] or ""
        return f"mid_block.attentions.0.{rest}" if place == 1 else f"mid_block.resnets.{place // 2}.{_resnet(rest, ldm)}"
    side, number, place, rest = match[1], int(match[2]), int(match[3]), match[4] or ""
    if side == "input_blocks":
        level, layer = divmod(number - 1, _LAYERS + 1)
        block = f"down_blocks.{level}"
        if layer == _LAYERS:
            return _sampler(block, "downsamplers.0.conv", rest, "op", ldm)
    else:
        level, layer = divmod(number, _LAYERS + 1)
        block = f"up_blocks.{level}"
        if rest == "conv":
            return f"{block}.upsamplers.0.conv"
    if place == 0:
        return f"{block}.resnets.{layer}.{_resnet(rest, ldm)}"
    if place != 1:
        raise KeyError(ldm)
    return f"{block}.attentions.{layer}.{rest}"


def _resnet(rest: str, whole: str) -> str:
    if rest not in _RESNET:
        raise KeyError(whole)
    return _RESNET[rest]


def _sampler(block: str, name: str, rest: str, wanted: str, whole: str) -> str:
    if rest != wanted:
        raise KeyError(whole)
    return f"{block}.{name}"


def ldm_path(diffusers: str, family: Family) -> str:
    """The LDM path of the UNet module at ``diffusers``; the inverse of ``diffusers_path``.

    Raises:
        KeyError: when it is no UNet module of that family.
    """
    for inner, outer in _OUTER.items():
        if diffusers == outer:
            return inner
    back = {v: k for k, v in _RESNET.items()}
    if match := re.fullmatch(r"mid_block\.(attentions|resnets)\.(\d)\.(.+)", diffusers):
        return f"middle_block.1.{match[3]}" if match[1] == "attentions" else f"middle_block.{2 * int(match[2])}.{back[match[3]]}"
    match = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", diffusers)
    if match is None:
        raise KeyError(diffusers)
    level, kind, layer, rest = int(match[2]), match[3], int(match[4]), match[5]
    if match[1] == "down":
        if kind == "downsamplers":
            return f"input_blocks.{(level + 1) * (_LAYERS + 1)}.0.op"
        at = f"input_blocks.{level * (_LAYERS + 1) + layer + 1}"
    else:
        if kind == "upsamplers":
            return f"output_blocks.{level * (_LAYERS + 1) + _LAYERS}.{_upsampler_place(level, family)}.conv"
        at = f"output_blocks.{level * (_LAYERS + 1) + layer}"
    return f"{at}.0.{back[rest]}" if kind == "resnets" else f"{at}.1.{rest}"


def _upsampler_place(level: int, family: Family) -> int:
    """Behind residual block and transformer where the level has one; SD1's and SD2's lowest level has none."""
    return 1 if level == 0 and _LEVELS[family] == 4 else 2


def adapted(path: str, reach: str) -> bool:
    """Whether a face LoRA of ``reach`` ("attention", "linear" or "conv") adapts the UNet module at the diffusers ``path``."""
    if reach == "attention":
        return bool(FACE_TARGETS.search(path)) and path.endswith(ATTENTION)
    return bool(FACE_TARGETS.search(path) or (reach == "conv" and RESIDUAL_TARGETS.search(path)))


def unet_targets(paths: Iterable[str], family: Family, *, reach: str = "linear", every: bool = False) -> dict[str, str]:
    """Diffusers path -> kohya's name, for a face LoRA's targets among ``paths`` (or all that LoRA files may hold, with ``every``)."""
    chosen = [p for p in paths if (SUPPORTED.search(p) if every else adapted(p, reach))]
    if family is Family.SDXL:
        return {p: kohya_name(ldm_path(p, family)) for p in chosen}
    return {p: kohya_name(p) for p in chosen}


OPEN_CLIP_TARGETS = re.compile(r"transformer\.resblocks\.(\d+)\.mlp\.(c_fc|c_proj)$")
"""Its attention keeps q, k and v as one weight that no layer of its own multiplies with."""


def open_clip_targets(paths: Iterable[str], prefix: str = TEXT) -> dict[str, str]:
    """open_clip module path -> kohya's name, for what can be adapted of the text encoders that SD2 and SDXL have in the WebUI."""
    found = {p: m for p in paths if (m := OPEN_CLIP_TARGETS.search(p))}
    inner = {"c_fc": "mlp.fc1", "c_proj": "mlp.fc2"}
    return {p: kohya_name(f"text_model.encoder.layers.{m[1]}.{inner[m[2]]}", prefix) for p, m in found.items()}


def text_targets(paths: Iterable[str], prefix: str = TEXT) -> dict[str, str]:
    """Text-encoder module path -> kohya's name, e.g. ``lora_te_text_model_encoder_layers_0_mlp_fc1``.

    transformers 5 dropped ``text_model.`` from the paths; the files keep it.
    """
    return {p: kohya_name("text_model." + p.removeprefix("text_model."), prefix) for p in paths if TEXT_TARGETS.search(p)}


def without_layer(targets: Mapping[str, str], layer: int) -> dict[str, str]:
    """Those of a text encoder's ``targets`` that are not in its ``layer``, by kohya's names."""
    return {path: name for path, name in targets.items() if f"_layers_{layer}_" not in name}


def inverse(names: Mapping[str, str]) -> dict[str, str]:
    """kohya's name -> path."""
    return {name: path for path, name in names.items()}


BLOCKS = {Family.SD1: 25, Family.SD2: 25, Family.SDXL: 19}
"""Blocks of the UNet with weights of their own: in, middle, out."""
_OLD_BLOCK = re.compile(UNET + r"(?:(down|up)_blocks_(\d)_(resnets|attentions|downsamplers|upsamplers)_(\d)_|(mid_block)_|(conv_in)$)")
_LDM_BLOCK = re.compile(UNET + r"(?:(input|output)_blocks_(\d+)_|(middle_block)_)")


def block_of(name: str, family: Family) -> int | None:
    """In which of the UNet's blocks the module with kohya's ``name`` lies, 0 the first; None outside them (time embedding, output, text)."""
    middle = BLOCKS[family] // 2
    if found := _LDM_BLOCK.match(name):
        return middle if found[3] else int(found[2]) + (middle + 1 if found[1] == "output" else 0)
    found = _OLD_BLOCK.match(name)
    if found is None:
        return None
    if found[5] or found[6]:
        return middle if found[5] else 0
    level, layer = int(found[2]), int(found[4])
    if found[1] == "down":
        return (level + 1) * (_LAYERS + 1) if found[3] == "downsamplers" else level * (_LAYERS + 1) + layer + 1
    return middle + 1 + level * (_LAYERS + 1) + (_LAYERS if found[3] == "upsamplers" else layer)


def block_weights(weights: Sequence[float], family: Family) -> Callable[[str], float]:
    """The multiplier of each module by its kohya's name; 1 outside the blocks, and everywhere when ``weights`` is empty.

    Raises:
        UserInputError: when their number is that of another family.
    """
    if weights and len(weights) != BLOCKS[family]:
        raise UserInputError(f"This checkpoint's UNet has {BLOCKS[family]} blocks, but there are {len(weights)} block weights.")

    def weight(name: str) -> float:
        place = block_of(name, family) if weights else None
        return 1.0 if place is None else weights[place]

    return weight
