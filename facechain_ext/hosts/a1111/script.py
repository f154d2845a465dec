"""The panel in txt2img and img2img: a person and a style put into the prompt, every picture scored, the best first."""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gradio as gr
import networks
import numpy as np
from modules import scripts, shared

from facechain_ext.config import PanelConfig
from facechain_ext.errors import FaceChainError, HostError, UserInputError
from facechain_ext.faces.types import Embedding
from facechain_ext.hosts.a1111.axes import chosen, people, styles
from facechain_ext.hosts.a1111.blending import hook_sampling, needs_hooks, read_all, text_parts
from facechain_ext.hosts.a1111.model import checkpoint_of, family_of, loaded, unet_of
from facechain_ext.hosts.a1111.shelf import FOLDER
from facechain_ext.hosts.a1111.wiring import studio
from facechain_ext.hosts.detect import WebUi, detect
from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.rank import Score, order, score
from facechain_ext.ports import LoraWeight
from facechain_ext.services.balance import blend_text
from facechain_ext.services.people import dataset_of
from facechain_ext.services.portraits import loras_of
from facechain_ext.styles.catalog import Style, find_style
from facechain_ext.styles.prompts import PLAIN, compose
from facechain_ext.ui.compat import bind, update

log = logging.getLogger(__name__)
ERROR = "FaceChain error"
OWN = {
    "all_prompts": (keys.OWN_PROMPT, "Prompt"),
    "all_negative_prompts": (keys.OWN_NEGATIVE, "Negative prompt"),
    "all_hr_prompts": ("FaceChain own hires prompt", "Hires prompt"),
    "all_hr_negative_prompts": ("FaceChain own hires negative", "Hires negative prompt"),
}
"""Prompts of the WebUI -> what the infotext calls the user's own part of them, and what it calls the whole."""


