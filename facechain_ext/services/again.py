"""Use case: the request that makes a portrait again, read from the parameters in its PNG."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facechain_ext.config import PortraitConfig
from facechain_ext.errors import StorageError, UserInputError
from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.infotext import read_infotext
from facechain_ext.ports import MadeWith
from facechain_ext.services.composing import ToldPrompt
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.services.tags import TAG, named
from facechain_ext.styles.prompts import PLAIN

PAIR = re.compile(r'\s*([^:,"\n]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""One ``key: value``; a value with commas or colons is a JSON string (the WebUI's infotext_utils.py reads the same)."""
KARRAS = " Karras"
SCHEDULES = ("", "Automatic", "Uniform", "Karras")
"""Types of schedule whose pictures can be made again, where the sampler goes with them."""
SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "Steps": ("steps", int),
    "CFG scale": ("cfg", float),
    keys.FACE_WEIGHT: ("face_weight", float),
    keys.STYLE_WEIGHT: ("style_weight", float),
    keys.FACE_PASS: ("face_pass", str),
    keys.FACE_PASS_STRENGTH: ("face_pass_strength", float),
    keys.FACE_PASS_BELOW: ("face_pass_below", float),
    keys.PEOPLE_BY: ("people_by", str),
    keys.OWN_LIKENESS: ("own_likeness", float),
    keys.OTHER_LIKENESS: ("other_likeness", float),
    keys.BLEND: ("blend", str),
}
"""Key in the infotext -> setting, and how to read it."""
WHO = (keys.PERSON, keys.EXACT, keys.WITHOUT)


ONLY_THERE = {
    "Hires upscale": "the high resolution fix",
    "Denoising strength": "image to image",
    "Variation seed strength": "a variation seed",
    "Seed resize from": "another seed size",
    "Refiner": "a refiner",
    "Tiling": "tiling",
    "Face restoration": "face restoration",
    "ADetailer model": "ADetailer",
    "ControlNet 0": "ControlNet",
    "Token merging ratio": "token merging",
    "Discard penultimate sigma": "another noise schedule",
    "Schedule min sigma": "another noise schedule",
    "Schedule max sigma": "another noise schedule",
    "Schedule rho": "another noise schedule",
    "Zero Terminal SNR": "another noise schedule",
    "Emphasis": "another kind of emphasis",
    "NGMS": "steps without the negative prompt",
    "Skip Early CFG": "steps without the negative prompt",
}
"""Key of the WebUI's infotext -> what it did that we cannot do again."""
NEARLY = {
    "VAE": "with the VAE {}",
    "RNG": "with random numbers of {}",
    "Eta": "with eta {}",
    "Pad conds": "with padded prompts",
    "Downcast alphas_cumprod": "with noise levels in half precision",
}
"""Likewise, where what comes instead is much the same, or the same on some machines."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a portrait was made."""

    request: PortraitRequest
    model_hash: str
    """First ten digits of the checkpoint's SHA-256, empty when the text does not say."""
    prompt: str = ""
    """The whole prompts, LoRA tags included."""
    negative: str = ""
    notes: tuple[str, ...] = ()
    """Sentences about what will be a little different."""


def recipe_of(source: Path | str) -> Recipe:
    """Read a PNG, a text file, or the text itself.

    Raises:
        UserInputError: when there are no parameters in it, or none of ours.
        StorageError: when the file cannot be read.
    """
    return parsed(source if isinstance(source, str) else text_of(source))


