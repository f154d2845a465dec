"""Prompt composition: style, person and the user's own words; every word in a prompt comes from one of the three."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from facechain_ext.styles.catalog import PERSON, Style
from facechain_ext.styles.layout import Part, joined, laid_out
from facechain_ext.styles.tokens import CHUNK, chunks, count

PLAIN = Style("plain", "Plain portrait", "basic", "photo of {person}")
MENTION = re.compile(r"\s*(\b(of|with|by)\s+)?" + re.escape(PERSON))
"""The person's place, and the word that leads to it."""
SEPARATOR = re.compile(r"\s*(?:,\s*)?\bBREAK\b(?:\s*,)?\s*|\s*,\s*")
"""Between two clauses."""
EDGES = " ,\t\r\n"
"""What the user's words do not begin or end with."""


@dataclass(frozen=True, slots=True)
class ComposedPrompt:
    """The two prompts that go to the sampler, and where each word of them comes from."""

    positive: str
    negative: str
    parts: tuple[Part, ...] = ()
    """Of the positive prompt, in order."""
    negative_parts: tuple[Part, ...] = ()

    @property
    def chunks(self) -> tuple[int, ...]:
        """Tokens in each chunk of 75 of the positive prompt."""
        return chunks(self.positive)

    @property
    def negative_chunks(self) -> tuple[int, ...]:
        """Tokens in each chunk of 75 of the negative prompt."""
        return chunks(self.negative)


def compose(style: Style | None, person_words: str, own: str = "", own_negative: str = "") -> ComposedPrompt:
    """Put ``person_words`` (trigger and class word) into the style and add the user's words behind it.

    When the user's words hold ``{person}`` themselves, the style follows them instead. A style that names the person only beyond the first
    chunk follows the person. What does not fit into a chunk of 75 tokens goes on in the next one (see ``layout``).
    """
    style = style or PLAIN
    own, own_negative = (words.strip(EDGES) for words in (own, own_negative))
    look = [("style", style.prompt)]
    if PERSON in own or count(style.prompt.split(PERSON)[0] + person_words) > CHUNK:
        rest = re.sub(r"(\s*,)+", ",", MENTION.sub("", style.prompt)).strip(EDGES) if style is not PLAIN else ""
        look = [("style", rest)] if PERSON in own else [("person", PERSON), ("style", rest)]
    texts = [("own", own), *look] if PERSON in own else [*look, ("own", own)]
    parts = laid_out(_filled(texts, person_words))
    negative_parts = laid_out(_filled([("style", style.negative), ("own", own_negative)], person_words))
    return ComposedPrompt(_text(parts), _text(negative_parts), parts, negative_parts)


def own_words_in(style: Style | None, person_words: str, prompt: str, hint: str = "") -> str | None:
    """The user's words in ``prompt`` when ``compose`` made it of ``style`` and ``person_words``; None when it did not.

    What is found is composed again and must give the same prompt, so nothing is taken for ours by chance. ``hint`` is tried first.
    """
    whole = _plain(prompt)
    base = _plain(compose(style, person_words).positive)
    tried = [hint.strip(EDGES), ""]
    for match in SEPARATOR.finditer(prompt):
        before, behind = prompt[: match.start()], prompt[match.end() :]
        if _plain(before) == base:
            tried.append(behind.strip(EDGES))
        # Where the user names the person, the style follows.
        elif person_words and person_words in before:
            tried.append(before.replace(person_words, PERSON).strip(EDGES))
    if person_words and person_words in prompt:
        tried.append(prompt.replace(person_words, PERSON).strip(EDGES))
    # Naming the person where the style does so too is the plain case, found above.
    return next((own for own in tried if _plain(compose(style, person_words, own).positive) == whole), None)


def own_negative_in(style: Style | None, person_words: str, negative: str) -> str:
    """Likewise of the negative prompt; all of it when the style's is not in front."""
    base = _plain(compose(style, person_words).negative)
    if not base or _plain(negative) == base:
        return "" if base else negative
    return next((negative[m.end() :].strip(EDGES) for m in SEPARATOR.finditer(negative) if _plain(negative[: m.start()]) == base), negative)


def _plain(prompt: str) -> str:
    """Commas and BREAKs all alike, which the layout chooses anew."""
    return SEPARATOR.sub(", ", prompt).strip(EDGES)


def _filled(texts: Sequence[tuple[str, str]], person_words: str) -> tuple[Part, ...]:
    """The texts that are not empty, commas between them, each ``{person}`` replaced."""
    parts: list[Part] = []
    for source, text in texts:
        if not text:
            continue
        if parts:
            parts.append(Part(source, ", "))
        for i, piece in enumerate(text.split(PERSON)):
            parts += [Part("person", person_words)] if i else []
            parts += [Part(source, piece)] if piece else []
    return joined(parts)


def _text(parts: Sequence[Part]) -> str:
    return "".join(p.text for p in parts)
