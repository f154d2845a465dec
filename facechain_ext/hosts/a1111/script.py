"""The panel in txt2img and img2img: people and a style put into the prompt, every picture scored, the best first."""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from modules import scripts, shared
from PIL import Image as PilImage

from facechain_ext.config import PanelConfig
from facechain_ext.errors import Cancelled, FaceChainError
from facechain_ext.hosts.a1111.axes import chosen
from facechain_ext.hosts.a1111.panel import build_panel
from facechain_ext.hosts.a1111.sitting import Sitting, Words
from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.face_pass import Passed
from facechain_ext.portraits.rank import Score, faults, order, summary
from facechain_ext.ports import SamplingRequest
from facechain_ext.services.portrait_files import measured

log = logging.getLogger(__name__)
ERROR = "FaceChain error"
OWN = {
    "all_prompts": (keys.OWN_PROMPT, "Prompt"),
    "all_negative_prompts": (keys.OWN_NEGATIVE, "Negative prompt"),
    "all_hr_prompts": ("FaceChain own hires prompt", "Hires prompt"),
    "all_hr_negative_prompts": ("FaceChain own hires negative", "Hires negative prompt"),
}
"""Prompts of the WebUI -> what the infotext calls the user's own part of them, and what it calls the whole."""
MEASURED = (keys.LIKENESS, keys.EACH, keys.FACES, keys.SHARPNESS, keys.STYLE_SCORE, keys.FLAGGED, keys.FACE_PASS_RESULT)
"""What the infotext says of each picture."""


@dataclass
class _Run:
    """What one generation needs. It hangs on its own processing object: other extensions run one inside another (ADetailer)."""

    sitting: Sitting
    words: list[Words]
    """Of each picture."""
    scores: list[Score] = field(default_factory=list)
    passed: list[list[Passed]] = field(default_factory=list)
    """What the face pass did to each picture."""
    pictures: list[Any] = field(default_factory=list)
    """What was scored, as it goes into the gallery."""

    def said(self, place: int) -> dict[str, str]:
        """What is said of the picture ``place``."""
        found = self.scores[place]
        wrong = faults(found, self.sitting.limits)
        return {**measured(found, wrong), **({keys.FACE_PASS_RESULT: "; ".join(map(str, self.passed[place]))} if self.passed[place] else {})}


