"""Our own catalogue: enough looks, each neutral, short and drawn."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from facechain_ext.styles.catalog import PERSON, SHIPPED, load_styles
from facechain_ext.styles.drawn.recipes import RECIPES
from facechain_ext.styles.drawn.thumbnail import LIMIT, drawn_for, encoded, thumbnail
from facechain_ext.styles.prompts import compose
from facechain_ext.styles.tokens import CHUNK, count
from facechain_ext.styles.wording import gender_words, smuggled_words

STYLES = load_styles()
WORDS = "fcsks middle-aged gentlewoman"
"""Longer than most people's words."""


def test_there_is_a_look_for_everybody():
    assert len(STYLES) >= 100
    shelves = {s.category for s in STYLES}
    assert shelves >= {"studio", "business", "film", "traditional", "seasons", "sports", "professions", "fantasy", "history", "illustration", "city", "outdoors"}
    assert sum(s.category == "traditional" for s in STYLES) >= 15
    assert len({re.sub(r"\W", "", s.prompt.casefold()) for s in STYLES}) == len(STYLES), "no look twice"


@pytest.mark.parametrize("style", STYLES, ids=lambda s: s.id)
def test_a_look_is_neutral_short_and_drawn(style):
    made = compose(style, WORDS)
    assert len(made.chunks) == 1
    assert made.chunks[0] <= CHUNK - 20, "room for the user's own words"
    assert count(style.negative) <= 12, "small and specific"
    assert count(style.prompt.split(PERSON)[0]) <= 12, "the person comes first"
    for text in (style.prompt, style.negative, style.name):
        assert gender_words(text) == ()
        assert smuggled_words(text) == ()
    assert 1 <= len(style.keywords) <= 6
    assert set(json.loads((SHIPPED / f"{style.id}.json").read_text(encoding="utf-8"))) <= {
        "schema", "id", "name", "category", "prompt", "negative", "keywords", "lora", "lora_for", "lora_prompt", "blocks", "weight", "guidance", "family", "source",
    }  # fmt: skip
    assert style.thumbnail is not None
    assert style.thumbnail.stat().st_size <= LIMIT
    with Image.open(style.thumbnail) as picture:
        assert picture.size == (192, 144)


def test_every_picture_has_its_style_and_is_drawn_by_our_script():
    assert set(RECIPES) == {s.id for s in STYLES} == {f.stem for f in (SHIPPED / "thumbnails").iterdir()}
    for name in ("knight", "kente", "stained-glass"):
        shipped = np.asarray(Image.open(SHIPPED / "thumbnails" / f"{name}.webp").convert("RGB"), np.float32)
        again = np.asarray(Image.open(io.BytesIO(encoded(thumbnail(name, RECIPES[name])))).convert("RGB"), np.float32)
        assert np.abs(shipped - again).mean() < 4, "other releases of PIL may round otherwise"


def test_pictures_differ():
    small = [np.asarray(Image.open(s.thumbnail).convert("RGB").resize((24, 18)), np.float32).ravel() for s in STYLES if s.thumbnail]
    distance = np.abs(np.stack(small)[:, None] - np.stack(small)[None]).mean(-1) + 999 * np.eye(len(small))
    assert distance.min() > 6


def test_a_style_of_the_users_is_drawn_too():
    one, other = (np.asarray(thumbnail(name, drawn_for(name)), np.float32) for name in ("my-garden", "my-cellar"))
    assert one.shape == (144, 192, 3)
    assert np.abs(one - other).mean() > 6


def test_styles_are_found_by_their_words():
    found = {s.id for s in STYLES if s.matches("snow")}
    assert {"winter-street", "skiing"} <= found
    assert "knight" not in found
    assert [s.id for s in STYLES if s.matches("pencil sk")] == ["pencil-sketch"]
    assert len([s for s in STYLES if s.matches("  ")]) == len(STYLES)
