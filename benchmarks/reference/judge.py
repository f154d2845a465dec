"""Likeness by the shipped face models: YuNet finds faces, SFace embeds them. Only for measuring: no network here is trained against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from data import PHOTOS, read_photo

PACK = Path(__file__).resolve().parents[2] / "facechain_ext" / "data" / "packs" / "yunet_sface"
SIDE, BORDER = 384, 64
"""A 128-px image is enlarged and framed before detection: YuNet misses faces that fill the frame."""


@dataclass(frozen=True, slots=True)
class Score:
    """Means over images: cosine to the own person (also its 10th percentile), to the nearest other, and shares in 0..1."""

    likeness: float
    p10: float
    others: float
    rank1: float
    one_face: float
    count: int

    def as_dict(self) -> dict[str, float]:
        """Rounded, for JSON."""
        return {k: round(v, 3) for k, v in asdict(self).items()}


class Judge:
    """Detects, embeds and identifies among the 40 people."""

    def __init__(self, detector: Path, embedder: Path) -> None:
        self._detect = cv2.FaceDetectorYN.create(str(detector), "", (SIDE + 2 * BORDER,) * 2, 0.6)
        self._embed = cv2.FaceRecognizerSF.create(str(embedder), "")
        self._people: np.ndarray | None = None

    def embed(self, image: np.ndarray) -> tuple[np.ndarray | None, int]:
        """Unit embedding (128,) of the largest face in (H, W, 3) uint8 RGB, and how many faces there are."""
        large = cv2.resize(np.ascontiguousarray(image[..., ::-1]), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        large = cv2.copyMakeBorder(large, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE)
        _, found = self._detect.detect(large)
        if found is None or not len(found):
            return None, 0
        face = max(found, key=lambda row: row[2] * row[3])
        vector = self._embed.feature(self._embed.alignCrop(large, face))[0]
        return vector / np.linalg.norm(vector), len(found)

    def people(self) -> np.ndarray:
        """Mean embeddings (40, 128) of all people, unit length."""
        if self._people is None:
            means = []
            for person in range(1, 41):
                vectors = [v for v in (self.embed(read_photo(person, n))[0] for n in PHOTOS) if v is not None]
                means.append(np.mean(vectors, 0))
            stacked = np.stack(means)
            self._people = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
        return self._people

    def score(self, images: Sequence[np.ndarray], people: Sequence[int]) -> Score:
        """How well ``images[i]`` shows ``people[i]`` (1..40); an image without a face counts as likeness 0 and as not identified."""
        own, others, first, single = [], [], 0, 0
        for image, person in zip(images, people, strict=True):
            vector, faces = self.embed(image)
            single += faces == 1
            if vector is None:
                own.append(0.0)
                continue
            near = self.people() @ vector
            own.append(float(near[person - 1]))
            others.append(float(np.delete(near, person - 1).max()))
            first += int(near.argmax()) == person - 1
        count = len(own)
        return Score(
            float(np.mean(own)), float(np.percentile(own, 10)), float(np.mean(others or [0])), first / count, single / count, count
        )

    def similarity(self, made: Sequence[np.ndarray], real: Sequence[np.ndarray]) -> float:
        """Mean cosine of pairs; a missing face counts 0."""
        pairs = [(self.embed(a)[0], self.embed(b)[0]) for a, b in zip(made, real, strict=True)]
        return float(np.mean([0.0 if a is None or b is None else float(a @ b) for a, b in pairs]))


def shipped_judge(pack: Path = PACK) -> Judge:
    """The judge on the models this repository ships; ``plain_models`` explains the re-wrapping."""
    return Judge(*plain_models(pack))


def plain_models(pack: Path) -> tuple[Path, Path]:
    """Files of YuNet and SFace as OpenCV publishes them, when the folder has them, else the re-wrapped ones.

    Raises:
        FileNotFoundError: when neither is there.
    """
    for names in (
        ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec_int8bq_1input.onnx"),
        ("det_yunet.onnx", "rec_sface.onnx"),
    ):
        files = tuple(pack / name for name in names)
        if all(f.exists() for f in files):
            return files  # type: ignore[return-value]
    raise FileNotFoundError(f"no face models in {pack}")
