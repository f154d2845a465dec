"""Photo files -> uint8 RGB, every format people have, with a sentence for every file that is not a photo."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.faces.types import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PIXELS = 150_000_000
"""Largest photo we decode (about 450 MB as RGB); Pillow itself refuses above 179 million."""
MAX_BYTES = 400_000_000
MIN_SIDE = 16

SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".pgm",
        ".ppm",
        ".pnm",
        ".gif",
        ".heic",
        ".heif",
        ".hif",
        ".avif",
    ]
)
# Pillow also opens EPS (runs Ghostscript), WMF and the like: photos only.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF", "AVIF")
RAW = frozenset([".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2", ".pef", ".srw", ".x3f", ".3fr", ".iiq"])
"""What cameras call their raw data. Most are TIFF outside: Pillow would read the thumbnail in it."""
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))


class OversizedPhoto(FileFormatError):
    """A photo with more pixels than we decode."""


@dataclass(frozen=True, slots=True, eq=False)
class Photo:
    """A decoded photo."""

    image: Image
    """(H, W, 3) uint8 RGB, upright by its EXIF."""
    sha256: str
    """Of the file's bytes."""
    reduced: bool
    """True when it was decoded smaller than it is."""


def expand(paths: Sequence[Path]) -> list[Path]:
    """Photo files in ``paths`` in natural order: folders with their sub-folders, hidden and other files in them skipped.

    A file named explicitly stays, photo or not, so that it gets a verdict. A file named twice is listed once.

    Raises:
        UserInputError: for a path that does not exist, or when nothing is left.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(sorted(_photos_in(path), key=natural_key)))
        elif path.is_file():
            found[path] = None
        else:
            raise UserInputError(f"There is no file or folder '{path.name or path}'. Check the spelling.")
    if not found:
        raise UserInputError("There are no photos here. Give photo files (JPEG, PNG, WebP, HEIC, TIFF or BMP) or a folder of them.")
    return list(found)


def _photos_in(folder: Path) -> list[Path]:
    return [
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in SUFFIXES and p.is_file() and not any(part.startswith(".") for part in p.relative_to(folder).parts)
    ]


def natural_key(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts ``2.jpg`` before ``10.jpg``."""
    pieces = re.split(r"(\d+)", str(path).casefold())
    return [(0, int(p), "") if p.isdecimal() and p.isascii() else (1, 0, p) for p in pieces]


def read_photo(path: Path, max_pixels: int = MAX_PIXELS) -> Image:
    """The photo at ``path`` as (H, W, 3) uint8 RGB: upright by EXIF, sRGB, first frame, transparency over white.

    Raises:
        OversizedPhoto: when it has more than ``max_pixels``; nothing was decoded then.
        FileFormatError: when it is empty, damaged or not a photo.
        UserInputError: when it cannot be opened, or is HEIC and pillow-heif is not installed.
    """
    return load_photo(path, max_pixels).image


def load_photo(path: Path, max_pixels: int = MAX_PIXELS, enough: int | None = None) -> Photo:
    """As ``read_photo``, with the file's hash.

    Args:
        enough: longest side in px that will do; a larger JPEG is decoded at 1/2, 1/4 or 1/8, never below it.
    """
    data = _bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    name = path.name
    if path.suffix.lower() in RAW or data[8:12] == b"crx ":
        raise FileFormatError(f"'{name}' holds a camera's raw data. Export it as JPEG with the program you develop photos with.")
    try:
        picture, reduced, turned = _open(data, name, max_pixels, enough)
        image = _rgb(picture if turned else _upright(picture))
    except UserInputError:
        raise
    except MemoryError as error:
        raise OversizedPhoto(f"'{name}' is too large for the memory of this computer. Make it smaller and add it again.") from error
    # Pillow's plugins raise all of these, and more, on damaged files; each file is its own risk.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, ArithmeticError, LookupError, TypeError, RuntimeError) as error:
        raise FileFormatError(f"'{name}' is damaged and cannot be decoded. Copy it again from the camera or phone.") from error
    if min(image.shape[:2]) < MIN_SIDE:
        raise FileFormatError(f"'{name}' is only {image.shape[1]} x {image.shape[0]} px. Use the original photo.")
    return Photo(image, digest, reduced)


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise OversizedPhoto(f"'{path.name}' has {size // 1_000_000} MB, too much for a photo. Export it as JPEG.")
        data = path.read_bytes()
    except OSError as error:
        raise UserInputError(f"'{path.name}' cannot be opened ({error.strerror}). Check that it is a file you may read.") from error
    if not data:
        raise FileFormatError(f"'{path.name}' is empty (0 bytes). Copy it again from the camera or phone.")
    return data


