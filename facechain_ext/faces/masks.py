"""Where the face is in a crop, softly."""

from __future__ import annotations

import math

import cv2
import numpy as np

from facechain_ext.faces.geometry import Frame, to_crop
from facechain_ext.faces.types import Face, Mask

WIDTH, HEIGHT = 0.54, 0.56
"""Half axes of the ellipse in widths and heights of the face box: ears and hairline just inside."""
FEATHER = 0.06
"""Standard deviation of the soft edge in face sides."""


def face_mask(face: Face, frame: Frame, resolution: int) -> Mask:
    """The mask (resolution, resolution) 0..255 of ``face`` in the crop ``frame``: an ellipse with a soft edge.

    Its centre lies between the box's and the landmarks', so that a head turned aside, whose box reaches behind the ear,
    keeps the features inside.
    """
    scale = resolution / frame.side
    width, height = (face.bbox[2:] - face.bbox[:2]) * scale
    middle = (np.asarray(face.centre, np.float32) * 3 + face.landmarks.mean(axis=0)) / 4
    x, y = to_crop(middle[None], frame, resolution)[0]
    mask = np.zeros((resolution, resolution), np.uint8)
    angle = face.roll - frame.angle
    # The box is upright: that of a head lying on its side has width and height exchanged.
    if abs(math.cos(math.radians(face.roll))) < math.sqrt(0.5):
        width, height = height, width
    fixed = 16  # cv2.ellipse takes 1/16 px
    centre = (round(float(x) * fixed), round(float(y) * fixed))
    axes = (max(1, round(float(width) * WIDTH * fixed)), max(1, round(float(height) * HEIGHT * fixed)))
    cv2.ellipse(mask, (centre[0], centre[1]), (axes[0], axes[1]), angle, 0, 360, 255, -1, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, FEATHER * face.size * scale)), np.uint8)
