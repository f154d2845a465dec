"""What many suites share: the embedded checkpoint, opened once, and a small dataset."""

from __future__ import annotations

import hashlib
import os

# As the command line does, before torch is loaded.
os.environ.setdefault("MKL_CBWR", "AUTO")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from facechain_ext.faces.types import Dataset, PreparedPhoto

# A busy machine makes any example slow; that is no fault of what is tested.
settings.register_profile("facechain", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("facechain")


@pytest.fixture(scope="session")
def host():
    """The standalone host on the embedded checkpoint; nobody may leave it changed."""
    pytest.importorskip("diffusers")
    from facechain_ext.hosts.standalone.checkpoints import SHIPPED
    from facechain_ext.hosts.standalone.host import StandaloneHost

    return StandaloneHost(SHIPPED / "tiny-faces.safetensors")


def make_dataset(photos: int = 3, side: int = 64, seed: int = 0) -> Dataset:
    """Random but smooth pictures with a soft disc for a face."""
    draw = np.random.default_rng(seed)
    ys, xs = np.mgrid[:side, :side]
    disc = np.clip(255 * 1.5 * (1 - np.hypot(xs - side / 2, ys - side / 2) / (side / 2)), 0, 255).astype(np.uint8)
    made = []
    for i in range(photos):
        image = np.kron(draw.integers(0, 255, (8, 8, 3)), np.ones((side // 8, side // 8, 1))).astype(np.uint8)
        embedding = draw.standard_normal(128).astype(np.float32)
        embedding /= np.linalg.norm(embedding)
        sha = hashlib.sha256(image.tobytes()).hexdigest()
        made.append(PreparedPhoto(image, disc, f"photo of sks person, view {i}", sha, embedding, 0.9))
    mean = np.mean([p.embedding for p in made], axis=0)
    return Dataset("Someone", "sks", "person", side, tuple(made), "yunet_sface", "0" * 64, (mean / np.linalg.norm(mean)).astype(np.float32))


@pytest.fixture
def dataset() -> Dataset:
    """Three photos of 64 px."""
    return make_dataset()
