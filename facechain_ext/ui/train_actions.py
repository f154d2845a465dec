"""What the buttons of the train page do. Handlers return values for outputs; the layout is in ``train_tab``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from facechain_ext.config import PrepareConfig, TrainConfig
from facechain_ext.errors import FaceChainError
from facechain_ext.progress import Stage
from facechain_ext.services.jobs import Job, JobState
from facechain_ext.services.requests import CheckpointChoice, Person, PrepareRequest, TrainRequest, TrainResult
from facechain_ext.services.studio import Studio
from facechain_ext.ui import panels
from facechain_ext.ui.compat import update, uploaded
from facechain_ext.ui.estimates import estimate_line
from facechain_ext.ui.fields import read_form
from facechain_ext.ui.following import Part, follow
from facechain_ext.ui.pictures import inline
from facechain_ext.ui.presets import Preset, apply, said
from facechain_ext.ui.uploads import only_uploads
from facechain_ext.ui.verdicts import Checked, checked_html, submit_check
from facechain_ext.ui.words import counted, empty_state, problem_box

NO_VERDICTS = empty_state(
    "No photos checked yet",
    "Add 5 to 20 photos that show one person's face from different sides, in different light, then press Check photos.",
)
NO_TRAINING = empty_state(
    "Nothing trained yet", "Once photos are checked, press Train. Loss, previews and likeness appear here while it runs."
)


BUTTONS, DECIDE = 6, 2
ANEW = "nothing, train anew"
"""The choice of what a training starts from that is no LoRA."""


class TrainActions:
    """Event handlers of the train page."""

    def __init__(self, studio: Studio, decidable: Callable[[], list[Any]]) -> None:
        self._studio = studio
        self._decidable = decidable
        """Updates of the part in which decisions about photos are changed: accordion and list."""

    def choices(self) -> Sequence[CheckpointChoice]:
        """Checkpoints to train on, none when they cannot be listed."""
        try:
            return self._studio.checkpoints()
        except FaceChainError:
            return []

    def choice(self, name: str | None) -> CheckpointChoice | None:
        """The checkpoint ``name``, else the default."""
        known = self.choices()
        return next((c for c in known if c.name == name), known[0] if known else None)

    def checkpoint_update(self) -> Any:
        """The list of checkpoints anew: a WebUI loads its own only after the page was built."""
        return panels.checkpoint_update(self.choices())

    def preset(self, checkpoint: str | None, preset: str) -> TrainConfig:
        """The settings of a preset on a checkpoint."""
        choice = self.choice(checkpoint)
        return apply(Preset(preset), choice.train if choice else TrainConfig())

    def preset_line(self, checkpoint: str | None, preset: str) -> str:
        """What the preset means."""
        choice = self.choice(checkpoint)
        note = f"<br>{escape(choice.note)}" if choice and choice.note else ""
        return f'<p class="fc-hint">{escape(said(self.preset(checkpoint, preset)))}{note}</p>'

    def estimate(self, checkpoint: str | None, values: dict[str, Any]) -> str:
        """Memory and time the training will take, and what to change when memory is short."""
        choice = self.choice(checkpoint)
        if choice is None:
            return ""
        try:
            config = read_form(choice.train, values)
            plan = self._studio.fitted(choice.name, config)
            said = self._studio.estimate(choice.name, config)
            instead = None if said.fits or plan.reason else self._studio.leaner(choice.name, config)
        except FaceChainError:
            # A setting out of range, or a checkpoint that cannot be trained: the button says which, at the press.
            return ""
        return estimate_line(said, instead.reason if instead else "", plan.reason)

    def check(self, person: str | None, files: Any, base: PrepareConfig, values: dict[str, Any]) -> Iterator[list[Any]]:
        """Prepare photos; yields verdicts, upload, person, note, decisions (2), buttons."""
        sources = tuple(only_uploads(uploaded(files)))
        try:
            stored = self.find(person)
            if not sources and not (stored and stored.originals):
                raise FaceChainError("Add some photos first: drop them on the box, or click it to choose files.")
            request = PrepareRequest(str(person or ""), sources, read_form(base, values))
            self._studio.workspace.person(request.person)
            job = submit_check(self._studio, request)
        except FaceChainError as error:
            yield [problem_box(str(error)), update(), update(), update(), *[update()] * DECIDE, *self.buttons(person)]
            return
        yield from follow(job, lambda j: self._check_parts(j))

    def _check_parts(self, job: Job) -> list[Part]:
        second = int(time.time()) if job.active else 0
        ended = not job.active
        return [
            Part((job.version, second), lambda: self._verdicts(job)),
            Part(ended, lambda: update(value=None) if ended else update()),
            Part(ended, lambda: update(choices=self._studio.workspace.people(), value=job.person)),
            Part(ended, lambda: self.note(job.person)),
            *[Part((ended, i), lambda i=i: self._decidable()[i]) for i in range(DECIDE)],
            *[Part((ended, i), lambda i=i: self.buttons(job.person)[i]) for i in range(BUTTONS)],
        ]

    def _verdicts(self, job: Job) -> str:
        if isinstance(job.result, Checked):
            return checked_html(job.result)
        if job.active:
            return panels.progress_panel(job, self._studio.jobs.current())
        return panels.ended_panel(job, "The photos could not be checked")

    def start(self, person: str | None, checkpoint: str | None, values: dict[str, Any], grown: str | None = None) -> Iterator[list[Any]]:
        """Train; yields live panel, chart, previews, note, buttons."""
        try:
            choice = self.choice(checkpoint)
            config = read_form(choice.train if choice else TrainConfig(), values)
            lora = grown if grown and grown != ANEW else None
            if lora:
                config = self._studio.continued(str(person or ""), lora, config)
            request = TrainRequest(str(person or ""), choice.name if choice else checkpoint, config, continue_from=lora)
            job = self._studio.submit_train(request)
        except FaceChainError as error:
            yield self._refused(str(error), person)
            return
        yield from follow(job, self._train_parts)

    def resume(self, person: str | None, checkpoint: str | None, values: dict[str, Any]) -> Iterator[list[Any]]:
        """Go on with an unfinished training; yields as ``start``."""
        try:
            choice = self.choice(checkpoint)
            # With the settings it began with, whatever the form shows now, also after the program was started anew.
            config = self._studio.resumed(str(person or ""), read_form(choice.train if choice else TrainConfig(), values))
            job = self._studio.submit_train(TrainRequest(str(person or ""), choice.name if choice else checkpoint, config, resume=True))
        except FaceChainError as error:
            yield self._refused(str(error), person)
            return
        yield from follow(job, self._train_parts)

    def _refused(self, sentence: str, person: str | None) -> list[Any]:
        return [problem_box(sentence, "Training did not start"), update(), update(), update(), update(), *self.buttons(person)]

    def beginnings(self, person: str | None) -> Any:
        """The list of what a training of the person in the form can start from: nothing, or one of the LoRAs."""
        found = self.find(person)
        return update(choices=[ANEW, *(lora.name for lora in reversed(found.loras))] if found else [ANEW], value=ANEW)

    def _train_parts(self, job: Job) -> list[Part]:
        second = int(time.time()) if job.active else 0
        flags = (job.state, _learning(job), job.token.cancelled)
        return [
            Part((job.version, second), lambda: self._live(job)),
            Part((len(job.curve), job.result is not None), lambda: panels.train_chart(job)),
            Part(len(job.pictures), lambda: panels.previews(job)),
            Part(job.active, lambda: update() if job.active else self.note(job.person)),
            Part(job.active, lambda: update() if job.active else self.beginnings(job.person)),
            *[Part((*flags, i), lambda i=i: self.buttons(job.person)[i]) for i in range(BUTTONS)],
        ]

    def _live(self, job: Job) -> str:
        if job.active:
            return panels.progress_panel(job, self._studio.jobs.current())
        if isinstance(job.result, TrainResult):
            return panels.train_summary(job.result)
        return panels.ended_panel(job, "Training failed")

    def stop(self) -> list[Any]:
        """Let the training end early and keep it; returns the buttons."""
        job = self._studio.jobs.current("train")
        if job:
            self._studio.jobs.stop(job.id)
        return self.buttons(job.person if job else None)

    def pause(self) -> list[Any]:
        """Save where the training stands and end it for now; returns the buttons."""
        job = self._studio.jobs.current("train")
        if job:
            self._studio.jobs.pause(job.id)
        return self.buttons(job.person if job else None)

    def cancel(self) -> list[Any]:
        """Give up the training or the check; returns the buttons."""
        job = self._studio.jobs.current("train") or self._studio.jobs.current("prepare")
        if job:
            self._studio.jobs.cancel(job.id)
        return self.buttons(job.person if job else None)

    def buttons(self, person: str | None) -> list[Any]:
        """States of check, train, resume, pause, stop and cancel for the person in the form."""
        training, checking = self._studio.jobs.current("train"), self._studio.jobs.current("prepare")
        found = self.find(person)
        ready = found is not None and found.photos > 0
        going = training is not None and _learning(training)
        return [
            update(interactive=checking is None),
            update(interactive=training is None and ready and checking is None),
            update(visible=training is None and found is not None and found.resumable, interactive=checking is None),
            update(interactive=going),
            update(interactive=going),
            update(interactive=any(j is not None and not j.token.cancelled for j in (training, checking))),
        ]

    def find(self, person: str | None) -> Person | None:
        """The person of that name, if stored."""
        try:
            return self._studio.person(person) if person else None
        except FaceChainError:
            return None

    def note(self, person: str | None) -> str:
        """What is stored about the person in the form."""
        found = self.find(person)
        if found is None:
            return (
                '<p class="fc-hint">A new person. Their prepared photos, LoRAs and portraits will be kept under this name.</p>'
                if person
                else ""
            )
        face = inline(Path(found.thumbnail), 96) if found.thumbnail else None
        picture = f'<img src="{face}" alt="">' if face else ""
        said_photos = f"{counted(found.photos, 'photo')} prepared" if found.photos else "no photos yet"
        loras = f", {counted(len(found.loras), 'LoRA')} trained" if found.loras else ""
        kept = f" The {counted(found.originals, 'photo')} kept can be checked again without an upload." if found.originals else ""
        unfinished = " An unfinished training can go on." if found.resumable else ""
        return f'<div class="fc-person">{picture}<p><b>{escape(found.name)}</b>: {said_photos}{loras}.{kept}{unfinished}</p></div>'

    def chosen(self, person: str | None) -> list[Any]:
        """Note, what to start from and buttons after another person was chosen."""
        return [self.note(person), self.beginnings(person), *self.buttons(person)]

    def attach_check(self) -> Iterator[list[Any]]:
        """On page load: show the latest check again and follow it when it runs; outputs as ``check``."""
        job = panels.latest(self._studio.jobs.jobs(), "prepare")
        if job is None:
            yield [NO_VERDICTS, update(), update(choices=self._studio.workspace.people()), update(), *self._decidable(), *self.buttons(None)]
            return
        yield from follow(job, self._check_parts)

    def attach_train(self) -> Iterator[list[Any]]:
        """On page load: show the latest training again and follow it when it runs; outputs as ``start``."""
        job = panels.latest(self._studio.jobs.jobs(), "train")
        if job is None:
            yield [NO_TRAINING, "", "", *[update()] * (2 + BUTTONS)]
            return
        yield from follow(job, self._train_parts)


def _learning(training: Job) -> bool:
    """Whether it can be paused or stopped: before its turn in the WebUI's queue there is nothing to keep."""
    asked = training.token.stopping or training.token.pausing
    return training.state is JobState.RUNNING and training.progress.stage is not Stage.WAITING and not asked
