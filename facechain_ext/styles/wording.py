"""Words of styles that say something about the person: told, never added or taken away by us."""

from __future__ import annotations

import re

FEMALE = frozenset(["woman", "women", "girl", "girls", "lady", "ladies", "female", "she", "her", "hers", "actress", "bride", "queen", "princess", "goddess", "heroine", "waitress", "mother", "1girl"])
MALE = frozenset(["man", "men", "boy", "boys", "gentleman", "gentlemen", "male", "he", "him", "his", "actor", "groom", "king", "prince", "god", "hero", "waiter", "father", "1boy"])
FEMALE_SUBJECTS, MALE_SUBJECTS = frozenset({"woman", "girl", "lady", "female"}), frozenset({"man", "boy", "gentleman", "male"})
BEAUTY = frozenset(
    ["beautiful", "beauty", "pretty", "handsome", "gorgeous", "attractive", "cute", "sexy", "hot", "perfect", "flawless", "stunning", "slim", "skinny", "busty", "cleavage", "makeup", "masterpiece", "ugly", "fat", "youthful"]
)
NUDITY = frozenset(["nude", "naked", "nudity", "topless", "nsfw", "lingerie", "underwear", "bikini", "shirtless", "erotic", "seductive", "bare"])
ETHNICITY = frozenset(
    ["asian", "chinese", "japanese", "korean", "indian", "african", "european", "caucasian", "white-skinned", "black-skinned", "latina", "latino", "arab", "arabian", "western", "slavic", "nordic", "hispanic", "thai", "vietnamese", "ethnic", "exotic", "oriental", "tribal", "native", "pale", "tanned", "fair-skinned", "dark-skinned", "skin"]
)
"""Of people. A garment is called by its own name (hanbok, kilt), not by its people's."""
PEOPLE = FEMALE | MALE
SMUGGLED = BEAUTY | NUDITY | ETHNICITY
WORD = re.compile(r"[a-z0-9][a-z0-9-]*", re.IGNORECASE)


def gender_words(text: str) -> tuple[str, ...]:
    """The words of ``text`` that say woman or man, in order, each once."""
    return _found(text, PEOPLE)


def smuggled_words(text: str) -> tuple[str, ...]:
    """The words of ``text`` about looks, nudity or ethnicity of a person, in order, each once."""
    return _found(text, SMUGGLED)


def contradictions(text: str, subject: str) -> tuple[str, ...]:
    """The words of ``text`` that contradict the person's class word(s) ``subject``; none for a neutral one."""
    said = {word.lower() for word in WORD.findall(subject)}
    against = MALE if said & FEMALE_SUBJECTS else FEMALE if said & MALE_SUBJECTS else frozenset[str]()
    return _found(text, against)


def _found(text: str, words: frozenset[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.lower() for word in WORD.findall(text) if word.lower() in words))
