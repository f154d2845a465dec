"""The model of Forge or reForge, and whether a face LoRA can be trained on it."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import re
from math import prod
from pathlib import Path
from typing import Any

from modules import devices

from facechain_ext.errors import FileFormatError, HostError
from facechain_ext.hosts.a1111.model import family_of, side_of, targets_of
from facechain_ext.hosts.device import activation_bytes, device_name, free_bytes, peak_speed
from facechain_ext.hosts.forge.engine import Engine
from facechain_ext.hosts.standalone.anatomy import UNET
from facechain_ext.hosts.standalone.inspection import file_sha256, read_header
from facechain_ext.hosts.standalone.sidecar import native, read_sidecar
from facechain_ext.ports import CheckpointInfo, Family, Footprint, Prediction

TRAINABLE = {"float32", "float16", "bfloat16"}
"""Stored precisions from which gradients can be computed."""
CONTEXTS = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}
CONTEXT_KEY = re.compile(r"input_blocks\.\d+\.1\.transformer_blocks\.0\.attn2\.to_k\.weight")


def unet_of(model: Any) -> Any:
    """The UNet itself, with LDM's paths."""
    return model.forge_objects_original.unet.model.diffusion_model


def check_trainable(engine: Engine, model: Any) -> None:
    """Refuse what cannot work, before anything is touched.

    Raises:
        HostError: with what to change.
    """
    kind = type(model).__name__
    if "Refiner" in kind:
        raise HostError("This is the SDXL refiner, which only finishes pictures. Load the SDXL base checkpoint to train.")
    try:
        family = family_of(model)
    except HostError:
        raise HostError(
            f"This checkpoint is of the kind {kind}. A face LoRA can be trained on Stable Diffusion 1, 2 and SDXL; load one of these."
        ) from None
    storage = engine.storage(model)
    if storage not in TRAINABLE:
        raise HostError(
            f"The WebUI keeps this checkpoint's UNet in {storage}, through which no gradient can be computed. "
            "Set 'Diffusion in Low Bits' to Automatic, or load a checkpoint that is stored in 16 or 32 bits."
        )
    unet = unet_of(model)
    inputs = unet.input_blocks[0][0].weight.shape[1]
    if inputs != 4:
        raise HostError(f"This is an inpainting or other special checkpoint ({inputs} input channels). Load a plain one to train.")
    if engine.prediction(model) is None:
        raise HostError("This checkpoint predicts neither noise nor velocity, which training is written for. Load another one.")
    if not targets_of(unet, family):
        raise HostError("This checkpoint's UNet has none of the layers a face LoRA adapts. Load a plain SD1, SD2 or SDXL checkpoint.")


def check_resident(model: Any) -> None:
    """Refuse when memory management could bring only a part of the UNet to the device.

    Raises:
        HostError: with what to change.
    """
    patcher = model.forge_objects_original.unet
    device = patcher.load_device.type
    weights = list(unet_of(model).parameters())
    total = sum(p.numel() * p.element_size() for p in weights)
    there = sum(p.numel() * p.element_size() for p in weights if p.device.type == device)
    if there < total:
        raise HostError(
            f"Only {there >> 20} of {total >> 20} MB of the UNet fit on the GPU beside what the WebUI keeps free there. "
            "Raise 'GPU Weights' at the top of the page (Forge), close other programs that use the GPU, or train on a smaller checkpoint."
        )


def checkpoint_of(engine: Engine, model: Any) -> CheckpointInfo:
    """Name, hash, family and native size of ``model``."""
    info = model.sd_checkpoint_info
    sha256 = info.sha256 or file_sha256(Path(info.filename))
    prediction = engine.prediction(model) or Prediction.EPS
    return CheckpointInfo(info.name_for_extra, sha256, family_of(model), prediction, side_of(model, prediction))


def check_kind(info: Any) -> None:
    """Refuse what its header says is no Stable Diffusion, before gigabytes of it are loaded; files without such a header pass.

    Raises:
        HostError: with what to load.
    """
    with contextlib.suppress(FileFormatError):
        _told_family(info, unet_shapes(Path(info.filename)))


def unet_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of the UNet in ``file``, by LDM's names; Forge also takes files that hold nothing else.

    Raises:
        FileFormatError: when it is not a safetensors file.
    """
    shapes = read_header(file)
    alone = not any(name.startswith(UNET) for name in shapes)
    return {name.removeprefix(UNET): shape for name, shape in shapes.items() if alone or name.startswith(UNET)}


def _told_family(info: Any, shapes: dict[str, tuple[int, ...]]) -> Family:
    family = next((CONTEXTS.get(shape[-1]) for name, shape in shapes.items() if CONTEXT_KEY.fullmatch(name)), None)
    if family is None:
        raise HostError(
            f"{info.name_for_extra} is no Stable Diffusion 1, 2 or SDXL checkpoint, so no face LoRA can be trained on it. Choose one that is."
        )
    return family


def footprint_of(engine: Engine, info: Any) -> Footprint:
    """What a training on the checkpoint that ``info`` describes takes, told by its header; nothing is loaded for it.

    Raises:
        HostError: when the header cannot be read (a ``.ckpt``, a ``.gguf``), or is of none of the families.
    """
    file, model = Path(info.filename), engine.held()
    try:
        shapes = unet_shapes(file)
    except FileFormatError as error:
        raise HostError(str(error)) from error
    family = _told_family(info, shapes)
    sidecar = read_sidecar(file)
    dtype = engine.dtype(model) if model is not None else devices.dtype_unet
    weights = 0 if model is not None else sum(prod(shape) for shape in shapes.values()) * dtype.itemsize
    return Footprint(
        shapes={name: shape for name, shape in shapes.items() if name.endswith(".weight")},
        resolution=sidecar.resolution or native(family, None),
        checkpoint=f"{info.name_for_extra} {file.stat().st_size}",
        device=device_name(devices.device),
        bytes_each=activation_bytes(dtype),
        free=free_bytes(devices.device),
        heads=8 if family is Family.SD1 else None,
        unloaded=weights,
        peak=peak_speed(devices.device, dtype),
    )
