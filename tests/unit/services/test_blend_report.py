"""What follows from single scores, and that the published table follows from its report and shows what ships."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from facechain_ext.cli.bench_blend import table_of
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.sidecar import read_sidecar
from facechain_ext.services.balance import plan_of
from facechain_ext.services.blend_methods import AUTO, DEFAULT, FACECHAIN, PLAIN_SUM, WITHOUT
from facechain_ext.services.blend_report import BlendReport, Cell, likeness_at, points_of
from facechain_ext.styles.catalog import find_style, load_styles

PUBLISHED = Path(__file__).parents[3] / "benchmarks" / "blend"


def cell(method, strength, person, likeness, score, plan="p"):
    return Cell("ink", method, strength, person, plan, "words", (likeness - 0.1, likeness + 0.1), (score, score), (1, 0))


REPORT = BlendReport(
    "c", "pack", ("a", "b"), ("ink",), (1, 2), {},
    (
        cell(WITHOUT, "", "a", 0.6, 0.1), cell(WITHOUT, "", "b", 0.4, 0.1),
        cell(PLAIN_SUM, "1", "a", 0.4, 0.5), cell(PLAIN_SUM, "1", "b", 0.2, 0.5),
        cell(FACECHAIN, "0.35", "a", 0.5, 0.3), cell(FACECHAIN, "0.35", "b", 0.4, 0.3),
        cell(DEFAULT, "slider 0.5", "a", 0.5, 0.4), cell(DEFAULT, "slider 0.5", "b", 0.25, 0.4),
        cell(AUTO, "slider 0.5", "a", 0.3, 0.6, "x"), cell(AUTO, "slider 0.5", "b", 0.3, 0.6, "y"),
    ),
)  # fmt: skip


def test_a_recipe_is_held_against_the_plain_sum_at_its_own_style_score():
    points = {p.method: p for p in points_of(REPORT, "ink")}
    ours = points[DEFAULT]
    # The plain sum's means: 0.5 at 0.1, 0.45 at 0.3 (FaceChain's weights), 0.3 at 0.5.
    assert (ours.likeness, ours.score) == (0.375, 0.4)
    assert ours.sum_likeness == pytest.approx((0.45 + 0.3) / 2)
    assert ours.gain == pytest.approx(0.0)
    assert ours.better_for == 1, "a: 0.5 above 0.45; b: 0.25 below 0.3"
    assert ours.kept == pytest.approx(0.375 / 0.5)
    assert (ours.one_face, ours.pictures, ours.beyond, ours.plan) == (0.5, 4, False, "p")
    assert points[PLAIN_SUM].sum_likeness is None
    assert points[WITHOUT].kept == 1
    beyond = points[AUTO]
    assert (beyond.beyond, beyond.sum_likeness, beyond.plan) == (True, pytest.approx(0.3), "")


def test_likeness_is_straight_between_points_and_flat_beyond():
    curve = [(0.1, 0.5), (0.3, 0.4)]
    assert [likeness_at(curve, s) for s in (0.0, 0.1, 0.2, 0.3, 0.9)] == pytest.approx([0.5, 0.5, 0.45, 0.4, 0.4])


def test_the_table_has_a_row_for_each_recipe():
    rows = table_of(REPORT).splitlines()
    assert len(rows) == 2 + 5
    assert rows[2:3] == ["| no style |  | 0.500 | 0.100 |  |  |  | 100% | 0.50 | `p` |"]
    assert "| auto-balance | slider 0.5 | 0.300 | 0.600 | 0.300 * | +0.000 | 1 of 2 | 60% | 0.50 | each person's own |" in rows


def published() -> BlendReport:
    return BlendReport.from_dict(json.loads((PUBLISHED / "report.json").read_text(encoding="utf-8")))


def test_the_published_table_follows_from_its_report():
    assert (PUBLISHED / "table.md").read_text(encoding="utf-8") == table_of(published()) + "\n"


def test_the_published_default_is_the_one_that_ships():
    report, config = published(), read_sidecar(SHIPPED / "tiny-faces.safetensors").portrait
    assert report.checkpoint == "tiny-faces"
    for name in report.styles:
        style = find_style(load_styles(), name)
        mine = [c for c in report.cells if (c.style, c.method) == (name, DEFAULT)]
        for cell in mine:
            balance = float(cell.strength.removeprefix("slider "))
            assert cell.plan == str(plan_of(style, replace(config, balance=balance), style.weight))
            assert cell.prompt == style.on(report.checkpoint).prompt.replace("{person}", "sks person")
        assert {c.strength for c in mine} >= {"slider 0.5"}
        assert not {"orl-03", "orl-22", "orl-38"} & set(report.people), "those it was chosen on"


def test_the_default_keeps_what_is_promised():
    for style in published().styles:
        middle = next(p for p in points_of(published(), style) if (p.method, p.strength) == (DEFAULT, "slider 0.5"))
        assert middle.gain is not None
        assert middle.gain >= 0.08
        assert middle.kept >= 0.85
