"""What the panel's settings mean for the pictures of one generation: who is in them, which LoRA acts where, and what each prompt becomes."""

# pyright: reportMissingImports=false
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import networks
from modules import extra_networks

from facechain_ext.config import PanelConfig
from facechain_ext.errors import HostError, UserInputError
from facechain_ext.hosts.a1111.blending import Regional, heard, hook_sampling, needs_hooks, read_all, text_parts
from facechain_ext.hosts.a1111.model import checkpoint_of, family_of, loaded, targets_of, unet_of
from facechain_ext.hosts.a1111.shelf import FOLDER
from facechain_ext.hosts.a1111.wiring import encode_words, host_in_turn, studio
from facechain_ext.hosts.detect import WebUi, detect
from facechain_ext.lora.fit import misfit
from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.face_pass import OFF
from facechain_ext.portraits.rank import Limits
from facechain_ext.ports import RegionPrompt
from facechain_ext.progress import CancelToken, silent
from facechain_ext.services.balance import blend_text
from facechain_ext.services.candidates import Room, limits_of, statistic_of
from facechain_ext.services.portraits import sampling_of, shared_words, sitters_of, worded
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.styles.catalog import PERSON, Style, find_style
from facechain_ext.styles.prompts import PLAIN, compose, own_negative_in, own_words_in

SHARED = ("face_weight", "style_weight", "balance", "min_likeness", "people_by", "face_pass", "face_pass_strength", "face_pass_below")
"""Settings of the panel that portraits have too."""


@dataclass(frozen=True, slots=True)
class Words:
    """One prompt of the WebUI's and what becomes of it."""

    own: str
    """The user's part of it."""
    own_negative: str
    whole: str
    negative: str
    ours: bool = True
    """False: it holds the user's own tag of the person, and was left as it is."""


