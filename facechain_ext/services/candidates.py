"""Candidates for portraits: sampled, their small faces sampled again, each scored."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facechain_ext.config import PortraitConfig
from facechain_ext.faces.types import Dataset, Image
from facechain_ext.portraits.face_pass import OFF, FacePass, Passed, Sampler, Target, scale_of, wanted
from facechain_ext.portraits.rank import Limits, Score, in_places, margins, score, score_people
from facechain_ext.portraits.style_score import StyleStatistic, load_statistic
from facechain_ext.ports import FaceAnalyzer, ImageGenerator, LoraWeight, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.styles.catalog import Style
from facechain_ext.workspace import PersonFolder

DRAFT = 0.75
"""How much of a draft's face is sampled anew to make it somebody else's."""
RESERVE = (0.08, 0.03)
"""How much more likeness to oneself, and less to others, the faces of several people are drawn for than is asked for (benchmarks/people)."""


@dataclass(frozen=True, slots=True, eq=False)
class Sitter:
    """Someone who should be in the picture."""

    folder: PersonFolder
    dataset: Dataset
    prompt: str
    """For a picture of this person alone."""
    loras: tuple[LoraWeight, ...]
    """Likewise: face and style."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One picture."""

    image: Image
    seed: int
    score: Score
    request: SamplingRequest
    index: int
    """Its place in ``request``."""
    passed: tuple[Passed, ...] = ()
    """What the face pass did to its faces."""
    tries: int = 1
    """Which drawing of its picture this is, 1 the first."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each region's noise, one where there are none."""
        request = self.request
        return request.region_seeds[self.index] if request.region_seeds else (self.seed,) * max(1, len(request.regions))


def limits_of(config: PortraitConfig, people: int) -> Limits:
    """What a portrait of so many people needs."""
    if people == 1:
        return Limits(config.min_likeness)
    return Limits(max(config.min_likeness, config.own_likeness), people, config.other_likeness)


@dataclass(frozen=True, slots=True)
class Room:
    """What candidates are made with."""

    host: ImageGenerator
    analyzer: FaceAnalyzer
    config: PortraitConfig
    sitters: Sequence[Sitter]
    statistic: StyleStatistic | None
    on_progress: ProgressSink
    cancel: CancelToken

    def make(self, whole: SamplingRequest, tries: int = 1, before: int = 0) -> list[Candidate]:
        """A candidate for each seed of ``whole``, in that order: the drawing number ``tries`` of each, after ``before`` others."""
        found: list[Candidate] = []
        batch, many = self.config.batch, len(whole.seeds)
        for start in range(0, many, batch):
            part = replace(whole, seeds=whole.seeds[start : start + batch], region_seeds=whole.region_seeds[start : start + batch])
            said = f"Portrait {start + 1} of {many}" if tries == 1 else f"Try {tries}, portrait {start + 1} of {many}"
            images = self._sampled(part, before + start, before + many, said)
            for i, image in enumerate(images):
                self.cancel.raise_if_cancelled()
                better, passed = self.passed(image, part, i)
                result = self.scored(better)
                found.append(Candidate(better, part.seeds[i], result, part, i, tuple(passed), tries))
                done = before + len(found)
                self.on_progress(Progress(Stage.RANK, done, before + many, "Measuring likeness", likeness=result.likeness))
        return found

    @property
    def aim(self) -> Limits:
        """What every face should reach, so that other photos of its person than those trained on say the same."""
        limits = limits_of(self.config, len(self.sitters))
        return replace(limits, likeness=limits.likeness + RESERVE[0], others=limits.others - RESERVE[1])

    def _sampled(self, part: SamplingRequest, done: int, many: int, said: str) -> list[Image]:
        size = len(part.seeds)

        def on_step(event: Progress) -> None:
            if event.stage is not Stage.GENERATE:
                # The host waits for its turn.
                self.on_progress(event)
                return
            # Some samplers ask the model once more or less than there are steps.
            step = done * part.steps + round(event.step / (event.total or part.steps) * part.steps) * size
            self.on_progress(Progress(Stage.GENERATE, step, many * part.steps, said))

        with contextlib.closing(self.host.generate(part, on_step, self.cancel)) as images:
            return list(images)

    def scored(self, image: Image) -> Score:
        """``image`` compared with everyone who should be in it."""
        people = [sitter.dataset.mean_embedding for sitter in self.sitters]
        if len(people) == 1:
            return score(image, self.analyzer, people[0], self.statistic)
        return score_people(image, self.analyzer, people, self.statistic)

    def passed(self, image: Image, part: SamplingRequest, index: int) -> tuple[Image, list[Passed]]:
        """``image``, the picture ``index`` of ``part``, after the face pass, and what that did."""
        config, resolution, many = self.config, self.host.checkpoint.resolution, len(self.sitters)
        replaced = many > 1 and config.people_by == "faces"
        if not self.sitters[0].loras or (config.face_pass == OFF and not replaced):
            return image, []
        faces = self.analyzer.detect(image)
        placed = faces[:1] if many == 1 else in_places(faces, image.shape[1], many)
        weak = [False] if many == 1 else [x < 0 for x in margins(self.scored(image), self.aim)]
        people = [sitter.dataset.mean_embedding for sitter in self.sitters]
        targets = []
        for place, (face, sitter) in enumerate(zip(placed, self.sitters, strict=False)):
            if face is None or not (replaced or weak[place] or wanted(face, resolution, config.face_pass, config.face_pass_below)):
                continue
            seed = part.region_seeds[index][place] if part.region_seeds else part.seeds[index]
            rivals = tuple(other for j, other in enumerate(people) if j != place)
            sampler = self._again(sitter, part, DRAFT if replaced else None)
            targets.append(Target(face, people[place], seed, sampler, rivals, self.aim))
        scale = float(np.median([scale_of(sitter.dataset) for sitter in self.sitters]))
        return FacePass(self.analyzer, resolution, scale, whole_head=replaced).run(image, targets)

    def _again(self, sitter: Sitter, part: SamplingRequest, strength: float | None) -> Sampler:
        side = self.host.checkpoint.resolution

        def sample(images: Sequence[Image], seeds: Sequence[int]) -> list[Image]:
            self.on_progress(Progress(Stage.GENERATE, message="A small face again, larger"))
            request = SamplingRequest(
                sitter.prompt,
                part.negative,
                tuple(seeds),
                side,
                side,
                part.steps,
                part.cfg,
                part.sampler,
                sitter.loras,
                start=tuple(np.ascontiguousarray(image) for image in images),
                strength=strength or self.config.face_pass_strength,
                made=part.made,
            )
            with contextlib.closing(self.host.generate(request, lambda _: None, self.cancel)) as found:
                return list(found)

        return sample


def statistic_of(style: Style | None, lora: Path | None) -> StyleStatistic | None:
    """How to measure ``style``, where its LoRA brings that along.

    Raises:
        FileFormatError: when it is damaged.
    """
    file = lora.with_suffix(".score.json") if style is not None and lora is not None else None
    return load_statistic(file) if file is not None and file.exists() else None
