"""Preparing as a use case: verdicts for all, a dataset in place of the older, and the older kept when nothing comes of it."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facechain_ext.config import PrepareConfig
from facechain_ext.errors import Cancelled, UserInputError
from facechain_ext.faces.dataset import read_dataset
from facechain_ext.faces.types import Decisions, Reason
from facechain_ext.progress import CancelToken, Stage
from facechain_ext.services.prepare_person import NoUsablePhoto
from facechain_ext.services.requests import PrepareRequest
from tests.unit.services.conftest import PERSON, contents

CONFIG = PrepareConfig(resolution=128, crop_scale=1.5)


@pytest.fixture
def wall(tmp_path):
    """A picture without a face."""
    file = tmp_path / "Mum's wall.png"
    Image.fromarray(np.full((200, 200, 3), 120, np.uint8)).save(file)
    return file


def test_a_new_person(empty, photos, wall):
    seen = []
    result = empty.prepare(PrepareRequest(" Zoë ", (*photos[:2], wall), CONFIG), seen.append)
    assert [v.accepted for v in result.verdicts] == [True, True, False]
    assert result.verdicts[2].reasons == (Reason.NO_FACE,)
    person = empty.person("Zoë")
    assert (person.photos, person.trigger, person.subject, person.loras) == (2, "sks", "person", ())
    stored = read_dataset(empty.workspace.person("Zoë").dataset)
    assert stored.caption == "sks person"
    assert float(np.linalg.norm(stored.mean_embedding)) == pytest.approx(1, abs=1e-5)
    steps = [(e.step, e.total) for e in seen if e.stage is Stage.PREPARE]
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


def test_preparing_again_replaces_the_dataset_and_keeps_the_loras(copy, photos):
    before = contents(copy.workspace.person(PERSON).loras)
    copy.prepare(PrepareRequest(PERSON.lower(), photos[:2], PrepareConfig(resolution=64, trigger="ada", subject="woman")))
    person = copy.person(PERSON)
    assert (person.photos, person.trigger, person.subject, len(person.loras)) == (2, "ada", "woman", 1)
    assert contents(copy.workspace.person(PERSON).loras) == before
    assert [p.name for p in copy.people()] == [PERSON]


def test_latents_stay_with_the_photos_they_show(copy, photos):
    latents = copy.workspace.person(PERSON).latents
    before = {file.name for file in latents.iterdir()}
    copy.prepare(PrepareRequest(PERSON, photos[:3], copy.checkpoint(None).prepare))
    after = {file.name for file in latents.iterdir()}
    assert after < before
    assert len(after) == 3
    copy.decide(PERSON, Decisions(faces={0: None}))
    assert {file.name for file in latents.iterdir()} < after


def test_without_a_usable_photo_the_older_dataset_stays(copy, wall):
    before = contents(copy.workspace.root)
    with pytest.raises(NoUsablePhoto) as caught:
        copy.prepare(PrepareRequest(PERSON, (wall,), CONFIG))
    assert contents(copy.workspace.root) == before
    [verdict] = caught.value.preparation.verdicts
    assert str(caught.value) == verdict.sentences[0]
    letter = wall.with_name("letter.jpg")
    letter.write_text("not a picture")
    with pytest.raises(NoUsablePhoto, match="None of the 2 photos"):
        copy.prepare(PrepareRequest(PERSON, (wall, letter), CONFIG))
    with pytest.raises(UserInputError, match=r"nowhere\.jpg"):
        copy.prepare(PrepareRequest(PERSON, (wall, wall.parent / "nowhere.jpg"), CONFIG))
    assert contents(copy.workspace.root) == before


@pytest.mark.parametrize("name", ["../../x", "CON", "", " ", "a/b", "x" * 65])
def test_bad_names_make_no_folder(name, empty, photos):
    with pytest.raises(UserInputError):
        empty.prepare(PrepareRequest(name, photos[:1], CONFIG))
    assert not empty.workspace.root.exists()


def test_cancelling_keeps_the_older_dataset(copy, photos):
    before, token = contents(copy.workspace.root), CancelToken()
    with pytest.raises(Cancelled):
        copy.prepare(PrepareRequest(PERSON, photos[:3], CONFIG), lambda event: token.cancel(), token)
    assert contents(copy.workspace.root) == before


def test_a_folder_stands_for_the_photos_in_it(empty, photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in photos[:2]:
        Image.open(photo).save(folder / f"{photo.stem}.png")
    assert len(empty.prepare(PrepareRequest("Ada", (folder,), CONFIG)).verdicts) == 2
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserInputError):
        empty.prepare(PrepareRequest("Ada", (tmp_path / "nothing",), CONFIG))
    assert empty.person("Ada").photos == 2


def test_photos_are_kept_only_when_asked_and_can_be_prepared_again(empty, photos, wall, tmp_path):
    text = tmp_path / "letter.jpg"
    text.write_text("Dear Zoë")
    same = tmp_path / "other" / photos[0].name
    same.parent.mkdir()
    same.write_bytes(photos[2].read_bytes())
    given = (*photos[:2], same, wall, text)
    folder = empty.workspace.person("Zoë")
    empty.prepare(PrepareRequest("Zoë", given, CONFIG))
    assert (folder.photos.exists(), empty.person("Zoë").originals) == (False, 0)
    with pytest.raises(UserInputError, match="kept"):
        empty.prepare(PrepareRequest("Zoë", (), CONFIG))

    kept = empty.prepare(PrepareRequest("Zoë", given, replace(CONFIG, keep_photos=True)))
    # Whatever is a photo, byte for byte, under its own name; a text file is none.
    stored = {p.name: p.read_bytes() for p in folder.photos.iterdir()}
    assert sorted(stored.values()) == sorted(p.read_bytes() for p in given[:4])
    assert stored[photos[0].name] == photos[0].read_bytes()
    assert empty.person("Zoë").originals == 4

    again = empty.prepare(PrepareRequest("Zoë", (), replace(CONFIG, resolution=64, keep_photos=True)))
    assert again.dataset is not None
    assert again.dataset.resolution == 64
    assert sum(v.accepted for v in again.verdicts) == sum(v.accepted for v in kept.verdicts)
    assert empty.person("Zoë").originals == 4

    empty.prepare(PrepareRequest("Zoë", (), CONFIG))
    assert not folder.photos.exists()
    assert empty.person("Zoë").photos == sum(v.accepted for v in kept.verdicts)


def test_photos_kept_before_stay_when_none_of_the_new_can_be_used(empty, photos, wall):
    keeping = replace(CONFIG, keep_photos=True)
    empty.prepare(PrepareRequest("Zoë", photos[:2], keeping))
    before = contents(empty.workspace.root)
    with pytest.raises(NoUsablePhoto):
        empty.prepare(PrepareRequest("Zoë", (wall,), CONFIG))
    assert contents(empty.workspace.root) == before


def test_a_deletion_takes_the_kept_photos_too(empty, photos, tmp_path):
    empty.prepare(PrepareRequest("Zoë", photos[:2], replace(CONFIG, keep_photos=True)))
    with zipfile.ZipFile(empty.export_person("Zoë", tmp_path / "zoe.zip", photos=True)) as archive:
        assert len([n for n in archive.namelist() if n.startswith("photos/")]) == 2
    empty.delete_person("Zoë")
    assert contents(empty.workspace.root) == {}
