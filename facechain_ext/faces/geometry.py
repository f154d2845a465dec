"""Crops around a face, square or in the shape of a bucket, and what five landmarks tell about the pose.

A crop never stretches the photo. Where it leaves the photo, the edge is continued and smoothed away.
Angles are degrees; points are (N, 2) x y px; boxes (4,) x0 y0 x1 y1 px.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.types import Face, Image

Points = NDArray[np.float32]

FACE_X, FACE_Y = 0.5, 0.435
"""Where the centre of the face lies in the crop; FaceChain's choice, leaves room for the shoulders."""
FACE_Y_RANGE = (0.38, 0.60)
FACE_X_RANGE = (0.40, 0.60)
"""How far the face may move in the crop to keep the crop inside the photo."""
BUCKET_STEP = 64
"""px; what the UNet's three halvings of latents an eighth as large can take."""
BUCKET_STRETCH = 1.7
FILLED = 0.98
"""Share of a crop that the photo covers for its shape to suit."""
SMALLEST_SCALE = 1.2
"""A crop shrinks to stay inside the photo, but never below this many face sides."""

# The mean face seen from the front, in units of the distance between the eyes, origin between the eyes:
# height (down) and depth (towards the viewer) of the nose tip and of the mouth. Heights are medians of the frontal
# ORL photos as YuNet marks them; depths are those of common 3D face models (nose tip 0.6, mouth 0.25).
NOSE_Y, NOSE_Z = 0.58, 0.60
MOUTH_Y, MOUTH_Z = 1.00, 0.25


@dataclass(frozen=True, slots=True)
class Pose:
    """How a head is turned, degrees."""

    yaw: float
    """Positive looks to the picture's right."""
    pitch: float
    """Positive looks up."""
    roll: float
    """Positive is clockwise in the picture."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is cut out of a photo: ``centre`` x y px, ``side`` px wide, turned clockwise by ``angle`` degrees."""

    centre: tuple[float, float]
    side: float
    angle: float = 0.0
    aspect: float = 1.0
    """Height divided by width."""

    @property
    def height(self) -> float:
        """px in the photo."""
        return self.side * self.aspect

    def size(self, width: int) -> tuple[int, int]:
        """Width and height of a crop ``width`` px wide."""
        return width, max(1, round(width * self.aspect))

    def matrix(self, width: int) -> NDArray[np.float64]:
        """(2, 3): photo px -> crop px for a crop of ``width`` px."""
        scale = width / self.side
        cos, sin = math.cos(math.radians(self.angle)) * scale, math.sin(math.radians(self.angle)) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        shift = np.array(self.size(width)) / 2 - turn @ np.asarray(self.centre)
        return np.concatenate([turn, shift[:, None]], axis=1)

    def inside(self, photo: tuple[int, int]) -> float:
        """Share 0..1 of the upright frame that a photo of size ``photo`` (W, H) covers."""
        x, y = self.centre
        wide = min(x + self.side / 2, photo[0]) - max(x - self.side / 2, 0)
        high = min(y + self.height / 2, photo[1]) - max(y - self.height / 2, 0)
        return max(0.0, wide) * max(0.0, high) / (self.side * self.height)


