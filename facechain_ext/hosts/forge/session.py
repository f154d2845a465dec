"""``TrainSession`` on the modules Forge or reForge has loaded."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import torch
from modules import shared

from facechain_ext.errors import HostError
from facechain_ext.faces.types import Image
from facechain_ext.hosts.a1111.sampling import sample
from facechain_ext.hosts.a1111.session import WebuiSession, sized
from facechain_ext.hosts.checkpointing import checkpointed
from facechain_ext.hosts.forge.engine import Engine
from facechain_ext.hosts.forge.model import check_resident, checkpoint_of, unet_of
from facechain_ext.hosts.forge.state import pinned
from facechain_ext.hosts.forge.weights import BorrowedWeights
from facechain_ext.ports import Conditioning, Family, SamplingRequest, TextEncoder
from facechain_ext.progress import CancelToken


class ForgeSession(WebuiSession):
    """Implements ``TrainSession``; valid inside ``state.queued``, ``forge.state.undisturbed`` and ``weights.lent``."""

    def __init__(self, engine: Engine, model: Any, weights: BorrowedWeights, stack: contextlib.ExitStack) -> None:
        self._engine, self._model, self._weights, self._stack, self._forgetful = engine, model, weights, stack, False
        self.checkpoint = checkpoint_of(engine, model)
        self.device, self.dtype = model.forge_objects_original.unet.load_device, engine.dtype(model)
        sigmas = _ordinary(engine.sigmas(model)).to(self.device, torch.float32)
        self.alphas_cumprod = 1 / (1 + sigmas**2)
        self._resident = True

    @property
    def unet(self) -> torch.nn.Module:
        """LDM's UNet itself."""
        return unet_of(self._model)

    def text_encoders(self) -> Sequence[TextEncoder]:
        """See ``TrainSession``: none.

        Raises:
            HostError: always.
        """
        raise HostError(
            "This WebUI keeps its text encoders where no gradient reaches them, so only the UNet can be trained in it. "
            "Set the text encoder's learning rate to 0, or train in AUTOMATIC1111 or the standalone program."
        )

    def encode_images(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``TrainSession``."""
        self._resident = False
        with self._weights.suspended():
            mean, std = self._engine.moments(self._model, images.to(self.device))
        return _ordinary(mean).float(), _ordinary(std).float()

    def encode_prompts(self, prompts: Sequence[str], sizes: Sequence[tuple[int, int]], *, gradient: bool = False) -> Conditioning:
        """See ``TrainSession``; with the WebUI's clip skip and emphasis, never with a gradient."""
        self._resident = False
        model = self._model
        with self._weights.suspended(), torch.inference_mode():
            if hasattr(model, "set_clip_skip"):
                model.set_clip_skip(int(shared.opts.CLIP_stop_at_last_layers))
            if self.checkpoint.family is Family.SDXL:
                context, vector = sized(model.get_learned_conditioning, prompts, sizes)
            else:
                context, vector = model.get_learned_conditioning(list(prompts)), None
        return Conditioning(self._here(context), None if vector is None else self._here(vector))

    def _here(self, tensor: torch.Tensor) -> torch.Tensor:
        return _ordinary(tensor).to(self.device)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """See ``TrainSession``."""
        if not self._resident:
            self._bring_back()
        extra = {} if conditioning.pooled is None else {"y": conditioning.pooled.to(self.dtype)}
        context = conditioning.context.to(self.dtype)
        with torch.inference_mode(False), torch.enable_grad():
            return self.unet(noisy.to(self.dtype), timesteps.float(), context=context, transformer_options={}, **extra)

    def preview(self, request: SamplingRequest, cancel: CancelToken) -> Generator[Image, None, None]:
        """See ``TrainSession``."""
        self._resident = False
        with self._weights.suspended():
            images = list(super().preview(request, cancel))
        yield from images

    def _checkpointed(self) -> contextlib.AbstractContextManager[None]:
        return checkpointed(self.unet)

    def _sample(self, request: SamplingRequest, cancel: CancelToken) -> list[Image]:
        with pinned(self._model):
            return sample(self._model, request, cancel, pin=False)

    def _bring_back(self) -> None:
        """Encoding or sampling may have sent the UNet away."""
        with self._weights.suspended():
            self._engine.to_device(self._model.forge_objects_original.unet, alone=True)
            check_resident(self._model)
        self._resident = True


def _ordinary(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that autograd may save."""
    with torch.inference_mode(False):
        return tensor.detach().clone()
