"""How many GPUs the driver counts, without torch, and which settings the page then shows."""

from __future__ import annotations

import sys

import pytest

from facechain_ext.hosts.standalone.checkpoints import StandaloneCheckpoints
from facechain_ext.ui.train_tab import _of_the_machine
from facechain_ext.workspace import Workspace


@pytest.mark.skipif(sys.platform == "win32", reason="the driver's program is played by a shell script")
@pytest.mark.parametrize(("script", "count"), [("echo 'GPU 0: one (UUID: a)'; echo 'GPU 1: two (UUID: b)'", 2), ("echo No devices were found; exit 6", 0)])
def test_the_driver_is_asked(tmp_path, monkeypatch, script, count):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert StandaloneCheckpoints(Workspace(tmp_path)).gpus() == count


def test_without_a_driver_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert StandaloneCheckpoints(Workspace(tmp_path)).gpus() == 0


@pytest.mark.parametrize(
    ("gpus", "names"), [(None, []), (0, ["precision"]), (1, ["precision", "offload"]), (2, ["precision", "offload", "processes"])]
)
def test_the_page_shows_what_matters_here(gpus, names):
    assert [name for row in _of_the_machine(gpus) for name in row] == names
