"""Training as a use case: the LoRA appears whole and noted, earlier ones stay, and nothing appears when it goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import replace

import pytest
from PIL import Image as PilImage
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from facechain_ext.errors import Cancelled, HostError, Paused, TrainingError, UserInputError
from facechain_ext.hosts.standalone.checkpoints import SHIPPED, StandaloneCheckpoints
from facechain_ext.progress import CancelToken, Stage
from facechain_ext.services.people import read_card
from facechain_ext.services.requests import TrainRequest
from facechain_ext.services.studio import Studio
from tests.unit.services.conftest import PERSON, QUICK, contents


def finished(studio) -> dict[str, str]:
    """LoRAs and card: what a failed training must not touch."""
    home = studio.workspace.person(PERSON)
    return contents(home.loras) | {"card": home.card.read_text()}


def acting_at(step: int, act):
    """A sink that calls ``act`` at that training step."""
    return lambda event: act() if event.stage is Stage.TRAIN and event.step == step else None


def test_the_result_says_what_was_made(house):
    made = house.trained
    assert (made.person, made.steps, made.stopped_early, made.likeness) == (PERSON, 6, False, None)
    assert [p.step for p in made.curve] == [1, 2, 3, 4, 5, 6]
    assert made.lora == house.home / "loras" / "Ada_Lovelace.safetensors"
    assert not (house.home / "training" / "state.safetensors").exists()
    with PilImage.open(made.card) as picture:
        assert (picture.size[0], picture.info) == (1200, {})
    [entry] = read_card(house.studio.workspace.person(PERSON))["loras"]
    assert entry["sha256"] == hashlib.sha256(made.lora.read_bytes()).hexdigest()
    assert entry["created"].endswith("+00:00")


def test_a_lora_learns_something(house):
    tensors = load_file(house.trained.lora)
    ups = [t for name, t in tensors.items() if name.endswith(".lora_up.weight")]
    assert len(ups) == 192
    assert sum(bool(t.any()) for t in ups) > 180


def test_a_second_training_encodes_no_photo_again_and_deleted_people_leave_no_latents(copy, monkeypatch):
    from facechain_ext.hosts.standalone.host import StandaloneSession

    home, real, batches = copy.workspace.person(PERSON), StandaloneSession.encode_images, []

    def counted(self, images):
        batches.append(len(images))
        return real(self, images)

    monkeypatch.setattr(StandaloneSession, "encode_images", counted)
    photos = len(list(home.dataset.glob("[0-9]*.png")))
    assert len(list(home.latents.iterdir())) == photos > 1
    copy.train(TrainRequest(PERSON, config=replace(QUICK, steps=1)))
    # One fixed picture tells whether the autoencoder is still the same.
    assert batches == [1]
    copy.delete_person(PERSON)
    assert not home.root.exists()


def test_a_second_training_stands_beside_the_first(copy):
    before = finished(copy)
    second = copy.train(TrainRequest(PERSON, config=replace(QUICK, steps=2, seed=9)))
    after = finished(copy)
    assert second.lora.name == "Ada_Lovelace-2.safetensors"
    assert {k: v for k, v in after.items() if k in before and k != "card"} == {k: v for k, v in before.items() if k != "card"}
    assert [x.name for x in copy.person(PERSON).loras] == ["Ada_Lovelace", "Ada_Lovelace-2"]


def test_a_lora_never_takes_another_persons_name(copy):
    """Ada_Lovelace is somebody else than Ada Lovelace, whose LoRA file is called Ada_Lovelace too."""
    twin = copy.workspace.person("Ada_Lovelace")
    shutil.copytree(copy.workspace.person(PERSON).dataset, twin.dataset)
    made = copy.train(TrainRequest("Ada_Lovelace", config=replace(QUICK, steps=1)))
    assert made.lora.name == "Ada_Lovelace-2.safetensors"


def test_a_copy_elsewhere_is_the_same_and_goes_with_the_person(copy, tmp_path):
    made = copy.train(TrainRequest(PERSON, config=replace(QUICK, steps=1), out=tmp_path / "mine"))
    [outside] = (tmp_path / "mine").iterdir()
    assert outside.read_bytes() == made.lora.read_bytes()
    copy.delete_person(PERSON)
    assert not outside.exists()


def test_cancelling_changes_no_lora_and_can_be_resumed(copy):
    before, token = finished(copy), CancelToken()
    with pytest.raises(Cancelled, match="state at step 2 is kept"):
        copy.train(TrainRequest(PERSON, config=QUICK), acting_at(3, token.cancel), token)
    assert finished(copy) == before
    assert copy.person(PERSON).resumable
    resumed = copy.train(TrainRequest(PERSON, config=QUICK, resume=True))
    assert resumed.steps == 6
    assert not copy.person(PERSON).resumable


def test_stopping_keeps_and_resuming_comes_to_the_very_same_lora(copy, house):
    token = CancelToken()
    part = copy.train(TrainRequest(PERSON, config=QUICK), acting_at(3, token.stop), token)
    assert (part.steps, part.stopped_early) == (3, True)
    assert copy.person(PERSON).resumable
    assert copy.person(PERSON).loras[-1].steps == 3
    whole = copy.train(TrainRequest(PERSON, config=QUICK, resume=True))
    assert (whole.steps, whole.stopped_early) == (6, False)
    ours, theirs = load_file(whole.lora), load_file(house.trained.lora)
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[k] == theirs[k]).all()) for k in ours)


def test_a_pause_keeps_no_lora_and_goes_on_to_the_very_same_one(copy, house):
    before, token = finished(copy), CancelToken()
    with pytest.raises(Paused, match="Paused at step 3 of 6"):
        copy.train(TrainRequest(PERSON, config=QUICK), acting_at(3, token.pause), token)
    assert finished(copy) == before
    config = copy.resumed(PERSON, replace(QUICK, rank=2, steps=99))
    assert config == QUICK
    whole = copy.train(TrainRequest(PERSON, config=config, resume=True))
    ours, theirs = load_file(whole.lora), load_file(house.trained.lora)
    assert all(bool((ours[k] == theirs[k]).all()) for k in theirs)


def test_a_pause_before_the_first_step_can_go_on_too(copy, house):
    token = CancelToken()
    token.pause()
    with pytest.raises(Paused, match="Paused at step 0 of 6"):
        copy.train(TrainRequest(PERSON, config=QUICK), cancel=token)
    whole = copy.train(TrainRequest(PERSON, config=QUICK, resume=True))
    ours, theirs = load_file(whole.lora), load_file(house.trained.lora)
    assert all(bool((ours[k] == theirs[k]).all()) for k in theirs)


def test_a_new_training_cancelled_early_leaves_the_unfinished_one(copy):
    token = CancelToken()
    with pytest.raises(Paused):
        copy.train(TrainRequest(PERSON, config=QUICK), acting_at(4, token.pause), token)
    token = CancelToken()
    with pytest.raises(Cancelled):
        copy.train(TrainRequest(PERSON, config=replace(QUICK, rank=8)), acting_at(1, token.cancel), token)
    assert copy.train(TrainRequest(PERSON, config=QUICK, resume=True)).steps == 6


def test_stopping_before_the_first_step_keeps_nothing(copy):
    before, token = finished(copy), CancelToken()
    token.stop()
    with pytest.raises(UserInputError, match="before its first step"):
        copy.train(TrainRequest(PERSON, config=QUICK), cancel=token)
    assert finished(copy) == before


def test_an_error_changes_no_lora(copy):
    def fail():
        raise TrainingError("Memory ran out.")

    before = finished(copy)
    with pytest.raises(TrainingError):
        copy.train(TrainRequest(PERSON, config=QUICK), acting_at(2, fail))
    assert finished(copy) == before


def test_what_cannot_be_trained_is_said_and_keeps_an_unfinished_training(copy):
    home, token = copy.workspace.person(PERSON), CancelToken()
    copy.train(TrainRequest(PERSON, config=QUICK), acting_at(3, token.stop), token)
    before = contents(copy.workspace.root)
    manifest = home.dataset / "manifest.json"
    kept = manifest.read_text()

    with pytest.raises(UserInputError, match="Grace Hopper"):
        copy.train(TrainRequest("Grace Hopper", config=QUICK))
    with pytest.raises(UserInputError, match="nonsuch"):
        copy.train(TrainRequest(PERSON, checkpoint="nonsuch", config=QUICK))
    with pytest.raises(UserInputError, match="rank"):
        copy.train(TrainRequest(PERSON, config=replace(QUICK, rank=4), resume=True))

    manifest.write_text(json.dumps({**json.loads(kept), "pack_sha256": "f" * 64}))
    with pytest.raises(UserInputError, match="Prepare them again"):
        copy.train(TrainRequest(PERSON, config=QUICK))
    manifest.unlink()
    with pytest.raises(UserInputError, match="no prepared photos"):
        copy.train(TrainRequest(PERSON, config=QUICK))
    manifest.write_text(kept)
    assert contents(copy.workspace.root) == before


def test_resuming_nothing_is_refused(copy):
    before = contents(copy.workspace.root)
    with pytest.raises(UserInputError, match="no unfinished training"):
        copy.train(TrainRequest(PERSON, config=QUICK, resume=True))
    assert contents(copy.workspace.root) == before


def test_a_second_training_of_the_same_person_meanwhile_is_refused(copy):
    """In another program, say: this one's jobs wait for each other."""
    found = []

    def begin_another() -> None:
        with pytest.raises(HostError, match="Another training of 'Ada Lovelace' is under way"):
            copy.train(TrainRequest(PERSON, config=replace(QUICK, seed=9)))
        found.append(1)

    made = copy.train(TrainRequest(PERSON, config=QUICK), acting_at(3, begin_another))
    assert (found, made.steps) == ([1], 6)
    assert copy.train(TrainRequest(PERSON, config=replace(QUICK, steps=1))).steps == 1


