"""What every FaceAnalyzer must keep to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from facechain_ext.ports import FaceAnalyzer


def _insight() -> FaceAnalyzer:
    from facechain_ext.vision.insight import InsightAnalyzer

    return InsightAnalyzer(threads=1)


@pytest.fixture(scope="module", params=[_insight], ids=["insight"])
def analyzer(request: pytest.FixtureRequest) -> FaceAnalyzer:
    make: Callable[[], FaceAnalyzer] = request.param
    return make()


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-image is not installed")
    return np.asarray(PIL.Image.open(Path(spec.origin).parent / "data" / "astronaut.png").convert("RGB"))


def test_pack(analyzer: FaceAnalyzer) -> None:
    assert analyzer.pack.name
    assert len(analyzer.pack.sha256) == 64
    assert analyzer.pack.dimension > 0
    assert analyzer.pack == analyzer.pack


def test_face(analyzer: FaceAnalyzer, astronaut: np.ndarray) -> None:
    before = astronaut.copy()
    (face,) = analyzer.detect(astronaut)
    assert face.bbox.shape == (4,)
    assert face.landmarks.shape == (5, 2)
    assert 170 < face.centre[0] < 280
    assert 70 < face.centre[1] < 170
    assert face.landmarks[0, 0] < face.landmarks[1, 0]
    assert face.landmarks[0, 1] < face.landmarks[3, 1]
    assert 0 < face.score <= 1
    assert abs(face.roll) < 10
    assert face.embedding is None
    assert np.array_equal(before, astronaut)


def test_embedding(analyzer: FaceAnalyzer, astronaut: np.ndarray) -> None:
    (face,) = analyzer.detect(astronaut)
    vector = analyzer.embed(astronaut, face)
    assert vector.shape == (analyzer.pack.dimension,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    smaller = np.asarray(PIL.Image.fromarray(astronaut).resize((400, 400)))
    assert float(vector @ analyzer.embed(smaller, analyzer.detect(smaller)[0])) > 0.9


def test_largest_first(analyzer: FaceAnalyzer, astronaut: np.ndarray) -> None:
    small = np.asarray(PIL.Image.fromarray(astronaut).resize((256, 256)))
    both = np.full((512, 768, 3), 255, np.uint8)
    both[:256, :256], both[:, 256:] = small, astronaut
    faces = analyzer.detect(both)
    assert len(faces) == 2
    assert faces[0].size > 1.5 * faces[1].size


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (64, 64), (480, 640)])
def test_nothing_there(analyzer: FaceAnalyzer, shape: tuple[int, int]) -> None:
    assert analyzer.detect(np.full((*shape, 3), 128, np.uint8)) == []


def test_threads(analyzer: FaceAnalyzer, astronaut: np.ndarray) -> None:
    alone = analyzer.detect(astronaut)[0].bbox
    with ThreadPoolExecutor(3) as pool:
        for faces in pool.map(analyzer.detect, [astronaut] * 6):
            assert np.array_equal(faces[0].bbox, alone)
