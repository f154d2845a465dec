"""Portraits of the person with the LoRA as it is, scored; and the choice between LoRAs by such portraits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image as PilImage

from facechain_ext.faces.types import Image
from facechain_ext.lora.adapters import AdapterState
from facechain_ext.lora.network import InjectedLora
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import SamplingRequest
from facechain_ext.progress import LossPoint, Progress, Stage
from facechain_ext.training.choice import Choice, choose, look
from facechain_ext.training.optim import OutOfMemory
from facechain_ext.training.plan import PREVIEW_STEPS
from facechain_ext.training.run import Run, recent_loss
from facechain_ext.workspace import atomic_path

PREVIEW_CFG, PREVIEW_SAMPLER = 4.0, "DPM++ 2M Karras"
HELD_OUT = 1_000_003
"""Added to the seed for the portraits that decide: no preview has shown them."""


def preview(run: Run, adapter: InjectedLora) -> None:
    """Sample with fixed seeds, score, and show; the mean likeness joins the curve's last point, the adapter the candidates."""
    images: list[Image] = []
    likenesses: list[float | None] = []
    shown: list[Path] = []
    try:
        for image in sampled(run, run.config.seed):
            likeness = run.watch.score(image)
            shown.append(stored(run, image, f"step-{run.step:05d}-{len(images) + 1}"))
            images.append(image)
            likenesses.append(likeness)
            said = f"step {run.step}, likeness {likeness:.2f}" if likeness is not None else f"step {run.step}, no face"
            count = run.config.previews
            run.watch.on_progress(Progress(Stage.PREVIEW, len(images), count, said, likeness=likeness, picture=shown[-1]))
    except (OutOfMemory, MemoryError):
        run.note("Memory ran out in the previews; training goes on without this one.")
        run.previewed = run.step
        return
    run.previews, run.previewed = shown, run.step
    seen = look(run.step, images, likenesses)
    run.likeness = seen.likeness
    run.looks.append(seen)
    run.log.write("preview", step=run.step, likeness=seen.likeness, score=seen.score, variety=seen.variety)
    if run.config.keep == "best":
        run.candidates.add(adapter.state(), run.looks)
    if run.curve:
        last = run.curve[-1]
        run.curve[-1] = LossPoint(last.step, last.loss, last.learning_rate, run.likeness)
        recent = recent_loss(run.curve)
        run.watch.on_progress(
            Progress(Stage.TRAIN, run.step, run.config.steps, "Training", recent, last.loss, last.learning_rate, run.likeness)
        )


def sampled(run: Run, seed: int) -> Iterator[Image]:
    """Portraits of the person with the adapter as it is, from ``seed`` on."""
    request = SamplingRequest(
        prompt=f"photo of {run.dataset.caption}",
        negative="",
        seeds=tuple(seed + i for i in range(run.config.previews)),
        width=run.resolution,
        height=run.resolution,
        steps=PREVIEW_STEPS,
        cfg=PREVIEW_CFG,
        sampler=PREVIEW_SAMPLER,
    )
    return run.session.preview(request, run.watch.cancel)


def stored(run: Run, image: Image, name: str) -> Path:
    """``image`` as a file of the person's training, whole or not at all."""
    file = run.folder / "previews" / f"{name}.png"
    with atomic_path(file, "a preview") as temporary:
        PilImage.fromarray(image).save(temporary, "PNG")
    return file


def keep_the_best(run: Run, adapter: InjectedLora) -> Choice:
    """Leave in ``adapter`` the LoRA whose portraits are most alike on seeds that no preview used; its portraits are the last previews."""
    last = adapter.copied()
    portraits: dict[int, list[Image]] = {}
    judged = 0

    def judge(state: AdapterState) -> float:
        nonlocal judged
        adapter.load_state(state)
        judged += 1
        images = list(sampled(run, run.config.seed + HELD_OUT))
        portraits[id(state)] = images
        scores = [run.watch.score(image) or 0.0 for image in images]
        run.watch.on_progress(Progress(Stage.PREVIEW, judged, 0, "Comparing the best LoRAs of this training"))
        return sum(scores) / max(1, len(scores))

    try:
        state, choice = choose((run.step, last), run.looks, run.candidates, judge, Kind(run.config.kind))
    except (OutOfMemory, MemoryError):
        adapter.load_state(last)
        return Choice("the last step", "Memory ran out while LoRAs were compared, so the last step's is kept.")
    adapter.load_state(state)
    winner = next((c for c in choice.contenders if c.name == choice.kept), None)
    if winner is not None:
        run.likeness = winner.score
        images = portraits[id(state)]
        run.previews = [stored(run, image, f"kept-{i + 1}") for i, image in enumerate(images)]
        for i, file in enumerate(run.previews):
            said = f"kept: {choice.kept}"
            run.watch.on_progress(Progress(Stage.PREVIEW, i + 1, len(images), said, likeness=run.watch.score(images[i]), picture=file))
    run.log.write("event", step=run.step, said=choice.reason)
    return choice
