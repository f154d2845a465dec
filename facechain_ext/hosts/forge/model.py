"""The model of Forge or reForge, and whether a face LoRA can be trained on it."""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path
from typing import Any

from modules import devices

from facechain_ext.errors import FileFormatError, HostError
from facechain_ext.hosts.a1111.model import MIXED, NATIVE, family_of, sidecar_of, targets_of
from facechain_ext.hosts.device import device_name, free_bytes, peak_speed
from facechain_ext.hosts.forge.engine import Engine
from facechain_ext.hosts.standalone.inspection import UNET, file_sha256, read_header
from facechain_ext.hosts.standalone.sidecar import read_sidecar
from facechain_ext.ports import CheckpointInfo, Family, Footprint, Prediction

TRAINABLE = {"float32", "float16", "bfloat16"}
"""Stored precisions from which gradients can be computed."""
CONTEXTS = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}
CONTEXT_KEY = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


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
    return CheckpointInfo(info.name_for_extra, sha256, family_of(model), prediction, sidecar_of(model).resolution)


def footprint_of(engine: Engine, info: Any) -> Footprint:
    """What a training on the checkpoint that ``info`` describes takes, told by its header; nothing is loaded for it.

    Raises:
        HostError: when the header cannot be read (a ``.ckpt``, a ``.gguf``).
    """
    file, model = Path(info.filename), engine.held()
    try:
        shapes = {name.removeprefix(UNET): shape for name, shape in read_header(file).items() if name.startswith(UNET)}
    except FileFormatError as error:
        raise HostError(str(error)) from error
    family = CONTEXTS.get(shapes.get(CONTEXT_KEY, (0, 0))[-1], Family.SD1)
    dtype = engine.dtype(model) if model is not None else devices.dtype_unet
    weights = 0 if model is not None else sum(_count(shape) for shape in shapes.values()) * dtype.itemsize
    return Footprint(
        shapes={name: shape for name, shape in shapes.items() if name.endswith(".weight")},
        resolution=read_sidecar(file).resolution if family is Family.SD1 else NATIVE[family],
        checkpoint=f"{info.name_for_extra} {file.stat().st_size}",
        device=device_name(devices.device),
        bytes_each=4 if dtype.itemsize == 4 else MIXED,
        free=free_bytes(devices.device),
        heads=8 if family is Family.SD1 else None,
        unloaded=weights,
        peak=peak_speed(devices.device, dtype),
    )


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
