"""What differs between gradio 3.41 (A1111, reForge), 4.40 (Forge) and 5.50 (standalone), in one place."""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import gradio as gr

C = TypeVar("C")


def major() -> int:
    """gradio's major version."""
    return int(gr.__version__.split(".")[0])


def known(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """``options`` without those this gradio's ``function`` does not name; gradio 3 warns about each it swallows in ``**kwargs``."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in names}


def make(component: type[C], *values: Any, **options: Any) -> C:
    """Build ``component``, dropping options that this gradio does not have."""
    built: Any = _choice_of_anything() if component is gr.Dropdown else component
    return cast("C", built(*values, **known(component.__init__, options)))


@functools.cache
def _choice_of_anything() -> Any:
    """A ``gr.Dropdown`` that hands on what it is given, as gradio 3 and 4 do.

    gradio 5 answers a value that is no longer among the choices itself, with "Value: … is not in the list of choices".
    It is in two requests at once, the first of which brings new choices: somebody was deleted, and the page that still
    shows them comes to the front. Our handlers look up what they are given anyway, and say so in words that help.
    """
    if major() < 5:
        return gr.Dropdown
    attributes = {"__module__": gr.Dropdown.__module__, "__doc__": gr.Dropdown.__doc__, "preprocess": lambda self, payload: payload}
    # Not by gradio's own metaclass: it writes a ``.pyi`` beside the file of each class it makes.
    return abc.ABCMeta.__new__(type(gr.Dropdown), "Dropdown", (gr.Dropdown,), attributes)


def update(**changes: Any) -> Any:
    """A change of a component; without arguments, no change."""
    return gr.update(**changes)


def bind(
    trigger: Callable[..., Any],
    function: Callable[..., Any] | None,
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    *,
    js: str | None = None,
    api_name: str | None = None,
    **options: Any,
) -> Any:
    """Bind ``function`` to an event; unnamed events stay out of the API's list.

    Several people may follow one job: gradio 4 and 5 otherwise run each function for one visitor at a time.
    """
    wanted = {"api_name": api_name if api_name else False, "show_progress": "hidden", "concurrency_limit": None, "show_api": bool(api_name)}
    wanted.update(options)
    # Forge's wrapper around each event (modules/gradio_extensions.py) does not tell what the event takes.
    accepted = inspect.signature(getattr(trigger, "replaced_event", trigger)).parameters
    if js is not None:
        wanted["js" if "js" in accepted else "_js"] = js
    return trigger(function, list(inputs) or None, list(outputs) or None, **{k: v for k, v in wanted.items() if k in accepted})


def uploaded(value: Any) -> list[Path]:
    """The files of an upload: None, a path, an object with ``name`` (gradio 3), a dict, or a list of those."""
    if value is None or value == "":
        return []
    if isinstance(value, (list, tuple)):
        return [path for one in value for path in uploaded(one)]
    return [Path(_path(value))]


def gallery_files(value: Any) -> list[Path]:
    """The files of a gallery given as input: ``[[{"name": …}, caption]]`` (gradio 3) or ``[(path, caption)]``."""
    return [Path(_path(item[0] if isinstance(item, (list, tuple)) else item)) for item in value or []]


def _path(value: Any) -> str:
    if isinstance(value, dict):
        inner = value.get("image", value)
        return str(inner.get("path") or inner.get("name"))
    # gradio 4 and 5 give a str with an attribute ``name``, gradio 3 an open temporary file.
    return str(getattr(value, "name", value))


def file_url(path: Path) -> str:
    """The address, relative to the page, under which gradio serves ``path`` when the app allows it."""
    return f"{'gradio_api/' if major() >= 5 else ''}file={path.as_posix()}"
