"""Requests -> jobs: settings on top of the checkpoint's own, and every mistake that can be seen at once answered at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from facechain_ext.api.problems import Conflict, NotFound
from facechain_ext.api.schemas import DecisionsBody, EstimateBody, EstimateView, PortraitsBody, PrepareResult, TrainBody
from facechain_ext.api.uploads import Sent, store
from facechain_ext.api.views import Prepared, prepare_result
from facechain_ext.config import Settings
from facechain_ext.errors import UserInputError
from facechain_ext.progress import CancelToken, ProgressSink
from facechain_ext.services.jobs import Job
from facechain_ext.services.requests import CheckpointChoice, Person, PortraitRequest, PrepareRequest, TrainRequest
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import find_style
from facechain_ext.workspace import PrivateFolder

S = TypeVar("S", bound=Settings)


class NothingUsable(UserInputError):
    """No photo can be used; ``result`` has the verdicts."""

    def __init__(self, sentence: str, result: Prepared) -> None:
        self.result = result
        super().__init__(sentence)


def known_person(studio: Studio, name: str) -> Person:
    """The person ``name``.

    Raises:
        UserInputError: for what cannot be a name.
        NotFound: when there is no such person.
    """
    studio.workspace.person(name)
    try:
        studio.workspace.existing_person(name)
    except UserInputError as error:
        raise NotFound(str(error)) from None
    return studio.person(name)


def known_job(studio: Studio, job_id: str) -> Job:
    """The job ``job_id``.

    Raises:
        NotFound: when there is none.
    """
    try:
        return studio.jobs.get(job_id)
    except UserInputError as error:
        raise NotFound(str(error)) from None


def submit_prepare(studio: Studio, sent: Sent) -> Job:
    """Queue the preparation of the photos sent; their private folder goes when the job ends, or at once on a mistake."""
    name = studio.workspace.person(sent.person).name
    config = with_settings(choice_named(studio, sent.checkpoint).prepare, sent.settings)
    folder = PrivateFolder(studio.workspace)
    try:
        request = PrepareRequest(name, store(sent.photos, folder), config)
        return studio.jobs.submit("prepare", name, lambda sink, token: _prepare(studio, request, sink, token), folder.remove)
    except BaseException:
        folder.remove()
        raise


def _prepare(studio: Studio, request: PrepareRequest, sink: ProgressSink, token: CancelToken) -> Prepared:
    # Imported here: it brings OpenCV, which the WebUI's start need not wait for.
    from facechain_ext.services.prepare_person import NoUsablePhoto

    try:
        done = studio.prepare(request, sink, token)
    except NoUsablePhoto as error:
        found = error.preparation
        raise NothingUsable(str(error), Prepared(found.verdicts, found.advice, found.suggestion)) from None
    return Prepared(done.verdicts, done.advice, done.suggestion)


def decided(studio: Studio, name: str, body: DecisionsBody) -> PrepareResult:
    """The photos of the last check judged again."""
    # Imported here: it brings OpenCV, which the WebUI's start need not wait for.
    from facechain_ext.faces.types import Decisions

    folder = studio.workspace.person(name)
    faces: dict[int, int | None] = {}
    for one in body.decisions:
        if one.leave_out and one.face is not None:
            raise UserInputError(f"Photo {one.photo}: 'leave_out' and 'face' contradict each other. Send one of them.")
        if one.leave_out or one.face is not None:
            faces[one.photo] = one.face
    captions = {one.photo: one.caption for one in body.decisions if one.caption}
    done = studio.decide(folder.name, Decisions(faces, captions))
    return prepare_result(Prepared(done.verdicts, done.advice, done.suggestion))


def submit_train(studio: Studio, body: TrainBody) -> Job:
    """Queue a training."""
    person = known_person(studio, body.person)
    if person.photos == 0:
        raise Conflict(f"'{person.name}' has no prepared photos. POST /prepare first.")
    choice = choice_named(studio, body.checkpoint)
    # An unfinished training goes on with its own settings; one that is given all the same must be the same.
    base = studio.resumed(person.name, choice.train) if body.resume else choice.train
    if body.continue_from is not None:
        if body.resume:
            raise UserInputError("'resume' goes on with an unfinished training, 'continue_from' with a finished LoRA. Send one of them.")
        base = studio.continued(person.name, body.continue_from, base)
    request = TrainRequest(person.name, choice.name, with_settings(base, body.settings), body.resume, continue_from=body.continue_from)
    return studio.submit_train(request)


def estimate(studio: Studio, body: EstimateBody) -> EstimateView:
    """Memory and time of a training, and what to change when memory is short."""
    choice = choice_named(studio, body.checkpoint)
    config = with_settings(choice.train, body.settings)
    said = studio.estimate(choice.name, config)
    plan = studio.fitted(choice.name, config)
    lean = plan if plan.reason else None if said.fits else studio.leaner(choice.name, config)
    changed = {k: v for k, v in lean.config.to_dict().items() if v != getattr(config, k) and k != "memory"} if lean else None
    return EstimateView(
        memory_bytes=said.memory, free_bytes=said.free, fits=said.fits, seconds=said.seconds, measured=said.measured, instead=changed, plan=plan.reason
    )


def submit_portraits(studio: Studio, body: PortraitsBody) -> Job:
    """Queue portraits."""
    if bool(body.person) == bool(body.people):
        raise UserInputError("Send either 'person', or 'people' for several in one picture.")
    sitters = [known_person(studio, name) for name in body.people or [body.person]]
    person = sitters[0]
    untrained = next((s for s in sitters if not s.loras), None)
    if body.with_lora and untrained:
        raise Conflict(f"'{untrained.name}' has no face LoRA yet. POST /train first.")
    choice = choice_named(studio, body.checkpoint)
    style = find_style(studio.styles(), body.style).id if body.style else None
    config = with_settings(choice.portrait, body.settings)
    request = PortraitRequest(
        person.name,
        choice.name,
        style,
        body.prompt,
        body.negative,
        config,
        body.with_lora,
        exact_prompt=body.exact_prompt,
        exact_negative=body.exact_negative,
        beside=tuple(s.name for s in sitters[1:]),
    )
    return studio.submit_portraits(request)


def choice_named(studio: Studio, name: str | None) -> CheckpointChoice:
    """The checkpoint by name only: a path in a request would open any file of this machine."""
    known = studio.checkpoints()
    if name is None:
        return studio.checkpoint(None)
    found = next((c for c in known if c.name == name), None)
    if found is None:
        raise UserInputError(f"There is no checkpoint called '{name}'. Known: {', '.join(c.name for c in known)}.")
    return found


def with_settings(base: S, given: Mapping[str, Any]) -> S:
    """``base`` with the settings ``given`` over it."""
    return type(base).from_dict({**base.to_dict(), **given})
