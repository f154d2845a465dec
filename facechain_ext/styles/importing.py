"""Styles of other programs, read as what they are: FaceChain's JSON and folders, EasyPhoto's scene LoRAs. Nothing is ever downloaded."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from facechain_ext.errors import FileFormatError
from facechain_ext.styles.catalog import PERSON, SCHEMA, style_problems
from facechain_ext.styles.header import read_header, texts_in
from facechain_ext.styles.wording import gender_words, smuggled_words

MOST_BYTES = 256 * 1024
"""Of a style's text."""
MOST_FILES = 5000
"""Looked at in one folder."""
PROMPT_FILE, LORA_FILE, SCENE = "add_prompt_style.txt", "lora_weights.safetensors", "ep_lora_version"
LORA_TAG = re.compile(r"\s*<lora:[^<>]*>\s*,?\s*", re.IGNORECASE)
HEAD_WEIGHT, SCENE_WEIGHT = 0.8, 0.8
"""Defaults of FaceChain's newest style folders and of EasyPhoto's scenes."""


@dataclass(frozen=True, slots=True)
class Found:
    """A style to be stored: its file's content, and what goes along."""

    data: dict[str, Any]
    notes: tuple[str, ...] = ()
    """Sentences about what was changed or is missing."""
    lora: Path | None = None
    """A LoRA to copy with it, where it lies in none of the host's folders."""
    picture: Path | None = None


@dataclass
class Options:
    """How to read them."""

    keep_weights: bool = False
    """Parentheses as the WebUI's weights; False flattens them: FaceChain's own program read them as text."""
    loras: Mapping[str, Path] = field(default_factory=dict)
    """The host's LoRA files by their stem."""


def style_sources(path: Path) -> Iterator[Path]:
    """What in ``path`` could be a style: the file itself, or files and folders below, in order."""
    if path.is_file():
        yield path
        return
    for number, file in enumerate(sorted(path.rglob("*"))):
        if number >= MOST_FILES:
            return
        if any(part.startswith(".") for part in file.relative_to(path).parts) or not file.is_file():
            continue
        if file.name == PROMPT_FILE or file.suffix.lower() in (".json", ".safetensors", ".facechain-style"):
            yield file


def read_foreign(file: Path, options: Options) -> Found | None:
    """The style in ``file``; None when it is something else.

    Raises:
        FileFormatError: for a style that cannot be used, naming what is wrong.
    """
    if file.name == PROMPT_FILE:
        return _style_folder(file.parent, options)
    if file.suffix.lower() == ".json":
        return _json(file, options)
    if file.suffix.lower() == ".safetensors" and file.name != LORA_FILE:
        return _scene(file, options)
    return None


def slug(text: str) -> str:
    """An id made of ``text``."""
    clean = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-")
    return clean or f"style-{zlib.crc32(text.encode()):08x}"


def _json(file: Path, options: Options) -> Found | None:
    if file.stat().st_size > MOST_BYTES:
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        raise FileFormatError(f"{file.name} cannot be read as JSON.") from None
    if not isinstance(data, dict):
        raise FileFormatError(f"{file.name} holds no object, as a style's file does.")
    if data.get("schema") == SCHEMA and "prompt" in data:
        problems = style_problems(data)
        if problems:
            raise FileFormatError(f"The style file {file.name} cannot be used: {' '.join(problems)}")
        lora = file.parent / f"{data.get('lora')}.safetensors"
        return Found(data, lora=lora if data.get("lora") and lora.is_file() and lora.stem not in options.loras else None)
    if "add_prompt_style" not in data:
        return None
    return _facechain(file, data, options)


def _facechain(file: Path, data: dict[str, Any], options: Options) -> Found:
    words, name = data["add_prompt_style"], data.get("name") or file.stem
    if not isinstance(words, str) or not isinstance(name, str):
        raise FileFormatError(f"{file.name}: 'name' and 'add_prompt_style' must be text.")
    prompt, notes = cleaned(words, keep_weights=options.keep_weights)
    weight = _weight(file, data, "multiplier_style", 0.35)
    face = _weight(file, data, "multiplier_human", 0.95)
    parts = [data.get(key) for key in ("model_id", "revision", "bin_file")]
    origin = " ".join(str(p) for p in parts if p)
    style = _style(slug(file.stem), name, prompt, weight, f"FaceChain style{f'; LoRA {origin}' if origin else ''}")
    lora = _named_lora(file, parts[2], options, style, notes)
    if lora:
        style["family"] = "sdxl" if file.parent.name.lower().startswith("sdxl") else "sd1"
        notes.append(f"FaceChain used the weights {weight:g} for the style and {face:g} for the face: starting points only.")
    return Found(style | {"note": " ".join(notes)[:1000]}, tuple(notes), picture=_picture(file, data.get("img")))


