"""Ranked candidates as files: PNGs that hold their recipe, contact sheet, ``report.json``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.infotext import infotext, save_png
from facechain_ext.portraits.rank import Limits, Score, faults, order, summary
from facechain_ext.portraits.sheet import Labelled, contact_sheet
from facechain_ext.ports import ImageGenerator, LoraWeight
from facechain_ext.services.balance import blend_text
from facechain_ext.services.candidates import Candidate, Sitter, limits_of
from facechain_ext.services.people import note_outside
from facechain_ext.services.requests import Portrait, PortraitRequest, RankedPortraits
from facechain_ext.styles.catalog import Style
from facechain_ext.styles.prompts import PLAIN
from facechain_ext.workspace import added_files, write_json

SCHEMA = 1


def write_portraits(
    candidates: Sequence[Candidate],
    others: Sequence[Candidate],
    target: Path,
    request: PortraitRequest,
    sitters: Sequence[Sitter],
    host: ImageGenerator,
    style: Style | None,
) -> RankedPortraits:
    """Write the best ``candidates`` of ``request`` into the new folder ``target``, whole or not at all; the ``others`` go into the report.

    Raises:
        StorageError: when there is no room.
    """
    config, person, limits = request.config, sitters[0].folder.name, limits_of(request.config, len(sitters))
    if request.only_index is not None:
        candidates = candidates[request.only_index :][:1] or candidates
    ranked = _ranked(candidates, limits)
    kept = ranked[: config.keep or len(ranked)]
    rest = _ranked([*ranked[len(kept) :], *others], limits)
    notes = tuple(summary([c.score for c in [*kept, *rest]], len(kept), limits))
    settings = _panel_settings(request, [s.folder.name for s in sitters], style, host, sitters[0].loras)
    portraits = [_portrait(found, rank, len(ranked), target, limits, settings, host) for rank, found in enumerate(kept, start=1)]
    sheet, report = target / "sheet.png", target / "report.json"
    tiles = [Labelled(c.image, _said(p), _small(p), p.flagged) for c, p in zip(kept, portraits, strict=True)]
    picture = contact_sheet(" and ".join(s.folder.name for s in sitters), tiles, subtitle=kept[0].request.prompt, note=notes[0] if notes else "")
    with added_files(target, "the portraits") as fresh:
        for portrait, tile in zip(portraits, tiles, strict=True):
            save_png(tile.image, fresh / portrait.file.name, portrait.infotext)
        picture.save(fresh / sheet.name, "PNG")
        write_json(fresh / report.name, _report(portraits, [*kept, *rest], notes, [s.folder.name for s in sitters], host, style), "the report")
    # What lies in somebody else's folder goes with each who is in it, too.
    for sitter in sitters if request.out is not None else sitters[1:]:
        for file in [p.file for p in portraits] + [sheet, report]:
            note_outside(sitter.folder, file)
    return RankedPortraits(person, target, sheet, report, tuple(portraits), len(kept) + len(rest), notes)


def _ranked(candidates: Sequence[Candidate], limits: Limits) -> list[Candidate]:
    return [candidates[i] for i in order([c.score for c in candidates], limits)]


def _portrait(
    found: Candidate,
    rank: int,
    many: int,
    target: Path,
    limits: Limits,
    settings: dict[str, str],
    host: ImageGenerator,
) -> Portrait:
    score = found.score
    wrong = faults(score, limits)
    result = keys.FACE_PASS_RESULT
    extra = {**settings, **_drawing(found, limits), **measured(score, wrong), result: "; ".join(map(str, found.passed)), "FaceChain rank": f"{rank} of {many}"}
    text = infotext(found.request, found.index, host.checkpoint, {key: value for key, value in extra.items() if value})
    return Portrait(
        target / f"{rank:02d}-{'_'.join(map(str, dict.fromkeys(found.seeds)))}.png",
        found.seed,
        score.likeness,
        score.faces,
        rank,
        text,
        bool(wrong),
        score.sharpness,
        score.style,
        tuple(wrong),
        tuple(map(str, found.passed)),
        score.each,
        score.others,
        found.seeds,
        found.tries,
    )


def _drawing(found: Candidate, limits: Limits) -> dict[str, str]:
    """What makes a picture of several people again: the seeds of its batch and what its faces were measured by."""
    if limits.people == 1:
        return {}
    request = found.request
    pictures = request.region_seeds or tuple((seed,) * max(1, len(request.regions)) for seed in request.seeds)
    return {
        keys.SEEDS: " ".join("+".join(map(str, own)) for own in pictures),
        keys.TRIES: str(found.tries),
        keys.OWN_LIKENESS: f"{limits.likeness:g}",
        keys.OTHER_LIKENESS: f"{limits.others:g}",
    }


def measured(score: Score, wrong: Sequence[str] = ()) -> dict[str, str]:
    """The scores as the infotext says them, and what is ``wrong`` with the picture."""
    return {
        keys.LIKENESS: "no face" if score.likeness is None else f"{score.likeness:.3f}",
        keys.FACES: str(score.faces),
        **({keys.EACH: " ".join("no-face" if x is None else f"{x:.3f}" for x in score.each)} if score.each else {}),
        **({keys.OTHERS: " ".join(f"{x:.3f}" for x in score.others)} if score.others and None not in score.each else {}),
        **({} if score.sharpness is None else {keys.SHARPNESS: f"{score.sharpness:.2f}"}),
        **({} if score.style is None else {keys.STYLE_SCORE: f"{score.style:.2f}"}),
        **({keys.FLAGGED: " ".join(wrong)} if wrong else {}),
    }


def _said(portrait: Portrait) -> str:
    if portrait.each:
        return "likeness " + " | ".join("none" if x is None else f"{x:.2f}" for x in portrait.each)
    return "no face" if portrait.likeness is None else f"likeness {portrait.likeness:.3f}"


def _small(portrait: Portrait) -> str:
    parts = [f"to the others {' | '.join(f'{x:.2f}' for x in portrait.others)}"] if portrait.others and None not in portrait.each else []
    parts += [f"seed {'+'.join(map(str, dict.fromkeys(portrait.seeds or (portrait.seed,))))}"]
    parts += [] if portrait.sharpness is None else [f"sharpness {portrait.sharpness:.2f}"]
    parts += [] if portrait.style_score is None else [f"style {portrait.style_score:.2f}"]
    parts += ["face pass"] if portrait.face_pass else []
    return " · ".join(parts)


def _panel_settings(
    request: PortraitRequest, people: Sequence[str], style: Style | None, host: ImageGenerator, loras: Sequence[LoraWeight]
) -> dict[str, str]:
    """What the panel in the WebUI, and we, need to make this portrait again."""
    config = request.config
    # The panel composes its prompts; it must not find its own key where the user wrote a whole one.
    exact = request.exact_prompt is not None or request.exact_negative is not None
    who = keys.EXACT if exact else keys.PERSON if request.with_lora else keys.WITHOUT
    acts = style is not None and style.acts_on(host.checkpoint.name)
    weight = (style.weight if config.style_weight is None else config.style_weight) if style is not None and acts else None
    own = {keys.OWN_PROMPT: request.prompt, keys.OWN_NEGATIVE: request.negative}
    return {
        who: people[0],
        **({keys.BESIDE: "; ".join(people[1:]), keys.PEOPLE_BY: config.people_by} if len(people) > 1 else {}),
        keys.STYLE: style.id if style else PLAIN.id,
        **({} if not request.with_lora else {keys.FACE_WEIGHT: f"{config.face_weight:g}"}),
        **({keys.STYLE_WEIGHT: f"{weight:g}"} if weight is not None else {}),
        # A face LoRA alone has a blend too when it does not simply act with its weight.
        **({keys.BLEND: blend_text(loras)} if weight is not None or (len(people) == 1 and any(w.live for w in loras)) else {}),
        **{key: text for key, text in own.items() if text.strip()},
        keys.FACE_PASS: config.face_pass,
        keys.FACE_PASS_STRENGTH: f"{config.face_pass_strength:g}",
        keys.FACE_PASS_BELOW: f"{config.face_pass_below:g}",
    }


def _report(
    portraits: Sequence[Portrait], ranked: Sequence[Candidate], notes: Sequence[str], people: Sequence[str], host: ImageGenerator, style: Style | None
) -> dict[str, object]:
    request = ranked[0].request
    rest = ranked[len(portraits) :]
    return {
        "schema": SCHEMA,
        "person": people[0],
        "beside": list(people[1:]),
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
        **({"seeds": list(found.seeds), "try": found.tries} if score.each else {}),
        "likeness": score.likeness,
        "faces": score.faces,
        "sharpness": score.sharpness,
        "style_score": score.style,
        "each": list(score.each),
        "likeness_to_others": list(score.others),
        "face_pass": [str(p) for p in found.passed],
    }
