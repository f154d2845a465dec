"""Use case: the whole main job on one person of the ORL face database, from photos to ranked portraits on one sheet."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from facechain_ext.errors import Cancelled, UserInputError
from facechain_ext.faces.dataset import read_dataset
from facechain_ext.faces.reading import read_photo
from facechain_ext.faces.types import Embedding
from facechain_ext.portraits.rank import score
from facechain_ext.portraits.sheet import Labelled, Section, draw_sheet
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.services.likeness_sources import JUDGED_BY, TRAINED_ON, orl_photos
from facechain_ext.services.requests import PortraitRequest, PrepareRequest, RankedPortraits, TrainRequest, TrainResult
from facechain_ext.services.studio import Studio
from facechain_ext.workspace import atomic_path

PERSON = "Demo"
SUBJECT = 11
"""An ORL person whom the embedded checkpoint was never taught: photos 1 to 5 train, 6 to 10 judge."""
FIRST_SEED = 100


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo leaves."""

    lora: Path
    sheet: Path
    likeness_before: float | None
    """Mean likeness of portraits without the LoRA to photos the training never saw."""
    likeness_after: float | None
    seconds: float


def run_demo(studio: Studio, out: Path, steps: int | None, count: int, on_progress: ProgressSink, cancel: CancelToken) -> DemoResult:
    """Prepare, train, generate, rank; write LoRA, portraits and the contact sheet into ``out``.

    Raises:
        FaceChainError: as the single use cases do.
    """
    began = time.monotonic()
    out = out.expanduser().resolve()
    choice = studio.checkpoint(None)
    sources = orl_photos(SUBJECT, TRAINED_ON)
    if PERSON in studio.workspace.people():
        studio.delete_person(PERSON)
    studio.prepare(PrepareRequest(PERSON, tuple(sources), choice.prepare), on_progress, cancel)
    wanted = replace(choice.portrait, count=count, seed=FIRST_SEED)
    before = studio.portraits(PortraitRequest(PERSON, config=wanted, with_lora=False, out=out / "before"), on_progress, cancel)
    training = replace(choice.train, steps=steps) if steps else choice.train
    trained = studio.train(TrainRequest(PERSON, config=training, out=out), on_progress, cancel)
    if cancel.cancelled:
        raise Cancelled("The demo was cancelled.")
    after = studio.portraits(PortraitRequest(PERSON, config=wanted, out=out / "portraits"), on_progress, CancelToken())
    judge = judge_embedding(studio.analyzer, orl_photos(SUBJECT, JUDGED_BY))
    likeness = [mean_likeness(studio.analyzer, ranked, judge) for ranked in (before, after)]
    sheet = out / "sheet.png"
    _draw(studio, sheet, sources, trained, before, after, likeness)
    return DemoResult(out / trained.lora.name, sheet, likeness[0], likeness[1], time.monotonic() - began)


def judge_embedding(analyzer: FaceAnalyzer, photos: Sequence[Path]) -> Embedding:
    """Mean unit embedding (D,) of the largest face of each photo.

    Raises:
        UserInputError: when none shows a face.
    """
    found = []
    for photo in photos:
        image = read_photo(photo)
        faces = analyzer.detect(image)
        found += [analyzer.embed(image, faces[0])] if faces else []
    if not found:
        raise UserInputError("None of the judging photos shows a face.")
    mean = np.mean(found, axis=0)
    return (mean / np.linalg.norm(mean)).astype(np.float32)


def mean_likeness(analyzer: FaceAnalyzer, ranked: RankedPortraits, person: Embedding) -> float | None:
    """Mean likeness of the portraits that hold a face, None when none does."""
    scores = [score(read_photo(p.file), analyzer, person).likeness for p in ranked.portraits]
    held = [s for s in scores if s is not None]
    return statistics.fmean(held) if held else None


def _draw(
    studio: Studio,
    sheet: Path,
    sources: Sequence[Path],
    trained: TrainResult,
    before: RankedPortraits,
    after: RankedPortraits,
    likeness: Sequence[float | None],
) -> None:
    dataset = read_dataset(studio.workspace.person(PERSON).dataset)
    photos = [Labelled(_squared(read_photo(p))) for p in sources]
    crops = [Labelled(p.image, f"quality {p.quality:.2f}") for p in dataset.photos]

    def tiles(ranked: RankedPortraits) -> list[Labelled]:
        return [
            Labelled(read_photo(p.file), f"likeness {p.likeness:.2f}" if p.likeness is not None else "no face", f"seed {p.seed}", p.flagged)
            for p in ranked.portraits
        ]

    notes = ["no face found" if x is None else f"mean likeness to unseen photos {x:.2f}" for x in likeness]
    sections = [
        Section("Source photos", photos, 8, note="ORL face database, AT&T Laboratories Cambridge"),
        Section("Prepared crops", crops, 8),
        Section("Training", curve=trained.curve, note=f"{trained.steps} steps in {trained.seconds:.0f} s"),
        Section("Portraits before training", tiles(before)[:8], 8, note=notes[0]),
        Section("Portraits after training, most alike first", tiles(after), 4, note=notes[1]),
    ]
    picture = draw_sheet("FaceChain demo", "Five photos in, a face LoRA trained, portraits ranked by likeness", sections)
    with atomic_path(sheet, "the contact sheet") as temporary:
        picture.save(temporary, "PNG")


def _squared(image: np.ndarray) -> np.ndarray:
    """``image`` centred on a white square."""
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return cv2.copyMakeBorder(image, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT, value=(250, 249, 246))
