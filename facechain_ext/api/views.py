"""What the use cases know, as answers; nothing here reveals a path of this machine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facechain_ext.api import schemas
from facechain_ext.faces.attributes import Suggestion
from facechain_ext.faces.types import PhotoVerdict
from facechain_ext.progress import LossPoint
from facechain_ext.services.jobs import Job
from facechain_ext.services.requests import CheckpointChoice, Person, Portrait, RankedPortraits, StyleTrainResult, TrainResult


@dataclass(frozen=True, slots=True)
class Prepared:
    """The outcome of a prepare job, without the pictures."""

    verdicts: tuple[PhotoVerdict, ...]
    advice: tuple[str, ...]
    suggestion: Suggestion | None = None


def person_view(person: Person) -> schemas.PersonView:
    """One person."""
    loras = [
        schemas.LoraView(
            name=lora.name,
            sha256=lora.sha256,
            family=lora.family,
            checkpoint=lora.checkpoint,
            rank=lora.rank,
            steps=lora.steps,
            likeness=_finite(lora.likeness),
            created=lora.created,
            grown_from=lora.grown_from,
        )
        for lora in person.loras
    ]
    return schemas.PersonView(
        name=person.name,
        trigger=person.trigger,
        subject=person.subject,
        photos=person.photos,
        originals=person.originals,
        portraits=person.portraits,
        resumable=person.resumable,
        loras=loras,
    )


def checkpoint_view(choice: CheckpointChoice) -> schemas.CheckpointView:
    """One checkpoint."""
    return schemas.CheckpointView(
        name=choice.name,
        note=choice.note,
        default=choice.default,
        prepare=choice.prepare.to_dict(),
        train=choice.train.to_dict(),
        portraits=choice.portrait.to_dict(),
    )


def job_view(job: Job, jobs: Sequence[Job]) -> schemas.JobView:
    """Where ``job`` stands among ``jobs``, oldest first."""
    return schemas.JobView(**_standing(job, jobs))


def job_detail(job: Job, jobs: Sequence[Job], base: str, since: int) -> schemas.JobDetail:
    """All a job has to show, the curve from the step after ``since``; ``base`` is the address of the API."""
    result = job.result
    whole: Iterable[LossPoint] = result.curve if isinstance(result, TrainResult) else list(job.curve)
    curve = [
        schemas.CurvePoint(step=p.step, loss=_finite(p.loss), learning_rate=p.learning_rate, likeness=_finite(p.likeness))
        for p in whole
        if p.step > since
    ]
    images = [
        schemas.ImageView(file=file.name, url=f"{base}/jobs/{job.id}/images/{i}", caption=caption)
        for i, (file, caption) in enumerate(pictures(job))
    ]
    return schemas.JobDetail(**_standing(job, jobs), curve=curve, images=images, result=_result(job, images))


def pictures(job: Job) -> list[tuple[Path, str]]:
    """(file, caption) of the portraits of a finished portraits job, of every preview of any other, and of the picture that sums a training up."""
    if isinstance(job.result, RankedPortraits):
        said = [("no face" if p.likeness is None else f"likeness {p.likeness:.2f}") for p in job.result.portraits]
        return [(p.file, caption) for p, caption in zip(job.result.portraits, said, strict=True)]
    found = [(Path(file), caption) for file, caption in list(job.pictures)]
    if isinstance(job.result, TrainResult) and job.result.card is not None:
        found.append((job.result.card, "summary"))
    return found


def _standing(job: Job, jobs: Sequence[Job]) -> dict[str, Any]:
    now = job.progress
    before = jobs[: next((i for i, j in enumerate(jobs) if j is job), 0)]
    likeness = job.result.likeness if isinstance(job.result, TrainResult) else now.likeness
    return {
        "id": job.id,
        "kind": job.kind,
        "person": job.person,
        "state": job.state.value,
        "stage": now.stage.value,
        "step": now.step,
        "total": now.total,
        "message": now.message,
        "loss": _finite(now.loss),
        "eta_s": _finite(now.eta_s),
        "likeness": _finite(likeness),
        "ahead": sum(j.active for j in before) if job.active else 0,
        "started": job.started,
        "finished": job.finished,
        "error": job.error,
    }


def _portrait(p: Portrait, url: str) -> schemas.PortraitView:
    return schemas.PortraitView(
        file=p.file.name,
        url=url,
        seed=p.seed,
        likeness=_finite(p.likeness),
        faces=p.faces,
        rank=p.rank,
        flagged=p.flagged,
        faults=list(p.faults),
        sharpness=_finite(p.sharpness),
        style_score=_finite(p.style_score),
        face_pass=list(p.face_pass),
        each=[_finite(x) for x in p.each],
        others=list(p.others),
        seeds=list(p.seeds) if p.each else [],
        tries=p.tries,
        infotext=p.infotext,
    )


def _result(
    job: Job, images: Sequence[schemas.ImageView]
) -> schemas.PrepareResult | schemas.TrainOutcome | schemas.PortraitsResult | schemas.StyleOutcome | schemas.BalanceResult | None:
    result = job.result
    if job.kind == "balance" and result is not None:
        return schemas.BalanceResult(
            measured=[schemas.MeasuredView(plan=m.plan, likeness=m.likeness, style=m.style) for m in result.measured],
            without=result.without,
            previews=result.previews,
            explanation=result.explained(0.5),
        )
    if isinstance(result, StyleTrainResult):
        return schemas.StyleOutcome(
            style=result.style.id,
            trained_steps=result.steps,
            pictures=result.pictures,
            captions=result.captioned,
            seconds=result.seconds,
            notes=list(result.notes),
        )
    if isinstance(result, Prepared):
        return prepare_result(result)
    if isinstance(result, TrainResult):
        return schemas.TrainOutcome(
            lora=result.lora.name,
            steps=result.steps,
            seconds=result.seconds,
            loss=_finite(result.loss),
            likeness=_finite(result.likeness),
            stopped_early=result.stopped_early,
            kept=result.kept,
            reason=result.reason,
            notes=list(result.notes),
        )
    if isinstance(result, RankedPortraits):
        return schemas.PortraitsResult(
            portraits=[
                _portrait(p, image.url)
                for p, image in zip(result.portraits, images, strict=True)
            ],
            candidates=result.candidates,
            notes=list(result.notes),
        )
    return None


def prepare_result(result: Prepared) -> schemas.PrepareResult:
    """Verdicts and advice."""
    photos = [_verdict(v) for v in result.verdicts]
    said = result.suggestion
    guess = schemas.SuggestionView(subject=said.subject, age_group=said.age_group, age=said.age) if said else None
    accepted = sum(v.accepted for v in result.verdicts)
    return schemas.PrepareResult(accepted=accepted, photos=photos, advice=list(result.advice), suggestion=guess)


def _verdict(verdict: PhotoVerdict) -> schemas.VerdictView:
    return schemas.VerdictView(
        file=verdict.file,
        accepted=verdict.accepted,
        reasons=[r.value for r in verdict.reasons],
        sentences=list(verdict.sentences),
        quality=float(verdict.quality),
        similarity=_finite(verdict.similarity),
        faces=[schemas.FaceView(box=list(f.box), likeness=_finite(f.likeness), taken=f.taken) for f in verdict.faces],
        caption=verdict.caption,
    )


def _finite(value: float | None) -> float | None:
    """``value`` as JSON can hold it."""
    return float(value) if value is not None and math.isfinite(value) else None
