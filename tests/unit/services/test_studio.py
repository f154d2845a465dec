"""The use cases behind one object: background jobs that tell mistakes at once, late loading, and one checkpoint for all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from facechain_ext.config import PortraitConfig
from facechain_ext.errors import UserInputError
from facechain_ext.ports import Family
from facechain_ext.services.jobs import JobState
from facechain_ext.services.requests import PortraitRequest, PrepareRequest, TrainRequest
from facechain_ext.services.studio import Studio
from facechain_ext.workspace import Workspace
from tests.unit.services.conftest import PERSON, QUICK, contents

PATIENCE = 240


def ended(job):
    assert job.wait(PATIENCE)
    return job


def test_the_whole_main_job_in_the_background(empty, photos):
    config = replace(empty.checkpoint(None).prepare, resolution=64)
    prepared = empty.submit_prepare(PrepareRequest("Ada", photos[:2], config))
    ended(prepared)
    trained = empty.submit_train(TrainRequest("ada", config=replace(QUICK, steps=2)))
    painted = empty.submit_portraits(PortraitRequest("ADA", config=PortraitConfig(count=1, steps=1, width=64, height=64)))
    assert [j.kind for j in empty.jobs.jobs()] == ["prepare", "train", "portraits"]
    assert {j.person for j in empty.jobs.jobs() if j is not prepared} == {"Ada"}
    for job in (prepared, trained, painted):
        assert ended(job).state is JobState.DONE, job.error
    assert prepared.result.dataset is not None
    assert [p.step for p in trained.curve] == [1, 2]
    assert painted.result.portraits[0].file.is_file()


def test_mistakes_that_can_be_seen_at_once_are_raised_at_once(house):
    before = contents(house.root)
    for call in (
        lambda: house.studio.submit_prepare(PrepareRequest("../../x", ())),
        lambda: house.studio.submit_train(TrainRequest("Grace Hopper")),
        lambda: house.studio.submit_train(TrainRequest(PERSON, checkpoint="nonsuch")),
        lambda: house.studio.submit_portraits(PortraitRequest("Grace Hopper")),
        lambda: house.studio.submit_portraits(PortraitRequest(PERSON, checkpoint="nonsuch")),
    ):
        with pytest.raises(UserInputError):
            call()
    assert house.studio.jobs.jobs() == []
    assert contents(house.root) == before


def test_later_mistakes_end_the_job_with_their_sentence(empty):
    job = ended(empty.submit_prepare(PrepareRequest("Ada", (Path("/nowhere/at/all.jpg"),))))
    assert job.state is JobState.FAILED
    assert job.error == "There is no file or folder 'all.jpg'. Check the spelling."


def test_a_cancelled_training_keeps_no_lora(copy):
    before = copy.person(PERSON).loras
    job = copy.submit_train(TrainRequest(PERSON, config=replace(QUICK, steps=5000)))
    copy.jobs.cancel(job.id)
    assert ended(job).state is JobState.CANCELLED
    assert copy.person(PERSON).loras == before


def test_beside_shares_models_and_checkpoint_but_no_people(house, tmp_path):
    other = house.studio.beside(Workspace(tmp_path / "other"))
    assert other.people() == []
    assert other.host(None) is house.studio.host(None)
    assert other.analyzer is house.studio.analyzer
    assert not (tmp_path / "other").exists()


class FolderShelf:
    """A host's LoRA folder: the file and a card beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def put(self, lora, activation, family, preview):
        card = self.folder / f"{lora.stem}.json"
        card.write_text(json.dumps({"activation text": activation, "family": family.value}))
        return [Path(shutil.copy(lora, self.folder)), card]


def test_what_stands_on_the_hosts_shelf_goes_with_the_person(copy, analyzer, tmp_path):
    style = tmp_path / "ink.safetensors"
    style.write_bytes(b"a style's LoRA")
    shelf = FolderShelf(tmp_path / "Lora")
    studio = Studio(copy.workspace, lambda: analyzer, copy._checkpoints, shelf)
    [first] = studio.person(PERSON).loras
    studio.shelve(first.file, "sks person", Family.SD1)
    studio.shelve(style, "ink", Family.SD1)
    studio.train(TrainRequest(PERSON, config=replace(QUICK, steps=1)))
    assert {p.name for p in shelf.folder.iterdir()} == {
        f"{stem}.{kind}" for stem in ("Ada_Lovelace", "Ada_Lovelace-2", "ink") for kind in ("safetensors", "json")
    }
    assert json.loads((shelf.folder / "Ada_Lovelace-2.json").read_text()) == {"activation text": "sks person", "family": "sd1"}
    studio.delete_person(PERSON)
    assert {p.name for p in shelf.folder.iterdir()} == {"ink.safetensors", "ink.json"}


def test_own_styles_are_found(house, copy):
    (copy.workspace.styles).mkdir(parents=True)
    (copy.workspace.styles / "ink.json").write_text('{"schema": 1, "id": "ink", "name": "Ink", "category": "a", "prompt": "ink, {person}"}')
    assert {s.id for s in copy.styles()} - {s.id for s in house.studio.styles()} == {"ink"}


def test_the_first_checkpoint_is_the_default(house):
    choices = house.studio.checkpoints()
    assert [c.default for c in choices] == [True, *[False] * (len(choices) - 1)]
    assert house.studio.checkpoint(None) == choices[0]
    assert house.studio.checkpoint(choices[0].name) == choices[0]


def test_making_a_studio_loads_and_writes_nothing(tmp_path):
    def never():
        raise AssertionError("the face models were asked for")

    studio = Studio(Workspace(tmp_path / "w"), never, never)  # type: ignore[arg-type]
    assert studio.people() == []
    with pytest.raises(UserInputError):
        studio.person("Ada")
    assert not (tmp_path / "w").exists()


def test_looking_at_people_and_styles_loads_nothing_heavy(house):
    program = (
        "import sys\nfrom pathlib import Path\nfrom facechain_ext.services.studio import Studio\n"
        "from facechain_ext.workspace import Workspace\n"
        "studio = Studio(Workspace(Path(sys.argv[1])), None, None)\n"
        "print(studio.people()[0].name, len(studio.styles()) > 5)\n"
        "print(sorted({'torch', 'diffusers', 'gradio', 'cv2', 'insightface', 'peft', 'fastapi'} & set(sys.modules)))\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", program, str(house.root)], capture_output=True, text=True, check=True, cwd=root, timeout=120
    )
    assert ran.stdout.splitlines() == [f"{PERSON} True", "[]"]
