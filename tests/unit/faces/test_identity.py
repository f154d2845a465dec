"""Whose photos they are: strangers, couples, twins, mirrors and what the user says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.faces.identity import choose, mean_embedding, same_person
from facechain_ext.faces.types import Embedding
from facechain_ext.vision.insight import InsightAnalyzer

THRESHOLD = same_person("yunet_sface")


def unit(vector: np.ndarray) -> Embedding:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class Crowd:
    """People as directions; photos of one have a cosine of about 0.7."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.people = [unit(v) for v in self.rng.normal(size=(12, 128))]

    def seen(self, person: int, spread: float = 0.65) -> Embedding:
        return unit(self.people[person] + spread * unit(self.rng.normal(size=128)))


def ones(photos: list[list[Embedding]]) -> list[list[float]]:
    return [[1.0] * len(faces) for faces in photos]


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(3, 10))
def test_any_order_gives_the_same_person(seed: int, own: int) -> None:
    crowd = Crowd(seed)
    photos = [[crowd.seen(0)] for _ in range(own)] + [[crowd.seen(1)] for _ in range(own // 2)] + [[crowd.seen(2), crowd.seen(3)]]
    order = crowd.rng.permutation(len(photos))
    choice = choose([photos[i] for i in order], ones([photos[i] for i in order]), THRESHOLD)
    assert [choice.faces[int(np.flatnonzero(order == i)[0])] for i in range(len(photos))] == [0] * own + [None] * (own // 2 + 1)
    assert choice.rivals == max(1, own // 2)
    assert sum(choice.alike) == own


def test_of_a_couple_in_every_photo_the_larger_is_taken_and_the_rival_is_counted() -> None:
    crowd = Crowd(3)
    photos = [[crowd.seen(0), crowd.seen(1)] if i % 2 else [crowd.seen(1), crowd.seen(0)] for i in range(6)]
    weights = [[1.2, 1.0] if i % 2 else [1.0, 1.2] for i in range(6)]
    choice = choose(photos, weights, THRESHOLD)
    assert choice.faces == (1, 0, 1, 0, 1, 0)
    assert choice.rivals == 6
    swapped = choose(photos, [w[::-1] for w in weights], THRESHOLD)
    assert swapped.faces == (0, 1, 0, 1, 0, 1)


def test_one_photo_alone_tells_the_couple_apart() -> None:
    crowd = Crowd(4)
    photos = [[crowd.seen(0), crowd.seen(1)] for _ in range(4)] + [[crowd.seen(1)]]
    choice = choose(photos, [[9.0, 1.0]] * 4 + [[1.0]], THRESHOLD)
    assert choice.faces == (1, 1, 1, 1, 0)
    assert choice.rivals == 4


def test_what_the_user_picked_decides() -> None:
    crowd = Crowd(5)
    photos = [[crowd.seen(0), crowd.seen(1)] for _ in range(5)] + [[crowd.seen(0)], [crowd.seen(1)]]
    assert choose(photos, ones(photos), THRESHOLD).faces[5:] in {(0, None), (None, 0)}
    choice = choose(photos, ones(photos), THRESHOLD, fixed={0: 1})
    assert choice.faces == (1, 1, 1, 1, 1, None, 0)
    assert choose(photos, ones(photos), THRESHOLD, fixed={2: 0}).faces == (0, 0, 0, 0, 0, 0, None)


def test_a_pick_stays_even_when_it_is_like_nobody_and_none_means_not_there() -> None:
    crowd = Crowd(6)
    photos = [[crowd.seen(0)] for _ in range(4)] + [[crowd.seen(2), crowd.seen(0)]]
    choice = choose(photos, ones(photos), THRESHOLD, fixed={4: 0, 0: 0, 1: None})
    assert choice.faces == (0, None, 0, 0, 0)
    assert choice.similarity[4] is not None
    assert choice.similarity[4] < THRESHOLD
    assert choose(photos, ones(photos), THRESHOLD, fixed=dict.fromkeys(range(5))).faces == (None,) * 5


@pytest.mark.parametrize("fixed", [{7: 0}, {0: 3}, {-1: 0}, {0: -1}])
def test_a_pick_that_is_not_there_is_refused(fixed: dict[int, int | None]) -> None:
    crowd = Crowd(7)
    with pytest.raises(ValueError, match="not there"):
        choose([[crowd.seen(0)]], [[1.0]], THRESHOLD, fixed)


def test_mirror_and_twins_take_the_better_face() -> None:
    crowd = Crowd(8)
    twins = [crowd.seen(0, 0.4), crowd.seen(0, 0.4)]
    alone = choose([twins], [[1.0, 2.0]], THRESHOLD)
    assert (alone.faces, alone.alike) == ((1,), (2,))
    photos = [twins, [crowd.seen(0, 0.4)], [crowd.seen(0, 0.4)]]
    together = choose(photos, [[2.0, 1.0], [1.0], [1.0]], THRESHOLD)
    assert together.faces == (0, 0, 0)
    assert together.alike == (2, 1, 1)


def test_a_sister_beside_the_person_is_not_taken_for_her_size() -> None:
    crowd = Crowd(9)
    own = [crowd.seen(0, 0.4) for _ in range(5)]
    sister = unit(0.5 * crowd.people[0] + 0.85 * crowd.people[1])
    photos = [[e] for e in own[:4]] + [[sister, own[4]]]
    assert choose(photos, [[1.0]] * 4 + [[5.0, 1.0]], THRESHOLD).faces[4] == 1


def test_nobody_and_one() -> None:
    crowd = Crowd(10)
    assert choose([], [], THRESHOLD).faces == ()
    one = choose([[crowd.seen(0)]], [[1.0]], THRESHOLD)
    assert (one.faces, one.similarity, one.rivals) == ((0,), (None,), 0)
    with pytest.raises(ValueError, match="no embeddings"):
        mean_embedding([])


@pytest.fixture(scope="module")
def people(orl: Path, analyzer: InsightAnalyzer) -> list[list[Embedding]]:
    """Six photos each of 14 real people."""

    def seen(person: int, number: int) -> Embedding:
        image = np.asarray(PIL.Image.open(orl / f"s{person}" / f"{number}.pgm").convert("RGB"))
        return analyzer.embed(image, analyzer.detect(image)[0])

    return [[seen(person, number) for number in (1, 3, 5, 6, 8, 10)] for person in range(1, 41, 3)]


def outcome(people: list[list[Embedding]], threshold: float, same: bool, draws: int = 60) -> tuple[float, float]:
    """Shares of strangers thrown out and of the person's own lost, with 20 % strangers, or 33 % who are all the same other person."""
    rng = np.random.default_rng(2)
    out = own = 0
    for _ in range(draws):
        who, *others = rng.permutation(len(people))
        strangers = people[others[0]][:2] if same else [people[others[0]][int(rng.integers(6))]]
        mine = people[who][:4]
        choice = choose([[e] for e in [*mine, *strangers]], [[1.0]] * (len(mine) + len(strangers)), threshold)
        own += sum(k is None for k in choice.faces[:4]) / 4
        out += sum(k is None for k in choice.faces[4:]) / len(strangers)
    return out / draws, own / draws


@pytest.mark.parametrize("same", [False, True])
def test_real_strangers_are_thrown_out(people: list[list[Embedding]], same: bool) -> None:
    out, lost = outcome(people, THRESHOLD, same)
    assert out >= 0.98
    assert lost <= 0.02


def test_a_wrong_threshold_fails(people: list[list[Embedding]]) -> None:
    assert outcome(people, 0.0, False)[0] < 0.5
    assert outcome(people, 0.85, False)[1] > 0.02
