"""A style as one file to share: a zip with ``style.json``, its picture and, where wanted, its LoRA. Nothing else is read from one."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from facechain_ext.errors import FileFormatError
from facechain_ext.styles.catalog import style_problems
from facechain_ext.styles.header import read_header

SUFFIX = ".facechain-style"
MANIFEST, PICTURE, LORA = "style.json", "thumbnail.webp", "lora.safetensors"
MOST = {MANIFEST: 64 * 1024, PICTURE: 256 * 1024, LORA: 2 << 30}
"""Bytes of each member, unpacked."""
MOST_RATIO = 200
"""Unpacked to packed; what has more is a bomb, not a style."""
PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Pack:
    """What an unpacked style file holds."""

    data: dict[str, Any]
    """Of the style, without problems."""
    picture: bytes | None
    lora: Path | None
    """In the folder it was unpacked to."""


def write_pack(target: Path, data: dict[str, Any], picture: bytes | None, lora: Path | None) -> None:
    """Write a style file. LoRAs are stored as they are: random numbers do not get smaller."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, json.dumps(data, ensure_ascii=False, indent=1))
        if picture:
            archive.writestr(PICTURE, picture, zipfile.ZIP_STORED)
        if lora:
            archive.write(lora, LORA, zipfile.ZIP_STORED)


def read_pack(file: Path, folder: Path) -> Pack:
    """Unpack ``file`` into the empty ``folder``.

    Raises:
        FileFormatError: for anything but the three members, too large ones, bombs, pickles, and styles with problems.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            _check(file, archive.infolist())
            names = set(archive.namelist())
            with archive.open(MANIFEST) as source:
                text = _limited(file, source, MANIFEST)
            picture = None
            if PICTURE in names:
                with archive.open(PICTURE) as source:
                    picture = _limited(file, source, PICTURE)
            lora = folder / LORA if LORA in names else None
            if lora is not None:
                with archive.open(LORA) as source, lora.open("wb") as target:
                    _copy(file, source, target)
        data = json.loads(text)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, RecursionError) as error:
        raise FileFormatError(f"{file.name} is not a style file, or it is damaged.") from error
    problems = style_problems(data) if isinstance(data, dict) and data.get("schema") == 1 else ["it holds no style."]
    if lora is not None:
        if not data.get("lora"):
            problems.append("it holds a LoRA that its style does not name.")
        elif not read_header(lora).is_lora:
            problems.append("what it calls a LoRA is none.")
    if problems:
        raise FileFormatError(f"The style in {file.name} cannot be used: {' '.join(problems)}")
    return Pack(data, picture, lora)


def _check(file: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [m.filename for m in members]
    if MANIFEST not in names or len(names) != len(set(names)) or not set(names) <= set(MOST):
        raise FileFormatError(f"{file.name} is not a style file: it must hold {MANIFEST}, and beside it at most {PICTURE} and {LORA}.")
    for member in members:
        if member.flag_bits & 1:
            raise FileFormatError(f"{file.name} is locked with a password.")
        if member.file_size > MOST[member.filename] or member.file_size > MOST_RATIO * member.compress_size + PIECE:
            raise FileFormatError(f"{file.name} unpacks to far more than a style has.")


def _limited(file: Path, source: IO[bytes], name: str) -> bytes:
    data = source.read(MOST[name] + 1)
    if len(data) > MOST[name]:
        raise FileFormatError(f"{file.name} unpacks to far more than a style has.")
    return data


def _copy(file: Path, source: IO[bytes], target: IO[bytes]) -> None:
    left = MOST[LORA]
    while piece := source.read(PIECE):
        left -= len(piece)
        if left < 0:
            raise FileFormatError(f"{file.name} unpacks to far more than a style has.")
        target.write(piece)
