"""A portrait dropped on the page: every box as the picture says, and no copy of it stays."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from facechain_ext.blend import parse_plan
from facechain_ext.config import PortraitConfig
from facechain_ext.portraits.infotext import infotext, save_png
from facechain_ext.ports import CheckpointInfo, Family, LoraWeight, Prediction, SamplingRequest
from facechain_ext.services.requests import CheckpointChoice, FaceLora, Person
from facechain_ext.styles.catalog import Style
from facechain_ext.ui.portrait_actions import PortraitActions
from facechain_ext.ui.restoring import told_seeds
from facechain_ext.ui.widgets import rows

INFO = CheckpointInfo("tiny", "ab" * 32, Family.SD1, Prediction.EPS, 128)
PLAN = "face 1 + style 0.8 blocks 1*3|0*19|1*3"
NAMES = (("balance",), ("count", "seed"), ("width", "blend"))


@dataclass
class Room:
    """A studio with one person, one style and one checkpoint."""

    checkpoint_info: CheckpointInfo = INFO
    names: list[str] = field(default_factory=lambda: ["anna", "anna-2"])

    def checkpoints(self):
        return [CheckpointChoice("tiny", Path("tiny.safetensors"), "", True, None, PortraitConfig(), None)]

    def styles(self, problems=None):
        return [Style("plain", "Plain portrait", "basic", "photo of {person}"), Style("rain", "Rain", "outdoors", "{person} in the rain")]

    def person(self, name):
        loras = tuple(FaceLora(n, Path(f"{n}.safetensors"), "", "sd1", "tiny", 4, 10, None, "") for n in self.names)
        return Person("Anna", "sks", "woman", 5, 0, None, loras, 0, False)

    def host(self, _choice):
        return type("Host", (), {"checkpoint": self.checkpoint_info})()


def picture(folder: Path, extra: dict[str, str], prompt: str = "sks woman in the rain, by the sea") -> Path:
    request = SamplingRequest(prompt, "hat", (41, 42), 128, 192, 9, 3.5, "Euler", (LoraWeight(Path("anna.safetensors")),))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "portrait.png"
    save_png(np.zeros((8, 8, 3), np.uint8), file, infotext(request, 1, INFO, extra))
    return file


@pytest.fixture
def uploads(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return tmp_path / "uploads" / "some"


@pytest.fixture
def restored(uploads):
    import gradio as gr

    def read(extra, studio=None, **more):
        with gr.Blocks():
            form = rows(PortraitConfig(), "x", NAMES)
        updates = PortraitActions(studio or Room()).restored(str(picture(uploads, extra, **more)), form)
        assert not uploads.exists(), "no copy stays"
        return [u if isinstance(u, str) else u.get("value", "unchanged") for u in updates]

    return read


OURS = {"FaceChain person": "Anna", "FaceChain style": "rain", "FaceChain own prompt": "by the sea", "FaceChain own negative": "hat"}


def test_every_box_is_as_the_picture_says(restored):
    drop, said, style, person, beside, checkpoint, own, negative, exact, no, last, loras, seeds, *form = restored({**OURS, "FaceChain blend": PLAN})
    assert (drop, style, person, beside, checkpoint) == (None, "Outdoors · Rain", "Anna", [], "tiny")
    assert (own, negative, exact) == ("by the sea", "hat", "sks woman in the rain, by the sea")
    assert json.loads(last) == [exact, no]
    assert (loras, seeds) == ("anna", "")
    assert form == [0.5, 2, "41", "128", str(parse_plan(PLAN))]
    assert "The face LoRA anna is used, as in the picture; the newest is anna-2." in said


def test_people_beside_and_a_prompt_of_its_own(restored):
    values = restored({"FaceChain exact prompt of": "Anna", "FaceChain beside": "Ben; Cora"}, prompt="a painting of sks woman")
    assert values[4] == ["Ben", "Cora"]
    assert values[8] == "a painting of sks woman"
    assert json.loads(values[10])[0] == "photo of sks woman", "what was composed differs, so the box counts as edited"


def test_seeds_of_several_people_count_until_the_seed_or_the_people_change(restored):
    values = restored({**OURS, "FaceChain beside": "Ben", "FaceChain seeds": "41+7 42+9"})
    assert values[12] == "41+7 42+9"
    config = PortraitConfig(seed=41, count=2)
    assert told_seeds(values[12], config, 2) == ((41, 7), (42, 9))
    for changed, people in ((replace(config, seed=5), 2), (replace(config, seed=None), 2), (replace(config, count=3), 2), (config, 1), (config, 3)):
        assert told_seeds(values[12], changed, people) == ()


def test_another_checkpoint_is_told(restored):
    other = CheckpointInfo("tiny", "cd" * 32, Family.SD1, Prediction.EPS, 128)
    assert "another one than the picture" in restored(OURS, Room(other))[1]


@pytest.mark.parametrize(("extra", "expected"), [({}, "not made by FaceChain"), ({**OURS, "FaceChain style": "gone"}, "Import it")])
def test_what_cannot_be_is_told_and_changes_nothing(restored, extra, expected):
    _, said, *rest = restored(extra)
    assert expected in said
    assert len(rest) + 2 == len(restored(OURS)), "a value for every box"
    assert set(rest) == {"unchanged"}


def test_a_file_that_is_no_upload_is_not_read(tmp_path, uploads):
    import gradio as gr

    with gr.Blocks():
        form = rows(PortraitConfig(), "x", NAMES)
    file = picture(tmp_path / "elsewhere", OURS)
    said = PortraitActions(Room()).restored(str(file), form)[1]
    assert "tells nothing" in said
    assert file.exists()
