"""``TrainSession`` on the modules the WebUI has loaded."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import torch
from modules import devices, prompt_parser, shared

from facechain_ext.errors import HostError
from facechain_ext.faces.types import Image
from facechain_ext.hosts.a1111.model import checkpoint_of, family_of, targets_of, text_encoders_of, unet_of
from facechain_ext.hosts.a1111.sampling import sample
from facechain_ext.hosts.a1111.state import fresh_prompt_caches, random_state
from facechain_ext.hosts.checkpointing import checkpointed
from facechain_ext.hosts.placement import Resting
from facechain_ext.ports import Conditioning, Family, SamplingRequest, TextEncoder, TrainSession
from facechain_ext.progress import CancelToken, Progress


class WebuiSession:
    """Implements ``TrainSession``; valid inside ``state.queued``, ``state.undisturbed`` and ``stack``, which takes out what it puts in."""

    _coder: Sequence[Resting] = ()
    """The autoencoder, where it leaves the GPU while the UNet learns."""
    _texts: Sequence[Resting] = ()
    """The text encoders likewise."""
    _text_learns = False

    def __init__(self, model: Any, stack: contextlib.ExitStack) -> None:
        self._model, self._stack, self._forgetful = model, stack, False
        # The WebUI's own setting for training; with --medvram it moves modules itself.
        if getattr(shared.opts, "unload_models_when_training", False) and not getattr(model, "lowvram", False):
            self._coder = [Resting(model.first_stage_model, devices.device)]
            words = model.conditioner if family_of(model) is Family.SDXL else model.cond_stage_model
            self._texts = [Resting(words, devices.device)]
            stack.callback(self._bring_back)
        self.checkpoint = checkpoint_of(model)
        self.device, self.dtype = devices.device, devices.dtype_unet
        self.alphas_cumprod = model.alphas_cumprod.detach().to(devices.device, torch.float32)

    @property
    def unet(self) -> torch.nn.Module:
        """LDM's UNetModel itself."""
        return unet_of(self._model)

    def lora_targets(self, reach: str = "linear") -> Mapping[str, str]:
        """See ``TrainSession``; paths are LDM's."""
        return targets_of(self.unet, self.checkpoint.family, reach)

    def text_encoders(self) -> Sequence[TextEncoder]:
        """See ``TrainSession``."""
        return text_encoders_of(self._model)

    def encode_images(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``TrainSession``."""
        mean, deviation = self._moments(images)
        return mean * self._model.scale_factor, deviation * self._model.scale_factor

    def _moments(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What the autoencoder computes; SDXL's code gives out a sample only (sgm's AutoencoderKLInferenceWrapper)."""
        self._bring_back()
        coder, seen = self._model.first_stage_model, []
        listening = coder.quant_conv.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        try:
            with torch.no_grad(), devices.autocast():
                self._model.encode_first_stage(images.to(self.device, devices.dtype_vae))
        finally:
            listening.remove()
        mean, logarithm = torch.cat(seen).float().chunk(2, dim=1)
        # Limits of DiagonalGaussianDistribution.
        return mean, torch.exp(logarithm.clamp(-30, 20) / 2)

    def encode_prompts(self, prompts: Sequence[str], sizes: Sequence[tuple[int, int]], *, gradient: bool = False) -> Conditioning:
        """See ``TrainSession``; with the WebUI's clip skip and emphasis."""
        self._text_learns |= gradient
        for text in self._texts:
            text.back()
        with torch.set_grad_enabled(gradient), devices.autocast(), self._learning(gradient):
            if self.checkpoint.family is Family.SDXL:
                return Conditioning(*sized(self._model.get_learned_conditioning, prompts, sizes))
            return Conditioning(self._model.get_learned_conditioning(list(prompts)))

    @contextlib.contextmanager
    def _learning(self, gradient: bool) -> Iterator[None]:
        """SDXL's code encodes without gradient whatever does not say that it is trained (sgm's GeneralConditioner)."""
        embedders = list(self._model.conditioner.embedders) if gradient and self.checkpoint.family is Family.SDXL else []
        said = [embedder.is_trainable for embedder in embedders]
        try:
            for embedder in embedders:
                embedder.is_trainable = True
            yield
        finally:
            for embedder, trainable in zip(embedders, said, strict=True):
                embedder.is_trainable = trainable

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """See ``TrainSession``."""
        for resting in (*self._coder, *(() if self._text_learns else self._texts)):
            resting.leave()
        if conditioning.pooled is not None:
            wanted: dict[str, Any] = {"crossattn": conditioning.context, "vector": conditioning.pooled}
        else:
            wanted = {"c_crossattn": [conditioning.context]}
        with torch.enable_grad(), devices.autocast():
            return self._model.apply_model(noisy, timesteps, wanted)

    def checkpoint_blocks(self) -> bool:
        """See ``TrainSession``."""
        if self._forgetful:
            return False
        self._stack.enter_context(self._checkpointed())
        self._forgetful = True
        return True

    def offload_blocks(self) -> bool:
        """See ``TrainSession``: where its weights are is for the WebUI to say."""
        return False

    def _checkpointed(self) -> contextlib.AbstractContextManager[None]:
        self.unet.train()
        return checkpointed(self.unet)

    def elsewhere(self, processes: int) -> Callable[[int], contextlib.AbstractContextManager[TrainSession]]:
        """See ``TrainSession``: nowhere.

        Raises:
            HostError: always.
        """
        raise HostError(
            "Inside a WebUI a training has one process, the WebUI's own. Set processes to 1, or train on several GPUs with the standalone program."
        )

    def preview(self, request: SamplingRequest, cancel: CancelToken) -> Generator[Image, None, None]:
        """See ``TrainSession``."""
        self._bring_back()
        state = shared.state
        step, steps = state.sampling_step, state.sampling_steps
        modes = [(m, m.training) for m in self.unet.modules()]
        self.unet.eval()
        try:
            # What the WebUI keeps of encoded prompts says nothing about an adapter in the text encoder.
            with random_state(), fresh_prompt_caches():
                images = self._sample(request, cancel)
        finally:
            for module, training in modes:
                module.training = training
            state.job_count, state.job_no, state.sampling_step, state.sampling_steps = 1, 0, step, steps
        yield from images

    def _bring_back(self) -> None:
        for resting in (*self._coder, *self._texts):
            resting.back()

    def _sample(self, request: SamplingRequest, cancel: CancelToken) -> list[Image]:
        return sample(self._model, request, cancel)

    def report(self, event: Progress, cancel: CancelToken) -> None:
        """See ``TrainSession``: the WebUI's progress bar and its Interrupt button."""
        state = shared.state
        state.job_count, state.job_no = 1, 0
        state.sampling_step, state.sampling_steps = event.step, event.total
        state.textinfo = (
            f"FaceChain: step {event.step} of {event.total}, loss {event.loss:.4f}" if event.loss is not None else event.message
        )
        if state.interrupted or state.stopping_generation:
            cancel.stop()
            # While set, the last previews would come out empty.
            state.interrupted = state.stopping_generation = False


def sized(encode: Callable[[Any], Any], prompts: Sequence[str], sizes: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """SDXL's context and vector of ``prompts``, each for a picture of its own size (width, height).

    The WebUI knows one size for a whole batch. Every batch holds all prompts, because the longest decides how many tokens the others get.
    """
    found = {(w, h): encode(prompt_parser.SdConditioning(list(prompts), width=w, height=h)) for w, h in dict.fromkeys(sizes)}
    context = torch.stack([found[size]["crossattn"][i] for i, size in enumerate(sizes)])
    return context, torch.stack([found[size]["vector"][i] for i, size in enumerate(sizes)])
