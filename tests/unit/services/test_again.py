"""A portrait made again from its own PNG is the same to the last pixel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facechain_ext.config import PortraitConfig
from facechain_ext.errors import StorageError, UserInputError
from facechain_ext.services.again import faithful, parsed, recipe_of, split
from facechain_ext.services.composing import told
from facechain_ext.services.requests import PortraitRequest
from tests.unit.services.conftest import PERSON

SHORT = PortraitConfig(count=3, batch=2, steps=3, cfg=2.0, width=128, height=128, sampler="DPM++ 2M Karras", seed=2**32 - 2)


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")).copy()


REQUESTS = {
    "style and words": PortraitRequest(PERSON, style="charcoal", prompt='by the sea, "calm": {person}', negative="hat: red"),
    "a face pass": PortraitRequest(PERSON, config=replace(SHORT, face_pass="always", face_pass_strength=0.6)),
    "guidance towards the face": PortraitRequest(PERSON, config=replace(SHORT, blend="face 1 guided 2")),
    "a prompt of its own": PortraitRequest(PERSON, style="knight", exact_prompt="drawing of {person}, night", exact_negative="blur"),
    "without LoRA": PortraitRequest(PERSON, with_lora=False, prompt="laughing"),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_from_its_own_png_come_identical_pixels(kind, copy):
    request = REQUESTS[kind]
    request = replace(request, config=SHORT) if request.config.count != SHORT.count else request
    made = copy.portraits(request)
    for portrait in made.portraits[:2]:
        recipe = recipe_of(portrait.file)
        [same] = copy.portraits(recipe.request).portraits
        assert same.seed == portrait.seed
        assert np.array_equal(pixels(same.file), pixels(portrait.file))
        assert same.likeness == portrait.likeness
        assert recipe.model_hash == copy.host(None).checkpoint.short_hash


def test_the_lora_it_was_made_with_is_taken_though_there_is_a_newer_one(copy):
    from tests.unit.services.conftest import QUICK, TrainRequest

    [portrait] = copy.portraits(PortraitRequest(PERSON, config=replace(SHORT, count=1))).portraits
    copy.train(TrainRequest(PERSON, config=replace(QUICK, steps=2, seed=9)))
    assert len(copy.person(PERSON).loras) == 2
    [newer] = copy.portraits(PortraitRequest(PERSON, config=replace(SHORT, count=1))).portraits
    [same] = copy.portraits(recipe_of(portrait.file).request).portraits
    assert not np.array_equal(pixels(newer.file), pixels(portrait.file))
    assert np.array_equal(pixels(same.file), pixels(portrait.file))


def test_what_the_webui_writes_is_read():
    text = (
        'photo of sks man, night, <lora:Ada:0.8>\nsecond line\nNegative prompt: hat, "red"\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, '
        "CFG scale: 6.5, Seed: 42, Size: 512x640, Model hash: abcdef0123, Model: real, FaceChain person: Ada, FaceChain style: knight, "
        'FaceChain face weight: 0.8, FaceChain own prompt: "night, rain", Version: v1.10.1'
    )
    recipe = parsed(text)
    request, config = recipe.request, recipe.request.config
    assert (request.person, request.style, request.prompt, request.checkpoint) == ("Ada", "knight", "night, rain", "real")
    assert (config.steps, config.cfg, config.seed, config.width, config.height) == (20, 6.5, 42, 512, 640)
    assert (config.sampler, config.face_weight, config.count) == ("DPM++ 2M Karras", 0.8, 1)
    assert (request.loras, recipe.model_hash) == (("Ada",), "abcdef0123")
    assert split(text)[:2] == ("photo of sks man, night, <lora:Ada:0.8>\nsecond line", 'hat, "red"')


def test_words_that_come_to_another_prompt_today_are_taken_whole():
    text = 'photo of sks man, old style <lora:Ada:0.8>\nSteps: 20, Sampler: Euler, Seed: 42, Size: 64x64, FaceChain person: Ada, RNG: NV, Clip skip: 2'
    recipe = parsed(text)
    assert (recipe.request.made.clip_skip, recipe.request.config.face_pass) == (2, "off")
    assert "random numbers of NV" in recipe.notes[0]
    same, other = (told(None, "sks man", replace(recipe.request, exact_prompt=words)) for words in (recipe.prompt, "photo of sks man, new style"))
    assert faithful(recipe, same) == recipe.request
    assert faithful(recipe, other).exact_prompt == recipe.prompt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a cat\nSteps: 20, Sampler: Euler, Seed: 1, Size: 64x64", "name no person"),
        ("Steps: 20, Sampler: Euler, Size: 64x64, FaceChain person: Ada", "seed"),
        ("Steps: many, Sampler: Euler, Seed: 1, Size: 64x64, FaceChain person: Ada", "Steps: many"),
        ("Steps: 2, Sampler: Euler, Seed: 1, Size: 64x64, FaceChain person: Ada, Hires upscale: 2", "high resolution fix"),
        ("Steps: 2, Sampler: Euler, Schedule type: Beta, Seed: 1, Size: 64x64, FaceChain person: Ada", "schedule 'Beta'"),
        ("Steps: 2, Sampler: Heun, Seed: 1, Size: 64x64, FaceChain person: Ada", "Heun"),
    ],
)
def test_what_cannot_be_made_again_is_said(text, said):
    with pytest.raises(UserInputError, match=said):
        parsed(text)


def test_files_without_parameters_are_said(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "bare.png")
    (tmp_path / "junk.png").write_bytes(b"no picture")
    with pytest.raises(UserInputError, match="holds no parameters"):
        recipe_of(tmp_path / "bare.png")
    with pytest.raises(StorageError, match="junk"):
        recipe_of(tmp_path / "junk.png")
    with pytest.raises(UserInputError, match=r"no file .*nowhere\.png"):
        recipe_of(tmp_path / "nowhere.png")
