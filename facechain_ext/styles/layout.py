"""Prompts in chunks of 75 tokens: where the next chunk begins, so that nothing that belongs together is cut in two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from facechain_ext.styles.tokens import BREAK, CHUNK, chunks, count

NEXT = " BREAK "
COMMA = re.compile(r"\s*,\s*")


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a prompt and whose it is; all pieces one after another are the prompt."""

    source: str
    """``style``, ``person`` or ``own``."""
    text: str


@dataclass(frozen=True, slots=True)
class _Clause:
    """What stands between two commas."""

    start: int
    end: int
    new_chunk: bool = False
    """The user wrote BREAK before it."""


def laid_out(parts: Sequence[Part]) -> tuple[Part, ...]:
    """``parts`` with BREAK in place of a comma (or space) wherever the next clause no longer fits into its chunk.

    The user's own words go on in a chunk of their own when they fit into one and not behind the style. The person's words are never cut, and
    nothing inside brackets is, where the WebUI would take BREAK for a word.
    """
    text = "".join(p.text for p in parts)
    if len(chunks(text)) == 1:
        return tuple(parts)
    whole = _spans(parts, "person")
    clauses = [piece for clause in _clauses(text) for piece in _pieces(text, clause, whole)]
    own = _own_start(parts, text)
    made: list[Part] = []
    first = 0
    for i, clause in enumerate(clauses):
        if i and (clause.new_chunk or _full(text, clauses, first, i, own)):
            made.append(Part(_source_at(parts, clause.start), NEXT))
            first = i
        elif i:
            made += _cut(parts, clauses[i - 1].end, clause.start)
        made += _cut(parts, clause.start, clause.end)
    return joined(made)


def _full(text: str, clauses: Sequence[_Clause], first: int, i: int, own: int | None) -> bool:
    """True when clause ``i`` begins a new chunk, clauses ``first`` to ``i`` - 1 being in this one."""
    begin = clauses[first].start
    if count(text[begin : clauses[i].end]) > CHUNK:
        return True
    if clauses[i].start != own:
        return False
    last = next((k for k in range(i + 1, len(clauses)) if clauses[k].new_chunk), len(clauses)) - 1
    return count(text[begin : clauses[last].end]) > CHUNK >= count(text[own : clauses[last].end])


def _clauses(text: str) -> Iterator[_Clause]:
    start, new_chunk = 0, False
    for match in re.finditer(rf"(?P<break>{BREAK.pattern})|{COMMA.pattern}", text):
        if _depth(text[: match.start()]) or match.start() < start:
            continue
        if match.start() > start:
            yield _Clause(start, match.start(), new_chunk)
            new_chunk = False
        start, new_chunk = match.end(), new_chunk or match["break"] is not None
    if start < len(text):
        yield _Clause(start, len(text), new_chunk)


def _pieces(text: str, clause: _Clause, whole: Sequence[tuple[int, int]]) -> Iterator[_Clause]:
    """``clause`` itself, or when it fills more than a chunk alone, pieces of it cut at spaces."""
    start, fits, new_chunk = clause.start, clause.start, clause.new_chunk
    if count(text[clause.start : clause.end]) > CHUNK:
        for match in re.finditer(r"\s+", text[clause.start : clause.end]):
            at = clause.start + match.start()
            if at <= start or any(a < at < b for a, b in whole) or _depth(text[:at]):
                continue
            if count(text[start:at]) > CHUNK and fits > start:
                yield _Clause(start, fits, new_chunk)
                start, new_chunk = _after_space(text, fits), True
            fits = at
        if count(text[start : clause.end]) > CHUNK and fits > start:
            yield _Clause(start, fits, new_chunk)
            start, new_chunk = _after_space(text, fits), True
    yield _Clause(start, clause.end, new_chunk)


def _after_space(text: str, at: int) -> int:
    return at + len(text[at:]) - len(text[at:].lstrip())


def _depth(text: str) -> int:
    """Brackets open at the end of ``text``."""
    opened = re.sub(r"\\.", "", text)
    return max(0, sum(opened.count(c) for c in "([<{") - sum(opened.count(c) for c in ")]>}"))


def _spans(parts: Sequence[Part], source: str) -> list[tuple[int, int]]:
    found, at = [], 0
    for part in parts:
        if part.source == source:
            found.append((at, at + len(part.text)))
        at += len(part.text)
    return found


def _own_start(parts: Sequence[Part], text: str) -> int | None:
    """Where the user's words begin behind the style, None when they stand before it."""
    spans = _spans(parts, "own")
    if not spans or spans[0][0] == 0:
        return None
    at = spans[0][0]
    match = COMMA.match(text, at)
    return match.end() if match else at


def _cut(parts: Sequence[Part], start: int, end: int) -> list[Part]:
    found, at = [], 0
    for part in parts:
        piece = part.text[max(0, start - at) : max(0, end - at)]
        if piece:
            found.append(Part(part.source, piece))
        at += len(part.text)
    return found


def _source_at(parts: Sequence[Part], at: int) -> str:
    return next((p.source for p in _cut(parts, at, at + 1)), parts[-1].source)


def joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Neighbours of one source as one part."""
    made: list[Part] = []
    for part in parts:
        if made and made[-1].source == part.source:
            made[-1] = Part(part.source, made[-1].text + part.text)
        else:
            made.append(part)
    return tuple(made)
