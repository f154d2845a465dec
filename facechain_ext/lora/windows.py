"""Several people in one picture without any bleeding: each region is predicted by itself, in a window of the UNet's native size.

Attention of one region never sees another: each window goes through the UNet alone, with its own words and LoRAs, and what is predicted
is put together by soft shares where windows overlap. Each window has the size the checkpoint was taught, so each person comes out as
well as in a portrait. It is exact whatever the sampler, because samplers only see the prediction.

Source: Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation", 2023, with a LoRA for each path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from facechain_ext.lora.regions import CONTEXT_NAMES, EVERYWHERE, ContextOf, Regions

STEP = 8
"""Windows are a multiple of this many latent pixels: the UNet halves them three times."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the latents."""

    top: int
    left: int
    height: int
    width: int

    def of(self, planes: torch.Tensor) -> torch.Tensor:
        """That part of ``planes`` (..., h, w), a view."""
        return planes[..., self.top : self.top + self.height, self.left : self.left + self.width]


def window_around(share: torch.Tensor, native: int) -> Window:
    """The window (a multiple of ``STEP`` and at least ``native`` where the picture is) around all places where ``share`` (h, w) is half or more.

    Not around its soft edge too: a window larger than the native size costs more likeness than the edge is worth.
    """
    rows, columns = (torch.nonzero(share.amax(dim=axis) >= 0.5 * float(share.max())).flatten() for axis in (1, 0))

    def along(found: torch.Tensor, length: int) -> tuple[int, int]:
        if not len(found):
            return 0, length
        low, high = int(found[0]), int(found[-1]) + 1
        size = min(length, max(native, -(-(high - low) // STEP) * STEP))
        return min(max((low + high - size) // 2, 0), length - size), size

    (top, height), (left, width) = along(rows, share.shape[0]), along(columns, share.shape[1])
    return Window(top, left, height, width)


class WindowedPrediction:
    """Hooks for a whole UNet: the call itself becomes the first region's, the others follow, and the outputs are put together."""

    def __init__(self, regions: Regions, contexts: Mapping[int, ContextOf], native: int, enter: Callable[[int], None]) -> None:
        self._regions, self._contexts, self._native, self._enter = regions, contexts, native, enter
        self._whole: tuple[torch.Tensor, tuple[Any, ...], dict[str, Any]] | None = None
        self._windows: list[Window] = []
        self._seen: tuple[Any, ...] = ()
        self._shares = torch.zeros(0)

    def before(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments of the first region's call in place of the whole picture's."""
        latents: Any = args[0] if args else kwargs.get("sample", kwargs.get("x"))
        self._look(latents)
        self._whole = (latents, args, kwargs)
        self._enter(1)
        return self._call(1)

    def after(self, module: Any, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> Any:
        """The whole picture's prediction in the form of ``output``, the first region's."""
        if self._whole is None:
            return None
        latents = self._whole[0]
        shares = self._shares
        first = _tensor_of(output)
        total = torch.zeros((*first.shape[:-2], *latents.shape[-2:]), dtype=first.dtype, device=first.device)
        try:
            for group in range(1, len(self._regions) + 1):
                self._enter(group)
                found = first
                if group > 1:
                    args, kwargs = self._call(group)
                    found = _tensor_of(module.forward(*args, **kwargs))
                window = self._windows[group - 1]
                window.of(total).add_(found * window.of(shares[group - 1]).to(found.dtype))
        finally:
            self._whole = None
            self._enter(EVERYWHERE)
        return _like(output, total)

    def _look(self, latents: torch.Tensor) -> None:
        """Windows and shares (regions, h, w): 0 outside a region's window, summing to 1; what no region covers, the windows that see it share."""
        height, width = latents.shape[-2:]
        if self._seen == (height, width, latents.device):
            return
        self._seen = (height, width, latents.device)
        self._regions.look(height, width)
        shares = self._regions.on(height, width, latents.float())[1:]
        self._windows = [window_around(share, self._native) for share in shares]
        inside = torch.zeros_like(shares)
        for share, plane, window in zip(shares, inside, self._windows, strict=True):
            window.of(plane).copy_(window.of(share).clamp_min(1e-6))
        self._shares = inside / inside.sum(0, keepdim=True).clamp_min(1e-9)

    def _call(self, group: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        assert self._whole is not None
        latents, args, kwargs = self._whole
        part = self._windows[group - 1].of(latents).contiguous()
        if args:
            args = (part, *args[1:])
        else:
            kwargs = {**kwargs, "sample" if "sample" in kwargs else "x": part}
        change = self._contexts.get(group)
        if change is None:
            return args, kwargs
        name = next((n for n in CONTEXT_NAMES if kwargs.get(n) is not None), None)
        if name is not None:
            return args, {**kwargs, name: change(kwargs[name])}
        # diffusers' and LDM's UNets take latents, timesteps and context, in this order.
        return ((*args[:2], change(args[2]), *args[3:]) if len(args) > 2 and args[2] is not None else args), kwargs


def _tensor_of(output: Any) -> torch.Tensor:
    if isinstance(output, torch.Tensor):
        return output
    return output[0] if isinstance(output, tuple) else output.sample


def _like(output: Any, whole: torch.Tensor) -> Any:
    if isinstance(output, torch.Tensor):
        return whole
    return (whole, *output[1:]) if isinstance(output, tuple) else type(output)(sample=whole)
