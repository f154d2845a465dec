"""Use case: the blend bench. How much of a person is left when a style comes in, by each way of blending the two?

Every picture is scored as soon as it is made and its scores are kept: a run that was interrupted goes on where it stopped. The people's
LoRAs lie in a folder of the workspace meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from facechain_ext.blend import FACE, STYLE, parse_plan
from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.faces.types import Embedding, Image
from facechain_ext.lora.fuse import FuseSettings
from facechain_ext.lora.naming import BLOCKS
from facechain_ext.portraits.measures import see
from facechain_ext.portraits.style_score import StyleStatistic, fit
from facechain_ext.ports import FaceAnalyzer, ImageGenerator, LoraWeight, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.services.balance import FITTED_ON, Balance, blend_text, measure_balance, plan_of, remembered, weights_of
from facechain_ext.services.blend_methods import AUTO, Recipe, recipes
from facechain_ext.services.blend_report import BlendReport, Cell
from facechain_ext.services.candidates import statistic_of
from facechain_ext.services.fusing import merge_files
from facechain_ext.services.likeness import BenchPerson, judge_of
from facechain_ext.services.people import dataset_of, sha256
from facechain_ext.services.portraits import face_lora, pair_of, style_lora
from facechain_ext.services.requests import PrepareRequest, TrainRequest
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import Style, find_style
from facechain_ext.styles.prompts import compose
from facechain_ext.workspace import PersonFolder, Workspace, atomic_path, remove_tree, storage_errors

FIRST_SEED = 2000
"""Apart from those of the likeness bench (1000), of ``balance`` (7000) and of the pictures the default was chosen on (5000)."""
FOLDER = "bench-blend"
"""In the workspace."""
SCORES, PICTURES = "scores.jsonl", "pictures"
RANK = 32
"""Of merged files."""
TRIED = 4
"""Plans that auto-balance tries for each pair, whatever the machine's speed."""


@dataclass(frozen=True, slots=True)
class BlendBenchRequest:
    """What to measure."""

    people: tuple[BenchPerson, ...]
    styles: tuple[str, ...]
    config: TrainConfig
    portrait: PortraitConfig
    """Its seed is that of the first portrait of each cell."""
    out: Path
    """Where scores and pictures are kept from run to run."""
    checkpoint: str | None = None
    images: int = 4
    """Portraits per person, style and recipe."""
    recipes: tuple[Recipe, ...] = ()
    """Empty: all of ``blend_methods``."""
    keep: bool = False
    """Keep the people's LoRAs and photos in the workspace when all is measured."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the portraits of each cell."""
        first = FIRST_SEED if self.portrait.seed is None else self.portrait.seed
        return tuple(range(first, first + self.images))


@dataclass(frozen=True, slots=True, eq=False)
class _Subject:
    """A person with a trained LoRA."""

    name: str
    folder: PersonFolder
    face: Path
    words: str
    judge: Embedding


def run_blend_bench(studio: Studio, request: BlendBenchRequest, on_progress: ProgressSink, cancel: CancelToken) -> BlendReport:
    """Train every person who is not trained yet, then measure every recipe of every style on each.

    Raises:
        UserInputError: for people without a face in their judging photos, or styles without a LoRA for the checkpoint.
        Cancelled: what was measured is kept.
    """
    analyzer, host = studio.analyzer, studio.host(request.checkpoint)
    styles = [find_style(studio.styles(), name) for name in request.styles]
    missing = [s.id for s in styles if not s.acts_on(host.checkpoint.name)]
    if missing or not styles:
        named = (
            f"These styles have no LoRA for {host.checkpoint.name}: {', '.join(missing)}. Leave them out." if missing else "Name a style."
        )
        raise UserInputError(named)
    judges = {p.name: judge_of(p, analyzer) for p in request.people}
    subjects = []
    for person in request.people:
        cancel.raise_if_cancelled()
        subjects.append(_trained(studio, person, request, judges[person.name], on_progress, cancel))
    bench = _Bench(host, analyzer, request, on_progress, cancel)
    cells = bench.cells(styles, subjects)
    if not request.keep:
        remove_tree(studio.workspace.root / FOLDER)
    portrait = request.portrait
    kept = ("steps", "cfg", "sampler", "face_weight", "face_guidance")
    settings = {"train": request.config.to_dict(), "portrait": {k: v for k, v in portrait.to_dict().items() if k in kept}}
    return BlendReport(
        host.checkpoint.name,
        analyzer.pack.name,
        tuple(p.name for p in request.people),
        tuple(s.id for s in styles),
        request.seeds,
        settings,
        tuple(cells),
    )


