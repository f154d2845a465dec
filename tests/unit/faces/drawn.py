"""Pictures of what is no person, drawn."""

from __future__ import annotations

import cv2
import numpy as np

from facechain_ext.faces.types import Image


def cartoon() -> Image:
    """A smiling face as a child draws it (400, 400, 3)."""
    page = np.full((400, 400, 3), 255, np.uint8)
    cv2.circle(page, (200, 200), 150, (255, 220, 60), -1)
    cv2.circle(page, (200, 200), 150, (0, 0, 0), 4)
    for x in (145, 255):
        cv2.circle(page, (x, 160), 18, (0, 0, 0), -1)
    cv2.ellipse(page, (200, 235), (75, 55), 0, 15, 165, (0, 0, 0), 6)
    return page


def dog() -> Image:
    """A brown dog's head (480, 480, 3): snout, nose, two eyes, hanging ears."""
    image = np.full((480, 480, 3), (150, 190, 120), np.uint8)
    brown, dark, black = (150, 100, 60), (95, 60, 35), (15, 12, 10)
    cv2.ellipse(image, (240, 240), (130, 150), 0, 0, 360, brown, -1)
    for x in (120, 360):
        cv2.ellipse(image, (x, 230), (45, 110), 8 if x < 240 else -8, 0, 360, dark, -1)
    cv2.ellipse(image, (240, 320), (75, 80), 0, 0, 360, (205, 165, 120), -1)
    cv2.ellipse(image, (240, 285), (32, 22), 0, 0, 360, black, -1)
    for x in (190, 290):
        cv2.circle(image, (x, 200), 17, black, -1)
        cv2.circle(image, (x - 5, 194), 5, (240, 240, 240), -1)
    cv2.line(image, (240, 305), (240, 350), black, 4)
    cv2.ellipse(image, (240, 345), (45, 25), 0, 10, 170, black, 4)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 2), np.uint8)


def sunglasses() -> Image:
    """A pair of them on a table (400, 400, 3)."""
    page = np.full((400, 400, 3), (200, 190, 180), np.uint8)
    for x in (130, 270):
        cv2.ellipse(page, (x, 200), (60, 45), 0, 0, 360, (15, 15, 20), -1)
    cv2.line(page, (190, 190), (210, 190), (15, 15, 20), 8)
    return page


def beside(first: Image, second: Image) -> Image:
    """Both (H, W, 3) next to each other."""
    return np.hstack([first, np.full((first.shape[0], 30, 3), 90, np.uint8), second])
