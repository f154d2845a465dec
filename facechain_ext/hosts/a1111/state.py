"""Everything of the WebUI that training or sampling touches, put back on exit."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import networks
import numpy as np
import torch
from modules import call_queue, processing, shared
from modules.processing import StableDiffusionProcessing, StableDiffusionProcessingTxt2Img

from facechain_ext.errors import Cancelled
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage, silent

LOOK_S = 0.2
"""How often a job that waits in the queue looks whether it was cancelled."""


@contextlib.contextmanager
def queued(job: str, on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> Iterator[None]:
    """Wait for our turn in the WebUI's queue, then show ``job`` as the running one.

    The lock is not re-entrant (modules/fifo_lock.py): what runs inside must not take it again.

    Raises:
        Cancelled: when ``cancel`` was called during the wait.
    """
    _take_turn(on_progress, cancel or CancelToken())
    try:
        shared.state.begin(job=job)
        shared.state.job_count = 1
        try:
            yield
        finally:
            shared.state.end()
    finally:
        call_queue.queue_lock.release()


@contextlib.contextmanager
def nested(_job: str, _on_progress: ProgressSink = silent, cancel: CancelToken | None = None) -> Iterator[None]:
    """In place of ``queued`` for a job inside one that holds the queue: a picture made for another one.

    Raises:
        Cancelled: when the WebUI was interrupted.
    """
    if shared.state.interrupted or (cancel is not None and cancel.cancelled):
        raise Cancelled("The WebUI was interrupted. Nothing was changed.")
    # What is sampled inside counts itself as done.
    shared.state.job_count += 1
    yield


def _take_turn(on_progress: ProgressSink, cancel: CancelToken) -> None:
    """Take the queue's lock in the order of arrival; a plain ``acquire`` would be deaf to ``cancel``."""
    if call_queue.queue_lock.acquire(blocking=False):
        return
    on_progress(Progress(Stage.WAITING, message="until the WebUI has finished what it is making"))
    turn, decided, given_up = threading.Event(), threading.Lock(), False

    def wait_in_line() -> None:
        call_queue.queue_lock.acquire()
        with decided:
            if given_up:
                call_queue.queue_lock.release()
            else:
                turn.set()

    threading.Thread(target=wait_in_line, name="facechain-queue", daemon=True).start()
    while not turn.wait(LOOK_S):
        if cancel.cancelled:
            with decided:
                given_up = not turn.is_set()
            if given_up:
                cancel.raise_if_cancelled()
    on_progress(Progress(Stage.LOAD))


@contextlib.contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """Flags, gradients, modes, hooks' owners, caches, RNG and the LoRAs in use of the WebUI are on exit what they were.

    Inside, no LoRA is merged into the weights and every parameter is frozen.
    """
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    modes = [(m, m.training) for m in model.modules()]
    history = shared.cmd_opts.no_prompt_history
    active = list(networks.loaded_networks)
    with random_state(), fresh_prompt_caches():
        try:
            clear_loras(model)
            # The WebUI keeps 'last prompt' in params.txt; previews must not take its place.
            shared.cmd_opts.no_prompt_history = True
            for parameter, _, _ in flags:
                parameter.requires_grad_(False)
            yield
        finally:
            clear_loras(model)
            networks.loaded_networks[:] = active
            for parameter, wanted, gradient in flags:
                parameter.requires_grad_(wanted)
                parameter.grad = gradient
            for module, training in modes:
                module.training = training
            shared.cmd_opts.no_prompt_history = history


@contextlib.contextmanager
def random_state() -> Iterator[None]:
    """Put Python's, NumPy's and torch's generators back on exit."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)


def clear_loras(model: Any) -> None:
    """Take every merged LoRA out of the weights now; the WebUI itself does so only at each layer's next forward.

    extensions-builtin/Lora/networks.py: ``network_apply_weights`` copies a layer's backup back when no network is loaded.
    """
    networks.loaded_networks.clear()
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "network_layer_name", None) is not None and getattr(module, "network_current_names", ()) != ():
                networks.network_apply_weights(module)


@contextlib.contextmanager
def fresh_prompt_caches() -> Iterator[None]:
    """The class-level caches of encoded prompts are empty meanwhile and the same objects again on exit."""
    found = []
    for owner, names in (
        (StableDiffusionProcessing, ("cached_c", "cached_uc")),
        (StableDiffusionProcessingTxt2Img, ("cached_c", "cached_uc", "cached_hr_c", "cached_hr_uc")),
        (processing.StableDiffusionProcessingImg2Img, ("cached_c", "cached_uc")),
    ):
        for name in names:
            if name in owner.__dict__:
                found.append((owner, name, owner.__dict__[name]))
                setattr(owner, name, [None, None])
    try:
        yield
    finally:
        for owner, name, value in found:
            setattr(owner, name, value)


@contextlib.contextmanager
def unlisted_options(names: Iterable[str]) -> Iterator[None]:
    """Options of these names that were never set are not set on exit: ``process_images`` restores only the others (processing.py:823).

    Nothing more is put back, since another user may change settings meanwhile.
    """
    unset = [name for name in names if name not in shared.opts.data]
    try:
        yield
    finally:
        for name in unset:
            shared.opts.data.pop(name, None)