class FaceChainScript(scripts.Script):
    """AlwaysVisible; switched off it does nothing at all."""

    def title(self) -> str:
        """The name by which the API's ``alwayson_scripts`` knows us."""
        return "FaceChain"

    def show(self, is_img2img: bool) -> Any:
        """On both pages."""
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """The accordion; its values are ``process``'s arguments."""
        panel = build_panel("img2img" if is_img2img else "txt2img")
        self.infotext_fields, self.paste_field_names = panel.pasted, panel.names
        return panel.controls

    def process(self, p: Any, enabled: Any = False, *values: Any) -> None:
        """Compose the prompts before the WebUI reads their LoRA tags.

        The API gives ``[enabled, …]`` with the values in the order of ``PanelConfig``'s fields, or ``[enabled, {…}]``.
        """
        axes = chosen(p)
        if not enabled and not axes:
            return
        try:
            by_name = bool(values) and isinstance(values[0], dict)
            config = PanelConfig.from_panel(values[0]) if by_name else PanelConfig.from_values(values)
            self._compose(p, PanelConfig.from_panel({**config.to_dict(), **axes}))
        except FaceChainError as error:
            log.warning("%s", error)
            _refuse(p, str(error))
        except Exception as error:  # a hook is an entry point: what it raises the WebUI only logs, and draws someone else
            log.exception("the FaceChain panel failed")
            _refuse(p, f"Something unexpected went wrong ({type(error).__name__}); the log has the details.")

    def _compose(self, p: Any, config: PanelConfig) -> None:
        sitting = Sitting(config)
        words = _composed(sitting, p.all_prompts, p.all_negative_prompts)
        hires = _composed(sitting, getattr(p, "all_hr_prompts", None), getattr(p, "all_hr_negative_prompts", None))
        if all(w.ours for w in words):
            sitting.hook(p, words)
        else:
            p.comment("FaceChain: the prompt holds a LoRA of the person already, and was left as it is.")
        p.all_prompts, p.all_negative_prompts = [w.whole for w in words], [w.negative for w in words]
        if hires:
            p.all_hr_prompts, p.all_hr_negative_prompts = [w.whole for w in hires], [w.negative for w in hires]
        p.main_prompt, p.main_negative_prompt = (p.all_prompts or [""])[0], (p.all_negative_prompts or [""])[0]
        for sentence in sitting.misfits():
            p.comment(f"FaceChain: {sentence}")
        p.facechain_run = run = _Run(sitting, words)
        # A dictionary of its own: the cells of an X/Y/Z plot share theirs.
        p.extra_generation_params = {
            **p.extra_generation_params,
            **sitting.settings(),
            **{key: _said_of(run, key) for key in MEASURED},
            **_own(words, hires),
        }

    def postprocess_image_after_composite(self, p: Any, pp: Any, *_: Any) -> None:
        """Measure each picture as it will be shown: others change it in ``postprocess_image``, inpainting pastes it into its surroundings."""
        run = _run_of(p)
        if run is None:
            return
        found, passed = Score(None, 0), []
        try:
            pp.image, found, passed = _finished(p, run, pp.image)
        except Exception:  # the picture is there all the same; a gap would give the next one's score to it
            log.exception("a picture could not be scored")
        run.scores.append(found)
        run.passed.append(passed)
        run.pictures.append(pp.image)

    def postprocess(self, p: Any, processed: Any, *_: Any) -> None:
        """Put the most alike first in the gallery; what else is in it (a grid, ControlNet's maps) keeps its place."""
        run = _run_of(p)
        if run is None:
            return
        first = _place_of(run.pictures, processed) if run.sitting.config.rank else None
        places = order(run.scores, run.sitting.limits) if first is not None else list(range(len(run.scores)))
        if first is not None:
            for name in ("images", "infotexts"):
                values = getattr(processed, name)
                values[first : first + len(places)] = [values[first + i] for i in places]
            for name in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
                values = getattr(processed, name)
                if len(values) == len(places):
                    setattr(processed, name, [values[i] for i in places])
        # The text below the gallery is put together already.
        processed.comments = (processed.comments or "") + "\n".join(_below(run, places, p.all_seeds))


def _composed(sitting: Sitting, prompts: Sequence[str] | None, negatives: Sequence[str] | None) -> list[Words]:
    texts = [text or "" for text in prompts or []]
    no = [text or "" for text in negatives or [""] * len(texts)]
    known = {pair: sitting.words(*pair) for pair in dict.fromkeys(zip(texts, no, strict=True))}
    return [known[pair] for pair in zip(texts, no, strict=True)]


def _own(words: Sequence[Words], hires: Sequence[Words]) -> dict[str, list[str | None]]:
    """The user's own words of each picture, by their keys in the infotext; those of a second pass where they differ."""
    lists = [[w.own for w in words], [w.own_negative for w in words], [w.own for w in hires], [w.own_negative for w in hires]]
    named = dict(zip([key for key, _ in OWN.values()], lists, strict=True))
    if lists[2] == lists[0]:
        named.pop("FaceChain own hires prompt")
    if lists[3] == lists[1]:
        named.pop("FaceChain own hires negative")
    return {key: [text or None for text in texts] for key, texts in named.items() if any(texts)}


def _finished(p: Any, run: _Run, image: Any) -> tuple[Any, Score, list[Passed]]:
    """``image`` after the face pass, its score, and what the pass did."""
    place, sitting = len(run.scores), run.sitting
    room, pixels = sitting.room(run.words[place].own), np.asarray(image.convert("RGB"))
    passed: list[Passed] = []
    # What is outside of an inpainting's mask is not ours to change.
    if sitting.passes and getattr(p, "image_mask", None) is None:
        try:
            better, passed = room.passed(pixels, _again(p, place), 0)
        except Cancelled:
            better = pixels
        if any(one.kept for one in passed):
            pixels, image = better, PilImage.fromarray(better)
    return image, room.scored(pixels), passed


