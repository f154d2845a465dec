"""The styles page: styles of one's own made, tried, shared, imported and trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from facechain_ext.config import TrainConfig
from facechain_ext.services.studio import Studio
from facechain_ext.ui.compat import bind, make, update
from facechain_ext.ui.loading import Loads
from facechain_ext.ui.styles_actions import NEW, NO_LORA, NO_STYLES, StylesActions
from facechain_ext.ui.widgets import rows
from facechain_ext.ui.words import heading

IMPORTED = [".facechain-style", ".json", ".safetensors"]
LEARNED_FROM = ["image", ".txt"]


class StylesTab:
    """Lays out the page into the Blocks around it and wires its events."""

    def __init__(self, studio: Studio) -> None:
        self._act = StylesActions(studio)

    def build(self) -> Loads:
        """Build the page; the handlers returned must run when the page loads."""
        with gr.Row(elem_id="facechain_styles", elem_classes=["fc-columns"]):
            with gr.Column(scale=5, min_width=340, elem_classes=["fc-left"]):
                self._own()
                self._import()
                self._train()
            with gr.Column(scale=7, min_width=400, elem_classes=["fc-right"]):
                self._said = make(gr.HTML, "", elem_id="facechain_styles_said")
                self._live = make(gr.HTML, "", elem_id="facechain_styles_live")
                self._chart = make(gr.HTML, "", elem_id="facechain_styles_chart")
                self._previews = make(gr.HTML, "", elem_id="facechain_styles_previews")
                self._gallery = make(gr.HTML, "", elem_id="facechain_styles_gallery")
                self._cards = make(gr.HTML, NO_STYLES, elem_id="facechain_own_styles")
        return self._wire()

    def _own(self) -> None:
        with gr.Group(elem_classes=["fc-section"]):
            gr.HTML(heading("", "Your styles", "Of words, of a LoRA, or of both. Ours stay as they are."))
            self._style = make(gr.Dropdown, choices=[NEW], value=NEW, label="Change or make", elem_id="facechain_own_style")
            with gr.Row(elem_classes=["fc-pair"]):
                self._name = make(gr.Textbox, label="Name", max_lines=1, elem_id="facechain_style_name")
                self._category = make(gr.Textbox, "own", label="Category", max_lines=1, elem_id="facechain_style_category")
            self._words = make(
                gr.Textbox,
                label="Words",
                info="{person} marks the person's place; else the words follow the person.",
                placeholder="portrait photo of {person} in a rose garden, evening light",
                lines=2,
                max_lines=5,
                elem_id="facechain_style_words",
            )
            self._negative = make(gr.Textbox, label="What to avoid", max_lines=2, elem_id="facechain_style_negative")
            with gr.Row(elem_classes=["fc-pair"]):
                self._lora = make(gr.Dropdown, choices=[NO_LORA], value=NO_LORA, label="LoRA", elem_id="facechain_style_lora")
                self._licence = make(gr.Textbox, "not stated", label="Licence", max_lines=1, elem_id="facechain_style_licence")
            self._weight = make(gr.Slider, 0, 2, 0.7, step=0.05, label="Weight of the LoRA", elem_id="facechain_style_lora_weight")
            with gr.Row(elem_classes=["fc-buttons"]):
                self._save = make(gr.Button, "Save style", variant="primary", elem_id="facechain_style_save")
                self._delete = make(gr.Button, "Delete style", variant="stop", interactive=False, elem_id="facechain_style_delete")
            with gr.Row(elem_classes=["fc-buttons"], visible=False) as self._confirmation:
                self._keep = make(gr.Button, "Keep", elem_id="facechain_style_keep")
                self._confirm = make(gr.Button, "Delete for good", variant="stop", elem_id="facechain_style_delete_confirm")
            with gr.Row(elem_classes=["fc-pair", "fc-with-button"]):
                self._person = make(gr.Dropdown, choices=[], label="Try it on", scale=5, elem_id="facechain_style_person")
                self._preview = make(gr.Button, "Preview", size="sm", scale=1, min_width=84, elem_id="facechain_style_preview")
            with gr.Row(elem_classes=["fc-pair", "fc-with-button"]):
                self._with_lora = make(gr.Checkbox, value=False, label="Put the LoRA into the export", scale=5, elem_id="facechain_style_with_lora")
                self._export = make(gr.Button, "Export", size="sm", scale=1, min_width=84, interactive=False, elem_id="facechain_style_export")

    def _import(self) -> None:
        with gr.Group(elem_classes=["fc-section"]):
            gr.HTML(heading("", "Import", "Style files, FaceChain's styles, EasyPhoto's scenes. LoRAs are found by name in your folder; nothing is downloaded."))
            self._files = make(gr.File, file_count="multiple", file_types=IMPORTED, label="Style files", elem_id="facechain_style_files", height=120)
            self._brackets = make(
                gr.Checkbox,
                value=False,
                label="Keep brackets as weights",
                info="FaceChain's own program read them as text.",
                elem_id="facechain_style_brackets",
            )
            self._take = make(gr.Button, "Import styles", elem_id="facechain_style_import")

    def _train(self) -> None:
        with gr.Group(elem_classes=["fc-section"]):
            gr.HTML(heading("", "Train a style", "From pictures in one look, ten or more; text files of the same names are their captions."))
            self._pictures = make(gr.File, file_count="multiple", file_types=LEARNED_FROM, label="Pictures", elem_id="facechain_style_pictures", height=120)
            with gr.Row(elem_classes=["fc-pair"]):
                self._new_name = make(gr.Textbox, label="Name of the style", max_lines=1, elem_id="facechain_style_new_name")
                self._trigger = make(gr.Textbox, label="Trigger word", placeholder="automatic", max_lines=1, elem_id="facechain_style_trigger")
            with gr.Row(elem_classes=["fc-pair"]):
                self._base = make(gr.Dropdown, choices=[], label="Checkpoint", elem_id="facechain_style_checkpoint")
                self._new_licence = make(gr.Textbox, "yours", label="Licence of the pictures", max_lines=1, elem_id="facechain_style_new_licence")
            found = self._act.checkpoints()
            self._form = rows(found[0].train if found else TrainConfig(), "facechain_style_train", (("steps", "rank"), ("learning_rate", "batch")))
            with gr.Row(elem_classes=["fc-buttons"]):
                self._start = make(gr.Button, "Train style", variant="primary", elem_id="facechain_style_start")
                self._resume = make(gr.Button, "Resume", visible=False, elem_id="facechain_style_resume")
                self._stop = make(gr.Button, "Stop and keep", interactive=False, elem_id="facechain_style_stop")
                self._cancel = make(gr.Button, "Cancel", variant="stop", interactive=False, elem_id="facechain_style_cancel")

    def _wire(self) -> Loads:
        act = self._act
        form = [self._name, self._words, self._negative, self._lora, self._weight, self._category, self._licence]
        running = [self._live, self._chart, self._previews, self._style, self._cards, self._start, self._stop, self._cancel, self._resume]

        def train(given: Any, name: str, trigger: str, checkpoint: str, licence: str, *values: Any) -> Iterator[list[Any]]:
            yield from act.train(given, name, trigger, checkpoint, licence, self._form.values(values))

        def resume(name: str, checkpoint: str, *values: Any) -> Iterator[list[Any]]:
            yield from act.resume(name or "", checkpoint, self._form.values(values))

        bind(self._style.change, act.chosen, [self._style], [*form, self._delete, self._export, self._confirmation], queue=False)
        bind(self._save.click, act.save, [self._style, *form], [self._style, self._cards, self._said], queue=False)
        bind(self._delete.click, act.ask, [self._style], [self._said, self._confirmation], queue=False)
        bind(self._keep.click, lambda: ["", update(visible=False)], [], [self._said, self._confirmation], queue=False)
        bind(self._confirm.click, act.delete, [self._style], [self._style, self._cards, self._said, self._confirmation], queue=False)
        bind(self._export.click, act.export, [self._style, self._with_lora], [self._said])
        bind(self._take.click, act.import_, [self._files, self._brackets], [self._files, self._style, self._cards, self._said])
        inputs = [self._pictures, self._new_name, self._trigger, self._base, self._new_licence, *self._form.components]
        bind(self._start.click, train, inputs, running)
        bind(self._resume.click, resume, [self._new_name, self._base, *self._form.components], running)
        bind(self._stop.click, act.stop, [], running[-4:], queue=False)
        bind(self._cancel.click, act.cancel, [], running[-4:], queue=False)
        bind(self._preview.click, act.preview, [self._style, self._person], [self._live, self._gallery])
        return [(lambda: self._shown(None, None, None), [self._person, self._lora, self._base]), (act.attach, running)]

    def on_show(self, tab: Any) -> None:
        """Refresh people, LoRAs and checkpoints whenever ``tab`` comes to the front."""
        bind(tab.select, self._shown, [self._person, self._lora, self._base], [self._person, self._lora, self._base], queue=False)

    def _shown(self, person: str | None, lora: str | None, base: str | None) -> list[Any]:
        people, loras, bases = self._act.people(), self._act.loras(), [c.name for c in self._act.checkpoints()]

        def offered(choices: list[str], value: str | None) -> Any:
            return update(choices=choices, value=value if value in choices else next(iter(choices), None))

        return [offered(people, person), offered(loras, lora), offered(bases, base)]
