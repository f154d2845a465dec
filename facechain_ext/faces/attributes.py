"""Age group and gender of a person over several photos: a suggestion for the class word, never more."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

AGREED = 0.75
"""Share of the photos that must say the same gender for it to be suggested."""
BABY, CHILD, YOUNG, MIDDLE, OLD = 3, 13, 20, 40, 62
"""Years at which the words change."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a face model says of one face."""

    gender: str
    """``woman`` or ``man``."""
    age: float
    """Years."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Words the user may take or not."""

    subject: str
    """The class word: baby, girl, boy, child, woman, man or person."""
    age_group: str
    """baby, child, teenager, young, middle-aged or old."""
    age: int
    """Years, the median of the photos."""


def suggest(seen: Sequence[Attributes]) -> Suggestion | None:
    """What most of the photos say; None without any. Where they disagree about the gender the word names none."""
    if not seen:
        return None
    age = statistics.median(a.age for a in seen)
    men = sum(a.gender == "man" for a in seen) / len(seen)
    male = True if men >= AGREED else False if men <= 1 - AGREED else None
    if age < BABY:
        word = "baby"
    elif age < CHILD:
        word = {True: "boy", False: "girl", None: "child"}[male]
    else:
        word = {True: "man", False: "woman", None: "person"}[male]
    groups = ((BABY, "baby"), (CHILD, "child"), (YOUNG, "teenager"), (MIDDLE, "young"), (OLD, "middle-aged"))
    return Suggestion(word, next((name for limit, name in groups if age < limit), "old"), round(age))
