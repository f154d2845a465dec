"""Routes that bring files for styles: style files to import, pictures to train from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fastapi import APIRouter, Depends, Query, Request

from facechain_ext.api import examples
from facechain_ext.api import schemas as common
from facechain_ext.api import style_schemas as schemas
from facechain_ext.api.problems import ApiRoute, TooLarge, limited
from facechain_ext.api.style_routes import style_view
from facechain_ext.api.submitting import choice_named, with_settings
from facechain_ext.api.uploads import LIMITS, MB, Sent, decoded, store
from facechain_ext.errors import UserInputError
from facechain_ext.services.jobs import Job
from facechain_ext.services.requests import StyleTrainRequest
from facechain_ext.services.studio import Studio
from facechain_ext.workspace import PrivateFolder, safe_file_name, storage_errors

LORA_BYTES = 2048 * MB
"""Of a style file with its LoRA."""


class PictureRoute(ApiRoute):
    """A route that takes pictures as base64."""

    body_limit = LIMITS.json_bytes


@dataclass(slots=True)
class SentFile:
    """A file that came as a request's whole body."""

    folder: PrivateFolder
    name: str


def add_style_uploads(uploads: APIRouter, bodies: APIRouter, studio: Callable[[], Studio]) -> None:
    """Add the routes: ``uploads`` checks no sizes itself, ``bodies`` those of ``PictureRoute``."""

    async def sent(request: Request, name: str = Query(description="The file's name: x.facechain-style, x.json or x.safetensors.")) -> AsyncIterator[SentFile]:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() not in ("application/octet-stream", "application/zip"):
            raise UserInputError("Send the file itself as application/octet-stream.")
        folder = PrivateFolder(studio().workspace)
        try:
            file = folder.path / safe_file_name(name, 1)
            with storage_errors("the upload"), file.open("wb") as target:
                async for piece in limited(request, LORA_BYTES).stream():
                    target.write(piece)
            yield SentFile(folder, file.name)
        finally:
            folder.remove()

    @uploads.post("/styles/import", summary="Take over a style file, a style of FaceChain's or a scene of EasyPhoto's")
    def import_(
        file: SentFile = Depends(sent),  # noqa: B008 - fastapi's way
        keep_weights: bool = Query(False, description="Read brackets as weights; FaceChain's own program read them as text."),
    ) -> schemas.ImportView:
        done = studio().import_styles(file.folder.path / file.name, keep_weights=keep_weights)
        if not done.styles:
            raise UserInputError(" ".join(done.refused))
        notes = {k: list(v) for k, v in done.notes.items()}
        return schemas.ImportView(styles=[style_view(s) for s in done.styles], notes=notes, refused=list(done.refused))

    @bodies.post(
        "/styles/train",
        status_code=202,
        summary="Train a style LoRA from pictures, as a job",
        openapi_extra=examples.body(examples.STYLE_TRAIN),
        responses=examples.answer(examples.ACCEPTED, 202),
    )
    def train(body: schemas.StyleTrainBody) -> common.Accepted:
        return common.Accepted(job_id=submit_style(studio(), body).id)


def submit_style(studio: Studio, body: schemas.StyleTrainBody) -> Job:
    """Queue a style's training; the pictures' private folder goes when the job ends, or at once on a mistake."""
    if body.resume == bool(body.pictures):
        raise UserInputError("Send pictures to learn from, or 'resume', which has its own.")
    choice = choice_named(studio, body.checkpoint)
    # Resumed, it goes on where it began.
    checkpoint = None if body.resume and body.checkpoint is None else choice.name
    config = with_settings(choice.train, body.settings)
    if sum(len(p.data) for p in body.pictures) > LIMITS.json_bytes:
        raise TooLarge("The pictures are too large together. Send fewer or smaller ones.")
    folder = PrivateFolder(studio.workspace)
    try:
        given = Sent(body.name, body.checkpoint, {}, [(p.name, decoded(p.data, p.name or "a picture")) for p in body.pictures])
        files = store(given.photos, folder) if given.photos else ()
        for file, picture in zip(files, body.pictures, strict=True):
            if picture.caption.strip():
                file.with_suffix(".txt").write_text(picture.caption, encoding="utf-8")
        request = StyleTrainRequest(body.name, files, body.trigger, checkpoint, config, body.licence, body.replace, body.resume)
        return studio.submit_train_style(request, folder.remove)
    except BaseException:
        folder.remove()
        raise
