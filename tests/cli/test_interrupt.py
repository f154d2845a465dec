"""Ctrl-C keeps what was learned, a killed process what was saved; ``--resume`` goes on from either, to the same LoRA."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

STEPS = 24
PATIENCE = 120
"""Seconds until the first steps must show."""


@dataclasses.dataclass(frozen=True)
class Broken:
    """A training that was broken off, and what resuming it said."""

    root: Path
    code: int
    out: str
    err: str
    saved: int
    """Steps in the state that was left."""
    tensors: dict[str, torch.Tensor]
    """Of the LoRA that was kept, if any."""
    resumable: bool
    resumed: dict[str, Any]
    resumed_tensors: dict[str, torch.Tensor]
    resumable_after: bool


def saved_step(state: Path) -> int:
    """Steps done in the saved state, 0 without one."""
    with contextlib.suppress(OSError, SafetensorError), safe_open(state, "pt") as source:
        return int(json.loads(source.metadata()["facechain_state"])["step"])
    return 0


@contextlib.contextmanager
def running(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever happens, the process does not outlive the block."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def broken_off(made, person: str, quick: Path, base: Path, number: signal.Signals) -> Broken:
    """Train, send ``number`` after the first saved steps, resume."""
    cli = type(made.cli)(Path(shutil.copytree(made.root, base / "workspace")))
    settings = base / "settings.json"
    settings.write_text(json.dumps({**json.loads(quick.read_text()), "save_every": 2}))
    words = ("train", "--person", person, "--steps", STEPS, "--config", settings, "--json")
    state = cli.root / "people" / person / "training" / "state.safetensors"
    process = cli.start(*words)
    with running(process):
        until = time.monotonic() + PATIENCE
        while saved_step(state) < 4 and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    saved = saved_step(state)
    tensors = load_file(json.loads(out)["lora"]) if out else {}
    resumable = cli.good("people", "show", person, "--json").json["resumable"]
    resumed = cli.good(*words, "--resume").json
    after = cli.good("people", "show", person, "--json").json["resumable"]
    return Broken(cli.root, process.returncode, out, err, saved, tensors, resumable, resumed, load_file(resumed["lora"]), after)


@pytest.fixture(scope="module")
def interrupted(made, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """Ctrl-C."""
    return broken_off(made, "Ada Lovelace", quick, tmp_path_factory.mktemp("interrupted"), signal.SIGINT)


@pytest.fixture(scope="module")
def killed(made, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """kill -9."""
    return broken_off(made, "Ada Lovelace", quick, tmp_path_factory.mktemp("killed"), signal.SIGKILL)


def test_an_interrupt_keeps_what_was_learned(interrupted: Broken) -> None:
    assert interrupted.code == 0, interrupted.err
    assert "Traceback" not in interrupted.err
    assert "keeping what was learned" in interrupted.err
    value = json.loads(interrupted.out)
    assert value["stopped_early"] is True
    assert 4 <= value["steps"] < STEPS
    assert interrupted.saved == value["steps"]
    assert interrupted.resumable
    assert any(t.abs().max() > 0 for k, t in interrupted.tensors.items() if k.endswith("lora_up.weight"))


def test_a_killed_training_leaves_its_last_state_and_the_earlier_lora(killed: Broken, made) -> None:
    assert killed.code == -signal.SIGKILL
    assert killed.out == ""
    assert 4 <= killed.saved < STEPS
    assert killed.resumable
    earlier = Path(made.trained.json["lora"])
    kept = killed.root / earlier.relative_to(made.root)
    assert kept.read_bytes() == earlier.read_bytes()


@pytest.mark.parametrize("which", ["interrupted", "killed"])
def test_resume_goes_on_to_the_steps_asked_for(which: str, request: pytest.FixtureRequest) -> None:
    broken: Broken = request.getfixturevalue(which)
    assert broken.resumed["steps"] == STEPS
    assert broken.resumed["stopped_early"] is False
    assert not broken.resumable_after


def test_wherever_it_broke_off_the_lora_is_the_same(interrupted: Broken, killed: Broken) -> None:
    assert set(interrupted.resumed_tensors) == set(killed.resumed_tensors)
    for key, tensor in interrupted.resumed_tensors.items():
        assert torch.equal(tensor, killed.resumed_tensors[key]), key
