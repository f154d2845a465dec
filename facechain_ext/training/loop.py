"""The training loop: one for every host and model family; what differs sits behind ``TrainSession``."""

from __future__ import annotations

import math
import shutil
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from facechain_ext.config import TrainConfig
from facechain_ext.errors import Cancelled, Paused, StorageError, TrainingError, UserInputError
from facechain_ext.faces.types import Dataset
from facechain_ext.lora.adapters import AdapterState
from facechain_ext.lora.network import InjectedLora
from facechain_ext.ports import TrainSession
from facechain_ext.progress import Eta, LossPoint, Progress, Stage
from facechain_ext.training.adapted import adapted
from facechain_ext.training.cache import TrainingCache, build_cache, in_orders, masked_by
from facechain_ext.training.checkpoints import TrainState, differences, fingerprint, load_state, save_state
from facechain_ext.training.choice import Candidates, Choice, why_stop
from facechain_ext.training.crew import Crew, WorkerLost, crew_of
from facechain_ext.training.ema import MovingAverage
from facechain_ext.training.latents import LatentStore
from facechain_ext.training.memory import allocator_errors
from facechain_ext.training.optim import (
    OptimizerState,
    OutOfMemory,
    gradient_scaler,
    learning_rate,
    make_optimizer,
    resting,
    restore,
    set_learning_rate,
    state_of,
)
from facechain_ext.training.previews import keep_the_best, preview
from facechain_ext.training.prior import class_dataset, prior_cache
from facechain_ext.training.recovery import MOST_BACK, give_up, given_up, lighten, ran_away, release
from facechain_ext.training.run import Run, Score, Sources, Watch, recent_loss
from facechain_ext.training.runlog import LOG_FILE, RunLog
from facechain_ext.training.start import begin_with

__all__ = ["STATE_FILE", "Score", "Sources", "TrainOutcome", "Watch", "train"]

STATE_FILE = "state.safetensors"
CANDIDATES = "candidates"


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What a training leaves: the adapter on the CPU and its history."""

    adapter: AdapterState
    """By kohya's names."""
    steps: int
    seconds: float
    loss: float
    likeness: float | None
    stopped_early: bool
    """On request; False when more steps would not have helped."""
    curve: tuple[LossPoint, ...]
    previews: tuple[Path, ...]
    choice: Choice | None = None
    """Which LoRA was kept, where there was one to choose."""
    notes: tuple[str, ...] = ()
    """Sentences about what was not as planned."""
    grown_from: str = ""
    """Name and hash of the LoRA that this one continues."""


def train(
    session: TrainSession,
    dataset: Dataset,
    config: TrainConfig,
    folder: Path,
    watch: Watch,
    *,
    resume: bool = False,
    sources: Sources | None = None,
) -> TrainOutcome:
    """Train a face LoRA; the session's model is as before when this returns or raises.

    ``folder`` gets the resumable state, the run's log and the previews; ``sources`` says what it builds on.

    Raises:
        UserInputError: when there is nothing to resume, something else was trained then, or the LoRA to start from does not fit.
        TrainingError: when the loss keeps running away or memory is too small for the leanest way; the last saved state stays.
        Paused: when paused; the state of this very step is saved.
        Cancelled: when cancelled; the last saved state stays.
    """
    marks = fingerprint(dataset, session.checkpoint, config)
    saved = _saved_state(folder / STATE_FILE, marks) if resume else None
    if saved is None:
        shutil.rmtree(folder / CANDIDATES, ignore_errors=True)
    log, candidates = RunLog(folder / LOG_FILE, fresh=saved is None), Candidates(folder / CANDIDATES)
    resolution = config.resolution or session.checkpoint.resolution
    run = Run(session, dataset, config, folder, watch, resolution, log, candidates, portion=config.batch, sources=sources or Sources())
    run.class_pictures = class_dataset(run, run.sources.class_images or folder / "class-images")
    with closing(log), adapted(session, config) as adapter:
        if saved is None and run.sources.start is not None:
            begin_with(run.sources.start, adapter)
            run.grown_from = run.sources.start.said
        choice = _learn(run, adapter, marks, saved)
        state = adapter.copied(cpu=True)
    stopped = run.step < config.steps and not run.ended
    if not stopped:
        shutil.rmtree(folder / CANDIDATES, ignore_errors=True)
    log.write("end", step=run.step, seconds=round(run.seconds, 2), likeness=run.likeness, kept=choice.kept if choice else None)
    return TrainOutcome(
        state,
        run.step,
        run.seconds,
        recent_loss(run.curve),
        run.likeness,
        stopped,
        tuple(run.curve),
        tuple(run.previews),
        choice,
        tuple(run.notes),
        run.grown_from,
    )


