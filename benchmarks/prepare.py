"""How long photos take from file to dataset: the whole, and each stage alone.

    python benchmarks/prepare.py [--photos 20] [--size 4000x3000] [--face 0.3] [--threads 2]

The photos are made here from one public-domain photo (NASA's astronaut out of scikit-image): enlarged with grain, shifted and lit differently, saved as JPEG,
so that reading costs what a phone's photo costs. The goal: 20 photos of 12 megapixels within 6 s on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image

from facechain_ext.config import PrepareConfig
from facechain_ext.faces.examine import ENOUGH
from facechain_ext.faces.geometry import cut, plan
from facechain_ext.faces.masks import person_mask
from facechain_ext.faces.prepare import judge, look
from facechain_ext.faces.quality import measure
from facechain_ext.faces.reading import load_photo
from facechain_ext.faces.types import Decisions
from facechain_ext.vision.insight import InsightAnalyzer


def astronaut() -> np.ndarray:
    """The photo (512, 512, 3)."""
    import skimage

    return np.asarray(PIL.Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").convert("RGB"))


def made_photos(folder: Path, count: int, size: tuple[int, int], share: float) -> list[Path]:
    """``count`` JPEGs of ``size`` (W, H) px whose face takes ``share`` of the height."""
    source, draw = astronaut(), np.random.default_rng(7)
    width, height = size
    # The face of the original is 130 of 512 px high.
    scale = share * height / 130
    files = []
    for number in range(count):
        side = round(512 * scale)
        big = cv2.resize(source, (side, side), interpolation=cv2.INTER_CUBIC)
        canvas = np.full((height, width, 3), draw.integers(40, 200, 3), np.uint8)
        left = (width - side) // 2 + int(draw.integers(-width // 20, width // 20 + 1))
        top = int(draw.integers(-height // 30, height // 30 + 1))
        x0, y0 = max(left, 0), max(top, 0)
        part = big[y0 - top : y0 - top + height - y0, x0 - left : x0 - left + width - x0]
        canvas[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
        grain = draw.integers(-9, 10, (height // 2, width // 2, 1), np.int16).repeat(2, 0).repeat(2, 1)
        light = 0.75 + 0.5 * draw.random()
        noisy = np.clip(canvas[: grain.shape[0], : grain.shape[1]] * light + grain, 0, 255).astype(np.uint8)
        file = folder / f"{number:02d}.jpg"
        PIL.Image.fromarray(noisy).save(file, quality=92)
        files.append(file)
    return files


def timed(work: Callable[[], Any], rounds: int = 5) -> float:
    """Median milliseconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def stages(file: Path, analyzer: InsightAnalyzer, config: PrepareConfig) -> dict[str, float]:
    """Milliseconds of each stage for one photo on one thread."""
    image = load_photo(file, enough=max(ENOUGH, 3 * config.resolution)).image
    face = analyzer.detect(image)[0]
    frame = plan(face, (image.shape[1], image.shape[0]), config.crop_scale)
    crop = cut(image, frame, config.resolution)
    return {
        "read (reduced)": timed(lambda: load_photo(file, enough=max(ENOUGH, 3 * config.resolution))),
        "read (whole)": timed(lambda: load_photo(file), 2),
        "detect": timed(lambda: analyzer.detect(image)),
        "embed": timed(lambda: analyzer.embed(image, face)),
        "crop": timed(lambda: cut(image, frame, config.resolution)),
        "measure": timed(lambda: measure(crop, face, frame)),
        "figure's mask": timed(lambda: person_mask(crop, face, frame)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=20)
    parser.add_argument("--size", default="4000x3000")
    parser.add_argument("--face", type=float, default=0.3, help="face height / photo height")
    parser.add_argument("--threads", type=int, default=2, help="of the face models")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    width, height = (int(v) for v in options.size.split("x"))
    config = PrepareConfig()
    analyzer = InsightAnalyzer(threads=options.threads)
    with tempfile.TemporaryDirectory() as folder:
        files = made_photos(Path(folder), options.photos, (width, height), options.face)
        began = time.perf_counter()
        analyzer.pack  # noqa: B018 - loads the models
        loading = time.perf_counter() - began
        began = time.perf_counter()
        draft = look(files, "Somebody", analyzer, config)
        looked = time.perf_counter() - began
        began = time.perf_counter()
        # Made from one photo they are near-duplicates; as if the user wanted all of them.
        result = judge(draft, analyzer, Decisions(dict.fromkeys(range(options.photos), 0)))
        judged = time.perf_counter() - began
        found = {
            "photos": options.photos,
            "megapixels": round(width * height / 1e6, 1),
            "accepted": sum(v.accepted for v in result.verdicts),
            "seconds": round(looked + judged, 2),
            "of it looking": round(looked, 2),
            "of it judging": round(judged, 2),
            "loading the models, s": round(loading, 2),
            "ms per photo, one thread": {k: round(v, 1) for k, v in stages(files[0], analyzer, config).items()},
        }
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
