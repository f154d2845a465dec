"""The API under the fastapi and pydantic of every host: A1111's and reForge's 0.94 with pydantic 1, Forge's 0.112, and ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = {
    "0.94.0": ROOT / ".venv-gradio3" / "bin" / "python",
    "0.112.4": ROOT / ".venv-gradio4" / "bin" / "python",
    "ours": Path(sys.executable),
}


@pytest.fixture(scope="module", params=list(PYTHONS))
def said(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What ``old_host.py`` found under one fastapi."""
    python = PYTHONS[request.param]
    if not python.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{python.parents[1].name} is missing: run `make gradio-venvs`")
        pytest.skip(f"{python.parents[1].name} is not there; `make gradio-venvs` makes it")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    script = Path(__file__).with_name("old_host.py")
    done = subprocess.run([str(python), str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert request.param in ("ours", found["fastapi"])
    return found


def test_the_schema_builds_with_examples(said):
    names = (
        "health people people/{name} people/{name}/export people/{name}/decisions styles checkpoints prepare train estimate portraits "
        "jobs jobs/{job_id} jobs/{job_id}/pause compose blend balance styles/{style_id} styles/{style_id}/picture styles/{style_id}/export styles/import styles/train"
    )
    wanted = {f"/facechain/v1/{name}" for name in [*names.split(), "jobs/{job_id}/images/{index}"]}
    assert set(said["paths"]) == set(said["app_paths"]) == wanted
    assert said["examples"] > 60


def test_refusals_have_one_shape(said):
    assert [shape for _, shape, _ in said["refusals"]] == [["error", "message"]] * 9
    assert [(status, code) for status, _, code in said["refusals"]] == [
        (401, "unauthorized"),
        (404, "not-found"),
        (422, "bad-input"),
        (422, "bad-request"),
        (413, "too-large"),
        (422, "bad-input"),
        (422, "bad-file"),
        (422, "bad-input"),
        (404, "not-found"),
    ]


def test_uploads_arrive_and_go(said):
    assert said["accepted"] == [202, 202]
    assert said["seen"] == [2_500_000, 6, 5]
    assert said["left"] == []
    assert said["prepared"]["state"] == "done"
    assert [v["file"] for v in said["prepared"]["result"]["photos"]] == ["a.jpg", "b.jpg"]
    assert said["prepared"]["result"]["photos"][0]["reasons"] == ["no-face"]
    assert said["prepared"]["result"]["advice"] == ["Add more."]


def test_results_keep_their_kind_and_a_loss_that_is_no_number_is_null(said):
    assert said["trained"]["result"] == {
        "lora": "Ada.safetensors",
        "steps": 2,
        "seconds": 1.0,
        "loss": None,
        "likeness": None,
        "stopped_early": False,
        "kept": "the last step",
        "reason": "",
        "notes": [],
    }
    assert said["trained"]["curve"] == [{"step": 1, "loss": None, "learning_rate": 0.1, "likeness": None}]
    assert said["listed"] == 3
    assert said["checkpoints"][0]["train"]["steps"] == 90


def test_the_api_needs_no_heavy_module(said):
    assert said["heavy"] == []
