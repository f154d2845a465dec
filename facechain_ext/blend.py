"""How several LoRAs act together on one picture: weights per part and block, over the steps of sampling, and in regions.

One object for every host, and a short text of it that travels in the picture's infotext. Knows no file and no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from facechain_ext.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np

FACE, STYLE = "face", "style"
"""Roles in the usual blend: the person's LoRA and the style's."""
SUM = "sum"
"""The name of the plan that adds both LoRAs as they are."""
CURVES = ("linear", "cosine", "step")
BLOCK_COUNTS = (25, 19)
"""Blocks of a UNet: 12 in, middle, 12 out for Stable Diffusion 1 and 2; 9, middle, 9 for SDXL."""
MOST = 4.0
"""Largest weight, multiplier and block weight."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a weight is multiplied with while a picture is sampled: ``start`` up to the share ``begin`` of the steps, ``end`` from ``finish`` on."""

    start: float = 1.0
    end: float = 1.0
    begin: float = 0.0
    """0 is the first step, 1 the last."""
    finish: float = 1.0
    curve: str = "linear"
    """Between them: ``linear``, ``cosine``, or ``step`` (a jump half way)."""

    def __post_init__(self) -> None:
        numbers = (self.start, self.end, self.begin, self.finish)
        if not all(math.isfinite(x) for x in numbers) or not (0 <= self.begin <= self.finish <= 1) or self.curve not in CURVES:
            raise UserInputError(f"'{self}' is no schedule: shares lie between 0 and 1, the first not after the second.")
        if not (0 <= self.start <= MOST and 0 <= self.end <= MOST):
            raise UserInputError(f"'{self}' is no schedule: multipliers lie between 0 and {MOST:g}.")

    def at(self, share: float) -> float:
        """The multiplier at ``share`` 0..1 of the steps."""
        if share < self.begin:
            return self.start
        if share >= self.finish:
            return self.end
        done = (share - self.begin) / (self.finish - self.begin)
        if self.curve == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        elif self.curve == "step":
            done = float(done >= 0.5)
        return self.start + (self.end - self.start) * done

    @property
    def is_constant(self) -> bool:
        """True when it changes nothing over the steps."""
        return self.start == self.end

    def __str__(self) -> str:
        return f"{self.start:g}>{self.end:g}@{self.begin:g}-{self.finish:g} {self.curve}"


