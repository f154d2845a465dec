"""The pages build, serve and answer under the gradio of every host: 3.41.2, 4.40.0 and 5.50.0."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHONS = {
    "3.41.2": ROOT / ".venv-gradio3" / "bin" / "python",
    "4.40.0": ROOT / ".venv-gradio4" / "bin" / "python",
    "5.50.0": Path(sys.executable),
}


@pytest.fixture(scope="module", params=list(PYTHONS))
def answers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page said under one gradio."""
    python = PYTHONS[request.param]
    if not python.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{python.parents[1].name} is missing: run `make gradio-venvs`")
        pytest.skip(f"{python.parents[1].name} is not there; `make gradio-venvs` makes it")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "GRADIO_TEMP_DIR": str(tmp_path_factory.mktemp("uploads")),
        "MPLCONFIGDIR": str(tmp_path_factory.mktemp("matplotlib")),
        "no_proxy": "*",
    }
    done = subprocess.run(
        [str(python), str(Path(__file__).with_name("page_server.py"))], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["gradio"] == request.param
    return said


def test_the_page_has_its_fields_with_the_checkpoints_own_values(answers):
    assert {"Person", "Photos", "Checkpoint", "Preset", "Trigger word", "Style", "Learning rate"} <= set(answers["labels"])
    assert answers["steps"] == 90


def test_our_style_sheet_is_part_of_the_page(answers):
    assert answers["css"]


def test_an_event_composes_the_prompt(answers):
    words = re.sub("<[^>]+>", "", answers["prompt"])
    assert "person as a knight" in words
    assert "smiling, green scarf" in words
    assert "hat" in words
    assert '<mark class="fc-of-person">person</mark>' in answers["prompt"], "the parts are told apart"


def test_an_event_lists_people_and_escapes_their_names(answers):
    assert "Nobody is stored" in answers["before"]
    assert "Anna &lt;3" in answers["after"]
    assert "Anna <3" not in answers["after"]


def test_the_page_needs_no_heavy_module(answers):
    assert answers["heavy"] == []