def _again(p: Any, place: int) -> SamplingRequest:
    """How the picture ``place`` was sampled, for its faces to be sampled likewise."""
    karras = " Karras" if getattr(p, "scheduler", None) == "Karras" and not p.sampler_name.endswith("Karras") else ""
    negative = (p.all_negative_prompts or [""])[place]
    seeds = (int(p.all_seeds[place]),)
    return SamplingRequest("", negative, seeds, p.width, p.height, p.steps, float(p.cfg_scale), p.sampler_name + karras)


def _below(run: _Run, places: Sequence[int], seeds: Sequence[int]) -> list[str]:
    """Lines for below the gallery: a score for each picture, in the gallery's order, and what is to be said of all."""
    sitting = run.sitting
    who = " and ".join(s.folder.name for s in sitting.sitters)
    lines = [f"FaceChain: {who}, style {sitting.style.name if sitting.style else 'Plain portrait'}"]
    for number, place in enumerate(places, start=1):
        found, said = run.scores[place], run.said(place)
        each = f" ({said[keys.EACH].replace(' ', ', ')})" if keys.EACH in said else ""
        parts = [f"{number}. seed {seeds[place]}" if place < len(seeds) else f"{number}."]
        parts.append(f"likeness {said[keys.LIKENESS]}{each}" if found.likeness is not None else "nobody recognised" + each)
        parts.append("1 face" if found.faces == 1 else f"{found.faces} faces")
        parts += [f"sharpness {said[keys.SHARPNESS]}"] if keys.SHARPNESS in said else []
        parts += [f"style {said[keys.STYLE_SCORE]}"] if keys.STYLE_SCORE in said else []
        parts += [f"face pass {said[keys.FACE_PASS_RESULT]}"] if keys.FACE_PASS_RESULT in said else []
        lines.append(" · ".join(parts) + (f" - {said[keys.FLAGGED]}" if keys.FLAGGED in said else ""))
    ranked = [run.scores[i] for i in places]
    return lines + summary(ranked, len(ranked), sitting.limits)


def _run_of(p: Any) -> _Run | None:
    return getattr(p, "facechain_run", None)


def _place_of(pictures: Sequence[Any], processed: Any) -> int | None:
    """Where ``pictures`` begin in the gallery; None when they do not lie there one after another (inpainting's masks may lie between)."""
    gallery, first = processed.images, processed.index_of_first_image
    if len(gallery) - first == len(pictures):
        return first
    same = [a is b for a, b in zip(gallery[first:], pictures, strict=False)]
    return first if pictures and same == [True] * len(pictures) else None


def _said_of(run: _Run, key: str) -> Callable[..., str | None]:
    def said(p: Any, index: int | None = None, use_main_prompt: bool = False, **_: Any) -> str | None:
        """For the infotext of picture ``index`` of the batch (processing.py:807 calls what is callable)."""
        place = p.iteration * p.batch_size + (index or 0)
        return None if use_main_prompt or place >= len(run.scores) else run.said(place).get(key)

    return said


def own_words(_infotext: str, params: dict[str, Any]) -> None:
    """On paste: only the user's words go back into the prompt, since the panel, switched on by the same paste, adds the rest again."""
    if keys.PERSON in params:
        for key, whole in OWN.values():
            if params.get(whole):
                params[whole] = params.get(key, "")


def _refuse(p: Any, sentence: str) -> None:
    """No picture: one without the face that was asked for would be a silent failure.

    The page shows the comment below the gallery; a program finds the sentence in the answer's ``info``, where comments are left out
    (processing.py:575), under ``extra_generation_params`` and in the infotext.
    """
    p.comment(f"FaceChain: {sentence}")
    p.extra_generation_params[ERROR] = sentence
    # A grid of nothing would fail.
    p.do_not_save_grid = True
    shared.state.interrupt()
