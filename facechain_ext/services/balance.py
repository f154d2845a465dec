"""Use case: find how face and style LoRA go together best, by a few short previews, and remember it.

For a person's LoRA, a style and a checkpoint several plans are tried on the same seeds. Each gives a likeness and a style score; the
user's slider then chooses among them without another preview: the most alike of those that have at least the style asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facechain_ext.blend import FACE, STYLE, SUM, BlendPlan, Part, default_plan, outer_blocks, parse_blocks, parse_plan, plain_sum
from facechain_ext.config import PortraitConfig
from facechain_ext.errors import FaceChainError, UserInputError
from facechain_ext.faces.types import Image
from facechain_ext.lora.naming import BLOCKS
from facechain_ext.portraits.rank import score
from facechain_ext.portraits.style_score import StyleStatistic, fit, load_statistic
from facechain_ext.ports import FaceAnalyzer, ImageGenerator, LoraWeight, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.services.people import dataset_of, sha256
from facechain_ext.styles.catalog import Style
from facechain_ext.styles.prompts import compose
from facechain_ext.workspace import PersonFolder, read_json, write_json

SCHEMA = 1
FIRST_SEED = 7000
FITTED_ON = 4
"""Pictures of each kind for the statistic of a style that brings none."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One plan that was tried."""

    plan: str
    """As ``BlendPlan``'s text."""
    likeness: float
    """Mean to the person's photos; a picture without a face counts 0."""
    style: float
    """Mean style score, 0 plain .. 1 like the style's examples."""


