"""The panel in txt2img and img2img: prompts, LoRA tag, likeness, order, refusals, pasting."""

from __future__ import annotations

import re
from pathlib import Path

import networks
import pytest
import webui
from modules import infotext_utils, paths_internal, processing, scripts, sd_models, shared
from PIL import Image

from facechain_ext.portraits.rank import Score
from facechain_ext.services.candidates import Room

LIKENESS = "FaceChain likeness"
AXES = ("Person", "Style", "Face weight", "Style weight", "More style to more me", "Blend", "Face pass")
SIZE = {"width": 128, "height": 128, "steps": 6}
"""Large enough for a face to be found."""


@pytest.fixture
def config(person, trained):
    """The panel's settings for the person."""
    return {"person": person, "face_weight": 1.0, "min_likeness": -1.0}


def values(infotext):
    """The last line of an infotext, read as the WebUI does."""
    return infotext_utils.parse_generation_parameters(infotext)


def likeness(infotext):
    """As it ranks: no face comes last."""
    said = values(infotext)[LIKENESS]
    return -2.0 if said == "no face" else float(said)


@pytest.mark.parametrize("args", [[], [False], [False, {"person": "Stub Person"}], [False, "Stub Person", "plain", 1, 1, 0, True]])
@pytest.mark.parametrize("kind", ["txt2img", "img2img"])
def test_switched_off_it_changes_nothing_at_all(args, kind, draw, panel, trained, monkeypatch, tmp_path):
    wanted = {"kind": kind, "batch_size": 2, "n_iter": 2, "save_images": True}
    if kind == "img2img":
        wanted["init_images"] = [Image.new("RGB", (64, 64), "grey")]
    runner = scripts.scripts_txt2img if kind == "txt2img" else scripts.scripts_img2img

    def drawn(way, folder):
        monkeypatch.setattr(paths_internal, "data_path", str(tmp_path / folder))
        (tmp_path / folder).mkdir()
        answer = way()
        return answer, {file.name: file.read_bytes() for file in sorted((tmp_path / folder).rglob("*")) if file.is_file()}

    off, files = drawn(lambda: panel(*args, **wanted), "off")
    with monkeypatch.context() as without:
        without.setattr(runner, "alwayson_scripts", [])
        bare, bare_files = drawn(lambda: draw(**wanted), "bare")
    assert off.pixels == bare.pixels
    assert len(files) == 6
    assert files == bare_files
    assert off.infotexts == bare.infotexts
    assert off.info == bare.info
    assert off.processed.comments == bare.processed.comments == ""
    assert vars(off.p).keys() == vars(bare.p).keys()
    assert (off.p.all_prompts, off.p.all_negative_prompts) == (bare.p.all_prompts, bare.p.all_negative_prompts)
    assert off.p.extra_generation_params == bare.p.extra_generation_params == {}


def test_prompt_holds_style_person_own_words_and_tag(panel, config, trained):
    drawn = panel(True, {**config, "style": "knight"}, prompt="by the sea, at night", negative_prompt="hat: red")
    prompt, negative = drawn.info["prompt"], drawn.info["negative_prompt"]
    assert "fchost man as a knight" in prompt
    assert "by the sea, at night" in prompt
    assert re.findall("<lora:[^>]+>", prompt) == [f"<lora:{_newest()}:1>"]
    assert "hat: red" in negative
    assert len(negative) > len("hat: red")
    said = values(drawn.infotexts[0])
    assert said["FaceChain own prompt"] == "by the sea, at night"
    assert said["FaceChain own negative"] == "hat: red"
    assert (said["FaceChain person"], said["FaceChain style"], said["FaceChain face weight"]) == (config["person"], "knight", "1.0")
    assert [n.name for n in networks.loaded_networks] == [_newest()]


def _newest():
    from facechain_ext.hosts.a1111.wiring import studio

    return studio().person("Stub Person").loras[-1].name


