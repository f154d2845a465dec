"""The mean of several states of one adapter."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from facechain_ext.lora.adapters import DOWN, UP, AdapterState, Tensors
from facechain_ext.lora.sizes import Kind

WITHOUT = {
    Kind.DORA: "the mean of several DoRAs is none itself, because each has a norm of its own",
    Kind.LOHA: "the mean of several LoHas is none itself: it would need a rank many times as high",
}
"""Why steps of these kinds are compared one by one only."""


def mean_of(states: Sequence[AdapterState]) -> AdapterState:
    """The mean of the updates of ``states``, all LoRAs or all LoKrs, each module's factored again to the size it had.

    Of the products, not of the factors: the mean of ups times the mean of downs is another matrix.
    """
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def _mean(several: Sequence[Tensors]) -> Tensors:
    first = several[0]
    if "lokr_w1" in first:
        return _kronecker_mean(several)
    down, up = _refactored([(t[DOWN].flatten(1), t[UP].flatten(1)) for t in several])
    return {DOWN: _like(down, first[DOWN]), UP: _like(up, first[UP])}


def _refactored(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(down, up) in float64 of the mean of up @ down of ``pairs``, as near as their rank allows.

    Exact but for what the rank cannot hold; the sum of k products of rank r lives in kr dimensions, so nothing larger than (kr, kr) is
    ever decomposed (QR of the stacked factors, SVD of the small core, Eckart & Young 1936).
    """
    rank = pairs[0][0].shape[0]
    downs = torch.cat([down for down, _ in pairs]).double()
    ups = torch.cat([up for _, up in pairs], 1).double() / len(pairs)
    left, left_core = torch.linalg.qr(ups)
    right, right_core = torch.linalg.qr(downs.T)
    u, s, v = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    up, down = (left @ u[:, :kept]) * root, (right @ v[:kept].T).T * root[:, None]
    if kept < rank:  # narrower than the rank: the rest of the factors is zero
        up = torch.nn.functional.pad(up, (0, rank - kept))
        down = torch.nn.functional.pad(down, (0, 0, 0, rank - kept))
    return down, up


def _kronecker_mean(several: Sequence[Tensors]) -> Tensors:
    """The Kronecker product nearest to the mean of kron(w1, w2).

    Rearranged, a Kronecker product is the outer product of its factors' numbers, and the nearest one the largest singular pair
    (Van Loan & Pitsianis 1993): the same mean as a LoRA's of rank 1. A factored w2 is then factored again.
    """
    first = several[0]
    wholes = [t["lokr_w2"] if "lokr_w2" in t else t["lokr_w2_a"].double() @ t["lokr_w2_b"].double() for t in several]
    row, column = _refactored([(w.reshape(1, -1), t["lokr_w1"].reshape(-1, 1)) for w, t in zip(wholes, several, strict=True)])
    found = {"lokr_w1": _like(column, first["lokr_w1"])}
    if "lokr_w2" in first:
        return found | {"lokr_w2": _like(row, first["lokr_w2"])}
    whole, rank = row.reshape(wholes[0].shape), first["lokr_w2_b"].shape[0]
    u, s, v = torch.linalg.svd(whole, full_matrices=False)
    a, b = torch.zeros(len(whole), rank, dtype=whole.dtype), torch.zeros(rank, whole.shape[1], dtype=whole.dtype)
    kept = min(rank, len(s))
    a[:, :kept], b[:kept] = u[:, :kept] * s[:kept].sqrt(), s[:kept, None].sqrt() * v[:kept]
    return found | {"lokr_w2_a": _like(a, first["lokr_w2_a"]), "lokr_w2_b": _like(b, first["lokr_w2_b"])}


def _like(value: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return value.to(wanted.dtype).reshape(wanted.shape).contiguous()