def pose(landmarks: Points) -> Pose:
    """Estimate the pose from ``landmarks`` (5, 2): eyes, nose tip, mouth corners, in the order of ``Face.landmarks``.

    Weak perspective: with the eye line level, yaw moves the nose tip sideways by its depth, pitch moves it up or down
    between eyes and mouth. Good to about 10 degrees, enough to tell frontal, side and extreme.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    eyes = points[1] - points[0]
    roll = math.atan2(eyes[1], eyes[0])
    cos, sin = math.cos(roll), math.sin(roll)
    level = (points - (points[0] + points[1]) / 2) @ np.array([[cos, -sin], [sin, cos]])
    width = max(float(level[1, 0] - level[0, 0]), 1e-6)
    mouth = (level[3] + level[4]) / 2
    # x of the nose against the line from between the eyes to the mouth, so that a small residual roll cancels.
    along = level[2, 1] / mouth[1] if abs(mouth[1]) > 1e-6 else 0.5
    offset = float(level[2, 0] - along * mouth[0])
    yaw = math.atan2(offset / width, NOSE_Z - along * MOUTH_Z) if abs(along) < 2 else math.copysign(math.pi / 2, offset)
    # nose_y = NOSE_Y cos p - NOSE_Z sin p and mouth_y likewise; their ratio gives tan p.
    pitch = math.atan2(NOSE_Y - along * MOUTH_Y, NOSE_Z - along * MOUTH_Z) if abs(along) < 2 else math.pi / 2
    return Pose(float(np.clip(math.degrees(yaw), -90, 90)), float(np.clip(math.degrees(pitch), -90, 90)), math.degrees(roll))


def plan(face: Face, photo: tuple[int, int], scale: float, *, level: bool = False, aspect: float = 1.0) -> Frame:
    """Where to cut ``face`` out of a photo of size ``photo`` (W, H).

    Args:
        scale: side of the crop in face sides (of a square of the same area when it is none); smaller where the photo is, but not
            below ``SMALLEST_SCALE``.
        level: turn the crop so that the eyes are level.
        aspect: height divided by width.
    """
    width, height = photo
    stretch = math.sqrt(aspect)
    side = max(min(scale * face.size, float(max(width, height))), SMALLEST_SCALE * face.size * max(stretch, 1 / stretch))
    x, y = face.centre
    if aspect != 1.0 and not level:
        wide, high = side / stretch, side * stretch
        # As far below the upper edge as in a square: a taller crop shows more of the body, not of the ceiling.
        centre_x = _slide(x, wide, width, FACE_X, FACE_X_RANGE)
        centre_y = _slide(y, high, height, FACE_Y / stretch, (FACE_Y_RANGE[0] / stretch, min(FACE_Y_RANGE[1], FACE_Y_RANGE[1] / stretch)))
        return Frame((centre_x, centre_y), wide, 0.0, aspect)
    if level:
        # Down in the crop is the head's own down; moving the crop into the photo is not worth a second case here.
        down = (0.5 - FACE_Y) * side
        turn = math.radians(face.roll)
        return Frame((x - down * math.sin(turn), y + down * math.cos(turn)), side, face.roll)
    centre_x = _slide(x, side, width, FACE_X, FACE_X_RANGE)
    centre_y = _slide(y, side, height, FACE_Y, FACE_Y_RANGE)
    return Frame((centre_x, centre_y), side)


def _slide(face: float, side: float, length: int, wanted: float, allowed: tuple[float, float]) -> float:
    """Centre of the crop along one axis: the face at share ``wanted``, moved within ``allowed`` to stay in 0..``length``."""
    start = face - wanted * side
    inside = min(max(start, 0.0), length - side) if side <= length else (length - side) / 2
    low, high = face - allowed[1] * side, face - allowed[0] * side
    return min(max(inside, low), high) + side / 2


def buckets(resolution: int) -> list[tuple[int, int]]:
    """Widths and heights of crops of about ``resolution``² px: multiples of ``BUCKET_STEP``, at most ``BUCKET_STRETCH`` times as long as wide."""
    step = min(BUCKET_STEP, resolution)
    found = []
    for width in range(step, 2 * resolution + 1, step):
        height = resolution * resolution // width // step * step
        if height and 1 / BUCKET_STRETCH <= height / width <= BUCKET_STRETCH:
            found.append((width, height))
    return found if (resolution, resolution) in found else [*found, (resolution, resolution)]


def bucket_for(face: Face, photo: tuple[int, int], scale: float, resolution: int) -> tuple[int, int]:
    """The bucket nearest to the shape of ``photo`` (W, H) whose crop around ``face`` the photo fills, else the one it fills best."""
    wanted = math.log(photo[1] / photo[0])
    shapes = sorted(buckets(resolution), key=lambda size: abs(math.log(size[1] / size[0]) - wanted))
    filled = {size: plan(face, photo, scale, aspect=size[1] / size[0]).inside(photo) for size in shapes}
    return next((size for size in shapes if filled[size] >= FILLED), max(shapes, key=lambda size: filled[size]))


def cut(image: Image, frame: Frame, width: int) -> Image:
    """Cut ``frame`` out of ``image`` (H, W, 3) as (h, width, 3); h follows from the frame's aspect."""
    matrix = frame.matrix(width)
    cos, sin = abs(math.cos(math.radians(frame.angle))), abs(math.sin(math.radians(frame.angle)))
    reach_x, reach_y = (cos * frame.side + sin * frame.height) / 2 + 2, (sin * frame.side + cos * frame.height) / 2 + 2
    x0, x1 = _within(frame.centre[0] - reach_x, frame.centre[0] + reach_x, image.shape[1])
    y0, y1 = _within(frame.centre[1] - reach_y, frame.centre[1] + reach_y, image.shape[0])
    part = image[y0:y1, x0:x1]
    # warpAffine does not filter: shrink by area first, so that fine texture does not turn into noise.
    shrink = max(1.0, frame.side / width)
    small = (max(1, round(part.shape[1] / shrink)), max(1, round(part.shape[0] / shrink)))
    if shrink > 1:
        part = cv2.resize(part, small, interpolation=cv2.INTER_AREA)
    scale = np.array([(x1 - x0) / part.shape[1], (y1 - y0) / part.shape[0]])
    # Pixel centres lie at +0.5: photo = origin + scale * (part + 0.5) - 0.5, and the crop likewise.
    turn = matrix[:, :2] * scale
    shift = matrix[:, :2] @ (np.array([x0, y0]) + 0.5 * scale) + matrix[:, 2] - 0.5
    local = np.concatenate([turn, shift[:, None]], axis=1)
    size = frame.size(width)
    crop = cv2.warpAffine(part, local, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    covered = cv2.warpAffine(np.full(part.shape[:2], 255, np.uint8), local, size, flags=cv2.INTER_NEAREST)
    return _soften(np.asarray(crop, np.uint8), np.asarray(covered, np.uint8))


def _within(low: float, high: float, length: int) -> tuple[int, int]:
    start = min(max(math.floor(low), 0), length - 1)
    return start, max(min(math.ceil(high), length), start + 1)


def _soften(crop: Image, covered: NDArray[np.uint8]) -> Image:
    """Blur ``crop`` where the photo does not cover it, the more the farther from the photo."""
    if covered.all():
        return crop
    side = crop.shape[0]
    smooth = cv2.GaussianBlur(crop, (0, 0), max(1.0, side / 24))
    away = cv2.distanceTransform(np.where(covered == 0, 255, 0).astype(np.uint8), cv2.DIST_L2, 3)
    share = np.clip(away / max(2.0, side / 32), 0, 1)[..., None]
    return np.rint(crop * (1 - share) + smooth * share).astype(np.uint8)


def to_crop(points: Points, frame: Frame, width: int) -> Points:
    """Photo ``points`` (N, 2) in crop px."""
    matrix = frame.matrix(width)
    return (np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def to_photo(points: Points, frame: Frame, width: int) -> Points:
    """Crop ``points`` (N, 2) in photo px."""
    matrix = frame.matrix(width)
    return ((np.asarray(points, np.float64) - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T).astype(np.float32)


def box_to_crop(box: Points, frame: Frame, width: int) -> Points:
    """The upright box (4,) in crop px that holds the photo's ``box`` (4,)."""
    x0, y0, x1, y1 = (float(v) for v in box)
    corners = to_crop(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32), frame, width)
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])
