"""The style statistic: it tells looks apart on pictures it has not seen, and survives the disk."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from facechain_ext.errors import FileFormatError
from facechain_ext.faces.reading import read_photo
from facechain_ext.portraits.style_score import features, fit, load_statistic, save_statistic
from facechain_ext.services.likeness_sources import orl_photos


def grey(subjects):
    return [read_photo(p) for s in subjects for p in orl_photos(s, (1, 6))]


def mapped(images, table=cv2.COLORMAP_OCEAN):
    return [cv2.cvtColor(cv2.applyColorMap(i[..., 0], table), cv2.COLOR_BGR2RGB) for i in images]


@pytest.fixture(scope="module")
def statistic():
    plain = grey(range(1, 9))
    return fit(mapped(plain), plain)


def test_it_separates_unseen_pictures(statistic):
    unseen = grey(range(20, 30))
    plain, styled = [statistic.score(i) for i in unseen], [statistic.score(i) for i in mapped(unseen)]
    assert max(plain) < 0.3
    assert min(styled) > 0.7


def test_its_examples_lie_at_zero_and_one_on_average(statistic):
    plain = grey(range(1, 9))
    for images, wanted in ((plain, 0), (mapped(plain), 1)):
        mean = np.mean([features(i) @ statistic.direction + statistic.offset for i in images])
        assert mean == pytest.approx(wanted, abs=1e-6)


def test_half_the_way_lies_between(statistic):
    plain = grey([31])[0]
    half = cv2.addWeighted(plain, 0.5, mapped([plain])[0], 0.5, 0)
    assert statistic.score(plain) < statistic.score(half)
    assert statistic.score(half) <= statistic.score(mapped([plain])[0])


def test_the_size_of_a_picture_matters_little(statistic):
    image = mapped(grey([32]))[0]
    larger = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    assert statistic.score(larger) == pytest.approx(statistic.score(image), abs=0.1)


@settings(max_examples=30)
@given(arrays(np.uint8, st.tuples(st.integers(1, 80), st.integers(1, 80), st.just(3))))
def test_any_picture_gets_a_score_between_zero_and_one(statistic, image):
    assert np.isfinite(features(image)).all()
    assert 0 <= statistic.score(image) <= 1


def test_saving_and_loading_keep_every_score(statistic, tmp_path):
    file = tmp_path / "ocean.score.json"
    save_statistic(statistic, file, "ORL, cv2.COLORMAP_OCEAN")
    again = load_statistic(file)
    assert json.loads(file.read_text())["note"] == "ORL, cv2.COLORMAP_OCEAN"
    for image in grey([33]) + mapped(grey([33])):
        assert again.score(image) == pytest.approx(statistic.score(image), abs=1e-3)


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[]",
        '{"schema": 99, "direction": [1], "offset": 0}',
        '{"schema": 1, "offset": 0}',
        '{"schema": 1, "direction": [1, 2], "offset": 0}',
        '{"schema": 1, "direction": "abc", "offset": 0}',
        '{"schema": 1, "direction": [[1, 2], [3]], "offset": 0}',
        json.dumps({"schema": 1, "direction": [1.0] * 30, "offset": None}),
        json.dumps({"schema": 1, "direction": [float("nan")] * 30, "offset": 0}),
    ],
)
def test_a_damaged_file_is_refused_by_name(content, tmp_path):
    file = tmp_path / "broken.score.json"
    file.write_text(content)
    with pytest.raises(FileFormatError, match=r"broken\.score\.json"):
        load_statistic(file)


def test_too_few_examples_are_refused():
    images = grey([1])
    with pytest.raises(ValueError, match="at least two"):
        fit(mapped(images), images[:1])
    with pytest.raises(ValueError, match="at least two"):
        fit([], images)
