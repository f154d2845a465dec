"""What the processes of one training say to each other: words over a pipe, adapter and gradients through torch.distributed, on this machine only."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from facechain_ext.ports import Conditioning
from facechain_ext.training.cache import TrainingCache

READY, DONE, SHORT, FAILED = "ready", "done", "short", "failed"
"""A worker's words: the checkpoint is open; the gradients are there (and the loss of its share); memory ran out; what went wrong."""
JOIN, LEARN, STEP, ADD, FORGET, END = "join", "learn", "step", "add", "forget", "end"
"""The leader's words: meet; what to learn from, which follows; compute this step; add the gradients up, or let go of them; no more."""
TIMEOUT = timedelta(minutes=10)
"""For one exchange of gradients, which takes milliseconds; only a process that hangs reaches it."""


@contextlib.contextmanager
def on_this_machine() -> Iterator[None]:
    """Let torch.distributed listen on the loopback device only, in this process and those it starts."""
    names = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if sys.platform.startswith("linux") else ()
    before = {name: os.environ.get(name) for name in names}
    try:
        os.environ.update(dict.fromkeys(names, "lo"))
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def join(device: torch.device, number: int, count: int, meeting: Path) -> None:
    """Meet the others at the file ``meeting``, as process ``number`` of ``count``, from 0; ends when all are there."""
    store = dist.FileStore(str(meeting), count)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=number, world_size=count, timeout=TIMEOUT)


def spread(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Give the leader's ``parameters`` to all."""
    whole = torch.cat([p.detach().flatten() for p in parameters])
    dist.broadcast(whole, 0)
    if dist.get_rank():
        with torch.no_grad():
            for parameter, part in zip(parameters, whole.split([p.numel() for p in parameters]), strict=True):
                parameter.copy_(part.view_as(parameter))


def add_up(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Leave the sum of all processes' gradients in the leader's ``parameters``."""
    whole = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
    dist.reduce(whole, 0)
    if dist.get_rank() == 0:
        for parameter, part in zip(parameters, whole.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)


def packed(*caches: TrainingCache | None) -> bytes:
    """``caches`` as bytes for another process: no file, so that nothing of the photos is left anywhere."""
    file = io.BytesIO()
    torch.save([None if c is None else dataclasses.asdict(c) for c in caches], file)
    return file.getvalue()


def unpacked(data: bytes, device: torch.device) -> list[TrainingCache | None]:
    """The inverse of ``packed``, on ``device``."""
    return [None if found is None else _cache(found) for found in torch.load(io.BytesIO(data), map_location=device, weights_only=True)]


def _cache(found: dict[str, Any]) -> TrainingCache:
    words = {name: Conditioning(**found[name]) for name in ("captions", "empty")}
    return TrainingCache(**{**found, **words})
