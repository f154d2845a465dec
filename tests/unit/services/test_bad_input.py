"""What people upload by mistake, each with the verdict it must get; and none of it stops the good photos beside it."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from facechain_ext.config import PrepareConfig
from facechain_ext.faces import archives
from facechain_ext.faces.dataset import read_dataset
from facechain_ext.faces.examine import MAX_SOURCES
from facechain_ext.faces.types import PhotoVerdict, Preparation, Reason
from facechain_ext.services.likeness_sources import orl_photos
from facechain_ext.services.requests import PrepareRequest
from facechain_ext.services.studio import Studio
from tests.unit.faces.drawn import beside, cartoon, dog, sunglasses

CONFIG = PrepareConfig(resolution=128, crop_scale=1.5)
GOOD = 3


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def huge_png(side: int) -> bytes:
    """A PNG that says it has ``side`` x ``side`` px."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b"")


def film(file: Path) -> Path:
    """Five frames, as a phone's film is packed."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"mp4v"), 10, (160, 120))
    for level in range(0, 250, 50):
        writer.write(np.full((120, 160, 3), level, np.uint8))
    writer.release()
    return file


def bad_files(folder: Path) -> Iterator[Path]:
    """Everything the main job must survive."""
    photos = orl_photos(3, range(4, 8))

    def file(name: str, data: bytes) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    def picture(name: str, image: np.ndarray) -> Path:
        Image.fromarray(image).save(folder / name)
        return folder / name

    yield file("zero.jpg", b"")
    whole = picture("whole.jpg", np.kron(pixels(photos[0]), np.ones((4, 4, 1), np.uint8))).read_bytes()
    yield file("cut.jpg", whole[: len(whole) // 2])
    yield file("huge.png", huge_png(60_000))
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("a.png", bytes(64 << 20))
    yield folder / "bomb.zip"
    with zipfile.ZipFile(folder / "climbing.zip", "w") as climbing:
        climbing.writestr("../../../evil.jpg", whole)
    yield folder / "climbing.zip"
    yield film(folder / "film.mp4")
    yield file("film.jpg", (folder / "film.mp4").read_bytes())
    yield picture("dog.png", dog())
    yield picture("cartoon.png", cartoon())
    yield picture("sunglasses.png", sunglasses())
    yield picture("mirror.png", beside(pixels(photos[1]), np.ascontiguousarray(pixels(photos[1])[:, ::-1])))
    # Two different photos of one person are what twins are to the face models.
    yield picture("twins.png", beside(pixels(photos[2]), pixels(photos[3])))
    yield picture("stranger.png", pixels(orl_photos(20, range(1, 2))[0]))


@pytest.fixture(scope="module")
def judged(studio_at, tmp_path_factory) -> tuple[Preparation, Studio, dict[str, PhotoVerdict]]:
    """All of it and three good photos, prepared at once."""
    folder = tmp_path_factory.mktemp("bad") / "deep" / "enough"
    folder.mkdir(parents=True)
    studio = studio_at(folder.parent / "workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archives, "MAX_BYTES", 8 << 20)
        result = studio.prepare(PrepareRequest("Ann", (*bad_files(folder), *orl_photos(3, range(1, 1 + GOOD))), CONFIG))
    assert not list(folder.parents[1].rglob("evil*"))
    return result, studio, {v.file: v for v in result.verdicts}


@pytest.mark.parametrize(
    ("name", "reason", "words"),
    [
        ("zero.jpg", Reason.UNREADABLE, "is empty"),
        ("cut.jpg", Reason.UNREADABLE, "damaged"),
        ("huge.png", Reason.TOO_LARGE, "too many pixels"),
        ("bomb.zip", Reason.UNREADABLE, "more than photos can take"),
        ("film.mp4", Reason.UNREADABLE, "is a video"),
        ("film.jpg", Reason.UNREADABLE, "is a video"),
        ("dog.png", Reason.NO_FACE, "No face"),
        ("cartoon.png", Reason.NO_FACE, "No face"),
        ("sunglasses.png", Reason.NO_FACE, "No face"),
        ("stranger.png", Reason.DIFFERENT_PERSON, "not the person"),
    ],
)
def test_it_is_left_out_with_its_reason(name: str, reason: Reason, words: str, judged) -> None:
    verdict = judged[2][name]
    assert not verdict.accepted
    assert verdict.reasons == (reason,)
    assert words in verdict.sentences[0]


@pytest.mark.parametrize(("name", "words"), [("mirror.png", "2 faces look like this person"), ("twins.png", "twins")])
def test_one_of_two_faces_of_one_person_is_taken(name: str, words: str, judged) -> None:
    verdict = judged[2][name]
    assert verdict.accepted
    assert words in " ".join(verdict.sentences)
    assert sum(face.taken for face in verdict.faces) == 1


def test_a_photo_out_of_a_climbing_zip_stays_inside(judged) -> None:
    assert judged[2]["evil.jpg"].accepted


def test_the_good_ones_are_used(judged) -> None:
    result, studio, _ = judged
    assert [v.accepted for v in result.verdicts[-GOOD:]] == [True] * GOOD
    assert len(read_dataset(studio.workspace.person("Ann").dataset).photos) == GOOD + 3
    assert all(len(v.reasons) == len(v.sentences) for v in result.verdicts)


def test_ten_thousand_files(empty: Studio, tmp_path: Path) -> None:
    folder = tmp_path / "whole disk"
    folder.mkdir()
    for number, photo in enumerate(orl_photos(3, range(1, 1 + GOOD))):
        Image.open(photo).save(folder / f"{number}.png")
    for number in range(GOOD, 10_000):
        (folder / f"{number}.jpg").touch()
    verdicts = empty.prepare(PrepareRequest("Ann", (folder,), CONFIG)).verdicts
    assert [v.accepted for v in verdicts] == [True] * GOOD + [False] * (10_000 - GOOD)
    assert {v.reasons for v in verdicts[GOOD:MAX_SOURCES]} == {(Reason.UNREADABLE,)}
    assert {v.reasons for v in verdicts[MAX_SOURCES:]} == {(Reason.TOO_MANY,)}
