"""Face detection and embedding by InsightFace, from model packs on this disk; nothing is ever downloaded."""

from __future__ import annotations

import contextlib
import hashlib
import math
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.errors import WeightsMissing
from facechain_ext.faces.attributes import Attributes
from facechain_ext.faces.geometry import Frame, pose, to_photo
from facechain_ext.faces.types import Embedding, Face, Image
from facechain_ext.ports import PackInfo
from facechain_ext.vision.packs import PACKS, SHIPPED

INPUT = 640
"""Side of the detector's input, px: at 640 YuNet finds faces from about 10 px up to ones that fill most of the frame."""
SECOND_INPUT = 1280
MIN_SCORE = 0.5
SMALL_PHOTO = 320
"""A photo with a longest side below, px, is most often a face crop: shrunk into a border first, as is when that fails."""
SURE = 0.92
"""A face with a lower score may lie on its side or stand on its head: YuNet marks such faces as if they were upright. Measured: upright
ORL 0.88 to 0.95, 4 % of them below this; the same turned by 180 degrees at most 0.91, by 90 at most 0.86."""
STRAIGHT = 12.0
"""Degrees. YuNet sees tilts too small: 15 as 11, 30 as 20, 45 as 17, with the landmarks as far off."""
CLEAR = (56.0, 360.0)
"""Sides at the detector's input, px, at which landmarks are right. Likeness of the embedding to that of the best landmarks, mean of
40 faces: 0.81 at 24 px, 0.86 at 32, 0.93 at 48, 0.95 at 64, 0.97 at 192 to 320, 0.96 at 480, 0.94 at 640."""
CLOSE, SPIN, SPIN_REACH = 416, 256, 2.2
"""The close look at one face: side of its cut-out in px, the same when trying eight turns, and in face sides. The face has 190 px."""
SPIN_STEP = 45
LEANING = (45.0, -45.0)
"""Degrees the whole photo is turned by when nothing was found: of heads tilted by 45 degrees one in eight is found at 0 and 90 only so."""
MARGIN = 0.02
"""By how much a turned face must score better than the upright one; on ORL the right one is 0.03 to 0.45 better."""
UNSEEN = 0.70
"""What scores less and is not found again by a close look is no face."""
MAX_CLOSE = 8
"""Faces of one photo looked at closely, the largest."""
EMBED_SIDE = 224
"""Faces with a longer side are shrunk to it, px, before they are aligned to 112 px: warping alone would alias."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """One look at the photo: its longest side as ``longest`` px in the middle of a square of ``canvas`` px."""

    longest: int
    canvas: int


@dataclass(frozen=True, slots=True)
class _Loaded:
    detector: Any
    recognizer: Any
    attributes: Any
    """Tells age and gender; None when the pack has no such model."""
    info: PackInfo


class InsightAnalyzer:
    """``FaceAnalyzer`` by ``insightface.app.FaceAnalysis``. Making the object is cheap; the first use loads the models.

    Use from several threads is safe.
    """

    def __init__(self, folder: Path | None = None, threads: int = 2) -> None:
        self._folder = folder or PACKS / SHIPPED
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    @property
    def pack(self) -> PackInfo:
        """Which models answer.

        Raises:
            WeightsMissing: when the pack is missing or damaged.
        """
        return self._models().info

    def detect(self, image: Image) -> list[Face]:
        """Faces in ``image`` (H, W, 3) uint8 RGB, largest first, without embeddings; boxes end at the image's edge.

        Raises:
            WeightsMissing: when the pack is missing or damaged.
        """
        models = self._models()
        longest = max(image.shape[:2])
        if min(image.shape[:2]) < 8:
            return []
        for look in _passes(longest):
            faces = _closely(models.detector, image, _look(models.detector, image, look), look.longest / longest)
            if faces:
                return faces
        scale = min(1.0, INPUT / math.hypot(*image.shape[:2]))
        leaning = [face for angle in LEANING for face in _leaning(models.detector, image, angle)]
        return _closely(models.detector, image, leaning, scale)

    def embed(self, image: Image, face: Face) -> Embedding:
        """The unit-length embedding (D,) of ``face``, which ``detect`` found in ``image``; nothing is detected again.

        Raises:
            WeightsMissing: when the pack is missing or damaged.
        """
        from insightface.app.common import Face as TheirFace

        models = self._models()
        part, landmarks = _close_up(image, face)
        theirs = TheirFace(kps=landmarks, det_score=face.score)
        vector = np.asarray(models.recognizer.get(np.ascontiguousarray(part[..., ::-1]), theirs), np.float32).ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    def attributes(self, image: Image, face: Face) -> Attributes | None:
        """Age and gender as the pack's model sees them; None when the pack has none, as the shipped one.

        Raises:
            WeightsMissing: when the pack is missing or damaged.
        """
        from insightface.app.common import Face as TheirFace

        model = self._models().attributes
        if model is None:
            return None
        # InsightFace's Attribute model: [female, male, age / 100] of a 96 px crop (model_zoo/attribute.py).
        gender, age = model.get(np.ascontiguousarray(image[..., ::-1]), TheirFace(bbox=face.bbox, det_score=face.score))
        return Attributes("man" if int(gender) == 1 else "woman", float(age))

    def _models(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self._folder, self._threads)
            return self._loaded


def _look(detector: Any, image: Image, look: _Pass) -> list[Face]:
    height, width = image.shape[:2]
    scale = look.longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = (look.canvas - size[0]) // 2, (look.canvas - size[1]) // 2
    border = 0, 0, 0, 0
    if look.longest < look.canvas:
        border = top, look.canvas - size[1] - top, left, look.canvas - size[0] - left
    else:
        left = top = 0
    canvas = np.asarray(cv2.copyMakeBorder(small, *border, cv2.BORDER_REPLICATE), np.uint8)
    back = np.array([width / size[0], height / size[1]], np.float32)
    origin = np.array([left, top], np.float32)
    made = (
        _face((b[:4].reshape(2, 2) - origin) * back, (p - origin) * back, float(b[4]), image)
        for b, p in zip(*_run(detector, canvas, look.canvas), strict=True)
    )
    return [face for face in made if face is not None]


def _run(detector: Any, canvas: Image, side: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes with scores (N, 5) and landmarks (N, 5, 2) in px of ``canvas`` (H, W, 3), at most ``side`` px large.

    Needs no lock: onnxruntime's sessions take calls from several threads, and SCRFD's cache of anchor grids is a dict that only grows, so
    that two threads can at worst make the same grid twice.
    """
    boxes, points = detector.detect(np.ascontiguousarray(canvas[..., ::-1]), input_size=(side, side))
    if len(boxes) == 0 or points is None:
        return np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32)
    return boxes, points


