"""A gradio component for each setting of the field table, and forms made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from facechain_ext.config import Settings
from facechain_ext.ui.compat import make, update
from facechain_ext.ui.fields import Field, field_of

SLIDER_SPAN = 30.0
"""Wider ranges are typed, not dragged."""
AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True)
class Form:
    """Components of some settings of one config, in order."""

    names: tuple[str, ...]
    components: tuple[Any, ...]

    def __add__(self, other: Form) -> Form:
        return Form(self.names + other.names, self.components + other.components)

    def values(self, given: Sequence[Any]) -> dict[str, Any]:
        """Name -> value as the components gave them."""
        return dict(zip(self.names, given, strict=True))

    def updates(self, settings: Settings) -> list[Any]:
        """Changes that show ``settings``."""
        return [update(value=_shown(field_of(type(settings), name), getattr(settings, name))) for name in self.names]


def form(settings: Settings, prefix: str, names: Sequence[str]) -> Form:
    """Build the components for ``names``, showing ``settings``; element ids start with ``prefix``. One alone has room for a slider."""
    made = []
    for name in names:
        field = field_of(type(settings), name)
        made.append(widget(field, getattr(settings, name), f"{prefix}_{name}", slider=len(names) == 1))
    return Form(tuple(names), tuple(made))


def rows(settings: Settings, prefix: str, layout: Sequence[Sequence[str]]) -> Form:
    """A form with one row for each group of names."""
    made = Form((), ())
    for names in layout:
        with gr.Row(elem_classes=["fc-pair"]):
            made = made + form(settings, prefix, names)
    return made


def widget(field: Field, value: Any, elem_id: str, *, slider: bool = True) -> Any:
    """The component that suits the setting."""
    shared = {"value": _shown(field, value), "label": field.label, "info": field.help, "elem_id": elem_id}
    if field.kind is bool:
        return make(gr.Checkbox, **shared)
    if field.choices:
        return make(gr.Dropdown, choices=list(field.choices), **shared)
    if field.kind is str or field.optional:
        # A number field turns "nothing" into 0 in some releases of gradio, a text field never does.
        return make(gr.Textbox, lines=1, max_lines=1, placeholder=AUTOMATIC if field.optional else None, **shared)
    if slider and _drags(field):
        low, high = field.low or 0.0, field.high or 1.0
        return make(gr.Slider, minimum=low, maximum=high, step=_step(field), **shared)
    # No minimum and maximum here: our own sentence about a value out of range says more than gradio's.
    precision = 0 if field.kind is int else None
    return make(gr.Number, precision=precision, **{**shared, "info": field.info}, step=field.multiple or (1 if precision == 0 else None))


def _shown(field: Field, value: Any) -> Any:
    if not field.optional:
        return value
    return "" if value is None else f"{value:g}" if field.kind is float else str(value)


def _drags(field: Field) -> bool:
    if field.kind is not float or field.optional or field.above or field.low is None or field.high is None:
        return False
    return field.high - field.low <= SLIDER_SPAN


def _step(field: Field) -> float:
    span = (field.high or 1.0) - (field.low or 0.0)
    return 0.05 if span <= 2 else 0.1 if span <= 10 else 0.5
