"""The gradio shims: uploads and galleries in every shape, options dropped that a release does not know."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

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
