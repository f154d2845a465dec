"""What became of each photo: cards with picture, badge, sentences and quality."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from facechain_ext.errors import UserInputError
from facechain_ext.faces.types import FaceSeen, PhotoVerdict, Preparation, Reason
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage
from facechain_ext.services.jobs import Job
from facechain_ext.services.requests import PrepareRequest
from facechain_ext.services.studio import Studio
from facechain_ext.ui.uploads import discard
from facechain_ext.ui.words import counted, problem_box

MOST_CARDS = 200
"""Photos drawn at most; somebody may have given a whole disk."""
SPARE = {Reason.DUPLICATE: "duplicate", Reason.NEAR_DUPLICATE: "duplicate", Reason.TOO_MANY: "not needed", Reason.LEFT_OUT: "left out"}
"""Badges of photos with which nothing is wrong."""
NOT_THE_PICTURE = {*SPARE, Reason.UNREADABLE, Reason.TOO_LARGE, Reason.NO_FACE, Reason.DIFFERENT_PERSON, Reason.SEVERAL_PEOPLE}
"""Reasons that say nothing about how good the picture is: a quality beside them would only puzzle."""
NO_PICTURE = '<div class="fc-nopicture" aria-hidden="true">no preview</div>'


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome of a check, kept for the page after the uploads are gone."""

    cards: str
    """HTML."""
    accepted: int
    problem: str | None = None
    """Why there is no dataset, when no photo can be used."""
    verdicts: tuple[PhotoVerdict, ...] = ()
    thumbnails: tuple[bytes | None, ...] = ()


def submit_check(studio: Studio, request: PrepareRequest) -> Job:
    """Prepare as a background job whose result is a ``Checked``; afterwards, however it ends, gradio's copies are deleted."""

    def work(sink: ProgressSink, token: CancelToken) -> Checked:
        try:
            return _check(studio, request, sink, token)
        finally:
            discard(request.sources)

    try:
        name = studio.workspace.person(request.person).name
        return studio.jobs.submit("prepare", name, work)
    except UserInputError:
        discard(request.sources)
        raise


def _check(studio: Studio, request: PrepareRequest, sink: ProgressSink, token: CancelToken) -> Checked:
    problem = None
    try:
        preparation = studio.prepare(request, sink, token)
    except UserInputError as error:
        # Without one usable photo there is no dataset, but the verdicts say what to change.
        found = getattr(error, "preparation", None)
        if not isinstance(found, Preparation):
            raise
        preparation, problem = found, str(error)
    sink(Progress(Stage.PREPARE, 1, 1, "Drawing the verdicts"))
    return checked(preparation, problem)


def checked(preparation: Preparation, problem: str | None = None) -> Checked:
    """What the page keeps of ``preparation``."""
    used = sum(v.accepted for v in preparation.verdicts)
    return Checked(gallery(preparation), used, problem, preparation.verdicts, preparation.thumbnails)


def gallery(preparation: Preparation) -> str:
    """Summary, advice and a card per photo: accepted ones first, then what is wrong with others, then those that are only too many."""
    pictures = dict(enumerate(preparation.thumbnails))
    numbered = sorted(enumerate(preparation.verdicts), key=lambda pair: (not pair[1].accepted, _spare(pair[1]) is not None, -pair[1].quality))
    cards = "".join(_card(i, v, thumbnail(pictures.get(i))) for i, v in numbered[:MOST_CARDS])
    rest = len(numbered) - MOST_CARDS
    more = f'<p class="fc-hint">{counted(rest, "more photo is", "more photos are")} not shown.</p>' if rest > 0 else ""
    return f'<div class="fc-verdicts">{summary(preparation.verdicts, preparation.advice)}<div class="fc-grid-cards">{cards}</div>{more}</div>'


def _spare(verdict: PhotoVerdict) -> str | None:
    """The badge of a photo that is left out though nothing is wrong with it."""
    return next((SPARE[r] for r in verdict.reasons if r in SPARE), None) if not verdict.accepted else None


def summary(verdicts: Sequence[PhotoVerdict], advice: Sequence[str] = ()) -> str:
    """``7 of 9 photos can be used`` and what to know about the set."""
    accepted = sum(v.accepted for v in verdicts)
    said = f"{accepted} of {counted(len(verdicts), 'photo')} can be used"
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in advice)
    kind = "fc-good" if accepted else "fc-bad"
    return f'<div class="fc-summary {kind}"><h4>{said}</h4>{f"<ul>{notes}</ul>" if notes else ""}</div>'


def thumbnail(jpeg: bytes | None) -> str | None:
    """A ``data:`` address of the JPEG."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" if jpeg else None


def _card(index: int, verdict: PhotoVerdict, picture: str | None) -> str:
    spare = _spare(verdict)
    kind, badge = ("fc-good", "accepted") if verdict.accepted else ("fc-spare", spare) if spare else ("fc-bad", "rejected")
    image = f'<img src="{picture}" alt="{escape(verdict.file)}"{_towards(verdict.faces)}>' if picture else NO_PICTURE
    sentences = "".join(f"<p>{escape(s)}</p>" for s in dict.fromkeys(verdict.sentences))
    words = f'<p class="fc-words">{escape(verdict.caption)}</p>' if verdict.caption else ""
    quality = round(100 * verdict.quality)
    meter = (
        f'<div class="fc-meter" title="quality {quality} of 100"><i style="width:{quality}%"></i></div><small>quality {quality}</small>'
        if verdict.accepted or (verdict.quality > 0 and not NOT_THE_PICTURE & set(verdict.reasons))
        else ""
    )
    codes = " ".join(r.value for r in verdict.reasons)
    return (
        f'<figure class="fc-card {kind}" data-reasons="{escape(codes)}"><div class="fc-picture">{image}<span class="fc-badge">{badge}</span></div>'
        f'<figcaption><b title="{escape(verdict.file)}">{index + 1} · {escape(verdict.file)}</b>{sentences}{words}<div class="fc-quality">{meter}</div></figcaption></figure>'
    )


def _towards(faces: Sequence[FaceSeen]) -> str:
    """The card's picture is cut square: around the face that is meant, else the largest."""
    face = next((f for f in faces if f.taken), faces[0] if faces else None)
    if face is None:
        return ' style="object-position:50% 25%"'  # where heads mostly are
    x, y = (face.box[0] + face.box[2]) / 2, (face.box[1] + face.box[3]) / 2
    return f' style="object-position:{100 * x:.0f}% {100 * y:.0f}%"'


def checked_html(checked: Checked) -> str:
    """The whole result of a check."""
    return (problem_box(checked.problem, "No photo can be used") if checked.problem else "") + checked.cards
