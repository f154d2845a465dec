"""``/facechain/v1/blend`` and ``/facechain/v1/balance``: how face and style LoRA act together, told and measured."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter

from facechain_ext.api import examples, schemas
from facechain_ext.api.problems import Conflict
from facechain_ext.api.submitting import choice_named, known_person, with_settings
from facechain_ext.services.requests import BalanceRequest, PortraitRequest
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import find_style


def add_blends(router: APIRouter, studio: Callable[[], Studio]) -> None:
    """Add the two routes."""

    @router.post("/blend", summary="How the LoRAs of a request for portraits will act", openapi_extra=examples.body(examples.BLEND))
    def blend(body: schemas.BlendBody) -> schemas.BlendView:
        told = studio().blend(_request(studio(), body))
        parts = [schemas.BlendPart(lora=one.name, role=one.part.role, plan=str(one.part)) for one in told.parts]
        return schemas.BlendView(
            blend=" + ".join(part.plan for part in parts),
            parts=parts,
            why=told.why,
            measured=told.balance is not None,
            problems=list(told.problems),
        )

    @router.post(
        "/balance",
        status_code=202,
        summary="Try how a person and a style go together best, as a job, and remember it for their portraits",
        openapi_extra=examples.body(examples.BALANCE),
        responses=examples.answer(examples.ACCEPTED, 202),
    )
    def balance(body: schemas.BalanceBody) -> schemas.Accepted:
        request = _request(studio(), body)
        if request.style is None or not studio().blend(request).measurable:
            raise Conflict("Measuring needs a style that has a LoRA for this checkpoint; this one is made of words only.")
        asked = BalanceRequest(request.person, request.style, request.checkpoint, request.config, body.seconds)
        return schemas.Accepted(job_id=studio().submit_balance(asked).id)


def _request(work: Studio, body: schemas.BlendBody) -> PortraitRequest:
    person = known_person(work, body.person)
    if not person.loras:
        raise Conflict(f"'{person.name}' has no face LoRA yet. POST /train first.")
    choice = choice_named(work, body.checkpoint)
    style = find_style(work.styles(), body.style).id if body.style else None
    return PortraitRequest(person.name, choice.name, style, config=with_settings(choice.portrait, body.settings))