def _learn(run: Run, adapter: InjectedLora, marks: dict[str, str], saved: TrainState | None) -> Choice | None:
    """All steps and the choice at their end; errors in the words of people."""
    kept = run.folder / STATE_FILE
    try:
        with allocator_errors():
            unet, text = adapter.groups()
            optimizer = make_optimizer(unet, run.config, text)
            run.average = MovingAverage(adapter, run.config.ema)
            if hasattr(optimizer, "train"):
                optimizer.train()  # pyright: ignore[reportAttributeAccessIssue]
            if run.config.offload:
                _offload(run)
            if saved is not None:
                _restore(run, adapter, optimizer, saved)
                give_up(run, saved.lean)
            _steps(run, adapter, optimizer, marks)
            if hasattr(optimizer, "eval"):  # schedule-free: from here on the parameters are used, not learned with
                optimizer.eval()  # pyright: ignore[reportAttributeAccessIssue]
            run.average.settle()
            if run.config.previews and run.step and run.previewed != run.step:
                preview(run, adapter)
            if run.config.keep == "best" and run.config.previews and len(run.looks) > 1:
                return keep_the_best(run, adapter)
    except Paused:
        raise
    except Cancelled as error:
        stays = f" The state at step {load_state(kept)[0].step} is kept: resume goes on from there." if kept.exists() else ""
        raise Cancelled(f"Training was cancelled; the person's LoRAs are as before.{stays}") from error
    except (OutOfMemory, MemoryError) as error:
        raise TrainingError(
            "Memory ran out. Choose a smaller resolution, batch or rank, or switch gradient checkpointing on; "
            "what was saved so far is kept and can be resumed."
        ) from error
    return None


def _offload(run: Run) -> None:
    run.offloading = run.session.offload_blocks()
    if not run.offloading:
        run.note("The checkpoint's weights stay where they are: keeping them in main memory helps on graphics cards and in the standalone program only.")


def _saved_state(file: Path, marks: dict[str, str]) -> TrainState:
    if not file.exists():
        raise UserInputError("There is no unfinished training of this person to resume. Start one anew.")
    state, saved_marks = load_state(file)
    changed = differences(marks, saved_marks)
    if changed:
        raise UserInputError(
            f"The unfinished training cannot go on because these changed since: {', '.join(changed)}. Use the same again, or start one anew."
        )
    return state


def _restore(run: Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, saved: TrainState) -> None:
    adapter.load_state(saved.adapter)
    if run.average is not None:
        run.average.load(saved.average)
    restore(optimizer, saved.optimizer)
    run.step, run.before, run.curve = saved.step, saved.seconds, list(saved.curve)
    run.scaler, run.rate, run.looks, run.grown_from = saved.scaler, saved.rate, list(saved.looks), saved.grown_from
    scored = [p.likeness for p in run.curve if p.likeness is not None]
    run.likeness = scored[-1] if scored else None


def _cached(run: Run) -> TrainingCache:
    run.prior = prior_cache(run)
    store = LatentStore(run.sources.latents, run.session) if run.sources.latents else None
    dataset, config = masked_by(run.dataset, run.config.mask), run.config
    cache = build_cache(run.session, dataset, run.resolution, config.flip, run.watch.on_progress, run.watch.cancel, store)
    return in_orders(cache, run.session, dataset, run.resolution, config.seed) if config.shuffle_captions else cache


def _steps(run: Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, marks: dict[str, str]) -> None:
    config, cancel = run.config, run.watch.cancel
    with crew_of(run, adapter) as crew:
        cache = _cached(run)
        run.log.write("start", step=run.step, checkpoint=run.session.checkpoint.name, photos=cache.photos, settings=config.to_dict())
        # Only float16 needs its gradients scaled away from underflow; bfloat16 has float32's range.
        scaler = gradient_scaler(run.session.device.type, enabled=run.session.dtype is torch.float16)
        if run.scaler:
            scaler.load_state_dict(run.scaler)
        eta = Eta(config.steps)
        run.began = time.monotonic()
        good = _state(run, adapter, optimizer, copied=True)
        backs = 0
        stopping = cancel.stopping
        while run.step < config.steps and not stopping and not run.ended:
            cancel.raise_if_cancelled()
            if cancel.pausing:
                _save_now(run, adapter, optimizer, marks, scaler)
                raise Paused(f"Paused at step {run.step} of {config.steps}. Nothing is held meanwhile; Resume goes on from there.")
            try:
                _one_step(run, crew, cache, optimizer, scaler)
            except (OutOfMemory, MemoryError):
                # The step draws the same numbers again; what it had of gradients goes.
                optimizer.zero_grad(set_to_none=True)
                cache = _with_less(run, cache)
                continue
            except WorkerLost as error:
                _save_now(run, adapter, optimizer, marks, scaler)
                raise TrainingError(f"{error} The training ended; the state at step {run.step} is kept: resume goes on from there.") from error
            if ran_away(run.curve):
                backs += 1
                _back(run, adapter, optimizer, good, backs)
                continue
            _tell(run, eta.update(run.step))
            if config.preview_every and config.previews and run.step % config.preview_every == 0:
                with resting(optimizer), run.average.shown() if run.average else nullcontext():
                    preview(run, adapter)
                _end_when_done(run)
            # One look a step: a stop heard between two looks would end the loop with its last steps unsaved.
            stopping = cancel.stopping
            if run.step % config.save_every == 0 or stopping:
                run.scaler = scaler.state_dict()
                good = _saved(run, adapter, optimizer, marks)


