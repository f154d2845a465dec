"""Portraits: every one asked for is kept and ranked, the report says what the files say, and nothing appears when it goes wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facechain_ext.config import SEED_MAX, PortraitConfig
from facechain_ext.errors import Cancelled, UserInputError, WeightsMissing
from facechain_ext.faces.dataset import read_dataset
from facechain_ext.faces.reading import read_photo
from facechain_ext.portraits.infotext import read_infotext
from facechain_ext.portraits.rank import BLURRED, score
from facechain_ext.progress import CancelToken, Stage
from facechain_ext.services.again import recipe_of
from facechain_ext.services.people import read_card
from facechain_ext.services.portraits import own_words
from facechain_ext.services.requests import PortraitRequest
from tests.unit.services.conftest import PERSON, contents

CONFIG = PortraitConfig(count=5, steps=3, cfg=2.0, width=128, height=128, sampler="DDIM", seed=SEED_MAX - 2, batch=2)
ONE = replace(CONFIG, count=1, steps=1, width=64, height=64, seed=1)


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB")).copy()


@dataclasses.dataclass(frozen=True)
class Made:
    """One set of portraits outside the workspace, and the events while it was made."""

    result: object
    events: list
    folder: Path


@pytest.fixture(scope="module")
def made(house, studio_at, tmp_path_factory) -> Made:
    base = tmp_path_factory.mktemp("portraits")
    studio = studio_at(Path(shutil.copytree(house.root, base / "workspace")))
    events: list = []
    request = PortraitRequest(PERSON, style="pencil-sketch", prompt="laughing", negative="blur", config=CONFIG, out=base / "out")
    return Made(studio.portraits(request, events.append), events, base / "out")


def test_every_portrait_is_kept_and_ranked(made):
    portraits = made.result.portraits
    assert [p.rank for p in portraits] == [1, 2, 3, 4, 5]
    assert {p.seed for p in portraits} == {SEED_MAX - 2, SEED_MAX - 1, SEED_MAX, 0, 1}
    names = {p.name for p in made.folder.iterdir()}
    assert names == {p.file.name for p in portraits} | {"sheet.png", "report.json"}
    assert len({pixels(p.file).tobytes() for p in portraits}) == 5


def test_ranks_follow_the_likeness_and_flags_come_last(made):
    found = [(p.flagged, -(p.likeness if p.likeness is not None else -2.0)) for p in made.result.portraits]
    assert found == sorted(found)
    for portrait in made.result.portraits:
        assert portrait.flagged == bool(portrait.faults)
        blurred = portrait.sharpness is not None and portrait.sharpness < BLURRED
        assert portrait.flagged == (portrait.faces != 1 or portrait.likeness is None or portrait.likeness < 0 or blurred)


def test_the_likeness_is_that_of_the_picture(made, house, analyzer):
    person = read_dataset(house.home / "dataset").mean_embedding
    for portrait in made.result.portraits:
        again = score(read_photo(portrait.file), analyzer, person)
        assert again.faces == portrait.faces
        if portrait.likeness is None:
            assert again.likeness is None
        else:
            assert again.likeness == pytest.approx(portrait.likeness, abs=1e-5)


def test_the_report_says_what_was_made(made):
    report = json.loads(made.result.report.read_text(encoding="utf-8"))
    assert report["schema"] == 1
    assert (report["person"], report["style"], report["checkpoint"]) == (PERSON, "pencil-sketch", "tiny-faces")
    assert (report["steps"], report["cfg"], report["sampler"], report["size"]) == (3, 2.0, "DDIM", [128, 128])
    assert report["loras"] == [{"name": "Ada_Lovelace", "unet": 0.9, "text": 0.9, "plan": "lora 0.9"}]
    assert report["prompt"].endswith("laughing")
    assert "sks person" in report["prompt"]
    fields = ("seed", "likeness", "faces", "rank", "flagged", "sharpness", "style_score")
    said = [{"file": p.file.name, **{k: getattr(p, k) for k in fields}, "faults": list(p.faults)} for p in made.result.portraits]
    assert [{k: v for k, v in one.items() if k not in ("face_pass", "each", "likeness_to_others")} for one in report["images"]] == said
    assert (report["candidates"], report["not_kept"]) == (5, [])


def test_pictures_hold_their_recipe_and_no_path(made):
    for portrait in made.result.portraits:
        text = read_infotext(portrait.file)
        assert text == portrait.infotext
        assert f"Seed: {portrait.seed}," in text
        assert f"FaceChain rank: {portrait.rank} of 5" in text
        assert "<lora:Ada_Lovelace:0.9>" in text
        data = portrait.file.read_bytes()
        assert str(made.folder.parent).encode() not in data
        assert b".pgm" not in data


def test_the_sheet_shows_them(made):
    assert pixels(made.result.sheet).shape[1] == 1200


def test_words_for_each_are_divided_outside_of_brackets_only():
    assert own_words("a hat | [with|without] glasses", 2) == ["a hat", "[with|without] glasses"]
    assert own_words("[with|without] glasses", 2) == ["[with|without] glasses"] * 2


def test_progress_only_grows(made):
    # A small face that is sampled again has no count.
    steps = [(e.step, e.total) for e in made.events if e.stage is Stage.GENERATE and e.total]
    assert all(total == 15 for _, total in steps)
    assert [s for s, _ in steps] == sorted(s for s, _ in steps)
    assert steps[-1][0] == 15
    ranked = [e.step for e in made.events if e.stage is Stage.RANK]
    assert ranked == [1, 2, 3, 4, 5]


def test_the_recipe_repeats_the_picture_whatever_stood_beside_it(made, copy):
    first = made.result.portraits[0]
    same = PortraitRequest(
        PERSON, style="pencil-sketch", prompt="laughing", negative="blur", config=replace(CONFIG, count=1, seed=first.seed)
    )
    [alone] = copy.portraits(same).portraits
    assert np.abs(pixels(alone.file).astype(int) - pixels(first.file)).max() <= 1
    assert alone.file.parent.parent == copy.workspace.person(PERSON).portraits
    [again] = copy.portraits(same).portraits
    assert again.file.parent != alone.file.parent
    assert again.file.read_bytes() == alone.file.read_bytes()
    assert copy.person(PERSON).portraits == 2


def test_portraits_below_the_wish_are_flagged_not_dropped(copy):
    result = copy.portraits(PortraitRequest(PERSON, config=replace(ONE, count=2, min_likeness=1.0)))
    assert [p.flagged for p in result.portraits] == [True, True]
    assert all(p.file.is_file() for p in result.portraits)


def test_the_best_are_kept_and_the_report_names_the_rest(copy):
    config = replace(CONFIG, count=3, keep=1, steps=2, face_pass="off", seed=4)
    result = copy.portraits(PortraitRequest(PERSON, style="charcoal", config=config))
    [best] = result.portraits
    report = json.loads(result.report.read_text(encoding="utf-8"))
    assert [p.name for p in result.folder.glob("[0-9]*.png")] == [best.file.name]
    assert (result.candidates, report["candidates"]) == (3, 3)
    assert {best.seed, *(one["seed"] for one in report["not_kept"])} == {4, 5, 6}
    assert any("best 1 kept" in note for note in result.notes)
    assert report["notes"] == list(result.notes)
    rest = [one["likeness"] for one in report["not_kept"] if one["likeness"] is not None]
    assert best.flagged or all(best.likeness >= likeness for likeness in rest)
    # This style brings its measure along.
    assert 0 <= best.style_score <= 1
    assert f"FaceChain style score: {best.style_score:.2f}" in best.infotext
    assert "FaceChain rank: 1 of 3" in best.infotext


def test_the_lora_acts_only_when_wanted(copy):
    def picture(**more):
        config = replace(ONE, **{k: more.pop(k) for k in ("face_weight",) if k in more})
        [portrait] = copy.portraits(PortraitRequest(PERSON, config=config, **more)).portraits
        return pixels(portrait.file), portrait.infotext

    plain, said = picture(with_lora=False)
    assert "<lora:" not in said
    assert np.array_equal(picture(face_weight=0.0)[0], plain)
    assert not np.array_equal(picture(face_weight=2.0)[0], plain)


def test_portraits_elsewhere_go_with_the_person_those_changed_stay(copy, tmp_path):
    result = copy.portraits(PortraitRequest(PERSON, config=ONE, out=tmp_path / "out"))
    assert len(read_card(copy.workspace.person(PERSON))["outside"]) == 3
    (tmp_path / "out" / "mine.txt").write_text("mine")
    result.sheet.write_bytes(b"retouched")
    copy.delete_person(PERSON)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mine.txt", "sheet.png"]


def test_cancelling_leaves_nothing_and_takes_the_lora_out(copy, tmp_path):
    before, token = contents(copy.workspace.root), CancelToken()
    host = copy.host(None)
    weights = {k: v.clone() for k, v in host.parts().unet.state_dict().items()}
    with pytest.raises(Cancelled):
        copy.portraits(
            PortraitRequest(PERSON, config=replace(ONE, count=4, batch=1), out=tmp_path / "out"),
            lambda event: token.cancel() if event.stage is Stage.RANK else None,
            token,
        )
    assert contents(copy.workspace.root) == before
    assert not (tmp_path / "out").exists()
    assert all(bool((weights[k] == v).all()) for k, v in host.parts().unet.state_dict().items())


def style_file(copy, **more) -> None:
    copy.workspace.styles.mkdir(parents=True, exist_ok=True)
    values = {"schema": 1, "id": "ink", "name": "Ink", "category": "art", "prompt": "ink wash of {person}", **more}
    (copy.workspace.styles / "ink.json").write_text(json.dumps(values))


def test_what_cannot_be_painted_is_said_and_leaves_nothing(copy, house):
    style_file(copy, lora="ink")
    before = contents(copy.workspace.root)
    for request, error, said in (
        (PortraitRequest("Grace Hopper", config=ONE), UserInputError, "Grace Hopper"),
        (PortraitRequest(PERSON, style="pencil-sketsch", config=ONE), UserInputError, "did you mean 'pencil-sketch'"),
        (PortraitRequest(PERSON, style="ink", config=ONE), WeightsMissing, r"ink\.safetensors"),
        (PortraitRequest(PERSON, checkpoint="nonsuch", config=ONE), UserInputError, "nonsuch"),
    ):
        with pytest.raises(error, match=said):
            copy.portraits(request)
    assert contents(copy.workspace.root) == before


def test_without_a_lora_the_person_must_be_trained_first(copy):
    lora = copy.person(PERSON).loras[0].file
    lora.unlink()
    with pytest.raises(UserInputError, match=r"Ada_Lovelace\.safetensors.*is gone"):
        copy.portraits(PortraitRequest(PERSON, config=ONE))
    card = copy.workspace.person(PERSON).card
    card.write_text(json.dumps({**json.loads(card.read_text()), "loras": []}))
    with pytest.raises(UserInputError, match="Train one first"):
        copy.portraits(PortraitRequest(PERSON, config=ONE))


def test_a_styles_lora_joins_with_its_weight_or_the_one_asked_for(copy, house):
    style_file(copy, lora="ink", weight=0.4)
    (copy.workspace.styles / "ink.safetensors").write_bytes(house.trained.lora.read_bytes())
    [own] = copy.portraits(PortraitRequest(PERSON, style="ink", config=ONE)).portraits
    [asked] = copy.portraits(PortraitRequest(PERSON, style="ink", config=replace(ONE, style_weight=1.2))).portraits
    assert "<lora:ink:0.4>" in own.infotext
    assert "<lora:ink:1.2>" in asked.infotext
    assert not np.array_equal(pixels(own.file), pixels(asked.file))
    style_file(copy, lora="ink", lora_for="another-checkpoint")
    [without] = copy.portraits(PortraitRequest(PERSON, style="ink", config=ONE)).portraits
    assert "<lora:ink" not in without.infotext


def test_an_edited_prompt_is_used_as_it_is_and_can_be_made_again_without_the_panel(copy):
    request = PortraitRequest(PERSON, style="knight", prompt="laughing", exact_prompt="drawing of {person}", exact_negative="", config=ONE)
    [portrait] = copy.portraits(request).portraits
    text = read_infotext(portrait.file)
    assert text.startswith("drawing of sks person <lora:Ada_Lovelace:0.9>\nSteps:")
    assert "Negative prompt" not in text
    assert "FaceChain person" not in text, "the panel would compose it anew"

def test_two_people_each_in_a_column_are_scored_apart_and_go_with_either(copy, house):
    root = copy.workspace.people_root
    shutil.copytree(root / PERSON, root / "Grace Hopper")
    card = json.loads((root / "Grace Hopper" / "person.json").read_text())
    (root / "Grace Hopper" / "person.json").write_text(json.dumps({**card, "name": "Grace Hopper"}))
    config = replace(CONFIG, count=1, width=None, height=None, steps=2, face_pass="always")
    request = PortraitRequest(PERSON, prompt="laughing | with a hat", config=config, beside=("Grace Hopper",))
    [portrait] = copy.portraits(request).portraits
    assert pixels(portrait.file).shape == (128, 240, 3)
    assert len(portrait.each) == len(portrait.others) == 2
    assert portrait.flagged == (portrait.faces != 2 or bool(portrait.faults))
    assert "FaceChain beside: Grace Hopper" in portrait.infotext
    [same] = copy.portraits(recipe_of(portrait.file).request).portraits
    assert np.array_equal(pixels(same.file), pixels(portrait.file))
    copy.delete_person("Grace Hopper")
    assert not portrait.file.exists()
    assert copy.person(PERSON).loras


def test_who_cannot_be_together_is_said(copy):
    for beside, said in (((PERSON,), "named twice"), (("Nobody",), "Nobody")):
        with pytest.raises(UserInputError, match=said):
            copy.portraits(PortraitRequest(PERSON, config=ONE, beside=beside))