def test_a_checkpoint_file_replaced_meanwhile(copy, house, tmp_path):
    """What was loaded is trained to the end and named; the next training takes the new file."""
    file = tmp_path / "mine.safetensors"
    for kind in (".safetensors", ".facechain.json"):
        shutil.copy(SHIPPED / f"tiny-faces{kind}", tmp_path / f"mine{kind}")
    fresh = Studio(copy.workspace, lambda: copy.analyzer, StandaloneCheckpoints(copy.workspace))
    request = TrainRequest(PERSON, checkpoint=str(file), config=QUICK)

    def replace_it() -> None:
        tensors = load_file(file)
        name = next(n for n in tensors if n.endswith("input_blocks.1.1.proj_in.weight"))
        save_file({**tensors, name: tensors[name] * 1.5}, tmp_path / "other.safetensors")
        os.replace(tmp_path / "other.safetensors", file)

    def told(lora) -> str:
        with safe_open(lora, "pt") as source:
            return source.metadata()["ss_new_sd_model_hash"]

    first = fresh.train(request, acting_at(3, replace_it))
    ours, theirs = load_file(first.lora), load_file(house.trained.lora)
    assert all(bool((ours[k] == theirs[k]).all()) for k in theirs)
    assert told(first.lora) == told(house.trained.lora)
    second = fresh.train(request)
    assert told(second.lora) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert any(bool((load_file(second.lora)[k] != ours[k]).any()) for k in ours)
