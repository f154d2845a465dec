"""``facechain prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from facechain_ext.cli.context import interruptible, make_studio
from facechain_ext.cli.output import Output
from facechain_ext.cli.train import read_config
from facechain_ext.config import FRAMINGS, PrepareConfig
from facechain_ext.errors import ConfigError
from facechain_ext.faces.types import Preparation
from facechain_ext.services.requests import PrepareRequest


def prepare(
    person: Annotated[str, typer.Option("--person", help="The person's name.", show_default=False)],
    photos: Annotated[
        list[Path] | None, typer.Argument(help="Photos, folders or zip files of photos; none: those kept of the person.", show_default=False)
    ] = None,
    base: Annotated[str | None, typer.Option(help="Checkpoint to prepare for (sets the crop size).")] = None,
    resolution: Annotated[int | None, typer.Option(help="Side of the crops, px; the checkpoint's own by default.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Word that will name the person in prompts.")] = None,
    subject: Annotated[str | None, typer.Option(help="Class word: person, man, woman, boy, girl.")] = None,
    framing: Annotated[str | None, typer.Option(help=f"How much of the person a crop shows: {', '.join(FRAMINGS)}.")] = None,
    background: Annotated[str | None, typer.Option(help="Behind the person: keep, blur or white.")] = None,
    face: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE=NUMBER", help="Use this photo, with this one of its faces, whatever its verdict; can be repeated.", show_default=False),
    ] = None,
    leave_out: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Do not use this photo; can be repeated.", show_default=False)] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with any prepare settings; options given here win.")] = None,
    keep: Annotated[
        bool, typer.Option("--keep-photos", help="Keep the photos themselves too, to prepare them again; otherwise only the crops stay.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check photos, crop the person's face and write the dataset."""
    from facechain_ext.services.prepare_person import NoUsablePhoto

    output = Output(as_json=as_json)
    studio = make_studio(output)
    chosen = {"resolution": resolution, "trigger": trigger, "subject": subject, "background": background, "keep_photos": keep or None}
    chosen["crop_scale"] = _crop_scale(framing)
    from_file = read_config(config) if config else {}
    values = studio.checkpoint(base).prepare.to_dict() | from_file | {k: v for k, v in chosen.items() if v is not None}
    request = PrepareRequest(person, tuple(photos or ()), PrepareConfig.from_dict(values), _chosen(face or [], leave_out or []))
    with interruptible(output, keeps=False) as token:
        try:
            with output.live() as live:
                result = studio.prepare(request, live, token)
        except NoUsablePhoto as error:
            show(output, error.preparation)
            output.result(report(person, error.preparation))
            raise
    show(output, result)
    output.result(report(studio.workspace.person(person).name, result))


def _crop_scale(framing: str | None) -> float | None:
    """The preset called ``framing``.

    Raises:
        ConfigError: when there is none.
    """
    if framing is None:
        return None
    found = {name.casefold(): scale for name, scale in FRAMINGS.items()}.get(framing.strip().casefold())
    if found is None:
        raise ConfigError([f"'--framing' must be one of {', '.join(FRAMINGS)}, not '{framing}'."])
    return found


def _chosen(faces: list[str], left_out: list[str]) -> dict[str, int | None]:
    """What ``--face`` and ``--leave-out`` say, faces counted from 0.

    Raises:
        ConfigError: when one is not written as it must be.
    """
    chosen: dict[str, int | None] = dict.fromkeys(left_out)
    for said in faces:
        file, _, number = said.rpartition("=")
        if not file or not number.isdecimal() or int(number) < 1:
            raise ConfigError([f"'--face' must be the photo's name and the number of the face, as in 'party.jpg=2', not '{said}'."])
        if file in chosen:
            raise ConfigError([f"'{file}' is named twice by '--face' or '--leave-out'. Say once what to do with it."])
        chosen[file] = int(number) - 1
    return chosen


def show(output: Output, result: Preparation) -> None:
    """A line for each photo and one for the faces to choose from, then advice."""
    for verdict in result.verdicts:
        mark = "ok      " if verdict.accepted else "rejected"
        score = f"{verdict.quality:4.2f}" if verdict.accepted else "    "
        output.say(f"  {mark} {score}  {verdict.file}  {' '.join(dict.fromkeys(verdict.sentences))}".rstrip())
        if len(verdict.faces) > 1:
            faces = (f"{i} {seen.place}{' (taken)' if seen.taken else ''}" for i, seen in enumerate(verdict.faces, start=1))
            output.say(f"                   faces: {', '.join(faces)}; choose with --face '{verdict.file}=NUMBER'")
    used = sum(v.accepted for v in result.verdicts)
    output.say(f"{used} of {len(result.verdicts)} photos can be used.")
    for sentence in result.advice:
        output.say(sentence)


def report(person: str, result: Preparation) -> dict[str, object]:
    """The command's JSON."""
    photos = [
        {
            "file": v.file,
            "accepted": v.accepted,
            "reasons": [r.value for r in v.reasons],
            "sentences": list(v.sentences),
            "quality": round(v.quality, 4),
            "similarity": None if v.similarity is None else round(v.similarity, 4),
            "faces": [{"number": i, "place": f.place, "box": [round(c, 4) for c in f.box], "taken": f.taken} for i, f in enumerate(v.faces, start=1)],
            "caption": v.caption,
        }
        for v in result.verdicts
    ]
    return {"person": person, "accepted": sum(v.accepted for v in result.verdicts), "photos": photos, "advice": list(result.advice)}
