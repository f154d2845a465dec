"""Scoring and ordering portraits: nothing is dropped, the best come first, doubtful ones are flagged."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.faces.reading import read_photo
from facechain_ext.portraits.rank import BLURRED, NOWHERE, Limits, Score, faults, is_flagged, margins, order, score, summary
from facechain_ext.services.likeness_sources import orl_photos

LIKENESS = st.floats(-1, 1, allow_nan=False)
SCORES = st.lists(
    st.one_of(st.just(Score(None, 0)), st.builds(Score, LIKENESS | st.sampled_from([0.0, 0.5]), st.integers(1, 3))), max_size=12
)


@given(SCORES, LIKENESS)
def test_order_holds_every_portrait_once_and_is_sorted(scores, wanted):
    placed = order(scores, Limits(wanted))
    assert sorted(placed) == list(range(len(scores)))
    for before, after in itertools.pairwise(placed):
        a, b = scores[before], scores[after]
        flags = is_flagged(a, Limits(wanted)), is_flagged(b, Limits(wanted))
        assert flags != (True, False)
        if flags[0] == flags[1]:
            x, y = (-2.0 if s.likeness is None else s.likeness for s in (a, b))
            assert x > y or (x == y and before < after)


@given(SCORES, LIKENESS, LIKENESS)
def test_asking_for_more_likeness_flags_no_fewer(scores, one, two):
    low, high = sorted((one, two))
    assert all(is_flagged(s, Limits(high)) for s in scores if is_flagged(s, Limits(low)))


def test_what_is_flagged():
    assert not is_flagged(Score(0.3, 1), Limits(0.3))
    assert is_flagged(Score(0.29, 1), Limits(0.3))
    assert is_flagged(Score(0.9, 2), Limits(0.3))
    assert is_flagged(Score(None, 0), Limits(-1.0))


def test_two_alike_faces_come_behind_one_less_alike():
    scores = [Score(0.9, 2), Score(None, 0), Score(0.4, 1), Score(0.6, 1), Score(0.1, 1)]
    assert order(scores, Limits(0.3)) == [3, 2, 0, 4, 1]


def test_real_photos_score_high_for_the_person_and_low_for_another(analyzer):
    own, other, same = (read_photo(orl_photos(person, [number])[0]) for person, number in ((17, 1), (22, 1), (17, 2)))
    person = analyzer.embed(own, analyzer.detect(own)[0])
    best = score(same, analyzer, person)
    assert best.faces == 1
    assert best.likeness > 0.5 > score(other, analyzer, person).likeness
    assert score(own, analyzer, person).likeness > best.likeness
    assert score(np.zeros((96, 96, 3), np.uint8), analyzer, person) == Score(None, 0)


def test_a_blurred_face_scores_less_sharp_and_is_flagged(analyzer):
    import cv2

    own = read_photo(orl_photos(17, [1])[0])
    person = analyzer.embed(own, analyzer.detect(own)[0])
    crisp, blurred = (score(image, analyzer, person) for image in (own, np.asarray(cv2.GaussianBlur(own, (0, 0), 4), np.uint8)))
    assert crisp.sharpness > 0.4 > BLURRED > blurred.sharpness
    assert faults(crisp, Limits(0.3)) == []
    assert faults(blurred, Limits(-1.0)) == ["The face is blurred."]


def test_when_none_is_good_that_is_said_and_nothing_is_lost_silently():
    good, poor, none = Score(0.7, 1, 0.5), Score(0.1, 1, 0.5), Score(None, 0)
    assert summary([good, poor], 2, Limits(0.3)) == []
    [said] = summary([poor, none], 2, Limits(0.3))
    assert "None of the 2 portraits" in said
    assert "at least 0.3" in said
    [fewer] = summary([good, poor, none], 1, Limits(0.3))
    assert fewer.startswith("3 candidates were made and the best 1 kept")
    assert len(summary([poor, none], 1, Limits(0.3))) == 2


def of_two(own, others, at=(1, 1), crisp=(0.5, 0.5)):
    found = [x for x in own if x is not None]
    return Score(min(found) if len(found) == 2 else None, sum(at), min(crisp), None, own, others, at, crisp)


def test_of_several_people_the_worst_face_counts_and_bleeding_as_much_as_likeness():
    limits = Limits(0.45, 2, 0.25)
    assert margins(of_two((0.6, 0.5), (0.2, 0.3)), limits) == (pytest.approx(0.05), pytest.approx(-0.05))
    assert margins(of_two((0.9, 0.9), (0.0, 0.0), at=(1, 2)), limits)[1] == NOWHERE
    assert margins(of_two((0.9, 0.9), (0.0, 0.0), crisp=(BLURRED / 2, 0.5)), limits)[0] == NOWHERE
    even, bled, weak, absent = (
        of_two(*found) for found in (((0.6, 0.55), (0.1, 0.1)), ((0.8, 0.8), (0.1, 0.4)), ((0.9, 0.4), (0.0, 0.0)), ((None, 0.9), (-1.0, 0.0)))
    )
    assert order([absent, bled, weak, even], limits) == [3, 2, 1, 0]
    assert faults(even, limits) == []
    assert faults(bled, limits) == ["Someone looks too much like another of them."]
    assert faults(weak, limits) == ["Below the wanted likeness."]
    assert faults(of_two((0.5, 0.3), (0.0, 0.6)), limits) == ["Someone looks more like another of them."]
    assert faults(absent, limits) == ["Not everyone is in it."]
