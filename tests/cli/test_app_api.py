"""``facechain app``: the page alone, and with ``--api`` the HTTP API beside it."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.cli.conftest import Cli


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetched(url: str) -> tuple[int, Any]:
    """Status and body."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("words", [(), ("--api",)], ids=["page", "page and api"])
def test_the_api_is_there_when_asked_for(empty: Cli, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("gradio")
    port = free_port()
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    app = empty.start("app", "--port", port, "--no-browser", *words)
    last = "The API is at" if words else "FaceChain is at"
    try:
        assert app.stdout is not None
        deadline = time.monotonic() + 120
        while not (line := app.stdout.readline()).startswith(last):
            assert line or (app.poll() is None and time.monotonic() < deadline)
        base = f"http://127.0.0.1:{port}"
        assert fetched(f"{base}/config")[0] == 200
        status, body = fetched(f"{base}/facechain/v1/health")
        assert status == (200 if words else 404)
        if words:
            assert json.loads(body)["status"] == "ok"
            assert json.loads(fetched(f"{base}/facechain/v1/people/Nobody")[1])["error"] == "not-found"
    finally:
        app.send_signal(signal.SIGINT)
        app.communicate(timeout=120)
