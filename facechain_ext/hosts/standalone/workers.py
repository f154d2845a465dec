"""The checkpoint opened once more in another process, which computes a share of a training on a GPU of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from facechain_ext.errors import HostError
from facechain_ext.hosts.standalone.sidecar import Stamp, stamp_of
from facechain_ext.ports import TrainSession

Opener = Callable[[int], contextlib.AbstractContextManager[TrainSession]]


def most_processes() -> int:
    """How many a training here can make use of: one for each GPU."""
    return max(1, torch.cuda.device_count()) if torch.cuda.is_available() else 1


def check_processes(device: torch.device, processes: int) -> None:
    """Refuse more processes than there are GPUs.

    Raises:
        HostError: saying how many there are.
    """
    there = most_processes()
    if device.type == "cuda" and processes > there:
        raise HostError(f"{processes} processes need as many GPUs, and this machine has {there}. Set processes to {there} or less.")
    if device.type == "mps":
        raise HostError("This machine has one GPU, which several processes cannot share. Set processes to 1.")


@contextlib.contextmanager
def opened_in_worker(file: Path, stamp: Stamp, precision: str, number: int) -> Iterator[TrainSession]:
    """``file`` opened for training in this process, which is worker ``number`` of a training, from 1.

    Raises:
        HostError: when the file is no longer what the training began with.
    """
    from facechain_ext.hosts.standalone.host import StandaloneHost

    if stamp_of(file) != stamp:
        raise HostError(f"The checkpoint {file.name} was replaced meanwhile. Start the training anew with the new one.")
    if torch.cuda.is_available():
        # "cuda" means this one from here on. The leader is on the first.
        torch.cuda.set_device(number)
    with StandaloneHost(file).open_session(precision=precision) as session:
        yield session
