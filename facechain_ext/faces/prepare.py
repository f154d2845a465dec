"""Photos in, dataset and one verdict per photo out. One bad photo never stops the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from facechain_ext.config import PrepareConfig
from facechain_ext.faces.advice import advice
from facechain_ext.faces.attributes import Suggestion, suggest
from facechain_ext.faces.captions import Captioning, caption, captions, from_captioner
from facechain_ext.faces.describe import background
from facechain_ext.faces.duplicates import repeats
from facechain_ext.faces.examine import Candidate, Seen, examine
from facechain_ext.faces.finish import LIKENESS_KEPT, retouched, with_background
from facechain_ext.faces.geometry import box_to_crop, to_crop
from facechain_ext.faces.identity import Choice, choose, mean_embedding, same_person
from facechain_ext.faces.masks import face_mask, head_mask, person_mask
from facechain_ext.faces.quality import LIMITS, faults, remarks
from facechain_ext.faces.types import Dataset, Decisions, Face, FaceSeen, Image, Mask, PhotoVerdict, Preparation, PreparedPhoto, Reason
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.progress import CancelToken, ProgressSink, silent

log = logging.getLogger(__name__)

DOMINANT = 2.0
"""A face this many times as large as the next is the one meant, when no other photo can tell (FaceChain: 4 x the area)."""
Tagger = Callable[[Sequence[Image]], list[list[str]]]
CHOSEN = "You chose this face."


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Photos that were looked at and can be judged again without them, as long as the program runs. Holds crops: memory only."""

    seen: tuple[Seen, ...]
    sources: tuple[Path, ...]
    person: str
    config: PrepareConfig
    pack_sha256: str


@dataclass(slots=True)
class _Pick:
    """The person's face in a photo and what is to be said about it."""

    index: int
    seen: Seen
    candidate: Candidate
    similarity: float | None
    notes: list[tuple[Reason, str]]
    chosen: bool = False
    """By the user, against whatever the rules say."""


@dataclass(slots=True)
class _Judgement:
    """Verdicts so far, by the photo's place."""

    verdicts: dict[int, PhotoVerdict] = field(default_factory=dict)
    kept: list[_Pick] = field(default_factory=list)
    rivals: int = 0
    """Photos with the one other person seen most often."""


def prepare(
    sources: Sequence[Path],
    person: str,
    analyzer: FaceAnalyzer,
    config: PrepareConfig,
    *,
    on_progress: ProgressSink = silent,
    cancel: CancelToken | None = None,
    problems: Mapping[Path, str] | None = None,
) -> Preparation:
    """Judge the photo files ``sources`` and make a dataset of the good ones; one is enough. Writes nothing.

    The dataset is None when no photo was accepted; the verdicts say why. ``problems`` says what is wrong with files that need not be opened.

    Raises:
        WeightsMissing: when the analyzer's models are missing.
        Cancelled: when ``cancel`` was cancelled.
    """
    draft = look(sources, person, analyzer, config, on_progress=on_progress, cancel=cancel, problems=problems)
    return judge(draft, analyzer)


def look(
    sources: Sequence[Path],
    person: str,
    analyzer: FaceAnalyzer,
    config: PrepareConfig,
    *,
    on_progress: ProgressSink = silent,
    cancel: CancelToken | None = None,
    problems: Mapping[Path, str] | None = None,
) -> Draft:
    """The first half of ``prepare``: everything that needs the photos themselves."""
    seen = examine(sources, analyzer, config, problems or {}, on_progress, cancel or CancelToken())
    return Draft(tuple(seen), tuple(sources), person, config, analyzer.pack.sha256)


def judge(draft: Draft, analyzer: FaceAnalyzer, decisions: Decisions | None = None, tags: Tagger | None = None) -> Preparation:
    """The second half: whose photos these are, which are good, and the dataset; the user's ``decisions`` go before every rule.

    ``tags`` is the host's captioner: crops -> tags of each.
    """
    decided = decisions or Decisions()
    judgement = _judge(draft, analyzer.pack.name, decided)
    log.info("prepared %d of %d photos", len(judgement.kept), len(draft.seen))
    dataset = _dataset(draft, judgement, analyzer, decided, tags) if judgement.kept else None
    verdicts = tuple(judgement.verdicts[i] for i in range(len(draft.seen)))
    suggestion = suggest([a for p in judgement.kept if (a := p.candidate.attributes) is not None])
    said = [*advice([p.candidate.shown for p in judgement.kept]), *_rival(judgement), *_about(suggestion, draft.config)]
    thumbnails = tuple(s.thumbnail for s in draft.seen)
    return Preparation(verdicts, dataset, tuple(said), draft.sources, thumbnails, suggestion)


