"""``facechain bench people``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image as PilImage

from facechain_ext.cli.context import interruptible, make_studio
from facechain_ext.cli.output import Output
from facechain_ext.workspace import atomic_path, write_json


def people(
    base: Annotated[str | None, typer.Option(help="Checkpoint: a name from 'models list', or a .safetensors file.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--people", help="A folder with one folder of photos a person; the ORL faces when not given.", show_default=False)
    ] = None,
    size: Annotated[list[int] | None, typer.Option(min=2, max=3, help="How many people in a picture; may be repeated.", show_default="2")] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Only these together, by name from left to right, with commas; may be repeated.", show_default=False)
    ] = None,
    images: Annotated[int, typer.Option(min=1, max=64, help="Pictures of each group.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the first picture of each group.")] = 1000,
    tries: Annotated[int | None, typer.Option(min=1, help="Drawings of each picture at most.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for report, table and pictures; a bench goes on where it was ended.")] = Path("people"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Two or three people in one picture: is every face its own person's, judged by photos the training never saw?"""
    from facechain_ext.services.likeness_sources import HELD_OUT, folder_people, orl_people
    from facechain_ext.services.people_bench import PeopleBenchRequest, groups_of, run_people_bench

    output = Output(as_json=as_json)
    studio = make_studio(output)
    choice = studio.checkpoint(base)
    known = folder_people(folder) if folder else orl_people(HELD_OUT)
    names = [person.name for person in known]
    groups = [tuple(name.strip() for name in one.split(",")) for one in group or []]
    groups = groups or [found for many in size or [2] for found in groups_of(names, many)]
    portrait = replace(choice.portrait, count=images, seed=seed, tries=tries or choice.portrait.tries)
    request = PeopleBenchRequest(known, tuple(groups), choice.train, portrait, base)
    target = out.expanduser().resolve()
    with interruptible(output, keeps=True) as token, output.live() as live:
        found = run_people_bench(studio, request, target, live, token)
    write_report(found, target, choice.name)
    output.say(table(found))
    output.say(f"Report, table and pictures: {out}")
    output.result(report(found, choice.name))


def report(groups: Sequence[Mapping[str, Any]], checkpoint: str) -> dict[str, Any]:
    """The command's JSON."""
    from facechain_ext.services.people_bench import OTHERS, OWN, SCHEMA, summed

    sizes = sorted({len(group["people"]) for group in groups})
    of_size = {many: [group for group in groups if len(group["people"]) == many] for many in sizes}
    return {
        "schema": SCHEMA,
        "checkpoint": checkpoint,
        "right": {"own": OWN, "others": OTHERS},
        "of": {str(many): summed(own) for many, own in of_size.items()},
        "groups": [{**group, **summed([group])} for group in groups],
    }


def table(groups: Sequence[Mapping[str, Any]]) -> str:
    """The numbers as a Markdown table: a line a group, and one for all groups of a size."""
    from facechain_ext.services.people_bench import summed

    lines = [
        "| from left to right | pictures | right | at first | by the photos trained on | own | nearest other | drawings each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for many in sorted({len(group["people"]) for group in groups}):
        own = [group for group in groups if len(group["people"]) == many]
        rows = [(", ".join(group["people"]), summed([group])) for group in own]
        for name, found in [*rows, (f"**all of {many} people**", summed(own))]:
            shares = " | ".join(f"{found[key]:.0%}" for key in ("right", "right_at_first", "trained_right"))
            lines.append(f"| {name} | {found['pictures']} | {shares} | {found['own']:.2f} | {found['others']:.2f} | {found['drawings_each']:.1f} |")
    return "\n".join(lines)


def write_report(groups: Sequence[Mapping[str, Any]], folder: Path, checkpoint: str) -> None:
    """``report.json``, ``table.md`` and ``sheet.png`` into ``folder``, where the pictures lie."""
    from facechain_ext.portraits.sheet import Section, draw_sheet

    write_json(folder / "report.json", report(groups, checkpoint), "the report")
    with atomic_path(folder / "table.md", "the table") as temporary:
        temporary.write_text(table(groups) + "\n", encoding="utf-8")
    sections = []
    for group in groups:
        pictures = folder / "groups" / "+".join(group["people"])
        tiles = [_tile(picture, pictures / picture["file"]) for picture in group["delivered"]]
        right = sum(picture["right"] for picture in group["delivered"])
        sections.append(Section(" | ".join(group["people"]), tiles, 4, note=f"{right} of {len(tiles)} right"))
    subtitle = f"checkpoint {checkpoint}; likeness of each face to its own person and to the others, by photos no training saw"
    with atomic_path(folder / "sheet.png", "the pictures") as temporary:
        draw_sheet("Several people in one picture", subtitle, sections).save(temporary, "PNG")


def _tile(picture: Mapping[str, Any], file: Path) -> Any:
    from facechain_ext.portraits.sheet import Labelled

    own = " | ".join("none" if x is None else f"{x:.2f}" for x in picture["own"])
    others = " | ".join("-" if own is None else f"{x:.2f}" for own, x in zip(picture["own"], picture["others"], strict=True))
    with PilImage.open(file) as image:
        pixels = np.asarray(image.convert("RGB"))
    return Labelled(pixels, own, f"to the others {others} · try {picture['try']}", not picture["right"])
