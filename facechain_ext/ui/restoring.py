"""A portrait dropped on the page: everything as it was when it was made, from the parameters in its PNG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from facechain_ext.config import PortraitConfig
from facechain_ext.errors import FaceChainError, UserInputError
from facechain_ext.services.again import Recipe, recipe_of, seeds_of
from facechain_ext.services.studio import Studio
from facechain_ext.services.tags import without
from facechain_ext.ui.compat import update, uploaded
from facechain_ext.ui.uploads import discard, only_uploads
from facechain_ext.ui.words import note_box, problem_box

LARGEST = 64 * 10**6
"""Bytes of a picture that is looked at."""
BOXES = 10
"""Values that ``boxes`` gives."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a picture says, as the page's boxes take it."""

    recipe: Recipe
    said: str
    """HTML: what was found, and what is not as it was."""


def read_picture(studio: Studio, value: Any) -> Restored:
    """The recipe in an uploaded picture, whose copy is deleted.

    Raises:
        FaceChainError: when there is none in it, or it cannot be made here; the message says why.
    """
    files = only_uploads(uploaded(value))
    try:
        if not files:
            raise UserInputError("Drop one PNG that FaceChain made.")
        if files[0].stat().st_size > LARGEST:
            raise UserInputError("This file is too large for a portrait.")
        recipe = recipe_of(files[0])
    finally:
        discard(files)
    recipe = _with_own_weights(studio, recipe)
    return Restored(recipe, note_box(" ".join(_remarks(studio, recipe)), "Set as the picture was made"))


def _with_own_weights(studio: Studio, recipe: Recipe) -> Recipe:
    """``recipe`` without the tags of face and style in a whole prompt: on the page the sliders say their weights."""
    request = recipe.request
    if request.exact_prompt is None:
        return recipe
    names = {lora.name for name in (request.person, *request.beside) for lora in studio.person(name).loras}
    names |= {style.lora for style in studio.styles() if style.id == request.style and style.lora}
    return replace(recipe, request=replace(request, exact_prompt=without(request.exact_prompt, names)))


def _remarks(studio: Studio, recipe: Recipe) -> list[str]:
    request, known = recipe.request, {c.name for c in studio.checkpoints()}
    found = [f"{' and '.join((request.person, *request.beside))}, seed {request.config.seed}. Press Generate to make it again."]
    for name in (request.person, *request.beside):
        person = studio.person(name)
        stored = {lora.name for lora in person.loras}
        used = [name for name in request.loras if name in stored]
        if not stored:
            found.append(f"{person.name} has no face LoRA any more.")
        elif used and used[-1] != person.loras[-1].name:
            found.append(f"The face LoRA {used[-1]} is used, as in the picture; the newest is {person.loras[-1].name}.")
        elif not used and request.loras:
            found.append(f"The picture's face LoRA is gone; {person.loras[-1].name} is used.")
    if request.checkpoint is not None and request.checkpoint not in known:
        found.append(f"It was made with the checkpoint {request.checkpoint}, which is not here: the picture will be another one.")
    elif recipe.model_hash and recipe.model_hash != studio.host(request.checkpoint).checkpoint.short_hash:
        found.append("The checkpoint of this name is another one than the picture's: the picture will be another one.")
    if not request.with_lora:
        found.append("It was made without the face LoRA, which this page always uses.")
    return [*found, *recipe.notes]


def boxes(restored: Restored, words: tuple[str, str], checkpoints: Sequence[str]) -> list[Any]:
    """Values for person, beside, checkpoint, own words, words to avoid, both whole prompts, what was composed, the LoRAs and seeds to use.

    ``words`` are the prompts composed of what the picture says, for the boxes that hold whole ones.
    """
    request = restored.recipe.request
    exact = (request.exact_prompt, request.exact_negative)
    there = request.checkpoint in checkpoints
    return [
        update(value=request.person),
        update(value=list(request.beside)),
        update(value=request.checkpoint) if there else update(),
        update(value=request.prompt),
        update(value=request.negative),
        *[update(value=composed if own is None else own) for own, composed in zip(exact, words, strict=True)],
        update(value=json.dumps(list(words))),
        update(value=";".join(request.loras)),
        update(value=" ".join("+".join(map(str, own)) for own in request.seeds)),
    ]


def told_seeds(said: str, config: PortraitConfig, people: int) -> tuple[tuple[int, ...], ...]:
    """The seeds ``said`` of a dropped picture of several people, while seed, number and people are still what it set; else none."""
    try:
        seeds = seeds_of(said, config.count)
    except UserInputError:
        return ()
    kept = seeds and config.seed == seeds[0][0] and all(len(own) == people for own in seeds)
    return seeds if kept and people > 1 and config.people_by == "regions" else ()


def problem(error: FaceChainError) -> str:
    """The box for a picture that cannot be read."""
    return problem_box(str(error), "This picture tells nothing")
