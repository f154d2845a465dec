"""``facechain styles``: what there is, the user's own, import, export and training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from facechain_ext.cli.context import interruptible, make_studio
from facechain_ext.cli.output import Output, duration
from facechain_ext.cli.people import confirmed
from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.services.requests import StyleTrainRequest
from facechain_ext.styles.catalog import Style, find_style

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Wanted = Annotated[str, typer.Argument(help="The style's id or name.", show_default=False)]
app = typer.Typer(help="Styles to generate in: list, show, make, import, export, train, delete.", no_args_is_help=True)


@app.command("list")
def list_styles(
    find: Annotated[str, typer.Option(help="Only those with these words in name, category or keywords.")] = "",
    as_json: AsJson = False,
) -> None:
    """Shipped styles and your own."""
    output = Output(as_json=as_json)
    problems: list[str] = []
    styles = [s for s in make_studio(output).styles(problems) if s.matches(find)]
    for style in styles:
        output.say(f"  {style.id:<22} {style.name:<26} {style.prompt}")
    for sentence in problems:
        output.messages.print(sentence, markup=False, soft_wrap=True)
    output.result({"styles": [_plain(s) for s in styles], "problems": problems})


@app.command("show")
def show(style: Wanted, as_json: AsJson = False) -> None:
    """All about one style."""
    output = Output(as_json=as_json)
    found = find_style(make_studio(output).styles(), style)
    lora = found.lora_file
    output.say(f"{found.name} ({found.id}), {found.category}, licence {found.licence}, {found.source}")
    output.say(f"  words   {found.prompt}")
    output.say(f"  avoids  {found.negative or '-'}")
    if found.lora:
        there = "there" if lora is not None and lora.exists() else "MISSING"
        output.say(f"  LoRA    {found.lora}, weight {found.weight:g}, {found.family or 'unknown family'}, {there}")
    if found.note:
        output.say(f"  note    {found.note}")
    output.result(_plain(found))


@app.command("make")
def make(
    name: Annotated[str, typer.Argument(help="What to call it.", show_default=False)],
    prompt: Annotated[
        str | None, typer.Option(help="Its words; {person} marks the person's place, else they follow the person.", show_default=False)
    ] = None,
    lora: Annotated[str | None, typer.Option(help="A LoRA in the LoRA folder by its name, or the path of one to copy.", show_default=False)] = None,
    weight: Annotated[float, typer.Option(help="Of the LoRA, 0 to 2.")] = 0.7,
    negative: Annotated[str, typer.Option(help="What it should not show.")] = "",
    category: Annotated[str, typer.Option(help="Where it stands among the others.")] = "own",
    licence: Annotated[str, typer.Option(help="Of the LoRA, as its author states it.")] = "not stated",
    source: Annotated[str, typer.Option(help="Where it comes from.")] = "made by you",
    replace: Annotated[bool, typer.Option("--replace", help="Change a style of yours.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a style of words, of a LoRA, or of both."""
    from facechain_ext.services.styles import make_style

    output = Output(as_json=as_json)
    studio = make_studio(output)
    values = {"name": name, "negative": negative, "category": category, "licence": licence, "source": source, "weight": weight}
    style = make_style(studio.workspace, values, words=prompt or "", lora=lora, loras=studio.loras(), replace=replace)
    output.say(f"Saved '{style.id}': {style.prompt}")
    output.result(_plain(style))


@app.command("delete")
def delete(style: Wanted, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False) -> None:
    """Delete a style of yours; LoRAs in the WebUI's folder stay."""
    from facechain_ext.services.styles import delete_style, own_style

    output = Output(as_json=as_json)
    studio = make_studio(output)
    found = own_style(studio.workspace, style)
    if not yes and not confirmed(f"Delete the style '{found.name}' for good?"):
        raise UserInputError("Nothing was deleted.")
    delete_style(studio.workspace, found.id)
    output.say(f"Deleted '{found.id}'.")
    output.result({"deleted": found.id})


