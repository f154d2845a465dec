"""Changing a decision on the page: the photo with its faces, the choice, the caption, and the verdicts afterwards."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from facechain_ext.config import PrepareConfig
from facechain_ext.services.requests import PrepareRequest
from facechain_ext.ui.decisions import BY_RULES, LEAVE_OUT, DecisionPanel
from facechain_ext.ui.verdicts import submit_check
from tests.unit.services.conftest import analyzer, empty, photos, studio_at  # noqa: F401

SMALL = PrepareConfig(resolution=64, crop_scale=1.5)


@pytest.fixture
def panel(empty: Any, photos: Any) -> Any:  # noqa: F811
    """After a check of three photos."""
    made = DecisionPanel(empty)
    assert made.updates() == [gr.update(visible=False), gr.update(choices=[], value=None)]
    job = submit_check(empty, PrepareRequest("Ann", tuple(photos[:3]), SMALL))
    assert job.wait(60)
    assert job.error is None
    return made


def decide(panel: Any, photo: str, face: str, words: str) -> list[Any]:
    return panel._decide(photo, face, words, lambda person: [person])


def test_photos_with_faces_are_listed(panel):
    shown, listed = panel.updates()
    assert shown["visible"] is True
    assert [name.split(" ")[0] for name in listed["choices"]] == ["1", "2", "3"]
    picture, face, words = panel._show(listed["choices"][1])
    assert picture.count("<i ") == 1
    assert "fc-taken" in picture
    assert face["choices"][:2] == [BY_RULES, LEAVE_OUT]
    assert face["choices"][2].startswith("Face 1, ")
    assert face["value"] == BY_RULES
    assert words["value"].startswith("photo of sks person")


def test_leaving_out_and_back_again(panel, empty):  # noqa: F811
    name = panel.updates()[1]["choices"][0]
    said = decide(panel, name, LEAVE_OUT, "")
    assert "2 of 3 photos can be used" in said[0]
    assert "You left this photo out." in said[0]
    assert said[2]["value"] == LEAVE_OUT
    assert said[-1] == "Ann"
    assert empty.person("Ann").photos == 2
    assert panel._show(name)[1]["value"] == LEAVE_OUT
    assert "3 of 3 photos can be used" in decide(panel, name, BY_RULES, "")[0]
    assert empty.person("Ann").photos == 3


def test_a_caption_is_kept_beside_other_decisions_and_brought_back_when_emptied(panel, empty):  # noqa: F811
    first, second, _ = panel.updates()[1]["choices"]
    decide(panel, second, BY_RULES, "photo of sks person  on a boat")
    decide(panel, first, LEAVE_OUT, panel._show(first)[2]["value"])
    assert panel._show(second)[2]["value"] == "photo of sks person on a boat"
    dataset = empty.workspace.person("Ann").dataset
    assert "on a boat" in (dataset / "001.txt").read_text(encoding="utf-8")
    ours = decide(panel, second, BY_RULES, "")[3]["value"]
    assert ours.startswith("photo of sks person")
    assert "boat" not in ours


def test_what_cannot_be_changes_nothing_and_says_why(panel, empty):  # noqa: F811
    names = panel.updates()[1]["choices"]
    assert "Choose a photo first" in decide(panel, None, LEAVE_OUT, "")[0]
    for name in names[:2]:
        decide(panel, name, LEAVE_OUT, "")
    last = decide(panel, names[2], LEAVE_OUT, "")
    assert "Nothing was changed" in last[0]
    assert "1 of 3 photos can be used" in last[0]
    assert empty.person("Ann").photos == 1
    empty.drafts.forget("Ann")
    assert "too long ago" in decide(panel, names[0], BY_RULES, "")[0]
