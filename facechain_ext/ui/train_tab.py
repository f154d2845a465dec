"""The train page: photos in, verdicts, training with live curve and previews."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from facechain_ext.config import FRAMINGS, PrepareConfig
from facechain_ext.services.studio import Studio
from facechain_ext.ui.compat import bind, major, make, update
from facechain_ext.ui.decisions import DecisionPanel
from facechain_ext.ui.loading import Loads
from facechain_ext.ui.presets import Preset
from facechain_ext.ui.train_actions import ANEW, NO_TRAINING, NO_VERDICTS, TrainActions
from facechain_ext.ui.widgets import Form, rows
from facechain_ext.ui.words import heading

PHOTO_TYPES = ["image", ".heic", ".heif", ".avif", ".zip"]
PRIVACY = (
    '<p class="fc-hint">Photos stay on this machine. The uploads are deleted as soon as they are checked; '
    "only the prepared face crops are kept, until you delete the person; the photos themselves only if you say so.</p>"
)
ADVANCED = (
    ("steps", "seed"),
    ("rank", "alpha"),
    ("kind", "targets"),
    ("learning_rate", "ema"),
    ("text_encoder_rate", "text_rank"),
    ("optimizer", "schedule"),
    ("batch", "accumulation"),
    ("face_weight", "mask"),
    ("resolution", "warmup"),
    ("caption_dropout", "shuffle_captions"),
    ("weight_decay", "gradient_clip"),
    ("min_snr_gamma", "debiased"),
    ("noise_offset",),
    ("prior_weight",),
    ("class_images", "save_every"),
    ("preview_every", "previews"),
    ("keep", "patience"),
    ("memory", "gradient_checkpointing"),
    ("flip",),
)


CUTTING = (("resolution", "max_photos"), ("crop_scale",), ("vary_framing", "buckets"), ("background", "captions"), ("retouch", "keep_photos"))
COSTLY = {
    *("steps", "batch", "accumulation", "processes", "keep", "rank", "kind", "targets", "resolution", "gradient_checkpointing", "precision"),
    *("preview_every", "previews", "prior_weight", "class_images", "memory"),
}
"""Settings that decide time and memory."""


def _of_the_machine(gpus: int | None) -> list[tuple[str, ...]]:
    """Settings that matter with so many GPUs; inside a WebUI (None) none of them is ours."""
    if gpus is None:
        return []
    return [("precision", "offload") if gpus else ("precision",), *([("processes",)] if gpus > 1 else [])]


def _framing(scale: float) -> str | None:
    """The preset that ``scale`` is, to the slider's step."""
    return next((name for name, value in FRAMINGS.items() if abs(value - scale) < 0.02), None)


