"""The FaceChain panel through ``alwayson_scripts`` of the WebUI's API."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image as PilImage

from .webui import LONG, Drawn, WebUi, values

LIKENESS = "FaceChain likeness"


def draw(webui: WebUi, config: Any, *, enabled: bool = True, kind: str = "txt2img", **wanted: Any) -> Drawn:
    """Pictures with the panel."""
    return webui.draw(kind, alwayson_scripts={"FaceChain": {"args": [enabled, config] if config is not None else [enabled]}}, **wanted)


def likeness_of(infotext: str) -> float:
    """As it ranks: a picture without a face comes last."""
    said = values(infotext)[LIKENESS]
    return -2.0 if said == "no face" else float(said)


@pytest.fixture
def config(person: str, trained: str) -> dict[str, Any]:
    """The panel's settings for the person with the LoRA ``trained``."""
    return {"person": person, "face_weight": 1.0, "min_likeness": -1.0}


def test_every_picture_says_its_likeness_and_the_best_comes_first(webui: WebUi, config: dict[str, Any]) -> None:
    drawn = draw(webui, config, batch_size=3, n_iter=2)
    assert len(drawn.pictures) == 6
    found = [likeness_of(text) for text in drawn.infotexts]
    assert found == sorted(found, reverse=True)
    if set(found) == {likeness_of(f"{LIKENESS}: no face")}:
        pytest.skip("this checkpoint draws no faces: nothing to rank")
    assert len(set(found)) > 1
    seeds = [int(values(text)["Seed"]) for text in drawn.infotexts]
    assert sorted(seeds) == [7, 8, 9, 10, 11, 12]
    assert drawn.info["all_seeds"] == seeds
    # What is written into each file is what is said about it.
    for data, text in zip(drawn.pictures, drawn.infotexts, strict=True):
        assert PilImage.open(io.BytesIO(data)).info["parameters"] == text
    # And it is that seed's picture.
    again = draw(webui, config, seed=seeds[0])
    assert likeness_of(again.infotexts[0]) == pytest.approx(found[0], abs=0.02)


def test_without_ranking_seeds_keep_their_order(webui: WebUi, config: dict[str, Any]) -> None:
    drawn = draw(webui, {**config, "rank": False}, batch_size=2, n_iter=2)
    assert [int(values(text)["Seed"]) for text in drawn.infotexts] == [7, 8, 9, 10]
    assert all(LIKENESS in values(text) for text in drawn.infotexts)
    ranked = draw(webui, config, batch_size=2, n_iter=2)
    assert sorted(ranked.pixels) == sorted(drawn.pixels)


def test_prompt_holds_person_style_and_own_words(webui: WebUi, config: dict[str, Any], trained: str) -> None:
    drawn = draw(webui, {**config, "style": "business-headshot"}, prompt="by the sea", negative_prompt="hat")
    text = drawn.infotexts[0]
    assert "fchost man" in text.splitlines()[0]
    assert "by the sea" in text.splitlines()[0]
    assert f"<lora:{trained}:1>" in text or f"<lora:{trained}" in text
    assert "hat" in text.splitlines()[1]
    said = values(text)
    assert (said["FaceChain person"], said["FaceChain style"], said["FaceChain face weight"]) == (
        config["person"],
        "business-headshot",
        "1.0",
    )
    assert drawn.pixels != webui.draw(prompt="by the sea", negative_prompt="hat").pixels


def test_values_by_position_mean_the_same(webui: WebUi, config: dict[str, Any]) -> None:
    by_name = draw(webui, config)
    said = webui.draw(alwayson_scripts={"FaceChain": {"args": [True, config["person"], "plain", 1.0, 0.8, -1.0, True]}})
    assert said.pixels == by_name.pixels


