"""``facechain people``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from facechain_ext.cli.context import make_studio
from facechain_ext.cli.output import Output
from facechain_ext.errors import UserInputError
from facechain_ext.services.requests import Person

app = typer.Typer(help="Who is stored here: list, show, export, delete.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Name = Annotated[str, typer.Argument(help="The person's name.", show_default=False)]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Everyone stored."""
    output = Output(as_json=as_json)
    people = make_studio(output).people()
    for person in people:
        output.say(f"  {person.name}: {person.photos} photos, {len(person.loras)} LoRAs, {person.portraits} portraits")
    if not people:
        output.say("Nobody yet. Start with: facechain prepare PHOTOS --person NAME")
    output.result({"people": [_plain(p) for p in people]})


@app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """What is kept about one person."""
    output = Output(as_json=as_json)
    person = make_studio(output).person(name)
    output.say(f"{person.name}: trigger '{person.trigger}', {person.photos} prepared photos, {person.originals} kept as they were, {person.portraits} portraits")
    for lora in person.loras:
        likeness = f"likeness {lora.likeness:.2f}" if lora.likeness is not None else "likeness unknown"
        grown = f", continues {lora.grown_from}" if lora.grown_from else ""
        output.say(f"  {lora.name}: {lora.steps} steps on {lora.checkpoint}, rank {lora.rank}, {likeness}, {lora.created}{grown}")
    if person.resumable:
        output.say("An unfinished training can go on: facechain train --resume")
    output.result(_plain(person))


@app.command("delete")
def delete(name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False) -> None:
    """Delete everything kept about one person: photos, LoRAs, portraits, copies elsewhere."""
    output = Output(as_json=as_json)
    studio = make_studio(output)
    person = studio.person(name)
    if not yes and not confirmed(
        f"Delete {person.photos + person.originals} photos, {len(person.loras)} LoRAs and {person.portraits} portraits of '{person.name}' for good?"
    ):
        raise UserInputError("Nothing was deleted.")
    count = studio.delete_person(name)
    output.say(f"Deleted {count} files; nothing of '{person.name}' is left.")
    output.result({"person": person.name, "deleted": count})


def confirmed(question: str) -> bool:
    """Ask on the terminal.

    Raises:
        UserInputError: when nobody is there to be asked.
    """
    if not sys.stdin.isatty():
        raise UserInputError("Nothing was deleted, because nobody is there to be asked. Add --yes.")
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False


@app.command("export")
def export(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="The zip file to write, or the folder for it.", show_default="NAME.zip")] = None,
    photos: Annotated[bool, typer.Option("--photos", help="Also the photos.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the person's LoRAs (and photos) into one zip file."""
    output = Output(as_json=as_json)
    studio = make_studio(output)
    person = studio.person(name)
    target = (out or Path()).expanduser().resolve()
    if target.is_dir():
        target /= f"{person.name}.zip"
    target = studio.export_person(name, target, photos=photos)
    output.say(f"Exported to {target}")
    output.result({"person": person.name, "file": str(target)})


def _plain(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "trigger": person.trigger,
        "subject": person.subject,
        "photos": person.photos,
        "originals": person.originals,
        "portraits": person.portraits,
        "resumable": person.resumable,
        "loras": [
            {
                "name": x.name,
                "file": str(x.file),
                "checkpoint": x.checkpoint,
                "rank": x.rank,
                "steps": x.steps,
                "likeness": x.likeness,
                "created": x.created,
                "grown_from": x.grown_from,
            }
            for x in person.loras
        ],
    }
