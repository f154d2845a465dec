"""LoRA tags in the user's words act as in the WebUI, or are refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from facechain_ext.blend import Schedule
from facechain_ext.config import PortraitConfig
from facechain_ext.errors import UserInputError
from facechain_ext.ports import LoraWeight
from facechain_ext.services.again import parsed
from facechain_ext.services.requests import PortraitRequest
from facechain_ext.services.tags import Tag, named, tagged, without_tags
from tests.unit.services.conftest import PERSON

FACE, OTHER = Path("face.safetensors"), Path("other.safetensors")
FILES = {"face": FACE, "other": OTHER}


def wanted(prompt: str) -> PortraitRequest:
    return PortraitRequest("Ada", prompt=prompt)


def test_tags_are_read_and_leave_the_words():
    prompt = "night <lora:a:0.5>, rain <lora:b:0.3:0.7><lora:c>"
    assert named(prompt) == [Tag("a", 0.5, 0.5), Tag("b", 0.7, 0.3), Tag("c", 1.0, 1.0)]
    bare = without_tags(PortraitRequest("Ada", prompt=prompt, exact_prompt=prompt))
    assert (bare.prompt, bare.exact_prompt, bare.exact_negative) == ("night, rain", "night, rain", None)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("<hypernet:a:1>", "WebUI only"), ("<lora:a:strong>", "no number"), ("<lora:gone:1>", r"no LoRA called 'gone'.*models/loras")],
)
def test_what_cannot_be_followed_is_said(prompt, said):
    with pytest.raises(UserInputError, match=said):
        tagged(wanted(prompt), FILES, ())


def test_a_tag_adds_a_lora_or_sets_the_weight_of_one_that_acts():
    used = (LoraWeight(FACE, 1.0, 1.0),)
    assert tagged(wanted("<lora:other:0.4>"), FILES, used) == (*used, LoraWeight(OTHER, 0.4, 0.4))
    assert tagged(wanted("<lora:face:0.5:0.6>"), FILES, used) == (LoraWeight(FACE, 0.6, 0.5),)
    late = (LoraWeight(FACE, 0.8, 0.8, schedule=Schedule(0, 1, 0.4, 0.6)),)
    assert tagged(wanted("<lora:face:1:0>"), FILES, late) == late, "where a plan acts, its tag in the WebUI is for the words only"


def test_a_picture_with_another_lora_is_made_again(copy):
    [portrait] = copy.portraits(PortraitRequest(PERSON, prompt="laughing", config=QUICK)).portraits
    own = next(copy.workspace.person(PERSON).loras.glob("*.safetensors"))
    copy.workspace.loras.mkdir(parents=True, exist_ok=True)
    (copy.workspace.loras / "extra.safetensors").write_bytes(own.read_bytes())
    [more] = copy.portraits(PortraitRequest(PERSON, prompt="laughing <lora:extra:0.9>", config=QUICK)).portraits
    assert "<lora:extra:0.9>" in more.infotext.splitlines()[0]
    assert more.file.read_bytes() != portrait.file.read_bytes()
    [again] = copy.portraits(parsed(more.infotext).request).portraits
    assert again.file.read_bytes() == more.file.read_bytes()
    [skipped] = copy.portraits(parsed(portrait.infotext + ", Clip skip: 2").request).portraits
    assert "Clip skip: 2" in skipped.infotext


QUICK = PortraitConfig(count=1, steps=2, cfg=2.0, width=64, height=64, seed=5, face_pass="off")
