"""The training loop: one for every host and model family; what differs sits behind ``TrainSession``."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PilImage

from facechain_ext.config import TrainConfig
from facechain_ext.errors import Cancelled, Paused, TrainingError, UserInputError
from facechain_ext.faces.types import Dataset, Image
from facechain_ext.lora.network import AdapterState, InjectedLora, inject
from facechain_ext.ports import SamplingRequest, TrainSession
from facechain_ext.progress import CancelToken, Eta, LossPoint, Progress, ProgressSink, Stage
from facechain_ext.training.batches import bucket_indices, step_stream, stratified_timesteps
from facechain_ext.training.cache import TrainingCache, build_cache, pick_conditioning
from facechain_ext.training.checkpoints import TrainState, differences, fingerprint, load_state, save_state
from facechain_ext.training.memory import allocator_errors
from facechain_ext.training.noise import add_noise, signal_to_noise, training_target
from facechain_ext.training.objective import face_map, snr_weight, weighted_loss
from facechain_ext.training.optim import OutOfMemory, gradient_scaler, learning_rate, make_optimizer, set_learning_rate
from facechain_ext.training.plan import PREVIEW_STEPS
from facechain_ext.workspace import atomic_path

STATE_FILE = "state.safetensors"
GRADIENT_CLIP = 1.0
RECENT = 20
"""Steps whose mean is shown as the loss."""
PREVIEW_CFG, PREVIEW_SAMPLER = 4.0, "DPM++ 2M Karras"

Score = Callable[[Image], "float | None"]


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What a training leaves: the adapter on the CPU and its history."""

    adapter: AdapterState
    steps: int
    seconds: float
    loss: float
    likeness: float | None
    stopped_early: bool
    curve: tuple[LossPoint, ...]
    previews: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on: hears progress, may stop the run, scores previews (None without a face)."""

    on_progress: ProgressSink
    cancel: CancelToken
    score: Score


@dataclass
class _Run:
    """The moving parts of one training."""

    session: TrainSession
    dataset: Dataset
    config: TrainConfig
    folder: Path
    watch: Watch
    resolution: int
    step: int = 0
    before: float = 0.0
    """Seconds of earlier stretches."""
    began: float = 0.0
    curve: list[LossPoint] = field(default_factory=list)
    previews: list[Path] = field(default_factory=list)
    likeness: float | None = None
    previewed: int | None = None
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the gradient scaler as last saved."""

    @property
    def seconds(self) -> float:
        return self.before + (time.monotonic() - self.began if self.began else 0.0)


def train(
    session: TrainSession,
    dataset: Dataset,
    config: TrainConfig,
    folder: Path,
    watch: Watch,
    *,
    resume: bool = False,
) -> TrainOutcome:
    """Train a face LoRA; the session's model is as before when this returns or raises.

    ``folder`` gets the resumable state and the previews.

    Raises:
        UserInputError: when there is nothing to resume, or something else was trained then.
        TrainingError: when the loss is no number or memory runs out; the last saved state stays.
        Paused: when paused; the state of this very step is saved.
        Cancelled: when cancelled; the last saved state stays.
    """
    run = _Run(session, dataset, config, folder, watch, config.resolution or session.checkpoint.resolution)
    marks = fingerprint(dataset, session.checkpoint, config)
    saved = _saved_state(folder / STATE_FILE, marks) if resume else None
    targets = session.lora_targets()
    with inject(
        session.unet, targets=list(targets), rank=config.rank, alpha=config.alpha, seed=config.seed, device=session.device
    ) as adapter:
        optimizer = make_optimizer(adapter.parameters(), config)
        if saved is not None:
            _restore(run, adapter, optimizer, saved)
        try:
            with allocator_errors():
                cache = build_cache(session, dataset, run.resolution, config.flip, watch.on_progress, watch.cancel)
                _steps(run, adapter, optimizer, cache, marks)
                if config.previews and run.step and run.previewed != run.step:
                    _preview(run)
        except Paused:
            raise
        except Cancelled as error:
            kept = f" The state at step {_saved_step(folder)} is kept: resume goes on from there." if (folder / STATE_FILE).exists() else ""
            raise Cancelled(f"Training was cancelled; the person's LoRAs are as before.{kept}") from error
        except (OutOfMemory, MemoryError) as error:
            raise TrainingError(
                "Memory ran out. Choose a smaller resolution, batch or rank, or switch gradient checkpointing on; "
                "what was saved so far is kept and can be resumed."
            ) from error
        state = {path: (down.detach().cpu().clone(), up.detach().cpu().clone()) for path, (down, up) in adapter.state().items()}
    return TrainOutcome(
        state, run.step, run.seconds, _recent_loss(run.curve), run.likeness, run.step < config.steps, tuple(run.curve), tuple(run.previews)
    )


def _saved_step(folder: Path) -> int:
    return load_state(folder / STATE_FILE)[0].step


def _saved_state(file: Path, marks: dict[str, str]) -> TrainState:
    if not file.exists():
        raise UserInputError("There is no unfinished training of this person to resume. Train without --resume.")
    state, saved_marks = load_state(file)
    changed = differences(marks, saved_marks)
    if changed:
        raise UserInputError(
            f"The unfinished training cannot go on because these changed since: {', '.join(changed)}. "
            "Use the same again, or train anew without --resume."
        )
    return state


def _restore(run: _Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, saved: TrainState) -> None:
    adapter.load_state(saved.adapter)
    packed = optimizer.state_dict()
    packed["state"] = {i: dict(values) for i, values in enumerate(saved.moments)}
    optimizer.load_state_dict(packed)
    run.step, run.before, run.curve = saved.step, saved.seconds, list(saved.curve)
    run.scaler = saved.scaler
    scored = [p.likeness for p in run.curve if p.likeness is not None]
    run.likeness = scored[-1] if scored else None


