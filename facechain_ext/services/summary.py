"""The picture that sums up a training, written beside its log."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from facechain_ext.config import TrainConfig
from facechain_ext.errors import StorageError
from facechain_ext.faces.types import Dataset, Image
from facechain_ext.lora.files import SAID
from facechain_ext.portraits.training_card import TrainingCard, draw_card
from facechain_ext.ports import Family
from facechain_ext.training.loop import TrainOutcome
from facechain_ext.workspace import PersonFolder, atomic_path

log = logging.getLogger(__name__)

CARD_FILE = "summary.png"


def write_summary(folder: PersonFolder, dataset: Dataset, family: Family, config: TrainConfig, outcome: TrainOutcome) -> Path | None:
    """Draw ``outcome`` into the person's training folder; None when it could not be written, which ends nothing."""
    card = TrainingCard(
        folder.name,
        config,
        SAID[family],
        outcome.steps,
        outcome.seconds,
        len(dataset.photos),
        outcome.curve,
        outcome.choice.kept if outcome.choice else "the last step",
        outcome.likeness,
        _pictures(_first(folder.training / "previews")),
        _pictures(outcome.previews),
    )
    file = folder.training / CARD_FILE
    try:
        with atomic_path(file, "the summary") as temporary:
            draw_card(card).save(temporary, "PNG")
    except (OSError, StorageError) as error:
        log.warning("the summary could not be written: %s", type(error).__name__)
        return None
    return file


def _first(folder: Path) -> list[Path]:
    files = sorted(folder.glob("step-*.png"))
    return [f for f in files if f.name.split("-")[1] == files[0].name.split("-")[1]]


def _pictures(files: list[Path] | tuple[Path, ...]) -> list[Image]:
    """Those of ``files`` that are still there."""
    found = []
    for file in files:
        try:
            found.append(np.array(PilImage.open(file).convert("RGB")))
        except OSError:
            continue
    return found
