"""What the buttons of the portrait page do. Handlers return values for outputs; the layout is in ``portrait_tab``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from facechain_ext.config import PortraitConfig
from facechain_ext.errors import FaceChainError
from facechain_ext.services.jobs import Job
from facechain_ext.services.requests import CheckpointChoice, PortraitRequest, RankedPortraits
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import Style
from facechain_ext.ui import panels, restoring
from facechain_ext.ui.blend_panel import BlendPanel
from facechain_ext.ui.compat import update, uploaded
from facechain_ext.ui.fields import read_form
from facechain_ext.ui.following import Part, follow
from facechain_ext.ui.prompt_editor import PromptEditor, Written
from facechain_ext.ui.style_cards import picked, style_cards
from facechain_ext.ui.widgets import Form
from facechain_ext.ui.words import empty_state, problem_box

NO_PORTRAITS = empty_state(
    "No portraits yet", "Choose a person whose face LoRA is trained and a style, then press Generate. The most alike come first."
)
NOBODY = empty_state("Nobody is trained yet", "Train a face LoRA on the Train page first; the person then appears here.")
NO_STYLE = '<p class="fc-hint">No style of that name.</p>'
PLAIN, PLAIN_ID = "Plain portrait", "plain"


@dataclass(frozen=True, slots=True)
class Asked:
    """What stands in the page's boxes."""

    person: str | None
    checkpoint: str | None
    style: str | None
    """Its label."""
    written: Written
    values: dict[str, Any]
    """Of the form."""
    beside: tuple[str, ...] = ()
    loras: tuple[str, ...] = ()
    """Names of face LoRAs a dropped picture was made with."""
    seeds: str = ""
    """Of a dropped picture of several people, as its infotext says them."""


