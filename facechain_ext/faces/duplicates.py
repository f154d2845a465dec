"""Photos that show the same picture again: saved smaller, cut, framed, filtered, mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.geometry import Points
from facechain_ext.faces.quality import aligned
from facechain_ext.faces.types import Embedding, Image

Bits = NDArray[np.bool_]
Grey = NDArray[np.uint8]

HASH_DISTANCE = 3
"""Of 63 bits. A picture saved again smaller, brighter or as a poor JPEG differs in 0; different photos of one person in ORL in 18
(median), 1 % of them in 4 or fewer."""
LIKENESS = 0.93
ALIKE = 0.70
"""Cosine above which two faces are laid over each other. A face of 110 px saved at half its size as a poor JPEG has 0.80: of what is small
and coarse the embedding tells less than the pixels do."""
OVERLAY = 0.998
"""Correlation of two faces laid over each other exactly: copies have nearly 1, different people at most 0.95, different photos of one
person in ORL more than this only where nobody moved in between (1 %). See ``benchmarks/copies.py``."""
FACE, CORE = 96, 48
"""Sides in px of the small face kept for comparison and of its middle, brows to mouth, which is searched for in the other."""
EYES = 21.0
"""px between the eyes in it."""
ROUGHLY, SOON = 0.80, 0.97
"""Correlation before the two are fitted, and after the first steps; copies have at least 0.87 and 0.998. What has less is given up, so that a
hundred photos of one person, which are 4,950 pairs, take two seconds."""
FIRST, STEPS = (3, 3, 1e-4), (3, 7, 1e-4)
"""When fitting ends: kind (steps or change), steps, change."""


@dataclass(frozen=True, slots=True, eq=False)
class Print:
    """What two pictures are compared by."""

    bits: Bits
    """(63,)."""
    face: Grey
    """(96, 96), eyes level."""


def fingerprint(crop: Image, landmarks: Points) -> Print:
    """What tells the picture ``crop`` (R, R, 3) from others: a perceptual hash of it, and the small face at ``landmarks`` (5, 2) px.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (DCT hash).
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
    low = np.asarray(cv2.dct(small))[:8, :8].ravel()[1:]
    face = cv2.cvtColor(aligned(crop, landmarks, FACE, EYES), cv2.COLOR_RGB2GRAY)
    return Print(low > np.median(low), np.asarray(cv2.GaussianBlur(face, (0, 0), 1.2), np.uint8))


def near(first: Print, second: Print, likeness: float) -> bool:
    """True when two crops of cosine ``likeness`` (-1..1) are the same picture, changed a little."""
    if likeness >= LIKENESS and int(np.count_nonzero(first.bits != second.bits)) <= HASH_DISTANCE:
        return True
    # A hash sees what lies around the face too: cut or framed anew it differs. The face itself stays.
    return likeness >= ALIKE and (_same(first.face, second.face) or _same(first.face, np.ascontiguousarray(second.face[:, ::-1])))


def _same(first: Grey, second: Grey) -> bool:
    """True when the middle of ``first`` is found in ``second``, pixel for pixel once a small shift, turn and stretch are undone.

    Source: Evangelidis and Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization", 2008.
    """
    margin = (FACE - CORE) // 2
    core = np.ascontiguousarray(first[margin:-margin, margin:-margin])
    found = cv2.minMaxLoc(cv2.matchTemplate(second[margin // 2 : -margin // 2, margin // 2 : -margin // 2], core, cv2.TM_CCOEFF_NORMED))
    if found[1] < ROUGHLY:
        return False
    start = np.array([[1, 0, margin // 2 + found[3][0]], [0, 1, margin // 2 + found[3][1]]], np.float32)
    everywhere = np.full_like(second, 255)
    try:
        soon, fitted = cv2.findTransformECC(core, second, start, cv2.MOTION_AFFINE, FIRST, everywhere, 1)
        if soon < SOON:
            return False
        return float(cv2.findTransformECC(core, second, fitted, cv2.MOTION_AFFINE, STEPS, everywhere, 1)[0]) >= OVERLAY
    except cv2.error:  # it does not converge: nothing there to fit
        return False


def repeats(prints: Sequence[Print], embeddings: Sequence[Embedding], worth: Sequence[tuple[float, ...]]) -> dict[int, int]:
    """Index of each repeated photo -> index of the photo it repeats, which is kept: of several the one of highest ``worth``, then the first."""
    kept: list[int] = []
    found: dict[int, int] = {}
    for index in sorted(range(len(prints)), key=lambda i: worth[i], reverse=True):
        twin = next((k for k in kept if near(prints[k], prints[index], float(embeddings[k] @ embeddings[index]))), None)
        if twin is None:
            kept.append(index)
        else:
            found[index] = twin
    return found
