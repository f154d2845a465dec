"""A finished training as one picture: its curves, the first and the last previews, and its settings in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as PilImage
from PIL import ImageDraw

from facechain_ext.config import TrainConfig
from facechain_ext.faces.types import Image
from facechain_ext.portraits.sheet import ACCENT, FAINT, GAP, INK, MARGIN, PAPER, RULE, WARN, WIDTH, fitted, load_font
from facechain_ext.progress import LossPoint

PLOT, TOP = 270, 150
"""Height of a plot, px, and where the first begins."""
LEFT = MARGIN + 52
RAW = "#a9b8b3"
TILES = 4
RECENT = 20
"""Steps whose mean is the smoothed loss, as in the training itself."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingCard:
    """What the picture shows; nothing of it tells more than the person's name."""

    person: str
    config: TrainConfig
    family: str
    steps: int
    seconds: float
    photos: int
    curve: Sequence[LossPoint]
    kept: str
    """"the last step", "step 300" or "the mean of steps 200, 300 and 400"."""
    likeness: float | None
    first: Sequence[Image] = ()
    """Previews of the first step that had some."""
    last: Sequence[Image] = ()
    """Those of the LoRA that was kept."""


def draw_card(card: TrainingCard) -> PilImage.Image:
    """The picture, 1200 px wide, as high as its previews need."""
    rows = [(title, images) for title, images in (("First previews", card.first), ("The LoRA that was kept", card.last)) if images]
    side = (WIDTH - 2 * MARGIN - (TILES - 1) * GAP) // TILES
    bottom = TOP + 2 * (PLOT + 84)
    page = PilImage.new("RGB", (WIDTH, bottom + len(rows) * (side + 60) + 20), PAPER)
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, 28), fitted(card.person, load_font(34), WIDTH - 2 * MARGIN), INK, load_font(34))
    for i, line in enumerate(in_words(card)):
        pen.text((MARGIN, 78 + 22 * i), fitted(line, load_font(16), WIDTH - 2 * MARGIN), FAINT, load_font(16))
    total = max(1, card.steps, *(p.step for p in card.curve)) if card.curve else max(1, card.steps)
    _loss(pen, card, total)
    _likeness(pen, card, total, TOP + PLOT + 84)
    for i, (title, images) in enumerate(rows):
        top = bottom + i * (side + 60)
        pen.text((MARGIN, top), title, INK, load_font(19))
        for k, image in enumerate(images[:TILES]):
            tile = PilImage.fromarray(image).resize((side, side), PilImage.Resampling.LANCZOS)
            page.paste(tile, (MARGIN + k * (side + GAP), top + 32))
    return page


def in_words(card: TrainingCard) -> list[str]:
    """Two lines: how it went, and the settings."""
    config = card.config
    minutes, seconds = divmod(round(card.seconds), 60)
    spent = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    went = [f"{card.steps} of {config.steps} steps in {spent}", f"{card.photos} photo{'s' if card.photos != 1 else ''}", f"kept: {card.kept}"]
    went += [f"likeness {card.likeness:.2f}"] if card.likeness is not None else []
    passes = f" x {config.accumulation}" if config.accumulation > 1 else ""
    settings = [card.family, f"{config.resolution} px" if config.resolution else "own size", f"rank {config.rank}, alpha {config.alpha:g}"]
    settings += [f"{config.optimizer} at {config.learning_rate:g}, {config.schedule}", f"batch {config.batch}{passes}"]
    settings += [f"class images at {config.prior_weight:g}"] if config.prior_weight else []
    return [" · ".join(went), " · ".join(settings)]


def smoothed(values: Sequence[float]) -> list[float]:
    """Each with the mean of it and up to ``RECENT - 1`` before it."""
    return [math.fsum(values[max(0, i - RECENT + 1) : i + 1]) / min(RECENT, i + 1) for i in range(len(values))]


def _loss(pen: ImageDraw.ImageDraw, card: TrainingCard, total: int) -> None:
    finite = [p for p in card.curve if math.isfinite(p.loss)]
    high = max((sorted(p.loss for p in finite)[int(0.98 * (len(finite) - 1))] if finite else 1.0) * 1.1, 1e-6)
    _frame(pen, TOP, "Loss", [f"{high * share:.3g}" for share in (0, 0.5, 1)], total)
    rate = max((p.learning_rate for p in finite), default=0.0)
    right, font = WIDTH - MARGIN, load_font(14)
    for said, colour in ((f"learning rate, to {rate:.2g}", WARN), (f"mean of {RECENT}", INK), ("each step", RAW)):
        right -= pen.textlength(said, font)
        pen.text((right, TOP - 4), said, colour, font)
        right -= 20
    if len(finite) < 2:
        return
    place = [_at(TOP, p.step / total, p.loss / high) for p in finite]
    pen.line(place, RAW, 1)
    if rate > 0:
        pen.line([_at(TOP, p.step / total, p.learning_rate / rate) for p in finite], WARN, 1)
    bold = smoothed([p.loss for p in finite])
    pen.line([_at(TOP, p.step / total, v / high) for p, v in zip(finite, bold, strict=True)], INK, 3, joint="curve")


def _likeness(pen: ImageDraw.ImageDraw, card: TrainingCard, total: int, top: int) -> None:
    _frame(pen, top, "Likeness of the previews", ["0", "0.5", "1"], total)
    scored = [(p.step, p.likeness) for p in card.curve if p.likeness is not None]
    chosen = _steps_in(card)
    places = [_at(top, step / total, likeness) for step, likeness in scored]
    if len(places) > 1:
        pen.line(places, ACCENT, 3, joint="curve")
    for (x, y), (step, likeness) in zip(places, scored, strict=True):
        marked = step in chosen
        size = 8 if marked else 5
        pen.ellipse((x - size, y - size, x + size, y + size), WARN if marked else ACCENT)
        said = f"{likeness:.2f}" + (" kept" if marked else "")
        pen.text((min(x - 14, WIDTH - MARGIN - 70), y - 30), said, WARN if marked else INK, load_font(15))
    if not scored:
        pen.text((LEFT + 16, top + PLOT // 2), "no preview held a face, or none was made", FAINT, load_font(16))


def _steps_in(card: TrainingCard) -> set[int]:
    """The steps that ``card.kept`` speaks of."""
    if card.kept == "the last step":
        return {card.steps}
    return {int(word.strip(",")) for word in card.kept.split() if word.strip(",").isdigit()}


def _frame(pen: ImageDraw.ImageDraw, top: int, title: str, ticks: Sequence[str], total: int) -> None:
    small = load_font(13)
    pen.text((MARGIN, top - 8), title, INK, load_font(19))
    for i, tick in enumerate(ticks):
        share = i / (len(ticks) - 1)
        (x0, y), (x1, _) = _at(top, 0, share), _at(top, 1, share)
        pen.line((x0, y, x1, y), RULE, 1)
        pen.text((x0 - 10 - pen.textlength(tick, small), y - 8), tick, FAINT, small)
    said = f"{total} step{'s' if total > 1 else ''}"
    pen.text((LEFT, top + PLOT + 40), "0", FAINT, small)
    pen.text((WIDTH - MARGIN - pen.textlength(said, small), top + PLOT + 40), said, FAINT, small)


def _at(top: int, along: float, up: float) -> tuple[float, float]:
    """Where (``along``, ``up``), shares 0..1 that may leave the plot upwards a little, lies."""
    return LEFT + (WIDTH - MARGIN - LEFT) * along, top + 34 + PLOT - PLOT * min(1.04, max(0.0, up))
