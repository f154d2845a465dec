"""``/facechain/v1/styles`` and ``/facechain/v1/compose``."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from facechain_ext.api import examples
from facechain_ext.api import style_schemas as schemas
from facechain_ext.api.problems import NotFound
from facechain_ext.api.submitting import known_person
from facechain_ext.api.uploads import PRIVATE, pieces
from facechain_ext.errors import UserInputError
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.services.studio import Studio
from facechain_ext.services.styles import delete_style, export_style, make_style
from facechain_ext.styles.catalog import Style, find_style
from facechain_ext.workspace import PrivateFolder


def add_styles(router: APIRouter, studio: Callable[[], Studio]) -> None:
    """Add the routes about styles to ``router``; ``studio`` is called at each request."""

    @router.get("/styles", summary="The looks to choose from")
    def styles() -> list[schemas.StyleView]:
        return [style_view(s) for s in studio().styles()]

    _add_own(router, studio)
    _add_compose(router, studio)

    @router.get("/styles/{style_id}", summary="One look")
    def style(style_id: str) -> schemas.StyleView:
        return style_view(_known(studio(), style_id))

    @router.get("/styles/{style_id}/picture", summary="Its drawn picture", response_class=Response, responses=examples.binary("image/webp"))
    def picture(style_id: str) -> Response:
        file = _known(studio(), style_id).thumbnail
        if file is None:
            raise NotFound("This style has no picture.")
        return Response(file.read_bytes(), media_type="image/webp")


def _known(studio: Studio, wanted: str) -> Style:
    try:
        return find_style(studio.styles(), wanted)
    except UserInputError as error:
        raise NotFound(str(error)) from None


def _add_own(router: APIRouter, studio: Callable[[], Studio]) -> None:
    @router.post("/styles", summary="Save a style of your own, of words, of a LoRA or of both", openapi_extra=examples.body(examples.STYLE))
    def save(body: schemas.StyleBody) -> schemas.StyleView:
        work = studio()
        loras = work.loras()
        # By name only: a path in a request would open any file of this machine.
        if body.lora is not None and body.lora not in loras:
            raise UserInputError(f"There is no LoRA '{body.lora}' in the LoRA folder.")
        values = {k: getattr(body, k) for k in ("name", "negative", "category", "keywords", "weight", "licence", "source")}
        return style_view(make_style(work.workspace, values, words=body.prompt, lora=body.lora, loras=loras, replace=body.replace))

    @router.delete("/styles/{style_id}", summary="Delete a style of your own; LoRAs in the host's folder stay")
    def delete(style_id: str) -> schemas.StyleDeleted:
        return schemas.StyleDeleted(deleted=delete_style(studio().workspace, _known(studio(), style_id).id).id)

    @router.get(
        "/styles/{style_id}/export",
        summary="A style as one file to share",
        response_class=StreamingResponse,
        responses=examples.binary("application/zip"),
    )
    def export(style_id: str, lora: bool = Query(False, description="With its LoRA; mind its licence.")) -> StreamingResponse:
        found, folder = _known(studio(), style_id), PrivateFolder(studio().workspace)
        try:
            file = export_style(found, folder.path, with_lora=lora)
        except BaseException:
            folder.remove()
            raise
        headers = {**PRIVATE, "Content-Disposition": f'attachment; filename="{file.name}"', "Content-Length": str(file.stat().st_size)}
        return StreamingResponse(pieces(file, folder), headers=headers, media_type="application/zip")


def _add_compose(router: APIRouter, studio: Callable[[], Studio]) -> None:
    @router.post("/compose", summary="The prompts of a request for portraits, part by part", openapi_extra=examples.body(examples.COMPOSE))
    def compose(body: schemas.ComposeBody) -> schemas.ComposedView:
        work = studio()
        person = known_person(work, body.person)
        style = find_style(work.styles(), body.style).id if body.style else None
        told = work.composed(PortraitRequest(person.name, None, style, body.prompt, body.negative))
        return schemas.ComposedView(
            prompt=told.used,
            negative=told.used_negative,
            parts=[schemas.PartView(source=p.source, text=p.text) for p in told.composed.parts],
            negative_parts=[schemas.PartView(source=p.source, text=p.text) for p in told.composed.negative_parts],
            tokens=list(told.chunks),
            negative_tokens=list(told.negative_chunks),
            notes=list(told.notes),
        )


def style_view(style: Style) -> schemas.StyleView:
    """One look."""
    return schemas.StyleView(
        id=style.id,
        name=style.name,
        category=style.category,
        prompt=style.prompt,
        negative=style.negative,
        lora=style.lora,
        keywords=list(style.keywords),
        weight=style.weight,
        family=style.family,
        licence=style.licence,
        source=style.source,
        note=style.note,
        own=style.own,
    )