@app.command("export")
def export(
    style: Wanted,
    out: Annotated[Path, typer.Option(help="The file to write, or the folder for it.")] = Path(),
    with_lora: Annotated[bool, typer.Option("--lora", help="With its LoRA; mind its licence.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a style as one file to share."""
    from facechain_ext.services.styles import export_style

    output = Output(as_json=as_json)
    found = find_style(make_studio(output).styles(), style)
    file = export_style(found, out, with_lora=with_lora)
    output.say(f"Exported to {file} (licence: {found.licence})")
    output.result({"style": found.id, "file": str(file)})


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A .facechain-style file, FaceChain's styles, an EasyPhoto scene LoRA, or a folder.", show_default=False)],
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Read brackets as weights; FaceChain's own program read them as text.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take over styles of other programs and people. Nothing is downloaded: LoRAs are found by name in your LoRA folder."""
    output = Output(as_json=as_json)
    done = make_studio(output).import_styles(path, keep_weights=keep_weights)
    for style in done.styles:
        output.say(f"  {style.id:<22} {style.name:<26} {style.prompt}")
        for note in done.notes.get(style.id, ()):
            output.say(f"      {note}")
    for sentence in done.refused:
        output.messages.print(sentence, markup=False, soft_wrap=True)
    output.say(f"{len(done.styles)} styles imported, {len(done.refused)} refused.")
    output.result({"styles": [_plain(s) for s in done.styles], "notes": {k: list(v) for k, v in done.notes.items()}, "refused": list(done.refused)})
    if not done.styles:
        raise typer.Exit(2)


@app.command("train")
def train(
    folder: Annotated[
        list[Path] | None, typer.Argument(help="Pictures in the style, or folders of them; captions in .txt files beside.", show_default=False)
    ] = None,
    *,
    name: Annotated[str, typer.Option("--name", help="What to call the style.", show_default=False)],
    trigger: Annotated[str, typer.Option(help="The word that will call it; made of the name when not given.", show_default=False)] = "",
    base: Annotated[str | None, typer.Option(help="Checkpoint: a name from 'models list', or a .safetensors file.", show_default=False)] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with settings of training.", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", show_default=False)] = None,
    licence: Annotated[str, typer.Option(help="Of the pictures, for those you share the style with.")] = "yours",
    replace: Annotated[bool, typer.Option("--replace", help="Train a style of yours anew.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the unfinished training of this name; its pictures are kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a style LoRA from pictures. Ctrl-C stops and keeps what was learned."""

    output = Output(as_json=as_json)
    studio = make_studio(output)
    if bool(folder) == resume:
        raise UserInputError("Name pictures to learn from, or go on with --resume, which has its own.")
    values = studio.checkpoint(base).train.to_dict() | _settings(config) | ({"steps": steps} if steps is not None else {})
    request = StyleTrainRequest(name, tuple(folder or ()), trigger, base, TrainConfig.from_dict(values), licence, replace, resume)
    with interruptible(output, keeps=True) as token, output.live() as live:
        result = studio.train_style(request, live, token)
    for note in result.notes:
        output.messages.print(note, markup=False, soft_wrap=True)
    output.say(f"Trained {result.steps} steps on {result.pictures} pictures in {duration(result.seconds)}; captions: {result.captioned}.")
    output.say(f"Style '{result.style.id}': {result.style.prompt}")
    output.result(_plain(result.style) | {"steps": result.steps, "seconds": round(result.seconds, 1), "loss": result.loss, "notes": list(result.notes)})


def _settings(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        value = json.loads(file.expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserInputError(f"The settings file {file.name} cannot be read as JSON ({type(error).__name__}).") from None
    if not isinstance(value, dict):
        raise UserInputError(f"The settings file {file.name} must hold one JSON object.")
    return value


def _plain(style: Style) -> dict[str, Any]:
    lora = style.lora_file
    return {
        "id": style.id,
        "name": style.name,
        "category": style.category,
        "prompt": style.prompt,
        "negative": style.negative,
        "keywords": list(style.keywords),
        "lora": style.lora,
        "lora_file": str(lora) if lora is not None and lora.exists() else None,
        "weight": style.weight,
        "family": style.family,
        "licence": style.licence,
        "source": style.source,
        "note": style.note,
        "own": style.own,
    }
