"""``/facechain/v1/styles`` and ``/facechain/v1/compose``."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from facechain_ext.api import examples
from facechain_ext.api import style_schemas as schemas
from facechain_ext.api.submitting import known_person
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import Style, find_style


def add_styles(router: APIRouter, studio: Callable[[], Studio]) -> None:
    """Add the routes about styles to ``router``; ``studio`` is called at each request."""

    @router.get("/styles", summary="The looks to choose from")
    def styles() -> list[schemas.StyleView]:
        return [style_view(s) for s in studio().styles()]

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
        weight=style.weight,
        licence=style.licence,
    )
