"""Files and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "facechain_ext").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")])
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS = 400, 60, 7
COMMANDS = "facechain_ext/cli/"
"""A command's parameters are its options; typer wants them so."""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_sizes(file):
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION, f"{node.name} is too long"
            if not file.relative_to(ROOT).as_posix().startswith(COMMANDS):
                names = [a.arg for a in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs] if a.arg not in ("self", "cls")]
                assert len(names) <= MAX_PARAMETERS, f"{node.name} takes {len(names)} parameters"


@pytest.mark.parametrize("file", [f for f in FILES if "facechain_ext" in f.parts], ids=lambda f: str(f.relative_to(ROOT)))
def test_public_things_say_what_they_are(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    inner = {id(c) for n in nodes if isinstance(n, ast.FunctionDef) for c in ast.walk(n) if c is not n}
    private = {id(c) for n in nodes if isinstance(n, ast.ClassDef) and n.name.startswith("_") for c in ast.walk(n)}
    bare = [
        n.name
        for n in nodes
        if not n.name.startswith("_")
        and id(n) not in inner
        and id(n) not in private
        and not ast.get_docstring(n)
        and n.name != "cross_checks"
    ]
    assert bare == []
