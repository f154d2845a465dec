"""The style catalogue: looks as JSON files, ours and the user's own."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facechain_ext.blend import parse_blocks
from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.workspace import read_json

SCHEMA = 1
SHIPPED = Path(__file__).parent.parent / "data" / "styles"
PERSON = "{person}"
TEXTS = ("negative", "licence", "source", "note", "lora_prompt", "blocks")
ALLOWED = {"schema", "id", "name", "category", "prompt", "keywords", "lora", "lora_for", "weight", "guidance", "family", *TEXTS}
FAMILIES = ("sd1", "sd2", "sdxl")
LONGEST = {"name": 80, "category": 40, "prompt": 4000, "lora_prompt": 4000, "blocks": 400, "negative": 4000, "licence": 200, "source": 1000, "note": 1000}
"""Characters of each text."""


@dataclass(frozen=True, slots=True)
class Style:
    """One look. ``prompt`` holds ``{person}`` exactly once, where trigger and class word go."""

    id: str
    name: str
    category: str
    prompt: str
    negative: str = ""
    lora: str | None = None
    """File stem of a style LoRA; None is prompt-only."""
    lora_prompt: str = ""
    """Words in place of ``prompt`` where the LoRA acts, which then says how the picture looks; words for it cost likeness (benchmarks/blend)."""
    blocks: str = ""
    """Block weights of the LoRA (see docs/blending.md), where they were found to keep more of the person; empty is 1 everywhere."""
    weight: float = 0.5
    """The style LoRA's weight, 0..2."""
    guidance: float = 1.0
    """How many times guidance makes the LoRA act (see docs/blending.md), 1..4."""
    lora_for: str | None = None
    """The only checkpoint the LoRA fits; with any other the style is prompt-only. None: all of its family."""
    family: str | None = None
    licence: str = "Apache-2.0"
    source: str = "FaceChain for WebUI"
    keywords: tuple[str, ...] = ()
    """Words by which people find it; never part of a prompt."""
    note: str = ""
    """What is worth knowing about it: where weights come from, words about the person."""
    folder: Path | None = None
    """Where the style was read from; its LoRA lies there or in ``loras`` below."""
    elsewhere: Path | None = None
    """Its LoRA in the host's own folder, where it lies in neither."""

    @property
    def lora_file(self) -> Path | None:
        """The style LoRA's file, existing or not; None for a prompt-only style."""
        if self.lora is None or self.folder is None:
            return None
        name = f"{self.lora}.safetensors"
        shelved, beside = self.folder / "loras" / name, self.folder / name
        if self.elsewhere is not None and not shelved.exists() and not beside.exists():
            return self.elsewhere
        return shelved if shelved.exists() else beside

    @property
    def thumbnail(self) -> Path | None:
        """The style's own picture, None without one."""
        file = self.folder / "thumbnails" / f"{self.id}.webp" if self.folder else None
        return file if file is not None and file.is_file() else None

    @property
    def own(self) -> bool:
        """True for the user's styles, which can be changed and deleted."""
        return self.folder is not None and self.folder != SHIPPED

    def matches(self, wanted: str) -> bool:
        """True when every word of ``wanted`` begins a word of name, category, keywords, id or prompt."""
        text = " ".join((self.name, self.category, self.id, self.prompt, *self.keywords)).casefold()
        known = re.split(r"[^\w]+", text)
        return all(any(word.startswith(sought) for word in known) for sought in re.split(r"[^\w]+", wanted.casefold()) if sought)

    def acts_on(self, checkpoint: str) -> bool:
        """True when the style brings a LoRA for the checkpoint called ``checkpoint``."""
        return self.lora is not None and self.lora_for in (None, checkpoint)

    def on(self, checkpoint: str) -> Style:
        """The style with the words that count on the checkpoint called ``checkpoint``."""
        return replace(self, prompt=self.lora_prompt) if self.lora_prompt and self.acts_on(checkpoint) else self


def read_style(file: Path) -> Style:
    """Read one style.

    Raises:
        FileFormatError: naming the file and what is wrong with it.
    """
    data = read_json(file, SCHEMA)
    problems = style_problems(data)
    if problems:
        raise FileFormatError(f"The style file {file.name} cannot be used: {' '.join(problems)}")
    return style_of(data, file.parent)


def style_of(data: dict[str, Any], folder: Path | None) -> Style:
    """The style of data without problems, read from ``folder``."""
    values: dict[str, Any] = {k: tuple(v) if k == "keywords" else v for k, v in data.items() if k != "schema"}
    return Style(**values, folder=folder)


