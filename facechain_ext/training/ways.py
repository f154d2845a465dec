"""Which way a frozen convolution of a training on a CPU is computed, by its shapes alone, and the memory that takes. No torch, as in ``plan``.

Never by a measurement and never by what is free: a training that is resumed must go on bit for bit.
"""

from __future__ import annotations

import enum

FEW = 64
"""Places of the output, over the whole batch, up to which one product of the weight as it lies is faster; see benchmarks/NOTES.md."""
NARROW = 256
"""Channels below which the library's own way is as fast."""
FULL = 32
"""Tiles of 4 x 4, over the whole batch, from which they are faster than those of 2 x 2: each tile is a column of 36 products instead of 16."""
WIDE = 320 * 1024
"""Pairs of channels above which tiles of 4 x 4, for kernels four times the weight, take more memory than they are worth."""
A_PLACE = 430 * 2**10
"""Bytes that the transformed kernels of one layer may take for each place of the output over the whole batch: the fewer places share them,
the less they gain."""


class Way(enum.Enum):
    """How; the values of the tiles are their sides."""

    USUAL = 0
    PRODUCT = 1
    TILES_2 = 2
    TILES_4 = 4


def way(batch: int, channels: int, many: int, size: tuple[int, int], *, tiles: bool) -> Way:
    """For ``channels`` to ``many`` with an output of ``size``; ``tiles``: the kernel is 3 x 3, its stride and padding are 1, memory is not short."""
    height, width = size
    if batch * height * width <= FEW:
        return Way.PRODUCT
    if not tiles or min(channels, many) < NARROW:
        return Way.USUAL
    full = batch * -(-height // 4) * -(-width // 4) >= FULL and channels * many <= WIDE
    found = Way.TILES_4 if full else Way.TILES_2
    return found if kernel_bytes(found, channels, many) <= A_PLACE * batch * height * width else Way.USUAL


def kernel_bytes(found: Way, channels: int, many: int) -> int:
    """Of the transformed kernels of one layer, float32."""
    return 4 * (found.value + 2) ** 2 * channels * many if found in (Way.TILES_2, Way.TILES_4) else 0
