"""localizations/zh_CN.json has a translation for every fixed text of the page."""

from __future__ import annotations

import ast
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from facechain_ext.services.studio import Studio
from facechain_ext.ui.page import build_page
from facechain_ext.workspace import Workspace

FILE = Path(__file__).parents[3] / "localizations" / "zh_CN.json"
PAGES = Path(__file__).parents[3] / "facechain_ext" / "ui"
NAMES = {"FaceChain", "photo of person"}
DEPENDS = re.compile(r"^\d+ steps, rank \d+")
"""The line below the presets holds the preset's own numbers."""


class NoCheckpoints:
    """A host that has none."""

    def choices(self):
        return []

    def gpus(self):
        return 2


class Texts(HTMLParser):
    """Collects text nodes, which is what the WebUI translates."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_data(self, data: str) -> None:
        self.found.add(data.strip())


def shown(tmp_path: Path) -> set[str]:
    page = build_page(Studio(Workspace(tmp_path), lambda: None, NoCheckpoints()))
    texts, found = Texts(), set()
    for component in page.get_config_file()["components"]:
        props = component["props"]
        found |= {props[k] for k in ("label", "info", "placeholder") if isinstance(props.get(k), str)}
        if component["type"] in ("button", "html") and isinstance(props.get("value"), str):
            texts.feed(props["value"])
    return {t for t in found | texts.found if re.search("[A-Za-z]{2}", t)} - NAMES


def test_every_fixed_text_is_translated(tmp_path):
    table = json.loads(FILE.read_text(encoding="utf-8"))
    missing = sorted(t for t in shown(tmp_path) - set(table) if not DEPENDS.match(t))
    assert missing == []


SAYING = {"problem_box", "note_box", "empty_state", "heading", "UserInputError", "FaceChainError", "ended_panel", "_panel", "_key"}
"""What puts its literal texts on the page while it runs."""


def said(file: Path) -> set[str]:
    """Fixed texts that ``file`` shows once something has happened, without markup."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in SAYING:
            shown = node.args
        elif isinstance(node, ast.IfExp):
            shown = [node.body, node.orelse]
        found |= {re.sub("<[^>]+>", "", e.value).strip() for e in shown if isinstance(e, ast.Constant) and isinstance(e.value, str)}
    return {text for text in found if re.match("[A-Z][a-z]", text)}


def test_what_is_said_later_is_translated():
    table = json.loads(FILE.read_text(encoding="utf-8"))
    missing = {text: file.name for file in sorted(PAGES.glob("*.py")) for text in said(file) if text not in table}
    assert missing == {}


def test_nothing_translated_is_empty():
    table = json.loads(FILE.read_text(encoding="utf-8"))
    assert len(table) > 100
    assert all(v.strip() for v in table.values())
