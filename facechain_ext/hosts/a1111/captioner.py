"""The WebUI's own captioners, DeepDanbooru and BLIP, as ``Captioner``: only with weights that are on this disk already, for both download theirs."""

# pyright: reportMissingImports=false
from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import PIL.Image
from modules import paths_internal, shared

from facechain_ext.errors import HostError
from facechain_ext.faces.types import Image
from facechain_ext.hosts.a1111.state import queued, random_state
from facechain_ext.progress import CancelToken, silent

PERSON = re.compile(r"^(there is |a photo of |a close up of )?(a|an|the)? ?([\w-]+ )?(man|woman|boy|girl|person|child|baby|lady|guy)\b", re.IGNORECASE)
"""How BLIP begins: who is in the picture, which the trigger says."""


class WebuiCaptioner:
    """DeepDanbooru's tags where it is installed, else BLIP's sentence."""

    def __init__(self, name: str, say: Callable[[Sequence[Any], CancelToken], list[list[str]]]) -> None:
        self.name = name
        self._say = say

    def tags(self, images: Sequence[Image], cancel: CancelToken) -> list[list[str]]:
        """See ``Captioner``; waits in the WebUI's queue."""
        with queued("FaceChain captions", silent, cancel), random_state():
            try:
                return self._say([PIL.Image.fromarray(image) for image in images], cancel)
            except (RuntimeError, OSError, ValueError, KeyError, AttributeError, ImportError) as error:
                raise HostError(
                    f"The WebUI's captioner {self.name} failed ({type(error).__name__}). Choose 'described' captions, which need no model."
                ) from error


def captioner() -> WebuiCaptioner | None:
    """The first one whose weights are installed."""
    if _installed("torch_deepdanbooru", "*.pt"):
        return WebuiCaptioner("DeepDanbooru", _by_deepdanbooru)
    if _installed("BLIP", "*.pth"):
        return WebuiCaptioner("BLIP", _by_blip)
    return None


def _installed(folder: str, pattern: str) -> bool:
    return any((Path(paths_internal.models_path) / folder).glob(pattern))


def _by_deepdanbooru(pictures: Sequence[Any], cancel: CancelToken) -> list[list[str]]:
    from modules import deepbooru

    deepbooru.model.start()
    try:
        found = []
        for picture in pictures:
            cancel.raise_if_cancelled()
            found.append([tag.strip() for tag in deepbooru.model.tag_multi(picture, force_disable_ranks=True).split(", ") if tag.strip()])
        return found
    finally:
        deepbooru.model.stop()


def _by_blip(pictures: Sequence[Any], cancel: CancelToken) -> list[list[str]]:
    # Without CLIP and its lists of artists, which would be fetched from the network (modules/interrogate.py).
    from modules import devices

    interrogator = shared.interrogator
    was = interrogator.blip_model, interrogator.dtype
    try:
        if interrogator.blip_model is None:
            interrogator.blip_model = interrogator.load_blip_model()
        interrogator.dtype = next(interrogator.blip_model.parameters()).dtype
        interrogator.blip_model = interrogator.blip_model.to(devices.device_interrogate)
        found = []
        for picture in pictures:
            cancel.raise_if_cancelled()
            found.append(without_person(interrogator.generate_caption(picture)))
        return found
    finally:
        if was[0] is not None:
            interrogator.send_blip_to_ram()
        interrogator.blip_model, interrogator.dtype = was


def without_person(sentence: str) -> list[str]:
    """BLIP's ``sentence`` without its beginning, in which it says who is there; nothing when nothing else is said."""
    rest = PERSON.sub("", sentence.strip().rstrip("."), count=1).strip(" ,")
    return [rest] if rest and rest != sentence.strip() else []
