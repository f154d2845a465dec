"""CPU in float32: the host's ``--use-cpu all --no-half``."""

import contextlib

import torch

cpu = device = torch.device("cpu")
dtype = dtype_vae = dtype_unet = dtype_inference = torch.float32
fp8 = False


def autocast(disable: bool = False):
    # In float32 the host's is no context at all (modules/devices.py:225).
    return contextlib.nullcontext()


def torch_gc() -> None:
    pass