def _closely(detector: Any, image: Image, found: list[Face], scale: float) -> list[Face]:
    """The faces ``found`` in the whole photo, each looked at closely where needed, largest first."""
    order = sorted(found, key=lambda face: -face.size)
    closer = (_closer(detector, image, face, scale) for face in order[:MAX_CLOSE])
    return sorted(_distinct([*(face for face in closer if face is not None), *order[MAX_CLOSE:]]), key=lambda face: -face.size)


def _closer(detector: Any, image: Image, face: Face, scale: float) -> Face | None:
    """``face`` with better landmarks, where one look at the whole photo, shrunk by ``scale``, may not tell; None when it is no face.

    A face that is too small or too large at the detector's input is looked at again in a cut-out of its own, one that may
    lie on its side in cut-outs turned by steps of ``SPIN_STEP`` degrees first.
    """
    tilted = face.score < SURE or abs(face.roll) > STRAIGHT
    if not tilted and CLEAR[0] <= face.size * scale <= CLEAR[1]:
        return face
    around, origin, unit = _around(image, face)
    found = _spun(detector, around, 0.0, CLOSE)
    if tilted and (found is None or found.score < SURE or abs(found.roll) > STRAIGHT):
        angle = _spin(detector, around)
        found = _spun(detector, around, angle, CLOSE) if angle else found
    if found is None:
        return face if face.score >= UNSEEN else None
    if found.score < face.score - MARGIN:
        return face
    return _face(found.bbox.reshape(2, 2) * unit + origin, found.landmarks * unit + origin, found.score, image)


