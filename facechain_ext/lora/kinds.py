"""The kinds of updates LoRA files hold: LoRA, LoCon, LoHa, LoKr, whole differences, and DoRA around any of them.

Formulas as in the WebUI's own loader (extensions-builtin/Lora/network_*.py) and LyCORIS, which most files were made for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

Tensors = Mapping[str, torch.Tensor]
"""What a file holds of one module, by the last part of the key."""

FACTOR_SHARE = 0.25
"""Factors are used where their rank is at most this share of the smaller side; beyond, the whole difference is no slower."""


class Update(Protocol):
    """The change of one module's weight."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight it was made for, as far as the file shows: (out, in[, kh, kw]), or the last three multiplied."""
        ...

    @property
    def size(self) -> int:
        """Inner width (rank), 0 where there is none."""
        ...

    def delta(self, weight: torch.Tensor) -> torch.Tensor:
        """The change of ``weight`` (out, in) or (out, in, kh, kw), float32, in its shape and on its device.

        Raises:
            ValueError: when the sizes do not fit.
        """
        ...

    def factors(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """down (r, in[, kh, kw]) and up (out, r), float32, with delta = up @ down; None where there are none of a small rank."""
        ...


def _f32(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return tensor.to(weight.device, torch.float32)


def _shaped(found: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    if found.numel() != weight.numel() or found.shape[0] != weight.shape[0]:
        raise ValueError(f"{tuple(found.shape)} for {tuple(weight.shape)}")
    return found.reshape(weight.shape)


@dataclass(frozen=True, slots=True, eq=False)
class LoraModule:
    """LoRA and LoCon: scale * up @ [mid @] down; a convolution's down is kh x kw (or its mid, Tucker's form), its up 1 x 1."""

    down: torch.Tensor
    up: torch.Tensor
    alpha: float
    mid: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        """Inner width."""
        return self.down.shape[0]

    @property
    def size(self) -> int:
        """Inner width."""
        return self.rank

    @property
    def shape(self) -> tuple[int, ...]:
        """See ``Update``."""
        return (self.up.shape[0], self.down.shape[1], *(self.down if self.mid is None else self.mid).shape[2:])

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def _down(self, weight: torch.Tensor) -> torch.Tensor:
        down = _f32(self.down, weight)
        if self.mid is None:
            return down
        return torch.einsum("nmkl,mi->nikl", _f32(self.mid, weight), down.flatten(1))

    def delta(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``Update``."""
        # A convolution LoRA is a kh x kw "down" followed by a 1x1 "up": one matrix product over flattened inputs.
        product = _f32(self.up, weight).flatten(1) @ self._down(weight).flatten(1)
        return _shaped(product.mul_(self.scale), weight)

    def factors(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """See ``Update``."""
        down, up = self._down(weight), _f32(self.up, weight).flatten(1)
        if up.shape[0] * down[0].numel() != weight.numel() or up.shape[0] != weight.shape[0]:
            raise ValueError(f"{tuple(up.shape)} and {tuple(down.shape)} for {tuple(weight.shape)}")
        return down.reshape(len(down), *weight.shape[1:]), up * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class HadamardModule:
    """LoHa: scale * (a1 @ b1) * (a2 @ b2), elementwise; with cores t1, t2 each product is Tucker's."""

    pairs: tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None], ...]
    """(a, b, core) twice."""
    alpha: float

    @property
    def size(self) -> int:
        """Inner width of one of the two."""
        return self.pairs[0][1].shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """See ``Update``."""
        a, b, core = self.pairs[0]
        return (a.shape[0], b.shape[1]) if core is None else (a.shape[1], b.shape[1], *core.shape[2:])

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.size

    def delta(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``Update``."""
        one, other = (_product(*pair, weight) for pair in self.pairs)
        return _shaped((one * other).mul_(self.scale), weight)

    def factors(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """See ``Update``; (a1 b1) * (a2 b2) has the columns of a1 times those of a2 and the rows of b1 times those of b2 as factors."""
        ranks = self.pairs[0][1].shape[0] * self.pairs[1][1].shape[0]
        cores = any(core is not None for _, _, core in self.pairs)
        if cores or ranks > FACTOR_SHARE * min(weight.shape[0], weight[0].numel()):
            return None
        (a1, b1), (a2, b2) = (((_f32(a, weight).flatten(1)), _f32(b, weight).flatten(1)) for a, b, _ in self.pairs)
        if a1.shape[0] != weight.shape[0] or b1.shape[1] != weight[0].numel():
            raise ValueError(f"{tuple(a1.shape)} and {tuple(b1.shape)} for {tuple(weight.shape)}")
        up = torch.einsum("or,os->ors", a1, a2).flatten(1)
        down = torch.einsum("ri,si->rsi", b1, b2).flatten(0, 1)
        return down.reshape(ranks, *weight.shape[1:]), up * self.scale


def _product(a: torch.Tensor, b: torch.Tensor, core: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor:
    a, b = _f32(a, weight), _f32(b, weight)
    if core is None:
        return a.flatten(1) @ b.flatten(1)
    # LyCORIS keeps a as (rank, out) here.
    half = torch.einsum("ijkl,jr->irkl", _f32(core, weight), b.flatten(1))
    return torch.einsum("ijkl,ir->rjkl", half, a.flatten(1)).flatten(1)


@dataclass(frozen=True, slots=True, eq=False)
class KroneckerModule:
    """LoKr: scale * kron(w1, w2), each of them whole or a product."""

    w1: tuple[torch.Tensor, ...]
    """One matrix, or two to be multiplied."""
    w2: tuple[torch.Tensor, ...]
    """One tensor, two to be multiplied, or a Tucker core and its two factors."""
    scale: float

    @property
    def size(self) -> int:
        """Inner width, 0 when both are whole."""
        return next((w[-1].shape[0] for w in (self.w2, self.w1) if len(w) > 1), 0)

    @property
    def shape(self) -> tuple[int, ...]:
        """See ``Update``."""
        core = self.w2[0] if len(self.w2) == 3 else None
        out = self.w1[0].shape[0] * (self.w2[0].shape[0] if core is None else self.w2[1].shape[1])
        kernel = (core if core is not None else self.w2[-1]).shape[2:]
        return (out, self.w1[-1].shape[1] * self.w2[-1].shape[1], *kernel)

    def delta(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``Update``."""
        one, other = self._parts(weight)
        if other.ndim == 4:
            one = one[:, :, None, None]
        elif weight.ndim == 4 and other.shape[0] * one.shape[0] == weight.shape[0]:
            # The second factor's columns hold the kernel: split them before the product, whose columns would mix.
            other = other.reshape(other.shape[0], -1, *weight.shape[2:])
            one = one[:, :, None, None]
        return _shaped(torch.kron(one, other.contiguous()).mul_(self.scale), weight)

    def _parts(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        one = _f32(self.w1[0], weight)
        if len(self.w1) == 2:
            one = one @ _f32(self.w1[1], weight)
        other = _f32(self.w2[-1], weight)
        if len(self.w2) == 2:
            other = _f32(self.w2[0], weight).flatten(1) @ other.flatten(1)
        elif len(self.w2) == 3:
            core, a, b = (_f32(t, weight) for t in self.w2)
            other = torch.einsum("ijkl,ir->rjkl", torch.einsum("ijkl,jr->irkl", core, b), a)
        return one, other

    def factors(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """See ``Update``; kron(w1, a @ b) = kron(w1, a) @ kron(1, b), of rank (columns of w1) * (inner width)."""
        if len(self.w2) != 2:
            return None
        one, _ = self._parts(weight)
        a, b = (_f32(t, weight) for t in self.w2)
        ranks = one.shape[1] * b.shape[0]
        if ranks > FACTOR_SHARE * min(weight.shape[0], weight[0].numel()) or (weight.ndim == 4 and weight[0, 0].numel() > 1):
            return None
        up = torch.kron(one, a.flatten(1))
        down = torch.kron(torch.eye(one.shape[1], device=weight.device), b.flatten(1))
        if up.shape[0] != weight.shape[0] or down.shape[1] != weight[0].numel():
            raise ValueError(f"{tuple(up.shape)} and {tuple(down.shape)} for {tuple(weight.shape)}")
        return down.reshape(ranks, *weight.shape[1:]), up * self.scale


@dataclass(frozen=True, slots=True, eq=False)
class FullModule:
    """The difference itself."""

    diff: torch.Tensor

    @property
    def size(self) -> int:
        """It has no inner width."""
        return 0

    @property
    def shape(self) -> tuple[int, ...]:
        """See ``Update``."""
        return tuple(self.diff.shape)

    def delta(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``Update``."""
        return _shaped(_f32(self.diff, weight), weight)

    def factors(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """See ``Update``; none."""
        return None


@dataclass(frozen=True, slots=True, eq=False)
class DoraModule:
    """DoRA (Liu et al. 2024): the weight with ``inner`` added, its rows or columns brought to the length ``magnitude`` says.

    Rows (PEFT, LyCORIS since 2024) or columns (LyCORIS before, and what A1111 1.10's loader takes every file for): the shape tells.
    """

    inner: Update
    magnitude: torch.Tensor

    @property
    def size(self) -> int:
        """Inner width."""
        return self.inner.size

    @property
    def shape(self) -> tuple[int, ...]:
        """See ``Update``."""
        return self.inner.shape

    @property
    def by_rows(self) -> bool:
        """True when each output, false when each input, has its length."""
        return self.magnitude.ndim < 2 or self.magnitude.shape[0] > 1 or self.magnitude.shape[1] == 1

    def gain(self, weight: torch.Tensor) -> torch.Tensor:
        """What the changed weight's rows (or columns) are multiplied with, in a shape that goes over ``weight``.

        Raises:
            ValueError: when the sizes do not fit.
        """
        changed = _f32(weight.detach(), weight) + self.inner.delta(weight)
        rest = (1,) * (weight.ndim - 2)
        if self.by_rows:
            length = changed.flatten(1).norm(dim=1).reshape(-1, 1, *rest)
        else:
            length = changed.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *rest)
        if self.magnitude.numel() != length.numel():
            raise ValueError(f"{tuple(self.magnitude.shape)} for {tuple(weight.shape)}")
        return _f32(self.magnitude, weight).reshape(length.shape) / length.clamp_min(1e-12)

    def delta(self, weight: torch.Tensor) -> torch.Tensor:
        """See ``Update``."""
        base = _f32(weight.detach(), weight)
        return (base + self.inner.delta(weight)) * self.gain(weight) - base

    def factors(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """See ``Update``; none, since all of the weight changes."""
        return None


def _lora(t: Tensors, alpha: float | None) -> LoraModule:
    down, up, mid = t["down"], t["up"], t.get("mid")
    if min(up.ndim, down.ndim) < 2 or up.shape[1] != (down if mid is None else mid).shape[0] or down.shape[0] == 0:
        raise ValueError("halves")
    # Without alpha the field's readers (A1111, diffusers) take the rank: a scale of 1.
    return LoraModule(down, up, float(down.shape[0]) if alpha is None else alpha, mid)


def _loha(t: Tensors, alpha: float | None) -> HadamardModule:
    pairs = tuple((t[f"hada_w{i}_a"], t[f"hada_w{i}_b"], t.get(f"hada_t{i}")) for i in (1, 2))
    if any(min(a.ndim, b.ndim) < 2 or (a.shape[1] if core is None else core.shape[1]) != b.shape[0] for a, b, core in pairs):
        raise ValueError("halves")
    return HadamardModule(pairs, float(pairs[0][1].shape[0]) if alpha is None else alpha)


def _lokr(t: Tensors, alpha: float | None) -> KroneckerModule:
    def side(number: int) -> tuple[torch.Tensor, ...]:
        if f"lokr_w{number}" in t:
            return (t[f"lokr_w{number}"],)
        a, b = t[f"lokr_w{number}_a"], t[f"lokr_w{number}_b"]
        core = t.get("lokr_t2") if number == 2 else None
        if core is not None:
            return (core, a, b)
        if a.shape[1] != b.shape[0]:
            raise ValueError("halves")
        return (a, b)

    w1, w2 = side(1), side(2)
    width = next((w[-1].shape[0] for w in (w2, w1) if len(w) > 1), 0)
    # With both whole there is no rank to divide by, and the field's readers leave alpha out.
    return KroneckerModule(w1, w2, alpha / width if alpha is not None and width else 1.0)


MAKERS: tuple[tuple[str, frozenset[str], Callable[[Tensors, float | None], Update]], ...] = (
    ("LoRA", frozenset({"down"}), _lora),
    ("LoRA", frozenset({"up"}), _lora),
    ("LoHa", frozenset({"hada_w1_a"}), _loha),
    ("LoKr", frozenset({"lokr_w1"}), _lokr),
    ("LoKr", frozenset({"lokr_w1_a"}), _lokr),
    ("whole difference", frozenset({"diff"}), lambda t, _alpha: FullModule(t["diff"])),
)
"""Name of the kind, keys that tell it, and what reads it."""


def update_from(tensors: Tensors, alpha: float | None) -> Update | None:
    """The update the ``tensors`` of one module describe; None for a kind we do not know.

    Raises:
        ValueError, KeyError: when parts are missing or do not fit one another.
    """
    for _, marks, make in MAKERS:
        if marks <= set(tensors):
            found = make(tensors, alpha)
            return DoraModule(found, tensors["dora_scale"]) if "dora_scale" in tensors else found
    return None
