"""Use case: the likeness bench. How alike do portraits of people become that the checkpoint has never seen?

For every person some photos train and others, which the training never sees, judge. Everything lives in a workspace of its own
that is deleted afterwards.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image as PilImage

from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.faces.reading import read_photo
from facechain_ext.faces.types import Embedding, Image
from facechain_ext.portraits.measures import Measures, Seen, mean_of, measure, see, template
from facechain_ext.portraits.style_score import StyleStatistic, fit, load_statistic
from facechain_ext.ports import FaceAnalyzer, ImageGenerator, LoraWeight, SamplingRequest
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.services.people import dataset_of
from facechain_ext.services.portraits import face_lora, style_lora
from facechain_ext.services.requests import PrepareRequest, TrainRequest
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import Style, find_style
from facechain_ext.styles.prompts import compose
from facechain_ext.workspace import Workspace, storage_errors

FIRST_SEED = 1000
CURVE_POINTS = 3
"""Previews during each training, evenly spread; the last one after the last step."""


@dataclass(frozen=True, slots=True)
class BenchPerson:
    """One person of the bench."""

    name: str
    train: tuple[Path, ...]
    judge: tuple[Path, ...]
    """Photos that the training never sees."""


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What to measure."""

    people: tuple[BenchPerson, ...]
    gallery: Mapping[str, tuple[Path, ...]]
    """Photos of other people, for ``others`` and ``rank1``; a name that is also in ``people`` is left out."""
    config: TrainConfig
    portrait: PortraitConfig
    checkpoint: str | None = None
    images: int = 8
    """Portraits per person and measurement."""
    styles: tuple[str, ...] = ()
    style_weights: tuple[float, ...] = (0.5, 1.0)
    style_images: int = 4
    """Portraits per person, style and weight."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Previews after ``step`` steps, measured like portraits."""

    step: int
    measures: Measures


@dataclass(frozen=True, slots=True, eq=False)
class PersonReport:
    """One person's numbers and pictures."""

    person: str
    real: Measures
    """The judging photos themselves, each against the template of the training photos: what a perfect LoRA would reach."""
    before: Measures
    after: Measures
    seconds: float
    """Of training."""
    curve: tuple[CurvePoint, ...]
    source: Image
    portraits: tuple[Image, ...]


@dataclass(frozen=True, slots=True, eq=False)
class StyleReport:
    """All people under one style LoRA at one weight."""

    style: str
    weight: float
    blend: str
    measures: Measures
    style_score: float
    """0 plain, 1 like the examples the style's statistic was fitted on."""
    portraits: tuple[Image, ...] = field(default=())
    """One per person."""


@dataclass(frozen=True, slots=True, eq=False)
class BenchReport:
    """Everything the bench found."""

    checkpoint: str
    pack: str
    config: TrainConfig
    people: tuple[PersonReport, ...]
    styles: tuple[StyleReport, ...]

    def to_dict(self) -> dict[str, object]:
        """The command's JSON."""

        def pair(before: Measures, after: Measures, real: Measures) -> dict[str, object]:
            return {"before": before.as_dict(), "after": after.as_dict(), "real": real.as_dict()}

        people = [
            {
                "person": p.person,
                **pair(p.before, p.after, p.real),
                "seconds": round(p.seconds, 1),
                "curve": [{"step": c.step, **c.measures.as_dict()} for c in p.curve],
            }
            for p in self.people
        ]
        mean = pair(
            mean_of([p.before for p in self.people]), mean_of([p.after for p in self.people]), mean_of([p.real for p in self.people])
        )
        styles = [
            {
                "style": s.style,
                "weight": s.weight,
                "blend": s.blend,
                "likeness": round(s.measures.likeness, 3),
                "style_score": round(s.style_score, 3),
                "rank1": round(s.measures.rank1, 3),
                "one_face": round(s.measures.one_face, 3),
            }
            for s in self.styles
        ]
        return {
            "checkpoint": self.checkpoint,
            "pack": self.pack,
            "train": self.config.to_dict(),
            "people": people,
            "mean": {**mean, "seconds": round(float(np.mean([p.seconds for p in self.people])), 1)},
            "styles": styles,
        }


def run_bench(
    studio: Studio,
    request: BenchRequest,
    on_progress: ProgressSink,
    cancel: CancelToken,
    on_person: Callable[[PersonReport], None] = lambda _: None,
) -> BenchReport:
    """Train and judge every person, then every style on every person's LoRA.

    Raises:
        UserInputError: for people without a face in their judging photos, or unknown styles.
        FaceChainError: as the single use cases do.
    """
    styles = [find_style(studio.styles(), name) for name in request.styles]
    analyzer, host = studio.analyzer, studio.host(request.checkpoint)
    missing = [s.id for s in styles if not s.acts_on(host.checkpoint.name)]
    if missing:
        raise UserInputError(f"These styles have no LoRA for {host.checkpoint.name}: {', '.join(missing)}. Leave them out.")
    cancel.raise_if_cancelled()
    gallery = {name: t for name, photos in request.gallery.items() if (t := template(_seen(photos, analyzer))) is not None}
    judges = {p.name: judge_of(p, analyzer) for p in request.people}
    with storage_errors("the bench"):
        studio.workspace.root.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="bench-", dir=studio.workspace.root)
    with folder as root:
        bench = _Bench(studio.beside(Workspace(root)), host, analyzer, request, gallery | judges, on_progress, cancel)
        people = []
        for person in request.people:
            people.append(bench.person(person, judges[person.name]))
            on_person(people[-1])
        cells = [bench.style(style, weight, judges) for style in styles for weight in request.style_weights]
    return BenchReport(host.checkpoint.name, analyzer.pack.name, request.config, tuple(people), tuple(cells))


