"""How face and style LoRA will act: charts and a sentence below the slider, and a button that measures what goes best."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from html import escape
from typing import TYPE_CHECKING, Any

import gradio as gr

from facechain_ext.errors import FaceChainError, UserInputError
from facechain_ext.services.jobs import Job
from facechain_ext.services.requests import BalanceRequest, PortraitRequest
from facechain_ext.services.studio import Studio
from facechain_ext.ui import panels
from facechain_ext.ui.blend_charts import blend_chart, legend
from facechain_ext.ui.compat import make, update
from facechain_ext.ui.following import Part, follow
from facechain_ext.ui.words import problem_box

if TYPE_CHECKING:
    from facechain_ext.services.blends import ToldBlend

SECONDS = 120
NOBODY = '<p class="fc-hint">Choose a person whose face LoRA is trained, and this shows how it will act.</p>'
NOT_MEASURED = "Nothing was measured"
Wanted = Callable[[], PortraitRequest]


class BlendPanel:
    """Handlers return values for outputs; ``wanted`` reads the form and raises what is wrong in it."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def build(self) -> None:
        """Lay it out."""
        self.shown = make(gr.HTML, NOBODY, elem_id="facechain_blend")
        with gr.Row(elem_classes=["fc-pair", "fc-with-button"]):
            self.seconds = make(
                gr.Number,
                value=SECONDS,
                precision=0,
                label="Seconds for measuring",
                info="Tries blends of these two on a few pictures, and remembers what it found.",
                scale=5,
                elem_id="facechain_measure_seconds",
            )
            self.measure = make(gr.Button, "Measure", size="sm", scale=1, min_width=92, elem_id="facechain_measure")

    def html(self, wanted: Wanted) -> str:
        """What will act for the request, as it stands."""
        try:
            request = wanted()
            return told_html(self._studio.blend(request)) if request.person else NOBODY
        except FaceChainError as error:
            return f'<p class="fc-warn">{escape(str(error))}</p>'

    def measured(self, wanted: Wanted, seconds: float | None) -> Iterator[list[Any]]:
        """Measure the two; yields live panel, charts, and the buttons for measuring and cancelling."""
        try:
            request = wanted()
            if not request.person or request.style is None or not self._studio.blend(request).measurable:
                raise UserInputError("Measuring needs a person and a style that has a LoRA for this checkpoint; this style is made of words only.")
            if not seconds or seconds < 1:
                raise UserInputError("Give at least one second for measuring.")
            asked = BalanceRequest(request.person, request.style, request.checkpoint, request.config, float(seconds))
            job = self._studio.submit_balance(asked)
        except FaceChainError as error:
            yield [problem_box(str(error), NOT_MEASURED), update(), *self.buttons()]
            return
        yield from follow(job, lambda job: self._parts(job, wanted))

    def attach(self) -> Iterator[list[Any]]:
        """On page load: follow a measuring that is under way; outputs as ``measured``."""
        job = self._studio.jobs.current("balance")
        if job is None:
            yield [update(), update(), *self.buttons()]
            return
        yield from follow(job, lambda job: self._parts(job, None))

    def _parts(self, job: Job, wanted: Wanted | None) -> list[Part]:
        second = int(time.time()) if job.active else 0
        return [
            Part((job.version, second), lambda: self._live(job)),
            Part(job.active, lambda: update() if job.active or wanted is None else self.html(wanted)),
            *[Part((job.state, job.token.cancelled, i), lambda i=i: self.buttons()[i]) for i in range(2)],
        ]

    def _live(self, job: Job) -> str:
        return panels.progress_panel(job, self._studio.jobs.current()) if job.active else panels.ended_panel(job, NOT_MEASURED)

    def buttons(self) -> list[Any]:
        """States of measure and cancel."""
        job = self._studio.jobs.current("balance")
        other = self._studio.jobs.current("portraits")
        under_way = job or other
        return [update(interactive=job is None), update(interactive=under_way is not None and not under_way.token.cancelled)]


def told_html(told: ToldBlend) -> str:
    """Charts, the sentence about them, and what of the files cannot be used."""
    parts = [(one.name, one.part) for one in told.parts]
    problems = "".join(f'<p class="fc-warn">{escape(sentence)}</p>' for sentence in told.problems)
    said = "fc-said" if told.balance is not None else "fc-hint"
    return (
        f'<div class="fc-blend">{legend(parts)}{blend_chart(parts, told.blocks, told.steps)}'
        f'<p class="{said}">{escape(told.why)}</p>{problems}</div>'
    )
