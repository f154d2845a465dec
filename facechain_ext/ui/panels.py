"""Live panels drawn from a job: progress, previews, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from facechain_ext.progress import Progress, Stage
from facechain_ext.services.jobs import Job, JobState
from facechain_ext.services.requests import CheckpointChoice, Portrait, RankedPortraits, StyleTrainResult, TrainResult
from facechain_ext.ui.charts import loss_chart
from facechain_ext.ui.compat import file_url, update
from facechain_ext.ui.pictures import inline
from facechain_ext.ui.words import counted, duration, facts, likeness_words, note_box, problem_box

STAGES = {
    Stage.WAITING: "Waiting",
    Stage.PREPARE: "Checking photos",
    Stage.LOAD: "Loading",
    Stage.PRIOR: "Making class images",
    Stage.CACHE: "Encoding photos",
    Stage.TRAIN: "Training",
    Stage.PREVIEW: "Making previews",
    Stage.SAVE: "Saving",
    Stage.GENERATE: "Generating",
    Stage.RANK: "Measuring likeness",
    Stage.DONE: "Done",
}
KINDS = {"prepare": "photo check", "train": "training", "portraits": "portraits", "style": "style training", "balance": "measuring"}
PREVIEW_SIDE, PORTRAIT_SIDE, CARD_SIDE = 256, 768, 1200
PREVIEW_ROWS = 6


def progress_panel(job: Job, ahead: Job | None = None) -> str:
    """Stage, step, bar, loss and time to go; ``ahead`` is the job this one waits for."""
    event = job.progress
    title = STAGES[event.stage]
    if job.state is JobState.QUEUED:
        what = f"the {KINDS.get(ahead.kind, ahead.kind)} of {ahead.person}" if ahead and ahead is not job else "its turn"
        return _panel("Waiting", f"Starts when {what} has ended.", "", None, job)
    if job.token.cancelled:
        return _panel("Cancelling", "Ends after this step.", "", None, job)
    if job.token.pausing:
        title = "Pausing after this step"
    if job.token.stopping:
        title = "Stopping after this step and keeping what was learned"
    steps = f"{event.step} / {event.total}" if event.total else ""
    return _panel(title, _details(event, title), steps, event.fraction if event.total else None, job)


def _details(event: Progress, title: str) -> str:
    parts = [event.message] if event.message and event.message not in (title, STAGES[event.stage]) else []
    parts += [f"loss {event.loss:.4f}"] if event.loss is not None else []
    parts += [f"about {duration(event.eta_s)} left"] if event.eta_s is not None else []
    return " · ".join(parts)


def _panel(title: str, details: str, steps: str, fraction: float | None, job: Job) -> str:
    bar = '<div class="fc-bar fc-busy"><i></i></div>'
    if fraction is not None:
        bar = f'<div class="fc-bar" role="progressbar" aria-valuenow="{fraction:.2f}"><i style="width:{100 * fraction:.1f}%"></i></div>'
    since = f"running for {duration(max(0.0, time.time() - job.started))}" if job.started else ""
    who = f"{KINDS.get(job.kind, job.kind).capitalize()} · {job.person.removeprefix('style: ')}"
    return (
        f'<div class="fc-box fc-progress"><div class="fc-over">{escape(who)}</div>'
        f'<div class="fc-line"><strong>{escape(title)}</strong><span class="fc-steps">{steps}</span></div>{bar}'
        f'<div class="fc-line fc-faint"><span>{escape(details)}</span><span>{since}</span></div></div>'
    )


def ended_panel(job: Job, failed: str) -> str:
    """The box for a job that failed or was cancelled, empty for one that is done."""
    if job.state is JobState.FAILED:
        return problem_box(job.error or "", failed)
    if job.state is JobState.CANCELLED:
        return note_box(job.error or "", "Cancelled")
    if job.state is JobState.PAUSED:
        return note_box(job.error or "", "Paused")
    return ""


def train_chart(job: Job) -> str:
    """The loss curve so far."""
    curve = job.result.curve if isinstance(job.result, (TrainResult, StyleTrainResult)) else list(job.curve)
    total = job.progress.total if job.progress.stage is Stage.TRAIN else 0
    svg = loss_chart(curve, total)
    return f'<div class="fc-box">{svg}</div>' if svg else ""


def previews(job: Job) -> str:
    """Previews of each scored step, the latest first."""
    steps: dict[str, list[str]] = {}
    for file, caption in list(job.pictures):
        step, _, said = caption.partition(",")
        picture = inline(Path(file), PREVIEW_SIDE)
        if picture:
            steps.setdefault(step, []).append(
                f'<figure><img src="{picture}" alt="{escape(caption)}"><figcaption>{escape(said.strip())}</figcaption></figure>'
            )
    rows = [
        f'<div class="fc-previews"><h5>{escape(step.capitalize())}</h5><div class="fc-strip">{"".join(figures)}</div></div>'
        for step, figures in list(steps.items())[::-1][:PREVIEW_ROWS]
    ]
    return f'<div class="fc-box"><h4>Previews</h4>{"".join(rows)}</div>' if rows else ""


def train_summary(result: TrainResult) -> str:
    """The card at the end of a training."""
    title = "Stopped early, and kept" if result.stopped_early else "The face LoRA is ready"
    pairs = [
        ("LoRA", result.lora.name),
        ("Steps", str(result.steps)),
        ("Time", duration(result.seconds)),
        ("Loss", f"{result.loss:.4f}"),
        ("Likeness", "no face found" if result.likeness is None else f"{result.likeness:.2f}"),
    ]
    if result.reason:
        pairs.append(("Kept", result.kept))
    picture = inline(result.card, CARD_SIDE) if result.card else None
    card = ""
    if picture and result.card:
        link = escape(file_url(result.card))
        card = (
            f'<details class="fc-summary-card"><summary>The training as one picture</summary><img src="{picture}" alt="Curves and previews">'
            f'<p><a href="{link}" download="{escape(result.lora.stem)}-training.png">Download</a></p></details>'
        )
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in (*result.notes, *([result.reason] if result.reason else [])))
    return (
        f'<div class="fc-box fc-done" role="status"><h4>{escape(title)}</h4>{facts(pairs)}'
        f"{f'<ul>{said}</ul>' if said else ''}"
        f'{card}<p class="fc-path">Saved in <code>{escape(str(result.lora.parent))}</code></p>'
        f"<p>Next: open <b>Portraits</b> and generate {escape(result.person)} in a style.</p></div>"
    )


def portrait_gallery(result: RankedPortraits, send_to: Mapping[str, str]) -> str:
    """Ranked portraits with likeness, seed and infotext; flagged ones marked; links to the sheet and the folder's path.

    Below each a button for every page of the host in ``send_to``; the host's script listens to them.
    """
    best = result.portraits[0].likeness if result.portraits else None
    shown = counted(len(result.portraits), "portrait")
    head = f"{shown} of {result.person}, most alike first"
    if result.candidates > len(result.portraits):
        head = f"The best {len(result.portraits)} of {result.candidates} candidates of {result.person}, most alike first"
    none_good = bool(result.portraits) and all(p.flagged for p in result.portraits)
    said = "".join(
        f'<p class="{"fc-warn" if none_good and i == 0 else "fc-hint"}">{escape(note)}</p>' for i, note in enumerate(result.notes)
    )
    below = f"Best {likeness_words(best)}." if result.portraits else ""
    cards = "".join(_portrait(p, send_to) for p in result.portraits)
    return (
        f'<div class="fc-gallery"><div class="fc-summary fc-good"><h4>{escape(head)}</h4>'
        f'<p>{escape(below)} <a href="{escape(file_url(result.sheet))}" target="_blank" rel="noopener">Contact sheet</a></p>{said}</div>'
        f'<div class="fc-portraits">{cards}</div>'
        f'<p class="fc-path">Saved in <code>{escape(str(result.folder))}</code></p></div>'
    )


def _portrait(portrait: Portrait, send_to: Mapping[str, str]) -> str:
    picture = inline(portrait.file, PORTRAIT_SIDE)
    said = likeness_words(portrait.likeness)
    image = f'<img src="{picture}" alt="rank {portrait.rank}, {said}">' if picture else '<div class="fc-nopicture">no preview</div>'
    width = round(100 * max(0.0, portrait.likeness or 0.0))
    flag = "".join(f'<p class="fc-warn">{escape(fault)}</p>' for fault in portrait.faults)
    link = escape(file_url(portrait.file))
    return (
        f'<figure class="fc-card{" fc-flagged" if portrait.flagged else ""}"><div class="fc-picture">'
        f'<a href="{link}" target="_blank" rel="noopener" title="Open full size">{image}</a><span class="fc-badge">{portrait.rank}</span></div>'
        f"<figcaption><b>{said}</b>"
        f'<div class="fc-meter"><i style="width:{width}%"></i></div>{flag}<small>{escape(_scores(portrait))}</small>{_send_buttons(portrait.file, send_to)}'
        f"<details><summary>How it was made</summary><pre>{escape(portrait.infotext)}</pre></details></figcaption></figure>"
    )


def _send_buttons(file: Path, send_to: Mapping[str, str]) -> str:
    if not send_to:
        return ""
    # person/portraits/run/picture.png: enough to find it, and no folder of this machine in the page.
    place = escape("/".join(file.parts[-4:]))
    buttons = "".join(
        f'<button type="button" data-send="{page}" data-file="{place}">{escape(label)}</button>' for page, label in send_to.items()
    )
    return f'<div class="fc-send"><span>Send to</span>{buttons}</div>'


def _scores(portrait: Portrait) -> str:
    parts = [f"each {' | '.join('no face' if x is None else f'{x:.2f}' for x in portrait.each)}"] if portrait.each else []
    parts += [f"to the others {' | '.join(f'{x:.2f}' for x in portrait.others)}"] if portrait.each and None not in portrait.each else []
    parts += [f"seed {'+'.join(map(str, dict.fromkeys(portrait.seeds or (portrait.seed,))))}"]
    parts += [f"try {portrait.tries}"] if portrait.tries > 1 else []
    parts += [] if portrait.sharpness is None else [f"sharpness {portrait.sharpness:.2f}"]
    parts += [] if portrait.style_score is None else [f"style {portrait.style_score:.2f}"]
    parts += [f"face pass: {'; '.join(portrait.face_pass)}"] if portrait.face_pass else []
    return " · ".join(parts)


def latest(jobs: Sequence[Job], kind: str) -> Job | None:
    """The newest job of ``kind``, running or ended."""
    return next((j for j in reversed(jobs) if j.kind == kind), None)


def checkpoint_update(choices: Sequence[CheckpointChoice]) -> Any:
    """The list of checkpoints anew: a WebUI loads its own only after the page was built, and may switch it later."""
    names = [c.name for c in choices]
    return update(choices=names, value=names[0] if names else None)
