"""Samples with the WebUI's own ``process_images``."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import networks
import numpy as np
import torch
from modules import devices, processing, prompt_parser, rng, scripts, shared
from PIL import Image as PilImage

from facechain_ext.errors import Cancelled, FileFormatError, HostError
from facechain_ext.faces.types import Image
from facechain_ext.hosts.a1111.blending import heard, hooked, needs_hooks, read_all
from facechain_ext.hosts.a1111.model import family_of, prediction_of, side_of, unet_of
from facechain_ext.hosts.a1111.state import unlisted_options
from facechain_ext.hosts.detect import WebUi, detect
from facechain_ext.lora.files import check_family, read_lora
from facechain_ext.lora.live import LiveBlend
from facechain_ext.lora.regions import EVERYWHERE, composed, noise_seeds, owners
from facechain_ext.ports import Family, LoraWeight, MadeWith, SamplingRequest
from facechain_ext.progress import CancelToken

POLL_S = 0.25
KARRAS = " Karras"
"""End of our samplers' names that is a scheduler there."""
OnStep = Callable[[int, int], None]


def sample(model: Any, request: SamplingRequest, cancel: CancelToken, on_step: OnStep | None = None, *, pin: bool = True) -> list[Image]:
    """All images of ``request``, one batch; no script of another extension runs, and nothing is saved.

    The caller holds the queue and has cleared or loaded the LoRAs; without ``pin`` it also sees to it that ``model`` stays the one in use.

    Raises:
        Cancelled: when cancelled.
        HostError: when the WebUI could not sample.
    """
    request.check_start()
    many = len(request.seeds)
    p = processing_of(model, request, pin=pin)
    # Otherwise the options' LoRA for all prompts, and other extensions' networks, would come in.
    p.disable_extra_networks = True
    if detect() is WebUi.REFORGE:
        # Its process_images looks into the scripts without asking whether there are any.
        p.scripts = scripts.ScriptRunner()
    with contextlib.closing(p), unlisted_options(p.override_settings), _watched(cancel, on_step):
        try:
            made = processing.process_images(p)
        except Exception as error:  # the WebUI raises whatever its parts raise
            raise HostError(f"The WebUI could not sample ({type(error).__name__}: {error}). Its log has the details.") from error
    cancel.raise_if_cancelled()
    images = [np.asarray(image.convert("RGB")) for image in made.images[made.index_of_first_image :][:many]]
    if len(images) < many:
        raise Cancelled("The WebUI was interrupted. Nothing was changed.")
    return images


FROM_PICTURES = {
    "save_init_img": False,
    "img2img_color_correction": False,
    "img2img_fix_steps": False,
    "initial_noise_multiplier": 1.0,
    "img2img_extra_noise": 0.0,
}
"""Options of img2img that would keep a copy of a person's face, or change what a strength means."""


def processing_of(model: Any, request: SamplingRequest, *, pin: bool) -> Any:
    """The WebUI's own description of ``request``; with pictures to start from it is one of img2img."""
    sampler, scheduler = request.sampler.removesuffix(KARRAS), KARRAS.strip() if request.sampler.endswith(KARRAS) else None
    many = len(request.seeds)
    # ``process_images`` begins by loading what the dropdown says now; a change there must not reach into this run.
    override: dict[str, Any] = {"sd_model_checkpoint": model.sd_checkpoint_info.title} if pin else {}
    override |= _set_otherwise(request.made or made_with())
    kind, more = processing.StableDiffusionProcessingTxt2Img, {}
    if request.start:
        kind = processing.StableDiffusionProcessingImg2Img
        more = {"init_images": [PilImage.fromarray(image) for image in request.start], "denoising_strength": request.strength}
        override |= {name: value for name, value in FROM_PICTURES.items() if name in shared.opts.data_labels}
    return _with_noise_of(request, kind)(
        sd_model=model,
        prompt=[request.prompt] * many,
        negative_prompt=[request.negative] * many,
        seed=list(request.seeds),
        sampler_name=sampler,
        scheduler=scheduler,
        batch_size=many,
        steps=request.steps,
        cfg_scale=request.cfg,
        width=request.width,
        height=request.height,
        do_not_save_samples=True,
        do_not_save_grid=True,
        override_settings=override,
        **more,
    )


CLIP_SKIP, SEED_DELTA = "CLIP_stop_at_last_layers", "eta_noise_seed_delta"


def made_with() -> MadeWith:
    """How the WebUI is set."""
    return MadeWith(int(getattr(shared.opts, CLIP_SKIP, None) or 1), int(getattr(shared.opts, SEED_DELTA, None) or 0))


