"""Ranked candidates as files: PNGs that hold their recipe, contact sheet, ``report.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.infotext import infotext, save_png
from facechain_ext.portraits.rank import Score, faults, order, summary
from facechain_ext.portraits.sheet import Labelled, contact_sheet
from facechain_ext.ports import ImageGenerator, LoraWeight
from facechain_ext.services.balance import blend_text
from facechain_ext.services.candidates import Candidate, Sitter
from facechain_ext.services.people import note_outside
from facechain_ext.services.requests import Portrait, PortraitRequest, RankedPortraits
from facechain_ext.styles.catalog import Style
from facechain_ext.styles.prompts import PLAIN
from facechain_ext.workspace import added_files, write_json

SCHEMA = 1


def write_portraits(
    candidates: Sequence[Candidate],
    target: Path,
    request: PortraitRequest,
    sitters: Sequence[Sitter],
    host: ImageGenerator,
    style: Style | None,
) -> RankedPortraits:
    """Write the best ``candidates`` of ``request`` into the new folder ``target``, whole or not at all.

    Raises:
        StorageError: when there is no room.
    """
    config, person = request.config, sitters[0].folder.name
    places = order([c.score for c in candidates], config.min_likeness, len(sitters))
    ranked = [candidates[i] for i in places]
    kept = ranked[: config.keep or len(ranked)]
    notes = tuple(summary([c.score for c in ranked], len(kept), config.min_likeness, len(sitters)))
    settings = _panel_settings(request, person, style, host, ranked[0].request.loras)
    portraits = [_portrait(found, rank, len(ranked), target, request, settings, host) for rank, found in enumerate(kept, start=1)]
    sheet, report = target / "sheet.png", target / "report.json"
    tiles = [Labelled(c.image, _said(p), _small(p), p.flagged) for c, p in zip(kept, portraits, strict=True)]
    picture = contact_sheet(person, tiles, subtitle=kept[0].request.prompt, note=notes[0] if notes else "")
    with added_files(target, "the portraits") as fresh:
        for portrait, tile in zip(portraits, tiles, strict=True):
            save_png(tile.image, fresh / portrait.file.name, portrait.infotext)
        picture.save(fresh / sheet.name, "PNG")
        write_json(fresh / report.name, _report(portraits, ranked, notes, person, host, style), "the report")
    if request.out is not None:
        for file in [p.file for p in portraits] + [sheet, report]:
            note_outside(sitters[0].folder, file)
    return RankedPortraits(person, target, sheet, report, tuple(portraits), len(ranked), notes)


def _portrait(
    found: Candidate,
    rank: int,
    many: int,
    target: Path,
    request: PortraitRequest,
    settings: dict[str, str],
    host: ImageGenerator,
) -> Portrait:
    score = found.score
    extra = {**settings, **measured(score), keys.FACE_PASS_RESULT: "; ".join(map(str, found.passed)), "FaceChain rank": f"{rank} of {many}"}
    text = infotext(found.request, found.index, host.checkpoint, {key: value for key, value in extra.items() if value})
    return Portrait(
        target / f"{rank:02d}-{found.seed}.png",
        found.seed,
        score.likeness,
        score.faces,
        rank,
        text,
        bool(faults(score, request.config.min_likeness)),
        score.sharpness,
        score.style,
        tuple(faults(score, request.config.min_likeness)),
        tuple(map(str, found.passed)),
    )


def measured(score: Score) -> dict[str, str]:
    """The scores as the infotext says them."""
    return {
        keys.LIKENESS: "no face" if score.likeness is None else f"{score.likeness:.3f}",
        **({} if score.sharpness is None else {keys.SHARPNESS: f"{score.sharpness:.2f}"}),
        **({} if score.style is None else {keys.STYLE_SCORE: f"{score.style:.2f}"}),
    }


def _said(portrait: Portrait) -> str:
    return "no face" if portrait.likeness is None else f"likeness {portrait.likeness:.3f}"


def _small(portrait: Portrait) -> str:
    parts = [f"seed {portrait.seed}"]
    parts += [] if portrait.sharpness is None else [f"sharpness {portrait.sharpness:.2f}"]
    parts += [] if portrait.style_score is None else [f"style {portrait.style_score:.2f}"]
    parts += ["face pass"] if portrait.face_pass else []
    return " · ".join(parts)


def _panel_settings(
    request: PortraitRequest, person: str, style: Style | None, host: ImageGenerator, loras: Sequence[LoraWeight]
) -> dict[str, str]:
    """What the panel in the WebUI, and we, need to make this portrait again."""
    config = request.config
    # The panel composes its prompts; one that the user wrote goes into the infotext as it is, with tags for its LoRAs.
    if not request.with_lora or request.exact_prompt is not None or request.exact_negative is not None:
        return {}
    acts = style is not None and style.acts_on(host.checkpoint.name)
    weight = (style.weight if config.style_weight is None else config.style_weight) if style is not None and acts else None
    own = {keys.OWN_PROMPT: request.prompt, keys.OWN_NEGATIVE: request.negative}
    return {
        keys.PERSON: person,
        keys.STYLE: style.id if style else PLAIN.id,
        keys.FACE_WEIGHT: f"{config.face_weight:g}",
        **({keys.STYLE_WEIGHT: f"{weight:g}", keys.BLEND: blend_text(loras)} if weight is not None else {}),
        **{key: text for key, text in own.items() if text.strip()},
        keys.FACE_PASS: config.face_pass,
        keys.FACE_PASS_STRENGTH: f"{config.face_pass_strength:g}",
        keys.FACE_PASS_BELOW: f"{config.face_pass_below:g}",
    }


def _report(
    portraits: Sequence[Portrait], ranked: Sequence[Candidate], notes: Sequence[str], person: str, host: ImageGenerator, style: Style | None
) -> dict[str, object]:
    request = ranked[0].request
    rest = ranked[len(portraits) :]
    return {
        "schema": SCHEMA,
        "person": person,
        "checkpoint": host.checkpoint.name,
        "checkpoint_sha256": host.checkpoint.sha256,
        "style": style.id if style else None,
        "prompt": request.prompt,
        "negative": request.negative,
        "loras": [{"name": w.file.stem, "unet": w.unet, "text": w.text, "plan": str(w.part("lora"))} for w in request.loras],
        "steps": request.steps,
        "cfg": request.cfg,
        "sampler": request.sampler,
        "size": [request.width, request.height],
        "candidates": len(ranked),
        "notes": list(notes),
        "images": [
            {"file": p.file.name, "rank": p.rank, "flagged": p.flagged, "faults": list(p.faults)} | _scores(c)
            for p, c in zip(portraits, ranked, strict=False)
        ],
        "not_kept": [_scores(c) for c in rest],
    }


def _scores(found: Candidate) -> dict[str, object]:
    score = found.score
    return {
        "seed": found.seed,
        "likeness": score.likeness,
        "faces": score.faces,
        "sharpness": score.sharpness,
        "style_score": score.style,
        "face_pass": [str(p) for p in found.passed],
    }
