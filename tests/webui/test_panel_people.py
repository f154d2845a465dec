"""What the panel does beside prompts and ranking: the face pass, several people, scores said, whole prompts given back."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import webui
from modules import infotext_utils, scripts, sd_models

from facechain_ext.faces.types import Face
from facechain_ext.hosts.a1111.model import unet_of
from facechain_ext.lora.files import LoraOrigin, write
from facechain_ext.ports import Family, Prediction
from facechain_ext.services.candidates import Room

OTHER = "Stub Other"
PLAN = "face 1 + style 0.8 blocks 1*3|0*19|1*3"


def values(infotext):
    return infotext_utils.parse_generation_parameters(infotext)


@pytest.fixture
def config(person, trained):
    return {"person": person, "face_weight": 1.0, "min_likeness": -1.0}


@pytest.fixture(scope="module")
def other(studio, photos):
    """A second person with a LoRA; the face is the same, which does not matter here."""
    from facechain_ext.config import PrepareConfig, TrainConfig
    from facechain_ext.services.requests import PrepareRequest, TrainRequest
    from tests.webui.conftest import QUICK

    studio.prepare(PrepareRequest(OTHER, tuple(photos), PrepareConfig(resolution=128, crop_scale=1.5, trigger="fctwo", subject="woman")))
    studio.train(TrainRequest(OTHER, None, TrainConfig(**{**QUICK, "steps": 20, "seed": 9, "preview_every": 0})))
    yield OTHER
    studio.delete_person(OTHER)


def hooks():
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet_of(sd_models.model_data.sd_model).modules())


def given_back(drawn, panel_args, panel, **wanted):
    """What the API makes of an infotext: the whole prompt, and the panel set from the fields."""
    found, runner = values(drawn.infotexts[0]), scripts.scripts_txt2img
    ours = runner.script("FaceChain")
    args = list(panel_args)
    for control, key in ours.infotext_fields:
        value = key(found) if callable(key) else found.get(key)
        if value is not None:
            args[runner.inputs.index(control) - ours.args_from] = type(control.value)(value)
    return panel(*args, prompt=found["Prompt"], negative_prompt=found["Negative prompt"], **wanted)


def defaults():
    runner = scripts.scripts_txt2img
    ours = runner.script("FaceChain")
    return [control.value for control in runner.inputs[ours.args_from : ours.args_to]]


@pytest.mark.parametrize("more", [{}, {"style": "knight", "face_weight": 0.7}, {"style": "charcoal", "blend": PLAN}, {"style": "charcoal"}])
def test_a_whole_prompt_given_back_is_the_same_picture(panel, config, more):
    drawn = panel(True, {**config, **more}, prompt="by the sea, at night", negative_prompt="hat")
    again = given_back(drawn, defaults(), panel)
    assert again.info["prompt"] == drawn.info["prompt"]
    assert again.info["negative_prompt"] == drawn.info["negative_prompt"]
    assert again.pixels == drawn.pixels
    said = values(again.infotexts[0])
    assert (said["FaceChain own prompt"], said["FaceChain own negative"]) == ("by the sea, at night", "hat")


def test_another_style_takes_the_place_of_the_first(panel, config):
    whole = panel(True, {**config, "style": "knight"}, prompt="by the sea").info["prompt"].split(" <lora:")[0]
    drawn = panel(True, config, prompt=whole)
    assert "knight" not in drawn.info["prompt"]
    assert drawn.pixels == panel(True, config, prompt="by the sea").pixels


def test_every_score_is_said_in_the_infotext_and_below_the_gallery(panel, config):
    drawn = panel(True, {**config, "style": "charcoal", "min_likeness": 1.0}, batch_size=2, width=128, height=128, steps=6)
    said = [values(text) for text in drawn.infotexts]
    assert all({"FaceChain likeness", "FaceChain faces", "FaceChain style score", "FaceChain flagged"} <= set(one) for one in said)
    lines = drawn.processed.comments.splitlines()
    assert "style Charcoal" in lines[0]
    for number, (one, line) in enumerate(zip(said, lines[1:], strict=False), 1):
        assert line.startswith(f"{number}. seed {one['Seed']} ")
        assert f"style {one['FaceChain style score']}" in line
        assert one["FaceChain flagged"] in line
    assert lines[-1].startswith("None of the 2 portraits is what was wanted")


def test_small_faces_are_sampled_again(panel, config, monkeypatch, draw):
    plain = panel(True, config, width=128, height=128, steps=6)
    passes = []

    def passed(self, image, part, index):
        passes.append((part.seeds, part.steps, self.sitters[0].prompt))
        return own(self, image, part, index)

    own = Room.passed
    monkeypatch.setattr(Room, "passed", passed)
    # Wherever the tiny checkpoint sees a face, its middle is one.
    face = Face(np.array([44, 44, 84, 84], np.float32), np.array([[54, 58], [74, 58], [64, 66], [56, 74], [72, 74]], np.float32), 0.9)
    from facechain_ext.hosts.a1111.wiring import studio

    analyzer = studio().analyzer
    monkeypatch.setattr(type(analyzer), "detect", lambda *_: [face])
    before = hooks()
    asked = {**config, "face_pass": "always", "face_pass_strength": 0.6}
    drawn = panel(True, asked, prompt="by the sea", width=128, height=128, steps=6)
    assert passes == [((7,), 6, "photo of fchost man, by the sea")]
    said = values(drawn.infotexts[0])
    assert (said["FaceChain face pass"], said["FaceChain face pass strength"]) == ("always", "0.6")
    assert " to " in said["FaceChain face pass likeness"]
    monkeypatch.setattr(Room, "passed", own)
    again = panel(True, asked, prompt="by the sea", width=128, height=128, steps=6)
    assert again.pixels == drawn.pixels
    assert hooks() == before
    monkeypatch.undo()
    assert panel(True, config, width=128, height=128, steps=6).pixels == plain.pixels
    found = webui.pasted("txt2img", drawn.infotexts[0])
    assert (found["Face pass"], found["Face pass strength"], found["Small faces"]) == (True, 0.6, 1.0)
    assert webui.pasted("txt2img", plain.infotexts[0])["Face pass"] is False


def test_two_people_each_with_words_of_their_own(panel, draw, config, other):
    plain, before = draw(width=256, height=128).pixels, hooks()
    asked = {**config, "beside": [other]}
    size = {"width": 256, "height": 128, "steps": 4}
    drawn = panel(True, asked, prompt="smiling | with glasses", **size)
    assert "fchost man and fctwo woman" in drawn.info["prompt"]
    assert "smiling, with glasses" in drawn.info["prompt"]
    assert "<lora:" not in drawn.info["prompt"]
    said = values(drawn.infotexts[0])
    assert (said["FaceChain beside"], said["FaceChain people by"]) == (other, "regions")
    assert len(said["FaceChain likeness of each"].split()) == 2
    assert said["FaceChain own prompt"] == "smiling | with glasses"
    # Whose words are whose, and who stands where, is seen.
    assert panel(True, asked, prompt="with glasses | smiling", **size).pixels != drawn.pixels
    assert panel(True, {**asked, "person": other, "beside": config["person"]}, prompt="smiling | with glasses", **size).pixels != drawn.pixels
    assert given_back(drawn, defaults(), panel, **size).pixels == drawn.pixels
    found = webui.pasted("txt2img", drawn.infotexts[0])
    assert (found["Also in the picture"], found["Prompt"]) == ([other], "smiling | with glasses")
    assert hooks() == before
    assert draw(width=256, height=128).pixels == plain


def test_people_face_by_face(panel, config, other):
    drawn = panel(True, {**config, "beside": other, "people_by": "faces"}, width=256, height=128, steps=4)
    assert "<lora:" not in drawn.info["prompt"]
    assert values(drawn.infotexts[0])["FaceChain people by"] == "faces"


def test_words_that_differ_within_a_batch_are_refused(panel, config, other):
    drawn = panel(True, {**config, "beside": other}, prompt=["one", "two"], batch_size=2)
    assert drawn.images == []
    assert "batch size" in drawn.info["extra_generation_params"]["FaceChain error"]
    assert len(panel(True, {**config, "beside": other}, prompt=["one", "two"], batch_size=1, n_iter=2).images) >= 2


@pytest.mark.parametrize(("beside", "expected"), [("Stub Person", "twice"), ("Nobody", "Nobody"), ("a; b; c", "a")])
def test_others_that_cannot_be_are_refused(panel, config, beside, expected):
    drawn = panel(True, {**config, "beside": beside})
    assert drawn.images == []
    assert expected in drawn.info["extra_generation_params"]["FaceChain error"]


def test_layers_that_the_checkpoint_lacks_are_told(panel, config, studio, monkeypatch):
    """One layer of the person's LoRA gets a name that no UNet has."""
    from facechain_ext.hosts.a1111 import sitting

    own = sitting.read_all

    def strange(loras, family):
        (lora, weight), *rest = own(loras, family)
        name = next(iter(lora.modules))
        modules = {f"lora_unet_nowhere_{k}" if k == name else k: v for k, v in lora.modules.items()}
        return [(dataclasses.replace(lora, modules=modules, unread=("a.b",)), weight), *rest]

    monkeypatch.setattr(sitting, "read_all", strange)
    said = panel(True, config).processed.comments
    assert "acts only in part: 1 of its" in said
    assert "1 of its keys is unknown" in said


def test_a_lora_of_another_family_is_refused_with_a_sentence(panel, config, studio):
    folder = studio.workspace.styles
    (folder / "loras").mkdir(parents=True, exist_ok=True)
    origin = LoraOrigin("large", Family.SDXL, Prediction.EPS, "c", "0" * 64, 2.0, 2, 1, 64, "sks", ["sks"], 1)
    name = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    files = [folder / "loras" / "large.safetensors", folder / "large.json"]
    write(files[0], {name: (torch.zeros(2, 640), torch.zeros(640, 2))}, origin)
    style = {"schema": 1, "id": "large", "name": "Large", "category": "own", "prompt": "photo of {person}", "lora": "large"}
    files[1].write_text(json.dumps(style), encoding="utf-8")
    try:
        drawn = panel(True, {**config, "style": "large"})
        assert drawn.images == []
        assert "SDXL" in drawn.info["extra_generation_params"]["FaceChain error"]
        assert len(panel(True, config).images) == 1
    finally:
        for file in files:
            file.unlink()
