"""``kill -9`` at any moment, also while a state is being stored: what resumes comes to the very same losses and LoRA."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")

ROOT = Path(__file__).parents[3]
CONFIG = {"steps": 14, "rank": 4, "alpha": 4.0, "batch": 2, "learning_rate": 1e-2, "warmup": 2, "resolution": 64, "previews": 0, "save_every": 2}
MOMENTS = ["step 1", "half 1", "before 1", "after 1", "step 3", "half 2", "step 9", "before 2", "after 1", "step 13"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize(
    ("changed", "short"),
    [
        pytest.param({"accumulation": 3}, 0, id="accumulation"),
        pytest.param({"optimizer": "adafactor"}, 0, id="adafactor"),
        pytest.param({"batch": 4, "ema": 0.9}, 3, id="memory ran out"),
    ],
)
@pytest.mark.slow
def test_a_training_killed_ten_times_is_the_same(changed, short, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"config": CONFIG | changed, "moments": MOMENTS, "short": short}))
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.training.killed", str(tmp_path), str(settings)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    whole, killed = json.loads(done.stdout.splitlines()[-1])
    assert len(whole["losses"]) == CONFIG["steps"]
    assert killed == whole
