"""The dataset folder: crops, masks and captions as kohya's tools read them, and a manifest.

001.png, 002.png …        crops, RGB, no metadata
001.txt …                 captions; the user may edit them
masks/001.png …           soft masks of the face under the crops' names (kohya's masked loss: conditioning_data_dir)
heads/001.png …           of the head with its hair
figures/001.png …         of the whole person
manifest.json             everything else; sources only by their hash, no names of files
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facechain_ext.errors import FileFormatError
from facechain_ext.faces.types import SCHEMA, Dataset, Embedding, PhotoVerdict, PreparedPhoto
from facechain_ext.workspace import read_json, replaced_folder, write_json

MANIFEST = "manifest.json"
MASKS, HEADS, FIGURES = "masks", "heads", "figures"
MAX_PHOTOS = 1000
MAX_CAPTION = 4000
NAME = re.compile(r"[0-9]{3,4}")
SHA256 = re.compile(r"[0-9a-f]{64}")
AGAIN = "Prepare the photos again."


def write_dataset(folder: Path, dataset: Dataset, verdicts: Sequence[PhotoVerdict] = ()) -> None:
    """Write ``dataset`` as ``folder``, in place of what was there; on an error the old folder stays as it was.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    with replaced_folder(folder, "the dataset") as fresh:
        for number, photo in enumerate(dataset.photos, start=1):
            name = f"{number:03d}"
            _save_png(fresh / f"{name}.png", photo.image)
            for part, mask in ((MASKS, photo.mask), (HEADS, photo.head), (FIGURES, photo.figure)):
                if mask is not None:
                    (fresh / part).mkdir(exist_ok=True)
                    _save_png(fresh / part / f"{name}.png", mask)
            (fresh / f"{name}.txt").write_text(photo.caption + "\n", encoding="utf-8")
        write_json(fresh / MANIFEST, _manifest(dataset, verdicts), "the dataset")


def read_dataset(folder: Path) -> Dataset:
    """Read what ``write_dataset`` wrote; captions as they are in the .txt files now.

    Raises:
        FileFormatError: when something is missing, damaged or of a newer schema.
    """
    if not (folder / MANIFEST).is_file():
        raise FileFormatError(f"There is no prepared dataset here ({MANIFEST} is missing). Prepare photos first.")
    manifest = read_json(folder / MANIFEST, SCHEMA)
    resolution = _number(manifest, "resolution", 8, 4096)
    entries = manifest.get("photos")
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_PHOTOS:
        raise _damaged("photos")
    mean = _embedding(manifest.get("mean_embedding"), None)
    photos = tuple(_read_photo(folder, entry, resolution, len(mean)) for entry in entries)
    if len({entry["name"] for entry in entries}) != len(entries):
        raise _damaged("photos")
    texts = {key: _text(manifest, key) for key in ("person", "trigger", "subject", "pack")}
    return Dataset(
        person=texts["person"],
        trigger=texts["trigger"],
        subject=texts["subject"],
        resolution=resolution,
        photos=photos,
        pack=texts["pack"],
        pack_sha256=_hash(manifest, "pack_sha256"),
        mean_embedding=mean,
        schema=manifest["schema"],
    )


def _manifest(dataset: Dataset, verdicts: Sequence[PhotoVerdict]) -> dict[str, Any]:
    photos = [
        {
            "name": f"{number:03d}",
            "masks": [part for part, mask in ((HEADS, photo.head), (FIGURES, photo.figure)) if mask is not None],
            "size": [photo.image.shape[1], photo.image.shape[0]],
            "source_sha256": photo.source_sha256,
            "quality": round(photo.quality, 4),
            "embedding": [float(v) for v in photo.embedding],
        }
        for number, photo in enumerate(dataset.photos, start=1)
    ]
    judged = [
        {
            "accepted": v.accepted,
            "reasons": [r.value for r in v.reasons],
            "quality": round(v.quality, 4),
            "similarity": None if v.similarity is None else round(v.similarity, 4),
        }
        for v in verdicts
    ]
    return {
        "schema": SCHEMA,
        "person": dataset.person,
        "trigger": dataset.trigger,
        "subject": dataset.subject,
        "resolution": dataset.resolution,
        "pack": dataset.pack,
        "pack_sha256": dataset.pack_sha256,
        "mean_embedding": [float(v) for v in dataset.mean_embedding],
        "photos": photos,
        "verdicts": judged,
    }


