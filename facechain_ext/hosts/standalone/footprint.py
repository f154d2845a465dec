"""What training on a checkpoint file takes, told by its header."""

from __future__ import annotations

from math import prod
from pathlib import Path

from facechain_ext.hosts.device import activation_bytes, device_name, free_bytes, peak_speed
from facechain_ext.hosts.standalone.anatomy import UNET, VAE
from facechain_ext.hosts.standalone.inspection import inspect, read_header
from facechain_ext.hosts.standalone.loading import pick_device
from facechain_ext.hosts.standalone.prediction import parameterisation
from facechain_ext.hosts.standalone.sidecar import Sidecar, native
from facechain_ext.ports import Family, Footprint


def footprint(file: Path, sidecar: Sidecar, *, loaded: bool) -> Footprint:
    """Read the header of ``file``; weights count as still to be loaded unless ``loaded``.

    Raises:
        FileFormatError: when it is not a checkpoint that can be trained.
    """
    shapes, (family, _) = read_header(file), inspect(file)
    device, dtype = pick_device()
    beside = {UNET: 0, VAE: 4}
    resting = sum(prod(shape) * beside.get(_part(name), dtype.itemsize) for name, shape in shapes.items())
    return Footprint(
        shapes={name.removeprefix(UNET): shape for name, shape in shapes.items() if name.startswith(UNET) and name.endswith(".weight")},
        resolution=sidecar.resolution or native(family, parameterisation(file, family, sidecar).prediction),
        checkpoint=f"{file.stem} {file.stat().st_size}",
        device=device_name(device),
        bytes_each=activation_bytes(dtype),
        free=free_bytes(device),
        heads=8 if family is Family.SD1 else None,
        unloaded=0 if loaded else sum(prod(shape) for shape in shapes.values()) * dtype.itemsize,
        # In a CPU's memory everything has its place already.
        resting=resting if device.type == "cuda" else 0,
        offloads=device.type == "cuda",
        peak=peak_speed(device, dtype),
    )


def _part(name: str) -> str:
    return next((part for part in (UNET, VAE) if name.startswith(part)), "")
