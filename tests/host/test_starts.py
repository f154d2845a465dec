"""Other ways to start the WebUI: attention, memory, without page, with a password."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from .webui import WebUi

pytestmark = pytest.mark.slow

FORGE = any((Path(os.environ.get("FACECHAIN_WEBUI_DIR", "")) / name).is_dir() for name in ("backend", "ldm_patched"))
"""Forge and reForge take A1111's flags for attention and memory, and do nothing about them."""
FLAGS = (
    ("--attention-split", "--attention-quad", "--attention-pytorch")
    if FORGE
    else ("--medvram", "--opt-sdp-attention", "--opt-split-attention-v1", "--opt-sub-quad-attention")
)


def train_once(webui: WebUi, photos: list[Path], name: str) -> dict[str, Any]:
    try:
        webui.prepare(name, photos)
        webui.draw()
        # Forge makes its caches of prompts anew with every picture.
        drawn, before = webui.draw().pixels, webui.state()
        done = webui.finish(webui.train(name))
        after = webui.state()
        if done["state"] == "done":
            assert {key: (value, after[key]) for key, value in before.items() if after[key] != value and key != "random"} == {}
            assert webui.draw().pixels == drawn
        return done
    finally:
        webui.delete(name)


@pytest.mark.parametrize("flag", FLAGS)
def test_trains_with(start: Callable[..., Any], photos: list[Path], flag: str) -> None:
    with start(flag) as webui:
        done = train_once(webui, photos, "Host Flag")
        assert done["state"] == "done", done


@pytest.mark.skipif(FORGE, reason="Forge has no such mode: --lowvram is read and forgotten, what does not fit is refused by check_resident")
def test_lowvram_is_refused_with_what_to_change(start: Callable[..., Any], photos: list[Path]) -> None:
    with start("--lowvram") as webui:
        done = train_once(webui, photos, "Host Lowvram")
        assert done["state"] == "failed", done
        assert "--medvram" in done["error"]


def test_without_a_page(start: Callable[..., Any], photos: list[Path]) -> None:
    with start("--nowebui") as webui:
        assert train_once(webui, photos, "Host Nowebui")["state"] == "done"


def test_the_api_password_guards_ours_too(start: Callable[..., Any]) -> None:
    with start("--api-auth", "someone:secret", auth=("someone", "secret")) as webui:
        assert webui.get("/facechain/v1/health")["status"] == "ok"
        for auth in (None, ("someone", "wrong"), ("nobody", "secret")):
            for path in ("health", "people", "jobs", "openapi.json"):
                answer = httpx.get(f"{webui.url}/facechain/v1/{path}", auth=auth, trust_env=False)
                assert answer.status_code == 401, (path, answer.text)
