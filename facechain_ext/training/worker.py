"""A process that computes its share of every step of a training that another process leads (``crew``)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch
import torch.distributed as dist

from facechain_ext.config import TrainConfig
from facechain_ext.lora.network import InjectedLora
from facechain_ext.ports import TrainSession
from facechain_ext.training.adapted import adapted
from facechain_ext.training.cache import TrainingCache
from facechain_ext.training.exchange import ADD, DONE, END, FAILED, JOIN, LEARN, READY, SHORT, STEP, add_up, join, spread, unpacked
from facechain_ext.training.memory import allocator_errors
from facechain_ext.training.optim import OutOfMemory
from facechain_ext.training.recovery import release
from facechain_ext.training.samples import gradients

Opener = Callable[[int], AbstractContextManager[TrainSession]]
"""Opens the leader's checkpoint once more, for the worker of that number from 1; can be sent to another process."""

GRACE = 30.0
"""Seconds between a polite kill and the end of a worker whose leader says nothing."""


@dataclass
class Lesson:
    """What a worker knows of the training; implements ``Learner``."""

    session: TrainSession
    config: TrainConfig
    cache: TrainingCache | None = None
    prior: TrainingCache | None = None
    step: int = 0
    portion: int = 1


def work(number: int, opener: Opener, config: TrainConfig, line: Connection, meeting: Path, threads: int) -> None:
    """Serve the leader at the other end of ``line`` until it says so or is no more."""
    # Ctrl-C goes to every process of a terminal, a polite kill to every one of a service, and what it means is the leader's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _last_call)
    torch.set_num_threads(threads)
    try:
        with opener(number) as session, adapted(session, config) as adapter:
            line.send((READY, 0.0))
            _serve(number, Lesson(session, config), adapter, line, meeting)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # an entry point: the leader tells people
        line.send((FAILED, f"{type(error).__name__}: {error}"))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _last_call(*_: object) -> None:
    """The leader has that long to end its step and keep what it has."""
    timer = threading.Timer(GRACE, os._exit, (0,))
    timer.daemon = True
    timer.start()


def _serve(number: int, lesson: Lesson, adapter: InjectedLora, line: Connection, meeting: Path) -> None:
    parameters = adapter.parameters()
    device = lesson.session.device
    while True:
        word, *more = line.recv()
        if word == END:
            return
        if word == JOIN:
            join(device, number, lesson.config.processes, meeting)
        elif word == LEARN:
            lesson.cache, lesson.prior = unpacked(line.recv_bytes(), device)
        elif word == STEP:
            _step(lesson, parameters, line, *more)
        else:
            if word == ADD:
                add_up(parameters)
            for parameter in parameters:
                parameter.grad = None


def _step(lesson: Lesson, parameters: list[torch.nn.Parameter], line: Connection, number: int, lean: dict[str, int], scale: float) -> None:
    """The gradients of this worker's share of step ``number``, made do as ``lean`` says (``recovery.given_up``)."""
    if lesson.cache is None:
        raise ValueError("a step before anything to learn from")
    if lean["saving"]:
        lesson.session.checkpoint_blocks()
    if lean["offloading"]:
        lesson.session.offload_blocks()
    lesson.step, lesson.portion = number, lean["portion"]
    spread(parameters)
    try:
        with allocator_errors():
            loss = float(gradients(lesson, lesson.cache, lambda value: value * scale, (dist.get_rank(), dist.get_world_size())))
    except (OutOfMemory, MemoryError):
        for parameter in parameters:
            parameter.grad = None
        release(lesson.session.device)
        line.send((SHORT, 0.0))
    else:
        line.send((DONE, loss))
