"""The mean of several states of one adapter."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from facechain_ext.lora.network import AdapterState


def mean_of(states: Sequence[AdapterState]) -> AdapterState:
    """The mean of the updates up @ down of ``states``, each of them factored again to the rank it had.

    Of the products, not of the factors: the mean of ups times the mean of downs is another matrix. Exact but for what the rank cannot
    hold; the sum of k products of rank r lives in kr dimensions, so nothing larger than (kr, kr) is ever decomposed (QR of the stacked
    factors, SVD of the small core, Eckart & Young 1936).
    """
    return {path: _mean([state[path] for state in states]) for path in states[0]}


def _mean(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    down_shape, up_shape = pairs[0][0].shape, pairs[0][1].shape
    rank = down_shape[0]
    downs = torch.cat([down.flatten(1) for down, _ in pairs]).double()
    ups = torch.cat([up.flatten(1) for _, up in pairs], 1).double() / len(pairs)
    left, left_core = torch.linalg.qr(ups)
    right, right_core = torch.linalg.qr(downs.T)
    u, s, v = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
    kept = min(rank, len(s))
    root = s[:kept].sqrt()
    up, down = (left @ u[:, :kept]) * root, (right @ v[:kept].T).T * root[:, None]
    if kept < rank:  # narrower than the rank: the rest of the factors is zero
        up = torch.nn.functional.pad(up, (0, rank - kept))
        down = torch.nn.functional.pad(down, (0, 0, 0, rank - kept))
    dtype = pairs[0][0].dtype
    return down.to(dtype).reshape(down_shape).contiguous(), up.to(dtype).reshape(up_shape).contiguous()
