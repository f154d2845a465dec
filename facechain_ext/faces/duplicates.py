"""Photos that show the same picture again, exactly or nearly."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from facechain_ext.faces.types import Embedding, Image

Bits = NDArray[np.bool_]

HASH_DISTANCE = 3
"""Of 63 bits. A picture saved again smaller, brighter or as a poor JPEG differs in 0; different photos of one person in ORL in 18
(median), 1 % of them in 4 or fewer."""
LIKENESS = 0.93


def fingerprint(crop: Image) -> Bits:
    """A perceptual hash (63,) of ``crop`` (R, R, 3): signs of its lowest frequencies, blind to size and compression.

    Source: Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010 (DCT hash).
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    small = np.asarray(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA), np.float32)
    low = np.asarray(cv2.dct(small))[:8, :8].ravel()[1:]
    return low > np.median(low)


def near(first: Bits, second: Bits, likeness: float) -> bool:
    """True when two crops of cosine ``likeness`` (-1..1) are the same picture, slightly changed."""
    return likeness >= LIKENESS and int(np.count_nonzero(first != second)) <= HASH_DISTANCE


def repeats(prints: list[Bits], embeddings: list[Embedding], quality: list[float]) -> dict[int, int]:
    """Index of each repeated photo -> index of the better photo it repeats, which itself is kept."""
    kept: list[int] = []
    found: dict[int, int] = {}
    for index in sorted(range(len(prints)), key=lambda i: (-quality[i], i)):
        twin = next((k for k in kept if near(prints[k], prints[index], float(embeddings[k] @ embeddings[index]))), None)
        if twin is None:
            kept.append(index)
        else:
            found[index] = twin
    return found
