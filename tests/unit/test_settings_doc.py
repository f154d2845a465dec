"""docs/settings.md is true: every setting with its default and the first line of what it means."""

import ast
import dataclasses
import itertools
from pathlib import Path

import pytest

from facechain_ext import config

ROOT = Path(__file__).parents[2]
CLASSES = {"PrepareConfig": "## Prepare", "TrainConfig": "## Train", "PortraitConfig": "## Portraits"}


def documented(name: str) -> dict[str, str]:
    """Docstring of every field of class ``name``."""
    tree = ast.parse((ROOT / "facechain_ext" / "config.py").read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name).body
    pairs = itertools.pairwise(body)
    return {
        a.target.id: " ".join(b.value.value.split())
        for a, b in pairs
        if isinstance(a, ast.AnnAssign) and isinstance(a.target, ast.Name) and isinstance(b, ast.Expr) and isinstance(b.value, ast.Constant)
    }


@pytest.mark.parametrize("name", CLASSES)
def test_the_page_of_settings_is_true(name):
    page = (ROOT / "docs" / "settings.md").read_text()
    section = page[page.index(CLASSES[name]) :].split("\n## ", 1)[0] if name != "PrepareConfig" else page.split("\n## Train", 1)[0]
    meaning = documented(name)
    for f in dataclasses.fields(getattr(config, name)):
        rows = [line for line in section.splitlines() if line.startswith(f"| `{f.name}` |")]
        assert len(rows) == 1, f.name
        cells = [c.strip() for c in rows[0].strip("|").split("|")]
        assert cells[1] == ("-" if f.default is None else str(f.default)), f.name
        assert meaning[f.name] == cells[3], f.name
