"""The people page: who is stored, what is kept of them, export, and deletion of everything."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from facechain_ext.errors import FaceChainError
from facechain_ext.services.requests import FaceLora, Person
from facechain_ext.services.studio import Studio
from facechain_ext.ui.compat import bind, file_url, make, update
from facechain_ext.ui.loading import Loads
from facechain_ext.ui.pictures import inline
from facechain_ext.ui.words import counted, empty_state, heading, likeness_words, note_box, problem_box
from facechain_ext.workspace import lora_name

NOBODY = empty_state("Nobody is stored here", "People appear once you have checked their photos on the Train page.")


class PeopleTab:
    """Lays out the page into the Blocks around it and wires its events."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def build(self) -> Loads:
        """Build the page; the handlers returned must run when the page loads."""
        with gr.Row(elem_id="facechain_people", elem_classes=["fc-columns"]):
            with gr.Column(scale=4, min_width=320, elem_classes=["fc-left"]), gr.Group(elem_classes=["fc-section"]):
                self._choose()
            with gr.Column(scale=8, min_width=400, elem_classes=["fc-right"]):
                self._cards = make(gr.HTML, NOBODY, elem_id="facechain_people_cards")
        return self._wire()

    def _choose(self) -> None:
        gr.HTML(heading("", "People", "Everything kept about a person lies in one folder: crops, LoRAs, previews, portraits."))
        self._person = make(gr.Dropdown, choices=[], value=None, label="Person", elem_id="facechain_people_person")
        self._photos = make(
            gr.Checkbox,
            value=False,
            label="Put the photos into the export",
            elem_id="facechain_export_photos",
        )
        with gr.Row(elem_classes=["fc-buttons"]):
            self._export = make(gr.Button, "Export as zip", interactive=False, elem_id="facechain_export")
            self._delete = make(gr.Button, "Delete everything", variant="stop", interactive=False, elem_id="facechain_delete")
        self._said = make(gr.HTML, "", elem_id="facechain_people_said")
        with gr.Row(elem_classes=["fc-buttons"], visible=False) as self._confirmation:
            self._keep = make(gr.Button, "Keep", elem_id="facechain_delete_keep")
            self._confirm = make(gr.Button, "Delete for good", variant="stop", elem_id="facechain_delete_confirm")

    def _wire(self) -> Loads:
        shown = [self._cards, self._person, self._export, self._delete, self._said, self._confirmation]
        bind(self._person.change, self._chosen, [self._person], [self._export, self._delete, self._said, self._confirmation], queue=False)
        bind(self._delete.click, self._ask, [self._person], [self._said, self._confirmation], queue=False)
        bind(self._keep.click, lambda: ["", update(visible=False)], [], [self._said, self._confirmation], queue=False)
        bind(self._confirm.click, self._do_delete, [self._person], shown, queue=False)
        bind(self._export.click, self._do_export, [self._person, self._photos], [self._said])
        # A program reads the same cards as the page.
        self._api = make(gr.Button, "List people", visible=False)
        bind(self._api.click, self._cards_html, [], [self._cards], api_name="facechain_people", queue=False)
        self._shown = shown
        return [(lambda: self._refreshed(None), shown)]

    def on_show(self, tab: Any) -> None:
        """Refresh the cards whenever ``tab`` comes to the front."""
        bind(tab.select, self._refreshed, [self._person], self._shown, queue=False)

    def _cards_html(self) -> str:
        try:
            people = self._studio.people()
        except FaceChainError as error:
            return problem_box(str(error))
        cards = "".join(_card(p) for p in people)
        return f'<div class="fc-people">{cards}</div>' if cards else NOBODY

    def _refreshed(self, person: str | None, said: str = "") -> list[Any]:
        names = self._studio.workspace.people()
        chosen = person if person in names else None
        there = update(interactive=chosen is not None)
        return [self._cards_html(), update(choices=names, value=chosen), there, there, said, update(visible=False)]

    def _chosen(self, person: str | None) -> list[Any]:
        there = update(interactive=bool(person))
        # Clearing the choice after a deletion must not wipe the news about it.
        return [there, there, "" if person else update(), update(visible=False)]

    def _ask(self, person: str | None) -> list[Any]:
        try:
            found = self._studio.person(str(person or ""))
        except FaceChainError as error:
            return [problem_box(str(error)), update(visible=False)]
        originals = [counted(found.originals, "photo as given")] if found.originals else []
        kept = ", ".join(
            [counted(found.photos, "prepared photo"), *originals, counted(len(found.loras), "LoRA"), counted(found.portraits, "portrait")],
        )
        sentence = f"{kept} and everything else kept about {found.name} will be deleted from this machine. This cannot be undone."
        return [problem_box(sentence, f"Delete {found.name}?"), update(visible=True)]

    def _do_delete(self, person: str | None) -> list[Any]:
        try:
            count = self._studio.delete_person(str(person or ""))
        except FaceChainError as error:
            return self._refreshed(person, problem_box(str(error), "Not deleted"))
        return self._refreshed(None, note_box(f"{counted(count, 'file')} deleted; nothing of {person} is left.", "Deleted"))

    def _do_export(self, person: str | None, photos: bool) -> str:
        try:
            folder = self._studio.workspace.existing_person(str(person or ""))
            # Inside the person's folder, so that deleting the person deletes it too.
            target = folder.root / "exports" / f"{lora_name(folder.name) or 'person'}.zip"
            self._studio.export_person(folder.name, target, photos=bool(photos))
        except FaceChainError as error:
            return problem_box(str(error), "Not exported")
        link = f'<a href="{escape(file_url(target))}" download="{escape(target.name)}">Download {escape(target.name)}</a>'
        return f'<div class="fc-box fc-done" role="status"><strong>Exported</strong><p>{link}</p><p class="fc-path"><code>{escape(str(target))}</code></p></div>'


def _card(person: Person) -> str:
    picture = inline(Path(person.thumbnail), 256) if person.thumbnail else None
    image = f'<img src="{picture}" alt="{escape(person.name)}">' if picture else '<div class="fc-nopicture">no photo</div>'
    counts = f"{counted(person.photos, 'photo')} · {counted(person.portraits, 'portrait')}"
    words = f"<p><code>{escape(person.trigger)} {escape(person.subject)}</code></p>" if person.trigger else ""
    loras = "".join(_lora(lora) for lora in person.loras) or "<li>No face LoRA yet.</li>"
    unfinished = '<p class="fc-warn">Training can be resumed.</p>' if person.resumable else ""
    return (
        f'<article class="fc-card fc-who"><div class="fc-picture">{image}</div><div><h4>{escape(person.name)}</h4>'
        f"{words}<p>{counts}</p><ul>{loras}</ul>{unfinished}</div></article>"
    )


def _lora(lora: FaceLora) -> str:
    about = f"{lora.checkpoint}, rank {lora.rank}, {counted(lora.steps, 'step')}, {likeness_words(lora.likeness)}"
    return f'<li><b>{escape(lora.name)}</b> <span title="{escape(lora.created)}">{escape(about)}</span></li>'
