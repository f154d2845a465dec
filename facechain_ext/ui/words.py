"""How numbers are said on the pages, and the small blocks of HTML all of them share."""

from __future__ import annotations

from html import escape


def duration(seconds: float) -> str:
    """``7 s``, ``2 min 5 s`` or ``1 h 3 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def counted(number: int, one: str, many: str = "") -> str:
    """``1 photo``, ``3 photos``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def likeness_words(likeness: float | None) -> str:
    """``likeness 0.62``, or that there is no face."""
    return "no face found" if likeness is None else f"likeness {likeness:.2f}"


def problem_box(sentence: str, title: str = "That did not work") -> str:
    """A box for an error."""
    return f'<div class="fc-box fc-bad" role="alert"><strong>{escape(title)}</strong><p>{escape(sentence)}</p></div>'


def note_box(sentence: str, title: str = "") -> str:
    """A calm box for news that is no error."""
    head = f"<strong>{escape(title)}</strong>" if title else ""
    return f'<div class="fc-box" role="status">{head}<p>{escape(sentence)}</p></div>'


def empty_state(title: str, sentence: str) -> str:
    """What a part of the page shows before there is anything to show."""
    return f'<div class="fc-empty"><strong>{escape(title)}</strong><p>{escape(sentence)}</p></div>'


def heading(number: str, title: str, sentence: str = "") -> str:
    """The head of a section; ``number`` is empty or the step's number."""
    badge = f'<span class="fc-number">{escape(number)}</span>' if number else ""
    below = f"<p>{escape(sentence)}</p>" if sentence else ""
    return f'<div class="fc-head">{badge}<div><h3>{escape(title)}</h3>{below}</div></div>'


def facts(pairs: list[tuple[str, str]]) -> str:
    """Names and values side by side."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="fc-facts">{cells}</dl>'