def test_the_tag_reaches_the_weights(panel, draw, config):
    with_face = panel(True, config, prompt="")
    prompt = with_face.info["prompt"]
    assert with_face.pixels == draw(prompt=prompt).pixels
    assert with_face.pixels != draw(prompt=re.sub(" <lora:[^>]+>", "", prompt)).pixels
    # Weight 0 is the checkpoint itself, with the same words.
    assert panel(True, {**config, "face_weight": 0.0}, prompt="").pixels == draw(prompt=re.sub(" <lora:[^>]+>", "", prompt)).pixels


def test_a_picture_after_the_panel_is_the_plain_one(panel, draw, config):
    plain = draw().pixels
    panel(True, config)
    assert draw().pixels == plain


def test_every_picture_says_its_likeness_and_the_best_comes_first(panel, config):
    drawn = panel(True, config, batch_size=2, n_iter=2, **SIZE)
    found = [likeness(text) for text in drawn.infotexts]
    assert len(drawn.images) == len(found) == 4
    assert found == sorted(found, reverse=True)
    assert len(set(found)) > 1
    seeds = [int(values(text)["Seed"]) for text in drawn.infotexts]
    assert drawn.info["all_seeds"] == seeds
    assert sorted(seeds) == [7, 8, 9, 10]
    assert [image.info["parameters"] for image in drawn.images] == drawn.infotexts
    unranked = panel(True, {**config, "rank": False}, batch_size=2, n_iter=2, **SIZE)
    assert [int(values(text)["Seed"]) for text in unranked.infotexts] == [7, 8, 9, 10]
    assert {s: likeness(t) for s, t in zip(seeds, drawn.infotexts, strict=True)} == {
        7 + i: likeness(t) for i, t in enumerate(unranked.infotexts)
    }
    assert [unranked.pixels[seed - 7] for seed in seeds] == drawn.pixels
    # Measured on the picture itself.
    import numpy as np

    from facechain_ext.hosts.a1111.wiring import studio
    from facechain_ext.portraits.rank import score
    from facechain_ext.services.people import dataset_of

    work = studio()
    person = dataset_of(work.workspace.existing_person(config["person"]), work.analyzer).mean_embedding
    measured = score(np.asarray(drawn.images[0]), work.analyzer, person).likeness
    assert found[0] == pytest.approx(-2.0 if measured is None else measured, abs=0.001)


def test_files_on_disk_hold_their_likeness(panel, config, monkeypatch, tmp_path):
    # They are written before ``postprocess``: only a value asked for at each picture can be in them.
    monkeypatch.setattr(paths_internal, "data_path", str(tmp_path))
    drawn = panel(True, config, batch_size=2, save_images=True, **SIZE)
    files = [Image.open(file).info["parameters"] for file in sorted((tmp_path / "outputs").iterdir()) if "grid" not in file.name]
    single = drawn.infotexts[drawn.info["index_of_first_image"] :]
    assert sorted(files) == sorted(single)
    assert all(LIKENESS in values(text) for text in files)


def test_a_grid_stays_first_and_says_no_likeness(panel, config):
    drawn = panel(True, config, batch_size=2, n_iter=2, save_images=True, **SIZE)
    assert drawn.info["index_of_first_image"] == 1
    assert drawn.images[0].size == (256, 256)
    assert LIKENESS not in drawn.infotexts[0]
    found = [likeness(text) for text in drawn.infotexts[1:]]
    assert found == sorted(found, reverse=True)