@dataclass(frozen=True, slots=True)
class Balance:
    """What was measured for a person's LoRA, a style and a checkpoint."""

    measured: tuple[Measured, ...]
    without: float
    """Likeness without the style."""
    previews: int
    """Pictures each plan was judged by."""

    def best(self, balance: float) -> Measured:
        """The most alike of the plans with at least (1 - ``balance``) of the most style that any of them gave."""
        wanted = (1 - balance) * max(m.style for m in self.measured)
        return max((m for m in self.measured if m.style >= wanted - 1e-9), key=lambda m: m.likeness)

    def explained(self, balance: float) -> str:
        """One sentence about ``best`` for people."""
        found, most = self.best(balance), max(m.style for m in self.measured)
        kept = f", {found.likeness / self.without:.0%} of what it is without the style" if self.without > 0 else ""
        return (
            f"Of {len(self.measured)} blends tried on {self.previews} pictures each, this one ({found.plan}) is the most alike with at least "
            f"{(1 - balance) * most:.2f} of style: likeness {found.likeness:.2f}{kept}, style {found.style:.2f} (most reached: {most:.2f})."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A person's LoRA and a style on a checkpoint."""

    folder: PersonFolder
    face: Path
    """The person's LoRA."""
    style: Style
    style_file: Path
    """The style's LoRA."""
    host: ImageGenerator

    @property
    def key(self) -> str:
        """Other files, another key: a LoRA trained anew is measured anew."""
        parts = (sha256(self.face), sha256(self.style_file), self.host.checkpoint.sha256)
        return f"{self.style.id} " + "-".join(part[:12] for part in parts)


def remembered(pair: Pair) -> Balance | None:
    """What was measured for ``pair`` before, None when nothing was or the file cannot be read."""
    try:
        found = read_json(_file(pair.folder), SCHEMA)["pairs"][pair.key]
        return Balance(tuple(Measured(**m) for m in found["measured"]), found["without"], found["previews"])
    except (FaceChainError, OSError, KeyError, TypeError):
        return None


def _file(folder: PersonFolder) -> Path:
    return folder.root / "balance.json"


def _remember(pair: Pair, balance: Balance) -> None:
    file = _file(pair.folder)
    pairs: dict[str, Any] = {}
    with contextlib.suppress(FaceChainError, OSError, KeyError):
        pairs = dict(read_json(file, SCHEMA)["pairs"])
    measured = [{"plan": m.plan, "likeness": round(m.likeness, 4), "style": round(m.style, 4)} for m in balance.measured]
    pairs[pair.key] = {"measured": measured, "without": round(balance.without, 4), "previews": balance.previews}
    write_json(file, {"schema": SCHEMA, "pairs": pairs}, "what was measured of blends")


def plan_for(config: PortraitConfig, style_weight: float | None, known: Balance | None) -> BlendPlan:
    """What ``config`` means: a plan of its own, the plain sum, the best measured one, or the default."""
    if style_weight is None:
        part = parse_plan(config.blend).part(FACE) if config.blend not in ("", SUM) else None
        return BlendPlan((part or Part(FACE, config.face_weight),))
    if config.blend == SUM:
        return plain_sum(config.face_weight, style_weight)
    if config.blend:
        return parse_plan(config.blend)
    if known is not None:
        return parse_plan(known.best(config.balance).plan)
    return default_plan(
        config.face_weight,
        style_weight,
        config.balance,
        parse_blocks(config.style_blocks),
        face_guided=config.face_guidance,
        style_guided=config.style_guidance or 1.0,
    )


def plan_of(style: Style, config: PortraitConfig, weight: float, known: Balance | None = None) -> BlendPlan:
    """How a person's LoRA and that of ``style`` at ``weight`` act together: as ``config`` says, as was measured, else as the style's file says."""
    config = replace(
        config,
        style_blocks=config.style_blocks or style.blocks,
        style_guidance=style.guidance if config.style_guidance is None else config.style_guidance,
    )
    # As its text in the infotext says, so that it is the same when it is made again.
    return parse_plan(str(plan_for(config, weight, known)))


def candidates(style: Style, config: PortraitConfig, weight: float, blocks: int) -> list[BlendPlan]:
    """Plans to try, those first that tell most: the default, then the style at several weights in the finest blocks and in all, led to by guidance or not."""
    everywhere, finest, finer = (), outer_blocks(blocks, 1), outer_blocks(blocks, 2)
    tried = (
        (0.5, everywhere, 2.0),
        (1.6, finest, 2.0),
        (0.6, finest, 2.0),
        (1.0, everywhere, 1.0),
        (1.0, finest, 3.0),
        (1.0, finest, 2.0),
        (0.75, finer, 2.0),
        (1.0, everywhere, 2.0),
    )
    plans = [
        default_plan(config.face_weight, weight * share, 0.5, where, face_guided=config.face_guidance, style_guided=guided)
        for share, where, guided in tried
    ]
    first = plan_of(style, replace(config, blend="", balance=0.5), weight)
    texts = dict.fromkeys(str(p) for p in [first, *plans, plain_sum(config.face_weight, weight)])
    return [parse_plan(text) for text in texts]


def measure_balance(
    pair: Pair,
    analyzer: FaceAnalyzer,
    config: PortraitConfig,
    seconds: float,
    on_progress: ProgressSink,
    cancel: CancelToken,
    most: int | None = None,
) -> Balance:
    """Try plans for about ``seconds`` (three at least, ``most`` at most), and remember what they gave.

    Raises:
        Cancelled: nothing is remembered.
    """
    on_progress(Progress(Stage.GENERATE, message="Pictures without the style, to compare with"))
    trial = _Trial(pair, analyzer, config, cancel)
    begun = time.monotonic()
    weight = pair.style.weight if config.style_weight is None else config.style_weight
    plans = candidates(pair.style, config, weight, BLOCKS[pair.host.checkpoint.family])[:most]
    without = trial.likeness_without()
    measured: list[Measured] = []
    for number, plan in enumerate(plans):
        passed = time.monotonic() - begun
        each = passed / (number + 1)
        if number >= 3 and passed + each > seconds:
            break
        left = f"{max(0.0, seconds - passed):.0f} s left"
        on_progress(Progress(Stage.GENERATE, number, len(plans), f"Blend {number + 1}: {plan} ({left})"))
        measured.append(trial.of(plan))
    found = Balance(tuple(measured), without, trial.previews)
    _remember(pair, found)
    return found


class _Trial:
    """Previews of one pair on fixed seeds."""

    def __init__(self, pair: Pair, analyzer: FaceAnalyzer, config: PortraitConfig, cancel: CancelToken) -> None:
        self._pair, self._analyzer, self._cancel = pair, analyzer, cancel
        self._config = replace(config, count=max(2, min(config.batch, 4)))
        self._dataset = dataset_of(pair.folder, analyzer)
        self.previews = self._config.count
        self._statistic = self._fitted()

    def _fitted(self) -> StyleStatistic:
        """The style's own, else what its LoRA alone does to plain portraits."""
        lora = self._pair.style_file
        file = lora.with_suffix(".score.json")
        if file.exists():
            return load_statistic(file)
        subject = self._dataset.caption
        return fit(self._images(self._pair.style, subject, (LoraWeight(lora),), FITTED_ON), self._images(None, subject, (), FITTED_ON))

    def likeness_without(self) -> float:
        """Without the style."""
        weight = self._config.face_weight
        face = (LoraWeight(self._pair.face, weight, weight),)
        return self._likeness(self._images(None, self._dataset.caption, face, self.previews))

    def of(self, plan: BlendPlan) -> Measured:
        """Preview ``plan``."""
        images = self._images(
            self._pair.style, self._dataset.caption, weights_of(plan, self._pair.face, self._pair.style_file), self.previews
        )
        return Measured(str(plan), self._likeness(images), float(np.mean([self._statistic.score(image) for image in images])))

    def _likeness(self, images: Sequence[Image]) -> float:
        return float(np.mean([score(image, self._analyzer, self._dataset.mean_embedding).likeness or 0.0 for image in images]))

    def _images(self, style: Style | None, words: str, loras: tuple[LoraWeight, ...], count: int) -> list[Image]:
        config, host = self._config, self._pair.host
        side, prompt = host.checkpoint.resolution, compose(style, words)
        seeds = tuple(FIRST_SEED + i for i in range(count))
        width, height = config.width or side, config.height or side
        request = SamplingRequest(prompt.positive, prompt.negative, seeds, width, height, config.steps, config.cfg, config.sampler, loras)
        with contextlib.closing(host.generate(request, lambda _: None, self._cancel)) as made:
            return list(made)


def weights_of(plan: BlendPlan, face: Path, style: Path | None) -> tuple[LoraWeight, ...]:
    """The files of ``plan``'s parts with what they do; a style that has none is left out.

    Raises:
        UserInputError: for another part than face and style.
    """
    strange = [part.role for part in plan.parts if part.role not in (FACE, STYLE)]
    if strange:
        raise UserInputError(f"The blend has a part '{strange[0]}', but only '{FACE}' and '{STYLE}' are known here.")
    files = {FACE: face, STYLE: style}
    return tuple(LoraWeight.of(file, part) for part in plan.parts if (file := files[part.role]) is not None)


def blend_text(loras: Sequence[LoraWeight]) -> str:
    """The plan of ``loras``, face first, as it travels in the infotext: pasted, it counts whatever is measured later."""
    return str(BlendPlan(tuple(w.part(role) for w, role in zip(loras, (FACE, STYLE), strict=False))))
