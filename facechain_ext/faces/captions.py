"""What the captions of the training photos say.

The rule: trigger and class word first; what most photos share is left out, so that it goes into the trigger; what differs from photo to photo is said,
so that it does not. Words about who somebody is (face, hair, age, sex, looks) are never said: the photos show it.
"""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Sequence

SHARED = 0.6
"""What this share of the photos has in common belongs to the person, or cannot be told from her."""
FEW = 3
"""With fewer photos nothing can be called common."""
MOST_TAGS = 12
MOST_WORDS = 45
"""With trigger and commas well within the 75 tokens of one chunk."""
IDENTITY = re.compile(
    r"""\b(
        1?(girl|boy|woman|man|lady|guy|male|female|child|kid|baby|teen\w*|adult|person|people|human|solo|couple) s?
        | \d+(girls|boys) | (multiple|two|three)\ (girls|boys|people|women|men)
        | (\w+[\ -])?(hair|haired|bangs|ponytail|braids?|beard|mustache|moustache|stubble|eyebrows?|eyelashes|freckles|moles?|dimples|wrinkles)
        | (\w+[\ -])?(eyes?|eyed|nose|lips?|mouth|teeth|face|facial|cheeks?|chin|jaw\w*|forehead|ears?|skin|skinned|complexion|body|breasts?|chest)
        | bald | blonde? | brunette | redhead | young | old | elderly | middle[\ -]aged | mature | age | aged
        | beautiful | handsome | pretty | cute | sexy | attractive | gorgeous | ugly | hot | nude | naked | nsfw
        | (asian|caucasian|african|european|american|indian|chinese|japanese|korean|latin\w*|arab\w*|black|white)\ (girl|boy|woman|man|person|people|male|female)
        | ethnic\w* | race | realistic | photorealistic | photo\ \(medium\) | celebrity | actor | actress | model | president | politician
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)
"""Tags that tell who somebody is, in the vocabularies of DeepDanbooru and CLIP interrogators."""
SAID_BY_FACTS = re.compile(r"\b(looking at (the )?(viewer|camera)|portrait|photo|photograph|picture|image|close[- ]?up|upper body|head shot|headshot|blurry|jpeg artifacts)\b", re.I)
"""What the measured tags say more reliably, or what no caption should teach."""


class Captioning(str, enum.Enum):
    """How captions are made."""

    PLAIN = "plain"
    """Trigger and class word only."""
    DESCRIBED = "described"
    """What can be measured."""
    HOST = "host"
    """That, and the tags of the host's own captioner."""


def caption(trigger: str, subject: str, tags: Sequence[str] = ()) -> str:
    """The caption of a person's photo: trigger and class word carry the identity, ``tags`` what else is to be said."""
    return ", ".join([f"photo of {trigger.strip()} {subject.strip()}".strip(), *tags])


def captions(trigger: str, subject: str, tags_of_each: Sequence[Sequence[str]]) -> list[str]:
    """A caption for each photo from its tags, by the rule above; a captioner's own tags come through ``from_captioner``."""
    common = shared(tags_of_each)
    return [caption(trigger, subject, _short([t for t in dict.fromkeys(tags) if t not in common])) for tags in tags_of_each]


def shared(tags_of_each: Sequence[Sequence[str]]) -> set[str]:
    """Tags that ``SHARED`` of the photos have, none with fewer than ``FEW`` photos."""
    if len(tags_of_each) < FEW:
        return set()
    counts = Counter(tag for tags in tags_of_each for tag in set(tags))
    return {tag for tag, count in counts.items() if count >= SHARED * len(tags_of_each)}


def clean(tag: str) -> str:
    """``tag`` in plain words without prompt syntax; empty when it is about identity or says nothing."""
    plain = re.sub(r"<[^>]*>|:[\d.]+(?=\)|$)", " ", tag.replace("_", " "))
    plain = re.sub(r"[^\w' -]+", " ", plain, flags=re.UNICODE)
    plain = " ".join(plain.split()).casefold()
    return "" if len(plain) < 2 or IDENTITY.search(plain) else plain


def from_captioner(tags: Sequence[str]) -> list[str]:
    """A captioner's ``tags`` in plain words, without those about identity and those that the measured ones say better."""
    return [plain for tag in tags if (plain := clean(tag)) and not SAID_BY_FACTS.search(plain)]


def _short(tags: Sequence[str]) -> list[str]:
    kept: list[str] = []
    words = 0
    for tag in tags[:MOST_TAGS]:
        words += len(tag.split()) + 1
        if words > MOST_WORDS:
            break
        kept.append(tag)
    return kept
