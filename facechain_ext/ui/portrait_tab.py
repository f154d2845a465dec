"""The portrait page: person, style and words in, ranked portraits out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gradio as gr

from facechain_ext.services.studio import Studio
from facechain_ext.ui import panels
from facechain_ext.ui.blend_panel import BlendPanel
from facechain_ext.ui.compat import bind, make
from facechain_ext.ui.loading import Loads
from facechain_ext.ui.portrait_actions import NO_PORTRAITS, PLAIN_ID, Asked, PortraitActions
from facechain_ext.ui.prompt_editor import Written
from facechain_ext.ui.style_cards import PICK
from facechain_ext.ui.widgets import rows
from facechain_ext.ui.words import heading

BLEND = (("balance",),)
ROWS = (("count", "keep"), ("seed",), ("steps", "cfg"), ("width", "height"), ("face_weight",))
FINE = (
    ("sampler", "batch"),
    ("style_weight", "min_likeness"),
    ("face_pass", "face_pass_strength"),
    ("face_pass_below", "people_by"),
    ("tries", "own_likeness", "other_likeness"),
    ("blend",),
    ("style_blocks",),
    ("face_guidance", "style_guidance"),
)
ACTING = ("balance", "blend", "style_blocks", "face_weight", "style_weight", "steps")
"""Settings that change how LoRAs act."""


class PortraitTab:
    """Lays out the page into the Blocks around it and wires its events."""

    def __init__(self, studio: Studio, send_to: Mapping[str, str]) -> None:
        self._act = PortraitActions(studio, send_to)
        self._blend = BlendPanel(studio)

    def build(self) -> Loads:
        """Build the page; the handlers returned must run when the page loads."""
        with gr.Row(elem_id="facechain_portraits", elem_classes=["fc-columns"]):
            with gr.Column(scale=5, min_width=340, elem_classes=["fc-left"]):
                self._who()
                self._how()
            with gr.Column(scale=7, min_width=400, elem_classes=["fc-right"]):
                self._live = make(gr.HTML, "", elem_id="facechain_portraits_live")
                self._gallery = make(gr.HTML, NO_PORTRAITS, elem_id="facechain_gallery")
        return self._wire()

    def _who(self) -> None:
        people, styles = self._act.people(), self._act.style_labels()
        first = people[0] if people else None
        with gr.Group(elem_classes=["fc-section"]):
            gr.HTML(heading("", "Who and how", "The person's trigger word goes into the style; your own words follow it."))
            self._drop = make(
                gr.File,
                label="Drop a portrait here to set everything as it was made",
                file_count="single",
                file_types=[".png"],
                height=86,
                elem_id="facechain_portrait_drop",
            )
            self._dropped = make(gr.HTML, "", elem_id="facechain_portrait_dropped")
            self._loras = make(gr.Textbox, "", visible=False, elem_id="facechain_portrait_loras")
            self._seeds = make(gr.Textbox, "", visible=False, elem_id="facechain_portrait_seeds")
            with gr.Row(elem_classes=["fc-pair", "fc-with-button"]):
                self._person = make(gr.Dropdown, choices=people, value=first, label="Person", scale=5, elem_id="facechain_portrait_person")
                self._refresh = make(gr.Button, "Refresh", size="sm", scale=1, min_width=84, elem_id="facechain_portrait_refresh")
            self._beside = make(
                gr.Dropdown,
                choices=people,
                value=[],
                multiselect=True,
                max_choices=2,
                label="Also in the picture",
                info="Up to two more people, beside the first from left to right. Your own words for each are divided by |.",
                elem_id="facechain_portrait_beside",
            )
            self._style = make(gr.Dropdown, choices=styles, value=styles[0], label="Style", elem_id="facechain_style")
            self._find = make(
                gr.Textbox, show_label=False, container=False, placeholder="Find a style: snow, armour, pencil", elem_id="facechain_find_style"
            )
            self._cards = make(gr.HTML, self._act.cards(first, styles[0]), elem_id="facechain_style_cards")
            # What a click on a card writes into; hidden by style.css, since gradio leaves invisible components out of the page.
            self._pick = make(gr.Textbox, "", show_label=False, container=False, elem_id=PICK)
            self._own = make(
                gr.Textbox, label="Your own words", placeholder="smiling, green scarf", lines=2, max_lines=4, elem_id="facechain_own"
            )
            self._negative = make(
                gr.Textbox, label="What to avoid", placeholder="sunglasses, hat", lines=1, max_lines=3, elem_id="facechain_negative"
            )
            self._prompts = self._act.editor.build()

    def _how(self) -> None:
        names = [c.name for c in self._act.choices()]
        config = self._act.config(None)
        with gr.Group(elem_classes=["fc-section"]):
            self._checkpoint = make(
                gr.Dropdown, choices=names, value=names[0] if names else None, label="Checkpoint", elem_id="facechain_portrait_checkpoint"
            )
            self._form = rows(config, "facechain_portrait", BLEND)
            self._blend.build()
            self._form = self._form + rows(config, "facechain_portrait", ROWS)
            with gr.Accordion("Advanced", open=False, elem_id="facechain_portrait_advanced", elem_classes=["fc-accordion"]):
                self._form = self._form + rows(config, "facechain_portrait", FINE)
            with gr.Row(elem_classes=["fc-buttons"]):
                self._generate = make(gr.Button, "Generate", variant="primary", elem_id="facechain_generate")
                self._cancel = make(gr.Button, "Cancel", variant="stop", interactive=False, elem_id="facechain_portrait_cancel")

    def _wire(self) -> Loads:
        act = self._act
        words, boxes = [self._person, self._style, self._own, self._negative], act.editor.boxes
        outputs = [self._live, self._gallery, self._generate, self._cancel]
        inputs = [self._person, self._beside, self._checkpoint, self._style, self._loras, self._seeds, self._own, self._negative, *boxes]
        inputs += self._form.components

        def generate(*given: Any) -> Iterator[list[Any]]:
            yield from act.generate(self._asked(given))

        bind(self._generate.click, generate, inputs, outputs)
        bind(self._cancel.click, act.cancel, [], [self._generate, self._cancel], queue=False)
        bind(self._refresh.click, act.refresh, [self._person], [self._person], queue=False)
        bind(self._refresh.click, act.refresh_beside, [self._beside], [self._beside], queue=False)
        act.editor.wire(words, act.style)
        bind(self._pick.change, act.picked, [self._pick], [self._style], queue=False)
        for source in (self._person, self._style, self._find):
            bind(source.change, act.cards, [self._person, self._style, self._find], [self._cards], queue=False)
        bind(
            self._checkpoint.change,
            lambda name: self._form.updates(act.config(name)),
            [self._checkpoint],
            list(self._form.components),
            queue=False,
        )
        self._wire_drop()
        return [
            (lambda: panels.checkpoint_update(act.choices()), [self._checkpoint]),
            (lambda: act.refresh(None), [self._person]),
            (lambda: act.refresh_beside(None), [self._beside]),
            (act.attach, outputs),
            (lambda: act.cards(None, None), [self._cards]),
            (lambda: act.editor.recomposed(next(iter(act.people()), None), act.style(PLAIN_ID), Written()), self._prompts),
            *self._wire_blend(inputs),
        ]

    def _asked(self, given: Sequence[Any]) -> Asked:
        """What stands in the boxes that ``_wire`` gives to its handlers."""
        person, beside, checkpoint, style, loras, seeds = given[:6]
        many = 2 + len(self._act.editor.boxes)
        written, values = Written(*given[6 : 6 + many]), self._form.values(given[6 + many :])
        named = tuple(filter(None, (loras or "").split(";")))
        return Asked(person, checkpoint, style, written, values, tuple(beside or ()), named, seeds or "")

    def _wire_blend(self, inputs: Sequence[Any]) -> Loads:
        act, blend = self._act, self._blend
        form = dict(zip(self._form.names, self._form.components, strict=True))

        def shown(*given: Any) -> str:
            return blend.html(lambda: act.request(self._asked(given)))

        def measure(seconds: float | None, *given: Any) -> Iterator[list[Any]]:
            yield from blend.measured(lambda: act.request(self._asked(given)), seconds)

        for source in (self._person, self._beside, self._checkpoint, self._style, *[form[name] for name in ACTING]):
            bind(source.change, shown, inputs, [blend.shown], queue=False)
        # A plan that was pasted or dropped would go on to count, whatever the slider says.
        bind(form["balance"].release, lambda: "", [], [form["blend"]], queue=False)
        outputs = [self._live, blend.shown, blend.measure, self._cancel]
        bind(blend.measure.click, measure, [blend.seconds, *inputs], outputs)
        return [(blend.attach, outputs), (lambda: act.first_blend(blend), [blend.shown])]

    def _wire_drop(self) -> None:
        act = self._act
        outputs = [self._drop, self._dropped, self._style, self._person, self._beside, self._checkpoint, self._own, self._negative]
        outputs += [*act.editor.boxes, self._loras, self._seeds, *self._form.components]
        bind(self._drop.upload, lambda value: act.restored(value, self._form), [self._drop], outputs, queue=False)

    def on_show(self, tab: Any) -> None:
        """Refresh people and gallery whenever ``tab`` comes to the front."""
        bind(tab.select, self._act.shown, [self._person], [self._person, self._gallery, self._live], queue=False)
        bind(tab.select, self._act.refresh_beside, [self._beside], [self._beside], queue=False)
        bind(tab.select, self._act.refresh_styles, [self._style], [self._style], queue=False)
        bind(tab.select, self._act.cards, [self._person, self._style, self._find], [self._cards], queue=False)
