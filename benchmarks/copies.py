"""How surely copies of a photo are told from other photos of the same person, and glasses from none. Prints tables.

    .venv/bin/python benchmarks/copies.py [--photos DIR] [--step 2]

ORL and ``--photos`` as in ``faces.py``. ``--step`` takes every so many-th person only.
"""

from __future__ import annotations

import argparse
import io
import itertools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from faces import Photos, Table, load, markdown

from facechain_ext.faces.duplicates import Print, fingerprint, near
from facechain_ext.faces.geometry import cut, plan, to_crop
from facechain_ext.faces.quality import LIMITS, measure
from facechain_ext.faces.types import Embedding, Face, Image

WITH_GLASSES: dict[int, set[int]] = {
    **{person: set(range(1, 11)) for person in (2, 6, 14, 27, 28, 31, 34, 37)},
    4: {1, 2, 3, 8, 9}, 7: {4, 5, 10}, 13: {1, 2, 5, 6, 7, 8, 9, 10}, 17: {1, 2, 5, 6, 7, 8, 9, 10}, 19: {1, 2, 3, 6, 10},
    20: {1, 2, 3, 5, 7, 8, 9, 10}, 36: {9, 10},
}  # fmt: skip
"""ORL's photos of people with glasses, by person, seen by eye. No face of the colour photos wears any."""
RESOLUTION, SCALE = 512, 2.4


def jpeg(image: Image, quality: int) -> Image:
    held = io.BytesIO()
    PIL.Image.fromarray(image).save(held, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(held))


def scaled(image: Image, factor: float) -> Image:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8)


def bordered(image: Image) -> Image:
    height, width = image.shape[0] // 4, image.shape[1] // 4
    return np.asarray(cv2.copyMakeBorder(image, height, height, width, width, cv2.BORDER_CONSTANT, value=(255, 255, 255)), np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "half as large": lambda im: scaled(im, 0.5),
    "twice as large": lambda im: scaled(im, 2),
    "JPEG, quality 30": lambda im: jpeg(im, 30),
    "brighter": lambda im: np.clip(im * 1.15 + 12, 0, 255).astype(np.uint8),
    "darker": lambda im: (im * 0.8).astype(np.uint8),
    "grey": lambda im: np.repeat(cv2.cvtColor(im, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
    "warmer": lambda im: np.clip(im * np.array([1.1, 1.0, 0.85]), 0, 255).astype(np.uint8),
    "cut by 4 %": lambda im: np.ascontiguousarray(im[im.shape[0] // 25 : -im.shape[0] // 25, im.shape[1] // 25 : -im.shape[1] // 25]),
    "with a white border": bordered,
    "mirrored": lambda im: np.ascontiguousarray(im[:, ::-1]),
}
Seen = tuple[Print, Embedding]


def seen(photos: Photos, image: Image, face: Face) -> Seen:
    frame = plan(face, (image.shape[1], image.shape[0]), SCALE)
    return fingerprint(cut(image, frame, RESOLUTION), to_crop(face.landmarks, frame, RESOLUTION)), photos.analyzer.embed(image, face)


def same(first: Seen, second: Seen) -> bool:
    return near(first[0], second[0], float(first[1] @ second[1]))


def copies(photos: Photos) -> Table:
    """Copies found, and other photos of the same person taken for copies."""
    people = sorted({p for p, _ in photos.orl})
    known = {key: seen(photos, im, photos.analyzer.detect(im)[0]) for key, im in photos.orl.items()}
    originals = [(photos.orl[p, n], known[p, n]) for p in people for n in (1, 5)]
    originals += [(im, seen(photos, im, photos.analyzer.detect(im)[0])) for im in photos.colour.values() if len(photos.analyzer.detect(im)) == 1]
    rows: Table = []
    for name, change in CHANGES.items():
        changed = [(original, change(im)) for im, original in originals]
        found = [same(original, seen(photos, im, faces[0])) for original, im in changed if (faces := photos.analyzer.detect(im))]
        rows.append({"pairs": name, "count": len(found), "the same picture": f"{np.mean(found):.1%}"})
    for name, pairs in {
        "ORL, other photos of one person": [(known[p, i], known[p, j]) for p in people for i, j in itertools.combinations(range(1, 11), 2)],
        "ORL, other people": [(known[p, 1], known[q, 1]) for p, q in itertools.combinations(people, 2)],
    }.items():
        rows.append({"pairs": name, "count": len(pairs), "the same picture": f"{np.mean([same(*pair) for pair in pairs]):.1%}"})
    return rows


def glasses(photos: Photos) -> Table:
    """Faces in whose captions glasses would be said."""

    def told(image: Image, face: Face) -> bool:
        frame = plan(face, (image.shape[1], image.shape[0]), SCALE)
        found = measure(cut(image, frame, RESOLUTION), face, frame)
        return abs(found.yaw) <= LIMITS.bridge_yaw and found.bridge > LIMITS.bridge

    groups: dict[str, list[bool]] = {"ORL, with glasses": [], "ORL, without": [], "colour photos, without": []}
    for (person, number), image in photos.orl.items():
        wears = number in WITH_GLASSES.get(person, set())
        groups["ORL, with glasses" if wears else "ORL, without"].append(told(image, photos.analyzer.detect(image)[0]))
    for image in photos.colour.values():
        groups["colour photos, without"] += [told(image, face) for face in photos.analyzer.detect(image)]
    return [{"faces": name, "count": len(some), "glasses": f"{np.mean(some):.1%}"} for name, some in groups.items() if some]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=Path, help="a folder of colour photos of people without glasses, all upright")
    parser.add_argument("--step", type=int, default=1, help="take every so many-th of ORL's people only")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    photos = load(asked.photos, quick=False)
    photos.orl = {key: image for key, image in photos.orl.items() if key[0] % asked.step == 1 % asked.step}
    for part in (copies, glasses):
        print(f"\n## {part.__name__}\n\n{markdown(part(photos))}", flush=True)


if __name__ == "__main__":
    main()
