"""What the machine has: free memory, and the speed of large matrix products."""

from __future__ import annotations

import functools
import time

import psutil
import torch

from facechain_ext.training.plan import MIXED

PROBE_SIDE = {"cpu": 768, "cuda": 4096, "mps": 2048}
PROBE_RUNS = 3


def activation_bytes(dtype: torch.dtype) -> float:
    """Bytes of one activation of a model that computes in ``dtype``."""
    return 4 if dtype is torch.float32 else MIXED


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be taken on ``device``, None when that cannot be told."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds and does not use is given to whoever asks next in this process.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return psutil.virtual_memory().available if device.type in ("cpu", "mps") else None


def device_name(device: torch.device) -> str:
    """``cpu``, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@functools.cache
def peak_speed(device: torch.device, dtype: torch.dtype) -> float | None:
    """Operations per second of large matrix products, measured in a fraction of a second; None when it cannot be."""
    side = PROBE_SIDE.get(device.type)
    if side is None:
        return None
    try:
        # Without gradient and with no look at the generators: whoever draws next must not notice.
        with torch.no_grad():
            a = torch.ones(side, side, device=device, dtype=dtype)
            torch.mm(a, a)
            best = float("inf")
            for _ in range(PROBE_RUNS):
                _finish(device)
                began = time.perf_counter()
                torch.mm(a, a)
                _finish(device)
                best = min(best, time.perf_counter() - began)
    except RuntimeError:  # out of memory, or no such product in this precision
        return None
    return 2 * side**3 / best if best > 0 else None


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
