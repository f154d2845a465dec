"""Zip files: photos come out, nothing else does, and nothing gets out of the folder."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest

from facechain_ext.errors import FileFormatError
from facechain_ext.faces import archives
from facechain_ext.faces.archives import is_zip, unpack


def made(file: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file


def test_photos_come_out_in_order_under_their_bare_names(tmp_path):
    file = made(
        tmp_path / "a.zip",
        {
            "holiday/b.JPG": b"1",
            "a.png": b"2",
            "other/b.JPG": b"3",
            "__MACOSX/a.png": b"no",
            ".hidden/a.png": b"no",
            "._a.png": b"no",
            "notes.txt": b"no",
            "inner.zip": b"no",
            "folder.png/": b"",
        },
    )
    assert is_zip(file)
    found = unpack(file, tmp_path / "out")
    assert [(p.name, p.read_bytes()) for p in found] == [("b.JPG", b"1"), ("a.png", b"2"), ("b.JPG", b"3")]


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\..\\evil.png", "C:\\evil.png", "a/../../../evil.png", "con.png"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    inside = tmp_path / "in" / "side"
    inside.mkdir(parents=True)
    found = unpack(made(tmp_path / "a.zip", {name: b"x", "good.png": b"y"}), inside)
    assert {p.resolve().is_relative_to(inside.resolve()) for p in found} == {True}
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {tmp_path / "a.zip", *found}


def test_a_bomb_is_stopped_while_it_unpacks_whatever_it_says_of_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_BYTES", 1 << 20)
    file = made(tmp_path / "bomb.zip", {"a.png": bytes(64 << 20)})
    assert file.stat().st_size < 100_000
    data = bytearray(file.read_bytes())
    # Its table claims one byte.
    place = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, place + 24, 1)
    file.write_bytes(data)
    with pytest.raises(FileFormatError):
        unpack(file, tmp_path / "out")
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*") if p.is_file()) <= 1 << 20
    honest = made(tmp_path / "honest.zip", {"a.png": bytes(64 << 20)})
    with pytest.raises(FileFormatError, match="more than photos can take"):
        unpack(honest, tmp_path / "out2")


def test_many_small_ones_are_too_much_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TOTAL", 5000)
    with pytest.raises(FileFormatError, match="more than photos can take"):
        unpack(made(tmp_path / "a.zip", {f"{i}.png": bytes(1000) for i in range(9)}), tmp_path / "out")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 5)
    with pytest.raises(FileFormatError, match="holds 9 photos"):
        unpack(tmp_path / "a.zip", tmp_path / "out2")


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(FileFormatError, match="holds no photos"):
        unpack(made(tmp_path / "none.zip", {"a.txt": b"x"}), tmp_path / "out")
    good = made(tmp_path / "good.zip", {"a.png": b"x" * 5000}).read_bytes()
    cut = tmp_path / "cut.zip"
    cut.write_bytes(good[: len(good) // 2])
    assert not is_zip(cut)
    broken = tmp_path / "broken.zip"
    data = bytearray(good)
    data[40:50] = b"\xff" * 10
    broken.write_bytes(data)
    with pytest.raises(FileFormatError, match="damaged"):
        unpack(broken, tmp_path / "out3")
    locked = tmp_path / "locked.zip"
    data = bytearray(good)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    locked.write_bytes(data)
    with pytest.raises(FileFormatError, match="password"):
        unpack(locked, tmp_path / "out4")
