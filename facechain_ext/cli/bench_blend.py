"""What ``facechain bench blend`` writes: table, plot, sheet of pictures and report."""

from __future__ import annotations

from pathlib import Path

from facechain_ext.portraits.blend_plot import BlendCurve, draw_blends
from facechain_ext.portraits.sheet import Labelled, Section, draw_sheet
from facechain_ext.services.blend_bench import shown
from facechain_ext.services.blend_methods import DEFAULT, FACECHAIN, PLAIN_SUM, WITHOUT, WITHOUT_GUIDED
from facechain_ext.services.blend_report import BlendReport, Point, points_of
from facechain_ext.workspace import atomic_path, write_json

MOST_COLUMNS = 9
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
    pictures = shown(report, folder)
    sections = []
    for style in report.styles:
        points = _middle(points_of(report, style))[:MOST_COLUMNS]
        for person in report.people:
            tiles = [
                Labelled(pictures[place], _short(p), f"{_scores(report, place)}")
                for p in points
                if (place := (style, p.method, p.strength, person)) in pictures
            ]
            if tiles:
                sections.append(Section(f"{style}: {person}", tiles, len(points), note=f"seed {report.seeds[0]}"))
    with atomic_path(folder / "sheet.png", "the pictures") as temporary:
        draw_sheet("Face and style", f"checkpoint {report.checkpoint}, the same seed in every row", sections).save(temporary, "PNG")


def _curves(report: BlendReport, style: str) -> list[BlendCurve]:
    points = points_of(report, style)
    roles = {DEFAULT: "ours", PLAIN_SUM: "rival", FACECHAIN: "bound", WITHOUT: "bound", WITHOUT_GUIDED: "bound"}
    return [
        BlendCurve(
            method, [(p.score, p.likeness, p.strength.removeprefix("slider ")) for p in points if p.method == method], roles.get(method, "")
        )
        for method in dict.fromkeys(p.method for p in points)
    ]


def _middle(points: list[Point]) -> list[Point]:
    """One point of each method, of middle strength; without guidance only the plain portrait."""
    groups = {m: [p for p in points if p.method == m] for m in dict.fromkeys(p.method for p in points)}
    return [group[len(group) // 2] for group in groups.values()]


def _short(p: Point) -> str:
    return p.method if p.method in (WITHOUT, WITHOUT_GUIDED) else f"{p.method} {p.strength}"


def _scores(report: BlendReport, place: tuple[str, str, str, str]) -> str:
    cell = next(c for c in report.cells if (c.style, c.method, c.strength, c.person) == place)
    return f"{cell.likeness[0]:.2f}, style {cell.score[0]:.2f}"
