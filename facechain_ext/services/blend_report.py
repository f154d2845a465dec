"""What the blend bench found, and the numbers that follow from the score of every single picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from facechain_ext.services.blend_methods import FACECHAIN, PLAIN_SUM, WITHOUT

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """One person in one style by one recipe."""

    style: str
    method: str
    strength: str
    person: str
    plan: str
    """As it was sampled; ``METHOD of PLAN`` for a merged file."""
    prompt: str
    likeness: tuple[float, ...]
    """Of each picture to the judging photos; a picture without a face counts 0."""
    score: tuple[float, ...]
    """Each picture's style score, 0..1."""
    faces: tuple[int, ...]
    picture: str = ""
    """The first picture's name in the folder of pictures."""


@dataclass(frozen=True, slots=True)
class BlendReport:
    """Everything the bench found."""

    checkpoint: str
    pack: str
    people: tuple[str, ...]
    styles: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    """Of training and portraits."""
    cells: tuple[Cell, ...]

    def to_dict(self) -> dict[str, Any]:
        """The command's JSON."""
        cells = [{**asdict(c), "likeness": _rounded(c.likeness), "score": _rounded(c.score), "faces": list(c.faces)} for c in self.cells]
        points = [asdict(p) for style in self.styles for p in points_of(self, style)]
        return {
            "schema": SCHEMA,
            "checkpoint": self.checkpoint,
            "pack": self.pack,
            "people": list(self.people),
            "styles": list(self.styles),
            "seeds": list(self.seeds),
            "settings": dict(self.settings),
            "cells": cells,
            "points": points,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BlendReport:
        """What ``to_dict`` gave; the points are computed anew from the cells."""
        lists = ("likeness", "score", "faces")
        values: list[dict[str, Any]] = [{k: tuple(v) if k in lists else v for k, v in cell.items()} for cell in data["cells"]]
        cells = tuple(Cell(**value) for value in values)
        people, styles, seeds = (tuple(data[k]) for k in ("people", "styles", "seeds"))
        return cls(data["checkpoint"], data["pack"], people, styles, seeds, data["settings"], cells)


@dataclass(frozen=True, slots=True)
class Point:
    """All people in one style by one recipe."""

    style: str
    method: str
    strength: str
    plan: str
    """Empty where it differs from person to person."""
    likeness: float
    score: float
    sum_likeness: float | None
    """What the plain sum has at that style score (see ``likeness_at``); None for the plain sum and without a style."""
    beyond: bool
    """True when no plain sum has that style score: then ``sum_likeness`` is that of the nearest one."""
    better_for: int
    """People with more likeness than their own plain sum at their own style score."""
    kept: float
    """Likeness by that without a style."""
    one_face: float
    """Share of pictures with exactly one face."""
    pictures: int

    @property
    def gain(self) -> float | None:
        """Likeness above the plain sum's at the same style score."""
        return None if self.sum_likeness is None else self.likeness - self.sum_likeness


Curve = list[tuple[float, float]]
"""(style score, likeness) by rising score."""


def points_of(report: BlendReport, style: str) -> list[Point]:
    """A point for each recipe of ``style``, in the order in which they were measured."""
    mine = [c for c in report.cells if c.style == style]
    together = curve_of(mine)
    each = {person: curve_of([c for c in mine if c.person == person]) for person in report.people}
    without = float(np.mean([x for c in mine if c.method == WITHOUT for x in c.likeness]))
    found = []
    for method, strength in dict.fromkeys((c.method, c.strength) for c in mine):
        cells = [c for c in mine if (c.method, c.strength) == (method, strength)]
        likeness, score = (float(np.mean([x for c in cells for x in getattr(c, name)])) for name in ("likeness", "score"))
        against = _judged(cells[0])
        plans = {c.plan for c in cells}
        found.append(
            Point(
                style,
                method,
                strength,
                plans.pop() if len(plans) == 1 else "",
                round(likeness, 4),
                round(score, 4),
                round(likeness_at(together, score), 4) if against else None,
                against and not together[0][0] <= score <= together[-1][0],
                sum(float(np.mean(c.likeness)) > likeness_at(each[c.person], float(np.mean(c.score))) for c in cells) if against else 0,
                round(likeness / without, 4) if without > 0 else 0.0,
                round(float(np.mean([f == 1 for c in cells for f in c.faces])), 4),
                sum(len(c.likeness) for c in cells),
            )
        )
    return found


def _judged(cell: Cell) -> bool:
    return cell.method not in (PLAIN_SUM, FACECHAIN) and not cell.method.startswith(WITHOUT)


def curve_of(cells: Sequence[Cell]) -> Curve:
    """The plain sum's curve over all its weights, beginning without a style."""
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        if cell.method in (WITHOUT, FACECHAIN, PLAIN_SUM):
            groups.setdefault((cell.method, cell.strength), []).append(cell)
    means = [
        (float(np.mean([x for c in group for x in c.score])), float(np.mean([x for c in group for x in c.likeness])))
        for group in groups.values()
    ]
    return sorted(means)


def likeness_at(curve: Curve, score: float) -> float:
    """The curve's likeness at a style ``score``, straight between its points; beyond its ends that of the nearest."""
    return float(np.interp(score, [s for s, _ in curve], [x for _, x in curve]))


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(float(v), 4) for v in values]
