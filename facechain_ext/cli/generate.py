"""``facechain generate`` and ``facechain demo``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from facechain_ext.cli.context import interruptible, make_studio
from facechain_ext.cli.output import Output, duration
from facechain_ext.config import PortraitConfig
from facechain_ext.errors import UserInputError
from facechain_ext.services.again import faithful, recipe_of
from facechain_ext.services.composing import ToldPrompt
from facechain_ext.services.requests import BalanceRequest, Portrait, PortraitRequest, RankedPortraits
from facechain_ext.services.studio import Studio
from facechain_ext.styles.tokens import CHUNK

SETTINGS = frozenset(f.name for f in dataclasses.fields(PortraitConfig))
"""Options of these names are settings."""


def generate(
    person: Annotated[
        list[str] | None, typer.Option("--person", help="Whose portraits; given again, who else is in the picture, from left to right.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="Checkpoint: a name from 'models list', or a .safetensors file.")] = None,
    style: Annotated[str | None, typer.Option(help="A style from 'styles list'.")] = None,
    prompt: Annotated[str, typer.Option(help="Your own words, added to style and person; {person} marks the person's place.")] = "",
    negative: Annotated[str, typer.Option(help="What the portraits should not show.")] = "",
    count: Annotated[int | None, typer.Option(help="Candidates to generate; all are scored, the most alike first.")] = None,
    keep: Annotated[int | None, typer.Option(help="How many of them to keep, the best ones; all when not given.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first portrait; drawn when not given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Sampling steps.")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance scale.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, px.")] = None,
    face_weight: Annotated[float | None, typer.Option(help="Weight of the face LoRA, 0 to 2.")] = None,
    style_weight: Annotated[float | None, typer.Option(help="Weight of the style's LoRA, 0 to 2.")] = None,
    balance: Annotated[float | None, typer.Option(help="0 more style, 1 more of the person; where the style has a LoRA.")] = None,
    blend: Annotated[str | None, typer.Option(help="How face and style LoRA act together: a plan, or 'sum'.")] = None,
    tune: Annotated[
        float | None, typer.Option(min=1, help="First measure for about so many seconds how person and style go together.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="Sampler, with the WebUI's names.")] = None,
    min_likeness: Annotated[float | None, typer.Option(help="Portraits below are flagged.")] = None,
    face_pass: Annotated[str | None, typer.Option(help="Sample small faces again, larger: auto, off or always.")] = None,
    face_pass_strength: Annotated[float | None, typer.Option(help="How much of a face is sampled anew, 0.05 to 1.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures.")] = None,
    tries: Annotated[int | None, typer.Option(help="Several people: drawings of each picture at most, until every face is right.")] = None,
    own_likeness: Annotated[float | None, typer.Option(help="Several people: likeness every face needs to its own person.")] = None,
    other_likeness: Annotated[float | None, typer.Option(help="Several people: likeness a face may have at most to the others.")] = None,
    people_by: Annotated[str | None, typer.Option(help="Several people: regions (a column each) or faces (of a common draft).")] = None,
    from_infotext: Annotated[Path | None, typer.Option(help="Make a portrait again from its PNG, or from a .txt file of its parameters.")] = None,
    exact_prompt: Annotated[str | None, typer.Option(help="The whole prompt, in place of the composed one.", show_default=False)] = None,
    exact_negative: Annotated[str | None, typer.Option(help="The whole negative prompt, likewise.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell the prompts, part by part; generate nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Generate portraits, measure their likeness and put the best first."""
    output = Output(as_json=as_json)
    studio = make_studio(output)
    given: dict[str, Any] = {name: value for name, value in locals().items() if name in SETTINGS and value is not None} | parse_size(size)
    if from_infotext is not None:
        request = replace(again(output, studio, from_infotext, [*given, *(person or [])]), out=out)
    elif not person:
        raise UserInputError("Name whose portraits with --person, or give a picture to make again with --from-infotext.")
    else:
        config = PortraitConfig.from_dict(studio.checkpoint(base).portrait.to_dict() | given)
        request = PortraitRequest(person[0], base, style, prompt, negative, config, out=out, beside=tuple(person[1:]))
        request = replace(request, exact_prompt=exact_prompt, exact_negative=exact_negative)
    if dry_run:
        tell(output, studio.composed(request))
        return
    if tune is not None:
        _tune(studio, request, tune, output)
    with interruptible(output, keeps=False) as token, output.live() as live:
        result = studio.portraits(request, live, token)
    _told(output, result)


def _told(output: Output, result: RankedPortraits) -> None:
    for portrait in result.portraits:
        output.say(_line(portrait))
    for note in result.notes:
        output.messages.print(note, markup=False, soft_wrap=True)
    output.say(f"Contact sheet: {result.sheet}")
    output.result(report(result))


def again(output: Output, studio: Studio, source: Path, given: Sequence[str]) -> PortraitRequest:
    """The request that makes the picture ``source`` again; ``given`` are settings beside it, of which there may be none.

    Raises:
        UserInputError: when there are some, or the picture is none of ours.
    """
    if given:
        raise UserInputError(f"--from-infotext takes everything from the picture; leave out {', '.join(given)}.")
    recipe = recipe_of(source)
    found = studio.host(recipe.request.checkpoint).checkpoint
    if recipe.model_hash and recipe.model_hash != found.short_hash:
        output.messages.print(f"The picture was made with another {found.name} ({recipe.model_hash}); this one gives another picture.")
    for note in recipe.notes:
        output.messages.print(note, markup=False, soft_wrap=True)
    return faithful(recipe, studio.composed(recipe.request))