def _judge(draft: Draft, pack: str, decided: Decisions) -> _Judgement:
    """A verdict for each photo and the accepted faces in their order."""
    seen, most = draft.seen, draft.config.max_photos
    found = _Judgement({i: s.verdict for i, s in enumerate(seen) if s.verdict is not None})
    good: list[_Pick] = []
    for pick in _identify(seen, pack, found, decided):
        wrong = [] if pick.chosen else faults(pick.candidate.measures)
        if wrong:
            found.verdicts[pick.index] = _verdict(pick, wrong, accepted=False)
        else:
            good.append(replace(pick, notes=[*pick.notes, *_turned(pick.seen), *remarks(pick.candidate.measures)]))
    good = _without_repeats(good, found)
    ranked = sorted(good, key=lambda p: (not p.chosen, -p.candidate.quality))
    found.kept = sorted(ranked[:most], key=lambda p: p.index)
    for pick in ranked[most:]:
        note = (Reason.TOO_MANY, f"Only the best {most} photos are used. Raise max_photos to use this one as well.")
        found.verdicts[pick.index] = _verdict(pick, [note], accepted=False)
    for pick in found.kept:
        found.verdicts[pick.index] = _verdict(pick, pick.notes, accepted=True)
    return found


def _identify(seen: Sequence[Seen], pack: str, found: _Judgement, decided: Decisions) -> list[_Pick]:
    """The person's face in each photo; strangers and what the user leaves out get their verdict."""
    open_ = [(i, s) for i, s in enumerate(seen) if s.candidates and not _left_out(i, s, found, decided)]
    chosen = {place: wanted for place, (i, s) in enumerate(open_) if (wanted := _wanted(i, s, decided)) is not None}
    # A blurred face that is wanted all the same looks like nobody: it cannot tell who the others are.
    fixed = {place: k for place, k in chosen.items() if not faults(open_[place][1].candidates[k].measures)}
    choice = choose(
        [[c.embedding for c in s.candidates] for _, s in open_],
        [[c.quality * c.face.size for c in s.candidates] for _, s in open_],
        same_person(pack),
        fixed=fixed,
    )
    found.rivals = choice.rivals
    picks: list[_Pick] = []
    for place, (i, s) in enumerate(open_):
        if place in chosen:
            candidate = s.candidates[chosen[place]]
            picks.append(_Pick(i, s, candidate, choice.similarity[place], [(Reason.CHOSEN, CHOSEN)], chosen=True))
            continue
        pick = _recognised(i, s, place, choice, found)
        if pick is not None:
            picks.append(pick)
    return picks


def _left_out(index: int, seen: Seen, found: _Judgement, decided: Decisions) -> bool:
    if index not in decided.faces or decided.faces[index] is not None:
        return False
    faces = _faces(seen, None, None)
    found.verdicts[index] = PhotoVerdict(seen.file, False, (Reason.LEFT_OUT,), ("You left this photo out.",), faces=faces)
    return True


def _turned(seen: Seen) -> list[tuple[Reason, str]]:
    return [(Reason.TURNED, "The photo lay on its side or upside down and was turned.")] if seen.turns else []


def _wanted(index: int, seen: Seen, decided: Decisions) -> int | None:
    wanted = decided.faces.get(index)
    return wanted if wanted is not None and 0 <= wanted < len(seen.candidates) else None


