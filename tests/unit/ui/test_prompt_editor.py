"""The prompts on the page: recomposed while people write, kept once they edited them, every part told apart."""

from __future__ import annotations

import json
import re

import pytest

from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import Style
from facechain_ext.ui.prompt_editor import PromptEditor, Written, html
from facechain_ext.workspace import Workspace

RAIN = Style("rain", "Rain", "outdoors", "photo of {person} in the rain", "sun")
COMPOSED = ("photo of person in the rain, laughing", "sun, hat")


@pytest.fixture
def editor(tmp_path) -> PromptEditor:
    return PromptEditor(Studio(Workspace(tmp_path), lambda: None, None))


def value(change):
    """What an update shows, None when it changes nothing."""
    return change.get("value")


def test_untouched_boxes_follow_style_and_words(editor):
    _, exact, avoid, last = editor.recomposed(None, RAIN, Written("laughing", "hat", "photo of person", "", json.dumps(["photo of person", ""])))
    assert (value(exact), value(avoid)) == tuple(json.loads(value(last))) == COMPOSED
    request = editor.request(None, RAIN, Written("laughing", "hat", *COMPOSED, json.dumps(COMPOSED)))
    assert (request.exact_prompt, request.exact_negative) == (None, None)


def test_words_still_on_their_way_are_no_edit(editor):
    """Typing and pressing Generate at once: the boxes hold what was composed before."""
    stale = ("photo of person in the rain", "sun")
    assert editor.request(None, RAIN, Written("laughing", "hat", *stale, json.dumps(stale))).exact_prompt is None


def test_an_edited_box_stays_and_counts(editor):
    mine = Written("laughing", "hat", "oil painting of person", "sun, hat", json.dumps(COMPOSED))
    shown, exact, avoid, last = editor.recomposed(None, RAIN, mine)
    assert value(exact) is None, "not written over"
    assert value(avoid) == "sun, hat"
    assert tuple(json.loads(value(last))) == COMPOSED
    assert "edited by you" in shown
    request = editor.request(None, RAIN, mine)
    assert (request.exact_prompt, request.exact_negative) == ("oil painting of person", None)
    assert editor.told(None, RAIN, mine).used == "oil painting of person"


def test_an_emptied_negative_prompt_is_an_edit_too(editor):
    assert editor.request(None, RAIN, Written("", "hat", "photo of person in the rain", "", json.dumps(["photo of person in the rain", "sun, hat"]))).exact_negative == ""


def test_every_part_is_told_apart_and_escaped(editor):
    shown = html(editor.told(None, RAIN, Written("<b>, " + "wide scarf, " * 40)))
    assert '<mark class="fc-of-style">photo of </mark><mark class="fc-of-person">person</mark>' in shown
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown
    assert re.search(r"\d+ \+ \d+ of 75 tokens in 2 chunks", shown)


def test_words_that_contradict_the_person_are_told():
    from facechain_ext.services.composing import told
    from facechain_ext.services.requests import PortraitRequest

    look = Style("x", "X", "x", "portrait of {person} as a beautiful queen")
    notes = told(look, "sks man", PortraitRequest("Ada")).notes
    assert any("'queen'" in note and "sks man" in note for note in notes)
    assert any("'beautiful'" in note for note in notes)
    assert told(look, "sks woman", PortraitRequest("Ada")).notes == notes[1:]
    assert "does not name the person" in told(look, "sks man", PortraitRequest("Ada", exact_prompt="a queen")).notes[0]
    assert told(look, "sks man", PortraitRequest("Ada", exact_prompt="{person}, king")).used == "sks man, king"
