"""Use case: the prompts of a request for portraits, told before anything is generated."""

from __future__ import annotations

from dataclasses import dataclass

from facechain_ext.services.requests import PortraitRequest
from facechain_ext.styles.catalog import PERSON, Style
from facechain_ext.styles.prompts import ComposedPrompt, compose
from facechain_ext.styles.tokens import chunks
from facechain_ext.styles.wording import contradictions, smuggled_words


@dataclass(frozen=True, slots=True)
class ToldPrompt:
    """What the sampler will get, and where it comes from."""

    composed: ComposedPrompt
    """From style, person and own words."""
    used: str
    """The positive prompt: the composed one, or what the user made of it."""
    used_negative: str
    notes: tuple[str, ...] = ()
    """Sentences about words that contradict the person, and about a person who is not named."""

    @property
    def chunks(self) -> tuple[int, ...]:
        """Tokens in each chunk of 75 of the positive prompt."""
        return chunks(self.used)

    @property
    def negative_chunks(self) -> tuple[int, ...]:
        """Tokens in each chunk of 75 of the negative prompt."""
        return chunks(self.used_negative)


def told(style: Style | None, person_words: str, request: PortraitRequest) -> ToldPrompt:
    """The prompts of ``request`` in ``style`` for the person called ``person_words``."""
    composed = compose(style, person_words, request.prompt, request.negative)
    used = composed.positive if request.exact_prompt is None else request.exact_prompt.replace(PERSON, person_words)
    negative = composed.negative if request.exact_negative is None else request.exact_negative.replace(PERSON, person_words)
    return ToldPrompt(composed, used, negative, tuple(_notes(style, person_words, used)))


def _notes(style: Style | None, person_words: str, used: str) -> list[str]:
    notes = []
    if person_words not in used:
        notes.append(f"The prompt does not name the person: '{person_words}' is missing, so the face LoRA acts weakly.")
    against = contradictions(used.replace(person_words, ""), person_words)
    if against:
        notes.append(f"{_quoted(against)} in the prompt contradicts '{person_words}'.")
    about = smuggled_words(style.prompt) if style else ()
    if about:
        notes.append(f"The style says {_quoted(about)} about the person. Edit the prompt if that is not wanted.")
    return notes


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
