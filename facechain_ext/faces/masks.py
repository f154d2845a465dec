"""Where the face, the head and the person are in a crop, softly. No network: landmarks, and colours for the outline."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.geometry import Frame, to_crop
from facechain_ext.faces.types import Face, Image, Mask

WIDTH, HEIGHT = 0.54, 0.56
"""Half axes of the ellipse in widths and heights of the face box: ears and hairline just inside."""
FEATHER = 0.06
"""Standard deviation of the soft edge in face sides."""
HEAD = 1.5
"""The head with its hair, in sizes of the face's ellipse."""
SURE = 1.1
"""What is hair or face in any case, likewise."""
HEAD_UP = 0.18
"""How far the head's centre lies above the face's, in face sides: hair."""
BACK = 1.6
"""How far it moves back when the head is seen from the side, in ``up``."""
WORK_SIDE = 128
"""px at which the outline is found; it is soft anyway."""
ROUNDS = 3
LEAST, MOST = 0.6, 2.2
"""An outline that covers less or more than this many times the area expected is not believed; the expected one is taken."""


def face_mask(face: Face, frame: Frame, width: int) -> Mask:
    """The mask (h, width) 0..255 of ``face`` in the crop ``frame``: an ellipse with a soft edge."""
    return _ellipse(face, frame, width, 1.0, 0.0)


def head_mask(face: Face, frame: Frame, person: Mask) -> Mask:
    """The mask (h, w) 0..255 of the head with its hair: what of the ``person``'s mask (h, w) lies around the face, and the face itself."""
    around = _ellipse(face, frame, person.shape[1], HEAD, HEAD_UP)
    return np.maximum(np.minimum(around, person), face_mask(face, frame, person.shape[1]))


def _ellipse(face: Face, frame: Frame, crop_width: int, size: float, up: float) -> Mask:
    """``size`` times the face's ellipse, moved ``up`` face sides towards the top of the head.

    Its centre lies between the box's and the landmarks', so that a head turned aside, whose box reaches behind the ear,
    keeps the features inside.
    """
    scale = crop_width / frame.side
    width, height = (face.bbox[2:] - face.bbox[:2]) * scale
    roll = math.radians(face.roll)
    middle = (np.asarray(face.centre, np.float32) * 3 + face.landmarks.mean(axis=0)) / 4
    # Hair is above the face, and behind it when the head is turned.
    behind = -BACK * math.sin(math.radians(face.yaw)) * up
    middle = middle + np.array([math.sin(roll) * up + math.cos(roll) * behind, -math.cos(roll) * up + math.sin(roll) * behind]) * face.size
    x, y = to_crop(np.asarray(middle[None], np.float32), frame, crop_width)[0]
    mask = np.zeros(frame.size(crop_width)[::-1], np.uint8)
    # The box is upright: that of a head lying on its side has width and height exchanged.
    if abs(math.cos(roll)) < math.sqrt(0.5):
        width, height = height, width
    fixed = 16  # cv2.ellipse takes 1/16 px
    centre = (round(float(x) * fixed), round(float(y) * fixed))
    axes = (max(1, round(float(width) * WIDTH * size * fixed)), max(1, round(float(height) * HEIGHT * size * fixed)))
    cv2.ellipse(mask, (centre[0], centre[1]), (axes[0], axes[1]), face.roll - frame.angle, 0, 360, 255, -1, cv2.LINE_AA, 4)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), max(0.5, FEATHER * face.size * scale)), np.uint8)


def person_mask(crop: Image, face: Face, frame: Frame) -> Mask:
    """The mask (h, w) 0..255 of the person whose ``face`` is in ``crop`` (h, w, 3), cut by ``frame``: head, hair, body.

    GrabCut (Rother, Kolmogorov and Blake, "GrabCut", 2004) told where face and shoulders must be. Good for a figure that differs from
    what is behind it; where it does not, the expected outline is taken, so the mask is never empty.
    """
    height, width = crop.shape[:2]
    share = WORK_SIDE / max(height, width)
    if share < 1:
        size = (max(8, round(width * share)), max(8, round(height * share)))
        small = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        small = crop
    labels, expected = _guess(face, frame, small.shape[1], small.shape[0])
    found = _grabcut(small, labels)
    area, wanted = float(found.sum()), float(expected.sum())
    if not LEAST * wanted <= area <= MOST * wanted:
        found = expected
    soft = cv2.resize(found.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(soft, (0, 0), max(0.5, FEATHER / 2 * face.size * width / frame.side)), np.uint8)


def _guess(face: Face, frame: Frame, width: int, height: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """GrabCut's labels (height, width), and the outline expected without looking at colours."""
    shaped = Frame(frame.centre, frame.side, frame.angle, height / width)
    sure = _ellipse(face, shaped, width, SURE, HEAD_UP / 2) > 127
    head = _ellipse(face, shaped, width, HEAD, HEAD_UP) > 127
    body = _body(face, shaped, width, 1.0)
    labels = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    labels[head | _body(face, shaped, width, 1.25)] = cv2.GC_PR_FGD
    # Nobody's head reaches the corners above it.
    ys, xs = np.nonzero(head)
    top = int(ys.min()) if len(ys) else 0
    labels[: max(1, top)] = cv2.GC_BGD
    if len(xs):
        above = int(ys.max())
        labels[:above, : max(0, int(xs.min()) - width // 16)] = cv2.GC_BGD
        labels[:above, int(xs.max()) + width // 16 :] = cv2.GC_BGD
    labels[_body(face, shaped, width, 0.5)] = cv2.GC_FGD
    labels[sure] = cv2.GC_FGD
    return labels, head | body


def _body(face: Face, frame: Frame, width: int, share: float) -> NDArray[np.bool_]:
    """Neck, shoulders and chest down to the lower edge; ``share`` of their usual breadth."""
    scale = width / frame.side
    size = face.size * scale
    x, chin = to_crop(np.array([[face.centre[0], face.bbox[3]]], np.float32), frame, width)[0]
    lower = frame.size(width)[1]
    outline = [
        (x - 0.28 * share * size, chin - 0.25 * size),
        (x - 0.32 * share * size, chin + 0.25 * size),
        (x - 1.15 * share * size, chin + 0.75 * size),
        (x - 1.3 * share * size, max(lower, chin + size) + 1),
    ]
    points = np.array(outline + [(2 * x - px, py) for px, py in reversed(outline)], np.float32)
    mask = np.zeros((lower, width), np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1)
    return mask.astype(bool)


def _grabcut(image: Image, labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The connected figure around what is sure in ``labels``; nothing when GrabCut has no background to learn from."""
    marks = labels.copy()
    if not np.isin(marks, (cv2.GC_BGD, cv2.GC_PR_BGD)).any() or not np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).any():
        return np.zeros(marks.shape, bool)
    cv2.setRNGSeed(0)  # its k-means draws: the same photo gives the same mask
    cv2.grabCut(np.ascontiguousarray(image[..., ::-1]), marks, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS, cv2.GC_INIT_WITH_MASK)
    figure = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    figure = cv2.morphologyEx(figure, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    figure = cv2.morphologyEx(figure, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, parts = cv2.connectedComponents(figure)
    wanted = np.unique(parts[(labels == cv2.GC_FGD) & (figure > 0)])
    return np.isin(parts, wanted[wanted > 0])