def _steps(run: _Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, cache: TrainingCache, marks: dict[str, str]) -> None:
    config, session = run.config, run.session
    snr = signal_to_noise(session.alphas_cumprod)
    parameters = list(adapter.parameters())
    # Only float16 needs its gradients scaled away from underflow; bfloat16 has float32's range.
    scaler = gradient_scaler(session.device.type, enabled=session.dtype is torch.float16)
    if run.scaler:
        scaler.load_state_dict(run.scaler)
    eta = Eta(config.steps)
    run.began = time.monotonic()
    stopping = run.watch.cancel.stopping
    while run.step < config.steps and not stopping:
        run.watch.cancel.raise_if_cancelled()
        if run.watch.cancel.pausing:
            run.scaler = scaler.state_dict()
            _save(run, adapter, optimizer, marks)
            raise Paused(f"Paused at step {run.step} of {config.steps}. Nothing is held meanwhile; Resume goes on from there.")
        rate = learning_rate(config, run.step)
        set_learning_rate(optimizer, rate)
        loss = _loss(run, cache, snr)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss stopped being a number at step {run.step + 1}. Use a lower learning rate than {config.learning_rate:g}; "
                "the state saved before that is kept."
            )
        run.step += 1
        run.curve.append(LossPoint(run.step, value, rate))
        seconds_left = eta.update(run.step)
        recent = _recent_loss(run.curve)
        event = Progress(Stage.TRAIN, run.step, config.steps, "Training", recent, value, rate, eta_s=seconds_left)
        run.watch.on_progress(event)
        session.report(event, run.watch.cancel)
        if config.preview_every and config.previews and run.step % config.preview_every == 0:
            _preview(run)
        # One look a step: a stop heard between two looks would end the loop with its last steps unsaved.
        stopping = run.watch.cancel.stopping
        if run.step % config.save_every == 0 or stopping:
            run.scaler = scaler.state_dict()
            _save(run, adapter, optimizer, marks)


def _loss(run: _Run, cache: TrainingCache, snr: torch.Tensor) -> torch.Tensor:
    config, session = run.config, run.session
    draw = step_stream(config.seed, run.step)
    photos = bucket_indices(config.seed, run.step, config.batch, cache.buckets)
    views = torch.randint(cache.views, (config.batch,), generator=draw).tolist()
    dropped = (torch.rand(config.batch, generator=draw) < config.caption_dropout).tolist()
    timesteps = stratified_timesteps(config.batch, len(session.alphas_cumprod), draw)
    mean, std, mask = (torch.stack([of[i][v] for i, v in zip(photos, views, strict=True)]) for of in (cache.mean, cache.std, cache.masks))
    latents = mean + std * torch.randn(mean.shape, generator=draw).to(mean)
    noise = torch.randn(mean.shape, generator=draw).to(mean)
    timesteps = timesteps.to(session.device)
    noisy = add_noise(latents, noise, timesteps, session.alphas_cumprod)
    target = training_target(latents, noise, timesteps, session.alphas_cumprod, session.checkpoint.prediction)
    output = session.predict(noisy.to(session.dtype), timesteps, pick_conditioning(cache, photos, dropped))
    weights = snr_weight(snr[timesteps], config.min_snr_gamma, session.checkpoint.prediction)
    return weighted_loss(output, target, face_map(mask, config.face_weight), weights)


def _recent_loss(curve: list[LossPoint]) -> float:
    return statistics.fmean(p.loss for p in curve[-RECENT:]) if curve else math.nan


def _save(run: _Run, adapter: InjectedLora, optimizer: torch.optim.Optimizer, marks: dict[str, str]) -> None:
    moments = [dict(values) for _, values in sorted(optimizer.state_dict()["state"].items())]
    state = TrainState(run.step, adapter.state(), moments, tuple(run.curve), run.seconds, run.scaler)
    save_state(run.folder / STATE_FILE, state, marks)


def _preview(run: _Run) -> None:
    """Sample with fixed seeds, score, and show; the mean likeness joins the curve's last point."""
    config = run.config
    request = SamplingRequest(
        prompt=f"photo of {run.dataset.caption}",
        negative="",
        seeds=tuple(config.seed + i for i in range(config.previews)),
        width=run.resolution,
        height=run.resolution,
        steps=PREVIEW_STEPS,
        cfg=PREVIEW_CFG,
        sampler=PREVIEW_SAMPLER,
    )
    scores: list[float] = []
    run.previews = []
    for i, image in enumerate(run.session.preview(request, run.watch.cancel)):
        likeness = run.watch.score(image)
        file = run.folder / "previews" / f"step-{run.step:05d}-{i + 1}.png"
        with atomic_path(file, "a preview") as temporary:
            PilImage.fromarray(image).save(temporary, "PNG")
        run.previews.append(file)
        scores += [likeness] if likeness is not None else []
        said = f"step {run.step}, likeness {likeness:.2f}" if likeness is not None else f"step {run.step}, no face"
        run.watch.on_progress(Progress(Stage.PREVIEW, i + 1, config.previews, said, likeness=likeness, picture=file))
    run.previewed = run.step
    run.likeness = statistics.fmean(scores) if scores else None
    if run.curve:
        last = run.curve[-1]
        run.curve[-1] = LossPoint(last.step, last.loss, last.learning_rate, run.likeness)
        run.watch.on_progress(
            Progress(Stage.TRAIN, run.step, config.steps, "Training", _recent_loss(run.curve), last.loss, last.learning_rate, run.likeness)
        )
