"""Dark glasses, surgical masks and hands, drawn onto photos."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.types import Image

Points = NDArray[np.float32]


def axes(landmarks: Points) -> tuple[float, NDArray[np.float64], NDArray[np.float64], float]:
    """Distance of the eyes in px, unit vectors right and down the face, roll in degrees."""
    eyes = np.asarray(landmarks[1] - landmarks[0], np.float64)
    distance = float(np.linalg.norm(eyes))
    right = eyes / distance
    return distance, right, np.array([-right[1], right[0]]), float(np.degrees(np.arctan2(right[1], right[0])))


def _paint(image: Image, mask: NDArray[np.uint8], colour: NDArray[np.float32], soft: float) -> Image:
    share = np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.6, soft)), np.float32)[..., None] / 255
    return np.clip(image * (1 - share) + share * colour, 0, 255).astype(np.uint8)


def dark_glasses(image: Image, landmarks: Points, tone: tuple[int, int, int] = (14, 14, 14)) -> Image:
    """``image`` with round glasses that let a twelfth of the light through."""
    distance, _, down, roll = axes(landmarks)
    mask = np.zeros(image.shape[:2], np.uint8)
    for eye in landmarks[:2]:
        x, y = eye + 0.06 * distance * down
        cv2.ellipse(mask, (int(x), int(y)), (int(0.42 * distance), int(0.31 * distance)), roll, 0, 360, 255, -1)
    first, second = ((int(p[0]), int(p[1])) for p in landmarks[:2])
    cv2.line(mask, first, second, 255, max(1, int(0.08 * distance)))
    shine = np.linspace(1.3, 0.8, image.shape[0], dtype=np.float32)[:, None, None]
    return _paint(image, mask, np.asarray(tone, np.float32) * shine + image * np.float32(0.08), 0.015 * distance)


def mask_cloth(tone: tuple[int, int, int]) -> Image:
    """A surgical mask laid flat (180, 320, 3): three folds, a seam, a little texture."""
    rows = np.arange(180, dtype=np.float32)[:, None]
    shade = 1 - 0.10 * np.exp(-(((rows % 50) - 25) ** 2) / 12)
    shade[:6] *= 0.9
    noise = np.random.default_rng(0).normal(0, 2.0, (180, 320, 1))
    return np.clip(np.asarray(tone, np.float32) * shade[:, :, None] + noise, 0, 255).astype(np.uint8)


def surgical_mask(image: Image, landmarks: Points, cloth: Image) -> Image:
    """``image`` with ``cloth`` (H, W, 3) from the bridge of the nose to below the chin."""
    distance, right, down, _ = axes(landmarks)
    top = (landmarks[0] + landmarks[1]) / 2 * 0.35 + landmarks[2] * 0.65
    chin = (landmarks[3] + landmarks[4]) / 2 + 0.62 * distance * down
    half = 0.88 * distance * right
    height, width = cloth.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    place = np.array([top - half, top + half, chin + 0.72 * half, chin - 0.72 * half], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, place)
    size = (image.shape[1], image.shape[0])
    warped = np.asarray(cv2.warpPerspective(cloth, matrix, size, flags=cv2.INTER_AREA), np.float32)
    covered = np.asarray(cv2.warpPerspective(np.full((height, width), 255, np.uint8), matrix, size), np.uint8)
    return _paint(image, covered, warped * float(np.clip(image.mean() / 140, 0.5, 1.15)), 0.02 * distance)


def hand(image: Image, landmarks: Points) -> Image:
    """``image`` with four fingers of the nose's colour over the mouth."""
    distance, _, down, roll = axes(landmarks)
    x, y = (int(v) for v in landmarks[2])
    skin = np.median(image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].reshape(-1, 3), axis=0)
    for finger in range(4):
        mask = np.zeros(image.shape[:2], np.uint8)
        px, py = (landmarks[3] + landmarks[4]) / 2 + down * distance * (finger - 1.5) * 0.24
        cv2.ellipse(mask, (int(px), int(py)), (int(0.85 * distance), int(0.14 * distance)), roll, 0, 360, 255, -1)
        image = _paint(image, mask, (skin * (0.92 + 0.05 * (finger % 2))).astype(np.float32), 0.03 * distance)
    return image
