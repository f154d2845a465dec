"""Composing prompts: style, person and the user's words, without doubled or dangling commas."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.styles.catalog import PERSON, Style, load_styles
from facechain_ext.styles.prompts import compose

RAIN = Style("rain", "Rain", "outdoors", "photo of {person} in the rain, umbrella", "sun, heat")
ADA = "sks woman"


@pytest.mark.parametrize(
    ("style", "own", "wanted"),
    [
        (None, "", "photo of sks woman"),
        (None, "laughing", "photo of sks woman, laughing"),
        (RAIN, "", "photo of sks woman in the rain, umbrella"),
        (RAIN, "laughing, hat", "photo of sks woman in the rain, umbrella, laughing, hat"),
        (RAIN, "  , laughing ,, ", "photo of sks woman in the rain, umbrella, laughing"),
        (RAIN, " , ,", "photo of sks woman in the rain, umbrella"),
        (None, "oil painting of {person}", "oil painting of sks woman"),
        (None, "{person} meets {person}", "sks woman meets sks woman"),
        (None, "{person}", "sks woman"),
        (RAIN, "drawing of {person}", "drawing of sks woman, photo in the rain, umbrella"),
        (Style("x", "X", "x", "{person}"), "drawing of {person}", "drawing of sks woman"),
        (Style("x", "X", "x", "photo, {person}, rain"), "drawing of {person}", "drawing of sks woman, photo, rain"),
    ],
)
def test_what_is_composed(style, own, wanted):
    assert compose(style, ADA, own).positive == wanted


@pytest.mark.parametrize(
    ("style", "own", "wanted"),
    [
        (None, "", ""),
        (None, " blur, ", "blur"),
        (RAIN, "", "sun, heat"),
        (RAIN, ",blur", "sun, heat, blur"),
        (RAIN, "without {person}", "sun, heat, without sks woman"),
    ],
)
def test_what_is_left_out(style, own, wanted):
    assert compose(style, ADA, "", own).negative == wanted


words = st.text(st.sampled_from("ab ,()"), max_size=12)
styles = st.sampled_from([None, RAIN, *load_styles()])


@given(styles, words, words, st.booleans())
def test_nothing_dangles_and_the_person_is_there(style, before, after, holds_person):
    own = f"{before}{PERSON}{after}" if holds_person else before + after
    made = compose(style, ADA, own, before)
    for text in (made.positive, made.negative):
        assert text == text.strip(" ,")
        assert PERSON not in text
    assert made.positive.count(ADA) == 1


@given(styles, words)
def test_the_users_words_are_kept_as_they_are(style, own):
    kept = own.strip(" ,")
    made = compose(style, ADA, own, own)
    assert made.positive.endswith(kept)
    assert made.negative.endswith(kept)
    assert compose(style, ADA, f"{own}a {PERSON}").positive.startswith(f"{own}a {ADA}".lstrip(" ,"))


@pytest.mark.parametrize("style", load_styles(), ids=lambda s: s.id)
def test_shipped_styles_compose_cleanly(style):
    for own in ("", "laughing", f"laughing {PERSON}"):
        text = compose(style, ADA, own).positive
        assert not re.search(r",\s*,|\s\s|,$", text), text
