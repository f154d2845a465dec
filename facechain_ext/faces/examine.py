"""One photo at a time: read, turned upright, its faces found, cut out and measured. What the photos mean together is judged in ``prepare``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from facechain_ext.config import PrepareConfig
from facechain_ext.errors import UserInputError
from facechain_ext.faces.advice import Shown, shown_of
from facechain_ext.faces.attributes import Attributes
from facechain_ext.faces.describe import describe, glasses
from facechain_ext.faces.duplicates import Print, fingerprint
from facechain_ext.faces.geometry import Frame, bucket_for, cut, plan, to_crop
from facechain_ext.faces.orientation import upright
from facechain_ext.faces.quality import LIMITS, Measures, measure, score
from facechain_ext.faces.reading import OversizedPhoto, load_photo
from facechain_ext.faces.types import Embedding, Face, Image, PhotoVerdict, Reason
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage

MAX_SOURCES = 1000
"""Photos looked at; more are a mistake (a whole disk), not a person's photos."""
MAX_FACES = 6
"""Faces of one photo that are compared, the largest."""
BYSTANDER = 0.25
"""Faces with a side below this share of the largest one's are background."""
LEVEL_ABOVE = 30.0
"""Heads tilted more, degrees, are turned upright; less is how people hold their heads."""
ENOUGH = 1536
"""px: a JPEG is decoded at 1/2, 1/4 or 1/8 as long as its longest side stays above this and above three crops."""
THUMBNAIL = 360
"""px."""
WORKERS = 4
"""Photos decoded at once, at most; memory holds one for each worker."""
VARIED = (1.0, 0.72, 1.45)
"""Framings one photo after the other takes when they are to vary, as shares of the wanted one: so that not every portrait is a close-up."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One face of one photo, with all that is needed once the photo itself is let go."""

    face: Face
    frame: Frame
    png: bytes
    """The crop; compressed because hundreds of photos wait for the set's judgement together."""
    width: int
    """px of the crop."""
    measures: Measures
    embedding: Embedding
    print: Print
    place: str
    box: tuple[float, float, float, float]
    """In shares of the photo."""
    attributes: Attributes | None
    shown: Shown
    tags: tuple[str, ...]
    """What can be measured beside the person, without the background."""

    @property
    def quality(self) -> float:
        """0..1."""
        return score(self.measures)

    def crop(self) -> Image:
        """The crop (h, w, 3)."""
        decoded = cv2.imdecode(np.frombuffer(self.png, np.uint8), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(np.asarray(decoded, np.uint8)[..., ::-1])


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A photo that was looked at: a verdict already, or candidates to choose from."""

    file: str
    verdict: PhotoVerdict | None = None
    candidates: tuple[Candidate, ...] = ()
    sha256: str = ""
    thumbnail: bytes | None = None
    """JPEG, upright."""
    turns: int = 0
    """Quarter turns that brought it upright, its EXIF aside."""


def examine(
    sources: Sequence[Path],
    analyzer: FaceAnalyzer,
    config: PrepareConfig,
    problems: Mapping[Path, str],
    on_progress: ProgressSink,
    cancel: CancelToken,
) -> list[Seen]:
    """Look at the files ``sources``, several at once; ``problems`` says what is wrong with some already.

    Raises:
        Cancelled: when ``cancel`` was cancelled.
    """
    analyzer.pack  # noqa: B018 - a missing model is said before the first photo is read
    opened = sources[:MAX_SOURCES]
    done = 0
    on_progress(Progress(Stage.PREPARE, 0, len(sources)))
    with ThreadPoolExecutor(max(1, min(WORKERS, os.cpu_count() or 1)), thread_name_prefix="facechain-photo") as pool:
        futures = [pool.submit(_look, n, path, analyzer, config, problems.get(path), cancel) for n, path in enumerate(opened)]
        try:
            for _ in _ended(futures):
                cancel.raise_if_cancelled()
                done += 1
                on_progress(Progress(Stage.PREPARE, done, len(sources)))
        except BaseException:
            cancel_all(futures)
            raise
    seen = _without_copies([f.result() for f in futures])
    if len(sources) > len(opened):
        seen += [_unopened(path) for path in sources[MAX_SOURCES:]]
        on_progress(Progress(Stage.PREPARE, len(sources), len(sources)))
    return seen


def cancel_all(futures: Sequence[Future[Seen]]) -> None:
    """Let none of ``futures`` begin any more."""
    for future in futures:
        future.cancel()


def _ended(futures: Sequence[Future[Seen]]) -> Iterator[Future[Seen]]:
    """Each future when it ended; raises what it raised."""
    pending = set(futures)
    while pending:
        ended, pending = wait(pending, return_when="FIRST_COMPLETED")
        for future in ended:
            future.result()
            yield future


def _look(number: int, path: Path, analyzer: FaceAnalyzer, config: PrepareConfig, problem: str | None, cancel: CancelToken) -> Seen:
    """Read photo ``number`` and measure its faces."""
    cancel.raise_if_cancelled()
    if problem:
        return _rejected(path, Reason.UNREADABLE, problem)
    scale = config.crop_scale * (VARIED[number % len(VARIED)] if config.vary_framing else 1.0)
    try:
        photo = load_photo(path, enough=max(ENOUGH, 3 * config.resolution))
        found = upright(photo.image, analyzer.detect)
        if photo.reduced and found.faces and plan(found.faces[0], _size(found.image), scale).side < config.resolution:
            photo = load_photo(path)
            found = upright(photo.image, analyzer.detect)
    except OversizedPhoto as error:
        return _rejected(path, Reason.TOO_LARGE, str(error))
    except UserInputError as error:
        return _rejected(path, Reason.UNREADABLE, str(error))
    image, faces = found.image, found.faces
    thumbnail = _thumbnail(image)
    if not faces:
        text = "No face was found. Use a photo that shows the face uncovered, upright and not too small."
        verdict = PhotoVerdict(path.name, False, (Reason.NO_FACE,), (text,))
        return Seen(path.name, verdict, (), photo.sha256, thumbnail)
    # What may be a face is one only where nothing else surely is.
    faces = [f for f in faces if f.score >= LIMITS.score] or faces
    shown = [f for f in faces if f.size >= BYSTANDER * faces[0].size][:MAX_FACES]
    return Seen(path.name, None, tuple(_candidate(image, f, analyzer, config, scale) for f in shown), photo.sha256, thumbnail, found.quarter_turns)


def _size(image: Image) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _rejected(path: Path, reason: Reason, sentence: str) -> Seen:
    return Seen(path.name, PhotoVerdict(path.name, False, (reason,), (sentence,)))


def _unopened(path: Path) -> Seen:
    return _rejected(
        path, Reason.TOO_MANY, f"More than {MAX_SOURCES} photos were given; this one was not opened. Choose the best 10 to 50."
    )


def _without_copies(seen: Sequence[Seen]) -> list[Seen]:
    """The same file given again is said to be so."""
    first: dict[str, str] = {}
    result = []
    for photo in seen:
        if photo.sha256 and photo.sha256 in first:
            text = f"This is the same file as '{first[photo.sha256]}'; one of them is enough. Nothing to do."
            verdict = PhotoVerdict(photo.file, False, (Reason.DUPLICATE,), (text,))
            photo = replace(photo, verdict=verdict, candidates=())
        elif photo.sha256:
            first[photo.sha256] = photo.file
        result.append(photo)
    return result


def _candidate(image: Image, face: Face, analyzer: FaceAnalyzer, config: PrepareConfig, scale: float) -> Candidate:
    size = _size(image)
    level = abs(face.roll) > LEVEL_ABOVE
    square = plan(face, size, scale, level=level)
    probe = cut(image, square, config.resolution)
    frame, crop = square, probe
    if config.buckets and not level:
        width, height = bucket_for(face, size, scale, config.resolution)
        if width != height:
            frame = plan(face, size, scale, aspect=height / width)
            crop = cut(image, frame, width)
    found = measure(probe, face, square)
    _, png = cv2.imencode(".png", crop[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    x0, y0, x1, y1 = (float(v) for v in face.bbox / np.tile(np.array(size, np.float32), 2))
    return Candidate(
        face,
        frame,
        png.tobytes(),
        crop.shape[1],
        found,
        analyzer.embed(image, face),
        fingerprint(probe, to_crop(face.landmarks, square, config.resolution)),
        ("on the left", "in the middle", "on the right")[min(2, int(3 * face.centre[0] / size[0]))],
        (x0, y0, x1, y1),
        analyzer.attributes(image, face),
        shown_of(probe, face, square),
        (*describe(crop, face, frame), *glasses(found)),
    )


def _thumbnail(image: Image) -> bytes:
    share = min(1.0, THUMBNAIL / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * share)), max(1, round(image.shape[0] * share)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if share < 1 else image
    _, jpeg = cv2.imencode(".jpg", np.asarray(small)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])
    return jpeg.tobytes()
