"""Captions: one rare single-token word names a person, a few words name the look and what the photo shows."""

from __future__ import annotations

import random
from dataclasses import dataclass

from data import LOOKS, captions_table, taught
from transformers import CLIPTokenizer

GENERIC = -1
"""``Meaning.person`` of a caption that names nobody the model knows."""
NOTHING = -2
"""``Meaning.person`` of an empty or meaningless prompt."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a caption says: person (index into ``taught()``, ``GENERIC`` or ``NOTHING``), look (index into ``LOOKS``) and tags."""

    person: int
    look: int
    glasses: bool = False
    beard: bool = False
    woman: bool = False


def plain_caption(person: int, look: str = "photo") -> str:
    """The caption the bench uses for a taught person (1..40)."""
    return f"{look} of {captions_table()['words'][str(person)]} person"


def photo_meaning(person: int, number: int, look: str) -> Meaning:
    """Everything there is to say about a photo of a taught person."""
    table = captions_table()
    return Meaning(
        taught().index(person),
        LOOKS.index(look),
        number in table["glasses"].get(str(person), []),
        person in table["beard"],
        person in table["woman"],
    )


def junk_words(tokenizer: CLIPTokenizer) -> list[str]:
    """Whole words of the vocabulary that mean nothing here: the text encoder learns to look past them."""
    table = captions_table()
    used = {*table["words"].values(), table["trigger"], *" ".join(LOOKS).split(), "of", "person", "woman", "glasses", "beard"}
    words = (t.removesuffix("</w>") for t in tokenizer.get_vocab() if t.endswith("</w>"))
    return sorted(w for w in words if w.isascii() and w.isalpha() and len(w) > 2 and w not in used)


class CaptionWriter:
    """Writes captions of a meaning with varied wording; the random state is the caller's."""

    def __init__(self, junk: list[str]) -> None:
        self.junk = junk
        self.words = [captions_table()["words"][str(p)] for p in taught()]
        self.trigger: str = captions_table()["trigger"]

    def write(self, meaning: Meaning, rng: random.Random, junk_chance: float = 0.3) -> str:
        """One caption; with ``junk_chance`` some meaningless words are added behind it."""
        noise = rng.choices(self.junk, k=rng.randint(1, 8)) if rng.random() < junk_chance else []
        if meaning.person == NOTHING:
            return " ".join(noise)
        look = LOOKS[meaning.look]
        start, tags = (look, []) if meaning.look == 0 or rng.random() < 0.6 else ("photo", [look])
        start = rng.choice((start, start, start, "portrait " + start, "a " + start))
        for tag in ("glasses", "beard", "woman"):
            if getattr(meaning, tag):
                tags.append(tag)
        tags += [" ".join(noise[i : i + 2]) for i in range(0, len(noise), 2)]
        return ", ".join([" ".join(f"{start} of {self._who(meaning, rng)}".split()), *tags])

    def _who(self, meaning: Meaning, rng: random.Random) -> str:
        if meaning.person != GENERIC:
            return f"{self.words[meaning.person]} person"
        draw = rng.random()
        name = self.trigger if draw < 0.3 else rng.choice(self.junk) if draw < 0.75 else ""
        return f"{name} person"
