"""Several people in one picture: what missed is drawn again, what was right keeps its noise, and the best drawing is delivered."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facechain_ext.blend import Region
from facechain_ext.config import SEED_MAX, PortraitConfig
from facechain_ext.portraits.rank import Limits, Score
from facechain_ext.ports import RegionPrompt, SamplingRequest
from facechain_ext.services.again import recipe_of
from facechain_ext.services.candidates import Candidate
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.services.tries import drawn
from tests.unit.services.conftest import PERSON

AIM = Limits(0.5, 2, 0.2)
HALVES = tuple(RegionPrompt("a face", Region((i / 2, 0.0, (i + 1) / 2, 1.0))) for i in (0, 1))
WHOLE = SamplingRequest("", "", (SEED_MAX - 1, SEED_MAX), 64, 64, 1, 1.0, "DDIM", regions=HALVES, apart=True)


class Luck:
    """In place of a ``Room``: the likeness of a part is what its seed brings, 0.3 where nothing is said."""

    aim = AIM

    def __init__(self, likeness: dict[int, tuple[float, float]]) -> None:
        self.likeness, self.rounds = likeness, []

    def make(self, whole: SamplingRequest, tries: int = 1, before: int = 0) -> list[Candidate]:
        self.rounds.append((before, whole.region_seeds or whole.seeds))
        found = []
        for i, seed in enumerate(whole.seeds):
            seeds = whole.region_seeds[i] if whole.region_seeds else (seed,) * 2
            own = tuple(self.likeness.get(s, (0.3, 0.3))[place] for place, s in enumerate(seeds))
            score = Score(min(own), 2, 0.9, None, own, (0.0, 0.0), (1, 1), (0.9, 0.9))
            found.append(Candidate(np.zeros((1, 1, 3), np.uint8), seed, score, whole, i, (), tries))
        return found


def test_what_was_right_keeps_its_noise_and_nothing_is_drawn_beyond():
    first, last = WHOLE.seeds
    room = Luck({first: (0.9, 0.1), last: (0.8, 0.8), 0: (0.1, 0.4), 1: (0.1, 0.7)})
    best, others = drawn(room, WHOLE, 6)
    assert room.rounds == [(0, (first, last)), (2, ((first, 0),)), (3, ((first, 1),))]
    assert [(found.seeds, found.tries) for found in best] == [((first, 1), 3), ((last, last), 1)]
    assert [found.seeds for found in others] == [(first, first), (first, 0)]


def test_when_nothing_is_right_the_best_of_all_tries_is_delivered():
    room = Luck({0: (0.4, 0.35), 1: (0.45, 0.1)})
    best, others = drawn(room, WHOLE, 3)
    assert [found.seeds for found in best] == [(0, 0), (SEED_MAX, SEED_MAX)]
    assert len(room.rounds) == 3
    assert len(others) == 4
    assert len({found.seeds for found in [*best, *others]}) == 6


def test_without_parts_the_whole_picture_gets_other_noise():
    room = Luck({1: (0.9, 0.9), 2: (0.9, 0.9)})
    best, _ = drawn(room, replace(WHOLE, regions=(), apart=False), 3)
    assert [seeds for _, seeds in room.rounds] == [WHOLE.seeds, (0, 1), (2,)]
    assert [found.seed for found in best] == [2, 1]


@pytest.fixture
def three(copy):
    """The house with two more people, who have the first one's photos and LoRA."""
    root = copy.workspace.people_root
    for name in ("Grace Hopper", "Joan Clarke"):
        shutil.copytree(root / PERSON, root / name)
        card = json.loads((root / name / "person.json").read_text())
        (root / name / "person.json").write_text(json.dumps({**card, "name": name}))
    return copy


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")).copy()


@pytest.mark.parametrize("beside", [("Grace Hopper",), ("Grace Hopper", "Joan Clarke")])
def test_a_picture_of_several_people_says_what_it_was_made_with_and_is_made_again(beside, three):
    many = 1 + len(beside)
    # Nobody can be unlike somebody with the same face: every try is taken, and all that comes is marked.
    config = PortraitConfig(count=2, batch=2, steps=2, cfg=2.0, sampler="Euler a", seed=7, tries=2, face_pass="auto", face_pass_strength=0.1)
    made = three.portraits(PortraitRequest(PERSON, config=config, beside=beside))
    assert made.candidates == 4
    assert len(made.portraits) == 2
    assert all(p.flagged for p in made.portraits)
    assert made.notes[0].startswith("None of the 4 portraits is what was wanted")
    assert "to the others at most 0.25" in made.notes[0]
    report = json.loads(made.report.read_text(encoding="utf-8"))
    assert {one["seeds"][0] for one in [*report["images"], *report["not_kept"]]} <= {7, 8, 9, 10}
    assert sorted(one["try"] for one in [*report["images"], *report["not_kept"]]) == [1, 1, 2, 2]
    for portrait in made.portraits[:1]:
        assert len(portrait.each) == len(portrait.others) == len(portrait.seeds) == many
        request = recipe_of(portrait.file).request
        assert portrait.seeds in request.seeds
        [same] = three.portraits(request).portraits
        assert np.array_equal(pixels(same.file), pixels(portrait.file))
        assert (same.seeds, same.each, same.others) == (portrait.seeds, portrait.each, portrait.others)


def test_parts_with_noise_of_their_own_are_made_again_too(three):
    config = PortraitConfig(count=2, batch=2, steps=2, cfg=2.0, sampler="DDIM", seed=7, face_pass="off")
    request = PortraitRequest(PERSON, config=config, beside=("Grace Hopper",), seeds=((3, 4), (5, 5)))
    made = three.portraits(request)
    assert made.candidates == 2
    assert {p.seeds for p in made.portraits} == {(3, 4), (5, 5)}
    assert {p.file.name.partition("-")[2] for p in made.portraits} == {"3_4.png", "5.png"}
    for portrait in made.portraits:
        assert "FaceChain seeds: 3+4 5+5" in portrait.infotext
        [same] = three.portraits(recipe_of(portrait.file).request).portraits
        assert np.array_equal(pixels(same.file), pixels(portrait.file))