def text_of(file: Path) -> str:
    """The parameters in a picture, or the content of a text file.

    Raises:
        UserInputError: when there are none, or no such file.
        StorageError: when the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8") if file.suffix.lower() == ".txt" else read_infotext(file)
    except UnicodeDecodeError:
        text = ""
    except FileNotFoundError:
        raise UserInputError(f"There is no file '{file}'. Give a PNG that FaceChain or the WebUI wrote, or a .txt file.") from None
    except OSError as error:
        raise StorageError(
            f"{file.name} could not be read as a picture. Give a PNG that FaceChain or the WebUI wrote, or a .txt file."
        ) from error
    if not text.strip():
        raise UserInputError(f"{file.name} holds no parameters. Pictures lose them when they are edited or sent through a messenger.")
    return text


def parsed(text: str) -> Recipe:
    """The request in an infotext.

    Raises:
        UserInputError: when it names no person, or settings we do not know.
    """
    prompt, negative, values = split(text)
    who = next((key for key in WHO if key in values), None)
    if who is None:
        raise UserInputError("This picture was not made by FaceChain: its parameters name no person.")
    _check_ours(values)
    seed, size, position = _whole(values, "Seed"), _whole(values, "Batch size", 1), _whole(values, "Batch pos", 0)
    width, height = _size(values)
    first = seed - position
    # Pictures of one batch are computed together, which can change last bits: the whole batch is made again for one of them.
    settings: dict[str, Any] = {
        "count": size,
        "batch": size,
        "seed": first % 2**32,
        "width": width,
        "height": height,
        "sampler": _sampler(values),
    }
    # A picture that says nothing of a face pass had none.
    settings["face_pass"] = "off"
    for key, (name, read) in SETTINGS.items():
        if key in values:
            try:
                settings[name] = read(values[key])
            except ValueError:
                raise UserInputError(f"'{key}: {values[key]}' in the parameters cannot be read.") from None
    style = values.get(keys.STYLE, PLAIN.id)
    exact = who == keys.EXACT
    request = PortraitRequest(
        values[who],
        values.get("Model"),
        None if style == PLAIN.id else style,
        values.get(keys.OWN_PROMPT, ""),
        values.get(keys.OWN_NEGATIVE, ""),
        PortraitConfig.from_dict(settings),
        who != keys.WITHOUT,
        exact_prompt=prompt if exact else None,
        exact_negative=negative if exact else None,
        beside=tuple(name.strip() for name in values.get(keys.BESIDE, "").split(";") if name.strip()),
        made=MadeWith(_whole(values, "Clip skip", 1), _whole(values, "ENSD", 0)),
        loras=tuple(tag.name for tag in named(prompt)),
        seeds=seeds_of(values.get(keys.SEEDS, ""), size),
        only_index=position,
    )
    return Recipe(request, values.get("Model hash", ""), prompt, negative, tuple(_nearly(values)))


def faithful(recipe: Recipe, composed: ToldPrompt) -> PortraitRequest:
    """The request of ``recipe`` for one person, with its whole prompts where ``composed``, what it comes to today, is another.

    A style may have other words by now, or somebody wrote their own LoRA tag, which keeps the panel from composing.
    """
    request = recipe.request
    said, now = ((recipe.prompt, recipe.negative), (composed.used, composed.used_negative))
    if request.beside or all(_words(a) == _words(b) for a, b in zip(said, now, strict=True)):
        return request
    return replace(request, exact_prompt=recipe.prompt, exact_negative=recipe.negative)


def _words(text: str) -> list[str]:
    return TAG.sub(" ", text).split()


def _check_ours(values: Mapping[str, str]) -> None:
    """Refuse what only the WebUI can do.

    Raises:
        UserInputError: it says what.
    """
    for key, what in ONLY_THERE.items():
        if key in values:
            raise UserInputError(f"This picture was made with {what} ('{key}'), which only the WebUI can do again. Paste it there.")
    if values.get("Schedule type", "") not in SCHEDULES:
        raise UserInputError(f"The schedule '{values['Schedule type']}' is known to the WebUI only. Paste the picture there.")


def _nearly(values: Mapping[str, str]) -> Iterator[str]:
    for key, said in NEARLY.items():
        if key in values and (key, values[key]) != ("RNG", "CPU"):
            yield f"The picture was made {said.format(values[key])}: this one will not be quite the same."


def split(text: str) -> tuple[str, str, dict[str, str]]:
    """Prompt, negative prompt, and the values of the last line."""
    *lines, last = text.strip().split("\n")
    if len(PAIR.findall(last)) < 3:
        lines, last = [*lines, last], ""
    prompt, _, negative = "\n".join(lines).partition("\nNegative prompt: ")
    if prompt.startswith("Negative prompt: "):
        prompt, negative = "", prompt.removeprefix("Negative prompt: ")
    return prompt, negative, {key.strip(): _unquoted(value) for key, value in PAIR.findall(last)}


def _unquoted(value: str) -> str:
    if value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value.strip()


def seeds_of(said: str, size: int) -> tuple[tuple[int, ...], ...]:
    """``10+14 11+11`` -> ((10, 14), (11, 11)); none for an empty text.

    Raises:
        UserInputError: when it says other things, or another number of pictures than ``size``.
    """
    pictures = said.split()
    if not pictures:
        return ()
    if len(pictures) != size or not all(re.fullmatch(r"\d{1,10}(\+\d{1,10})*", picture) for picture in pictures):
        raise UserInputError(f"'{keys.SEEDS}: {said}' in the parameters cannot be read.")
    return tuple(tuple(int(seed) for seed in picture.split("+")) for picture in pictures)


def _whole(values: Mapping[str, str], key: str, default: int | None = None) -> int:
    said = values.get(key)
    if said is None and default is not None:
        return default
    if said is None or not said.isdigit():
        raise UserInputError(f"The parameters do not say the {key.lower()}.")
    return int(said)


def _size(values: Mapping[str, str]) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", values.get("Size", ""))
    if found is None:
        raise UserInputError("The parameters do not say the size.")
    return int(found[1]), int(found[2])


def _sampler(values: Mapping[str, str]) -> str:
    name = values.get("Sampler", "")
    return name + KARRAS if values.get("Schedule type") == KARRAS.strip() and not name.endswith(KARRAS) else name
