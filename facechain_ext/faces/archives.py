"""Zip files of photos, unpacked without trusting anything they say about themselves."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from facechain_ext.errors import FileFormatError
from facechain_ext.faces.reading import MAX_BYTES, SUFFIXES
from facechain_ext.workspace import safe_file_name

MAX_ENTRIES = 2000
"""Entries looked at."""
MAX_TOTAL = 2_000_000_000
"""Bytes unpacked from one archive."""
PIECE = 1 << 20
PHOTO = re.compile("|".join(re.escape(s) + "$" for s in SUFFIXES), re.IGNORECASE)


def is_zip(file: Path) -> bool:
    """Whether ``file`` is a zip file by its content."""
    try:
        return file.is_file() and zipfile.is_zipfile(file)
    except OSError:
        return False


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Write the photos in the zip file ``archive`` into ``folder``, in the archive's order, each into a folder of its own under its bare name.

    Folders inside are looked into; what is hidden, no photo by its name, or a zip file itself is left out. No name in the archive can
    lead out of ``folder``.

    Raises:
        FileFormatError: when it is damaged, encrypted, holds no photos, or unpacks to more than is reasonable; ``folder`` may hold some then.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [e for e in opened.infolist() if _wanted(e)]
            if not entries:
                raise FileFormatError(f"'{archive.name}' holds no photos. Zip photo files (JPEG, PNG, WebP, HEIC, TIFF or BMP).")
            if len(entries) > MAX_ENTRIES:
                raise FileFormatError(f"'{archive.name}' holds {len(entries)} photos, more than {MAX_ENTRIES}. Choose the best 10 to 50.")
            if any(e.flag_bits & 0x1 for e in entries):
                raise FileFormatError(f"'{archive.name}' is locked with a password. Unpack it and add the photos themselves.")
            return _unpacked(opened, entries, archive.name, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError) as error:
        raise FileFormatError(f"'{archive.name}' is damaged and cannot be unpacked. Zip the photos again, or add them one by one.") from error


def _wanted(entry: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
    hidden = any((part.startswith(".") and part not in (".", "..")) or part == "__MACOSX" for part in parts)
    # A name of nothing, which zipfile itself stumbles over, is no photo's.
    return not hidden and bool(PHOTO.search(entry.filename)) and not entry.is_dir()


def _unpacked(opened: zipfile.ZipFile, entries: list[zipfile.ZipInfo], name: str, folder: Path) -> list[Path]:
    files, total = [], 0
    for number, entry in enumerate(entries, start=1):
        target = folder / f"{number:04d}" / safe_file_name(entry.filename, number)
        target.parent.mkdir(parents=True)
        size = 0
        with opened.open(entry) as source, target.open("wb") as written:
            # The sizes in its table are only what the archive claims.
            while piece := source.read(PIECE):
                size, total = size + len(piece), total + len(piece)
                if size > MAX_BYTES or total > MAX_TOTAL:
                    raise FileFormatError(f"'{name}' unpacks to more than photos can take. Add the photos themselves.")
                written.write(piece)
        files.append(target)
    return files
