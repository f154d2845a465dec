"""``facechain bench``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from facechain_ext.cli.bench_people import people
from facechain_ext.cli.context import interruptible, make_studio
from facechain_ext.cli.output import Output
from facechain_ext.cli.train import read_config
from facechain_ext.config import TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.workspace import atomic_path, write_json

if TYPE_CHECKING:
    from facechain_ext.services.likeness import BenchPerson, BenchReport, PersonReport

app = typer.Typer(help="Measure.", no_args_is_help=True)


app.command("people")(people)


@app.callback()
def group() -> None:
    """Measure what training and blending do to likeness."""


@app.command("likeness")
def likeness(
    base: Annotated[str | None, typer.Option(help="Checkpoint: a name from 'models list', or a .safetensors file.")] = None,
    people: Annotated[
        Path | None, typer.Option(help="A folder with one folder of photos a person; the ORL faces when not given.", show_default=False)
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this person; may be repeated.", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.")] = None,
    config: Annotated[Path | None, typer.Option(help="JSON file with any training settings; options given here win.")] = None,
    images: Annotated[int, typer.Option(min=1, max=64, help="Portraits per person and measurement.")] = 8,
    style: Annotated[
        list[str] | None, typer.Option(help="A style with a LoRA, or 'none'; all that fit when not given.", show_default=False)
    ] = None,
    style_weight: Annotated[list[float] | None, typer.Option(help="Weights of the style LoRA.", show_default="0.5, 1")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the trainings.")] = None,
    photos: Annotated[bool, typer.Option(help="Show a training photo of each person on the sheet of pictures.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for report, table, plot and pictures.")] = Path("likeness"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train people the checkpoint has never seen; judge the portraits against photos the training never saw."""
    from facechain_ext.services.likeness import CURVE_POINTS, BenchRequest, run_bench
    from facechain_ext.services.likeness_sources import HELD_OUT, folder_people, orl_gallery, orl_people

    output = Output(as_json=as_json)
    studio = make_studio(output)
    choice = studio.checkpoint(base)
    values = choice.train.to_dict() | (read_config(config) if config else {})
    values |= {k: v for k, v in {"steps": steps, "seed": seed}.items() if v is not None}
    training = TrainConfig.from_dict(values)
    training = replace(training, previews=max(4, training.previews), preview_every=max(1, training.steps // CURVE_POINTS))
    fitting = [s.id for s in studio.styles() if s.acts_on(choice.name)]
    wanted = fitting if style is None else [s for s in style if s != "none"]
    chosen = chosen_people(folder_people(people) if people else orl_people(HELD_OUT), only or [])
    request = BenchRequest(
        chosen,
        {p.name: (*p.train, *p.judge) for p in folder_people(people)} if people else orl_gallery(),
        training,
        choice.portrait,
        base,
        images,
        tuple(wanted),
        tuple(style_weight or (0.5, 1.0)),
    )

    def on_person(report: PersonReport) -> None:
        output.messages.print(
            f"{report.person}: likeness {report.before.likeness:.2f} before, {report.after.likeness:.2f} after, "
            f"rank-1 {report.after.rank1:.0%}, {report.seconds:.0f} s"
        )

    with interruptible(output, keeps=False) as token, output.live() as live:
        report = run_bench(studio, request, live, token, on_person)
    write_report(report, out.expanduser().resolve(), photos=photos)
    output.say(table(report))
    output.say(f"Report, table, plot and pictures: {out}")
    output.result(report.to_dict())


@app.command("blend")
def blend(
    base: Annotated[str | None, typer.Option(help="Checkpoint: a name from 'models list', or a .safetensors file.")] = None,
    people: Annotated[
        Path | None,
        typer.Option(
            help="A folder with one folder of photos a person; ORL people no blend was chosen on when not given.", show_default=False
        ),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this person; may be repeated.", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps of each person's training.")] = None,
    images: Annotated[int, typer.Option(min=1, max=64, help="Portraits per person, style and blend.")] = 4,
    seed: Annotated[int | None, typer.Option(help="Of the first portrait of each row; 2000 when not given.", show_default=False)] = None,
    style: Annotated[list[str] | None, typer.Option(help="A style with a LoRA; all that fit when not given.", show_default=False)] = None,
    keep: Annotated[bool, typer.Option(help="Keep the people's LoRAs in the workspace, for another run.")] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for report, table, plot and pictures; a run that was interrupted goes on there.")
    ] = Path("blend"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Blend face and style in several ways; how much of the person is left at how much style?"""
    from facechain_ext.cli.bench_blend import table_of, write_blend_report
    from facechain_ext.services.blend_bench import BlendBenchRequest, run_blend_bench
    from facechain_ext.services.likeness_sources import CHOSEN_ON, HELD_OUT, folder_people, orl_people

    output = Output(as_json=as_json)
    studio = make_studio(output)
    choice = studio.checkpoint(base)
    training = TrainConfig.from_dict(choice.train.to_dict() | ({} if steps is None else {"steps": steps}))
    wanted = style or [s.id for s in studio.styles() if s.acts_on(choice.name)]
    known = folder_people(people) if people else orl_people(HELD_OUT)
    unseen = tuple(p for p in known if people or only or int(p.name.rpartition("-")[2]) not in CHOSEN_ON)
    folder = out.expanduser().resolve()
    portrait = replace(choice.portrait, seed=seed)
    request = BlendBenchRequest(chosen_people(unseen, only or []), tuple(wanted), training, portrait, folder, base, images, keep=keep)
    with interruptible(output, keeps=False) as token, output.live() as live:
        report = run_blend_bench(studio, request, live, token)
    write_blend_report(report, folder)
    output.say(table_of(report))
    output.say(f"Report, table, plot and pictures: {out}")
    output.result(report.to_dict())


def chosen_people(people: tuple[BenchPerson, ...], only: list[str]) -> tuple[BenchPerson, ...]:
    """Those named in ``only``, all when it is empty.

    Raises:
        UserInputError: for a name that is not there.
    """
    names = {p.name for p in people}
    unknown = [name for name in only if name not in names]
    if unknown:
        raise UserInputError(f"There is nobody called '{unknown[0]}' to measure. There are: {', '.join(sorted(names))}.")
    return tuple(p for p in people if not only or p.name in only)


def table(report: BenchReport) -> str:
    """The numbers as a Markdown table."""
    data = report.to_dict()
    rows = [*data["people"], {"person": "mean", **data["mean"]}]  # type: ignore[misc, dict-item]
    lines = [
        "| person | before | p10 | after | p10 | nearest other | rank-1 | one face | diversity | real photos | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        b, a = r["before"], r["after"]
        cells = [b["likeness"], b["p10"], a["likeness"], a["p10"], a["others"], a["rank1"], a["one_face"], a["diversity"]]
        numbers = " | ".join(f"{c:.2f}" for c in [*cells, r["real"]["likeness"]])
        lines.append(f"| {r['person']} | {numbers} | {r['seconds']:.0f} |")
    if report.styles:
        lines += ["", "| style | weight | blend | likeness | style score | rank-1 | one face |", "|---|---|---|---|---|---|---|"]
        lines += [
            f"| {s.style} | {s.weight:g} | {s.blend} | {s.measures.likeness:.2f} | {s.style_score:.2f} "
            f"| {s.measures.rank1:.2f} | {s.measures.one_face:.2f} |"
            for s in report.styles
        ]
    return "\n".join(lines)


def write_report(report: BenchReport, folder: Path, *, photos: bool) -> None:
    """``report.json``, ``table.md``, ``plot.png`` and ``sheet.png`` (with a real photo of each person when ``photos``) into ``folder``."""
    from facechain_ext.portraits.likeness_plot import Dot, draw_plot
    from facechain_ext.portraits.sheet import Labelled, Section, draw_sheet

    write_json(folder / "report.json", report.to_dict(), "the report")
    with atomic_path(folder / "table.md", "the table") as temporary:
        temporary.write_text(table(report) + "\n", encoding="utf-8")
    curves = {p.person: [(0, p.before.likeness), *((c.step, c.measures.likeness) for c in p.curve)] for p in report.people}
    ceiling = sum(p.real.likeness for p in report.people) / len(report.people)
    dots = [Dot(s.style, s.weight, s.measures.likeness, s.style_score) for s in report.styles]
    plot = draw_plot(f"Likeness on {report.checkpoint}, judged by {report.pack}", curves, ceiling, dots)
    with atomic_path(folder / "plot.png", "the plot") as temporary:
        plot.save(temporary, "PNG")
    sections = [
        Section(
            p.person,
            [*([Labelled(p.source, "a training crop")] if photos else []), *(Labelled(image) for image in p.portraits)][:8],
            8,
            note=f"likeness {p.after.likeness:.2f}, nearest other person {p.after.others:.2f}",
        )
        for p in report.people
    ]
    sections += [
        Section(
            f"{s.style}, weight {s.weight:g}",
            [Labelled(image) for image in s.portraits],
            8,
            note=f"likeness {s.measures.likeness:.2f}, style {s.style_score:.2f}",
        )
        for s in report.styles
    ]
    with atomic_path(folder / "sheet.png", "the pictures") as temporary:
        draw_sheet("Likeness bench", f"checkpoint {report.checkpoint}, judged by {report.pack}", sections).save(temporary, "PNG")
