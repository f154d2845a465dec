"""What is told of a blend before anything is generated, and refused then."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from facechain_ext.config import PortraitConfig
from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import LoraOrigin, write
from facechain_ext.ports import Family, Prediction
from facechain_ext.services.requests import BalanceRequest, PortraitRequest
from tests.unit.services.conftest import PERSON

TINY = PortraitConfig(count=1, batch=1, steps=2, cfg=2.0, width=64, height=64, face_pass="off", face_weight=1.0, seed=3)


def test_a_style_of_words_leaves_the_face_alone(house):
    told = house.studio.blend(PortraitRequest(PERSON, style="knight", config=TINY))
    assert [(one.name, str(one.part)) for one in told.parts] == [("Ada_Lovelace", "face 1")]
    assert (told.blocks, told.steps, told.problems, told.measurable) == (25, 2, (), False)
    assert "made of words" in told.why


def test_a_pair_is_told_measured_and_told_again(copy):
    request = PortraitRequest(PERSON, style="charcoal", config=TINY)
    told = copy.blend(request)
    assert [one.part.role for one in told.parts] == ["face", "style"]
    assert told.measurable
    assert told.balance is None
    assert "Nothing was measured" in told.why
    found = copy.balance(BalanceRequest(PERSON, "charcoal", config=TINY, seconds=1))
    again = copy.blend(request)
    assert again.balance is not None
    assert again.why == again.balance.explained(0.5)
    assert " + ".join(str(one.part) for one in again.parts) == found.best(0.5).plan


def test_keys_that_the_checkpoint_lacks_are_told_and_noted(copy):
    file = copy.person(PERSON).loras[-1].file
    state, first = load_file(file), None
    for key in sorted(state):
        first = first or key.split(".")[0]
        if key.split(".")[0] == first:
            state[key.replace(first, "lora_unet_nowhere")] = state.pop(key)
    state["lora_unet_nowhere.strange"] = torch.zeros(1)
    save_file(state, file, metadata={"ss_base_model_version": "sd_v1"})
    [said] = copy.blend(PortraitRequest(PERSON, config=TINY)).problems
    assert "Ada_Lovelace acts only in part: 1 of its 192 layers is not in this checkpoint" in said
    assert said in copy.portraits(PortraitRequest(PERSON, config=TINY)).notes


def test_a_lora_of_another_family_is_refused_before_anything_is_loaded(copy):
    folder = copy.workspace.styles
    (folder / "loras").mkdir(parents=True)
    origin = LoraOrigin("large", Family.SDXL, Prediction.EPS, "c", "0" * 64, 2.0, 2, 1, 64, "sks", ["sks"], 1)
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    write(folder / "loras" / "large.safetensors", {name: (torch.zeros(2, 640), torch.zeros(640, 2))}, origin)
    style = {"schema": 1, "id": "large", "name": "Large", "category": "own", "prompt": "photo of {person}", "lora": "large"}
    (folder / "large.json").write_text(json.dumps(style), encoding="utf-8")
    for act in (copy.blend, copy.portraits):
        with pytest.raises(FileFormatError, match="SDXL"):
            act(PortraitRequest(PERSON, style="large", config=TINY))
