"""Photos in, dataset and one verdict per photo out. One bad photo never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from facechain_ext.config import PrepareConfig
from facechain_ext.errors import UserInputError
from facechain_ext.faces.captions import caption
from facechain_ext.faces.duplicates import Bits, fingerprint, repeats
from facechain_ext.faces.geometry import Frame, cut, plan
from facechain_ext.faces.identity import choose, mean_embedding, same_person
from facechain_ext.faces.masks import face_mask
from facechain_ext.faces.quality import Measures, faults, measure, remarks, score
from facechain_ext.faces.reading import OversizedPhoto, load_photo
from facechain_ext.faces.types import Dataset, Embedding, Face, Image, PhotoVerdict, Preparation, PreparedPhoto, Reason
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage, silent

log = logging.getLogger(__name__)

MAX_SOURCES = 1000
"""Photos looked at; more are a mistake (a whole disk), not a person's photos."""
MAX_FACES = 6
"""Faces of one photo that are compared, the largest."""
BYSTANDER = 0.25
"""Faces with a side below this share of the largest one's are background."""
DOMINANT = 2.0
"""A face this many times as large as the next is the one meant, when no other photo can tell (FaceChain: 4 x the area)."""
LEVEL_ABOVE = 30.0
"""Heads tilted more, degrees, are turned upright; less is how people hold their heads."""


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """One face of one photo, with all that is needed once the photo itself is let go."""

    face: Face
    frame: Frame
    png: bytes
    """The crop; compressed because hundreds of photos wait for the set's judgement together."""
    measures: Measures
    embedding: Embedding
    print: Bits
    place: str

    @property
    def quality(self) -> float:
        return score(self.measures)


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """A photo that was looked at: a verdict already, or candidates to choose from."""

    file: str
    verdict: PhotoVerdict | None = None
    candidates: tuple[_Candidate, ...] = ()
    sha256: str = ""


@dataclass(slots=True)
class _Pick:
    """The person's face in a photo and what is to be said about it."""

    index: int
    seen: _Seen
    candidate: _Candidate
    similarity: float | None
    notes: list[tuple[Reason, str]]


def prepare(
    sources: Sequence[Path],
    person: str,
    analyzer: FaceAnalyzer,
    config: PrepareConfig,
    *,
    on_progress: ProgressSink = silent,
    cancel: CancelToken | None = None,
) -> Preparation:
    """Judge the photo files ``sources`` and make a dataset of the good ones; one is enough. Writes nothing.

    The dataset is None when no photo was accepted; the verdicts say why.

    Raises:
        WeightsMissing: when the analyzer's models are missing.
        Cancelled: when ``cancel`` was cancelled.
    """
    token = cancel or CancelToken()
    seen: list[_Seen] = []
    hashes: dict[str, str] = {}
    on_progress(Progress(Stage.PREPARE, 0, len(sources)))
    for step, path in enumerate(sources, start=1):
        token.raise_if_cancelled()
        seen.append(_examine(path, analyzer, config, hashes) if step <= MAX_SOURCES else _unopened(path))
        on_progress(Progress(Stage.PREPARE, step, len(sources)))
    verdicts, accepted = _judge(seen, analyzer.pack.name, config.max_photos)
    log.info("prepared %d of %d photos", len(accepted), len(sources))
    dataset = _dataset(accepted, person, analyzer, config) if accepted else None
    return Preparation(tuple(verdicts), dataset, tuple(_advice(accepted)), tuple(sources))


