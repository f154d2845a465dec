"""The bench's numbers: bounds, what they mean at the extremes, and averaging."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.faces.reading import read_photo
from facechain_ext.portraits.measures import Seen, mean_of, measure, see, template
from facechain_ext.services.likeness_sources import orl_photos

D = 16


def unit(values: np.ndarray) -> np.ndarray:
    return (values / np.linalg.norm(values)).astype(np.float32)


def vectors(seed: int, count: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return [unit(draw.standard_normal(D)) for _ in range(count)]


seeds = st.integers(0, 2**32 - 1)


@st.composite
def sets(draw: st.DrawFn) -> list[Seen]:
    faces = draw(st.lists(st.integers(0, 3), min_size=1, max_size=8))
    return [Seen(v if n else None, n) for n, v in zip(faces, vectors(draw(seeds), len(faces)), strict=True)]


@given(sets(), seeds, st.integers(0, 4))
def test_every_number_stays_in_its_range(seen, seed, strangers):
    person, *rest = vectors(seed, 1 + strangers)
    m = measure(seen, person, {str(i): v for i, v in enumerate(rest)})
    assert -1 - 1e-5 <= m.p10 <= 1 + 1e-5
    assert -1 - 1e-5 <= m.likeness <= 1 + 1e-5
    assert m.others <= 1 + 1e-5
    assert 0 <= m.rank1 <= 1
    assert 0 <= m.diversity <= 2
    assert m.one_face == sum(s.faces == 1 for s in seen) / len(seen)
    assert m.count == len(seen)


@given(sets(), seeds)
def test_a_picture_without_a_face_counts_as_zero_and_not_identified(seen, seed):
    person = vectors(seed, 1)[0]
    cosines = [float(s.embedding @ person) if s.embedding is not None else 0.0 for s in seen]
    m = measure(seen, person, {})
    assert m.likeness == pytest.approx(np.mean(cosines), abs=1e-6)
    assert m.rank1 <= sum(s.embedding is not None for s in seen) / len(seen)


@given(sets(), seeds, st.integers(1, 4))
def test_more_strangers_never_raise_rank1(seen, seed, strangers):
    person, *rest = vectors(seed, 1 + strangers)
    others = {str(i): v for i, v in enumerate(rest)}
    assert measure(seen, person, others).rank1 <= measure(seen, person, {}).rank1


@given(seeds, st.integers(2, 6))
def test_identical_pictures_have_no_diversity_and_different_ones_do(seed, count):
    first, *rest = vectors(seed, count)
    person = vectors(seed + 1, 1)[0]
    assert measure([Seen(first, 1)] * count, person, {}).diversity == pytest.approx(0, abs=1e-5)
    assert measure([Seen(v, 1) for v in (first, *rest)], person, {}).diversity > 0.05


def test_known_numbers():
    x, y, z = np.eye(3, dtype=np.float32)
    half = unit(np.array([1.0, 1.0, 0.0]))
    m = measure([Seen(x, 1), Seen(half, 2), Seen(y, 1), Seen(None, 0)], x, {"y": y, "z": z})
    assert m.likeness == pytest.approx((1 + 0.5**0.5) / 4, abs=1e-6)
    assert m.p10 == pytest.approx(0, abs=1e-6)
    assert m.others == pytest.approx((1 + 0.5**0.5) / 4, abs=1e-6)
    # Only x itself: `half` is as near to y as to x, which is not nearer.
    assert m.rank1 == 0.25
    assert m.one_face == 0.5
    assert m.as_dict()["likeness"] == 0.427


def test_nothing_to_measure_is_an_error():
    with pytest.raises(ValueError, match="nothing to measure"):
        measure([], vectors(0, 1)[0], {})
    with pytest.raises(ValueError, match="nothing to average"):
        mean_of([])


@given(st.lists(sets(), min_size=1, max_size=4), seeds)
def test_the_mean_of_measures_adds_up_counts_and_averages_the_rest(several, seed):
    person, stranger = vectors(seed, 2)
    each = [measure(seen, person, {"x": stranger}) for seen in several]
    mean = mean_of(each)
    assert mean.count == sum(m.count for m in each)
    for name in ("likeness", "p10", "others", "rank1", "one_face", "diversity"):
        assert getattr(mean, name) == pytest.approx(np.mean([getattr(m, name) for m in each]), abs=1e-9)


@given(seeds, st.integers(1, 6))
def test_a_template_has_unit_length_and_resembles_its_parts(seed, count):
    some = vectors(seed, count)
    made = template([Seen(v, 1) for v in some] + [Seen(None, 0)])
    assert made is not None
    assert np.linalg.norm(made) == pytest.approx(1, abs=1e-5)
    assert float(np.mean([made @ v for v in some])) > 0


def test_no_face_gives_no_template():
    assert template([]) is None
    assert template([Seen(None, 0)] * 3) is None


def test_real_photos_are_told_apart(analyzer):
    def seen(subject, numbers):
        return [see(read_photo(p), analyzer) for p in orl_photos(subject, numbers)]

    person, stranger = template(seen(3, range(1, 4))), template(seen(11, range(1, 4)))
    m = measure(seen(3, range(4, 7)), person, {"11": stranger})
    assert m.likeness > 0.5 > m.others
    assert (m.rank1, m.one_face) == (1, 1)
    blank = see(np.full((64, 64, 3), 200, np.uint8), analyzer)
    assert (blank.embedding, blank.faces) == (None, 0)