@pytest.mark.parametrize("args", [[], [False], [False, {"person": "Host Test"}], [False, "Host Test", "plain", 1, 1, 0, True]])
def test_switched_off_changes_nothing(webui: WebUi, person: str, args: list[Any]) -> None:
    without = webui.draw(batch_size=2, n_iter=2)
    off = webui.draw(batch_size=2, n_iter=2, alwayson_scripts={"FaceChain": {"args": args}})
    assert off.pixels == without.pixels
    assert off.infotexts == without.infotexts
    assert "FaceChain" not in "".join(off.infotexts)


def test_a_picture_after_the_panel_is_the_plain_one(webui: WebUi, config: dict[str, Any]) -> None:
    plain = webui.draw().pixels
    draw(webui, config)
    assert webui.draw().pixels == plain


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"person": "Nobody Known"}, "Nobody Known"),
        ({"person": ""}, "Choose a person"),
        ({"person": "../../etc"}, "name"),
        ({"person": "Host Test", "style": "no-such-style"}, "no-such-style"),
        ({"person": "Host Test", "face_weight": "strong"}, "face_weight"),
        ({"person": "Host Test", "colour": "red"}, "colour"),
        ({"person": "Host Test", "face_weight": 99}, "face_weight"),
    ],
)
def test_what_cannot_be_makes_no_picture_and_says_why(webui: WebUi, trained: str, config: dict[str, Any], expected: str) -> None:
    drawn = draw(webui, config, batch_size=2, n_iter=2)
    assert drawn.pictures == []
    assert expected in drawn.info["extra_generation_params"]["FaceChain error"]
    assert expected in drawn.infotexts[0]
    # The next one is not in its way.
    assert len(webui.draw().pictures) == 1


def test_someone_without_a_lora_is_refused(webui: WebUi, photos: Any) -> None:
    name = "Host Untrained"
    try:
        webui.prepare(name, photos)
        drawn = draw(webui, {"person": name})
        assert drawn.pictures == []
        assert name in drawn.info["extra_generation_params"]["FaceChain error"]
    finally:
        webui.delete(name)


def test_img2img(webui: WebUi, config: dict[str, Any]) -> None:
    start = base64.b64encode(webui.draw().pictures[0]).decode()
    drawn = draw(webui, config, kind="img2img", init_images=[start], denoising_strength=0.6, batch_size=2)
    found = [likeness_of(text) for text in drawn.infotexts]
    assert len(drawn.pictures) == 2
    assert found == sorted(found, reverse=True)
    plain = webui.draw("img2img", init_images=[start], denoising_strength=0.6, batch_size=2)
    assert set(plain.pixels).isdisjoint(drawn.pixels)
    off = draw(webui, config, enabled=False, kind="img2img", init_images=[start], denoising_strength=0.6, batch_size=2)
    assert off.pixels == plain.pixels


def test_hires_fix(webui: WebUi, config: dict[str, Any]) -> None:
    hires = {"enable_hr": True, "hr_scale": 2, "hr_upscaler": "Latent", "denoising_strength": 0.6, "hr_second_pass_steps": 4}
    # Without it Forge's API ends in a TypeError; the others do not know it.
    hires["hr_additional_modules"] = ["Use same choices"]
    drawn = draw(webui, config, batch_size=2, **hires)
    assert [PilImage.open(io.BytesIO(p)).size for p in drawn.pictures] == [(256, 256)] * 2
    assert all("FaceChain likeness" in text for text in drawn.infotexts)
    # The second pass draws the person as well: the same as with the composed prompt in both fields by hand.
    prompt = drawn.info["prompt"]
    assert "Hires prompt" not in drawn.infotexts[0]
    by_hand = webui.draw(prompt=prompt, negative_prompt=drawn.info["negative_prompt"], batch_size=2, **hires)
    assert sorted(by_hand.pixels) == sorted(drawn.pixels)


