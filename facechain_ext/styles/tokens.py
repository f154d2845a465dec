"""How many tokens CLIP makes of a prompt, counted without a model; SD1, SD2 and SDXL share this vocabulary."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path

CHUNK = 75
"""Tokens the text encoder sees at once, beside its start and end."""
BREAK = re.compile(r"\s*\bBREAK\b\s*")
"""The WebUI's word for "go on in the next chunk" (modules/prompt_parser.py, ``re_break``)."""
MERGES = Path(__file__).parent.parent / "data" / "sd15" / "tokenizer" / "merges.txt"
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
"""CLIP's own split (openai/CLIP, simple_tokenizer.py), with ``re``'s letters and digits."""
TAG = re.compile(r"<[^<>]*>")
WEIGHT = re.compile(r":\s*[+-]?[.\d]+\s*(?=[)\]])")
BRACKET = re.compile(r"\\([()\[\]\\])|[()\[\]]")


def spoken(prompt: str) -> str:
    """``prompt`` as the encoder gets it: without the WebUI's ``<lora:…>`` tags, brackets and weights."""
    return BRACKET.sub(lambda m: m[1] or "", WEIGHT.sub("", TAG.sub("", prompt)))


def count(prompt: str) -> int:
    """Tokens of ``prompt``, start and end not counted."""
    return sum(_length(word) for word in WORD.findall(spoken(prompt).lower()))


def chunks(prompt: str) -> tuple[int, ...]:
    """Tokens in each chunk of ``prompt``: a new one at every BREAK, and whenever one is full."""
    filled: list[int] = []
    for part in BREAK.split(prompt):
        whole, rest = divmod(count(part), CHUNK)
        filled += [CHUNK] * whole + ([rest] if rest or not whole else [])
    return tuple(filled)


@functools.lru_cache(maxsize=20_000)
def _length(word: str) -> int:
    """Byte-pair encoding of one word."""
    letters = _letters()
    parts = [letters[byte] for byte in word.encode()]
    parts[-1] += "</w>"
    ranks = _ranks()
    while len(parts) > 1:
        pairs = [(ranks[pair], i) for i, pair in enumerate(itertools.pairwise(parts)) if pair in ranks]
        if not pairs:
            break
        first, second = (parts[min(pairs)[1] + i] for i in (0, 1))
        merged, i = [], 0
        while i < len(parts):
            if parts[i : i + 2] == [first, second]:
                merged.append(first + second)
                i += 2
            else:
                merged.append(parts[i])
                i += 1
        parts = merged
    return len(parts)


@functools.cache
def _ranks() -> dict[tuple[str, str], int]:
    lines = MERGES.read_text(encoding="utf-8").splitlines()[1:]
    return {(first, second): rank for rank, line in enumerate(lines) if line for first, second in [line.split()]}


@functools.cache
def _letters() -> dict[int, str]:
    """Each byte as a printable letter, as GPT-2 and CLIP write them in their merges."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in set(plain)]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
