"""Composing prompts: style, person and the user's words, without doubled or dangling commas."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.styles.catalog import PERSON, Style, load_styles
from facechain_ext.styles.prompts import compose, own_negative_in, own_words_in
from facechain_ext.styles.tokens import CHUNK

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


LONG = st.lists(st.sampled_from(["umbrella", "a very wide green scarf", "BREAK", "(soft light:1.2)", "film grain and dust", "X" * 40]), max_size=60)


def sections(text: str) -> list[str]:
    return re.split(r"\s*\bBREAK\b\s*", text)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([None, RAIN, load_styles()[0]]), LONG, st.sampled_from([", ", " "]))
def test_no_chunk_overflows_and_the_person_is_never_cut(style, phrases, between):
    """Whatever is written: at most 75 tokens between two BREAKs, the person whole in the first chunk, and every word still there in order."""
    own = between.join(phrases)
    made = compose(style, "sks middle-aged woman", own)
    assert max(made.chunks) <= CHUNK
    assert len(made.chunks) == len(sections(made.positive)), "the WebUI and our own encoder cut only at BREAK"
    assert "sks middle-aged woman" in sections(made.positive)[0]
    assert "".join(p.text for p in made.parts) == made.positive
    said = re.sub(r"[\s,]+|BREAK", " ", compose(style, "sks middle-aged woman", "").positive + " " + own).split()
    assert re.sub(r"[\s,]+|BREAK", " ", made.positive).split() == said, "no word lost, none smuggled in"


def test_words_that_do_not_fit_behind_the_style_stay_together():
    own = ", ".join(["red wool scarf"] * 17)
    made = compose(RAIN, ADA, own)
    assert sections(made.positive) == ["photo of sks woman in the rain, umbrella", own]
    assert [p.source for p in made.parts] == ["style", "person", "style", "own"]


def test_a_style_that_names_the_person_late_follows_the_person():
    late = Style("x", "X", "x", "a wall of ivy, " * 20 + "photo of {person}")
    made = compose(late, ADA)
    assert made.positive.startswith("sks woman, a wall of ivy, ")
    assert made.positive.count(ADA) == 1


def test_a_weight_around_many_words_is_not_torn():
    own = "(" + ", ".join(["red scarf"] * 20) + ":1.2), hat"
    assert own in compose(RAIN, ADA, own).positive


def test_the_negative_prompt_is_laid_out_too():
    made = compose(RAIN, ADA, "", ", ".join(["blurred background"] * 26))
    assert max(made.negative_chunks) <= CHUNK
    assert made.negative.startswith("sun, heat BREAK blurred background") or made.negative_chunks[0] > 60
    assert [p.source for p in made.negative_parts] == ["style", "own"]


@pytest.mark.parametrize(
    "own",
    ["", "by the sea, at night", "drawing of {person} dancing, red hair", "smiling " * 90, "one, two BREAK three", "(hat:1.2), [dog:cat:0.5]"],
)
@pytest.mark.parametrize("words", [ADA, "sks woman and tom man"])
def test_a_composed_prompt_is_known_again(own, words):
    for style in [None, RAIN, *load_styles()[::9]]:
        made = compose(style, words, own, "hat: red, x")
        found = own_words_in(style, words, made.positive)
        assert found is not None
        negative = own_negative_in(style, words, made.negative)
        again = compose(style, words, found, negative)
        assert (again.positive, again.negative) == (made.positive, made.negative)


@pytest.mark.parametrize("prompt", ["", "a dog", "photo of sks womanhood", "photo of a woman, sks woman's hat", "in the rain, umbrella"])
def test_other_prompts_are_not_taken_for_composed_ones(prompt):
    found = own_words_in(RAIN, ADA, prompt)
    assert found is None
    assert own_negative_in(RAIN, ADA, "heat, sun") == "heat, sun"


def test_words_that_the_prompt_joined_are_found_by_their_hint():
    made = compose(RAIN, ADA, "one, two").positive
    assert own_words_in(RAIN, ADA, made, "one, two") == "one, two"
    assert own_words_in(RAIN, ADA, made, "three") == "one, two"
