"""LoRAs that act by block, by step or by region inside the WebUIs: hooks on the UNet in use, beside what the host's own loader merged.

What is the same over steps and picture is left to the host's loader, which merges it once. Block weights and DoRA by rows go through
hooks too, because the loaders know neither (A1111 1.10's takes every DoRA file for one by columns).
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from modules import script_callbacks

from facechain_ext.errors import FileFormatError
from facechain_ext.hosts.a1111.model import targets_of
from facechain_ext.lora.files import LoraFile, check_family, read_lora
from facechain_ext.lora.fit import lacking, misfit
from facechain_ext.lora.kinds import DoraModule
from facechain_ext.lora.live import LiveBlend
from facechain_ext.lora.regions import EVERYWHERE
from facechain_ext.ports import Family, LoraWeight, RegionPrompt

log = logging.getLogger(__name__)
Loaded = Sequence[tuple[LoraFile, LoraWeight]]


def read_all(loras: Sequence[LoraWeight], family: Family) -> Loaded:
    """Files and weights of ``loras``.

    Raises:
        FileFormatError: for another family.
    """
    found = [(read_lora(w.file), w) for w in loras]
    for lora, _ in found:
        check_family(lora, family)
    return found


def needs_hooks(loras: Loaded, regions: Sequence[RegionPrompt] = ()) -> bool:
    """True when the host's own loader cannot do it."""
    by_rows = any(isinstance(u, DoraModule) and u.by_rows for lora, _ in loras for u in lora.modules.values())
    return bool(regions) or by_rows or any(w.live or w.blocks for _, w in loras)


def text_parts(loras: Loaded) -> list[LoraWeight]:
    """What is left for the host's loader when hooks do the UNet: the text encoders, of those LoRAs that have something for them."""
    return [replace(w, unet=0.0) for lora, w in loras if w.text and any(name.startswith("lora_te") for name in lora.modules)]


@contextlib.contextmanager
def hooked(
    unet: torch.nn.Module,
    loras: Loaded,
    family: Family,
    regions: Sequence[RegionPrompt] = (),
    encode: Callable[[LiveBlend, int, str], torch.Tensor] | None = None,
    window: int | None = None,
    cfg: float = 1.0,
) -> Iterator[LiveBlend]:
    """Let ``loras`` act on ``unet`` while the block runs; each of the WebUI's sampling steps is followed.

    ``encode`` gives the words (1, L, C) of a group of ``regions``; ``cfg`` is the guidance scale.

    Raises:
        FileFormatError: when a LoRA fits no layer.
    """
    modules = {name: unet.get_submodule(path) for path, name in targets_of(unet, family, every=True).items()}
    for lora, _ in loras:
        said = misfit(lora, modules)
        if said is not None and len(lacking(lora, modules)) == len(lora.modules):
            raise FileFormatError(said)
        if said is not None:
            log.warning("%s", said)
    blend = LiveBlend(modules, loras, family, regions, window, cfg)
    steps = _Steps(blend)
    contexts: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}
    if encode is not None:
        contexts = {group: steps.words(encode(blend, group, prompt)) for group, prompt in blend.prompts.items()}
    script_callbacks.on_cfg_denoiser(steps.on_step)
    try:
        with blend.attached(unet, contexts, steps.negative):
            yield blend
    finally:
        script_callbacks.remove_callbacks_for_function(steps.on_step)


class _Steps:
    """Follows the WebUI's denoiser: which step it is, and which rows of the batch are the negative prompt's."""

    def __init__(self, blend: LiveBlend) -> None:
        self._blend = blend
        self._unwanted: torch.Tensor | None = None

    def on_step(self, params: Any) -> None:
        """See script_callbacks.CFGDenoiserParams; its own ``sampling_step`` lags one step behind (sd_samplers_common.callback_state)."""
        denoiser = params.denoiser
        self._blend.at(denoiser.step, denoiser.total_steps or 1)
        found = params.text_uncond
        self._unwanted = found.get("crossattn") if isinstance(found, Mapping) else found

    def negative(self, context: torch.Tensor) -> torch.Tensor:
        """Which rows (B,) of the call's ``context`` are the negative prompt's; the shorter prompt may have been made longer at its end."""
        unwanted = self._unwanted
        if unwanted is None:
            return torch.zeros(len(context), dtype=torch.bool)
        length = min(unwanted.shape[1], context.shape[1])
        known = unwanted.to(context)[:, :length]
        return torch.stack([(row[:length] == known).flatten(1).all(1).any() for row in context]).cpu()

    def words(self, wanted: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """A context of the call -> the same with ``wanted`` in place of every row that is not the negative prompt's."""

        def changed(context: torch.Tensor) -> torch.Tensor:
            here = wanted.to(context)
            longest = math.lcm(here.shape[1], context.shape[1])
            kept, mine = _grown(context, longest), _grown(here, longest).expand(len(context), -1, -1)
            unwanted = self._unwanted
            if unwanted is None or unwanted.shape[1] != context.shape[1]:
                return mine
            negative = torch.stack([(row == unwanted.to(context)).flatten(1).all(1).any() for row in context])
            return torch.where(negative[:, None, None], kept, mine)

        return changed


def _grown(context: torch.Tensor, length: int) -> torch.Tensor:
    """Repeated as a whole to ``length`` tokens, which attention does not notice."""
    return context.repeat(1, length // context.shape[1], 1)


def heard(blend: LiveBlend, loras: Loaded, group: int) -> list[LoraWeight]:
    """The text parts with which the words of ``group`` are encoded: its own LoRAs' and those of no region."""
    return text_parts([pair for pair, of in zip(loras, blend.groups, strict=True) if of in (EVERYWHERE, group)])


@dataclass(frozen=True, slots=True)
class Regional:
    """Words of their own in regions of what is sampled."""

    prompts: Callable[[], Sequence[RegionPrompt]]
    """Of the batch that begins."""
    encode: Callable[[LiveBlend, int, str], torch.Tensor]
    window: int | None
    """See ``LiveBlend``."""


def hook_sampling(p: Any, unet: Callable[[], torch.nn.Module], loras: Loaded, family: Family, regional: Regional | None = None) -> None:
    """Let ``loras`` act whenever ``p`` samples, its second pass included, and at no other time.

    Around ``p.sample`` itself, since no hook of a script is called when a picture fails or is interrupted.
    """
    sampled = p.sample

    def sample(*args: Any, **kwargs: Any) -> Any:
        with _regional(unet(), loras, p, family, regional):
            return sampled(*args, **kwargs)

    p.sample = sample


def _regional(unet: torch.nn.Module, loras: Loaded, p: Any, family: Family, of: Regional | None) -> contextlib.AbstractContextManager[LiveBlend]:
    if of is None:
        return hooked(unet, loras, family, cfg=p.cfg_scale)
    return hooked(unet, loras, family, of.prompts(), of.encode, of.window, cfg=p.cfg_scale)
