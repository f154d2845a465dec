"""Runs this folder in .venv-gradio3, which holds A1111's versions of gradio, fastapi, pydantic, transformers, peft, Pillow and NumPy."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON = ROOT / ".venv-gradio3" / "bin" / "python"
FILES = sorted(file.stem for file in HERE.glob("test_*.py") if file != Path(__file__))
LIMIT_S = 1800

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT_S + 60)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """File -> (test, what went wrong or nothing)."""
    if not PYTHON.exists():
        if os.environ.get("CI"):
            pytest.fail("there is no .venv-gradio3: run `make gradio-venvs`")
        pytest.skip("there is no .venv-gradio3; `make gradio-venvs` makes it")
    report = tmp_path_factory.mktemp("report") / "junit.xml"
    # Two cores and somebody else's work: threads that spin while they wait would hold each other up.
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONWARNINGS": "ignore", "no_proxy": "*"}
    command = [str(PYTHON), "-m", "pytest", str(HERE), "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert report.exists(), (done.stdout + done.stderr)[-4000:]
    found: dict[str, list[tuple[str, str]]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        wrong = [f"{part.tag}: {part.text or part.get('message')}" for part in case if part.tag in ("failure", "error", "skipped")]
        file = str(case.get("classname") or case.get("name")).split(".")[-1]
        found.setdefault(file, []).append((str(case.get("name")), "\n".join(wrong)))
    return found


@pytest.mark.parametrize("file", FILES)
def test_passes_in_the_hosts_environment(file: str, results: dict[str, list[tuple[str, str]]]) -> None:
    cases = results.get(file, [])
    assert len(cases) >= 5, results
    wrong = [f"{name}\n{why[-3000:]}" for name, why in cases if why]
    assert not wrong, "\n\n".join(wrong)