def test_api_forms_mean_the_same(panel, config):
    by_name = panel(True, config)
    by_place = panel(True, config["person"], "plain", 1.0, 0.8, -1.0, True)
    more = panel(True, config["person"], "plain", 1.0, 0.8, -1.0, True, 0.5, "", [], "regions", False, 0.45, 0.3, "", "surplus", 7)
    assert by_name.pixels == by_place.pixels == more.pixels
    assert by_name.infotexts == by_place.infotexts == more.infotexts


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"person": "Nobody Known"}, "Nobody Known"),
        ({"person": ""}, "Choose a person"),
        ({"person": "../../etc"}, "name"),
        ({"style": "no-such-style"}, "no-such-style"),
        ({"face_weight": "strong"}, "face_weight"),
        ({"face_weight": 99}, "face_weight"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_makes_no_picture_and_says_why(wrong, expected, panel, draw, config):
    drawn = panel(True, {**config, **wrong}, batch_size=2, n_iter=2, save_images=True)
    assert drawn.images == []
    assert expected in drawn.info["extra_generation_params"]["FaceChain error"]
    assert expected in drawn.processed.comments
    assert expected in drawn.infotexts[0]
    assert len(draw().images) == 1


def test_someone_without_a_lora_is_refused(panel, photos, studio):
    from facechain_ext.config import PrepareConfig
    from facechain_ext.services.requests import PrepareRequest

    studio.prepare(PrepareRequest("Untrained", tuple(photos), PrepareConfig(resolution=128, crop_scale=1.5)))
    try:
        drawn = panel(True, {"person": "Untrained"})
        assert drawn.images == []
        assert "Untrained" in drawn.processed.comments
    finally:
        studio.delete_person("Untrained")


def test_what_a_hook_raises_makes_no_picture_of_somebody_else(panel, config, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("facechain_ext.hosts.a1111.sitting.compose", broken)
    drawn = panel(True, config)
    # The WebUI would only log it and draw the prompt without the person.
    assert drawn.images == []
    assert "ZeroDivisionError" in drawn.processed.comments


def test_what_is_measured_is_the_picture_as_it_is_shown(panel, config, monkeypatch):
    """Another script, whose turn comes after ours, paints over every picture, as a face swapper does."""
    import numpy as np

    seen, runner = [], scripts.scripts_txt2img

    class Painter(scripts.Script):
        filename, args_from, args_to = "painter", 0, 0

        def postprocess_image(self, p, pp, *_):
            pp.image = Image.new("RGB", pp.image.size, "red")

    monkeypatch.setattr(runner, "alwayson_scripts", [*runner.alwayson_scripts, Painter()])
    monkeypatch.setattr(Room, "scored", lambda _, picture: seen.append(picture) or Score(None, 0))
    panel(True, config, batch_size=2, **SIZE)
    assert [np.unique(picture.reshape(-1, 3), axis=0).tolist() for picture in seen] == [[[255, 0, 0]]] * 2


@pytest.mark.parametrize("turn", ["before ours", "after ours"])
def test_pictures_another_script_adds_keep_their_place(panel, config, monkeypatch, turn):
    """ControlNet's maps come last in the gallery; in Forge it is asked before us."""
    runner, added = scripts.scripts_txt2img, Image.new("RGB", (128, 128), "blue")

    class Adder(scripts.Script):
        filename, args_from, args_to = "adder", 0, 0

        def postprocess(self, p, processed, *_):
            processed.images.append(added)

    own = list(runner.alwayson_scripts)
    monkeypatch.setattr(runner, "alwayson_scripts", [Adder(), *own] if turn == "before ours" else [*own, Adder()])
    plain = panel(True, {**config, "rank": False}, batch_size=2, n_iter=2, **SIZE)
    drawn = panel(True, config, batch_size=2, n_iter=2, **SIZE)
    found = [likeness(text) for text in drawn.infotexts]
    assert len(drawn.images) == 5
    assert drawn.pixels[-1] == plain.pixels[-1]
    assert found == sorted((likeness(text) for text in plain.infotexts), reverse=True)
    assert [image.info["parameters"] for image in drawn.images[:4]] == drawn.infotexts
    best_first = sorted(range(4), key=lambda i: likeness(plain.infotexts[i]), reverse=True)
    assert drawn.pixels[:4] == [plain.pixels[i] for i in best_first]


def test_a_picture_that_cannot_be_scored_is_still_there(panel, config, monkeypatch):
    calls = []

    def broken(*args):
        calls.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr(Room, "scored", broken)
    drawn = panel(True, config, batch_size=2)
    assert len(drawn.images) == len(calls) == 2
    assert [values(text)[LIKENESS] for text in drawn.infotexts] == ["no face"] * 2


def test_own_tag_of_the_person_is_left_alone(panel, draw, config):
    prompt = f"photo of fchost man in the rain <lora:{_newest()}:0.5>"
    drawn = panel(True, config, prompt=prompt)
    assert drawn.info["prompt"] == prompt
    assert drawn.pixels == draw(prompt=prompt).pixels
    assert LIKENESS in values(drawn.infotexts[0])


def test_img2img(panel, draw, config):
    start = {"kind": "img2img", "init_images": draw().images, "denoising_strength": 0.6}
    drawn = panel(True, config, batch_size=2, **start)
    assert len(drawn.images) == 2
    assert all(LIKENESS in values(text) for text in drawn.infotexts)
    assert set(drawn.pixels).isdisjoint(draw(batch_size=2, **start).pixels)


def test_hires_fix_draws_the_person_in_the_second_pass_too(panel, draw, config):
    hires = {"enable_hr": True, "denoising_strength": 0.6}
    drawn = panel(True, config, prompt="by the sea", **hires)
    assert drawn.images[0].size == (128, 128)
    assert "Hires prompt" not in drawn.infotexts[0]
    assert drawn.pixels == draw(prompt=drawn.info["prompt"], negative_prompt=drawn.info["negative_prompt"], **hires).pixels


def test_pasting_sets_the_panel_and_gives_the_own_words_back(panel, config):
    drawn = panel(True, {**config, "style": "knight", "face_weight": 0.7}, prompt="by the sea, at night", negative_prompt="hat")
    found = webui.pasted("txt2img", drawn.infotexts[0])
    assert found["Prompt"] == "by the sea, at night"
    assert found["Negative prompt"] == "hat"
    assert found["Enable"] is True
    assert (found["Person"], found["Style"], found["Face weight"]) == (config["person"], "knight", 0.7)
    # Switched on again by the same paste, the panel comes to the same picture.
    again = panel(
        True, {**config, "style": found["Style"], "face_weight": found["Face weight"]}, prompt=found["Prompt"], negative_prompt="hat"
    )
    assert again.pixels == drawn.pixels


def test_pasting_anything_else_leaves_the_panel_off(draw):
    found = webui.pasted("txt2img", draw(prompt="by the sea").infotexts[0])
    assert found["Prompt"] == "by the sea"
    assert found["Enable"] is False
    assert "Person" not in found


def test_axes_of_the_plot_set_the_panel(panel, draw, config):
    plot = next(s.module for s in scripts.scripts_data if s.script_class.__module__ == "xyz_grid.py")
    axes = {option.label: option for option in plot.axis_options if option.label.startswith("[FaceChain]")}
    assert set(axes) == {f"[FaceChain] {name}" for name in AXES}
    assert config["person"] in axes["[FaceChain] Person"].choices()

    def cell(p):
        axes["[FaceChain] Style"].apply(p, "knight", [])
        axes["[FaceChain] Face weight"].apply(p, 0.5, [])

    plotted = panel(True, config, script=cell)
    assert plotted.pixels == panel(True, {**config, "style": "knight", "face_weight": 0.5}).pixels


def test_a_file_made_anew_under_the_same_name_counts(panel, config):
    # The WebUI tells LoRAs by name and weight only: training never uses a name again.
    from facechain_ext.hosts.a1111.wiring import studio

    names = [lora.name for lora in studio().person(config["person"]).loras]
    assert len(set(names)) == len(names)


def test_the_text_caches_hold_nothing_of_the_panel(panel, draw, config):
    plain = draw(prompt="photo of fchost man").pixels
    panel(True, config, prompt="")
    assert draw(prompt="photo of fchost man").pixels == plain
    assert processing.StableDiffusionProcessing.cached_c[0] is not None


def test_the_workspace_is_the_webuis(studio):
    assert Path(studio.workspace.root) == Path(paths_internal.models_path) / "FaceChain"
    assert sd_models.model_data.sd_model is not None
    assert shared.opts.data.get("facechain_folder") == ""
