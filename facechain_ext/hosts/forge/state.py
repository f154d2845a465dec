"""Everything of Forge and reForge that training or sampling touches, put back on exit."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import networks
import torch
from modules import processing, sd_models, shared
from modules.prompt_parser import SdConditioning

from facechain_ext.errors import FileFormatError
from facechain_ext.hosts.a1111.blending import heard, hooked, needs_hooks, read_all
from facechain_ext.hosts.a1111.model import family_of, side_of
from facechain_ext.hosts.a1111.state import fresh_prompt_caches, random_state
from facechain_ext.hosts.forge.engine import Engine, ask_for_unload
from facechain_ext.hosts.forge.model import unet_of
from facechain_ext.lora.files import check_family, read_lora
from facechain_ext.lora.live import LiveBlend
from facechain_ext.lora.regions import EVERYWHERE
from facechain_ext.ports import Family, LoraWeight, SamplingRequest

IN_USE = ("forge_objects", "forge_objects_after_applying_lora", "current_lora_hash")
"""What a model draws the next picture with."""
NO_LORA = str([])


@contextlib.contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """The LoRAs in use, caches of prompts, RNG, modes and the choice of the checkpoint are on exit what they were.

    Inside, the model is as loaded, without LoRA. Weights are not touched here: LoRAs are only patches that the WebUI's memory management
    puts in and takes out whenever it loads another patcher, so it does that by itself after us.
    """
    held = {name: getattr(model, name) for name in IN_USE}
    unet = model.forge_objects_original.unet.model.diffusion_model
    modes = [(module, module.training) for module in unet.modules()]
    active = list(networks.loaded_networks)
    history = shared.cmd_opts.no_prompt_history
    unload = bool(getattr(processing, "need_global_unload", False))
    with random_state(), fresh_prompt_caches():
        try:
            networks.loaded_networks.clear()
            model.forge_objects = model.forge_objects_original.shallow_copy()
            model.forge_objects_after_applying_lora = model.forge_objects_original.shallow_copy()
            model.current_lora_hash = NO_LORA
            # The WebUI keeps 'last prompt' in params.txt; previews must not take its place.
            shared.cmd_opts.no_prompt_history = True
            yield
        finally:
            for name, value in held.items():
                setattr(model, name, value)
            networks.loaded_networks[:] = active
            for module, training in modes:
                module.training = training
            shared.cmd_opts.no_prompt_history = history
            ask_for_unload(unload)


@contextlib.contextmanager
def pinned(model: Any) -> Iterator[None]:
    """``process_images`` begins by loading what is chosen now; a choice made meanwhile waits until the block ends (Forge only)."""
    data = sd_models.model_data
    chosen, loaded = getattr(data, "forge_loading_parameters", None), getattr(data, "forge_hash", None)
    if loaded is None or data.sd_model is not model or loaded == str(chosen):
        yield
        return
    # The hash is the text of the parameters the model was loaded with (modules/sd_models.py, forge_model_reload).
    data.forge_loading_parameters = mine = _Loaded(loaded)
    try:
        yield
    finally:
        if data.forge_loading_parameters is mine:
            data.forge_loading_parameters = chosen


class _Loaded(dict[str, Any]):
    """Loading parameters whose text is that of those a model was loaded with."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def __str__(self) -> str:
        return self._text


@contextlib.contextmanager
def blended(engine: Engine, model: Any, request: SamplingRequest, family: Family) -> Iterator[None]:
    """Let the LoRAs of ``request`` act while the block runs: as patches of the WebUI's own where they stay the same, else through hooks.

    Raises:
        FileFormatError: for another family, or a LoRA that fits no layer of the checkpoint.
    """
    loras = read_all(request.loras, family)
    if not needs_hooks(loras, request.regions):
        with loaded_loras(engine, model, request.loras, family):
            yield
        return

    def encode(blend: LiveBlend, group: int, prompt: str) -> torch.Tensor:
        return encoded(engine, model, heard(blend, loras, group), prompt, (request.width, request.height))

    with (
        hooked(unet_of(model), loras, family, request.regions, encode, request.window(side_of(model)), request.cfg) as blend,
        loaded_loras(engine, model, heard(blend, loras, EVERYWHERE), family),
    ):
        yield


def encoded(engine: Engine, model: Any, loras: Sequence[LoraWeight], prompt: str, size: tuple[int, int]) -> torch.Tensor:
    """``prompt`` (1, L, C) as the text encoder understands it with ``loras``, for a picture of ``size`` (W, H)."""
    before = model.forge_objects
    with loaded_loras(engine, model, loras, family_of(model)), torch.inference_mode():
        # What the WebUI itself does before it encodes (modules/processing.py).
        model.forge_objects = model.forge_objects_after_applying_lora.shallow_copy()
        try:
            found = model.get_learned_conditioning(SdConditioning([prompt], width=size[0], height=size[1]))
        finally:
            model.forge_objects = before
    return found["crossattn"] if isinstance(found, dict) else found


@contextlib.contextmanager
def loaded_loras(engine: Engine, model: Any, loras: Sequence[LoraWeight], family: Family) -> Iterator[None]:
    """Let the WebUI's own LoRA code add ``loras``, wherever their files lie, to what is in use while the block draws.

    Raises:
        FileFormatError: for another family, or a LoRA that fits no layer of the checkpoint.
    """
    used = model.forge_objects_after_applying_lora
    unet, clip = used.unet, used.clip
    for lora in loras:
        check_family(read_lora(lora.file), family)
        before = (unet, clip)
        unet, clip = engine.with_lora(unet, clip, str(lora.file), (lora.unet, lora.text))
        if (unet, clip) == before and (lora.unet or lora.text):
            raise FileFormatError(f"The LoRA {lora.file.stem} fits no layer of this checkpoint. Use it with the one it was trained on.")
    drawn_with = used.shallow_copy()
    drawn_with.unet, drawn_with.clip = unet, clip
    model.forge_objects_after_applying_lora = drawn_with
    try:
        yield
    finally:
        model.forge_objects_after_applying_lora = used
