"""``/facechain/v1/…`` on a FastAPI app: plain functions, which the host runs on its worker threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response, StreamingResponse

from facechain_ext import __version__
from facechain_ext.api import examples, schemas, views
from facechain_ext.api.blend_routes import add_blends
from facechain_ext.api.later import PREFIX
from facechain_ext.api.problems import REFUSALS, ApiRoute, Conflict, NotFound, UploadRoute
from facechain_ext.api.style_routes import add_styles
from facechain_ext.api.style_uploads import PictureRoute, add_style_uploads
from facechain_ext.api.submitting import decided, estimate, known_job, known_person, submit_portraits, submit_prepare, submit_train
from facechain_ext.api.uploads import PRIVATE, Sent, pieces, sent_photos
from facechain_ext.errors import UserInputError
from facechain_ext.services.jobs import JobState
from facechain_ext.services.studio import Studio
from facechain_ext.workspace import PrivateFolder


@dataclass(frozen=True)
class _Api:
    """What the groups of routes share."""

    router: APIRouter
    studio: Callable[[], Studio]


def install_routes(app: FastAPI, studio: Callable[[], Studio], *, guard: Sequence[Any] = ()) -> None:
    """Add the API to ``app``. ``studio`` is called at the first request; every route depends on ``guard`` (``Depends(…)``)."""
    router = APIRouter(prefix=PREFIX, tags=["FaceChain"], route_class=ApiRoute, dependencies=list(guard), responses=REFUSALS)
    uploads = APIRouter(prefix=PREFIX, tags=["FaceChain"], route_class=UploadRoute, dependencies=list(guard), responses=REFUSALS)
    _add_prepare(_Api(uploads, studio))
    api = _Api(router, studio)
    for add in (_add_state, _add_people, _add_decisions, _add_work, _add_jobs):
        add(api)
    add_styles(router, studio)
    add_blends(router, studio)
    bodies = APIRouter(prefix=PREFIX, tags=["FaceChain"], route_class=PictureRoute, dependencies=list(guard), responses=REFUSALS)
    add_style_uploads(uploads, bodies, studio)
    own = [*uploads.routes, *bodies.routes, *router.routes]

    @router.get("/openapi.json", include_in_schema=False)
    def openapi() -> dict[str, Any]:
        return get_openapi(title="FaceChain", version=__version__, routes=own)

    @router.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing_here(rest: str, request: Request) -> None:
        raise NotFound(f"There is no {request.method} {PREFIX}/… of this name. {PREFIX}/openapi.json lists what there is.")

    app.include_router(uploads)
    app.include_router(bodies)
    app.include_router(router)


def _add_state(api: _Api) -> None:
    @api.router.get("/health", summary="That we are here, and how busy", responses=examples.answer(examples.HEALTH))
    def health() -> schemas.Health:
        active = [j for j in api.studio().jobs.jobs() if j.active]
        running = next((j.id for j in active if j.state is JobState.RUNNING), None)
        return schemas.Health(status="ok", version=__version__, running=running, waiting=len(active) - (running is not None))

    @api.router.get("/checkpoints", summary="What to train on and generate with, the default first")
    def checkpoints() -> list[schemas.CheckpointView]:
        return [views.checkpoint_view(c) for c in api.studio().checkpoints()]


def _add_people(api: _Api) -> None:
    @api.router.get("/people", summary="Everyone stored")
    def people() -> list[schemas.PersonView]:
        return [views.person_view(p) for p in api.studio().people()]

    @api.router.get("/people/{name}", summary="One person", responses=examples.answer(examples.PERSON))
    def person(name: str) -> schemas.PersonView:
        return views.person_view(known_person(api.studio(), name))

    @api.router.delete("/people/{name}", summary="Delete everything kept about a person", responses=examples.answer(examples.DELETED))
    def delete(name: str) -> schemas.Deleted:
        studio = api.studio()
        found = known_person(studio, name)
        busy = next((j for j in studio.jobs.jobs() if j.active and j.person == found.name), None)
        if busy is not None:
            raise Conflict(f"A {busy.kind} job of '{found.name}' is under way. Cancel it (DELETE /jobs/{busy.id}), then delete.")
        return schemas.Deleted(person=found.name, files=studio.delete_person(name))

    @api.router.get(
        "/people/{name}/export",
        summary="LoRAs, and the prepared photos when wanted, as one zip file",
        response_class=StreamingResponse,
        responses=examples.binary("application/zip"),
    )
    def export(name: str, photos: bool = Query(False, description="With the prepared photos.")) -> StreamingResponse:
        studio = api.studio()
        found = known_person(studio, name)
        folder = PrivateFolder(studio.workspace)
        try:
            file = studio.export_person(name, folder.path / "export.zip", photos=photos)
        except BaseException:
            folder.remove()
            raise
        shown = f"attachment; filename*=UTF-8''{quote(found.name, safe='')}.zip"
        headers = {**PRIVATE, "Content-Disposition": shown, "Content-Length": str(file.stat().st_size)}
        return StreamingResponse(pieces(file, folder), headers=headers, media_type="application/zip")


def _add_prepare(api: _Api) -> None:
    @api.router.post(
        "/prepare",
        status_code=202,
        summary="Photos of one person -> their dataset, as a job",
        openapi_extra=examples.PREPARE,
        responses=examples.answer(examples.ACCEPTED, 202),
    )
    def prepare(sent: Sent = Depends(sent_photos)) -> schemas.Accepted:  # noqa: B008 - fastapi's way
        return schemas.Accepted(job_id=submit_prepare(api.studio(), sent).id)


def _add_decisions(api: _Api) -> None:
    @api.router.post(
        "/people/{name}/decisions",
        summary="Overrule verdicts of the last check: another face, use it all the same, leave it out, another caption",
        openapi_extra=examples.body(examples.DECISIONS),
    )
    def decide(name: str, body: schemas.DecisionsBody) -> schemas.PrepareResult:
        return decided(api.studio(), name, body)


def _add_work(api: _Api) -> None:
    accepted = examples.answer(examples.ACCEPTED, 202)

    @api.router.post(
        "/train", status_code=202, summary="Train a face LoRA, as a job", openapi_extra=examples.body(examples.TRAIN), responses=accepted
    )
    def train(body: schemas.TrainBody) -> schemas.Accepted:
        return schemas.Accepted(job_id=submit_train(api.studio(), body).id)

    @api.router.post(
        "/estimate",
        summary="Memory and time of a training, before it starts",
        openapi_extra=examples.body(examples.ESTIMATE),
        responses=examples.answer(examples.ESTIMATED),
    )
    def estimated(body: schemas.EstimateBody) -> schemas.EstimateView:
        return estimate(api.studio(), body)

    @api.router.post(
        "/portraits",
        status_code=202,
        summary="Generate and rank portraits, as a job",
        openapi_extra=examples.body(examples.PORTRAITS),
        responses=accepted,
    )
    def portraits(body: schemas.PortraitsBody) -> schemas.Accepted:
        return schemas.Accepted(job_id=submit_portraits(api.studio(), body).id)


def _add_jobs(api: _Api) -> None:
    @api.router.get("/jobs", summary="All jobs known, oldest first")
    def jobs() -> list[schemas.JobView]:
        known = api.studio().jobs.jobs()
        return [views.job_view(j, known) for j in known]

    @api.router.get("/jobs/{job_id}", summary="One job with curve, pictures and result", responses=examples.answer(examples.JOB))
    def job(
        job_id: str, request: Request, since: int = Query(0, ge=0, description="Give the curve after this step only.")
    ) -> schemas.JobDetail:
        studio = api.studio()
        base = str(request.scope.get("root_path", "")).rstrip("/") + PREFIX
        return views.job_detail(known_job(studio, job_id), studio.jobs.jobs(), base, since)

    @api.router.delete("/jobs/{job_id}", summary="Cancel a job, or stop a training and keep what it learned")
    def cancel(job_id: str, keep: bool = Query(False, description="Trainings only: stop and keep.")) -> schemas.JobView:
        studio = api.studio()
        found = known_job(studio, job_id)
        if keep and found.kind not in ("train", "style"):
            raise UserInputError(f"Only a training can be stopped and kept; this is a {found.kind} job. Leave keep=true out to cancel it.")
        if found.active:
            found = studio.jobs.stop(job_id) if keep else studio.jobs.cancel(job_id)
        return views.job_view(found, studio.jobs.jobs())

    @api.router.post("/jobs/{job_id}/pause", summary="Save where a training stands and end it for now")
    def pause(job_id: str) -> schemas.JobView:
        studio = api.studio()
        found = known_job(studio, job_id)
        if found.kind != "train":
            raise UserInputError(f"Only a training can be paused; this is a {found.kind} job.")
        if found.active:
            found = studio.jobs.pause(job_id)
        return views.job_view(found, studio.jobs.jobs())

    @api.router.get(
        "/jobs/{job_id}/images/{index}",
        summary="A portrait, or a preview of a training",
        response_class=Response,
        responses=examples.binary("image/png"),
    )
    def image(job_id: str, index: int) -> Response:
        studio = api.studio()
        files = [file for file, _ in views.pictures(known_job(studio, job_id))]
        if not 0 <= index < len(files):
            raise NotFound(f"This job has {len(files)} pictures, counted from 0; there is no {index}.")
        file = files[index].resolve()
        # Portraits a caller of another door had written elsewhere (--out) are not ours to hand out.
        if studio.workspace.root not in file.parents or file.suffix != ".png":
            raise NotFound("This picture does not lie in the workspace and is not given away.")
        try:
            data = file.read_bytes()
        except OSError:
            raise NotFound("This picture is gone; it was deleted or moved.") from None
        return Response(data, media_type="image/png", headers=PRIVATE)