@dataclass
class _Run:
    """What one generation needs. It hangs on its own processing object: other extensions run one inside another (ADetailer)."""

    config: PanelConfig
    person: Embedding
    scores: list[Score] = field(default_factory=list)
    pictures: list[Any] = field(default_factory=list)
    """What was scored, as it goes into the gallery."""


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
        where = "img2img" if is_img2img else "txt2img"

        def named(part: str) -> str:
            return f"facechain_{where}_{part}"

        defaults = PanelConfig()
        with gr.Accordion("FaceChain", open=False, elem_id=named("panel")):
            enabled = gr.Checkbox(False, label="Enable", elem_id=named("enabled"))
            with gr.Row(elem_classes=["fc-with-button"]):
                # gradio 4 takes the first choice where there is no value.
                person = gr.Dropdown(["", *people()], value="", label="Person", elem_id=named("person"))
                style = gr.Dropdown(styles(), value=PLAIN.id, label="Style", elem_id=named("style"))
                again = gr.Button("Refresh people and styles", size="sm", scale=0, min_width=190, elem_id=named("refresh"))
            with gr.Row():
                face = gr.Slider(0, 2, defaults.face_weight, step=0.05, label="Face weight", elem_id=named("face_weight"))
                strength = gr.Slider(0, 2, defaults.style_weight, step=0.05, label="Style weight", elem_id=named("style_weight"))
                least = gr.Slider(-1, 1, defaults.min_likeness, step=0.05, label="Flag below likeness", elem_id=named("min_likeness"))
            with gr.Row():
                balance = gr.Slider(0, 1, defaults.balance, step=0.05, label="More style … more me", elem_id=named("balance"))
                blend = gr.Textbox(defaults.blend, label="Blend", lines=1, max_lines=1, placeholder="automatic", elem_id=named("blend"))
            ranked = gr.Checkbox(defaults.rank, label="Most alike first", elem_id=named("rank"))
            bind(again.click, None, js=f"() => {{ facechain.heard.add('{named('refresh')}'); }}", queue=False)
            again.click(lambda: [update(choices=["", *people()]), update(choices=styles())], [], [person, style])
        self.infotext_fields = [
            (enabled, lambda found: keys.PERSON in found),
            # To what is pasted the WebUI applies the type of the control's first value (infotext_utils.py:505): none may be None.
            (person, keys.PERSON),
            (style, keys.STYLE),
            (face, keys.FACE_WEIGHT),
            (strength, keys.STYLE_WEIGHT),
            # A picture with only a face LoRA has no blend: then the box is emptied.
            (blend, lambda found: found.get(keys.BLEND, "") if keys.PERSON in found else None),
        ]
        self.paste_field_names = [keys.PERSON, keys.STYLE, keys.FACE_WEIGHT, keys.STYLE_WEIGHT, keys.BLEND]
        return [enabled, person, style, face, strength, least, ranked, balance, blend]

    def process(self, p: Any, enabled: Any = False, *values: Any) -> None:
        """Compose the prompts before the WebUI reads their LoRA tags.

        The API gives ``[enabled, person, style, face weight, style weight, least likeness, rank, balance, blend]`` or ``[enabled, {…}]``.
        """
        axes = chosen(p)
        if not enabled and not axes:
            return
        try:
            config = PanelConfig.from_dict(values[0]) if values and isinstance(values[0], dict) else PanelConfig.from_values(values)
            self._compose(p, PanelConfig.from_dict({**config.to_dict(), **axes}))
        except FaceChainError as error:
            log.warning("%s", error)
            _refuse(p, str(error))
        except Exception as error:  # a hook is an entry point: what it raises the WebUI only logs, and draws someone else
            log.exception("the FaceChain panel failed")
            _refuse(p, f"Something unexpected went wrong ({type(error).__name__}); the log has the details.")

    def _compose(self, p: Any, config: PanelConfig) -> None:
        if not config.person.strip():
            raise UserInputError("Choose a person whose face LoRA is trained, or switch the FaceChain panel off.")
        work, model = studio(), loaded()
        folder = work.workspace.existing_person(config.person)
        dataset = dataset_of(folder, work.analyzer)
        look = None if config.style in ("", PLAIN.id) else find_style(work.styles(), config.style).on(checkpoint_of(model).name)
        settings = replace(
            work.checkpoint(None).portrait,
            face_weight=config.face_weight,
            style_weight=config.style_weight,
            balance=config.balance,
            blend=config.blend.strip(),
        )
        loras = loras_of(folder, work.host(None), look, settings)
        words = (dataset.caption, look.name if look else "")
        own = {key: [text or None for text in getattr(p, name, None) or []] for name, (key, _) in OWN.items()}
        if own["FaceChain own hires prompt"] == own["FaceChain own prompt"]:
            own.pop("FaceChain own hires prompt")
        if own["FaceChain own hires negative"] == own["FaceChain own negative"]:
            own.pop("FaceChain own hires negative")
        own_tags = "|".join(re.escape(file.stem) for file in folder.loras.glob("*.safetensors"))
        already = re.compile(f"<lora:({own_tags})[:>]")
        self._write(p, look, dataset.caption, _acting(p, loras, words, model, already), already)
        p.facechain_run = run = _Run(replace(config, person=folder.name), dataset.mean_embedding)
        # A dictionary of its own: the cells of an X/Y/Z plot share theirs.
        p.extra_generation_params = {
            **p.extra_generation_params,
            keys.PERSON: folder.name,
            keys.STYLE: look.id if look else PLAIN.id,
            keys.FACE_WEIGHT: config.face_weight,
            keys.STYLE_WEIGHT: config.style_weight,
            **({keys.BLEND: blend_text(loras)} if len(loras) > 1 else {}),
            keys.LIKENESS: _likeness_of(run),
            **{key: texts for key, texts in own.items() if any(texts)},
        }

    def _write(self, p: Any, style: Style | None, words: str, tags: Sequence[str], already: re.Pattern[str]) -> None:
        def one(own: str, negative: str) -> tuple[str, str]:
            # The user's own tag, or a picture's whole prompt given back to the API: nothing may be in it twice.
            if already.search(own):
                return own, negative
            pair = compose(style, words, own, negative)
            return " ".join([pair.positive, *tags]), pair.negative

        def composed(prompts: list[str] | None, negatives: list[str] | None) -> tuple[list[str] | None, list[str] | None]:
            if not prompts:
                return prompts, negatives
            pairs = [one(own, no) for own, no in zip(prompts, negatives or [""] * len(prompts), strict=True)]
            return [positive for positive, _ in pairs], [negative for _, negative in pairs]

        p.all_prompts, p.all_negative_prompts = composed(p.all_prompts, p.all_negative_prompts)
        if getattr(p, "all_hr_prompts", None):
            p.all_hr_prompts, p.all_hr_negative_prompts = composed(p.all_hr_prompts, p.all_hr_negative_prompts)
        p.main_prompt, p.main_negative_prompt = (p.all_prompts or [""])[0], (p.all_negative_prompts or [""])[0]

    def postprocess_image_after_composite(self, p: Any, pp: Any, *_: Any) -> None:
        """Measure each picture as it will be shown: others change it in ``postprocess_image``, inpainting pastes it into its surroundings."""
        run = _run_of(p)
        if run is None:
            return
        try:
            found = score(np.asarray(pp.image.convert("RGB")), studio().analyzer, run.person)
        except Exception:  # the picture is there all the same; a gap would give the next one's score to it
            log.exception("a picture could not be scored")
            found = Score(None, 0)
        run.scores.append(found)
        run.pictures.append(pp.image)

    def postprocess(self, p: Any, processed: Any, *_: Any) -> None:
        """Put the most alike first in the gallery; what else is in it (a grid, ControlNet's maps) keeps its place."""
        run = _run_of(p)
        first = _place_of(run.pictures, processed) if run is not None and run.config.rank else None
        if run is None or first is None:
            return
        places = order(run.scores, run.config.min_likeness)
        for name in ("images", "infotexts"):
            values = getattr(processed, name)
            values[first : first + len(places)] = [values[first + i] for i in places]
        for name in ("all_prompts", "all_negative_prompts", "all_seeds", "all_subseeds"):
            values = getattr(processed, name)
            if len(values) == len(places):
                setattr(processed, name, [values[i] for i in places])


