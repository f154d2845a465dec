"""Latents kept in the person's folder, so that the same photos are not encoded again by the next training."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from facechain_ext.errors import StorageError
from facechain_ext.faces.types import Image
from facechain_ext.ports import TrainSession
from facechain_ext.training.latent_names import SUFFIX, forget_others, photo_mark
from facechain_ext.workspace import write_bytes

log = logging.getLogger(__name__)

MOST_BYTES = 512 * 2**20
"""Of one person's latents; the files not used for longest go first."""
PROBE_SIDE = 64
CLOSE = 0.02
"""How far the same autoencoder's latents differ between precisions, at most; others differ by tenths."""

Latents = tuple[torch.Tensor, torch.Tensor]


class LatentStore:
    """Latents of photos in ``folder``, by the photo's content, its size and the checkpoint."""

    def __init__(self, folder: Path, session: TrainSession) -> None:
        self._folder, self._session = folder, session
        self._probe: torch.Tensor | None = None
        self._writable = True

    def encode(self, photo: Image, pixels: torch.Tensor) -> Latents:
        """Mean and standard deviation, float32 on the CPU, of ``pixels`` (1, 3, H, W), which were made from ``photo``."""
        file = self._folder / f"{photo_mark(photo)}-{self._content(pixels)}{SUFFIX}"
        wanted = (1, 4, pixels.shape[2] // 8, pixels.shape[3] // 8)
        found = self._read(file, wanted)
        if found is None:
            mean, std = (t.float().cpu() for t in self._session.encode_images(pixels))
            found = mean, std
            self._write(file, found)
        return found

    def tidy(self, photos: list[Image]) -> None:
        """Delete what belongs to other photos, and the oldest above ``MOST_BYTES``."""
        try:
            forget_others(self._folder, photos)
            files = sorted(((f.stat().st_mtime, f.stat().st_size, f) for f in self._folder.glob(f"*{SUFFIX}")), reverse=True)
            total = 0
            for _, size, file in files:
                total += size
                if total > MOST_BYTES:
                    file.unlink()
        except OSError as error:
            log.warning("stored latents could not be tidied up: %s", type(error).__name__)

    def _content(self, pixels: torch.Tensor) -> str:
        shape = f"{self._session.checkpoint.sha256} {tuple(pixels.shape)}".encode()
        return hashlib.sha256(shape + pixels.numpy().tobytes()).hexdigest()[:32]

    def _seen(self) -> torch.Tensor:
        """What the autoencoder makes of a fixed picture: a host may use another one than the checkpoint's own."""
        if self._probe is None:
            ramp = torch.linspace(-1, 1, PROBE_SIDE)
            picture = torch.stack([ramp.expand(PROBE_SIDE, -1), ramp[:, None].expand(-1, PROBE_SIDE), -ramp.expand(PROBE_SIDE, -1)])
            self._probe = self._session.encode_images(picture[None])[0].float().cpu()
        return self._probe

    def _read(self, file: Path, wanted: tuple[int, ...]) -> Latents | None:
        if not file.exists():
            return None
        try:
            tensors = load(file.read_bytes())
            mean, std, probe = tensors["mean"], tensors["std"], tensors["probe"]
            if mean.shape != wanted or std.shape != wanted or mean.dtype is not torch.float32 or std.dtype is not torch.float32:
                raise ValueError("another shape")
            file.touch()
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            log.warning("stored latents are damaged and made again: %s", type(error).__name__)
            return None
        ours = self._seen()
        return (mean, std) if probe.shape == ours.shape and torch.allclose(probe, ours, rtol=0, atol=CLOSE) else None

    def _write(self, file: Path, latents: Latents) -> None:
        if not self._writable:
            return
        tensors = {"mean": latents[0], "std": latents[1], "probe": self._seen()}
        try:
            write_bytes(file, save({name: t.contiguous() for name, t in tensors.items()}), "the latents")
        except (OSError, StorageError) as error:
            # Without them the next training takes a little longer: no reason to end this one.
            self._writable = False
            log.warning("latents could not be stored: %s", type(error).__name__)
