"""What ``facechain bench blend`` writes: table, plot, sheet of pictures and report."""

from __future__ import annotations

from pathlib import Path

from facechain_ext.portraits.blend_plot import BlendCurve, draw_blends
from facechain_ext.portraits.sheet import Labelled, Section, draw_sheet
from facechain_ext.services.blend_bench import shown
from facechain_ext.services.blend_methods import DEFAULT, FACECHAIN, PLAIN_SUM, WITHOUT, WITHOUT_GUIDED
from facechain_ext.services.blend_report import BlendReport, Point, points_of
from facechain_ext.workspace import atomic_path, write_json

HEAD = "| {style} | strength | likeness | style | plain sum there | gain | people better | kept | one face | plan |"


def table_of(report: BlendReport) -> str:
    """The numbers of all people together as Markdown, a table for each style."""
    tables = []
    for style in report.styles:
        lines = [HEAD.format(style=style), "|" + "---|" * HEAD.count("| ")]
        lines += [_row(p, len(report.people)) for p in points_of(report, style)]
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _row(p: Point, people: int) -> str:
    there = gain = better = ""
    if p.sum_likeness is not None and p.gain is not None:
        there, gain, better = f"{p.sum_likeness:.3f}{' *' if p.beyond else ''}", f"{p.gain:+.3f}", f"{p.better_for} of {people}"
    plan = f"`{p.plan.replace('|', chr(92) + '|')}`" if p.plan else "each person's own"
    return f"| {p.method} | {p.strength} | {p.likeness:.3f} | {p.score:.3f} | {there} | {gain} | {better} | {p.kept:.0%} | {p.one_face:.2f} | {plan} |"


def write_blend_report(report: BlendReport, folder: Path) -> None:
    """``report.json``, ``table.md``, ``plot.png`` and ``sheet.png`` into ``folder``, which holds the bench's pictures."""
    write_json(folder / "report.json", report.to_dict(), "the report")
    with atomic_path(folder / "table.md", "the table") as temporary:
        temporary.write_text(table_of(report) + "\n", encoding="utf-8")
    panels = {style: _curves(report, style) for style in report.styles}
    title = f"Face and style on {report.checkpoint}, {len(report.people)} people, judged by {report.pack}"
    with atomic_path(folder / "plot.png", "the plot") as temporary:
        draw_blends(title, panels).save(temporary, "PNG")
    with atomic_path(folder / "sheet.png", "the pictures") as temporary:
        note = f"checkpoint {report.checkpoint}, seed {report.seeds[0]} everywhere"
        draw_sheet("Face and style", note, _sections(report, folder)).save(temporary, "PNG")


def _sections(report: BlendReport, folder: Path) -> list[Section]:
    """A row for each way of blending at its middle strength; its columns are everybody in every style."""
    pictures = shown(report, folder)
    points = {style: {(p.method, p.strength): p for p in points_of(report, style)} for style in report.styles}
    sections = []
    for method, strength in _middle(report):
        places = [(style, method, strength, person) for style in report.styles for person in report.people]
        tiles = [Labelled(pictures[place], small=f"{place[0]}, {place[3]}") for place in places if place in pictures]
        numbers = [
            f"{style}: likeness {p.likeness:.2f}, style {p.score:.2f}"
            for style in report.styles
            if (p := points[style].get((method, strength)))
        ]
        if tiles:
            sections.append(Section(f"{method} {strength}".strip(), tiles, max(len(places), 2), note="   ".join(numbers)))
    return sections


def _curves(report: BlendReport, style: str) -> list[BlendCurve]:
    points = points_of(report, style)
    roles = {DEFAULT: "ours", PLAIN_SUM: "rival", FACECHAIN: "bound", WITHOUT: "bound", WITHOUT_GUIDED: "bound"}
    return [
        BlendCurve(
            method, [(p.score, p.likeness, p.strength.removeprefix("slider ")) for p in points if p.method == method], roles.get(method, "")
        )
        for method in dict.fromkeys(p.method for p in points)
    ]


def _middle(report: BlendReport) -> list[tuple[str, str]]:
    """(method, strength) of middle strength, one for each method."""
    groups: dict[str, list[str]] = {}
    for cell in report.cells:
        strengths = groups.setdefault(cell.method, [])
        if cell.strength not in strengths:
            strengths.append(cell.strength)
    return [(method, strengths[len(strengths) // 2]) for method, strengths in groups.items()]
