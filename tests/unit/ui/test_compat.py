"""The gradio shims: uploads and galleries in every shape, options dropped that a release does not know."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from fastapi.testclient import TestClient
from gradio import routes

from facechain_ext.ui import compat


class NamedString(str):
    """What gradio 4 and 5 give for a file."""

    name: str


def named(path: str) -> NamedString:
    made = NamedString(path)
    made.name = path
    return made


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, []),
        ([], []),
        ("", []),
        ("/t/a.png", ["/t/a.png"]),
        (SimpleNamespace(name="/t/a.png"), ["/t/a.png"]),
        ([SimpleNamespace(name="/t/a.png"), named("/t/b.png")], ["/t/a.png", "/t/b.png"]),
        ({"name": "/t/a.png", "is_file": True}, ["/t/a.png"]),
        ([{"path": "/t/a.png", "orig_name": "x"}], ["/t/a.png"]),
    ],
)
def test_uploads_of_every_gradio_become_paths(value, wanted):
    assert compat.uploaded(value) == [Path(p) for p in wanted]


@pytest.mark.parametrize(
    "value", [[[{"name": "/t/a.png"}, "best"]], [("/t/a.png", "best")], [("/t/a.png", None)], [{"image": {"path": "/t/a.png"}}]]
)
def test_galleries_of_every_gradio_become_paths(value):
    assert compat.gallery_files(value) == [Path("/t/a.png")]


def test_options_a_release_does_not_know_are_dropped():
    def function(label: str, **rest: object) -> None: ...

    assert compat.known(function, {"label": "x", "sources": ["upload"]}) == {"label": "x"}


@pytest.mark.parametrize(("parameter", "wanted"), [("js", {"js"}), ("_js", {"_js"})])
def test_javascript_goes_by_the_name_of_the_release(parameter, wanted):
    got: dict[str, object] = {}
    source = (
        f"def trigger(fn, inputs=None, outputs=None, api_name=None, {parameter}=None): got.update({parameter}={parameter}, name=api_name)"
    )
    names: dict[str, object] = {"got": got}
    exec(source, names)
    compat.bind(names["trigger"], None, js="() => 1")  # type: ignore[arg-type]
    assert got == {wanted.copy().pop(): "() => 1", "name": False}


def test_files_are_linked_where_gradio_serves_them():
    link = compat.file_url(Path("/w/people/Anna/sheet.png"))
    assert link.endswith("file=/w/people/Anna/sheet.png")
    assert link.startswith("gradio_api/") == (compat.major() >= 5)


def test_what_is_no_longer_offered_still_reaches_the_handler():
    with gr.Blocks(analytics_enabled=False) as page:
        person = compat.make(gr.Dropdown, choices=["Anna"], value="Anna", label="Person")
        button, said = gr.Button("Go"), gr.Textbox()
        compat.bind(button.click, lambda: compat.update(choices=[], value=None), [], [person], api_name="deleted", queue=False)
        compat.bind(button.click, lambda name: f"nobody is called {name}", [person], [said], api_name="asked", queue=False)
    with TestClient(routes.App.create_app(page)) as client:

        def ask(name: str, *values: object) -> Any:
            prefix = "gradio_api/run" if compat.major() >= 5 else "run"
            return client.post(f"/{prefix}/{name}", json={"data": list(values), "session_hash": "one"}).json()

        assert "data" in ask("deleted")
        assert ask("asked", "Anna")["data"] == ["nobody is called Anna"]
    assert not list(Path(compat.__file__).parent.glob("*.pyi"))