def _run_of(p: Any) -> _Run | None:
    return getattr(p, "facechain_run", None)


def _place_of(pictures: Sequence[Any], processed: Any) -> int | None:
    """Where ``pictures`` begin in the gallery; None when they do not lie there one after another (inpainting's masks may lie between)."""
    gallery, first = processed.images, processed.index_of_first_image
    if len(gallery) - first == len(pictures):
        return first
    same = [a is b for a, b in zip(gallery[first:], pictures, strict=False)]
    return first if pictures and same == [True] * len(pictures) else None


def _likeness_of(run: _Run) -> Callable[..., str | None]:
    def likeness(p: Any, index: int | None = None, use_main_prompt: bool = False, **_: Any) -> str | None:
        """For the infotext of picture ``index`` of the batch (processing.py:807 calls what is callable)."""
        place = p.iteration * p.batch_size + (index or 0)
        if use_main_prompt or place >= len(run.scores):
            return None
        found = run.scores[place].likeness
        return "no face" if found is None else f"{found:.3f}"

    return likeness


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


def _acting(p: Any, loras: Sequence[LoraWeight], words: Sequence[str], model: Any, already: re.Pattern[str]) -> list[str]:
    """Let ``loras`` act on what ``p`` makes, and return the tags that belong in its prompts.

    The WebUI's own loader does what it can, by tags. What changes over steps, blocks or picture acts through hooks, and only the text
    encoder's part stays a tag; not where the user's own tag of the person is in a prompt, which would count twice.
    """
    family = family_of(model)
    read = read_all(loras, family)
    named = dict(zip([w.file for w in loras], words, strict=False))
    if not needs_hooks(read):
        return [tag(w.file, w.unet, named[w.file], w.text) for w in loras]
    if not any(already.search(text) for text in p.all_prompts or []):
        hook_sampling(p, lambda: unet_in_use(p), read, family)
    return [tag(w.file, w.unet, named[w.file], w.text) for w in text_parts(read)]


def unet_in_use(p: Any) -> Any:
    """The UNet that ``p`` samples with, of whichever WebUI this is."""
    if detect() is WebUi.A1111:
        return unet_of(p.sd_model)
    return p.sd_model.forge_objects.unet.model.diffusion_model


def tag(file: Path, weight: float, words: str, text: float | None = None) -> str:
    """``<lora:NAME:WEIGHT>``, or ``<lora:NAME:TEXT:WEIGHT>`` where the text encoder's differs, for the WebUI's own loader, the file being put on its shelf first if it is not there.

    Raises:
        HostError: when the WebUI does not find it then.
    """
    known = networks.available_networks.get(file.stem)
    # A style may use a LoRA that lies in the WebUI's folder already.
    if known is None or (Path(known.filename).parent.name != FOLDER and Path(known.filename).resolve() != file.resolve()):
        studio().shelve(file, words, family_of(loaded()))
    if file.stem not in networks.available_networks:
        raise HostError(f"The WebUI does not find the LoRA {file.name} in its folder. Press Refresh on its Lora page.")
    return f"<lora:{file.stem}:{weight:g}>" if text in (None, weight) else f"<lora:{file.stem}:{text:g}:{weight:g}>"
