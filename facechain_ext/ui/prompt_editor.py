"""The prompts of the portrait page: composed while people choose and write, every part told apart, and editable as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from facechain_ext.errors import FaceChainError
from facechain_ext.services.composing import ToldPrompt, told
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import Style
from facechain_ext.styles.layout import Part
from facechain_ext.styles.tokens import CHUNK
from facechain_ext.ui.compat import bind, make, update
from facechain_ext.ui.words import counted

SAID = {"style": "style", "person": "person", "own": "your words"}


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in the boxes of the page."""

    own: str = ""
    negative: str = ""
    exact: str = ""
    exact_negative: str = ""
    last: str = ""
    """The composed prompts that were last put into the boxes for the whole prompts, as JSON.

    It travels with the boxes: a state kept on the server would be newer than boxes whose words are still on their way.
    """

    @property
    def before(self) -> tuple[str, str]:
        """``last`` as the two prompts."""
        try:
            positive, negative = json.loads(self.last or '["", ""]')
            return str(positive), str(negative)
        except (ValueError, TypeError):
            return "", ""


class PromptEditor:
    """The composed prompts; what the user makes of them counts until *Compose again*."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def told(self, person: str | None, style: Style | None, written: Written) -> ToldPrompt:
        """The prompts as the sampler will get them."""
        return told(style, self._words(person), self.request(person, style, written))

    def request(self, person: str | None, style: Style | None, written: Written) -> PortraitRequest:
        """The request's part about prompts."""
        chosen = style.id if style else None
        own, negative = written.own or "", written.negative or ""
        composed = told(style, self._words(person), PortraitRequest(person or "", None, chosen, own, negative)).composed
        exact = _edited(written.exact, written.before[0], composed.positive)
        exact_negative = _edited(written.exact_negative, written.before[1], composed.negative)
        return PortraitRequest(person or "", None, chosen, own, negative, exact_prompt=exact, exact_negative=exact_negative)

    def _words(self, person: str | None) -> str:
        try:
            found = self._studio.person(person) if person else None
        except FaceChainError:
            found = None
        return (f"{found.trigger} {found.subject}".strip() if found else "") or "person"

    def build(self) -> list[Any]:
        """Lay the boxes out; the components that ``recomposed`` gives values for."""
        self.shown = make(gr.HTML, "", elem_id="facechain_composed")
        with gr.Accordion("Edit the prompts", open=False, elem_id="facechain_edit_prompts", elem_classes=["fc-accordion"]):
            self.exact = make(
                gr.Textbox,
                label="The whole prompt",
                info="As it goes to the sampler. Once you change it, style and words above no longer do.",
                lines=3,
                max_lines=8,
                elem_id="facechain_exact",
            )
            self.exact_negative = make(gr.Textbox, label="Everything to avoid", lines=2, max_lines=6, elem_id="facechain_exact_negative")
            self.again = make(gr.Button, "Compose again", size="sm", elem_id="facechain_compose_again")
        self.last = make(gr.Textbox, "", visible=False, elem_id="facechain_composed_last")
        return [self.shown, self.exact, self.exact_negative, self.last]

    @property
    def boxes(self) -> list[Any]:
        """Inputs that hold the whole prompts and what they were."""
        return [self.exact, self.exact_negative, self.last]

    def wire(self, who: Sequence[Any], find: Any) -> None:
        """``who`` are the components person, style's label, own words and words to avoid; ``find`` gives the style behind a label."""
        outputs = [self.shown, self.exact, self.exact_negative, self.last]

        def recomposed(person: str | None, label: str | None, own: str, negative: str, *boxes: Any) -> list[Any]:
            return self.recomposed(person, find(label), Written(own, negative, *boxes))

        def edited(person: str | None, label: str | None, own: str, negative: str, *boxes: Any) -> str:
            return html(self.told(person, find(label), Written(own, negative, *boxes)))

        def fresh(person: str | None, label: str | None, own: str, negative: str) -> list[Any]:
            return self.recomposed(person, find(label), Written(own, negative))

        for component in who:
            bind(component.change, recomposed, [*who, *self.boxes], outputs, queue=False)
        for box in (self.exact, self.exact_negative):
            bind(box.input, edited, [*who, *self.boxes], [self.shown], queue=False)
        bind(self.again.click, fresh, who, outputs, queue=False)
        # For programs: the composed prompts alone.
        self._api = make(gr.Button, "Compose", visible=False)
        bind(self._api.click, lambda *values: fresh(*values)[0], who, [self.shown], api_name="facechain_compose", queue=False)

    def recomposed(self, person: str | None, style: Style | None, written: Written) -> list[Any]:
        """Values after person, style or words changed; a box that the user edited stays as it is."""
        prompt = self.told(person, style, written)
        kept = self.request(person, style, written)
        composed = prompt.composed
        return [
            html(prompt),
            update(value=composed.positive) if kept.exact_prompt is None else update(),
            update(value=composed.negative) if kept.exact_negative is None else update(),
            update(
                value=json.dumps(
                    [
                        composed.positive if kept.exact_prompt is None else written.before[0],
                        composed.negative if kept.exact_negative is None else written.before[1],
                    ]
                )
            ),
        ]


def _edited(box: str | None, *composed: str) -> str | None:
    """What stands in ``box`` when the user changed it, else None."""
    text = (box or "").strip()
    return None if (not text and not any(composed[:1])) or text in composed else text


def html(prompt: ToldPrompt) -> str:
    """Both prompts, the words of style, person and user told apart, with their tokens."""
    composed = prompt.composed
    sides = [_side("Prompt", prompt.used, composed.positive, composed.parts, prompt.chunks)]
    if prompt.used_negative or composed.negative:
        sides.append(_side("To avoid", prompt.used_negative, composed.negative, composed.negative_parts, prompt.negative_chunks))
    notes = "".join(f'<p class="fc-warn">{escape(note)}</p>' for note in prompt.notes)
    return f'<div class="fc-prompt">{"".join(sides)}{notes}</div>'


def _side(name: str, used: str, composed: str, parts: Sequence[Part], chunks: Sequence[int]) -> str:
    told_apart = used == composed
    words = "".join(f'<mark class="fc-of-{p.source}">{escape(p.text)}</mark>' for p in parts) if told_apart else escape(used) or "nothing"
    sources = list(dict.fromkeys(p.source for p in parts)) if told_apart else []
    legend = "".join(f'<i class="fc-of-{source}">{SAID[source]}</i>' for source in sources) or '<i class="fc-of-own">edited by you</i>'
    full = f"{' + '.join(map(str, chunks))} of {CHUNK} tokens"
    more = f" in {counted(len(chunks), 'chunk')}" if len(chunks) > 1 else ""
    return f'<div><span>{name}</span><small>{legend}<em>{full}{more}</em></small></div><p>{words}</p>'
