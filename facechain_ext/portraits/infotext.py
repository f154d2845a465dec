"""Generation parameters as the WebUI writes them into PNGs, so that its "PNG Info" and "Paste" read ours."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PilImage
from PIL import PngImagePlugin

from facechain_ext.faces.types import Image
from facechain_ext.ports import CheckpointInfo, LoraWeight, SamplingRequest
from facechain_ext.workspace import atomic_path

KEY = "parameters"
PERSON, STYLE, FACE_WEIGHT, STYLE_WEIGHT = "FaceChain person", "FaceChain style", "FaceChain face weight", "FaceChain style weight"
LIKENESS, SHARPNESS, STYLE_SCORE = "FaceChain likeness", "FaceChain sharpness", "FaceChain style score"
FACES, FLAGGED = "FaceChain faces", "FaceChain flagged"
"""How many faces were found, and what is wrong with the picture, in sentences."""
BESIDE, EACH, PEOPLE_BY = "FaceChain beside", "FaceChain likeness of each", "FaceChain people by"
SEEDS, TRIES = "FaceChain seeds", "FaceChain try"
"""Of several people: the seeds of the whole batch, those of one picture joined by +, and which drawing it is."""
OWN_LIKENESS, OTHER_LIKENESS = "FaceChain wanted likeness of each", "FaceChain wanted likeness to the others"
OTHERS = "FaceChain likeness to the others"
EXACT, WITHOUT = "FaceChain exact prompt of", "FaceChain without LoRA"
"""Whose portrait it is where the panel cannot make it: with a prompt the user wrote as a whole, or without the face LoRA."""
FACE_PASS, FACE_PASS_STRENGTH, FACE_PASS_BELOW = "FaceChain face pass", "FaceChain face pass strength", "FaceChain face pass below"
FACE_PASS_RESULT = "FaceChain face pass likeness"
BLEND = "FaceChain blend"
"""How the LoRAs acted together, as ``BlendPlan``'s text."""
OWN_PROMPT, OWN_NEGATIVE = "FaceChain own prompt", "FaceChain own negative"
"""What the WebUI's panel writes too: pasted there, they set the panel, and the prompt becomes the user's own words again."""


def lora_tags(loras: Sequence[LoraWeight]) -> str:
    """``<lora:NAME:TEXT:UNET>`` for each, the form the WebUI's prompt takes."""
    return "".join(
        f" <lora:{w.file.stem}:{w.text:g}:{w.unet:g}>" if w.text != w.unet else f" <lora:{w.file.stem}:{w.unet:g}>" for w in loras
    )


def infotext(request: SamplingRequest, index: int, checkpoint: CheckpointInfo, extra: dict[str, str]) -> str:
    """The parameters of image ``index`` of ``request``; ``extra`` comes last, in order."""
    lines = [request.prompt + lora_tags(request.loras)]
    if request.negative:
        lines.append(f"Negative prompt: {request.negative}")
    sampler, schedule = request.sampler.removesuffix(" Karras"), "Karras" if request.sampler.endswith(" Karras") else None
    fields = {
        "Steps": str(request.steps),
        "Sampler": sampler,
        **({"Schedule type": schedule} if schedule else {}),
        "CFG scale": f"{request.cfg:g}",
        "Seed": str(request.seeds[index]),
        "Size": f"{request.width}x{request.height}",
        "Model hash": checkpoint.short_hash,
        "Model": checkpoint.name,
        **({"Batch size": str(len(request.seeds)), "Batch pos": str(index)} if len(request.seeds) > 1 else {}),
        **({"Clip skip": str(request.made.clip_skip)} if request.made and request.made.clip_skip > 1 else {}),
        **({"ENSD": str(request.made.seed_delta)} if request.made and request.made.seed_delta else {}),
        **extra,
    }
    lines.append(", ".join(f"{k}: {_quoted(v)}" for k, v in fields.items()))
    return "\n".join(lines)


def _quoted(value: str) -> str:
    """A JSON string where the WebUI needs one, which reads every value in quotes as JSON (modules/infotext_utils.py, 1.10)."""
    return json.dumps(value, ensure_ascii=False) if re.search(r'[,:\r\n]|^"', value) else value


def save_png(image: Image, file: Path, text: str) -> None:
    """Write ``image`` as PNG whose only metadata is ``text``, whole or not at all."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, text) if not text.isascii() else info.add_text(KEY, text)
    with atomic_path(file, "a portrait") as temporary:
        PilImage.fromarray(image).save(temporary, "PNG", pnginfo=info)


def read_infotext(file: Path) -> str:
    """The parameters in a PNG, empty when there are none."""
    with PilImage.open(file) as image:
        return str(image.info.get(KEY, ""))