def test_xyz_plot(webui: WebUi, config: dict[str, Any]) -> None:
    def axis(label: str, values: str) -> list[Any]:
        names = [option for option in webui.get("/sdapi/v1/script-info") if option["name"] == "x/y/z plot" and not option["is_img2img"]]
        choices = names[0]["args"][0]["choices"]
        return [choices.index(label), values, []]

    plot = [*axis("[FaceChain] Face weight", "0, 1"), *axis("[FaceChain] Style", "plain, knight"), *axis("Nothing", "")]
    # Legend, single pictures, no sub-grids; the values as text.
    flags = [True, True, False, False, False, False, False, 0, True]
    drawn = draw(webui, config, script_name="x/y/z plot", script_args=[*plot, *flags])
    cells = drawn.infotexts[1:]
    made = [(float(values(t)["FaceChain face weight"]), values(t)["FaceChain style"]) for t in cells]
    assert made == [(0, "plain"), (1, "plain"), (0, "knight"), (1, "knight")]
    assert all("FaceChain likeness" in text for text in cells)
    assert len(set(drawn.pixels[1:])) == 4
    # Each is what the panel alone makes with these values.
    alone = draw(webui, {**config, "face_weight": 1.0, "style": "knight"})
    assert alone.pixels == drawn.pixels[-1:]


def test_one_grid_keeps_its_place(webui: WebUi, config: dict[str, Any]) -> None:
    grid = {"override_settings": {"return_grid": True, "grid_save": False}, "do_not_save_grid": True, "save_images": False}
    drawn = draw(webui, config, batch_size=2, n_iter=2, **grid)
    sizes = [PilImage.open(io.BytesIO(p)).size for p in drawn.pictures]
    assert sizes.count((128, 128)) == 4
    if len(sizes) == 5:
        assert sizes[0] == (256, 256)


def test_own_words_are_kept_apart(webui: WebUi, config: dict[str, Any]) -> None:
    drawn = draw(webui, config, prompt="by the sea, at night", negative_prompt="hat: red")
    assert 'FaceChain own prompt: "by the sea, at night"' in drawn.infotexts[0]
    assert 'FaceChain own negative: "hat: red"' in drawn.infotexts[0]
    assert "FaceChain own" not in draw(webui, config, prompt="", negative_prompt="").infotexts[0]


def test_a_whole_infotext_comes_to_the_same_picture(webui: WebUi, config: dict[str, Any]) -> None:
    drawn = draw(webui, {**config, "style": "knight", "face_weight": 0.7}, prompt="by the sea", negative_prompt="hat")
    # The API puts the whole prompt back, with our part in it, and switches the panel on.
    # On a connection of its own, which Forge closes when it fails.
    sent = httpx.post(f"{webui.url}/sdapi/v1/txt2img", json={"infotext": drawn.infotexts[0]}, timeout=LONG, trust_env=False)
    if "parameterized generic" in sent.text:
        pytest.skip("Forge's API reads no infotext, with or without us (modules/api/api.py, get_field_value)")
    assert sent.is_success, sent.text
    answer = sent.json()
    again = Drawn([base64.b64decode(data) for data in answer["images"]], json.loads(answer["info"])["infotexts"], {}, {})
    assert values(again.infotexts[0])["FaceChain person"] == config["person"]
    # What was composed is known again: no word and no tag comes in twice.
    assert again.infotexts[0].splitlines()[:2] == drawn.infotexts[0].splitlines()[:2]
    assert values(again.infotexts[0])["FaceChain own prompt"] == "by the sea"
    assert again.pixels == drawn.pixels


def test_a_whole_infotext_of_a_blend_through_hooks_comes_to_the_same_picture(webui: WebUi, config: dict[str, Any]) -> None:
    drawn = draw(webui, {**config, "style": "charcoal", "blend": "face 1 + style 0.8 blocks 1*3|0*19|1*3"}, prompt="by the sea")
    sent = httpx.post(f"{webui.url}/sdapi/v1/txt2img", json={"infotext": drawn.infotexts[0]}, timeout=LONG, trust_env=False)
    if "parameterized generic" in sent.text:
        pytest.skip("Forge's API reads no infotext, with or without us (modules/api/api.py, get_field_value)")
    answer = sent.json()
    again = json.loads(answer["info"])["infotexts"][0]
    assert again.splitlines()[0] == drawn.infotexts[0].splitlines()[0]
    assert Drawn([base64.b64decode(data) for data in answer["images"]], [again], {}, {}).pixels == drawn.pixels


