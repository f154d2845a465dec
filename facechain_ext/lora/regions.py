"""Regions of a picture on the grids a UNet computes on, and cross-attention that looks at other words in each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from facechain_ext.blend import Region
from facechain_ext.errors import UserInputError
from facechain_ext.ports import SamplingRequest

EVERYWHERE = 0
"""The group of what has no region; regions count from 1."""
FINE = 8
"""Masks are drawn with this many points a latent pixel and averaged down, so that an edge inside a coarse cell counts by its share."""
ContextOf = Callable[[torch.Tensor], torch.Tensor]
"""The call's own context (B, L, C) -> the context of a region, with as many rows."""
CONTEXT_NAMES = ("encoder_hidden_states", "context")


class Regions:
    """The regions of one picture. Where they overlap they share; what no region covers is left to the rest."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self._regions: list[Region] = []
        for region in regions:
            if region.key not in [r.key for r in self._regions]:
                self._regions.append(region)
        self._latent = (0, 0)
        self._grids: dict[tuple[int, int], torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self._regions)

    def group(self, region: Region | None) -> int:
        """The number of ``region``, ``EVERYWHERE`` for None."""
        return EVERYWHERE if region is None else [r.key for r in self._regions].index(region.key) + 1

    def look(self, height: int, width: int) -> None:
        """From now on the latent is (height, width)."""
        if self._latent != (height, width):
            self._latent = (height, width)
            self._grids.clear()

    def on(self, height: int, width: int, like: torch.Tensor) -> torch.Tensor:
        """(1 + number of regions, height, width): the share of each group, the rest first; they sum to 1."""
        found = self._grids.get((height, width))
        if found is None:
            fine = torch.stack([_drawn(r, self._latent[0] * FINE, self._latent[1] * FINE) for r in self._regions])
            fine = fine / fine.sum(0, keepdim=True).clamp_min(1.0)
            masks = torch.nn.functional.adaptive_avg_pool2d(fine[None], (height, width))[0]
            found = torch.cat([(1 - masks.sum(0, keepdim=True)).clamp_min(0), masks])
            self._grids[height, width] = found
        if found.device != like.device or found.dtype != like.dtype:
            found = self._grids[height, width] = found.to(like.device, like.dtype)
        return found

    def on_tokens(self, count: int, like: torch.Tensor) -> torch.Tensor | None:
        """(1 + number of regions, count) for ``count`` tokens of the picture, None when they are no level of it."""
        height, width = self._latent
        while height > 0 and width > 0:
            if height * width == count:
                return self.on(height, width, like).flatten(1)
            if height == width == 1:
                return None
            # Strided convolutions with padding round up.
            height, width = (height + 1) // 2, (width + 1) // 2
        return None


def _drawn(region: Region, height: int, width: int) -> torch.Tensor:
    """(height, width) float32 0..1."""
    if region.mask is not None:
        mask = torch.from_numpy(region.mask.astype("float32")).clamp(0, 1)
        return torch.nn.functional.interpolate(mask[None, None], (height, width), mode="bilinear", antialias=True)[0, 0]
    x0, y0, x1, y1 = region.box or (0, 0, 1, 1)
    feather = max(region.feather * max(height, width), 1e-6)

    def along(size: int, low: float, high: float) -> torch.Tensor:
        # An edge at the picture's own border stays hard.
        at = torch.arange(size, dtype=torch.float32) + 0.5
        rise = torch.ones(size) if low <= 0 else ((at - low * size) / feather + 0.5).clamp(0, 1)
        fall = torch.ones(size) if high >= 1 else ((high * size - at) / feather + 0.5).clamp(0, 1)
        return rise * fall

    return along(height, y0, y1)[:, None] * along(width, x0, x1)[None, :]


def noise_seeds(request: SamplingRequest) -> list[list[int]]:
    """Seeds of the pictures for each region's noise, one list where all regions share it.

    Raises:
        UserInputError: when they do not fit the pictures and regions.
    """
    own, many = request.region_seeds, len(request.regions)
    if not own:
        return [list(request.seeds)]
    if len(own) != len(request.seeds) or any(len(seeds) != many for seeds in own):
        raise UserInputError("The seeds of the regions do not fit: every picture needs one for each region.")
    return [[seeds[region] for seeds in own] for region in range(many)]


def owners(regions: Sequence[Region], height: int, width: int) -> torch.Tensor:
    """(height, width) int64: which of ``regions``, 0 first, has most of each latent pixel; the first where none has any."""
    drawn = Regions(regions)
    drawn.look(height, width)
    shares = drawn.on(height, width, torch.zeros(0))[1:]
    groups = torch.tensor([drawn.group(region) - 1 for region in regions])
    return torch.stack([shares[group] for group in groups.tolist()]).argmax(0)


def composed(planes: Sequence[torch.Tensor], owner: torch.Tensor) -> torch.Tensor:
    """One of (B, C, h, w) that has at each place what the region that owns it has in its own of ``planes``."""
    found = planes[0].clone()
    for region, plane in enumerate(planes[1:], start=1):
        found = torch.where((owner == region).to(found.device), plane, found)
    return found


class RegionalAttention:
    """A forward hook for cross-attention: computed once for each region with its own words, and put together at the output.

    Words have no place in the picture, so a mask cannot act on keys and values; it acts on what they give to each place.
    """

    def __init__(
        self, regions: Regions, contexts: Mapping[int, ContextOf], needed: Callable[[int], bool], enter: Callable[[int], None]
    ) -> None:
        self._regions, self._contexts, self._needed, self._enter = regions, contexts, needed, enter
        self._inside = False

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> torch.Tensor | None:
        """The mixed output; None leaves it as it is."""
        if self._inside or output.ndim != 3:
            return None
        shares = self._regions.on_tokens(output.shape[1], output)
        if shares is None:
            return None
        mixed = output * shares[EVERYWHERE][None, :, None]
        self._inside = True
        try:
            for group in range(1, len(self._regions) + 1):
                share = shares[group][None, :, None]
                if not self._needed(group):
                    mixed = mixed + output * share
                    continue
                self._enter(group)
                mixed = mixed + self._again(module, args, kwargs, group) * share
        finally:
            self._inside = False
            self._enter(EVERYWHERE)
        return mixed

    def _again(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], group: int) -> torch.Tensor:
        change = self._contexts.get(group)
        if change is not None:
            name = next((n for n in CONTEXT_NAMES if kwargs.get(n) is not None), None)
            if name is not None:
                kwargs = {**kwargs, name: change(kwargs[name])}
            elif len(args) > 1 and args[1] is not None:
                args = (args[0], change(args[1]), *args[2:])
        return module.forward(*args, **kwargs)
