"""A style LoRA from pictures: captions from where they are, common tags as words, and a style that generates."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from facechain_ext.config import PortraitConfig, TrainConfig
from facechain_ext.errors import Cancelled, HostError, UserInputError
from facechain_ext.progress import CancelToken, Stage
from facechain_ext.services.requests import PortraitRequest, StyleTrainRequest
from facechain_ext.services.studio import Studio
from facechain_ext.styles.catalog import find_style
from tests.unit.services.conftest import PERSON

QUICK = TrainConfig(steps=3, rank=2, alpha=2.0, batch=1, warmup=0, resolution=64, previews=1, preview_every=0, save_every=2, caption_dropout=0.0)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four pictures of stripes, tall and wide, with tags beside three of them; and one that is none."""
    folder = tmp_path_factory.mktemp("stripes")
    for i, size in enumerate([(96, 128), (128, 96), (128, 128), (2000, 1600)]):
        ys, xs = np.mgrid[0 : size[1], 0 : size[0]]
        Image.fromarray(np.where(((xs + i * ys) // 8 % 2)[..., None], (200, 40, 40), (240, 240, 220)).astype(np.uint8)).save(folder / f"{i}.png")
    for i, tags in enumerate(["stripes, red, 1girl", "stripes, 1girl", "stripes, paper, 1girl"]):
        (folder / f"{i}.txt").write_text(tags)
    (folder / "broken.jpg").write_text("no picture")
    return folder


def test_a_style_is_learned_and_generates(copy, pictures):
    events = []
    done = copy.train_style(StyleTrainRequest("Red Stripes", (pictures,), config=QUICK), events.append)
    assert (done.pictures, done.steps, done.captioned) == (4, 3, "the text files beside the pictures")
    assert any("broken.jpg" in note for note in done.notes)
    assert any("1girl" in note for note in done.notes)
    style = find_style(copy.styles(), "red-stripes")
    assert style.prompt == "{person}, redstripesstyle, stripes", "what most captions have, nothing about people"
    assert (style.category, style.family, style.lora_for, style.weight) == ("own", "sd1", "tiny-faces", 0.8)
    assert style.thumbnail is not None
    with safe_open(style.lora_file, "pt") as source:
        assert source.metadata()["modelspec.trigger_phrase"] == "redstripesstyle"
        assert any(source.get_tensor(k).abs().max() > 0 for k in source.keys() if "lora_up" in k)  # noqa: SIM118
    assert {Stage.PREPARE, Stage.TRAIN, Stage.PREVIEW, Stage.DONE} <= {e.stage for e in events}
    config = PortraitConfig(count=1, steps=1, width=64, height=64, seed=1)
    [portrait] = copy.portraits(PortraitRequest(PERSON, style="red-stripes", config=config)).portraits
    assert "<lora:red-stripes:0.8>" in portrait.infotext
    with pytest.raises(UserInputError, match="already"):
        copy.train_style(StyleTrainRequest("Red Stripes", (pictures,), config=QUICK))
    again = copy.train_style(StyleTrainRequest("Red Stripes", (pictures,), config=dataclasses.replace(QUICK, previews=0), replace=True))
    assert again.style.lora == "red-stripes-2", "a host may still know the first one by its name"


def test_the_hosts_captioner_is_asked_when_there_are_no_texts(copy, pictures, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in pictures.glob("[0-2].png"):
        (bare / file.name).write_bytes(file.read_bytes())

    class Tagger:
        name = "Tagger"

        def tags(self, images, cancel):
            return [["stripes", f"number {i}"] for i, _ in enumerate(images)]

    studio = Studio(copy.workspace, lambda: copy.analyzer, copy._checkpoints, captioner=Tagger)
    done = studio.train_style(StyleTrainRequest("Tagged", (bare,), "zebra", config=dataclasses.replace(QUICK, steps=1, previews=0)))
    assert (done.captioned, done.style.prompt) == ("Tagger", "{person}, zebra, stripes")


def test_cancelling_and_mistakes_leave_no_style(copy, pictures, tmp_path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        copy.train_style(StyleTrainRequest("Gone", (pictures,), config=QUICK), cancel=token)
    for request, said in [
        (StyleTrainRequest(" ", (pictures,)), "name"),
        (StyleTrainRequest("A", (pictures,), "a, b"), "plain words"),
        (StyleTrainRequest("A", (pictures / "broken.jpg",)), "None of the pictures"),
    ]:
        with pytest.raises(UserInputError, match=said):
            copy.train_style(request)
    assert not list(copy.workspace.styles.glob("*.json"))


def test_a_style_goes_on_where_it_was_cancelled(copy, pictures, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(pictures, mine)
    config = dataclasses.replace(QUICK, steps=6, previews=0)
    whole = copy.train_style(StyleTrainRequest("Whole", (mine,), "zebra", config=config))
    token = CancelToken()

    def cancel_at_four(event):
        if event.stage is Stage.TRAIN and event.step == 4:
            token.cancel()

    with pytest.raises(Cancelled):
        copy.train_style(StyleTrainRequest("Halves", (mine,), "zebra", config=config, licence="CC0"), cancel_at_four, token)
    # The pictures may be gone by then.
    shutil.rmtree(mine)
    assert [(u.name, u.step, u.steps) for u in copy.unfinished_styles()] == [("Halves", 4, 6)]
    done = copy.train_style(StyleTrainRequest("Halves", resume=True, config=TrainConfig()))
    assert (done.steps, done.pictures, done.style.licence) == (6, 4, "CC0")
    assert [p.loss for p in done.curve] == [p.loss for p in whole.curve]
    with safe_open(whole.lora, "pt") as a, safe_open(done.lora, "pt") as b:
        assert all(a.get_tensor(key).equal(b.get_tensor(key)) for key in a.keys())  # noqa: SIM118
    assert copy.unfinished_styles() == []
    assert not (copy.workspace.styles / "training" / "halves" / "pictures").exists()
    with pytest.raises(UserInputError, match="no unfinished training of a style 'halves'"):
        copy.train_style(StyleTrainRequest("Halves", resume=True))


def test_two_trainings_of_one_style_do_not_meet(copy, pictures):
    def second(event):
        if event.stage is Stage.TRAIN:
            with pytest.raises(HostError, match="under way"):
                copy.train_style(StyleTrainRequest("Twice", (pictures,), config=QUICK))
            seen.append(event)

    seen: list[object] = []
    assert copy.train_style(StyleTrainRequest("Twice", (pictures,), config=dataclasses.replace(QUICK, steps=1, previews=0)), second).steps == 1
    assert seen


def test_as_a_job(copy, pictures):
    job = copy.submit_train_style(StyleTrainRequest("Jobbed", (pictures,), config=dataclasses.replace(QUICK, steps=1, previews=0)))
    assert job.wait(120)
    assert (job.kind, job.state.value, job.error) == ("style", "done", None)
    assert find_style(copy.styles(), "jobbed").own
