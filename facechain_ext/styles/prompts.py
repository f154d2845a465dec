"""Prompt composition: style, person and the user's own words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from facechain_ext.styles.catalog import PERSON, Style

PLAIN = Style("plain", "Plain portrait", "basic", "photo of {person}")
MENTION = re.compile(r"\s*(\b(of|with|by)\s+)?" + re.escape(PERSON))
"""The person's place, and the word that leads to it."""
EDGES = " ,\t\r\n"
"""What the user's words do not begin or end with."""


@dataclass(frozen=True, slots=True)
class ComposedPrompt:
    """The two prompts that go to the sampler."""

    positive: str
    negative: str


def compose(style: Style | None, person_words: str, own: str = "", own_negative: str = "") -> ComposedPrompt:
    """Put ``person_words`` (trigger and class word) into the style and add the user's words behind it.

    When the user's words hold ``{person}`` themselves, the style follows them instead.
    """
    style = style or PLAIN
    own, own_negative = (words.strip(EDGES) for words in (own, own_negative))
    if PERSON in own:
        rest = re.sub(r"(\s*,)+", ",", MENTION.sub("", style.prompt)).strip(EDGES) if style is not PLAIN else ""
        positive = _joined(own.replace(PERSON, person_words), rest)
    else:
        positive = _joined(style.prompt.replace(PERSON, person_words), own)
    return ComposedPrompt(positive, _joined(style.negative, own_negative).replace(PERSON, person_words))


def _joined(*parts: str) -> str:
    return ", ".join(p for p in parts if p)
