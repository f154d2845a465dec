"""Which WebUI this is, told by the packages on its path."""

from __future__ import annotations

import sys

import pytest

from facechain_ext.hosts.detect import WebUi, detect

LAYOUTS = {
    "A1111": (["modules/shared.py"], WebUi.A1111),
    "Forge": (["modules/shared.py", "modules_forge/config.py", "backend/memory_management.py"], WebUi.FORGE),
    "reForge": (["modules_forge/config.py", "ldm_patched/modules/model_management.py"], WebUi.REFORGE),
    "a backend of somebody else's": (["modules/shared.py", "backend/memory_management.py"], WebUi.A1111),
    "a backend that is a file": (["modules_forge/config.py", "backend.py", "ldm_patched/modules/model_management.py"], WebUi.REFORGE),
    "an engine nobody knows": (["modules_forge/config.py"], WebUi.A1111),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_detects(name, tmp_path, monkeypatch):
    files, expected = LAYOUTS[name]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("raise RuntimeError('imported')\n" if "/" in file else "")
    monkeypatch.syspath_prepend(str(tmp_path))
    parents = ("modules_forge", "backend", "ldm_patched")
    for module in [m for m in sys.modules if m.split(".")[0] in parents]:
        monkeypatch.delitem(sys.modules, module)
    detect.cache_clear()
    try:
        assert detect() is expected
    finally:
        detect.cache_clear()
        for module in [m for m in sys.modules if m.split(".")[0] in parents]:
            del sys.modules[module]