class PortraitActions:
    """Event handlers of the portrait page."""

    def __init__(self, studio: Studio, send_to: Mapping[str, str] | None = None) -> None:
        self._studio = studio
        self.editor = PromptEditor(studio)
        self._send_to = send_to or {}

    def styles(self) -> list[Style]:
        """The catalogue in the order of the page: grouped by category."""
        try:
            found = self._studio.styles()
        except FaceChainError:
            return []
        return sorted(found, key=lambda s: (s.id != PLAIN_ID, s.category.casefold(), s.name.casefold()))

    def style_labels(self) -> list[str]:
        """``Category · Name`` of each style."""
        return [_label(s) for s in self.styles()] or [PLAIN]

    def style(self, label: str | None) -> Style | None:
        """The style behind a label, its name or its id, with the words that count on the default checkpoint."""
        known = self.choices()
        found = next((s for s in self.styles() if label in (_label(s), s.name, s.id)), None)
        return found.on(known[0].name) if found is not None and known else found

    def cards(self, person: str | None, label: str | None, wanted: str = "") -> str:
        """The styles that match ``wanted``, to click, with the portraits of ``person``, else of the first one stored."""
        known = self.people()
        who = person if person in known else (known[0] if known else None)
        try:
            pictures = self._studio.style_pictures(who) if who else {}
        except FaceChainError:
            pictures = {}
        chosen = self.style(label)
        found = [s for s in self.styles() if s.matches(wanted or "")]
        return style_cards(found, pictures, chosen.id if chosen else PLAIN_ID) or NO_STYLE

    def picked(self, value: str) -> Any:
        """The style whose card was clicked."""
        chosen = self.style(picked(value))
        return update(value=_label(chosen)) if chosen else update()

    def people(self) -> list[str]:
        """Those who have a face LoRA."""
        try:
            return [p.name for p in self._studio.people() if p.loras]
        except FaceChainError:
            return []

    def choices(self) -> Sequence[CheckpointChoice]:
        """Checkpoints to generate with, none when they cannot be listed."""
        try:
            return self._studio.checkpoints()
        except FaceChainError:
            return []

    def config(self, checkpoint: str | None) -> PortraitConfig:
        """The settings that suit a checkpoint."""
        known = self.choices()
        choice = next((c for c in known if c.name == checkpoint), known[0] if known else None)
        return choice.portrait if choice else PortraitConfig()

    def refresh(self, person: str | None) -> Any:
        """The people to choose from, the one chosen kept when still there."""
        names = self.people()
        return update(choices=names, value=person if person in names else (names[0] if names else None))

    def refresh_styles(self, label: str | None) -> Any:
        """The styles to choose from, the one chosen kept when still there: the Styles page makes new ones."""
        labels = self.style_labels()
        return update(choices=labels, value=label if label in labels else labels[0])

    def refresh_beside(self, beside: Sequence[str] | None) -> Any:
        """Who else can be in the picture, those chosen kept when still there."""
        names = self.people()
        return update(choices=names, value=[name for name in beside or () if name in names])

    def shown(self, person: str | None) -> list[Any]:
        """Whenever the page comes to the front: people, and the gallery of whoever is still stored."""
        job = panels.latest(self._studio.jobs.jobs(), "portraits")
        gallery = update() if job else update(value=NO_PORTRAITS if self.people() else NOBODY)
        return [self.refresh(person), gallery, update() if job else update(value="")]

    def request(self, asked: Asked) -> PortraitRequest:
        """What the page asks for.

        Raises:
            ConfigError: in the words of the page.
        """
        config = read_form(self.config(asked.checkpoint), asked.values)
        made = self.editor.request(asked.person, self.style(asked.style), asked.written)
        seeds = restoring.told_seeds(asked.seeds, config, 1 + len(asked.beside))
        return replace(made, checkpoint=asked.checkpoint, config=config, beside=asked.beside, loras=asked.loras, seeds=seeds)

    def generate(self, asked: Asked) -> Iterator[list[Any]]:
        """Make portraits; yields live panel, gallery, buttons."""
        try:
            if not asked.person:
                raise FaceChainError("Choose a person first. People appear here once their face LoRA is trained.")
            job = self._studio.submit_portraits(self.request(asked))
        except FaceChainError as error:
            yield [problem_box(str(error), "No portraits were made"), update(), *self.buttons()]
            return
        yield from follow(job, self._parts)

    def first_blend(self, blend: BlendPanel) -> str:
        """On page load: how the first person's LoRA will act."""
        known, names = self.choices(), self.people()
        checkpoint = known[0].name if known else None
        return blend.html(lambda: PortraitRequest(names[0] if names else "", checkpoint, config=self.config(checkpoint)))

    def restored(self, value: Any, form: Form) -> list[Any]:
        """Everything as a dropped picture was made: values for the drop zone, what is said, the style, the boxes and ``form``."""
        if not uploaded(value):
            return [update()] * (3 + restoring.BOXES + len(form.names))
        try:
            found = restoring.read_picture(self._studio, value)
            request = found.recipe.request
            style = self.style(request.style or PLAIN_ID)
            if style is None:
                raise FaceChainError(f"The picture's style '{request.style}' is not here. Import it on the Styles page first.")
            composed = self.editor.told(request.person, style, Written(request.prompt, request.negative)).composed
        except FaceChainError as error:
            return [update(value=None), restoring.problem(error)] + [update()] * (1 + restoring.BOXES + len(form.names))
        names = [c.name for c in self.choices()]
        boxes = restoring.boxes(found, (composed.positive, composed.negative), names)
        return [update(value=None), found.said, update(value=_label(style)), *boxes, *form.updates(request.config)]

    def _parts(self, job: Job) -> list[Part]:
        second = int(time.time()) if job.active else 0
        return [
            Part((job.version, second), lambda: self._live(job)),
            Part(job.result is not None, lambda: self._gallery(job)),
            *[Part((job.state, job.token.cancelled, i), lambda i=i: self.buttons()[i]) for i in range(2)],
        ]

    def _live(self, job: Job) -> str:
        if job.active:
            return panels.progress_panel(job, self._studio.jobs.current())
        return panels.ended_panel(job, "No portraits were made")

    def _gallery(self, job: Job) -> Any:
        return panels.portrait_gallery(job.result, self._send_to) if isinstance(job.result, RankedPortraits) else update()

    def cancel(self) -> list[Any]:
        """Give up the portraits, or the measuring, under way; returns the buttons."""
        job = self._studio.jobs.current("portraits") or self._studio.jobs.current("balance")
        if job:
            self._studio.jobs.cancel(job.id)
        return self.buttons()

    def buttons(self) -> list[Any]:
        """States of generate and cancel."""
        job = self._studio.jobs.current("portraits")
        under_way = job or self._studio.jobs.current("balance")
        return [update(interactive=job is None), update(interactive=under_way is not None and not under_way.token.cancelled)]

    def attach(self) -> Iterator[list[Any]]:
        """On page load: show the latest portraits again and follow them when under way; outputs as ``generate``."""
        job = panels.latest(self._studio.jobs.jobs(), "portraits")
        if job is None:
            yield ["", NO_PORTRAITS if self.people() else NOBODY, *self.buttons()]
            return
        yield from follow(job, self._parts)


def _label(style: Style) -> str:
    return f"{style.category.capitalize()} · {style.name}"