def _trained(
    studio: Studio, person: BenchPerson, request: BlendBenchRequest, judge: Embedding, on_progress: ProgressSink, cancel: CancelToken
) -> _Subject:
    """Prepare and train ``person`` in a workspace of their own, unless an earlier run did."""
    choice = studio.checkpoint(request.checkpoint)
    beside = studio.beside(Workspace(studio.workspace.root / FOLDER / fingerprint(person, request.config, studio.host(request.checkpoint))))
    folder = beside.workspace.person(person.name)
    try:
        face = face_lora(folder) if folder.exists else None
    except UserInputError:
        face = None
    if face is None:
        beside.prepare(PrepareRequest(person.name, person.train, choice.prepare), on_progress, cancel)
        beside.train(TrainRequest(person.name, request.checkpoint, request.config), on_progress, cancel)
        face = face_lora(folder)
    return _Subject(person.name, folder, face, dataset_of(folder, studio.analyzer).caption, judge)


def fingerprint(person: BenchPerson, config: TrainConfig, host: ImageGenerator) -> str:
    """16 hex digits of everything a person's LoRA depends on."""
    said = [person.name, *(sha256(photo) for photo in person.train), json.dumps(config.to_dict(), sort_keys=True), host.checkpoint.sha256]
    return _digest(said)


def _digest(said: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(list(said)).encode()).hexdigest()[:16]