def _examine(path: Path, analyzer: FaceAnalyzer, config: PrepareConfig, hashes: dict[str, str]) -> _Seen:
    """Read one photo and measure its faces; ``hashes`` maps the bytes' hash to the file seen with it."""
    try:
        photo = load_photo(path, enough=max(2048, 3 * config.resolution))
        if photo.sha256 in hashes:
            twin = hashes[photo.sha256]
            return _rejected(path, Reason.DUPLICATE, f"This is the same file as '{twin}', which is used. Nothing to do.")
        hashes[photo.sha256] = path.name
        faces = analyzer.detect(photo.image)
        if photo.reduced and faces and plan(faces[0], _size(photo.image), config.crop_scale).side < config.resolution:
            photo = load_photo(path)
            faces = analyzer.detect(photo.image)
    except OversizedPhoto as error:
        return _rejected(path, Reason.TOO_LARGE, str(error))
    except UserInputError as error:
        return _rejected(path, Reason.UNREADABLE, str(error))
    if not faces:
        return _rejected(path, Reason.NO_FACE, "No face was found. Use a photo that shows the face uncovered, upright and not too small.")
    shown = [f for f in faces if f.size >= BYSTANDER * faces[0].size][:MAX_FACES]
    return _Seen(path.name, None, tuple(_candidate(photo.image, f, analyzer, config) for f in shown), photo.sha256)


def _size(image: Image) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _rejected(path: Path, reason: Reason, sentence: str) -> _Seen:
    return _Seen(path.name, PhotoVerdict(path.name, False, (reason,), (sentence,)))


def _unopened(path: Path) -> _Seen:
    return _rejected(
        path, Reason.TOO_MANY, f"More than {MAX_SOURCES} photos were given; this one was not opened. Choose the best 10 to 50."
    )