def _save_png(target: Path, pixels: np.ndarray) -> None:
    import PIL.Image

    PIL.Image.fromarray(pixels).save(target, format="PNG", compress_level=4)


def _read_photo(folder: Path, entry: Any, resolution: int, dimension: int) -> PreparedPhoto:
    name = entry.get("name") if isinstance(entry, dict) else None
    # The name becomes a path: digits only, so that no manifest can point out of the folder.
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise _damaged("name")
    quality = entry.get("quality")
    if isinstance(quality, bool) or not isinstance(quality, (int, float)) or not 0 <= quality <= 1:
        raise _damaged("quality")
    size = _size(entry.get("size", [resolution, resolution]))
    more = entry.get("masks", [])
    if not isinstance(more, list) or not set(map(str, more)) <= {HEADS, FIGURES}:
        raise _damaged("masks")
    head, figure = (_pixels(folder / part / f"{name}.png", "L", size) if part in more else None for part in (HEADS, FIGURES))
    return PreparedPhoto(
        image=_pixels(folder / f"{name}.png", "RGB", size),
        mask=_pixels(folder / MASKS / f"{name}.png", "L", size),
        head=head,
        figure=figure,
        caption=_caption(folder / f"{name}.txt"),
        source_sha256=_hash(entry, "source_sha256"),
        embedding=_embedding(entry.get("embedding"), dimension),
        quality=float(quality),
    )


def _caption(file: Path) -> str:
    try:
        text = _plain_file(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileFormatError(f"The caption {file.name} is not UTF-8 text. Save it as UTF-8.") from error
    if len(text) > MAX_CAPTION:
        raise FileFormatError(f"The caption {file.name} has more than {MAX_CAPTION} characters. Shorten it.")
    return " ".join(text.split())


def _plain_file(file: Path) -> bytes:
    """The bytes of ``file``, which must be a file of its own: a link could bring in anything."""
    if file.is_symlink() or not file.is_file():
        raise FileFormatError(f"{file.name} of the dataset is missing. {AGAIN}")
    try:
        return file.read_bytes()
    except OSError as error:
        raise FileFormatError(f"{file.name} of the dataset cannot be read. {AGAIN}") from error


def _size(value: Any) -> tuple[int, int]:
    whole = isinstance(value, list) and len(value) == 2 and all(isinstance(v, int) and not isinstance(v, bool) for v in value)
    if not whole or not all(8 <= v <= 4096 for v in value):
        raise _damaged("size")
    return value[0], value[1]


def _pixels(file: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    import PIL.Image

    data = _plain_file(file)
    try:
        with PIL.Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.size != size or picture.mode != mode:
                raise FileFormatError(f"{file.name} of the dataset is not a {mode} picture of {size[0]} x {size[1]} px. {AGAIN}")
            return np.array(picture, np.uint8)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        raise FileFormatError(f"{file.name} of the dataset is damaged. {AGAIN}") from error


def _embedding(values: Any, dimension: int | None) -> Embedding:
    numbers = isinstance(values, list) and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if not numbers or not 8 <= len(values) <= 4096 or dimension not in (None, len(values)):
        raise _damaged("embedding")
    vector = np.asarray(values, np.float64)
    if not np.isfinite(vector).all() or abs(float(np.linalg.norm(vector)) - 1) > 1e-3:
        raise _damaged("embedding")
    return vector.astype(np.float32)


def _text(manifest: dict[str, Any], key: str) -> str:
    value = manifest.get(key)
    if not isinstance(value, str) or len(value) > 200:
        raise _damaged(key)
    return value


def _hash(values: dict[str, Any], key: str) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not SHA256.fullmatch(value):
        raise _damaged(key)
    return value


def _number(manifest: dict[str, Any], key: str, low: int, high: int) -> int:
    value = manifest.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _damaged(key)
    return value


def _damaged(what: str) -> FileFormatError:
    return FileFormatError(f"{MANIFEST} of the dataset is damaged ('{what}'). {AGAIN}")
