"""Winograd's minimal filtering (Lavin and Gray 2016, arXiv:1509.09308) for frozen 3 x 3 convolutions on a CPU.

A tile of m x m outputs takes (m + 2)² multiplications a channel instead of 9 m²: 2.25 times fewer for m = 2, 4 times for m = 4. What
makes it pay is that the kernels are frozen: they are transformed once, and (m + 2)² plain matrix products over the channels are left.
The gradient of the input is a convolution with the kernels turned by half a turn, whose transforms are the same numbers in another
order, so one transformed copy serves both directions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch.autograd.function import once_differentiable

POINTS = {2: (0, 1, -1), 4: (0, 1, -1, Fraction(1, 2), -2)}
"""Where the polynomials are evaluated, beside infinity; those for m = 4 after Barabasz et al. 2020 (doi 10.1145/3412380), six times
more exact than 2 and -2: 2e-6 of the largest output."""


@dataclass(frozen=True)
class Transforms:
    """Of one direction: ``tiles`` ((m + 2)², (m + 2)²) for the input, ``outputs`` (m², (m + 2)²) for what the products give."""

    m: int
    tiles: torch.Tensor
    outputs: torch.Tensor


@functools.cache
def kernels_transform(m: int) -> torch.Tensor:
    """((m + 2)², 9), float32: what a 3 x 3 kernel, row by row, is multiplied by."""
    return _kron(_matrices(POINTS[m], m)[0])


@functools.cache
def transforms(m: int) -> Transforms:
    """Of the convolution itself."""
    _, tiles, outputs = _matrices(POINTS[m], m)
    return Transforms(m, _kron(tiles), _kron(outputs))


@functools.cache
def turned_transforms(m: int) -> Transforms:
    """Of the convolution with every kernel turned by half a turn, for kernels transformed by ``kernels_transform(m)``.

    A turned kernel at the point p is the kernel itself at 1 / p, times p²: evaluated at the inverse points it gives the
    numbers that are there, each times a factor that goes into ``tiles``.
    """
    inverse = [0, *(1 / Fraction(p) for p in POINTS[m] if p)]
    straight, (kernels, tiles, outputs) = _matrices(POINTS[m], m)[0], _matrices(inverse, m)
    to_tiles, to_outputs = [], []
    for row in straight:
        # Which row of the turned kernel's transform is a multiple of this one?
        at, factor = next((i, f) for i, other in enumerate(kernels) if (f := _ratio(other[::-1], row)) is not None)
        to_tiles.append([factor * value for value in tiles[at]])
        to_outputs.append([line[at] for line in outputs])
    return Transforms(m, _kron(to_tiles), _kron([list(column) for column in zip(*to_outputs, strict=True)]))


def _ratio(left: Sequence[Fraction], right: Sequence[Fraction]) -> Fraction | None:
    """f with left = f right, if there is one."""
    factor = next(a / b for a, b in zip(left, right, strict=True) if b)
    return factor if factor and all(a == factor * b for a, b in zip(left, right, strict=True)) else None


def _matrices(points: Sequence[int | Fraction], m: int) -> tuple[list[list[Fraction]], ...]:
    """Toom and Cook's three for F(m, 3) at ``points`` and infinity: of the kernel (m + 2, 3), the input (m + 2, m + 2), the output (m, m + 2)."""
    at = [Fraction(p) for p in points]
    kernels, tiles = [], []
    for j, p in enumerate(at):
        others = at[:j] + at[j + 1 :]
        below = functools.reduce(lambda product, q: product * (p - q), others, Fraction(1))
        kernels.append([p**i / below for i in range(3)])
        tiles.append([*_with_roots(others), Fraction(0)])
    kernels.append([Fraction(0), Fraction(0), Fraction(1)])
    tiles.append(_with_roots(at))
    outputs = [[*(p**i for p in at), Fraction(int(i == m - 1))] for i in range(m)]
    return kernels, tiles, outputs


def _with_roots(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, the constant one first, of the product of (x - root)."""
    made = [Fraction(1)]
    for root in roots:
        made = [low - root * high for low, high in zip([Fraction(0), *made], [*made, Fraction(0)], strict=True)]
    return made


def _kron(rows: Sequence[Sequence[Fraction]]) -> torch.Tensor:
    """For both directions of the picture at once."""
    matrix = torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64)
    return torch.kron(matrix, matrix).float()


def transformed(weight: torch.Tensor, m: int) -> torch.Tensor:
    """((m + 2)², in, out), contiguous, from a convolution's ``weight`` (out, in, 3, 3), float32."""
    many, few = weight.shape[:2]
    made = weight.new_empty((m + 2) ** 2, few, many)
    # Turned round before, while it is smallest.
    torch.mm(kernels_transform(m), weight.permute(2, 3, 1, 0).reshape(9, -1), out=made.view(len(made), -1))
    return made


def convolved(x: torch.Tensor, kernels: torch.Tensor, by: Transforms, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(B, out, h, w): ``x`` (B, in, h, w) convolved with stride 1 and one zero around, from ``kernels`` ((m + 2)², in, out)."""
    batch, channels, height, width = x.shape
    m, many = by.m, kernels.shape[2]
    size = m + 2
    down, across = -(-height // m), -(-width // m)
    # Channels last, so that every later move is of whole rows of channels.
    padded = x.new_zeros(batch, down * m + 2, across * m + 2, channels)
    for one, target in zip(x.reshape(batch, channels, -1), padded, strict=True):
        # A plain turn of a matrix, copied block by block; as one permutation of four axes it takes four times as long.
        target[1 : height + 1, 1 : width + 1].copy_(one.t().contiguous().view(height, width, channels))
    picture, row, cell, _ = padded.stride()
    tiles = padded.as_strided((size, size, batch, down, across, channels), (row, cell, picture, row * m, cell * m, 1))
    products = torch.bmm((by.tiles @ tiles.reshape(size * size, -1)).view(size * size, -1, channels), kernels)
    found = (by.outputs @ products.view(size * size, -1)).view(m, m, batch, down, across, many)
    del products
    rows = x.new_empty(batch, down, m, across, m, many)
    torch.add(found.permute(2, 3, 0, 4, 1, 5), 0 if bias is None else bias, out=rows)
    out = x.new_empty(batch, many, height * width)
    for one, target in zip(rows.view(batch, down * m, across * m, many)[:, :height, :width], out, strict=True):
        target.copy_(one.reshape(-1, many).t())
    return out.view(batch, many, height, width)


class Minimal(torch.autograd.Function):
    """A convolution of x (B, in, h, w) with frozen kernels ((m + 2)², in, out) transformed before; a gradient for x only."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernels: torch.Tensor, bias: torch.Tensor | None, m: int) -> torch.Tensor:
        """(B, out, h, w)."""
        ctx.m = m
        ctx.save_for_backward(kernels)
        return convolved(x, kernels, transforms(m), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """Gradient of x."""
        (kernels,) = ctx.saved_tensors
        return convolved(grad, kernels.transpose(1, 2), turned_transforms(ctx.m)), None, None, None