def _candidate(image: Image, face: Face, analyzer: FaceAnalyzer, config: PrepareConfig) -> _Candidate:
    frame = plan(face, _size(image), config.crop_scale, level=abs(face.roll) > LEVEL_ABOVE)
    crop = cut(image, frame, config.resolution)
    _, png = cv2.imencode(".png", crop[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    third = min(2, int(3 * face.centre[0] / image.shape[1]))
    return _Candidate(
        face,
        frame,
        png.tobytes(),
        measure(crop, face, frame),
        analyzer.embed(image, face),
        fingerprint(crop),
        ("on the left", "in the middle", "on the right")[third],
    )


def _judge(seen: Sequence[_Seen], pack: str, most: int) -> tuple[list[PhotoVerdict], list[_Pick]]:
    """A verdict for each of ``seen`` and the accepted faces in their order."""
    verdicts: dict[int, PhotoVerdict] = {i: s.verdict for i, s in enumerate(seen) if s.verdict is not None}
    picks = _identify(seen, pack, verdicts)
    good: list[_Pick] = []
    for pick in picks:
        wrong = faults(pick.candidate.measures)
        if wrong:
            verdicts[pick.index] = _verdict(pick, wrong, accepted=False)
        else:
            good.append(replace(pick, notes=[*pick.notes, *remarks(pick.candidate.measures)]))
    good = _without_repeats(good, verdicts)
    kept = sorted(sorted(good, key=lambda p: -p.candidate.quality)[:most], key=lambda p: p.index)
    for pick in good:
        if pick not in kept:
            note = (Reason.TOO_MANY, f"Only the best {most} photos are used. Raise max_photos to use this one as well.")
            verdicts[pick.index] = _verdict(pick, [note], accepted=False)
    for pick in kept:
        verdicts[pick.index] = _verdict(pick, pick.notes, accepted=True)
    return [verdicts[i] for i in range(len(seen))], kept


def _identify(seen: Sequence[_Seen], pack: str, verdicts: dict[int, PhotoVerdict]) -> list[_Pick]:
    """The person's face in each photo; strangers get their verdict."""
    open_ = [(i, s) for i, s in enumerate(seen) if s.candidates]
    choice = choose(
        [[c.embedding for c in s.candidates] for _, s in open_],
        [[c.quality * c.face.size for c in s.candidates] for _, s in open_],
        same_person(pack),
    )
    agreed = sum(1 for k in choice.faces if k is not None) > 1
    picks: list[_Pick] = []
    for (i, s), k, likeness in zip(open_, choice.faces, choice.similarity, strict=True):
        sizes = [c.face.size for c in s.candidates]
        several = len(sizes) > 1
        if k is None:
            verdicts[i] = _stranger(s, likeness, several)
        elif several and not agreed and sizes[k] < DOMINANT * max(size for j, size in enumerate(sizes) if j != k):
            text = f"{len(sizes)} faces of similar size, and no other photo tells whose is meant. Crop it to one person or add more photos."
            verdicts[i] = PhotoVerdict(s.file, False, (Reason.SEVERAL_PEOPLE,), (text,), s.candidates[k].quality)
        else:
            why = "it matches the other photos" if agreed else "it is by far the largest"
            place = s.candidates[k].place
            text = f"{len(sizes)} faces; the one {place} was taken because {why}."
            picks.append(_Pick(i, s, s.candidates[k], likeness, [(Reason.SEVERAL_PEOPLE, text)] if several else []))
    return picks


def _stranger(seen: _Seen, likeness: float | None, several: bool) -> PhotoVerdict:
    quality = max(c.quality for c in seen.candidates)
    if several:
        text = f"None of the {len(seen.candidates)} faces is the person of the other photos. Leave this photo out."
        return PhotoVerdict(seen.file, False, (Reason.SEVERAL_PEOPLE, Reason.DIFFERENT_PERSON), (text, text), quality, likeness)
    # A blurred or dark face looks like nobody: what is wrong with the photo is truer than "somebody else".
    wrong = faults(seen.candidates[0].measures)
    if wrong:
        reasons, sentences = tuple(r for r, _ in wrong), tuple(t for _, t in wrong)
        return PhotoVerdict(seen.file, False, reasons, sentences, quality, likeness)
    text = "This face is not the person of the other photos. Leave it out, or prepare this person under another name."
    return PhotoVerdict(seen.file, False, (Reason.DIFFERENT_PERSON,), (text,), quality, likeness)


def _without_repeats(picks: list[_Pick], verdicts: dict[int, PhotoVerdict]) -> list[_Pick]:
    found = repeats([p.candidate.print for p in picks], [p.candidate.embedding for p in picks], [p.candidate.quality for p in picks])
    for index, twin in found.items():
        note = (Reason.NEAR_DUPLICATE, f"This is nearly the same picture as '{picks[twin].seen.file}', which is used. Nothing to do.")
        verdicts[picks[index].index] = _verdict(picks[index], [note], accepted=False)
    return [p for i, p in enumerate(picks) if i not in found]


def _verdict(pick: _Pick, notes: Sequence[tuple[Reason, str]], *, accepted: bool) -> PhotoVerdict:
    reasons, sentences = tuple(r for r, _ in notes), tuple(s for _, s in notes)
    return PhotoVerdict(pick.seen.file, accepted, reasons, sentences, pick.candidate.quality, pick.similarity)


def _dataset(picks: Sequence[_Pick], person: str, analyzer: FaceAnalyzer, config: PrepareConfig) -> Dataset:
    photos = tuple(_prepared(p, config) for p in picks)
    mean = mean_embedding([p.embedding for p in photos])
    pack = analyzer.pack
    return Dataset(person, config.trigger, config.subject, config.resolution, photos, pack.name, pack.sha256, mean)


def _prepared(pick: _Pick, config: PrepareConfig) -> PreparedPhoto:
    found = pick.candidate
    decoded = cv2.imdecode(np.frombuffer(found.png, np.uint8), cv2.IMREAD_COLOR)
    image = np.ascontiguousarray(np.asarray(decoded, np.uint8)[..., ::-1])
    mask = face_mask(found.face, found.frame, config.resolution)
    words = caption(config.trigger, config.subject)
    return PreparedPhoto(image, mask, words, pick.seen.sha256, found.embedding, found.quality)


def _advice(picks: Sequence[_Pick]) -> list[str]:
    """Sentences about the set of accepted photos as a whole."""
    if not picks:
        return ["No photo can be used. Add photos that show the face large, sharp and uncovered."]
    said = [f"{len(picks)} photo{'s' if len(picks) > 1 else ''} will be used."]
    if len(picks) < 5:
        said.append(f"That is enough to go on, but the likeness will be limited: {5 - len(picks)} to {15 - len(picks)} more would help.")
    yaws = [p.candidate.face.yaw for p in picks]
    if len(picks) >= 3 and max(yaws) - min(yaws) < 15:
        said.append("All photos show the face from the same side: two or three views from the sides would help.")
    return said