def _line(portrait: Portrait) -> str:
    scores = [f"likeness {portrait.likeness:.3f}" if portrait.likeness is not None else "no face"]
    scores += [f"({' | '.join('no face' if x is None else f'{x:.3f}' for x in portrait.each)})"] if portrait.each else []
    scores += [f"to the others ({' | '.join(f'{x:.3f}' for x in portrait.others)})"] if portrait.each and None not in portrait.each else []
    scores += [] if portrait.sharpness is None else [f"sharpness {portrait.sharpness:.2f}"]
    scores += [] if portrait.style_score is None else [f"style {portrait.style_score:.2f}"]
    scores += [f"face pass {said}" for said in portrait.face_pass]
    flag = f"  ({' '.join(portrait.faults)})" if portrait.flagged else ""
    seeds = "+".join(map(str, dict.fromkeys(portrait.seeds or (portrait.seed,)))) + (f"  try {portrait.tries}" if portrait.tries > 1 else "")
    return f"  {portrait.rank:2d}  {'  '.join(scores)}  seed {seeds}  {portrait.file.name}{flag}"


def tell(output: Output, prompt: ToldPrompt) -> None:
    """Print the prompts and where each part of them comes from."""
    sides = (
        ("Prompt", prompt.used, prompt.chunks, prompt.composed.parts),
        ("Avoid", prompt.used_negative, prompt.negative_chunks, prompt.composed.negative_parts),
    )
    for name, used, chunks, parts in sides:
        output.say(f"{name} ({' + '.join(map(str, chunks))} of {CHUNK} tokens): {used}")
        if used == "".join(p.text for p in parts):
            for part in parts:
                output.say(f"    {part.source:<7} {part.text.strip(' ,')}")
    for note in prompt.notes:
        output.messages.print(note, markup=False, soft_wrap=True)
    output.result(
        {
            "prompt": prompt.used,
            "negative": prompt.used_negative,
            "parts": [{"source": p.source, "text": p.text} for p in prompt.composed.parts],
            "negative_parts": [{"source": p.source, "text": p.text} for p in prompt.composed.negative_parts],
            "tokens": list(prompt.chunks),
            "negative_tokens": list(prompt.negative_chunks),
            "notes": list(prompt.notes),
        }
    )


def _tune(studio: Studio, request: PortraitRequest, seconds: float, output: Output) -> None:
    if request.style is None:
        raise UserInputError("--tune measures how person and style go together: name a style with --style.")
    wanted = BalanceRequest(request.person, request.style, request.checkpoint, request.config, seconds)
    with interruptible(output, keeps=False) as token, output.live() as live:
        found = studio.balance(wanted, live, token)
    output.say(found.explained(request.config.balance))


def parse_size(text: str | None) -> dict[str, int]:
    """``512x768`` -> width and height.

    Raises:
        UserInputError: when it is not of that form.
    """
    if text is None:
        return {}
    match = re.fullmatch(r"(\d{2,5})[xX×](\d{2,5})", text.strip())
    if match is None:
        raise UserInputError(f"The size '{text}' must be WIDTHxHEIGHT, for example 512x768.")
    return {"width": int(match[1]), "height": int(match[2])}


def report(result: RankedPortraits) -> dict[str, object]:
    """The command's JSON."""
    images = [
        {
            "file": str(p.file),
            "seed": p.seed,
            "likeness": p.likeness,
            "faces": p.faces,
            "sharpness": p.sharpness,
            "style_score": p.style_score,
            "rank": p.rank,
            "flagged": p.flagged,
            "faults": list(p.faults),
            "face_pass": list(p.face_pass),
            "each": list(p.each),
            "others": list(p.others),
            "seeds": list(p.seeds),
            "try": p.tries,
        }
        for p in result.portraits
    ]
    return {
        "person": result.person,
        "candidates": result.candidates,
        "images": images,
        "notes": list(result.notes),
        "sheet": str(result.sheet),
        "report": str(result.report),
    }


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the contact sheet, LoRA and portraits.")] = Path("demo"),
    steps: Annotated[int | None, typer.Option(help="Optimizer steps; fewer are quicker and less alike.")] = None,
    count: Annotated[int, typer.Option(help="Portraits.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The whole main job on one person of the ORL face database, who the embedded checkpoint has never seen."""
    from facechain_ext.services.demo import run_demo

    output = Output(as_json=as_json)
    studio = make_studio(output)
    with interruptible(output, keeps=True) as token, output.live() as live:
        result = run_demo(studio, out, steps, count, live, token)
    before = "no face" if result.likeness_before is None else f"{result.likeness_before:.2f}"
    after = "no face" if result.likeness_after is None else f"{result.likeness_after:.2f}"
    output.say(f"Likeness to photos the training never saw: {before} before, {after} after ({duration(result.seconds)}).")
    output.say(f"LoRA: {result.lora}")
    output.say(f"Contact sheet: {result.sheet}")
    output.result(
        {
            "lora": str(result.lora),
            "sheet": str(result.sheet),
            "likeness_before": result.likeness_before,
            "likeness_after": result.likeness_after,
            "seconds": round(result.seconds, 1),
        }
    )
