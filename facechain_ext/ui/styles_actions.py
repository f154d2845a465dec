"""What the buttons of the styles page do. Handlers return values for outputs; the layout is in ``styles_tab``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from facechain_ext.config import TrainConfig
from facechain_ext.errors import FaceChainError, UserInputError
from facechain_ext.services.jobs import Job
from facechain_ext.services.requests import CheckpointChoice, PortraitRequest, RankedPortraits, StyleTrainRequest, StyleTrainResult
from facechain_ext.services.studio import Studio
from facechain_ext.services.styles import delete_style, export_style, make_style, own_style
from facechain_ext.styles.catalog import Style, find_style
from facechain_ext.ui import panels
from facechain_ext.ui.compat import file_url, update, uploaded
from facechain_ext.ui.fields import read_form
from facechain_ext.ui.following import Part, follow
from facechain_ext.ui.style_cards import drawn
from facechain_ext.ui.uploads import discard, only_uploads
from facechain_ext.ui.words import counted, duration, empty_state, facts, note_box, problem_box

NEW, NO_LORA = "A new style", "none"
NO_STYLES = empty_state("No styles of your own yet", "Save one of words or of a LoRA, import some, or train one from pictures. They appear here.")
PREVIEWS = 2


class StylesActions:
    """Event handlers of the styles page."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def own(self) -> list[Style]:
        """The user's styles."""
        try:
            return [s for s in self._studio.styles() if s.own]
        except FaceChainError:
            return []

    def choices(self) -> list[str]:
        """What the list of styles offers."""
        return [NEW, *(s.id for s in self.own())]

    def loras(self) -> list[str]:
        """Names of the LoRAs a style can use."""
        return [NO_LORA, *sorted(self._studio.loras())]

    def people(self) -> list[str]:
        """Those a style can be tried on."""
        try:
            return [p.name for p in self._studio.people() if p.loras]
        except FaceChainError:
            return []

    def checkpoints(self) -> list[CheckpointChoice]:
        """Those to train on, none when they cannot be listed."""
        try:
            return list(self._studio.checkpoints())
        except FaceChainError:
            return []

    def cards(self) -> str:
        """The user's styles with all that is known about them."""
        cards = "".join(_card(s) for s in self.own())
        return f'<div class="fc-people">{cards}</div>' if cards else NO_STYLES

    def chosen(self, style_id: str | None) -> list[Any]:
        """The form filled with a style, or empty: name, words, to avoid, LoRA, weight, category, licence, delete, export, confirmation."""
        style = next((s for s in self.own() if s.id == style_id), None)
        there = update(interactive=style is not None)
        if style is None:
            style = Style("", "", "own", "", licence="not stated", weight=0.7)
        # A LoRA that is gone stays named: saving must not drop it silently.
        loras = list(dict.fromkeys([*self.loras(), *([style.lora] if style.lora else [])]))
        words = [update(value=v) for v in (style.name, style.prompt, style.negative)]
        rest = [update(value=v) for v in (style.weight, style.category, style.licence)]
        return [*words, update(choices=loras, value=style.lora or NO_LORA), *rest, there, there, update(visible=False)]

    def save(self, chosen: str | None, *form: Any) -> list[Any]:
        """Save the form; returns list of styles, cards, news."""
        name, words, negative, lora, weight, category, licence = form
        values = {"name": name or "", "negative": negative or "", "weight": weight, "category": category or "own", "licence": licence or "not stated"}
        try:
            change = chosen not in (None, "", NEW)
            if change:
                style = own_style(self._studio.workspace, str(chosen))
                values |= {"id": style.id, "source": style.source, "note": style.note, "keywords": list(style.keywords), "lora_for": style.lora_for}
            named = None if lora in (None, "", NO_LORA) else str(lora)
            loras = self._studio.loras()
            if named is not None and named not in loras:
                raise UserInputError(f"There is no LoRA '{named}' in the LoRA folder.")
            saved = make_style(self._studio.workspace, values, words=words or "", lora=named, loras=loras, replace=change)
        except FaceChainError as error:
            return [update(), self.cards(), problem_box(str(error), "Not saved")]
        return [update(choices=self.choices(), value=saved.id), self.cards(), note_box(f"{saved.name}: {saved.prompt}", "Saved")]

    def ask(self, style_id: str | None) -> list[Any]:
        """The question before a deletion: news, confirmation."""
        try:
            style = own_style(self._studio.workspace, str(style_id or ""))
        except FaceChainError as error:
            return [problem_box(str(error)), update(visible=False)]
        what = "The style, its picture and the LoRA kept with it" if style.lora_file and self._kept(style.lora_file) else "The style and its picture"
        return [problem_box(f"{what} will be deleted. This cannot be undone.", f"Delete {style.name}?"), update(visible=True)]

    def _kept(self, lora: Path) -> bool:
        return self._studio.workspace.styles in lora.parents and lora.exists()

    def delete(self, style_id: str | None) -> list[Any]:
        """Delete; returns list of styles, cards, news, confirmation."""
        try:
            gone = delete_style(self._studio.workspace, str(style_id or ""))
        except FaceChainError as error:
            return [update(), self.cards(), problem_box(str(error), "Not deleted"), update(visible=False)]
        return [update(choices=self.choices(), value=NEW), self.cards(), note_box(f"{gone.name} is gone.", "Deleted"), update(visible=False)]

    def export(self, style_id: str | None, with_lora: bool) -> str:
        """Write the style as one file, and a link to it."""
        try:
            # From the studio, which finds LoRAs in the host's folder.
            style = find_style(self.own(), str(style_id or ""))
            folder = self._studio.workspace.styles / "exports"
            folder.mkdir(parents=True, exist_ok=True)
            file = export_style(style, folder, with_lora=bool(with_lora))
        except FaceChainError as error:
            return problem_box(str(error), "Not exported")
        link = f'<a href="{escape(file_url(file))}" download="{escape(file.name)}">Download {escape(file.name)}</a>'
        return f'<div class="fc-box fc-done" role="status"><strong>Exported</strong><p>{link}</p><p>Licence: {escape(style.licence)}</p></div>'

    def import_(self, given: Any, keep_weights: bool) -> list[Any]:
        """Take over the uploaded files; returns the upload, list of styles, cards, news."""
        files = only_uploads(uploaded(given))
        try:
            if not files:
                raise UserInputError("Add style files first: .facechain-style, FaceChain's .json or EasyPhoto's .safetensors.")
            said, refused = [], []
            for file in files:
                try:
                    done = self._studio.import_styles(file, keep_weights=bool(keep_weights))
                except FaceChainError as error:
                    refused.append(str(error))
                    continue
                refused += done.refused
                said += [f"<li><b>{escape(s.name)}</b> {escape(' '.join(done.notes.get(s.id, ())))}</li>" for s in done.styles]
        except FaceChainError as error:
            return [update(), update(), update(), problem_box(str(error), "Nothing was imported")]
        finally:
            discard(files)
        bad = problem_box(" ".join(refused), f"{counted(len(refused), 'file')} refused") if refused else ""
        good = f'<div class="fc-box fc-done" role="status"><h4>{counted(len(said), "style")} imported</h4><ul>{"".join(said)}</ul></div>' if said else ""
        return [update(value=None), update(choices=self.choices()), self.cards(), good + bad]

    def train(self, given: Any, name: str, trigger: str, checkpoint: str | None, licence: str, values: dict[str, Any]) -> Iterator[list[Any]]:
        """Train a style from the uploaded pictures; yields live panel, chart, previews, list of styles, cards, buttons."""
        files = only_uploads(uploaded(given))
        try:
            if not files:
                raise UserInputError("Add pictures in the style first, ten or more; text files of the same names are their captions.")
            choice = next((c for c in self.checkpoints() if c.name == checkpoint), None)
            if choice is None:
                raise UserInputError("Choose a checkpoint.")
            config = read_form(choice.train, values)
            pictures = _beside(files)
            request = StyleTrainRequest(name or "", tuple(pictures), trigger or "", choice.name, config, licence or "yours")

            def gone() -> None:
                discard([*(p.with_suffix(".txt") for p in pictures), *files])

            job = self._studio.submit_train_style(request, gone)
        except FaceChainError as error:
            yield [problem_box(str(error), "Training did not start"), update(), update(), update(), update(), *self.buttons()]
            return
        yield from follow(job, self._parts)

    def resume(self, name: str, checkpoint: str | None, values: dict[str, Any]) -> Iterator[list[Any]]:
        """Go on with the unfinished training called ``name``, or the only one there is; outputs as ``train``."""
        try:
            there = self._studio.unfinished_styles()
            named = name.strip() or (there[0].name if len(there) == 1 else "")
            if not named:
                raise UserInputError(f"Say which style by its name: {', '.join(u.name for u in there)}." if there else "No style's training is unfinished.")
            choice = next((c for c in self.checkpoints() if c.name == checkpoint), None)
            config = read_form(choice.train if choice else TrainConfig(), values)
            job = self._studio.submit_train_style(StyleTrainRequest(named, config=config, resume=True))
        except FaceChainError as error:
            yield [problem_box(str(error), "Training did not start"), update(), update(), update(), update(), *self.buttons()]
            return
        yield from follow(job, self._parts)

    def _parts(self, job: Job) -> list[Part]:
        second = int(time.time()) if job.active else 0
        ended = not job.active
        return [
            Part((job.version, second), lambda: self._live(job)),
            Part(len(job.curve), lambda: panels.train_chart(job)),
            Part(len(job.pictures), lambda: panels.previews(job)),
            Part(ended, lambda: update(choices=self.choices()) if ended else update()),
            Part(ended, lambda: self.cards() if ended else update()),
            *[Part((job.state, job.token.stopping, job.token.cancelled, i), lambda i=i: self.buttons()[i]) for i in range(4)],
        ]

    def _live(self, job: Job) -> str:
        if job.active:
            return panels.progress_panel(job, self._studio.jobs.current())
        return _summary(job.result) if isinstance(job.result, StyleTrainResult) else panels.ended_panel(job, "The style was not trained")

    def attach(self) -> Iterator[list[Any]]:
        """On page load: show the latest style training again; outputs as ``train``."""
        job = panels.latest(self._studio.jobs.jobs(), "style")
        if job is None:
            yield ["", "", "", update(choices=self.choices()), self.cards(), *self.buttons()]
            return
        yield from follow(job, self._parts)

    def buttons(self) -> list[Any]:
        """States of train, stop, cancel and resume."""
        job = self._studio.jobs.current("style")
        runs = job is not None and not job.token.cancelled
        return [update(interactive=job is None), update(interactive=job is not None and runs and not job.token.stopping), update(interactive=runs), update(visible=job is None and bool(self._studio.unfinished_styles()))]

    def stop(self) -> list[Any]:
        """Let the training end and keep what it learned; returns the buttons."""
        job = self._studio.jobs.current("style")
        if job:
            self._studio.jobs.stop(job.id)
        return self.buttons()

    def cancel(self) -> list[Any]:
        """Give the training up; returns the buttons."""
        job = self._studio.jobs.current("style")
        if job:
            self._studio.jobs.cancel(job.id)
        return self.buttons()

    def preview(self, style_id: str | None, person: str | None) -> Iterator[list[Any]]:
        """Two portraits of ``person`` in the style; yields live panel and gallery."""
        try:
            style = own_style(self._studio.workspace, str(style_id or ""))
            if not person:
                raise UserInputError("Choose a person to try it on. People appear here once their face LoRA is trained.")
            found = self.checkpoints()
            config = read_form(found[0].portrait, {"count": PREVIEWS}) if found else None
            if config is None:
                raise UserInputError("There is no checkpoint.")
            job = self._studio.submit_portraits(PortraitRequest(person, None, style.id, config=config))
        except FaceChainError as error:
            yield [problem_box(str(error), "No preview"), update()]
            return

        def parts(job: Job) -> list[Part]:
            second = int(time.time()) if job.active else 0
            live = panels.progress_panel if job.active else lambda j, _: panels.ended_panel(j, "No preview")
            done = job.result if isinstance(job.result, RankedPortraits) else None
            return [
                Part((job.version, second), lambda: live(job, self._studio.jobs.current())),
                Part(done is not None, lambda: panels.portrait_gallery(done, {}) if done else update()),
            ]

        yield from follow(job, parts)


