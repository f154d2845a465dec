"""Who is stored: listing, deletion that leaves nothing whatever state things are in, export."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import zipfile
from pathlib import Path

import pytest

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.services.people import note_outside, read_card
from facechain_ext.services.requests import PrepareRequest
from facechain_ext.workspace import DOOMED
from tests.unit.services.conftest import PERSON, contents


def traces(root: Path, marks: list[bytes]) -> list[str]:
    """Paths below ``root`` whose name or content holds one of ``marks``."""
    found = []
    for path in root.rglob("*"):
        text = str(path.relative_to(root)).encode() + (path.read_bytes() if path.is_file() else b"")
        found += [str(path)] if any(mark in text for mark in marks) else []
    return found


@pytest.fixture(scope="module")
def marks(photos) -> list[bytes]:
    """What would give the person away: the name in every form we write, the hashes and bytes of the photos."""
    names = [PERSON.encode(), PERSON.replace(" ", "_").encode()]
    data = [p.read_bytes() for p in photos]
    return [*names, *(hashlib.sha256(d).hexdigest().encode() for d in data), *(d[5000:5040] for d in data)]


def test_what_is_shown(house):
    person = house.studio.person(PERSON.upper())
    assert (person.name, person.trigger, person.subject, person.photos, person.portraits) == (PERSON, "sks", "person", 5, 0)
    assert not person.resumable
    assert person.thumbnail is not None
    assert person.thumbnail.is_file()
    [lora] = person.loras
    assert (lora.file, lora.steps, lora.rank, lora.checkpoint, lora.likeness) == (house.trained.lora, 6, 2, "tiny-faces", None)
    assert lora.sha256 == hashlib.sha256(lora.file.read_bytes()).hexdigest()
    assert house.studio.people() == [person]


def test_nothing_is_left_of_a_deleted_person(copy, marks):
    root = copy.workspace.root
    assert traces(root, marks), "else the test below proves nothing"
    # How fast trainings run here says nothing about anybody.
    before = len(contents(root)) - 1
    assert copy.delete_person(PERSON) == before
    assert traces(root, marks) == []
    assert list(contents(root)) == ["speeds.json"]
    assert copy.people() == []
    with pytest.raises(UserInputError, match="no person called"):
        copy.delete_person(PERSON)


def test_others_stay_as_they_are(copy):
    home = copy.workspace.people_root
    shutil.copytree(home / PERSON, home / "Charles Babbage")
    before = contents(home / "Charles Babbage")
    copy.delete_person(PERSON)
    assert contents(home) == {f"Charles Babbage/{k}": v for k, v in before.items()}


def test_what_a_crash_in_the_middle_of_deleting_left_goes_with_the_next_deletion(copy, marks):
    home = copy.workspace.people_root
    shutil.copytree(home / PERSON, home / f"{DOOMED}{PERSON}-12345")
    assert [p.name for p in copy.people()] == [PERSON]
    copy.delete_person(PERSON)
    assert traces(copy.workspace.root, marks) == []


def test_copies_outside_go_unless_they_became_somebodys_own(copy, tmp_path):
    folder = copy.workspace.person(PERSON)
    ours, changed, gone = (tmp_path / name for name in ("ours.png", "changed.png", "gone.png"))
    for file in (ours, changed, gone):
        file.write_bytes(b"a portrait")
        note_outside(folder, file)
    note_outside(folder, ours)
    assert len(read_card(folder)["outside"]) == 3
    changed.write_bytes(b"retouched by hand")
    gone.unlink()
    copy.delete_person(PERSON)
    assert not ours.exists()
    assert changed.read_bytes() == b"retouched by hand"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"schema": 99}', '{"schema": 1}'])
def test_a_damaged_card_hides_nobody_and_stops_no_deletion(damage, copy, marks):
    home = copy.workspace.people_root
    shutil.copytree(home / PERSON, home / "Charles Babbage")
    (home / PERSON / "person.json").write_text(damage)
    assert [(p.name, p.photos, len(p.loras)) for p in copy.people()] == [(PERSON, 5, 0), ("Charles Babbage", 5, 1)]
    copy.delete_person(PERSON)
    assert [p.name for p in copy.people()] == ["Charles Babbage"]


def test_nothing_is_built_on_a_damaged_card(copy, photos):
    card = copy.workspace.person(PERSON).card
    card.write_text("{")
    before = contents(copy.workspace.root)
    with pytest.raises(FileFormatError, match=r"person\.json"):
        copy.prepare(PrepareRequest(PERSON, photos[:2], copy.checkpoint(None).prepare))
    assert contents(copy.workspace.root) == before


def test_a_person_with_a_job_under_way_is_not_deleted(copy):
    gate = threading.Event()
    try:
        job = copy.jobs.submit("train", PERSON, lambda sink, token: gate.wait(20))
        before = contents(copy.workspace.root)
        with pytest.raises(UserInputError, match="train job"):
            copy.delete_person(PERSON)
        assert contents(copy.workspace.root) == before
    finally:
        gate.set()
    assert job.wait(20)
    copy.delete_person(PERSON)
    assert copy.jobs.jobs() == []


@pytest.mark.parametrize("photos_too", [False, True])
def test_an_export_holds_what_was_asked_for(photos_too, house, tmp_path):
    before = contents(house.root)
    file = house.studio.export_person(PERSON, tmp_path / "new" / "ada.zip", photos=photos_too)
    assert [p.name for p in file.parent.iterdir()] == ["ada.zip"]
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        held = {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    kept = {k: v for k, v in contents(house.home).items() if k.startswith("loras/") or (photos_too and k.startswith("dataset/"))}
    assert held == kept
    assert all(not Path(name).is_absolute() and ".." not in name for name in held)
    assert contents(house.root) == before


def test_an_export_replaces_the_older_whole(house, tmp_path):
    (tmp_path / "ada.zip").write_bytes(b"older")
    house.studio.export_person(PERSON, tmp_path / "ada.zip")
    assert zipfile.is_zipfile(tmp_path / "ada.zip")
    with pytest.raises(UserInputError):
        house.studio.export_person("Grace Hopper", tmp_path / "ada.zip")
    assert zipfile.is_zipfile(tmp_path / "ada.zip")


def test_what_we_keep_holds_no_paths_and_no_file_names(house, photos):
    told = [str(photos[0].parent).encode(), str(house.root).encode(), b".pgm"]
    assert traces(house.root, told) == []
    assert json.loads((house.home / "person.json").read_text())["outside"] == []
