"""What the WebUI has loaded, and whether a face LoRA can be trained on it."""

# pyright: reportMissingImports=false
from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import torch
from modules import devices, sd_models, shared

from facechain_ext.config import PrepareConfig
from facechain_ext.errors import HostError
from facechain_ext.hosts.device import activation_bytes, device_name, free_bytes, peak_speed
from facechain_ext.hosts.standalone.inspection import file_sha256
from facechain_ext.hosts.standalone.sidecar import Sidecar, native, read_sidecar
from facechain_ext.lora.naming import (
    SUPPORTED,
    TEXT_PREFIXES,
    adapted,
    diffusers_path,
    kohya_name,
    open_clip_targets,
    text_targets,
    without_layer,
)
from facechain_ext.ports import CheckpointInfo, Family, Footprint, Prediction, TextEncoder

FUSED = {"xformers", "sdp", "sdp-no-mem"}


def loaded() -> Any:
    """The model object the WebUI holds; nothing is loaded for this.

    Raises:
        HostError: when there is none yet.
    """
    model = sd_models.model_data.sd_model
    if model is None or getattr(model, "sd_checkpoint_info", None) is None:
        raise HostError("The WebUI has no checkpoint loaded. Choose one at the top left, wait until it is there, and try again.")
    return model


def family_of(model: Any) -> Family:
    """The family of ``model``.

    Raises:
        HostError: for models a face LoRA cannot be trained on.
    """
    if getattr(model, "is_sdxl", False) and not getattr(model, "is_ssd", False):
        return Family.SDXL
    if getattr(model, "is_sd2", False):
        return Family.SD2
    if getattr(model, "is_sd1", False):
        return Family.SD1
    raise HostError("This checkpoint is neither Stable Diffusion 1, 2 nor SDXL. Load one of these; others cannot be trained yet.")


def check_trainable(model: Any) -> None:
    """Refuse what cannot work, before anything is touched.

    Raises:
        HostError: with what to change.
    """
    family_of(model)
    if getattr(devices, "fp8", False):
        raise HostError(
            "The WebUI stores this checkpoint in FP8, which loses what training needs. Switch 'FP8 weight' off in the settings."
        )
    if shared.cmd_opts.lowvram:
        raise HostError("The WebUI runs with --lowvram, which keeps only pieces of the model on the GPU. Start it with --medvram to train.")
    inputs = unet_of(model).input_blocks[0][0].weight.shape[1]
    if inputs != 4:
        raise HostError(f"This is an inpainting or other special checkpoint ({inputs} input channels). Load a plain one to train.")


def unet_of(model: Any) -> Any:
    """LDM's UNetModel inside ``model``."""
    return model.model.diffusion_model


def footprint_of(model: Any) -> Footprint:
    """What a training on ``model`` takes."""
    unet, info = unet_of(model), model.sd_checkpoint_info
    return Footprint(
        shapes=_shapes(unet),
        resolution=side_of(model, prediction_of(model)),
        checkpoint=f"{info.name_for_extra} {Path(info.filename).stat().st_size}",
        device=device_name(devices.device),
        bytes_each=activation_bytes(devices.dtype_unet),
        free=free_bytes(devices.device),
        heads=unet.num_heads if getattr(unet, "num_heads", -1) > 0 else None,
        fused_attention=_fused(),
        peak=peak_speed(devices.device, devices.dtype_unet),
    )


def _shapes(unet: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """LDM's names and shapes, also while a training has its adapters around the layers."""
    weights = ((name.replace(".base_layer.", "."), p) for name, p in unet.named_parameters() if name.endswith(".weight"))
    return {name: tuple(p.shape) for name, p in weights if not re.search(r"\.(lora_|facechain_)", name)}


def _fused() -> bool:
    """Whether attention is computed without keeping its matrices, by the WebUI's name for the optimisation in use."""
    from modules import sd_hijack

    chosen = getattr(sd_hijack, "current_optimizer", None)
    return getattr(chosen, "name", "") in FUSED


def targets_of(unet: torch.nn.Module, family: Family, reach: str = "linear", *, every: bool = False) -> dict[str, str]:
    """LDM module path -> kohya's name for all that a face LoRA of ``reach`` adapts, with ``every`` all that LoRA files may hold."""
    targets = {}
    for path, module in unet.named_modules():
        # LDM's skip connections are identities where nothing changes its width.
        if getattr(module, "weight", None) is None:
            continue
        try:
            diffusers = diffusers_path(path, family)
        except KeyError:
            continue
        if SUPPORTED.search(diffusers) if every else adapted(diffusers, reach):
            targets[path] = kohya_name(path if family is Family.SDXL else diffusers)
    return targets


def text_encoders_of(model: Any) -> list[TextEncoder]:
    """The text encoders of ``model``: CLIP of transformers, or open_clip's (SD2, SDXL's second)."""
    family = family_of(model)
    if family is Family.SDXL:
        encoders = [e.wrapped for e in model.conditioner.embedders if hasattr(e, "wrapped")]
    else:
        encoders = [model.cond_stage_model.wrapped]
    found = []
    for encoder, prefix in zip(encoders, TEXT_PREFIXES[family], strict=True):
        if hasattr(encoder, "transformer"):
            module, targets = encoder.transformer, text_targets
            layers = module.config.num_hidden_layers
        else:
            module, targets = encoder.model, open_clip_targets
            layers = len(module.transformer.resblocks)
        names = targets([path for path, _ in module.named_modules()], prefix)
        if family is not Family.SD1 and encoder is encoders[0]:
            # SD2's encoder and SDXL's first are read before their last layer, which so has nothing to learn from.
            names = without_layer(names, layers - 1)
        found.append(TextEncoder(module, names))
    return found


def sidecar_of(model: Any) -> Sidecar:
    """Our settings beside the checkpoint's file."""
    return read_sidecar(Path(model.sd_checkpoint_info.filename))


def prediction_of(model: Any) -> Prediction:
    """What the UNet of ``model`` predicts."""
    return Prediction.V if getattr(model, "parameterization", "eps") == "v" else Prediction.EPS


def side_of(model: Any, prediction: Prediction | None = None) -> int:
    """Native px of ``model``, which is known to give ``prediction``."""
    return sidecar_of(model).resolution or native(family_of(model), prediction)


def prepare_settings(sidecar: Sidecar) -> PrepareConfig:
    """How photos become a dataset: what suits the checkpoint, and what the user chose on the settings page."""
    return dataclasses.replace(sidecar.prepare, keep_photos=bool(shared.opts.data.get("facechain_keep_photos")))


def checkpoint_of(model: Any) -> CheckpointInfo:
    """Name, hash, family and native size of ``model``."""
    info = model.sd_checkpoint_info
    sha256, prediction = info.sha256 or file_sha256(Path(info.filename)), prediction_of(model)
    return CheckpointInfo(info.name_for_extra, sha256, family_of(model), prediction, side_of(model, prediction))
