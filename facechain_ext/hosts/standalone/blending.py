"""A request's LoRAs and regional prompts on the standalone checkpoint, for the time of one call."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.hosts.device import free_bytes
from facechain_ext.hosts.standalone.loading import Parts
from facechain_ext.hosts.standalone.prompts import Guidance, guided
from facechain_ext.hosts.standalone.sampling import OnStep, made_with
from facechain_ext.lora.files import LoraFile, check_family, read_lora
from facechain_ext.lora.fit import lacking, misfit
from facechain_ext.lora.kinds import DoraModule, LoraModule
from facechain_ext.lora.live import LiveBlend
from facechain_ext.lora.merge import merged
from facechain_ext.lora.naming import TEXT_PREFIXES, block_weights, text_targets, unet_targets
from facechain_ext.lora.regions import EVERYWHERE
from facechain_ext.ports import CheckpointInfo, LoraWeight, SamplingRequest

log = logging.getLogger(__name__)
Loaded = Sequence[tuple[LoraFile, LoraWeight]]
FOR_SAMPLING = 2 * 2**30
"""Bytes that a picture of SDXL's size takes while it is sampled and decoded."""


@contextlib.contextmanager
def blended(parts: Parts, request: SamplingRequest, info: CheckpointInfo) -> Iterator[tuple[OnStep | None, Guidance]]:
    """Let the LoRAs of ``request`` act while the block runs; yields what must be told each step, and the encoded prompts.

    LoRAs that stay the same over steps and picture are merged once and cost nothing from then on; the others act through hooks.

    Raises:
        FileFormatError: for a LoRA of another family, or one that fits no layer of the checkpoint.
        UserInputError: for words of a region that change over the steps or are joined by AND.
    """
    loras = _loaded(parts, request, info)
    unet = _by_name(parts.unet, unet_targets(_paths(parts.unet), info.family, every=True))
    still, moving = _parted(loras, unet)
    merging = merged(unet, [(lora, w.unet) for lora, w in still], [block_weights(w.blocks, info.family) for _, w in still])
    if not request.regions and not moving:
        with _text(parts, loras), merging:
            yield None, _guided(parts, request, request.prompt)
        return
    # Made before the others are merged: what some kinds change depends on the checkpoint's own weights.
    live = LiveBlend(unet, moving, info.family, request.regions, request.window(info.resolution), request.cfg)
    groups = [live.regions.group(w.region) for _, w in loras]

    def encoded(prompt: str, group: int) -> Guidance:
        # A region's words are encoded with the text parts of its own LoRAs and of those without a region.
        heard = [pair for pair, of in zip(loras, groups, strict=True) if of in (EVERYWHERE, group)]
        with _text(parts, heard):
            return _guided(parts, request, prompt)

    # A LoRA's region without words of its own hears the picture's, through its own text part.
    heard = {g: live.prompts.get(g, request.prompt) for g in {*live.prompts, *groups} - {EVERYWHERE}}
    contexts = {group: _always(encoded(prompt, group), parts, len(request.seeds)) for group, prompt in heard.items()}
    everywhere = encoded(request.prompt, EVERYWHERE)
    if contexts and len(everywhere.wanted) > 1:
        raise _too_much()
    with merging, live.attached(parts.unet, contexts, partial(_negative, 1 + len(everywhere.wanted))):
        yield live.at, everywhere


def _parted(loras: Loaded, unet: Mapping[str, torch.nn.Module]) -> tuple[Loaded, Loaded]:
    """Those that are merged, since they stay the same, and those that act through hooks."""
    moving = [pair for pair in loras if pair[1].live]
    # DoRA's lengths act on the checkpoint's own outputs, which would no longer be seen.
    if any(isinstance(update, DoraModule) and update.by_rows for lora, _ in moving for update in lora.modules.values()):
        return [], loras
    still = [pair for pair in loras if not pair[1].live]
    if still and not _room_to_merge([lora for lora, _ in still], unet):
        log.info("Memory is short: LoRAs act through hooks instead of being merged, which takes a few percent longer.")
        return [], loras
    return still, moving


def _room_to_merge(loras: Sequence[LoraFile], unet: Mapping[str, torch.nn.Module]) -> bool:
    """False where the copies of the weights that merging keeps, for SDXL nearly as much again as the UNet, would not fit beside the sampling."""
    if not all(isinstance(update, LoraModule) for lora in loras for update in lora.modules.values()):
        # Hooks of other kinds hold differences as large as the weights.
        return True
    weights = [unet[name].weight for name in {name for lora in loras for name in lora.modules} & unet.keys()]
    tensors = [weight for weight in weights if isinstance(weight, torch.Tensor)]
    free = free_bytes(tensors[0].device) if tensors else None
    return free is None or sum(weight.nbytes for weight in tensors) <= max(free - FOR_SAMPLING, free // 4)


def _negative(prompts: int, context: torch.Tensor) -> torch.Tensor:
    """Which rows are the negative prompt's, as ``Guidance.at`` lays them."""
    return torch.arange(len(context)) < len(context) // prompts


def _guided(parts: Parts, request: SamplingRequest, prompt: str) -> Guidance:
    with torch.no_grad():
        return guided(parts, prompt, request.negative, request.steps, made_with(request).clip_skip)


def _too_much() -> UserInputError:
    return UserInputError(
        "Words that change over the steps ([a:b:0.5], [a|b]) and AND cannot be used where people or LoRAs have regions of their own. Leave them out."
    )


def _always(guidance: Guidance, parts: Parts, many: int) -> Callable[[torch.Tensor], torch.Tensor]:
    if not guidance.constant or len(guidance.wanted) > 1:
        raise _too_much()
    context = guidance.at(0).to(parts.dtype).repeat_interleave(many, 0)
    return lambda _: context


def _loaded(parts: Parts, request: SamplingRequest, info: CheckpointInfo) -> Loaded:
    loras = [(read_lora(w.file), w) for w in request.loras]
    for lora, _ in loras:
        check_family(lora, info.family)
    known = set(unet_targets(_paths(parts.unet), info.family, every=True).values())
    for lora, _ in loras:
        said = misfit(lora, known)
        if said is not None and len(lacking(lora, known)) == len(lora.modules):
            raise FileFormatError(said)
        if said is not None:
            log.warning("%s", said)
    return loras


def text_modules(parts: Parts) -> dict[str, torch.nn.Module]:
    """All that a LoRA may adapt in the text encoders, by kohya's name."""
    found: dict[str, torch.nn.Module] = {}
    for encoder, prefix in zip(parts.text_encoders, TEXT_PREFIXES[parts.family], strict=True):
        found |= _by_name(encoder, text_targets(_paths(encoder), prefix))
    return found


def _text(parts: Parts, loras: Loaded) -> contextlib.AbstractContextManager[list[str]]:
    return merged(text_modules(parts), [(lora, w.text) for lora, w in loras])


def _paths(model: torch.nn.Module) -> list[str]:
    return [path for path, _ in model.named_modules()]


def _by_name(model: torch.nn.Module, names: Mapping[str, str]) -> dict[str, torch.nn.Module]:
    return {name: model.get_submodule(path) for path, name in names.items()}