def _beside(files: list[Path]) -> list[Path]:
    """Pictures with their captions beside them: gradio keeps every upload in a folder of its own."""
    texts = {f.stem: f for f in files if f.suffix.lower() in (".txt", ".caption")}
    pictures = [f for f in files if f not in texts.values()]
    for picture in pictures:
        text = texts.get(picture.stem)
        if text is not None and text.parent != picture.parent:
            picture.with_suffix(".txt").write_bytes(text.read_bytes())
    return pictures


def _summary(result: StyleTrainResult) -> str:
    title = "Stopped early, and kept" if result.stopped_early else "The style is ready"
    pairs = [
        ("Style", result.style.name),
        ("Pictures", str(result.pictures)),
        ("Captions", result.captioned),
        ("Steps", str(result.steps)),
        ("Time", duration(result.seconds)),
        ("Loss", f"{result.loss:.4f}"),
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    return (
        f'<div class="fc-box fc-done" role="status"><h4>{escape(title)}</h4>{facts(pairs)}{f"<ul>{notes}</ul>" if notes else ""}'
        f"<p>Its words: <code>{escape(result.style.prompt)}</code></p></div>"
    )


def _card(style: Style) -> str:
    picture = drawn(style.thumbnail) if style.thumbnail else None
    image = f'<img src="{picture}" alt="">' if picture else '<div class="fc-nopicture">no picture</div>'
    lora = ""
    if style.lora:
        there = style.lora_file is not None and style.lora_file.exists()
        about = f"LoRA {style.lora}, weight {style.weight:g}{f', {style.family}' if style.family else ''}"
        lora = f"<p>{escape(about)}</p>" if there else f'<p class="fc-warn">{escape(about)}: not in the LoRA folder.</p>'
    note = f'<p class="fc-hint">{escape(style.note)}</p>' if style.note else ""
    return (
        f'<article class="fc-card fc-who"><div class="fc-picture">{image}</div><div><h4>{escape(style.name)}</h4>'
        f"<p><code>{escape(style.prompt)}</code></p>{lora}<p class=\"fc-hint\">{escape(style.source)} · licence: {escape(style.licence)}</p>{note}</div></article>"
    )