def plain(style: Style) -> dict[str, Any]:
    """``style`` as its file holds it: what ``read_style`` takes back."""
    values = {name: getattr(style, name) for name in Style.__dataclass_fields__ if name in ALLOWED}
    defaults = {name: field.default for name, field in Style.__dataclass_fields__.items()}
    kept = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v != defaults[k] or k in ("licence", "source")}
    return {"schema": SCHEMA, **kept}


def style_problems(data: dict[str, Any]) -> list[str]:
    """A sentence for each thing in ``data`` that a style cannot have."""
    problems = [f"'{key}' is not known." for key in data if key not in ALLOWED]
    for key in ("id", "name", "category", "prompt"):
        if not isinstance(data.get(key), str) or not data[key].strip():
            problems.append(f"'{key}' must be text.")
    problems += [f"'{key}' must be text." for key in TEXTS if not isinstance(data.get(key, ""), str)]
    problems += [
        f"'{key}' must have at most {most} characters." for key, most in LONGEST.items() if isinstance(data.get(key), str) and len(data[key]) > most
    ]
    keywords = data.get("keywords", [])
    if not isinstance(keywords, (list, tuple)) or len(keywords) > 20 or not all(isinstance(k, str) and 0 < len(k) <= 40 for k in keywords):
        problems.append("'keywords' must be a list of at most 20 short texts.")
    problems += [
        f"'{key}' must be text or null." for key in ("lora", "lora_for", "family") if not isinstance(data.get(key), (str, type(None)))
    ]
    name, prompt = data.get("id"), data.get("prompt")
    if isinstance(name, str) and name.strip() and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", name):
        problems.append("'id' must be lower-case letters, digits and '-'.")
    if isinstance(prompt, str) and prompt.strip() and prompt.count(PERSON) != 1:
        problems.append(f"'prompt' must hold {PERSON} exactly once.")
    try:
        parse_blocks(data["blocks"] if isinstance(data.get("blocks"), str) else "")
    except UserInputError as error:
        problems.append(f"'blocks': {error}")
    if isinstance(data.get("lora_prompt"), str) and data["lora_prompt"] and data["lora_prompt"].count(PERSON) != 1:
        problems.append(f"'lora_prompt' must hold {PERSON} exactly once.")
    if isinstance(data.get("family"), str) and data["family"] not in FAMILIES:
        problems.append(f"'family' must be one of {', '.join(FAMILIES)}, or null.")
    weight = data.get("weight", 0.5)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 2:
        problems.append("'weight' must be a number between 0 and 2.")
    guidance = data.get("guidance", 1.0)
    if isinstance(guidance, bool) or not isinstance(guidance, (int, float)) or not 1 <= guidance <= 4:
        problems.append("'guidance' must be a number between 1 and 4.")
    lora = data.get("lora")
    if isinstance(lora, str) and (not lora.strip(". ") or set(lora) & set("/\\:")):
        problems.append("'lora' must be a file name without folders.")
    return problems


@functools.cache
def _shipped() -> tuple[Style, ...]:
    return tuple(read_style(file) for file in sorted(SHIPPED.glob("*.json")))


def load_styles(own: Path | None = None, problems: list[str] | None = None, loras: Callable[[], Mapping[str, Path]] | None = None) -> list[Style]:
    """Shipped styles, then those in the folder ``own``; a style of the user's replaces a shipped one of the same id.

    A file that cannot be used is left out and its sentence added to ``problems``, when that is given. ``loras`` gives the host's LoRA files
    by their stem; it is asked only when a style's LoRA does not lie with the style.

    Raises:
        FileFormatError: for a file that cannot be used, without ``problems``.
    """
    styles = {style.id: style for style in _shipped()}
    known: Mapping[str, Path] | None = None
    for file in sorted(own.glob("*.json")) if own and own.is_dir() else []:
        if file.name.endswith(".score.json"):  # the bench's statistic, which lies beside a style's LoRA
            continue
        try:
            style = read_style(file)
        except FileFormatError as error:
            if problems is None:
                raise
            problems.append(str(error))
            continue
        if loras is not None and style.lora is not None and style.lora_file is not None and not style.lora_file.exists():
            known = loras() if known is None else known
            style = replace(style, elsewhere=known.get(style.lora))
        styles[style.id] = style
    return list(styles.values())


def find_style(styles: Sequence[Style], wanted: str) -> Style:
    """The style with id or name ``wanted``.

    Raises:
        UserInputError: naming a near one, and listing what there is.
    """
    named = {s.name.casefold(): s for s in styles} | {s.id: s for s in styles}
    sought = wanted.strip().casefold()
    if sought in named:
        return named[sought]
    near = difflib.get_close_matches(sought, named, n=1)
    hint = f": did you mean '{named[near[0]].id}'?" if near else "."
    raise UserInputError(f"There is no style '{wanted}'{hint} Known styles: {', '.join(s.id for s in styles)}.")
