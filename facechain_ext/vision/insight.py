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
from facechain_ext.faces.geometry import pose
from facechain_ext.faces.types import Embedding, Face, Image
from facechain_ext.ports import PackInfo

SHIPPED = "yunet_sface"
PACKS = Path(__file__).resolve().parent.parent / "data" / "packs"

INPUT = 640
"""Side of the detector's input, px: at 640 YuNet finds faces from about 10 px up to ones that fill most of the frame."""
SECOND_INPUT = 1280
MIN_SCORE = 0.5
SMALL_PHOTO = 320
"""A photo with a longest side below, px, is most often a face crop: shrunk into a border first, as is when that fails."""
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


def pack_folder(name: str, installed: Path | None = None) -> Path:
    """The folder of the pack ``name``: shipped with us, or the user's in ``installed``.

    Raises:
        WeightsMissing: when there is no such pack; the message says where to put it.
    """
    own = PACKS / name
    plain = Path(name).name == name and name not in {"", ".", ".."}
    folders = [own, *([installed / name] if installed else [])] if plain else []
    for folder in folders:
        if folder.is_dir() and any(folder.glob("*.onnx")):
            return folder
    where = f"Put its .onnx files into {installed / Path(name).name}" if installed else "Install it"
    raise WeightsMissing(f"The face model pack '{name}' is not installed. {where}, or choose '{SHIPPED}', which is always there.")


def available_packs(installed: Path | None = None) -> list[str]:
    """Names of the packs there are: shipped ones, then the user's in ``installed``."""
    folders = [p for root in (PACKS, installed) if root and root.is_dir() for p in sorted(root.iterdir())]
    return list(dict.fromkeys(p.name for p in folders if p.is_dir() and any(p.glob("*.onnx"))))


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
            found = self._look(models.detector, image, look)
            if found:
                return sorted(found, key=lambda face: -face.size)
        return []

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

    def _look(self, detector: Any, image: Image, look: _Pass) -> list[Face]:
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
        canvas = cv2.copyMakeBorder(small[..., ::-1], *border, cv2.BORDER_REPLICATE)
        with self._lock:  # SCRFD caches its anchor grids in an unguarded dict
            boxes, points = detector.detect(np.ascontiguousarray(canvas), input_size=(look.canvas, look.canvas))
        if len(boxes) == 0 or points is None:
            return []
        back = np.array([width / size[0], height / size[1]], np.float32)
        origin = np.array([left, top], np.float32)
        made = (
            _face((b[:4].reshape(2, 2) - origin) * back, (p - origin) * back, float(b[4]), image)
            for b, p in zip(boxes, points, strict=True)
        )
        return [face for face in made if face is not None]

    def _models(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self._folder, self._threads)
            return self._loaded


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
