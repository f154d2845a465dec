"""The user's last word about each photo: leave it out, use it all the same, another face, other words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr

from facechain_ext.errors import FaceChainError
from facechain_ext.faces.types import Decisions, FaceSeen, PhotoVerdict
from facechain_ext.services.studio import Studio
from facechain_ext.ui.compat import bind, make, update
from facechain_ext.ui.panels import latest
from facechain_ext.ui.verdicts import Checked, checked, checked_html, thumbnail
from facechain_ext.ui.words import problem_box

BY_RULES, LEAVE_OUT = "By the rules", "Leave it out"


class DecisionPanel:
    """An accordion under the verdicts. ``said`` is what shows them; ``after`` redraws what else depends on the dataset."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def build(self) -> None:
        """Build the components into the Blocks around."""
        with make(
            gr.Accordion, "Change a decision", open=False, visible=False, elem_id="facechain_decide", elem_classes=["fc-accordion"]
        ) as self.accordion:
            self.photo = make(gr.Dropdown, choices=[], value=None, label="Photo", elem_id="facechain_decide_photo")
            self._picture = make(gr.HTML, "", elem_id="facechain_decide_picture")
            self._face = make(gr.Radio, choices=[BY_RULES, LEAVE_OUT], value=BY_RULES, label="Use it", elem_id="facechain_decide_face")
            self._words = make(
                gr.Textbox,
                lines=1,
                label="Caption",
                info="What the photo shows; empty brings ours back.",
                elem_id="facechain_decide_caption",
            )
            self._apply = make(gr.Button, "Apply", elem_id="facechain_decide_apply")

    def wire(self, said: Any, after: Callable[[str], list[Any]], outputs: Sequence[Any]) -> None:
        """Bind the events."""
        bind(self.photo.change, self._show, [self.photo], [self._picture, self._face, self._words], queue=False)

        def decide(photo: str | None, face: str | None, words: str | None) -> list[Any]:
            return self._decide(photo, face, words, after)

        bind(self._apply.click, decide, [self.photo, self._face, self._words], [said, self._picture, self._face, self._words, *outputs])

    def updates(self) -> list[Any]:
        """Accordion and list of photos for the latest check."""
        found = self._checked()
        names = [_name(i, v) for i, v in enumerate(found.verdicts) if v.faces] if found else []
        return [update(visible=bool(names)), update(choices=names, value=None)]

    def _checked(self) -> Checked | None:
        job = latest(self._studio.jobs.jobs(), "prepare")
        return job.result if job and isinstance(job.result, Checked) else None

    def _show(self, photo: str | None) -> list[Any]:
        found, index = self._checked(), _index(photo)
        if found is None or index is None or index >= len(found.verdicts):
            return ["", update(choices=[BY_RULES, LEAVE_OUT], value=BY_RULES), update(value="")]
        verdict = found.verdicts[index]
        choices = [BY_RULES, LEAVE_OUT, *(_face_name(i, face) for i, face in enumerate(verdict.faces))]
        wanted = self._decided().faces.get(index, -1)
        now = LEAVE_OUT if wanted is None else choices[2 + wanted] if 0 <= wanted < len(verdict.faces) else BY_RULES
        picture = thumbnail(found.thumbnails[index]) if index < len(found.thumbnails) else None
        return [boxes(picture, verdict.faces), update(choices=choices, value=now), update(value=verdict.caption)]

    def _decided(self) -> Decisions:
        job = latest(self._studio.jobs.jobs(), "prepare")
        return self._studio.drafts.decisions(job.person) if job else Decisions()

    def _decide(self, photo: str | None, face: str | None, words: str | None, after: Callable[[str], list[Any]]) -> list[Any]:
        job, found, index = latest(self._studio.jobs.jobs(), "prepare"), self._checked(), _index(photo)
        try:
            if job is None or found is None or index is None:
                raise FaceChainError("Choose a photo first.")
            job.result = checked(self._studio.decide(job.person, self._with(found, index, face, words)))
        except FaceChainError as error:
            kept = checked_html(found) if found else ""
            return [problem_box(str(error), "Nothing was changed") + kept, *[update()] * 3, *after(job.person if job else "")]
        return [checked_html(job.result), *self._show(photo), *after(job.person)]

    def _with(self, found: Checked, index: int, face: str | None, words: str | None) -> Decisions:
        """What was decided so far, and this."""
        so_far, verdict = self._decided(), found.verdicts[index]
        faces, captions = dict(so_far.faces), dict(so_far.captions)
        names = [_face_name(i, seen) for i, seen in enumerate(verdict.faces)]
        faces.pop(index, None)
        if face == LEAVE_OUT:
            faces[index] = None
        elif face in names:
            faces[index] = names.index(face)
        text = " ".join((words or "").split())
        if text != verdict.caption:
            captions.pop(index, None)
            if text:
                captions[index] = text
        return replace(so_far, faces=faces, captions=captions)


def _name(index: int, verdict: PhotoVerdict) -> str:
    return f"{index + 1} · {verdict.file}"


def _index(photo: str | None) -> int | None:
    number = str(photo or "").split(" ")[0]
    return int(number) - 1 if number.isdigit() else None


def _face_name(index: int, face: FaceSeen) -> str:
    return f"Face {index + 1}, {face.place}"


def boxes(picture: str | None, faces: Sequence[FaceSeen]) -> str:
    """The photo with its faces framed and numbered."""
    if picture is None:
        return ""
    frames = "".join(
        f'<i class="{"fc-taken" if face.taken else ""}" style="left:{100 * face.box[0]:.2f}%;top:{100 * face.box[1]:.2f}%;'
        f'width:{100 * (face.box[2] - face.box[0]):.2f}%;height:{100 * (face.box[3] - face.box[1]):.2f}%"><b>{i + 1}</b></i>'
        for i, face in enumerate(faces)
    )
    return f'<div class="fc-faces"><img src="{escape(picture)}" alt="The chosen photo">{frames}</div>'