def test_scores_faces_and_what_is_wrong_are_in_every_infotext(webui: WebUi, config: dict[str, Any]) -> None:
    drawn = draw(webui, {**config, "style": "charcoal", "min_likeness": 1.0}, batch_size=2)
    for text in drawn.infotexts:
        found = values(text)
        assert {"FaceChain likeness", "FaceChain faces", "FaceChain flagged"} <= set(found)
        # How much of a style is in a picture is known where its LoRA fits the checkpoint.
        assert ("FaceChain style score" in found) == found["Model"].startswith("tiny-faces")


def test_faces_are_sampled_again_and_nothing_of_it_stays(webui: WebUi, config: dict[str, Any], probed: WebUi) -> None:
    plain, before = webui.draw().pixels, probed.state()
    asked = {**config, "face_pass": "always", "face_pass_strength": 0.6}
    drawn = draw(webui, asked, batch_size=2)
    passed = [values(text).get("FaceChain face pass likeness", "") for text in drawn.infotexts]
    if not any(passed):
        pytest.skip("this checkpoint draws no faces")
    assert all(" to " in said for said in passed if said)
    assert draw(webui, asked, batch_size=2).pixels == drawn.pixels
    assert webui.draw().pixels == plain
    after = probed.state()
    assert {k: (v, after[k]) for k, v in before.items() if after[k] != v and k not in ("merged layers", "random")} == {}


def test_own_tag_of_the_person_is_left_alone(webui: WebUi, config: dict[str, Any], trained: str) -> None:
    prompt = f"photo of fchost man in the rain <lora:{trained}:0.5>"
    drawn = draw(webui, config, prompt=prompt)
    assert drawn.pixels == webui.draw(prompt=prompt).pixels
    assert LIKENESS in values(drawn.infotexts[0])


def test_script_info_names_the_arguments(webui: WebUi) -> None:
    known = {s["name"].lower(): s for s in webui.get("/sdapi/v1/script-info") if not s["is_img2img"]}
    labels = [a["label"] for a in known["facechain"]["args"]]
    assert labels[:2] == ["Enable", "Person"]


@pytest.fixture
def look(webui: WebUi, trained: str) -> Iterator[str]:
    """A style with a LoRA for the checkpoint that is loaded: a shipped one, else a copy of the person's LoRA as one."""
    if webui.get("/facechain/v1/checkpoints")[0]["name"] == "tiny-faces":
        yield "charcoal"
        return
    file = webui.loras.parent / "host-look.safetensors"
    shutil.copyfile(webui.loras / f"{trained}.safetensors", file)
    webui.post("/sdapi/v1/refresh-loras")
    made = webui.post("/facechain/v1/styles", {"name": "Host Look", "prompt": "a drawing", "lora": file.stem, "weight": 0.8, "replace": True})
    yield made["id"]
    webui.http.delete(f"/facechain/v1/styles/{made['id']}")
    file.unlink()


def test_a_style_is_blended_in_and_leaves_nothing(webui: WebUi, config: dict[str, Any], look: str, probed: WebUi) -> None:
    plain, before = webui.draw().pixels, probed.state()
    asked = {**config, "style": look}
    mine, styled = draw(webui, {**asked, "balance": 1.0}), draw(webui, {**asked, "balance": 0.0})
    assert mine.pixels != styled.pixels
    assert values(mine.infotexts[0])["FaceChain style"] == look
    blends = [values(drawn.infotexts[0])["FaceChain blend"] for drawn in (mine, styled)]
    assert blends[0] != blends[1]
    assert draw(webui, {**asked, "blend": blends[1]}).pixels == styled.pixels
    assert webui.draw().pixels == plain
    after = probed.state()
    # The WebUI itself draws from Python's generator for every picture's subseed, and Forge keeps the last picture's words.
    own = ("merged layers", "random", "caches")
    changed = {key: (value, after[key]) for key, value in before.items() if after[key] != value and key not in own}
    assert changed == {}
