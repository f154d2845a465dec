"""A LoRA layer's forward and backward pass as one step of autograd: the same numbers as PEFT's, with fewer passes over memory.

PEFT computes W x, B (A x), a multiplication and an addition, each a tensor of its own, and autograd the same on the way back, where
the two gradients of x meet in one more. Here the products are added in place to what the frozen layer gave, and to its gradient of x.
Where PEFT does more than that (dropout, mixed precision, several adapters), its own forward computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from facechain_ext.lora.adapters import ADAPTER
from facechain_ext.lora.products import few_rows, product


def fuse(layer: Any) -> None:
    """Let a PEFT LoRA ``layer`` compute so wherever it can; for linear layers and 1 x 1 convolutions, others stay as they are."""
    from peft.tuners.lora import layer as known

    base = layer.get_base_layer()
    # Exactly these: PEFT's layers for quantised weights and our kinds that rescale inputs are derived from them or hook into them.
    if type(layer) not in (known.Linear, known.Conv2d) or not _is_product(base):
        return
    layer.forward = _Forward(layer, layer.forward)


def _is_product(base: Any) -> bool:
    """True for y = W x + b at every place, with a stride and padding of nothing."""
    if isinstance(base, torch.nn.Linear):
        return True
    plain = isinstance(base, torch.nn.Conv2d) and base.kernel_size == base.stride == (1, 1) and base.groups == 1
    return plain and base.padding in ((0, 0), 0, "valid", "same")


class _Forward:
    """The forward of one layer."""

    def __init__(self, layer: Any, usual: Callable[..., torch.Tensor]) -> None:
        self._layer, self._usual = layer, usual

    def __call__(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """See ``fuse``."""
        layer = self._layer
        base, down, up = layer.get_base_layer(), layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        if args or kwargs or not _alone(layer) or not _alike(x, base, down, up):
            return self._usual(x, *args, **kwargs)
        return AddLowRank.apply(x, base.weight, down, up, base, layer.scaling[ADAPTER])


def _alone(layer: Any) -> bool:
    """True when ours is the one adapter that acts, and nothing listens inside."""
    if layer.disable_adapters or layer.merged or layer.active_adapters != [ADAPTER]:
        return False
    base, dropout = layer.get_base_layer(), layer.lora_dropout[ADAPTER]
    if layer.training and not isinstance(dropout, torch.nn.Identity):
        return False
    return not (base._forward_hooks or base._forward_pre_hooks)


def _alike(x: torch.Tensor, base: Any, down: torch.Tensor, up: torch.Tensor) -> bool:
    """True when all is computed in one precision, the layer's own weight frozen."""
    weight, bias = base.weight, base.bias
    if weight.requires_grad or (bias is not None and bias.requires_grad) or torch.is_autocast_enabled() or torch.is_autocast_cpu_enabled():
        return False
    return x.dtype == weight.dtype == down.dtype == up.dtype and (x.ndim == 4 or weight.ndim == 2)


class AddLowRank(torch.autograd.Function):
    """base(x) + scale * up (down x) for x (..., in) or, with 1 x 1 kernels, (B, in, h, w).

    ``weight`` is the base's own, (out, in[, 1, 1]), frozen; ``down`` (r, in[, 1, 1]) and ``up`` (out, r[, 1, 1]) get gradients.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, down: torch.Tensor, up: torch.Tensor, base: Any, scale: float
    ) -> torch.Tensor:
        """(..., out) or (B, out, h, w)."""
        planes = weight.ndim == 4
        out = _frozen(base, x).contiguous()
        low = _rows(x, planes) @ down.flatten(1).t()
        if planes:
            batch, channels = out.shape[:2]
            low3 = low.view(batch, -1, low.shape[1]).transpose(1, 2)
            out.view(batch, channels, -1).baddbmm_(up.flatten(1).expand(batch, -1, -1), low3, alpha=scale)
        else:
            out.view(-1, out.shape[-1]).addmm_(low, up.t(), alpha=scale)
        ctx.scale = scale
        ctx.save_for_backward(x, weight, down, up, low)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """Gradients of x, down and up."""
        x, weight, down, up, low = ctx.saved_tensors
        planes = weight.ndim == 4
        rows = _rows(grad, planes)
        # (N, r): what reaches the low-rank middle.
        middle = rows @ up.flatten(1)
        if ctx.scale != 1:
            middle *= ctx.scale
        to_x = to_down = to_up = None
        if ctx.needs_input_grad[3]:
            # Turned round: with the longer side along the rows it is twice as fast for SD1.5's widest layers.
            to_up = ((low if ctx.scale == 1 else low * ctx.scale).t() @ rows).t().contiguous().view_as(up)
        if ctx.needs_input_grad[2]:
            to_down = (middle.t() @ _rows(x, planes)).view_as(down)
        if ctx.needs_input_grad[0]:
            to_x = (rows @ weight.flatten(1)).addmm_(middle, down.flatten(1))
            if planes:
                batch, _, height, width = x.shape
                to_x = to_x.view(batch, height, width, -1).permute(0, 3, 1, 2)
            else:
                to_x = to_x.view_as(x)
        return to_x, None, to_down, to_up, None, None


def _frozen(base: Any, x: torch.Tensor) -> torch.Tensor:
    """What ``base`` gives for ``x``; computed by itself wherever a host has put something of its own there."""
    own = getattr(base.forward, "__func__", None)
    if isinstance(base, torch.nn.Linear) and getattr(own, "__module__", None) == torch.nn.Linear.__module__:
        rows = x.flatten(0, -2)
        if few_rows(rows, base.weight):
            return product(rows, base.weight, base.bias).view(*x.shape[:-1], -1)
    return base(x)


def _rows(x: torch.Tensor, planes: bool) -> torch.Tensor:
    """(N, C): every place of ``x`` (..., C), or (B, C, h, w) when ``planes``, as a row; a view where that is possible."""
    return x.flatten(2).transpose(1, 2).flatten(0, 1) if planes else x.flatten(0, -2)