def share_of(step: int, total: int) -> float:
    """Where ``step`` (0 first) of ``total`` lies: 0 the first, 1 the last."""
    return min(1.0, max(0.0, step / (total - 1))) if total > 1 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Where in the picture a LoRA or a prompt acts. Give the same object (or the same box) to those that belong together."""

    box: tuple[float, float, float, float] | None = None
    """x0, y0, x1, y1 in shares of width and height."""
    mask: np.ndarray | None = None
    """(H, W) 0..1 in any size, instead of a box; it does not travel in the infotext."""
    feather: float = 0.03
    """Width of the soft edge of a box, share of the picture's longer side."""

    def __post_init__(self) -> None:
        if (self.box is None) == (self.mask is None):
            raise UserInputError("A region has either a box or a mask.")
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
                raise UserInputError(f"The box {self.box} is none: x0 < x1 and y0 < y1, all between 0 and 1.")
        if self.mask is not None and self.mask.ndim != 2:
            raise UserInputError("A region's mask has two dimensions.")

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for regions that are the same."""
        return (self.box, self.feather) if self.box is not None else (id(self.mask),)

    def __str__(self) -> str:
        return "mask" if self.box is None else " ".join(f"{x:.4g}" for x in (*self.box, self.feather))


@dataclass(frozen=True, slots=True)
class Part:
    """How one LoRA acts."""

    role: str
    """``face``, ``style``, or any other word without blanks and signs."""
    unet: float = 1.0
    text: float | None = None
    """None: as ``unet``."""
    blocks: tuple[float, ...] = ()
    """Multipliers of the UNet's blocks, in the order of the signal; empty: 1 everywhere."""
    schedule: Schedule | None = None
    """Of the UNet's part; the text encoder runs once, before the first step."""
    region: Region | None = None
    guided: float = 1.0
    """How many times the UNet's part acts by guidance: above 1 it acts less where the negative prompt is predicted (see ``negative_share``)."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.role):
            raise UserInputError(f"'{self.role}' cannot name a part of a blend: letters, digits and '-' only.")
        if self.blocks and len(self.blocks) not in BLOCK_COUNTS:
            raise UserInputError(f"{len(self.blocks)} block weights: a UNet has {' or '.join(map(str, BLOCK_COUNTS))} blocks.")
        if not all(math.isfinite(x) and abs(x) <= MOST for x in (self.unet, self.text or 0.0, self.guided, *self.blocks)):
            raise UserInputError(f"Weights of a blend lie between -{MOST:g} and {MOST:g}.")

    @property
    def text_weight(self) -> float:
        """Of the text encoder."""
        return self.unet if self.text is None else self.text

    @property
    def live(self) -> bool:
        """True when it changes over steps, picture or prompts, which no weight merged once can do."""
        return acts_live(self.schedule, self.region, self.guided)

    def __str__(self) -> str:
        words = [self.role, f"{self.unet:g}" + ("" if self.text is None or self.text == self.unet else f"/{self.text:g}")]
        if self.guided != 1:
            words += ["guided", f"{self.guided:g}"]
        if self.blocks:
            words += ["blocks", _packed(self.blocks)]
        if self.schedule is not None:
            words += ["steps", str(self.schedule)]
        if self.region is not None:
            words += ["region", str(self.region)]
        return " ".join(words)


def acts_live(schedule: Schedule | None, region: Region | None, guided: float) -> bool:
    """True for a LoRA that does not act the same at every step, in every place and on both prompts."""
    return region is not None or guided != 1 or (schedule is not None and not schedule.is_constant)


def negative_share(guided: float, cfg: float) -> float:
    """The share of a LoRA's weight that acts on the negative prompt's prediction, so that guidance ``cfg`` makes it act ``guided`` times, 0..MOST.

    The prediction is n + cfg (p - n). A LoRA that adds d to p and m d to n adds (m + cfg (1 - m)) d, which is ``guided`` d for
    m = 1 - (guided - 1) / (cfg - 1). More than ``cfg`` times is not possible: then m is 0.
    """
    return 1.0 if cfg <= 1 else min(MOST, max(0.0, 1 - (guided - 1) / (cfg - 1)))


@dataclass(frozen=True, slots=True)
class BlendPlan:
    """How all LoRAs of a picture act together."""

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        roles = [p.role for p in self.parts]
        if len(set(roles)) < len(roles):
            raise UserInputError("Two parts of a blend have the same name.")

    def part(self, role: str) -> Part | None:
        """The part called ``role``."""
        return next((p for p in self.parts if p.role == role), None)

    @property
    def live(self) -> bool:
        """True when it needs hooks while sampling; otherwise weights can be merged once."""
        return any(p.live for p in self.parts)

    def __str__(self) -> str:
        return " + ".join(str(p) for p in self.parts)


def parse_plan(text: str) -> BlendPlan:
    """The plan of a text as ``str(plan)`` gives it, e.g. ``face 0.9 steps 0.5>1@0.2-0.6 cosine + style 0.8 blocks 1*12|0.5|1*12``.

    Raises:
        UserInputError: naming what cannot be read.
    """
    return BlendPlan(tuple(_part(piece) for piece in text.split(" + ") if piece.strip()))


def plain_sum(face: float, style: float | None) -> BlendPlan:
    """Both LoRAs as they are; ``style`` None: there is none."""
    return BlendPlan((Part(FACE, face), *([Part(STYLE, style)] if style is not None else [])))


def default_plan(
    face: float,
    style: float,
    balance: float = 0.5,
    blocks: Sequence[float] = (),
    *,
    face_guided: float = 1.0,
    style_guided: float = 1.0,
) -> BlendPlan:
    """How face and style LoRA act together when nothing was measured for the two; ``balance`` 0 more style .. 1 more of the person.

    Half way, weights are what they were set to. To either side the style's falls to nothing or grows to twice as much; the face's stays,
    because more of it than it was trained for costs likeness (benchmarks/blend): what makes it win is guidance. ``blocks`` are the style's.
    """
    weight = min(MOST, round(style * 2 * (1 - balance), 4))
    return BlendPlan((Part(FACE, face, guided=face_guided), Part(STYLE, weight, blocks=tuple(blocks), guided=style_guided)))


def parse_blocks(text: str) -> tuple[float, ...]:
    """Block weights such as ``1*3|0*19|1*3``; none for an empty text.

    Raises:
        UserInputError: when it cannot be read, or their number is that of no UNet.
    """
    found = _unpacked(text.strip())
    Part(STYLE, blocks=found)
    return found


def outer_blocks(count: int, levels: int) -> tuple[float, ...]:
    """Weights of ``count`` blocks: 1 in the outermost ``levels`` (the finest grids), 0 further in."""
    width = 3 * levels
    return tuple(float(i < width or i >= count - width) for i in range(count))


_NUMBER = r"-?\d+(?:\.\d+)?(?:e-?\d+)?"
_FORM = re.compile(
    rf"(?P<role>[\w-]+) (?P<unet>{_NUMBER})(?:/(?P<text>{_NUMBER}))?(?: guided (?P<guided>{_NUMBER}))?(?: blocks (?P<blocks>\S+))?"
    rf"(?: steps (?P<start>{_NUMBER})>(?P<end>{_NUMBER})@(?P<begin>{_NUMBER})-(?P<finish>{_NUMBER}) (?P<curve>\w+))?"
    rf"(?: region (?P<region>mask|(?:{_NUMBER} ?){{5}}))?"
)


def _part(piece: str) -> Part:
    found = _FORM.fullmatch(" ".join(piece.split()))
    if found is None:
        raise UserInputError(f"'{piece.strip()}' is no part of a blend; one looks like: face 0.9 steps 0.5>1@0.2-0.6 cosine.")
    schedule = region = None
    if found["start"] is not None:
        start, end, begin, finish = (float(found[k]) for k in ("start", "end", "begin", "finish"))
        schedule = Schedule(start, end, begin, finish, found["curve"])
    if found["region"] == "mask":
        raise UserInputError("This blend used a mask that was drawn for its picture and is not in its text. Give a box instead.")
    if found["region"]:
        x0, y0, x1, y1, feather = map(float, found["region"].split())
        region = Region((x0, y0, x1, y1), feather=feather)
    text = float(found["text"]) if found["text"] else None
    guided = float(found["guided"] or 1)
    return Part(found["role"], float(found["unet"]), text, _unpacked(found["blocks"] or ""), schedule, region, guided)


def _packed(blocks: Sequence[float]) -> str:
    """``1*12|0.5|1*12``: equal neighbours together."""
    runs: list[tuple[str, int]] = []
    for value in blocks:
        said = f"{value:g}"
        runs = [*runs[:-1], (said, runs[-1][1] + 1)] if runs and runs[-1][0] == said else [*runs, (said, 1)]
    return "|".join(said if many == 1 else f"{said}*{many}" for said, many in runs)


def _unpacked(text: str) -> tuple[float, ...]:
    values: list[float] = []
    for run in text.split("|") if text else []:
        found = re.fullmatch(rf"({_NUMBER})(?:\*(\d{{1,2}}))?", run)
        if found is None:
            raise UserInputError(f"'{run}' is no block weight; they look like 1*12|0.5|1*12.")
        values += [float(found[1])] * int(found[2] or 1)
    return tuple(values)