def _around(image: Image, face: Face) -> tuple[Image, NDArray[np.float32], float]:
    """A square around ``face`` that holds every turned cut-out of it, x y of its corner in ``image`` and how many px of it a px has.

    Outside of the image its edge is continued; ``geometry.cut`` would also smooth it, which takes longer than looking.
    """
    height, width = image.shape[:2]
    reach = math.ceil(SPIN_REACH * math.sqrt(2) * face.size)
    x, y = round(face.centre[0] - reach / 2), round(face.centre[1] - reach / 2)
    x0, y0, x1, y1 = min(max(0, x), width - 1), min(max(0, y), height - 1), min(width, x + reach), min(height, y + reach)
    side = round(CLOSE * math.sqrt(2))
    unit = reach / side
    size = max(1, round((x1 - x0) / unit)), max(1, round((y1 - y0) / unit))
    part = cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA if unit > 1 else cv2.INTER_LINEAR)
    left, top = min(round((x0 - x) / unit), side - size[0]), min(round((y0 - y) / unit), side - size[1])
    right, bottom = side - size[0] - left, side - size[1] - top
    around = np.asarray(cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_REPLICATE), np.uint8)
    return around, np.array([x0 - left * unit, y0 - top * unit], np.float32), unit


def _spin(detector: Any, around: Image) -> float:
    """By how many degrees the face in the middle of ``around`` is turned clockwise, to the nearest ``SPIN_STEP``."""
    scores: dict[float, float] = {}
    for angle in range(-180 + SPIN_STEP, 181, SPIN_STEP):
        found = _spun(detector, around, float(angle), SPIN)
        scores[float(angle)] = found.score if found else 0.0
    best = max(scores, key=lambda a: scores[a])
    return best if scores[best] >= scores[0.0] + MARGIN else 0.0


def _spun(detector: Any, around: Image, angle: float, side: int) -> Face | None:
    """The face in the middle of ``around``, looked at in a cut-out of ``side`` px turned by ``angle`` degrees; in px of ``around``."""
    whole = around.shape[0]
    frame = Frame((whole / 2, whole / 2), whole / math.sqrt(2), angle)
    boxes, points = _run(detector, _turned(around, frame, side), side)
    nearest = _nearest(boxes, side, side / SPIN_REACH)
    return None if nearest is None else _turned_back(boxes[nearest], points[nearest], frame, side, around)


def _leaning(detector: Any, image: Image, angle: float) -> list[Face]:
    """The faces in ``image`` looked at as a whole, turned by ``angle`` degrees."""
    height, width = image.shape[:2]
    diagonal = math.hypot(width, height)
    frame = Frame((width / 2, height / 2), diagonal, angle)
    shrink = min(1.0, INPUT / diagonal)
    small = cv2.resize(image, (max(1, round(width * shrink)), max(1, round(height * shrink))), interpolation=cv2.INTER_AREA)
    inner = Frame((small.shape[1] / 2, small.shape[0] / 2), diagonal * shrink, angle)
    found = _run(detector, _turned(np.asarray(small, np.uint8), inner, INPUT), INPUT)
    made = (_turned_back(box, marks, frame, INPUT, image) for box, marks in zip(*found, strict=True))
    return [face for face in made if face is not None]


def _turned(image: Image, frame: Frame, side: int) -> Image:
    """What ``frame`` holds of ``image``, (side, side, 3)."""
    matrix = frame.matrix(side)
    matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5  # from px edges, as frames count, to px centres
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _turned_back(box: NDArray[np.float32], marks: NDArray[np.float32], frame: Frame, side: int, image: Image) -> Face | None:
    """The face seen at ``box`` (5,) and ``marks`` (5, 2) in what ``frame`` holds, in px of ``image``."""
    middle = to_photo(box[:4].reshape(2, 2).mean(axis=0)[None], frame, side)[0]
    half = (box[2:4] - box[:2]) * frame.side / side / 2
    landmarks = to_photo(marks, frame, side)
    if abs(math.cos(math.radians(pose(landmarks).roll))) < math.sqrt(0.5):
        half = half[::-1]  # boxes are upright: that of a head lying on its side is wide
    return _face(np.stack([middle - half, middle + half]), landmarks, float(box[4]), image)


def _nearest(boxes: NDArray[np.float32], side: int, face: float) -> int | None:
    """Index of the best of ``boxes`` (N, 5) that lies around the middle of a cut-out of ``side`` px for a face of about ``face`` px."""
    if len(boxes) == 0:
        return None
    away = np.linalg.norm((boxes[:, :2] + boxes[:, 2:4]) / 2 - side / 2, axis=1)
    large = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)
    fit = np.where((away < 0.5 * face) & (large > 0.5 * face) & (large < 2 * face), boxes[:, 4], 0.0)
    return int(np.argmax(fit)) if fit.max() > 0 else None


