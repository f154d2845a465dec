"""Person, style and weights as axes of the X/Y/Z plot."""

# pyright: reportMissingImports=false
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from modules import scripts

from facechain_ext.config import PanelConfig
from facechain_ext.errors import FaceChainError, UserInputError
from facechain_ext.hosts.a1111.wiring import studio
from facechain_ext.styles.prompts import PLAIN

ON_P = "facechain_axes"
"""Attribute of the processing object: setting -> value of this cell."""


def people() -> list[str]:
    """Those who have a face LoRA."""
    try:
        return [p.name for p in studio().people() if p.loras]
    except FaceChainError:
        return []


def styles() -> list[str]:
    """Ids of all styles, the plain one first."""
    try:
        found = [s.id for s in studio().styles()]
    except FaceChainError:
        found = []
    return [PLAIN.id, *(i for i in found if i != PLAIN.id)]


def passes() -> list[str]:
    """Ways of the face pass."""
    return list(next(f.metadata["choices"] for f in dataclasses.fields(PanelConfig) if f.name == "face_pass"))


def chosen(p: Any) -> dict[str, Any]:
    """What the plot says for the picture ``p`` is about to make; empty outside a plot. A cell with a value needs no switched-on panel."""
    return dict(getattr(p, ON_P, {}))


def add_axes() -> None:
    """Offer our axes, where the WebUI has the plot and they are not there yet."""
    plot = next((s.module for s in scripts.scripts_data if s.script_class.__module__ == "xyz_grid.py"), None)
    if plot is None or any(option.label.startswith("[FaceChain]") for option in plot.axis_options):
        return
    plot.axis_options.extend(
        [
            plot.AxisOption("[FaceChain] Person", str, _set("person"), confirm=_among(people, "a person with a face LoRA"), choices=people),
            plot.AxisOption("[FaceChain] Style", str, _set("style"), confirm=_among(styles, "a style"), choices=styles),
            plot.AxisOption("[FaceChain] Face weight", float, _set("face_weight"), confirm=_within("face_weight")),
            plot.AxisOption("[FaceChain] Style weight", float, _set("style_weight"), confirm=_within("style_weight")),
            plot.AxisOption("[FaceChain] More style to more me", float, _set("balance"), confirm=_within("balance")),
            plot.AxisOption("[FaceChain] Blend", str, _set("blend"), confirm=_plans),
            plot.AxisOption("[FaceChain] Face pass", str, _set("face_pass"), confirm=_among(passes, "a way"), choices=passes),
        ]
    )


def _set(name: str) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, _all: Any) -> None:
        # A new dictionary: the plot copies ``p`` for each cell, but not what hangs on it.
        setattr(p, ON_P, {**chosen(p), name: value})

    return apply


def _among(known: Callable[[], Sequence[str]], what: str) -> Callable[[Any, Sequence[str]], None]:
    def confirm(_p: Any, values: Sequence[str]) -> None:
        names = known()
        for value in values:
            if value not in names:
                raise UserInputError(f"'{value}' is not {what}. Known: {', '.join(names) or 'none yet'}.")

    return confirm


def _plans(_p: Any, values: Sequence[str]) -> None:
    for value in values:
        PanelConfig(blend=value.strip())


def _within(name: str) -> Callable[[Any, Sequence[float]], None]:
    limits = next(f.metadata for f in dataclasses.fields(PanelConfig) if f.name == name)

    def confirm(_p: Any, values: Sequence[float]) -> None:
        for value in values:
            if not limits["low"] <= value <= limits["high"]:
                raise UserInputError(f"A weight must lie between {limits['low']:g} and {limits['high']:g}, not {value:g}.")

    return confirm
