"""One training in several processes of one machine, each with its own GPU, seen from the one that leads.

The leader alone holds what a training knows: optimizer, state, log, previews, what was asked for. In each step it broadcasts the adapter, every
process computes the gradients of its share of the samples, and their sum comes back to the leader. So whatever the leader does between two
steps (a pause, a way back after a loss that ran away, less memory, long previews) needs no word to the others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from facechain_ext.errors import HostError, TrainingError
from facechain_ext.lora.network import InjectedLora
from facechain_ext.training.cache import TrainingCache
from facechain_ext.training.exchange import (
    ADD,
    END,
    FAILED,
    FORGET,
    JOIN,
    LEARN,
    SHORT,
    STEP,
    add_up,
    join,
    on_this_machine,
    packed,
    spread,
)
from facechain_ext.training.memory import allocator_errors
from facechain_ext.training.optim import OutOfMemory
from facechain_ext.training.recovery import given_up
from facechain_ext.training.run import Run
from facechain_ext.training.samples import gradients
from facechain_ext.training.worker import work

LOOK_EVERY = 0.5
"""Seconds between two looks at a request to cancel while workers are waited for."""
PATIENCE = 10.0
"""Seconds a worker gets to end by itself."""


class WorkerLost(TrainingError):
    """A worker is no more; what the leader knows is whole."""


@dataclass
class _Worker:
    process: Any
    line: Connection


@dataclass
class Crew:
    """The leader and its workers, none of them when one process trains alone; made by ``crew_of``."""

    run: Run
    parameters: list[torch.nn.Parameter]
    meeting: Path = Path()
    workers: list[_Worker] = field(default_factory=list)
    _known: TrainingCache | None = None
    """What the workers learn from."""
    _joined: bool = False

    def gradients(self, cache: TrainingCache, scaler: Any) -> float:
        """Leave the gradients of this step in the parameters; its loss.

        Raises:
            MemoryError, torch.OutOfMemoryError: when memory ran out in any of the processes; gradients are then worth nothing.
            WorkerLost: when a worker is no more.
            TrainingError: when one failed; the message says how.
            Cancelled: while the others are waited for.
        """
        if not self.workers:
            return float(gradients(self.run, cache, scaler.scale))
        with self._together():
            self._gather(cache)
            self._tell(STEP, self.run.step, given_up(self.run), float(scaler.get_scale()))
            spread(self.parameters)
        loss, short = 0.0, None
        try:
            with allocator_errors():
                loss = float(gradients(self.run, cache, scaler.scale, (0, len(self.workers) + 1)))
        except (OutOfMemory, MemoryError) as error:
            short = error
        with self._together():
            answers = [self._answer(worker) for worker in self.workers]
            if short is not None or any(word == SHORT for word, _ in answers):
                self._tell(FORGET)
                raise short or MemoryError("in a worker")
            self._tell(ADD)
            add_up(self.parameters)
        return loss + sum(value for _, value in answers)

    def _gather(self, cache: TrainingCache) -> None:
        """Wait until all are there, and let them have what they learn from."""
        if not self._joined:
            for worker in self.workers:
                self._answer(worker)
            self._tell(JOIN)
            join(self.run.session.device, 0, len(self.workers) + 1, self.meeting)
            self._joined = True
        if cache is not self._known:
            self._tell(LEARN)
            data = packed(cache, self.run.prior)
            for worker in self.workers:
                worker.line.send_bytes(data)
            self._known = cache

    def _tell(self, *words: Any) -> None:
        for worker in self.workers:
            worker.line.send(words)

    def _answer(self, worker: _Worker) -> tuple[str, float]:
        """What ``worker`` says next."""
        while not wait([worker.line, *(w.process.sentinel for w in self.workers)], LOOK_EVERY):
            self.run.watch.cancel.raise_if_cancelled()
        if not worker.line.poll():
            raise EOFError
        word, said = worker.line.recv()
        if word == FAILED:
            raise TrainingError(f"A process of the training failed. {said}")
        return word, said

    @contextlib.contextmanager
    def _together(self) -> Iterator[None]:
        """A line that broke, told as ``WorkerLost``."""
        try:
            yield
        except (EOFError, OSError, RuntimeError) as error:
            if isinstance(error, OutOfMemory):
                raise
            for number, worker in enumerate(self.workers, start=2):
                worker.process.join(LOOK_EVERY)
                code = worker.process.exitcode
                if code is not None:
                    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
                    raise WorkerLost(f"Process {number} of {len(self.workers) + 1} ended unexpectedly ({how}).") from error
            raise WorkerLost(f"The processes of the training lost each other ({type(error).__name__}).") from error

    def dismiss(self) -> None:
        """End every worker, by force where need be."""
        for worker in self.workers:
            with contextlib.suppress(OSError):
                worker.line.send((END,))
        if self._joined:
            with contextlib.suppress(RuntimeError):
                torch.distributed.destroy_process_group()
        for worker in self.workers:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.line.close()
            worker.process.close()


@contextlib.contextmanager
def crew_of(run: Run, adapter: InjectedLora) -> Iterator[Crew]:
    """As many processes as the settings say, gone again when the block ends; they open the checkpoint while the leader goes on.

    Raises:
        HostError: where there cannot be as many.
    """
    count = run.config.processes
    crew = Crew(run, adapter.parameters())
    if count == 1:
        yield crew
        return
    opener = run.session.elsewhere(count)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise HostError("Another training of this program uses several processes. Wait until it has ended, or set processes to 1.")
    threads = torch.get_num_threads()
    each = max(1, threads // count) if run.session.device.type == "cpu" else threads
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="facechain-crew-") as folder, on_this_machine(), _threads(each):
        crew.meeting = Path(folder) / "meeting"
        try:
            for number in range(1, count):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=work, args=(number, opener, run.config, theirs, crew.meeting, each), name=f"facechain-worker-{number}", daemon=True
                )
                process.start()
                theirs.close()
                crew.workers.append(_Worker(process, ours))
            yield crew
        finally:
            crew.dismiss()


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