def _one_step(run: Run, crew: Crew, cache: TrainingCache, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
    rate = run.rate * learning_rate(run.config, run.step)
    set_learning_rate(optimizer, rate)
    with allocator_errors():
        value = crew.gradients(cache, scaler)
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(crew.parameters, run.config.gradient_clip or math.inf)
        scaler.step(optimizer)
        scaler.update()
    optimizer.zero_grad(set_to_none=True)
    run.step += 1
    if run.average is not None:
        run.average.update(run.step)
    run.curve.append(LossPoint(run.step, value, rate))


def _save_now(run: Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, marks: dict[str, str], scaler: torch.amp.GradScaler) -> None:
    run.scaler = scaler.state_dict()
    save_state(run.folder / STATE_FILE, _state(run, adapter, optimizer), marks)


def _tell(run: Run, seconds_left: float | None) -> None:
    point = run.curve[-1]
    event = Progress(
        Stage.TRAIN, run.step, run.config.steps, "Training", recent_loss(run.curve), point.loss, point.learning_rate, eta_s=seconds_left
    )
    run.log.write("step", step=point.step, loss=point.loss, learning_rate=point.learning_rate)
    run.watch.on_progress(event)
    run.session.report(event, run.watch.cancel)


def _end_when_done(run: Run) -> None:
    reason = why_stop(run.looks, run.config.patience)
    if reason is not None and run.step < run.config.steps:
        run.ended = True
        run.note(f"Training ended at step {run.step} of {run.config.steps}. {reason}")


def _with_less(run: Run, cache: TrainingCache) -> TrainingCache:
    """Make do with less memory; photos are encoded anew when they get smaller.

    Raises:
        MemoryError: when there is no leaner way.
    """
    release(run.session.device)
    before = run.resolution
    done = lighten(run)
    if done is None:
        raise MemoryError
    run.note(f"Memory ran out at step {run.step + 1}: {done}.")
    return cache if run.resolution == before else _cached(run)


def _back(run: Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, good: TrainState, times: int) -> None:
    """Go back to the state ``good`` with half the learning rate.

    Raises:
        TrainingError: after so many times that it would not help.
    """
    step, rate, seconds = run.step, run.rate, run.seconds
    if times > MOST_BACK:
        raise TrainingError(
            f"The loss ran away at step {step} again, even with an eighth of the learning rate. Use a much lower one than "
            f"{run.config.learning_rate:g}; the state saved before that is kept."
        )
    what = "ran away" if math.isfinite(run.curve[-1].loss) else "stopped being a number"
    _restore(run, adapter, optimizer, good)
    # A clock for the way so far: what was thrown away took its time too.
    run.before, run.began, run.rate = seconds, time.monotonic(), rate / 2
    run.note(f"The loss {what} at step {step}: back to step {run.step}, with half the learning rate from here.")


def _state(run: Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, *, copied: bool = False) -> TrainState:
    def kept(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().cpu().clone() if copied else tensor

    known = state_of(optimizer)
    tensors = [{k: kept(v) for k, v in of.items()} for of in known.tensors]
    known = OptimizerState(tensors, known.numbers, known.groups)

    def whole(state: AdapterState) -> AdapterState:
        return {name: {key: kept(tensor) for key, tensor in tensors.items()} for name, tensors in state.items()}

    learned, average = whole(adapter.state()), whole(run.average.state() if run.average else {})
    return TrainState(
        run.step,
        learned,
        known,
        tuple(run.curve),
        run.seconds,
        run.scaler,
        run.rate,
        tuple(run.looks),
        run.grown_from,
        average,
        run.config.processes,
        given_up(run),
    )


def _saved(run: Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, marks: dict[str, str]) -> TrainState:
    """Save where the run stands, and return it; a full disk is told and does not end what is not done yet."""
    state = _state(run, adapter, optimizer, copied=True)
    try:
        save_state(run.folder / STATE_FILE, state, marks)
    except StorageError as error:
        run.note(f"Step {run.step} could not be saved, training goes on: {error}")
    return state