def _named_lora(file: Path, named: Any, options: Options, style: dict[str, Any], notes: list[str]) -> bool:
    """Tie ``style`` to the LoRA called ``named`` where the host has it; True when it does."""
    if named in (None, ""):
        return False
    if not isinstance(named, str) or not _inside(named):
        raise FileFormatError(f"{file.name}: 'bin_file' must be the name of a file, not a path that leads elsewhere.")
    last = PurePosixPath(named.replace("\\", "/")).name
    stem = re.sub(r"\.(safetensors|bin|pt|ckpt)$", "", last)
    if stem not in options.loras:
        notes.append(f"Its LoRA {stem}.safetensors is not in your LoRA folder, so it works by words alone. Put it there and import the style again.")
        return False
    style["lora"] = stem
    return True


def _style_folder(folder: Path, options: Options) -> Found:
    """FaceChain's newest: a folder with the words and, beside them, the LoRA."""
    file = folder / PROMPT_FILE
    if file.stat().st_size > MOST_BYTES:
        raise FileFormatError(f"{folder.name}/{PROMPT_FILE} is too long for a style.")
    prompt, notes = cleaned(file.read_text(encoding="utf-8", errors="replace"), keep_weights=options.keep_weights)
    name = slug(folder.name)
    style, lora = _style(name, folder.name, prompt, HEAD_WEIGHT, "FaceChain style folder"), folder / LORA_FILE
    if not lora.is_file():
        return Found(style | {"note": " ".join(notes)[:1000]}, tuple(notes))
    # Every such LoRA has the same name, so it goes along under the style's.
    style |= {"lora": name, "family": read_header(lora).family}
    return Found(style | {"note": " ".join(notes)[:1000]}, tuple(notes), lora)


def _scene(file: Path, options: Options) -> Found | None:
    """An EasyPhoto scene: a LoRA whose header says so."""
    header = read_header(file)
    if not header.metadata.get(SCENE, "").startswith("scene"):
        return None
    family = header.family
    if family == "sd2":
        raise FileFormatError(f"{file.name} is a scene for Stable Diffusion 2, which EasyPhoto does not support either.")
    prompts = texts_in(header.metadata.get("ep_prompt", ""))
    prompt, notes = cleaned(prompts[0] if prompts else "", keep_weights=options.keep_weights)
    if len(prompts) > 1:
        notes.append(f"It has {len(prompts)} prompts; the first is taken.")
    style = _style(slug(file.stem), file.stem, prompt, SCENE_WEIGHT, "EasyPhoto scene LoRA")
    style |= {"lora": file.stem, "family": family or "sd1"}
    known = options.loras.get(file.stem)
    picture = next((p for p in (file.with_suffix(".jpg"), file.with_suffix(".png")) if p.is_file()), None)
    return Found(style | {"note": " ".join(notes)[:1000]}, tuple(notes), None if known else file, picture)


def cleaned(words: str, *, keep_weights: bool) -> tuple[str, list[str]]:
    """``words`` as a style's prompt with the person first, and sentences about what was changed or is worth knowing."""
    notes = []
    text = LORA_TAG.sub(" ", words)
    if text != words:
        notes.append("Tags for other LoRAs in its words were left out.")
    if not keep_weights and re.search(r"[()\[\]]", text):
        text = re.sub(r":\s*\d*\.?\d+\s*(?=[)\]])", "", text)
        text = re.sub(r"\\?[()\[\]]", "", text)
        notes.append("Brackets and weights in its words were flattened.")
    text = text.replace(PERSON, "").replace("{", "").replace("}", "")
    text = re.sub(r"\s*,(\s*,)+", ",", " ".join(text.split())).strip(" ,")
    people, looks = gender_words(text), smuggled_words(text)
    if people:
        notes.append(f"Its words name {', '.join(people)}: they contradict some people.")
    if looks:
        notes.append(f"Its words say {', '.join(looks)} about the person.")
    return f"photo of {PERSON}" + (f", {text}" if text else ""), notes


def _style(style_id: str, name: str, prompt: str, weight: float, source: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "id": style_id,
        "name": name.strip()[:80] or style_id,
        "category": "imported",
        "prompt": prompt,
        "weight": weight,
        "licence": "not stated",
        "source": source[:1000],
    }


def _weight(file: Path, data: Mapping[str, Any], key: str, default: float) -> float:
    value = data.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 2:
        raise FileFormatError(f"{file.name}: '{key}' must be a number between 0 and 2.")
    return float(value)


def _inside(name: str) -> bool:
    """True for a relative path that stays where it is."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name)
    return not (windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts or "\0" in name)


def _picture(file: Path, named: Any) -> Path | None:
    """The style's picture, relative to FaceChain's folder some levels above ``file``."""
    if named in (None, ""):
        return None
    if not isinstance(named, str) or not _inside(named):
        raise FileFormatError(f"{file.name}: 'img' must lie in FaceChain's own folder.")
    for folder in list(file.resolve().parents)[:4]:
        picture = (folder / named).resolve()
        if picture.is_file() and folder in picture.parents:
            return picture
    return None
