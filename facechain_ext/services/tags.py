"""LoRA tags in the user's words, which the WebUI's own prompt knows: ``<lora:NAME:WEIGHT>`` or ``<lora:NAME:TEXT:UNET>``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from facechain_ext.errors import UserInputError
from facechain_ext.ports import LoraWeight
from facechain_ext.services.requests import PortraitRequest

TAG = re.compile(r"\s*<(\w+):([^<>:]+)((?::[^<>:]*)*)>")


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag."""

    name: str
    unet: float = 1.0
    text: float = 1.0


def named(prompt: str) -> list[Tag]:
    """The tags in ``prompt``.

    Raises:
        UserInputError: for a kind of network that only the WebUI knows, or a weight that is no number.
    """
    found = []
    for kind, name, rest in TAG.findall(prompt):
        if kind != "lora":
            raise UserInputError(f"<{kind}:{name}> is known to the WebUI only. Leave it out, or use a LoRA: <lora:NAME:0.8>.")
        try:
            weights = [float(weight) for weight in rest.split(":")[1:]] or [1.0]
        except ValueError:
            raise UserInputError(f"The weight in <lora:{name}{rest}> is no number. Write <lora:{name}:0.8>.") from None
        # One weight counts for both; of two the text encoder's comes first.
        found.append(Tag(name, weights[min(1, len(weights) - 1)], weights[0]))
    return found


def without(prompt: str, names: Collection[str]) -> str:
    """``prompt`` without the tags of the LoRAs called ``names``."""
    return TAG.sub(lambda found: "" if found[1] == "lora" and found[2] in names else found[0], prompt)


def without_tags(request: PortraitRequest) -> PortraitRequest:
    """``request`` with no tag in any of its words."""

    def bare(text: str | None) -> str | None:
        return None if text is None else TAG.sub("", text)

    words = {name: bare(getattr(request, name)) for name in ("prompt", "negative", "exact_prompt", "exact_negative")}
    return replace(request, **words)


def tagged(request: PortraitRequest, files: Mapping[str, Path], used: Sequence[LoraWeight]) -> tuple[LoraWeight, ...]:
    """``used`` and the LoRAs that tags in ``request``'s words name, of ``files`` by stem.

    A tag of a LoRA that is used anyway sets its weight, except where LoRAs act by block, step or region: there the plan counts.

    Raises:
        UserInputError: for a name that is not there, and see ``named``.
    """
    tags = {tag.name: tag for tag in named(request.exact_prompt if request.exact_prompt is not None else request.prompt)}
    planned = any(weight.live or weight.blocks or weight.guided != 1 for weight in used)
    found = []
    for weight in used:
        tag = tags.pop(weight.file.stem, None)
        found.append(weight if tag is None or planned else replace(weight, unet=tag.unet, text=tag.text))
    for tag in tags.values():
        if tag.name not in files:
            raise UserInputError(
                f"There is no LoRA called '{tag.name}'. Put {tag.name}.safetensors into the folder models/loras of the workspace, or leave the tag out."
            )
        found.append(LoraWeight(files[tag.name], tag.unet, tag.text))
    return tuple(found)