class TrainTab:
    """Lays out the page into the Blocks around it and wires its events."""

    def __init__(self, studio: Studio, preset: Callable[[], str]) -> None:
        self._studio = studio
        self._first = preset
        self._decide = DecisionPanel(studio)
        self._act = TrainActions(studio, self._decide.updates)

    def build(self) -> Loads:
        """Build the page; the handlers returned must run when the page loads."""
        with gr.Row(elem_id="facechain_train", elem_classes=["fc-columns"]):
            with gr.Column(scale=5, min_width=340, elem_classes=["fc-left"]):
                self._photos()
                self._training()
            with gr.Column(scale=7, min_width=400, elem_classes=["fc-right"]):
                self._verdicts = make(gr.HTML, NO_VERDICTS, elem_id="facechain_verdicts")
                self._decide.build()
                self._live = make(gr.HTML, NO_TRAINING, elem_id="facechain_live")
                self._chart = make(gr.HTML, "", elem_id="facechain_chart")
                self._previews = make(gr.HTML, "", elem_id="facechain_previews")
        return self._wire()

    def _photos(self) -> None:
        choice = self._act.choice(None)
        base = choice.prepare if choice else PrepareConfig()
        with gr.Group(elem_classes=["fc-section"]):
            gr.HTML(heading("1", "Photos of one person", "5 to 20 sharp photos: different days, light and angles, no sunglasses."))
            self._person = make(
                gr.Dropdown,
                choices=self._studio.workspace.people(),
                value=None,
                allow_custom_value=True,
                label="Person",
                info="Type a new name, or choose someone stored here.",
                elem_id="facechain_person",
            )
            self._note = make(gr.HTML, "", elem_id="facechain_person_note")
            self._files = make(
                gr.File, file_count="multiple", file_types=PHOTO_TYPES, label="Photos", elem_id="facechain_photos", height=150
            )
            words = rows(base, "facechain_prepare", [("trigger", "subject")])
            with gr.Accordion("How photos are cut", open=False, elem_classes=["fc-accordion"]):
                self._framing = make(
                    gr.Radio, choices=list(FRAMINGS), value=_framing(base.crop_scale), label="Framing", elem_id="facechain_framing"
                )
                self._cut = rows(base, "facechain_prepare", CUTTING)
            self._prepare: Form = words + self._cut
            self._check = gr.Button("Check photos", variant="primary", elem_id="facechain_check")
            gr.HTML(PRIVACY)

    def _training(self) -> None:
        names = [c.name for c in self._act.choices()]
        first = self._first()
        config = self._act.preset(None, first)
        with gr.Group(elem_classes=["fc-section"]):
            gr.HTML(heading("2", "Training", "Teaches the checkpoint this face; the checkpoint itself stays as it is."))
            self._checkpoint = make(
                gr.Dropdown, choices=names, value=names[0] if names else None, label="Checkpoint", elem_id="facechain_checkpoint"
            )
            self._preset = make(
                gr.Radio, choices=[p.value for p in Preset], value=first, label="Preset", elem_id="facechain_preset"
            )
            self._line = gr.HTML(self._act.preset_line(None, first))
            self._estimate = make(gr.HTML, "", elem_id="facechain_estimate")
            self._grow = make(
                gr.Dropdown,
                choices=[ANEW],
                value=ANEW,
                label="Start from",
                info="A finished LoRA of this person learns on, with more photos or steps, at its own rank. The result is another one.",
                elem_id="facechain_grow",
            )
            with gr.Accordion("Advanced", open=False, elem_id="facechain_advanced", elem_classes=["fc-accordion"]):
                self._train_form = rows(config, "facechain_train", [*ADVANCED, *_of_the_machine(self._studio.gpus)])
            with gr.Row(elem_classes=["fc-buttons"]):
                self._train = make(gr.Button, "Train", variant="primary", interactive=False, elem_id="facechain_start")
                self._resume = make(gr.Button, "Resume", visible=False, elem_id="facechain_resume")
                self._pause = make(gr.Button, "Pause", interactive=False, elem_id="facechain_pause")
                self._stop = make(gr.Button, "Stop and keep", interactive=False, elem_id="facechain_stop")
                self._cancel = make(gr.Button, "Cancel", variant="stop", interactive=False, elem_id="facechain_cancel")

    def _wire(self) -> Loads:
        act, form_inputs = self._act, list(self._train_form.components)
        buttons = [self._check, self._train, self._resume, self._pause, self._stop, self._cancel]
        decide = [self._decide.accordion, self._decide.photo]
        check_outputs = [self._verdicts, self._files, self._person, self._note, *decide, *buttons]
        train_outputs = [self._live, self._chart, self._previews, self._note, self._grow, *buttons]
        train_inputs = [self._person, self._checkpoint, *form_inputs]

        def check(person: str, files: Any, checkpoint: str, *given: Any) -> Iterator[list[Any]]:
            choice = act.choice(checkpoint)
            yield from act.check(person, files, choice.prepare if choice else PrepareConfig(), self._prepare.values(given))

        self._decide.wire(self._verdicts, lambda person: [act.note(person), *act.buttons(person)], [self._note, *buttons])

        def train(person: str, checkpoint: str, grown: str, *given: Any) -> Iterator[list[Any]]:
            yield from act.start(person, checkpoint, self._train_form.values(given), grown)

        def resume(person: str, checkpoint: str, *given: Any) -> Iterator[list[Any]]:
            yield from act.resume(person, checkpoint, self._train_form.values(given))

        def fill(checkpoint: str, preset: str) -> list[Any]:
            return [act.preset_line(checkpoint, preset), *self._train_form.updates(act.preset(checkpoint, preset))]

        check_inputs = [self._person, self._files, self._checkpoint, *self._prepare.components]
        # gradio 3 would copy each upload once more on its way to the handler, to a place nobody is told of (components/file.py).
        bind(self._check.click, check, check_inputs, check_outputs, preprocess=major() != 3)
        bind(self._train.click, train, [self._person, self._checkpoint, self._grow, *form_inputs], train_outputs)
        bind(self._resume.click, resume, train_inputs, train_outputs)
        bind(self._pause.click, act.pause, [], buttons, queue=False)
        bind(self._stop.click, act.stop, [], buttons, queue=False)
        bind(self._cancel.click, act.cancel, [], buttons, queue=False)
        bind(self._person.change, act.chosen, [self._person], [self._note, self._grow, *buttons], queue=False)
        room = self._cut.components[self._cut.names.index("crop_scale")]
        bind(self._framing.change, lambda name: update(value=FRAMINGS[name]) if name in FRAMINGS else update(), [self._framing], [room], queue=False)
        bind(room.change, lambda scale: update(value=_framing(scale)), [room], [self._framing], queue=False)
        for source in (self._checkpoint, self._preset):
            bind(source.change, fill, [self._checkpoint, self._preset], [self._line, *form_inputs], queue=False)
        bind(
            self._checkpoint.change,
            lambda name: self._cut.updates(choice.prepare) if (choice := act.choice(name)) else [update()] * len(self._cut.names),
            [self._checkpoint],
            list(self._cut.components),
            queue=False,
        )
        loads: Loads = [(act.checkpoint_update, [self._checkpoint]), (self._first_preset, [self._preset]), (act.attach_check, check_outputs), (act.attach_train, train_outputs)]
        return [*loads, (self._wire_estimate(), [self._estimate])]

    def _first_preset(self) -> Any:
        return update(value=self._first())

    def _wire_estimate(self) -> Callable[[], str]:
        """Keep the estimate true to the form; returned is what shows it when the page loads."""
        form = self._train_form

        def shown(checkpoint: str, *given: Any) -> str:
            return self._act.estimate(checkpoint, form.values(given))

        for name, component in zip(form.names, form.components, strict=True):
            if name in COSTLY:
                bind(component.change, shown, [self._checkpoint, *form.components], [self._estimate], queue=False)
        bind(self._checkpoint.change, shown, [self._checkpoint, *form.components], [self._estimate], queue=False)
        return lambda: self._act.estimate(None, {})