class _Scores:
    """The scores of single pictures, one line each, and the pictures that are shown."""

    def __init__(self, out: Path) -> None:
        self._file, self._pictures = out / SCORES, out / PICTURES
        self._known: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(OSError):
            for line in self._file.read_text(encoding="utf-8").splitlines():
                # The last line of a run that was killed may be half a line.
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    found = json.loads(line)
                    self._known[found["key"]] = {k: found[k] for k in ("likeness", "score", "faces")}

    def get(self, key: str) -> dict[str, Any] | None:
        """Likeness, style score and number of faces of the picture ``key``."""
        return self._known.get(key)

    def add(self, key: str, about: Mapping[str, Any], scores: dict[str, Any]) -> None:
        """Keep ``scores`` at once."""
        self._known[key] = scores
        with storage_errors("the scores"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            begun = self._file.exists() and not self._file.read_bytes().endswith(b"\n")
            with self._file.open("a", encoding="utf-8") as file:
                file.write(("\n" if begun else "") + json.dumps({"key": key, **about, **scores}) + "\n")

    def show(self, key: str, image: Image) -> None:
        """Keep a picture for the sheet."""
        with atomic_path(self._pictures / f"{key}.png", "a picture") as temporary:
            PilImage.fromarray(image).save(temporary, "PNG")


class _Bench:
    """All recipes on everybody."""

    def __init__(
        self, host: ImageGenerator, analyzer: FaceAnalyzer, request: BlendBenchRequest, on_progress: ProgressSink, cancel: CancelToken
    ) -> None:
        self._host, self._analyzer, self._request = host, analyzer, request
        self._on_progress, self._cancel = on_progress, cancel
        self._scores = _Scores(request.out)
        self._seeds = request.seeds
        portrait = request.portrait
        self._recipes = request.recipes or recipes(portrait.face_weight, portrait.face_guidance, BLOCKS[host.checkpoint.family])

    def cells(self, styles: Sequence[Style], subjects: Sequence[_Subject]) -> list[Cell]:
        """Recipe by recipe, so that an interrupted run has all people of the first ones."""
        statistics = {s.id: self._statistic(s) for s in styles}
        total, found = len(styles) * len(self._recipes) * len(subjects), []
        for recipe in self._recipes:
            for style in styles:
                for subject in subjects:
                    self._cancel.raise_if_cancelled()
                    said = f"{style.id}, {recipe.method} {recipe.strength}, {subject.name}"
                    self._on_progress(Progress(Stage.GENERATE, len(found), total, said))
                    found.append(self._cell(style, recipe, subject, statistics[style.id]))
        return found

    def _cell(self, style: Style, recipe: Recipe, subject: _Subject, statistic: StyleStatistic) -> Cell:
        here = style.on(self._host.checkpoint.name)
        worded = None if not recipe.styled else style if recipe.with_words else here
        loras, plan = self._loras(here, recipe, subject)
        whole = self._sampling(worded, subject.words, loras, self._seeds)
        keys = [self._key(whole, seed, subject, statistic) for seed in whole.seeds]
        scored = self._scored(whole, keys, plan, subject, statistic)
        likeness, score, faces = (tuple(s[name] for s in scored) for name in ("likeness", "score", "faces"))
        return Cell(style.id, recipe.method, recipe.strength, subject.name, plan, whole.prompt, likeness, score, faces, keys[0])

    def _sampling(self, style: Style | None, words: str, loras: tuple[LoraWeight, ...], seeds: tuple[int, ...]) -> SamplingRequest:
        prompt, config, side = compose(style, words), self._request.portrait, self._host.checkpoint.resolution
        size = (config.width or side, config.height or side)
        return SamplingRequest(prompt.positive, prompt.negative, seeds, *size, config.steps, config.cfg, config.sampler, loras)

    def _statistic(self, style: Style) -> StyleStatistic:
        """The style's own, else what its LoRA alone does to plain portraits."""
        file = style_lora(style)
        found = statistic_of(style, file)
        if found is None:
            seeds = tuple(range(FITTED_ON))
            made = [
                list(self._host.generate(self._sampling(look, "person", loras, seeds), lambda _: None, self._cancel))
                for look, loras in ((style, (LoraWeight(file),)), (None, ()))
            ]
            found = fit(*made)
        return found

    def _loras(self, style: Style, recipe: Recipe, subject: _Subject) -> tuple[tuple[LoraWeight, ...], str]:
        """What acts, and how it is told."""
        pair = pair_of(subject.folder, style, self._host)
        if recipe.balance is not None:
            known = self._measured(style, subject) if recipe.method == AUTO else None
            config = replace(self._request.portrait, balance=recipe.balance, blend="")
            loras = weights_of(plan_of(style, config, style.weight, known), subject.face, pair.style_file)
            return loras, blend_text(loras)
        plan = parse_plan(recipe.plan)
        if not recipe.merge:
            loras = weights_of(plan, subject.face, pair.style_file)
            return loras, str(plan)
        files = {FACE: subject.face, STYLE: pair.style_file}
        parents = [(files[part.role], part.unet) for part in plan.parts]
        target = subject.folder.root / f"merged-{_digest([recipe.merge, recipe.plan, sha256(pair.style_file)])}.safetensors"
        if not target.exists():
            merge_files(parents, target, FuseSettings(recipe.merge, RANK))
        return (LoraWeight(target),), f"{recipe.merge} of {plan}"

    def _measured(self, style: Style, subject: _Subject) -> Balance:
        pair = pair_of(subject.folder, style, self._host)
        known = remembered(pair)
        if known is None:
            # As many previews as there are pictures to judge by.
            config = replace(self._request.portrait, batch=self._request.images)
            known = measure_balance(pair, self._analyzer, config, math.inf, self._on_progress, self._cancel, TRIED)
        return known

    def _scored(
        self, whole: SamplingRequest, keys: Sequence[str], plan: str, subject: _Subject, statistic: StyleStatistic
    ) -> list[dict[str, Any]]:
        """The scores of every seed, sampling those whose keys are not known."""
        left = [i for i, key in enumerate(keys) if self._scores.get(key) is None]
        about = {"person": subject.name, "plan": plan, "prompt": whole.prompt}
        batch = self._request.portrait.batch
        for start in range(0, len(left), batch):
            part = left[start : start + batch]
            request = replace(whole, seeds=tuple(whole.seeds[i] for i in part))
            with contextlib.closing(self._host.generate(request, lambda _: None, self._cancel)) as made:
                for i, image in zip(part, made, strict=True):
                    if i == 0:
                        self._scores.show(keys[i], image)
                    self._scores.add(keys[i], {**about, "seed": whole.seeds[i]}, self._scores_of(image, subject, statistic))
        return [found for key in keys if (found := self._scores.get(key)) is not None]

    def _scores_of(self, image: Image, subject: _Subject, statistic: StyleStatistic) -> dict[str, Any]:
        seen = see(image, self._analyzer)
        likeness = 0.0 if seen.embedding is None else float(seen.embedding @ subject.judge)
        return {"likeness": round(likeness, 4), "score": round(statistic.score(image), 4), "faces": seen.faces}

    def _key(self, whole: SamplingRequest, seed: int, subject: _Subject, statistic: StyleStatistic) -> str:
        """Of everything a picture's scores depend on."""
        loras = [
            (
                sha256(w.file),
                w.unet,
                w.text,
                w.blocks,
                str(w.schedule) if w.schedule else None,
                str(w.region) if w.region else None,
                w.guided,
            )
            for w in whole.loras
        ]
        judged = [np.round(subject.judge, 5).tolist(), np.round(statistic.direction, 5).tolist(), self._analyzer.pack.sha256]
        size = (whole.width, whole.height, whole.steps, whole.cfg, whole.sampler)
        return _digest([self._host.checkpoint.sha256, whole.prompt, whole.negative, size, loras, seed, judged])


def shown(report: BlendReport, out: Path) -> dict[tuple[str, str, str, str], Image]:
    """The first picture of each (style, method, strength, person) that is kept in ``out``."""
    files = {(c.style, c.method, c.strength, c.person): out / PICTURES / f"{c.picture}.png" for c in report.cells}
    return {place: np.asarray(PilImage.open(file).convert("RGB")) for place, file in files.items() if file.is_file()}
