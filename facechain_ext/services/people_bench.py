"""Use case: the bench of several people in one picture. Is every face its own person's, and nobody else's?

People the checkpoint was never taught, some photos of each to train and others, which no training sees, to judge. Pictures are made and chosen
as for any user, by the photos trained on; what counts here are the others. Everything is kept, so that a bench goes on where it was ended.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.faces.types import Embedding
from facechain_ext.portraits.rank import Limits, faults, score_people
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.services.candidates import Candidate, Room
from facechain_ext.services.likeness import BenchPerson, judge_of
from facechain_ext.services.portrait_files import write_portraits
from facechain_ext.services.portraits import check_together, sampling_of, sitters_of
from facechain_ext.services.requests import PortraitRequest, PrepareRequest, TrainRequest
from facechain_ext.services.studio import Studio
from facechain_ext.services.tries import drawn
from facechain_ext.workspace import Workspace, read_json, write_json

SCHEMA = 1
OWN, OTHERS = 0.45, 0.25
"""What counts as right: every face at least so like its own person, and at most so like any other of them."""


@dataclass(frozen=True, slots=True)
class PeopleBenchRequest:
    """What to measure."""

    people: tuple[BenchPerson, ...]
    groups: tuple[tuple[str, ...], ...]
    """Names of those in one picture, from left to right."""
    training: TrainConfig
    portrait: PortraitConfig
    """``count`` pictures of each group, from ``seed`` on."""
    checkpoint: str | None = None


def groups_of(names: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """All groups of ``size`` of ``names``, every second one the other way round, so that each stands left and right."""
    return [own[:: -1 if i % 2 else 1] for i, own in enumerate(itertools.combinations(names, size))]


def run_people_bench(
    studio: Studio, request: PeopleBenchRequest, folder: Path, on_progress: ProgressSink, cancel: CancelToken
) -> list[dict[str, Any]]:
    """Measure every group whose measurement does not lie in ``folder`` yet; the measurements of all of them, in their order.

    Raises:
        UserInputError: for a group of unknown people, of one, or that does not fit into one picture; people without a face in their judging photos.
        FaceChainError: as the single use cases do.
    """
    known = {person.name: person for person in request.people}
    unknown = [name for group in request.groups for name in group if name not in known]
    if unknown:
        raise UserInputError(f"There is nobody called '{unknown[0]}' to measure. There are: {', '.join(known)}.")
    for group in request.groups:
        check_together(group)
        if len(group) < 2:
            raise UserInputError("Name at least two people for one picture, with a comma between them. For one at a time there is 'bench likeness'.")
    own = studio.beside(Workspace(folder / "workspace"))
    judges: dict[str, Embedding] = {}
    found = []
    for group in request.groups:
        file = folder / "groups" / ("+".join(group) + ".json")
        if not file.exists():
            for name in group:
                if name not in judges:
                    judges[name] = _ready(own, known[name], request, on_progress, cancel)
            write_json(file, {"schema": SCHEMA, **_measured(own, request, group, judges, file.with_suffix(""), on_progress, cancel)}, "the bench")
        found.append(read_json(file, SCHEMA))
    return found


def _ready(studio: Studio, person: BenchPerson, request: PeopleBenchRequest, on_progress: ProgressSink, cancel: CancelToken) -> Embedding:
    """Train ``person`` where that is still to be done; the template of the judging photos."""
    judge = judge_of(person, studio.analyzer)
    if not any(p.name == person.name and p.loras for p in studio.people()):
        studio.prepare(PrepareRequest(person.name, person.train, studio.checkpoint(request.checkpoint).prepare), on_progress, cancel)
        studio.train(TrainRequest(person.name, request.checkpoint, request.training), on_progress, cancel)
    return judge


def _measured(
    studio: Studio,
    request: PeopleBenchRequest,
    group: Sequence[str],
    judges: Mapping[str, Embedding],
    target: Path,
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> dict[str, Any]:
    """Pictures of ``group``, made as ``make_portraits`` does, and what both sets of photos say about each drawing."""
    host, analyzer, config = studio.host(request.checkpoint), studio.analyzer, request.portrait
    wanted = PortraitRequest(group[0], request.checkpoint, config=config, out=target, beside=tuple(group[1:]))
    sitters = sitters_of(wanted, studio.workspace, host, analyzer, None)
    room = Room(host, analyzer, config, sitters, None, on_progress, cancel)
    sampling = replace(sampling_of(wanted, sitters, host, None), made=host.made)
    chosen, others = drawn(room, sampling, config.tries)
    result = write_portraits(chosen, others, target, wanted, sitters, host, None)
    people = [judges[name] for name in group]

    def judged(found: Candidate) -> dict[str, Any]:
        unseen = score_people(found.image, analyzer, people)
        limits = Limits(OWN, len(group), OTHERS)
        return {
            "seeds": list(found.seeds),
            "try": found.tries,
            "own": _rounded(unseen.each),
            "others": _rounded(unseen.others),
            "right": not faults(unseen, limits),
            "trained_own": _rounded(found.score.each),
            "trained_others": _rounded(found.score.others),
            "trained_right": not faults(found.score, limits),
        }

    files = {p.seeds: p.file.name for p in result.portraits}
    return {
        "people": list(group),
        "settings": {key: getattr(config, key) for key in ("seed", "count", "tries", "own_likeness", "other_likeness", "steps", "cfg", "sampler")},
        "drawings": len(chosen) + len(others),
        "delivered": [{"file": files[found.seeds], **judged(found)} for found in chosen],
        "first": [judged(found) for found in [*chosen, *others] if found.tries == 1],
    }


def summed(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares and means over the pictures of ``groups``; a face that is missing counts as likeness 0."""
    delivered = [picture for group in groups for picture in group["delivered"]]
    first = [picture for group in groups for picture in group["first"]]

    def share(pictures: Sequence[Mapping[str, Any]], key: str) -> float:
        return round(float(np.mean([picture[key] for picture in pictures])), 3)

    def mean(key: str) -> float:
        faces = [(own, x) for picture in delivered for own, x in zip(picture["own"], picture[key], strict=True)]
        return round(float(np.mean([0.0 if own is None else x for own, x in faces])), 3)

    return {
        "pictures": len(delivered),
        "right": share(delivered, "right"),
        "right_at_first": share(first, "right"),
        "trained_right": share(delivered, "trained_right"),
        "own": mean("own"),
        "others": mean("others"),
        "drawings_each": round(sum(group["drawings"] for group in groups) / len(delivered), 2),
    }


def _rounded(values: Sequence[float | None]) -> list[float | None]:
    return [None if x is None else round(x, 3) for x in values]
