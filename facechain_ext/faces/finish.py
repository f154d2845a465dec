"""What is done to a crop after it was cut, when the user asked for it: another background, mild retouching."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.types import Image, Mask

BLUR = 1 / 24
"""Standard deviation of a blurred background in crop widths: a lens wide open."""
SPOT = 0.035
"""Size of what retouching evens out, in face widths: a blemish, not a feature."""
STRENGTH = 0.5
STEEP = 18.0
"""Brightness steps (0..255) above this are features and stay: lashes, lips, moles."""
LIKENESS_KEPT = 0.95
"""Cosine between a face before and after; below, the retouched picture is thrown away. Different photos of one person lie at 0.8."""


def with_background(crop: Image, person: Mask, kind: str) -> Image:
    """``crop`` (h, w, 3) with what lies outside ``person`` (h, w) kept, blurred or white, as ``kind`` says.

    Raises:
        ValueError: for another ``kind``.
    """
    if kind == "keep":
        return crop
    share = np.asarray(person[..., None], np.float32) / np.float32(255)
    if kind == "white":
        behind = np.full(crop.shape, 255, np.float32)
    elif kind == "blur":
        behind = _behind(crop, share)
    else:
        raise ValueError(f"no such background: {kind}")
    return np.rint(crop * share + behind * (1 - share)).astype(np.uint8)


def _behind(crop: Image, share: NDArray[Any]) -> NDArray[Any]:
    """The background blurred without the person's colours bleeding into it."""
    deviation = max(1.0, crop.shape[1] * BLUR)
    free = 1 - share
    colours = np.asarray(cv2.GaussianBlur(crop * free, (0, 0), deviation), np.float32)
    weight = np.asarray(cv2.GaussianBlur(free, (0, 0), deviation), np.float32).reshape(free.shape)
    return np.where(weight > 1e-3, colours / np.maximum(weight, 1e-3), crop.astype(np.float32))


def retouched(crop: Image, face: Mask, face_width: float) -> Image:
    """``crop`` (h, w, 3) with small unevenness of the skin halved inside the mask ``face`` (h, w); ``face_width`` px in the crop.

    Bilateral filter (Tomasi and Manduchi, "Bilateral filtering for gray and color images", 1998); whether the face is still the same is
    the caller's to check (``LIKENESS_KEPT``).
    """
    deviation = max(1.0, SPOT * face_width)
    even = np.asarray(cv2.bilateralFilter(crop, 0, STEEP, deviation), np.float32)
    share = (face.astype(np.float32) / 255)[..., None] * STRENGTH
    return np.rint(crop * (1 - share) + even * share).astype(np.uint8)