def _recognised(index: int, seen: Seen, place: int, choice: Choice, found: _Judgement) -> _Pick | None:
    """The face that agrees with the other photos; without one the photo gets its verdict."""
    agreed = sum(1 for k in choice.faces if k is not None) > 1
    sizes = [c.face.size for c in seen.candidates]
    k, likeness = choice.faces[place], choice.similarity[place]
    if k is None:
        found.verdicts[index] = _stranger(seen, likeness)
        return None
    several = len(sizes) > 1
    twins = bool(choice.alike) and choice.alike[place] > 1
    # Where even the largest is too poor, that is what to say.
    poor = bool(faults(seen.candidates[k].measures))
    if several and not agreed and not twins and not poor and sizes[k] < DOMINANT * max(size for j, size in enumerate(sizes) if j != k):
        text = f"{len(sizes)} faces of similar size, and no other photo tells whose is meant. Choose the face, or add more photos of the person."
        quality, faces = seen.candidates[k].quality, _faces(seen, None, likeness)
        found.verdicts[index] = PhotoVerdict(seen.file, False, (Reason.SEVERAL_PEOPLE,), (text,), quality, likeness, faces)
        return None
    why = "it matches the other photos" if agreed else "it is by far the largest"
    text = f"{len(sizes)} faces; the one {seen.candidates[k].place} was taken because {why}."
    if twins:
        text = f"{choice.alike[place]} faces look like this person (a mirror, a collage, twins); the one {seen.candidates[k].place} was taken."
    return _Pick(index, seen, seen.candidates[k], likeness, [(Reason.SEVERAL_PEOPLE, text)] if several else [])


def _stranger(seen: Seen, likeness: float | None) -> PhotoVerdict:
    quality, faces = max(c.quality for c in seen.candidates), _faces(seen, None, likeness)
    if len(seen.candidates) > 1:
        text = f"{len(seen.candidates)} faces.", "None of them is the person of the other photos. Leave this photo out, or choose the face."
        reasons = (Reason.SEVERAL_PEOPLE, Reason.DIFFERENT_PERSON)
        return PhotoVerdict(seen.file, False, reasons, text, quality, likeness, faces)
    # A blurred or dark face looks like nobody: what is wrong with the photo is truer than "somebody else".
    only = max(seen.candidates, key=lambda c: c.quality)
    wrong = faults(only.measures)
    if wrong:
        return PhotoVerdict(seen.file, False, tuple(r for r, _ in wrong), tuple(t for _, t in wrong), quality, likeness, faces)
    text = "This face is not the person of the other photos. Leave it out, or prepare this person under another name."
    return PhotoVerdict(seen.file, False, (Reason.DIFFERENT_PERSON,), (text,), quality, likeness, faces)


def _without_repeats(picks: list[_Pick], found: _Judgement) -> list[_Pick]:
    """The same picture twice would count twice in training: the better one stays, and what the user chose."""
    again = repeats([p.candidate.print for p in picks], [p.candidate.embedding for p in picks], [_worth(p.candidate) for p in picks])
    again = {index: twin for index, twin in again.items() if not picks[index].chosen}
    for index, twin in again.items():
        note = (Reason.NEAR_DUPLICATE, f"This is nearly the same picture as '{picks[twin].seen.file}', which is kept. Nothing to do.")
        found.verdicts[picks[index].index] = _verdict(picks[index], [note], accepted=False)
    return [p for i, p in enumerate(picks) if i not in again]


def _worth(candidate: Candidate) -> tuple[float, ...]:
    """What decides between copies of one picture: quality, colour, size."""
    found = candidate.measures
    return round(candidate.quality, 2), float(found.chroma >= LIMITS.grey), found.face_side


def _verdict(pick: _Pick, notes: Sequence[tuple[Reason, str]], *, accepted: bool) -> PhotoVerdict:
    reasons, sentences = tuple(r for r, _ in notes), tuple(s for _, s in notes)
    faces = _faces(pick.seen, pick.candidate, pick.similarity)
    return PhotoVerdict(pick.seen.file, accepted, reasons, sentences, pick.candidate.quality, pick.similarity, faces)


def _faces(seen: Seen, taken: Candidate | None, likeness: float | None) -> tuple[FaceSeen, ...]:
    return tuple(FaceSeen(c.box, c.place, likeness if c is taken else None, c is taken) for c in seen.candidates)


