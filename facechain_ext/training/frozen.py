"""Frozen convolutions on a CPU as matrix products, where those are faster than the library's own (oneDNN's) way.

oneDNN sorts a convolution's weight anew at every call, 59 MB for SD1.5's widest, and reads it a second time to compute. Where the picture is
down to 8 x 8 cells or fewer that takes longer than the arithmetic. A product of the weight as it lies with the unfolded input reads it once.
The way is chosen by shape alone, never by a measurement: a training that is resumed must go on bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import fold, unfold

FEW = 64
"""Places of the output, over the whole batch, up to which the product is faster; see benchmarks/NOTES.md."""


@contextlib.contextmanager
def frozen_convolutions(unet: torch.nn.Module) -> Iterator[None]:
    """The frozen convolutions of ``unet`` compute so while the block runs, and gradients are asked for."""
    changed = []
    try:
        for module in unet.modules():
            if _fits(module) and "forward" not in vars(module):
                module.forward = _Forward(module, module.forward)  # pyright: ignore[reportAttributeAccessIssue]
                changed.append(module)
        yield
    finally:
        for module in changed:
            # The class's own method shows again.
            vars(module).pop("forward", None)


def _fits(module: Any) -> bool:
    if not isinstance(module, torch.nn.Conv2d) or module.groups != 1 or module.dilation != (1, 1) or module.padding_mode != "zeros":
        return False
    return module.weight.device.type == "cpu" and module.weight.dtype is torch.float32 and not isinstance(module.padding, str)


class _Forward:
    """The forward of one convolution."""

    def __init__(self, module: Any, usual: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._module, self._usual = module, usual

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See ``frozen_convolutions``; ``x`` (B, C, h, w)."""
        module = self._module
        learns = module.weight.requires_grad or (module.bias is not None and module.bias.requires_grad)
        if not torch.is_grad_enabled() or learns or x.ndim != 4 or x.dtype is not torch.float32 or torch.is_autocast_cpu_enabled():
            return self._usual(x)
        size = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[2:], module.padding, module.kernel_size, module.stride, strict=True)]
        if len(x) * size[0] * size[1] > FEW:
            return self._usual(x)
        return AsProduct.apply(x, module.weight, module.bias, module.stride, module.padding, size)


class AsProduct(torch.autograd.Function):
    """A convolution of x (B, in, h, w) with a frozen weight (out, in, kh, kw) by unfolding; a gradient for x only."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        size: tuple[int, int],
    ) -> torch.Tensor:
        """(B, out, *size)."""
        kernel = weight.shape[2:]
        ctx.stride, ctx.padding, ctx.side = stride, padding, x.shape[2:]
        # With a kernel of one cell every place is its own column.
        ctx.plain = (*kernel, *stride, *padding) == (1, 1, 1, 1, 0, 0)
        ctx.save_for_backward(weight)
        columns = x.flatten(2) if ctx.plain else unfold(x, kernel, padding=padding, stride=stride)
        if len(x) > 1:
            # All places side by side: the weight is read once for the whole batch.
            columns = columns.transpose(0, 1).flatten(1)
        out = weight.flatten(1) @ columns.view(weight[0].numel(), -1)
        if bias is not None:
            out += bias[:, None]
        return out.view(-1, len(x), *size).transpose(0, 1).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """Gradient of x, the weight lying row by row in the product as it does in memory."""
        (weight,) = ctx.saved_tensors
        kernel = weight.shape[2:]
        rows = grad.flatten(2).transpose(1, 2).flatten(0, 1)
        columns = (rows @ weight.flatten(1)).view(len(grad), -1, weight[0].numel()).transpose(1, 2)
        if ctx.plain:
            return columns.contiguous().view(len(grad), -1, *ctx.side), None, None, None, None, None
        return fold(columns, ctx.side, kernel, padding=ctx.padding, stride=ctx.stride), None, None, None, None, None
