"""Prior preservation: pictures of the class word that the checkpoint itself makes, learned beside the photos so that not everybody becomes the person.

Ruiz et al. 2023, "DreamBooth", section 3.3.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from facechain_ext.errors import StorageError, TrainingError
from facechain_ext.faces.types import Dataset, Image, PreparedPhoto
from facechain_ext.ports import SamplingRequest
from facechain_ext.progress import Progress, Stage
from facechain_ext.training.cache import TrainingCache, build_cache
from facechain_ext.training.memory import allocator_errors
from facechain_ext.training.optim import OutOfMemory
from facechain_ext.training.plan import PREVIEW_STEPS
from facechain_ext.training.recovery import release
from facechain_ext.training.run import Run
from facechain_ext.workspace import atomic_path

log = logging.getLogger(__name__)

CFG, SAMPLER = 4.0, "DPM++ 2M Karras"
FIRST_SEED = 2_000_003
"""Of the class pictures; no preview uses it."""
AT_ONCE = 4
"""Pictures sampled together."""
SETS = 3
"""Sets of class pictures kept with a person; those not used for longest go first."""


def class_dataset(run: Run, folder: Path) -> Dataset | None:
    """``config.class_images`` pictures of the class word, those that ``folder`` holds not made again; None when prior preservation is off.

    Call it before an adapter is put into the model. A stop or pause ends it early.

    Raises:
        Cancelled: those made so far are kept for the next time.
        TrainingError: when memory is too small for one picture at a time.
    """
    if run.config.prior_weight == 0:
        return None
    own = folder / _key(run)
    found: dict[int, Image] = {i: image for i in range(run.config.class_images) if (image := _read(own / f"{i:04d}.png", run.resolution)) is not None}
    missing = [i for i in range(run.config.class_images) if i not in found]
    for number, image in _made(run, missing):
        found[number] = image
        _write(own / f"{number:04d}.png", image)
        run.watch.on_progress(Progress(Stage.PRIOR, len(found), run.config.class_images, "Making class images"))
    _tidy(folder, own)
    if not found:
        return None
    blank = np.full((run.resolution, run.resolution), 255, np.uint8)
    unknown = np.zeros_like(run.dataset.mean_embedding)
    photos = [PreparedPhoto(found[i], blank, f"photo of {run.dataset.subject}", "", unknown, 1.0) for i in sorted(found)]
    return replace(run.dataset, photos=tuple(photos))


def prior_cache(run: Run) -> TrainingCache | None:
    """The class pictures encoded; their latents are not kept, because they are few and others with every checkpoint."""
    if run.class_pictures is None:
        return None
    return build_cache(run.session, run.class_pictures, run.resolution, False, run.watch.on_progress, run.watch.cancel)


def _made(run: Run, missing: list[int]) -> Iterator[tuple[int, Image]]:
    """The pictures ``missing``, fewer at once when memory runs out."""
    cancel, together = run.watch.cancel, AT_ONCE
    while missing and not (cancel.stopping or cancel.pausing):
        cancel.raise_if_cancelled()
        part = missing[:together]
        try:
            with allocator_errors(), contextlib.closing(run.session.preview(_request(run, part), cancel)) as images:
                made = list(images)
        except (OutOfMemory, MemoryError):
            release(run.session.device)
            if together == 1:
                said = "Memory ran out in the class images. Choose a smaller resolution, or switch prior preservation off."
                raise TrainingError(said) from None
            together //= 2
            continue
        yield from zip(part, made, strict=True)
        missing = missing[len(part) :]


def _request(run: Run, numbers: list[int]) -> SamplingRequest:
    return SamplingRequest(
        prompt=f"photo of {run.dataset.subject}",
        negative="",
        seeds=tuple(FIRST_SEED + i for i in numbers),
        width=run.resolution,
        height=run.resolution,
        steps=PREVIEW_STEPS,
        cfg=CFG,
        sampler=SAMPLER,
    )


def _key(run: Run) -> str:
    """What the pictures depend on."""
    parts = (run.session.checkpoint.sha256, run.dataset.subject, run.resolution, PREVIEW_STEPS, CFG, SAMPLER, FIRST_SEED)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _read(file: Path, side: int) -> Image | None:
    """None when it is not there or not what was written."""
    try:
        image = np.array(PilImage.open(file).convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None
    return image if image.shape == (side, side, 3) else None


def _write(file: Path, image: Image) -> None:
    try:
        with atomic_path(file, "a class picture") as temporary:
            PilImage.fromarray(image).save(temporary, "PNG")
    except (OSError, StorageError) as error:
        # Without it the next training makes it again: no reason to end this one.
        log.warning("a class picture could not be stored: %s", type(error).__name__)


def _tidy(folder: Path, own: Path) -> None:
    with contextlib.suppress(OSError):
        if own.is_dir():
            os.utime(own)
        sets = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in sets[SETS:]:
            shutil.rmtree(old, ignore_errors=True)
