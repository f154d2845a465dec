"""Several people in one picture, drawn again until every face in it is its own person's.

Each person's part is predicted in a window of its own, so one that came out well comes out nearly the same with other noise beside it:
only the parts that missed the limits get new noise. That makes what is delivered the best of a few drawings of each part, not of whole
pictures, in which everything would have to succeed at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from facechain_ext.config import SEED_MAX
from facechain_ext.portraits.rank import is_flagged, margins, worth
from facechain_ext.ports import SamplingRequest
from facechain_ext.services.candidates import Candidate, Room


def drawn(room: Room, whole: SamplingRequest, tries: int) -> tuple[list[Candidate], list[Candidate]]:
    """The best of up to ``tries`` drawings of each picture of ``whole``, in its order, and all the others.

    Right is what reaches the room's aim. New noise has the seeds after those of ``whole``, one for each drawing.
    """
    aim = room.aim
    made = [[found] for found in room.make(whole)]
    fresh = whole.seeds[-1]
    for number in range(2, tries + 1):
        missed = [own for own in made if is_flagged(own[-1].score, aim)]
        if not missed:
            break
        seeds = []
        for own in missed:
            fresh = (fresh + 1) % (SEED_MAX + 1)
            seeds.append(_seeds_again(own[-1], margins(own[-1].score, aim), fresh))
        before = sum(map(len, made))
        for own, found in zip(missed, room.make(_with_seeds(whole, seeds), number, before), strict=True):
            own.append(found)
    best = [max(own, key=lambda found: (not is_flagged(found.score, aim), worth(found.score, aim))) for own in made]
    kept = {id(found) for found in best}
    return best, [found for own in made for found in own if id(found) not in kept]


def _seeds_again(last: Candidate, found: Sequence[float], fresh: int) -> tuple[int, ...]:
    """The next drawing's seed for each part: the ``last`` one's where its face was right, else ``fresh``; one where parts are not apart."""
    if not last.request.regions:
        return (fresh,)
    seeds = tuple(seed if x >= 0 else fresh for seed, x in zip(last.seeds, found, strict=True))
    # Something else is wrong with it: another drawing all the same.
    return seeds if seeds != last.seeds else (fresh,) * len(seeds)


def _with_seeds(whole: SamplingRequest, seeds: Sequence[tuple[int, ...]]) -> SamplingRequest:
    """``whole`` with pictures of these seeds, one for each region or one for the whole picture."""
    apart = bool(whole.regions)
    return replace(whole, seeds=tuple(own[0] for own in seeds), region_seeds=tuple(seeds) if apart else ())