def _set_otherwise(made: MadeWith) -> dict[str, int]:
    """Options for a picture made with settings that are not the WebUI's now."""
    now = made_with()
    pairs = ((CLIP_SKIP, made.clip_skip, now.clip_skip), (SEED_DELTA, made.seed_delta, now.seed_delta))
    return {name: value for name, value, here in pairs if value != here}


def _with_noise_of(request: SamplingRequest, kind: type[Any]) -> type[Any]:
    """``kind`` of processing, with noise of its own for every region where ``request`` has seeds for them."""
    first, *rest = noise_seeds(request)
    if not rest:
        return kind

    class Regional(kind):
        def sample(self, *args: Any, **kwargs: Any) -> Any:
            """The WebUI's own, which takes all noise from ``rng``."""
            self.rng = _RegionalNoise([rng.ImageRNG(self.rng.shape, seeds) for seeds in (first, *rest)], request)
            return super().sample(*args, **kwargs)

    return Regional


class _RegionalNoise:
    """Stands for the WebUI's ``ImageRNG``: one for each region, put together at every call."""

    def __init__(self, streams: Sequence[Any], request: SamplingRequest) -> None:
        self._streams, self.shape, self.seeds = streams, streams[0].shape, streams[0].seeds
        self._owner = owners([r.region for r in request.regions], *self.shape[-2:])

    def next(self) -> torch.Tensor:
        """The next noise (B, C, h, w)."""
        return composed([stream.next() for stream in self._streams], self._owner)


@contextlib.contextmanager
def _watched(cancel: CancelToken, on_step: OnStep | None) -> Iterator[None]:
    """Tell ``on_step`` what the WebUI's state says, and interrupt it when cancelled."""
    ended = threading.Event()

    def look() -> None:
        last = -1
        while not ended.wait(POLL_S):
            if cancel.cancelled and not shared.state.interrupted:
                shared.state.interrupt()
            step, total = shared.state.sampling_step, shared.state.sampling_steps
            if on_step is not None and total and step != last:
                last = step
                on_step(min(step, total), total)

    thread = threading.Thread(target=look, name="facechain-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def blended(model: Any, request: SamplingRequest, family: Family) -> Iterator[None]:
    """Let the LoRAs of ``request`` act while the block runs: merged by the WebUI's own code where they stay the same, else through hooks.

    Raises:
        FileFormatError: for another family, or a LoRA that fits no layer of the checkpoint.
    """
    loras = read_all(request.loras, family)
    if not needs_hooks(loras, request.regions):
        with loaded_loras(model, request.loras, family):
            yield
        return

    def encode(blend: LiveBlend, group: int, prompt: str) -> torch.Tensor:
        return encoded(model, heard(blend, loras, group), prompt, (request.width, request.height))

    with (
        hooked(unet_of(model), loras, family, request.regions, encode, request.window(side_of(model, prediction_of(model))), request.cfg) as blend,
        loaded_loras(model, heard(blend, loras, EVERYWHERE), family),
    ):
        yield


def encoded(model: Any, loras: Sequence[LoraWeight], prompt: str, size: tuple[int, int]) -> torch.Tensor:
    """``prompt`` (1, L, C) as the text encoder understands it with ``loras``, for a picture of ``size`` (W, H)."""
    with loaded_loras(model, loras, family_of(model)), torch.no_grad(), devices.autocast():
        found = model.get_learned_conditioning(prompt_parser.SdConditioning([prompt], width=size[0], height=size[1]))
    return found["crossattn"] if isinstance(found, dict) else found


@contextlib.contextmanager
def loaded_loras(model: Any, loras: Sequence[LoraWeight], family: Family) -> Iterator[None]:
    """Let the WebUI's own LoRA code apply ``loras``, wherever their files lie, beside those in use while the block runs.

    Raises:
        FileFormatError: for another family, or a LoRA that fits no layer of the checkpoint.
    """
    wanted = []
    for weight in loras:
        check_family(read_lora(weight.file), family)
        network = networks.load_network(*_on_disk(weight.file))
        if not network.modules:
            raise FileFormatError(f"The LoRA {weight.file.stem} fits no layer of this checkpoint. Use it with the one it was trained on.")
        network.te_multiplier, network.unet_multiplier, network.dyn_dim = weight.text, weight.unet, None
        wanted.append(network)
    active = list(networks.loaded_networks)
    networks.loaded_networks[:] = [*active, *wanted]
    try:
        yield
    finally:
        networks.loaded_networks[:] = active


def _on_disk(file: Path) -> tuple[str, Any]:
    # The WebUI tells LoRAs by name only and caches them; the content in the name keeps a file made anew from being mistaken.
    name = f"facechain {file.stem} {hashlib.sha256(file.read_bytes()).hexdigest()[:10]}"
    import network

    return name, network.NetworkOnDisk(name, str(file))