def _captions(
    picks: Sequence[_Pick], crops: Sequence[Image], figures: Sequence[Mask], config: PrepareConfig, tagged: Tagger | None
) -> list[str]:
    """A caption for each accepted photo, as the settings want it."""
    if config.captions == Captioning.PLAIN.value:
        return [caption(config.trigger, config.subject)] * len(picks)
    measured = [[*p.candidate.tags, *background(crop, f)] for p, crop, f in zip(picks, crops, figures, strict=True)]
    if config.background != "keep":
        measured = [list(p.candidate.tags) for p in picks]
    if config.captions == Captioning.HOST.value and tagged is not None:
        more = tagged(crops)
        measured = [[*own, *from_captioner(theirs)] for own, theirs in zip(measured, more, strict=True)]
    return captions(config.trigger, config.subject, measured)


def _dataset(draft: Draft, judgement: _Judgement, analyzer: FaceAnalyzer, decided: Decisions, tags: Tagger | None) -> Dataset:
    config = draft.config
    crops = [pick.candidate.crop() for pick in judgement.kept]
    figures = [person_mask(crop, p.candidate.face, p.candidate.frame) for crop, p in zip(crops, judgement.kept, strict=True)]
    said = _captions(judgement.kept, crops, figures, config, tags)
    photos = []
    for pick, crop, figure, ours in zip(judgement.kept, crops, figures, said, strict=True):
        words = " ".join(decided.captions.get(pick.index, "").split()) or ours
        photo, kept = _prepared(pick, crop, figure, words, analyzer, config)
        verdict = replace(judgement.verdicts[pick.index], caption=words)
        if config.retouch and not kept:
            text = "Retouching would have changed the face, so this photo stays as it is."
            verdict = replace(verdict, reasons=(*verdict.reasons, Reason.RETOUCHED), sentences=(*verdict.sentences, text))
        judgement.verdicts[pick.index] = verdict
        photos.append(photo)
    mean = mean_embedding([p.embedding for p in photos])
    pack = analyzer.pack
    return Dataset(draft.person, config.trigger, config.subject, config.resolution, tuple(photos), pack.name, pack.sha256, mean)


def _prepared(
    pick: _Pick, image: Image, figure: Mask, words: str, analyzer: FaceAnalyzer, config: PrepareConfig
) -> tuple[PreparedPhoto, bool]:
    """The photo for the dataset, and whether retouching was kept."""
    found = pick.candidate
    face = face_mask(found.face, found.frame, found.width)
    image, kept = _retouched(image, found, analyzer) if config.retouch else (image, False)
    image = with_background(image, figure, config.background)
    head = head_mask(found.face, found.frame, figure)
    return PreparedPhoto(image, face, words, pick.seen.sha256, found.embedding, found.quality, head, figure), kept


def _retouched(image: Image, found: Candidate, analyzer: FaceAnalyzer) -> tuple[Image, bool]:
    """``image`` retouched, when the face is still the same afterwards."""
    inside = _in_crop(found)
    even = retouched(image, face_mask(found.face, found.frame, found.width), inside.size)
    likeness = float(analyzer.embed(image, inside) @ analyzer.embed(even, inside))
    return (even, True) if likeness >= LIKENESS_KEPT else (image, False)


def _in_crop(found: Candidate) -> Face:
    """The face in px of its crop."""
    box = box_to_crop(found.face.bbox, found.frame, found.width)
    return replace(found.face, bbox=np.asarray(box, np.float32), landmarks=to_crop(found.face.landmarks, found.frame, found.width))


def _rival(judgement: _Judgement) -> list[str]:
    """That the set does not tell whose it is."""
    if judgement.rivals < 2 or judgement.rivals < len(judgement.kept):
        return []
    return [f"Another person is in {judgement.rivals} of the photos too. If that one is meant, choose their face in one of them."]


def _about(suggestion: Suggestion | None, config: PrepareConfig) -> list[str]:
    """The class word that could be used, when it is another."""
    if suggestion is None or suggestion.subject in (config.subject, "person"):
        return []
    return [
        f"The face models take this person for a {suggestion.subject} of about {suggestion.age}: "
        f"if that is right, '{suggestion.subject}' is a better class word than '{config.subject}'."
    ]