def _seen(photos: Sequence[Path], analyzer: FaceAnalyzer) -> list[Seen]:
    return [see(read_photo(photo), analyzer) for photo in photos]


def judge_of(person: BenchPerson, analyzer: FaceAnalyzer) -> Embedding:
    """The template (D,) of the photos that judge ``person``.

    Raises:
        UserInputError: when none of them shows a face.
    """
    found = template(_seen(person.judge, analyzer))
    if found is None:
        raise UserInputError(f"None of the photos that should judge '{person.name}' shows a face. Add others.")
    return found


class _Bench:
    """The bench's rooms and what every measurement needs."""

    def __init__(
        self,
        studio: Studio,
        host: ImageGenerator,
        analyzer: FaceAnalyzer,
        request: BenchRequest,
        templates: Mapping[str, Embedding],
        on_progress: ProgressSink,
        cancel: CancelToken,
    ) -> None:
        self._studio, self._host, self._analyzer, self._request = studio, host, analyzer, request
        self._templates, self._on_progress, self._cancel = templates, on_progress, cancel
        self._statistics: dict[str, StyleStatistic] = {}
        self._plain: dict[str, list[Image]] = {}

    def person(self, person: BenchPerson, judge: Embedding) -> PersonReport:
        """Prepare, measure without LoRA, train, measure again."""
        studio, request = self._studio, self._request
        choice = studio.checkpoint(request.checkpoint)
        studio.prepare(PrepareRequest(person.name, person.train, choice.prepare), self._on_progress, self._cancel)
        folder = studio.workspace.existing_person(person.name)
        dataset = dataset_of(folder, self._analyzer)
        before = self._images(None, dataset.caption, (), request.images)
        trained = studio.train(TrainRequest(person.name, request.checkpoint, request.config), self._on_progress, self._cancel)
        after = self._images(None, dataset.caption, (self._face(person.name),), request.images)
        curve: dict[int, list[Seen]] = {}
        for file in sorted((folder.training / "previews").glob("step-*.png")):
            curve.setdefault(int(file.name.split("-")[1]), []).append(see(np.asarray(PilImage.open(file)), self._analyzer))
        real = measure(_seen(person.judge, self._analyzer), dataset.mean_embedding, self._others(person.name))
        return PersonReport(
            person.name,
            real,
            self._measure(before, person.name, judge),
            self._measure(after, person.name, judge),
            trained.seconds,
            tuple(CurvePoint(step, measure(seen, judge, self._others(person.name))) for step, seen in sorted(curve.items())),
            dataset.photos[0].image,
            tuple(after),
        )

    def style(self, style: Style, weight: float, judges: Mapping[str, Embedding]) -> StyleReport:
        """Everyone's portraits with face LoRA and style LoRA."""
        statistic = self._statistic(style)
        measures, scores, shown = [], [], []
        for name, judge in judges.items():
            dataset = dataset_of(self._studio.workspace.existing_person(name), self._analyzer)
            loras = (self._face(name), LoraWeight(style_lora(style), weight, weight))
            images = self._images(style, dataset.caption, loras, self._request.style_images)
            measures.append(self._measure(images, name, judge))
            scores += [statistic.score(image) for image in images]
            shown.append(images[0])
        return StyleReport(style.id, weight, "static", mean_of(measures), float(np.mean(scores)), tuple(shown))

    def _statistic(self, style: Style) -> StyleStatistic:
        """The one that lies beside the LoRA, else one fitted on what the style LoRA alone does to plain portraits."""
        if style.id not in self._statistics:
            file = style_lora(style).with_suffix(".score.json")
            if file.exists():
                self._statistics[style.id] = load_statistic(file)
            else:
                subject = self._studio.checkpoint(self._request.checkpoint).prepare.subject
                plain = self._images(None, subject, (), 8)
                styled = self._images(style, subject, (LoraWeight(style_lora(style)),), 8)
                self._statistics[style.id] = fit(styled, plain)
        return self._statistics[style.id]

    def _face(self, name: str) -> LoraWeight:
        weight = self._request.portrait.face_weight
        return LoraWeight(face_lora(self._studio.workspace.existing_person(name)), weight, weight)

    def _others(self, name: str) -> dict[str, Embedding]:
        return {other: t for other, t in self._templates.items() if other != name}

    def _measure(self, images: Sequence[Image], name: str, judge: Embedding) -> Measures:
        return measure([see(image, self._analyzer) for image in images], judge, self._others(name))

    def _images(self, style: Style | None, words: str, loras: tuple[LoraWeight, ...], count: int) -> list[Image]:
        config, side = self._request.portrait, self._host.checkpoint.resolution
        prompt = compose(style, words)
        # Without a LoRA the picture depends on the words alone, which people share.
        key = prompt.positive if not loras else None
        if key is not None and len(self._plain.get(key, [])) >= count:
            return self._plain[key][:count]
        images: list[Image] = []
        for start in range(0, count, config.batch):
            seeds = tuple(FIRST_SEED + i for i in range(start, min(start + config.batch, count)))
            part = SamplingRequest(
                prompt.positive,
                prompt.negative,
                seeds,
                config.width or side,
                config.height or side,
                config.steps,
                config.cfg,
                config.sampler,
                loras,
            )
            with contextlib.closing(self._host.generate(part, self._on_progress, self._cancel)) as generated:
                images += list(generated)
        if key is not None:
            self._plain[key] = images
        return images
