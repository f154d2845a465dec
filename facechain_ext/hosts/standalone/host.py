"""The standalone host: one checkpoint, opened for training or sampling."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from facechain_ext.errors import HostError
from facechain_ext.faces.types import Image
from facechain_ext.hosts.offload import OffloadedWeights
from facechain_ext.hosts.placement import Resting
from facechain_ext.hosts.precision import AUTO, DTYPES
from facechain_ext.hosts.standalone.blending import blended
from facechain_ext.hosts.standalone.footprint import footprint
from facechain_ext.hosts.standalone.heap import keep_heap
from facechain_ext.hosts.standalone.inspection import file_sha256, inspect
from facechain_ext.hosts.standalone.loading import Parts, load, pick_device
from facechain_ext.hosts.standalone.prediction import parameterisation
from facechain_ext.hosts.standalone.prompts import encoded, sized
from facechain_ext.hosts.standalone.sampling import predict, sample
from facechain_ext.hosts.standalone.schedule import alphas_of
from facechain_ext.hosts.standalone.sidecar import native, read_sidecar, stamp_of
from facechain_ext.hosts.standalone.workers import Opener, check_processes, opened_in_worker
from facechain_ext.lora.naming import TEXT_PREFIXES, text_targets, unet_targets, without_layer
from facechain_ext.ports import CheckpointInfo, Conditioning, Footprint, MadeWith, Prediction, SamplingRequest, TextEncoder
from facechain_ext.progress import CancelToken, Progress, ProgressSink, Stage, silent

OFFLOADING = {"cuda"}
"""Devices with memory of their own."""


class StandaloneSession:
    """Implements ``TrainSession`` on a diffusers checkpoint."""

    def __init__(self, parts: Parts, checkpoint: CheckpointInfo, elsewhere: Opener) -> None:
        self._parts, self._elsewhere = parts, elsewhere
        self._vae = Resting(parts.vae, parts.device)
        self._texts = [Resting(encoder, parts.device) for encoder in parts.text_encoders]
        self._text_learns = False
        self._offloaded: OffloadedWeights | None = None
        self.checkpoint = checkpoint
        self.device, self.dtype = parts.device, parts.dtype
        self.alphas_cumprod = alphas_of(parts.scheduler_config).to(parts.device)

    @property
    def unet(self) -> torch.nn.Module:
        """The UNet itself."""
        return self._parts.unet

    def lora_targets(self, reach: str = "linear") -> Mapping[str, str]:
        """See ``TrainSession``; 192 modules of SD1's UNet when linear."""
        return unet_targets(_paths(self._parts.unet), self.checkpoint.family, reach=reach)

    def text_encoders(self) -> Sequence[TextEncoder]:
        """See ``TrainSession``."""
        found = []
        for encoder, prefix in zip(self._parts.text_encoders, TEXT_PREFIXES[self.checkpoint.family], strict=True):
            targets = text_targets(_paths(encoder), prefix)
            if len(self._parts.text_encoders) > 1 and not found:
                # SDXL's first one is read before its last layer, which so has nothing to learn from.
                targets = without_layer(targets, encoder.config.num_hidden_layers - 1)
            found.append(TextEncoder(encoder, targets))
        return found

    def encode_images(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See ``TrainSession``."""
        self._vae.back()
        vae = self._parts.vae
        with torch.no_grad():
            latents = vae.encode(images.to(self.device, torch.float32)).latent_dist
        scale = vae.config["scaling_factor"]
        return latents.mean * scale, latents.std * scale

    def encode_prompts(self, prompts: Sequence[str], sizes: Sequence[tuple[int, int]], *, gradient: bool = False) -> Conditioning:
        """See ``TrainSession``."""
        self._text_learns |= gradient
        for text in self._texts:
            text.back()
        return sized(encoded(self._parts, prompts, gradient=gradient), sizes)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """See ``TrainSession``; what encodes leaves the device until it is needed again."""
        self._vae.leave()
        if not self._text_learns:
            for text in self._texts:
                text.leave()
        with self._offloaded.forward() if self._offloaded else contextlib.nullcontext():
            return predict(self._parts, noisy, timesteps, conditioning)

    def checkpoint_blocks(self) -> bool:
        """See ``TrainSession``."""
        unet = self._parts.unet
        if unet.is_gradient_checkpointing:
            return False
        # Non-reentrant, because with a frozen base the reentrant kind finds no input that needs a gradient.
        unet.enable_gradient_checkpointing()
        # diffusers does it in training mode only.
        unet.train()
        return True

    def offload_blocks(self) -> bool:
        """See ``TrainSession``; only where the device has memory of its own."""
        if self._offloaded is not None or self.device.type not in OFFLOADING:
            return False
        self._offloaded = OffloadedWeights(self._parts.unet, self.device)
        return True

    def elsewhere(self, processes: int) -> Opener:
        """See ``TrainSession``; a GPU each, on a CPU they share its cores."""
        check_processes(self.device, processes)
        return self._elsewhere

    def preview(self, request: SamplingRequest, cancel: CancelToken) -> Generator[Image, None, None]:
        """See ``TrainSession``."""
        self._bring_back()
        flags = [(m, m.training) for m in self._parts.unet.modules()]
        self._parts.unet.eval()
        try:
            yield from sample(self._parts, request, cancel)
        finally:
            for module, training in flags:
                module.training = training

    def close(self) -> None:
        """Everything is on the device again."""
        self._bring_back()
        if self._offloaded is not None:
            self._offloaded.end()
            self._offloaded = None

    def _bring_back(self) -> None:
        for resting in (self._vae, *self._texts):
            resting.back()

    def report(self, event: Progress, cancel: CancelToken) -> None:
        """See ``TrainSession``; nobody else shows progress here."""


class StandaloneHost:
    """Implements ``TrainHost`` and ``ImageGenerator``; loads the checkpoint at first use."""

    def __init__(self, file: Path) -> None:
        self._file, self._stamp = file, stamp_of(file)
        self._sidecar = read_sidecar(file)
        self._parts: Parts | None = None
        # Training and sampling both change the one model for a while, so they take turns.
        self._lock = threading.RLock()
        self._info = self._described()

    def _described(self) -> CheckpointInfo:
        """Reads the whole file once for its hash; loads it only when what it predicts must be tried."""
        family, _ = inspect(self._file)
        known = parameterisation(self._file, family, self._sidecar)
        if known.prediction is None:
            known = self.parts().parameterisation
        prediction = known.prediction or Prediction.EPS
        side = self._sidecar.resolution or native(family, prediction)
        return CheckpointInfo(self._file.stem, file_sha256(self._file), family, prediction, side, known.assumption(family))

    @property
    def checkpoint(self) -> CheckpointInfo:
        """The checkpoint's family, hash and native size."""
        return self._info

    @property
    def made(self) -> MadeWith:
        """See ``ImageGenerator``; nothing is set."""
        return MadeWith()

    def parts(self, precision: str = AUTO) -> Parts:
        """The loaded checkpoint, its UNet and text encoders in ``precision``."""
        with self._lock:
            dtype = pick_device()[1] if precision == AUTO else DTYPES[precision]
            if self._parts is not None and self._parts.dtype is not dtype:
                self._parts = None
            if self._parts is None:
                if stamp_of(self._file) != self._stamp:
                    raise HostError(f"The checkpoint {self._file.name} was replaced since it was chosen. Start again with the new one.")
                keep_heap()
                self._parts = load(self._file, self._sidecar, dtype)
            return self._parts

    def footprint(self) -> Footprint:
        """See ``TrainHost``."""
        return footprint(self._file, self._sidecar, loaded=self._parts is not None)

    @contextlib.contextmanager
    def open_session(
        self,
        *,
        gradient_checkpointing: bool = False,
        precision: str = AUTO,
        on_progress: ProgressSink = silent,
        cancel: CancelToken | None = None,
    ) -> Iterator[StandaloneSession]:
        """See ``TrainHost``; nobody else uses the checkpoint, so nothing is waited for.

        In another precision than usual it is loaded anew, and once more for what comes after: there and back is not the same.
        """
        with self._lock:
            parts = self.parts(precision)
            rng = torch.get_rng_state()
            session = StandaloneSession(parts, self._info, partial(opened_in_worker, self._file, self._stamp, precision))
            try:
                if gradient_checkpointing:
                    session.checkpoint_blocks()
                yield session
            finally:
                session.close()
                parts.unet.disable_gradient_checkpointing()
                parts.unet.eval()
                torch.set_rng_state(rng)

    def generate(self, request: SamplingRequest, on_progress: ProgressSink, cancel: CancelToken) -> Generator[Image, None, None]:
        """See ``ImageGenerator``.

        Raises:
            FileFormatError: for a LoRA of another family.
        """

        def on_step(step: int, total: int) -> None:
            on_progress(Progress(Stage.GENERATE, step, total, "Sampling"))

        with self._lock, blended(self.parts(), request, self._info) as (before_step, guidance):
            yield from sample(self.parts(), request, cancel, on_step, before_step=before_step, guidance=guidance)


def _paths(model: torch.nn.Module) -> list[str]:
    return [path for path, _ in model.named_modules()]