class Sitting:
    """The people of a panel, before the model that is loaded.

    Raises:
        FaceChainError: for what cannot be: nobody of that name, no LoRA, a LoRA of another model family.
    """

    def __init__(self, config: PanelConfig) -> None:
        if not config.person.strip():
            raise UserInputError("Choose a person whose face LoRA is trained, or switch the FaceChain panel off.")
        work, self._model = studio(), loaded()
        self._studio, host = work, work.host(None)
        checkpoint = checkpoint_of(self._model)
        style = None if config.style in ("", PLAIN.id) else find_style(work.styles(), config.style)
        self.style = style.on(checkpoint.name) if style is not None else None
        given = {name: getattr(config, name) for name in SHARED}
        portrait = replace(work.checkpoint(None).portrait, **given, blend=config.blend.strip())
        self._request = PortraitRequest(config.person, None, self.style.id if self.style else None, config=portrait, beside=config.others)
        self.sitters = sitters_of(self._request, work.workspace, host, work.analyzer, self.style)
        asked = sampling_of(self._request, self.sitters, host, self.style)
        self.config = config
        self.many = len(self.sitters)
        self._boxes = [region.region for region in asked.regions]
        self._window = asked.window(checkpoint.resolution)
        self._family = family_of(self._model)
        self._together = " and ".join(s.dataset.caption for s in self.sitters)
        self._loras = read_all(asked.loras, self._family)
        self._hooks = needs_hooks(self._loras, asked.regions)
        acts = self.style is not None and self.style.acts_on(checkpoint.name)
        self._statistic = statistic_of(self.style, self.style.lora_file if self.style is not None and acts else None)
        self.tags = self._tags()
        people = "|".join(re.escape(file.stem) for s in self.sitters for file in s.folder.loras.glob("*.safetensors"))
        styles = "|".join(re.escape(w.file.stem) for _, w in self._loras)
        self._of_person = re.compile(f"<lora:(?:{people})[:>][^<>]*>?" if people else "(?!)")
        self._ours = re.compile(rf"\s*<lora:(?:{people}|{styles}):[^<>]*>")

    def _tags(self) -> list[str]:
        """What the WebUI's own loader does, as tags for the prompt: all of it, or where hooks act on the UNet the text encoder's part."""
        called = {s.loras[0].file: s.dataset.caption for s in self.sitters if s.loras}
        by_loader = text_parts([pair for pair in self._loras if pair[1].region is None]) if self._hooks else [w for _, w in self._loras]
        return [tag(w.file, w.unet, called.get(w.file, self.style.name if self.style else ""), w.text) for w in by_loader]

    def misfits(self) -> list[str]:
        """A sentence for each LoRA that this checkpoint cannot use wholly."""
        layers = set(targets_of(unet_in_use(self._model), self._family, every=True).values())
        return [said for lora, _ in self._loras if (said := misfit(lora, layers)) is not None]

    def words(self, prompt: str, negative: str) -> Words:
        """What becomes of ``prompt``: the user's words behind style and people, and the tags.

        A whole prompt that is given back (by the API's ``infotext``, or copied) is known again, and nothing comes into it twice.
        """
        bare, held = self._ours.sub("", prompt), self._of_person.findall(prompt)
        known = self._taken_apart(bare)
        if held and (known is None or set(held) != {t for t in self.tags if self._of_person.fullmatch(t)}):
            return Words(prompt, negative, prompt, negative, ours=False)
        own, no = (prompt, negative) if known is None else (known[0], own_negative_in(known[1], self._together, negative))
        made = compose(self.style, self._together, shared_words(own, self.many), no)
        return Words(own, no, " ".join([made.positive, *self.tags]), made.negative)

    def _taken_apart(self, prompt: str) -> tuple[str, Style | None] | None:
        """The user's words in a composed ``prompt``, and the style it was composed of."""
        hint, maybe = shared_words(self.config.own, self.many), None
        for style in self._styles(prompt):
            own = own_words_in(style, self._together, prompt, hint)
            if own is None:
                continue
            found = (self.config.own if own == hint.strip(" ,") else own), style
            # Without a style, words that name the person are the whole prompt: another style may know its own among them.
            if PERSON not in own or (style is not None and style.id != PLAIN.id):
                return found
            maybe = maybe or found
        return maybe

    def _styles(self, prompt: str) -> Iterator[Style | None]:
        yield self.style
        if self._together in prompt:
            yield None
            name = checkpoint_of(self._model).name
            yield from (s.on(name) for s in self._studio.styles())

    def hook(self, p: Any, words: Sequence[Words]) -> None:
        """Let what the WebUI's loader cannot do act whenever ``p`` samples; ``words`` are those of its pictures.

        Raises:
            UserInputError: when people have words of their own and the pictures of a batch differ.
        """
        if not self._hooks:
            return
        regional = None
        if self._boxes:
            size = max(1, p.batch_size)
            if any(len({w.own for w in words[i : i + size]}) > 1 for i in range(0, len(words), size)):
                raise UserInputError("Several people need the same words in all pictures of a batch. Set the batch size to 1.")
            regional = Regional(lambda: self._region_prompts(words[p.iteration * size].own), self._encoder(p), self._window)
        hook_sampling(p, lambda: unet_in_use(p.sd_model), self._loras, self._family, regional)

    def _region_prompts(self, own: str) -> list[RegionPrompt]:
        texts = [s.prompt for s in self._worded(own)]
        return [RegionPrompt(extra_networks.parse_prompt(text)[0], box) for text, box in zip(texts, self._boxes, strict=True)]

    def _worded(self, own: str) -> list[Any]:
        return worded(self.sitters, replace(self._request, prompt=own), self.style)

    def _encoder(self, p: Any) -> Any:
        return lambda blend, group, prompt: encode_words(p.sd_model, heard(blend, self._loras, group), prompt, (p.width, p.height))

    def room(self, own: str) -> Room:
        """What a picture with the words ``own`` is scored in, and its small faces are made again."""
        return Room(
            host_in_turn(), self._studio.analyzer, self._request.config, self._worded(own), self._statistic, silent, CancelToken()
        )

    @property
    def limits(self) -> Limits:
        """What a picture needs so that it is not marked."""
        return limits_of(self._request.config, self.many)

    @property
    def passes(self) -> bool:
        """True when faces are to be sampled again."""
        return self.config.face_pass != OFF or (self.many > 1 and self.config.people_by == "faces")

    def settings(self) -> dict[str, Any]:
        """For the infotext, from which the panel is set again."""
        config, first = self.config, self.sitters[0]
        several = {keys.BESIDE: "; ".join(s.folder.name for s in self.sitters[1:]), keys.PEOPLE_BY: config.people_by}
        passes = {keys.FACE_PASS_STRENGTH: f"{config.face_pass_strength:g}", keys.FACE_PASS_BELOW: f"{config.face_pass_below:g}"}
        return {
            keys.PERSON: first.folder.name,
            **(several if self.many > 1 else {}),
            keys.STYLE: self.style.id if self.style else PLAIN.id,
            keys.FACE_WEIGHT: config.face_weight,
            keys.STYLE_WEIGHT: config.style_weight,
            **({keys.BLEND: blend_text(first.loras)} if len(first.loras) > 1 or (self.many == 1 and any(w.live for w in first.loras)) else {}),
            keys.FACE_PASS: config.face_pass,
            **(passes if config.face_pass != OFF else {}),
        }


def unet_in_use(model: Any) -> Any:
    """The UNet that samples with ``model``, of whichever WebUI this is."""
    return unet_of(model) if detect() is WebUi.A1111 else model.forge_objects.unet.model.diffusion_model


def tag(file: Path, weight: float, words: str, text: float | None = None) -> str:
    """``<lora:NAME:WEIGHT>``, or ``<lora:NAME:TEXT:WEIGHT>`` where the text encoder's differs, for the WebUI's own loader.

    The file is put on its shelf first if it is not there; a style may use one that lies in the WebUI's folder already.

    Raises:
        HostError: when the WebUI does not find it then.
    """
    known = networks.available_networks.get(file.stem)
    if known is None or (Path(known.filename).parent.name != FOLDER and Path(known.filename).resolve() != file.resolve()):
        studio().shelve(file, words, family_of(loaded()))
    if file.stem not in networks.available_networks:
        raise HostError(f"The WebUI does not find the LoRA {file.name} in its folder. Press Refresh on its Lora page.")
    return f"<lora:{file.stem}:{weight:g}>" if text in (None, weight) else f"<lora:{file.stem}:{text:g}:{weight:g}>"