def _open(data: bytes, name: str, max_pixels: int, enough: int | None) -> tuple[Picture, bool, bool]:
    """The picture, whether it was reduced, and whether it is upright already."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return _open_heif(data, name, max_pixels), False, True
    import PIL.Image

    PIL.Image.init()
    formats = [f for f in FORMATS if f in PIL.Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            picture = PIL.Image.open(io.BytesIO(data), formats=formats)
    except PIL.Image.DecompressionBombError as error:
        raise OversizedPhoto(f"'{name}' has far too many pixels for a photo. Make it smaller and add it again.") from error
    except PIL.UnidentifiedImageError as error:
        raise FileFormatError(_said_of(data, name, formats)) from error
    _check_size(picture.size, name, max_pixels)
    reduced = False
    if enough and picture.format in ("JPEG", "MPO") and max(picture.size) >= 2 * enough:
        whole = picture.size
        share = enough / max(whole)
        picture.draft(None, (max(1, round(whole[0] * share)), max(1, round(whole[1] * share))))
        reduced = picture.size != whole
    picture.load()
    return picture, reduced, False


def _said_of(data: bytes, name: str, formats: Sequence[str]) -> str:
    """What ``data``, which no reader of ``formats`` knows, seems to be."""
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        if "AVIF" not in formats:
            return f"'{name}' is an AVIF photo, which the Pillow installed here cannot read. Export it as JPEG."
        return f"'{name}' is damaged and cannot be decoded. Copy it again from the camera or phone."
    if _is_video(data):
        return f"'{name}' is a video. Take a few still pictures out of it and add those."
    return f"'{name}' is not a photo, whatever its name says. Use JPEG, PNG, WebP, HEIC, TIFF or BMP."


def _is_video(data: bytes) -> bool:
    """MP4 and MOV, Matroska and WebM, AVI, by their first bytes."""
    return data[4:8] == b"ftyp" or data[:4] == b"\x1aE\xdf\xa3" or (data[:4] == b"RIFF" and data[8:12] == b"AVI ")


def _open_heif(data: bytes, name: str, max_pixels: int) -> Picture:
    try:
        import pillow_heif
    except ImportError as error:
        raise UserInputError(
            f"'{name}' is a HEIC photo, which needs the package pillow-heif. Run 'pip install pillow-heif', or export the photo as JPEG."
        ) from error
    opened = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    _check_size(opened.size, name, max_pixels)
    # libheif turns the picture itself; the EXIF orientation that phones write beside must not turn it once more.
    return opened.to_pillow()


def _check_size(size: tuple[int, int], name: str, max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise OversizedPhoto(
            f"'{name}' has {size[0]} x {size[1]} px, more than the {max_pixels // 1_000_000} million allowed. "
            "Make it smaller and add it again."
        )


def _upright(picture: Picture) -> Picture:
    """Turn ``picture`` as its EXIF says; broken EXIF is ignored."""
    import PIL.Image

    turns = {
        2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
        3: PIL.Image.Transpose.ROTATE_180,
        4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
        5: PIL.Image.Transpose.TRANSPOSE,
        6: PIL.Image.Transpose.ROTATE_270,
        7: PIL.Image.Transpose.TRANSVERSE,
        8: PIL.Image.Transpose.ROTATE_90,
    }
    try:
        orientation = picture.getexif().get(0x0112)
    except Exception:  # the EXIF parser raises anything on hand-made data, and the photo is fine without
        return picture
    method = turns.get(orientation) if isinstance(orientation, int) else None
    return picture.transpose(method) if method is not None else picture


def _rgb(picture: Picture) -> Image:
    """``picture`` as (H, W, 3) uint8 sRGB over white."""
    import PIL.Image

    if picture.mode[0] in "IF":
        grey = _eight_bits(np.asarray(picture))
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        layers = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return np.array(PIL.Image.alpha_composite(white, layers).convert("RGB"))
    return np.array(_srgb(picture).convert("RGB"))


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey ``values`` (H, W) of 16 or 32 bits or floats as uint8, the whole range kept."""
    numbers = np.nan_to_num(values.astype(np.float64))
    top = float(numbers.max(initial=0))
    if np.issubdtype(values.dtype, np.floating):
        scale = 255.0 if top <= 1.0 else (1.0 if top <= 255.0 else 255.0 / top)
    else:
        scale = 255.0 / 65535.0 if top <= 65535 else 255.0 / top
    return np.clip(np.rint(numbers * scale), 0, 255).astype(np.uint8)


def _srgb(picture: Picture) -> Picture:
    """Convert by the embedded ICC profile (Display P3 of phones, CMYK of print); as it is when there is none or it is broken."""
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in ("RGB", "CMYK", "L") or b"sRGB" in profile[:4096]:
        return picture
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImportError, OSError, ValueError, ImageCms.PyCMSError):  # an L profile for an RGB picture, a build without LittleCMS
        return picture
    return converted or picture