def _distinct(faces: list[Face]) -> list[Face]:
    """``faces`` without those whose middle lies inside a better one's box: two looks may end at the same face."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(math.dist(face.centre, other.centre) > 0.35 * max(face.size, other.size) for other in kept):
            kept.append(face)
    return kept


def _passes(longest: int) -> list[_Pass]:
    """Looks to take until one finds a face, the cheapest and most often right one first.

    Measured on ORL cut so tight that the face fills a 128 px square: at 640 without a border 12 of 200 are missed and 33 found
    twice; at 256 inside a border all are found once, with scores above 0.87.
    """
    framed = _Pass(256, 416)
    if longest < SMALL_PHOTO:
        return [framed, _Pass(INPUT, INPUT)]
    whole = [_Pass(INPUT, INPUT), framed]
    return [*whole, _Pass(SECOND_INPUT, SECOND_INPUT)] if longest > INPUT else whole


def _face(corners: NDArray[np.float32], landmarks: NDArray[np.float32], score: float, image: Image) -> Face | None:
    """A ``Face`` with its box clipped to ``image``; None when nothing of it lies inside."""
    limit = np.array([image.shape[1], image.shape[0]], np.float32)
    box = np.clip(corners, 0, limit).astype(np.float32).ravel()
    if not (np.isfinite(landmarks).all() and box[2] - box[0] >= 1 and box[3] - box[1] >= 1):
        return None
    turned = pose(landmarks)
    return Face(box, landmarks.astype(np.float32), min(max(score, 0.0), 1.0), turned.yaw, turned.pitch, turned.roll)


def _close_up(image: Image, face: Face) -> tuple[Image, NDArray[np.float32]]:
    """The surroundings of ``face``, shrunk to ``EMBED_SIDE``, and its landmarks in them."""
    height, width = image.shape[:2]
    reach = face.size
    x0, x1 = max(0, math.floor(face.bbox[0] - reach)), min(width, math.ceil(face.bbox[2] + reach))
    y0, y1 = max(0, math.floor(face.bbox[1] - reach)), min(height, math.ceil(face.bbox[3] + reach))
    part = image[y0:y1, x0:x1]
    landmarks = face.landmarks - np.array([x0, y0], np.float32)
    shrink = face.size / EMBED_SIDE
    if shrink > 1:
        size = (max(1, round(part.shape[1] / shrink)), max(1, round(part.shape[0] / shrink)))
        landmarks = (landmarks + 0.5) * np.array([size[0] / part.shape[1], size[1] / part.shape[0]], np.float32) - 0.5
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    return part, landmarks.astype(np.float32)


def _load(folder: Path, threads: int) -> _Loaded:
    files = sorted(folder.glob("*.onnx")) if folder.is_dir() else []
    if not files:
        raise WeightsMissing(
            f"The face model pack '{folder.name}' is not installed: its folder holds no .onnx file. "
            f"Install it there, or choose '{SHIPPED}', which is shipped."
        )
    try:
        import onnxruntime
        from insightface.app import FaceAnalysis
    except ImportError as error:
        raise WeightsMissing(f"Face analysis needs the package '{error.name}'. Install insightface and onnxruntime.") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The shipped embedder's weights are block-quantised; onnxruntime would dequantise all ten million of them on every call.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    # Waiting threads sleep: two workers on two cores would otherwise take the time from each other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        # insightface 0.7.3 prints what it loads; stdout belongs to --json. It joins root and name, where an absolute name wins.
        with contextlib.redirect_stdout(sys.stderr):
            app = FaceAnalysis(
                name=str(folder.resolve()),
                allowed_modules=["detection", "recognition", "genderage"],
                providers=["CPUExecutionProvider"],
                sess_options=options,
            )
            app.prepare(ctx_id=-1, det_thresh=MIN_SCORE, det_size=(INPUT, INPUT))
    except Exception as error:  # onnxruntime and insightface raise what they like: bare Exception, AssertionError, RuntimeError
        raise WeightsMissing(
            f"The face model pack '{folder.name}' cannot be loaded ({type(error).__name__}). Its files may be damaged: install it again."
        ) from error
    recognizer = app.models.get("recognition")
    if recognizer is None:
        raise WeightsMissing(f"The face model pack '{folder.name}' has no recognition model. Install the complete pack.")
    return _Loaded(app.models["detection"], recognizer, app.models.get("genderage"), PackInfo(folder.name, _hash(files), int(recognizer.output_shape[-1])))


def _hash(files: list[Path]) -> str:
    """SHA-256 over the names and contents of ``files``."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()
