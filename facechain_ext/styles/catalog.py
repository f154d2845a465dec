"""The style catalogue: looks as JSON files, ours and the user's own."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.workspace import read_json

SCHEMA = 1
SHIPPED = Path(__file__).parent.parent / "data" / "styles"
PERSON = "{person}"
ALLOWED = {"schema", "id", "name", "category", "prompt", "negative", "lora", "lora_for", "weight", "family", "licence", "source"}


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
    weight: float = 0.5
    """The style LoRA's weight, 0..2."""
    lora_for: str | None = None
    """The only checkpoint the LoRA fits; with any other the style is prompt-only. None: all of its family."""
    family: str | None = None
    licence: str = "Apache-2.0"
    source: str = "FaceChain for WebUI"
    folder: Path | None = None
    """Where the style was read from; its LoRA lies there or in ``loras`` below."""

    @property
    def lora_file(self) -> Path | None:
        """The style LoRA's file, existing or not; None for a prompt-only style."""
        if self.lora is None or self.folder is None:
            return None
        name = f"{self.lora}.safetensors"
        shelved = self.folder / "loras" / name
        return shelved if shelved.exists() else self.folder / name

    def acts_on(self, checkpoint: str) -> bool:
        """True when the style brings a LoRA for the checkpoint called ``checkpoint``."""
        return self.lora is not None and self.lora_for in (None, checkpoint)


def read_style(file: Path) -> Style:
    """Read one style.

    Raises:
        FileFormatError: naming the file and what is wrong with it.
    """
    data = read_json(file, SCHEMA)
    problems = _problems(data)
    if problems:
        raise FileFormatError(f"The style file {file.name} cannot be used: {' '.join(problems)}")
    return Style(**{k: v for k, v in data.items() if k != "schema"}, folder=file.parent)


def _problems(data: dict[str, Any]) -> list[str]:
    problems = [f"'{key}' is not known." for key in data if key not in ALLOWED]
    for key in ("id", "name", "category", "prompt"):
        if not isinstance(data.get(key), str) or not data[key].strip():
            problems.append(f"'{key}' must be text.")
    problems += [f"'{key}' must be text." for key in ("negative", "licence", "source") if not isinstance(data.get(key, ""), str)]
    problems += [
        f"'{key}' must be text or null." for key in ("lora", "lora_for", "family") if not isinstance(data.get(key), (str, type(None)))
    ]
    name, prompt = data.get("id"), data.get("prompt")
    if isinstance(name, str) and name.strip() and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,60}", name):
        problems.append("'id' must be lower-case letters, digits and '-'.")
    if isinstance(prompt, str) and prompt.strip() and prompt.count(PERSON) != 1:
        problems.append(f"'prompt' must hold {PERSON} exactly once.")
    weight = data.get("weight", 0.5)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 2:
        problems.append("'weight' must be a number between 0 and 2.")
    lora = data.get("lora")
    if isinstance(lora, str) and (not lora.strip(". ") or set(lora) & set("/\\:")):
        problems.append("'lora' must be a file name without folders.")
    return problems


def load_styles(own: Path | None = None, problems: list[str] | None = None) -> list[Style]:
    """Shipped styles, then those in the folder ``own``; a style of the user's replaces a shipped one of the same id.

    A file that cannot be used is left out and its sentence added to ``problems``, when that is given.

    Raises:
        FileFormatError: for a file that cannot be used, without ``problems``.
    """
    styles: dict[str, Style] = {}
    for folder in (SHIPPED, own):
        for file in sorted(folder.glob("*.json")) if folder and folder.is_dir() else []:
            if file.name.endswith(".score.json"):  # the bench's statistic, which lies beside a style's LoRA
                continue
            try:
                style = read_style(file)
            except FileFormatError as error:
                if problems is None:
                    raise
                problems.append(str(error))
                continue
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
