"""The WebUI's prompt syntax as data: weights, BREAK, words that change over the steps, and prompts joined by AND.

Written from its documentation (wiki, "Features") and held against what the WebUI itself answers (tests/host/test_same.py).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from facechain_ext.styles.tokens import BREAK

STRONGER = 1.1
"""What one pair of round brackets multiplies by; square ones divide by it."""
MARK = -1.0
"""Weight of BREAK, by which the WebUI tells it; in brackets it gets another one, and becomes a word."""
TOKEN = re.compile(
    r"\\(?P<escaped>[()\[\]\\]?)|(?P<open>[(\[])|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|(?P<close>[)\]])|(?P<text>[^\\()\[\]:]+|:)"
)
AND = re.compile(r"\bAND\b")
SHARE = re.compile(r"(?P<text>.*?)\s*:\s*(?P<weight>[+-]?(?:\d+\.?|\d*\.\d+))\s*", re.DOTALL)
NUMBER = re.compile(r"\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Piece:
    """Words of one weight."""

    text: str
    weight: float = 1.0

    @property
    def new_chunk(self) -> bool:
        """True for BREAK: what follows goes on in the next chunk."""
        return self.text == "BREAK" and self.weight == MARK


def weighted(prompt: str) -> list[Piece]:
    """The pieces of ``prompt``: ``(word)``, ``[word]``, ``(word:1.2)``, ``\\(`` and BREAK; a bracket left open reaches to the end."""
    texts: list[str] = []
    weights: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}

    def scale(since: int, factor: float) -> None:
        weights[since:] = [weight * factor for weight in weights[since:]]

    for found in TOKEN.finditer(prompt):
        said, close, factor = found[0], found["close"], _number(found["weight"])
        if found["open"]:
            opened[said].append(len(texts))
        elif factor is not None and opened["("]:
            scale(opened["("].pop(), factor)
        elif close and opened["(" if close == ")" else "["]:
            scale(opened["(" if close == ")" else "["].pop(), STRONGER if close == ")" else 1 / STRONGER)
        elif said.startswith("\\"):
            texts.append(found["escaped"])
            weights.append(1.0)
        else:
            for i, text in enumerate(BREAK.split(said)):
                texts += ["BREAK", text] if i else [text]
                weights += [MARK, 1.0] if i else [1.0]
    for since in opened["("]:
        scale(since, STRONGER)
    for since in opened["["]:
        scale(since, 1 / STRONGER)
    runs = itertools.groupby(zip(texts, weights, strict=True), key=lambda pair: pair[1])
    return [Piece("".join(text for text, _ in run), weight) for weight, run in runs] or [Piece("")]


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def joined_by_and(prompt: str) -> list[Piece]:
    """The prompts joined by AND, each with how much it counts: ``a AND b :0.5``."""
    found = []
    for part in AND.split(prompt):
        match = SHARE.fullmatch(part)
        found.append(Piece(match["text"], float(match["weight"])) if match else Piece(part.rstrip()))
    return found


@dataclass(frozen=True, slots=True)
class Stretch:
    """The prompt up to a step."""

    last: int
    """Last step (0 first) that it counts for, as the WebUI counts."""
    prompt: str


class _Literal(Exception):
    """The prompt cannot be read as one with changing words."""


Words = Callable[[int], str]
"""Step, from 1 -> text."""


def stretches(prompt: str, steps: int) -> list[Stretch]:
    """What ``prompt`` says over ``steps`` steps: ``[before:after:0.5]``, ``[after:10]``, ``[gone::10]`` and ``[this|that]``, nested or not.

    A number with a point is a share of the steps, one without a step. The first stretch is one step longer than it says, as in the WebUI.
    """
    ends = {steps}
    try:
        parts = _Reader(prompt, steps, ends).read()
    except _Literal:
        return [Stretch(steps, prompt)]
    return [Stretch(end, "".join(part(end) for part in parts)) for end in sorted(ends)]


class _Reader:
    """Reads a prompt with changing words; ``ends`` collects the steps after which it changes."""

    def __init__(self, prompt: str, steps: int, ends: set[int]) -> None:
        self._prompt, self._steps, self._ends = prompt, steps, ends

    def read(self) -> list[Words]:
        """The whole prompt, in which brackets need not match.

        Raises:
            _Literal: for a ``|`` outside of square brackets.
        """
        parts: list[Words] = []
        at = 0
        while at < len(self._prompt):
            if self._prompt[at] == "|":
                raise _Literal
            one, at = self._bracket(at) or self._letter(at)
            parts += one
        return parts

    def _letter(self, at: int) -> tuple[list[Words], int]:
        end = min(len(self._prompt), at + (2 if self._prompt[at] == "\\" else 1))
        if self._prompt[at:end] == "\\":
            raise _Literal
        return [_always(self._prompt[at:end])], end

    def _bracket(self, at: int) -> tuple[list[Words], int] | None:
        """What begins at ``at``, when it is a bracket that closes and holds nothing it should not."""
        kind = self._prompt[at]
        if kind not in "([":
            return None
        sides: list[tuple[list[Words], str]] = []
        marks: list[str] = []
        ends = set(self._ends)
        at += 1
        inside: list[Words] = []
        start = at
        while at < len(self._prompt):
            letter = self._prompt[at]
            if letter in ")]|:":
                sides.append((inside, self._prompt[start:at]))
                inside, at = [], at + 1
                start = at
                if letter in ")]":
                    found = self._closed(kind + letter, sides, marks)
                    if found is None:
                        break
                    return found, at
                marks.append(letter)
                continue
            nested = self._bracket(at)
            if nested is None and letter in "([":
                break
            one, at = nested or self._letter(at)
            inside += one
        # Not one of ours: what was found inside is read again.
        self._ends.clear()
        self._ends.update(ends)
        return None

    def _closed(self, brackets: str, sides: Sequence[tuple[list[Words], str]], marks: Sequence[str]) -> list[Words] | None:
        texts = [partial(_joined, words) for words, _ in sides]
        if brackets == "()" and marks in ([], [":"]):
            return [_always("("), texts[0], *([_always(":"), texts[1]] if marks else []), _always(")")]
        if brackets != "[]":
            return None
        if not marks:
            return [_always("["), texts[0], _always("]")]
        if set(marks) == {"|"}:
            self._ends.update(range(1, self._steps + 1))
            return [lambda step: texts[(step - 1) % len(texts)](step)]
        number = NUMBER.fullmatch(sides[-1][1])
        if set(marks) != {":"} or len(marks) > 2 or number is None:
            return None
        said = number["number"]
        when = min(self._steps, int(float(said) * (self._steps if "." in said else 1)))
        if when >= 1:
            self._ends.add(when)
        before = texts[0] if len(marks) == 2 else _always("")
        return [lambda step: (before if step <= when else texts[-2])(step)]


def _always(text: str) -> Words:
    return lambda _: text


def _joined(words: Sequence[Words], step: int) -> str:
    return "".join(word(step) for word in words)
