"""Frozen convolutions on a CPU in the ways that are faster than the library's own (oneDNN's).

oneDNN sorts a convolution's weight anew at every call, 59 MB for SD1.5's widest, and reads it a second time to compute. Where the picture is
down to 8 x 8 cells or fewer that takes longer than the arithmetic: a product of the weight as it lies with the unfolded input reads it once.
Where the picture is larger there is less arithmetic to do when kernels are transformed once, which only frozen ones can be: ``winograd``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import fold, unfold

from facechain_ext.lora.products import few_rows, product
from facechain_ext.training.ways import Way, way
from facechain_ext.training.winograd import Minimal, transformed


@contextlib.contextmanager
def frozen_convolutions(unet: torch.nn.Module, *, spacious: bool = True) -> Iterator[None]:
    """The frozen convolutions of ``unet`` compute so while the block runs, and gradients are asked for.

    ``spacious``: there is memory for transformed kernels; they are made when they are first wanted and gone after the block.
    """
    changed = []
    try:
        for module in unet.modules():
            if _fits(module) and "forward" not in vars(module):
                module.forward = _Forward(module, module.forward, spacious)  # pyright: ignore[reportAttributeAccessIssue]
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

    def __init__(self, module: Any, usual: Callable[[torch.Tensor], torch.Tensor], spacious: bool) -> None:
        self._module, self._usual = module, usual
        self._tiles = spacious and module.kernel_size == (3, 3) and module.stride == module.padding == (1, 1)
        self._kernels: dict[int, torch.Tensor] = {}
        self._of: tuple[int, int] | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See ``frozen_convolutions``; ``x`` (B, C, h, w)."""
        module = self._module
        learns = module.weight.requires_grad or (module.bias is not None and module.bias.requires_grad)
        if not torch.is_grad_enabled() or learns or x.ndim != 4 or x.dtype is not torch.float32 or torch.is_autocast_cpu_enabled():
            return self._usual(x)
        height, width = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[2:], module.padding, module.kernel_size, module.stride, strict=True)]
        found = way(len(x), module.in_channels, module.out_channels, (height, width), tiles=self._tiles)
        if found is Way.USUAL:
            return self._usual(x)
        if found is Way.PRODUCT:
            return AsProduct.apply(x, module.weight, module.bias, module.stride, module.padding, [height, width])
        return Minimal.apply(x, self._transformed(found.value), module.bias, found.value)

    def _transformed(self, m: int) -> torch.Tensor:
        """The kernels for tiles of ``m``, made anew when somebody has written into the weight since."""
        weight = self._module.weight
        now = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
        if now != self._of:
            self._kernels, self._of = {}, now
        if m not in self._kernels:
            self._kernels[m] = transformed(weight.detach(), m)
        return self._kernels[m]


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
        columns, flat = columns.view(weight[0].numel(), -1), weight.flatten(1)
        rows = columns.t()
        if few_rows(rows, flat):
            out = product(rows.contiguous(), flat, bias).t()
        else:
            out = flat @ columns
            if bias is not None:
                out += bias[:, None]
        return out.unflatten(1, (len(x), *size)).transpose(0, 1).contiguous()

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
