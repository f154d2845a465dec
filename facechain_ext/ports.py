"""The ports: what the core needs from face models and hosts. Implementations live in ``vision/`` and ``hosts/``.

Legend: B batch, H, W image px, h, w = H/8, W/8, C channels, L tokens, T train timesteps."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from facechain_ext.blend import Part, Region, Schedule, acts_live
from facechain_ext.errors import UserInputError
from facechain_ext.faces.attributes import Attributes
from facechain_ext.faces.types import Embedding, Face, Image
from facechain_ext.progress import CancelToken, Progress, ProgressSink, silent

if TYPE_CHECKING:
    import torch


class Family(str, enum.Enum):
    """Model families by the topology of their UNet and text encoders."""

    SD1 = "sd1"
    SD2 = "sd2"
    SDXL = "sdxl"


class Prediction(str, enum.Enum):
    """What the UNet predicts: the noise, or velocity (Salimans & Ho 2022)."""

    EPS = "eps"
    V = "v"


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A face model pack; embeddings of different ``sha256`` are never compared."""

    name: str
    sha256: str
    dimension: int


class FaceAnalyzer(Protocol):
    """Finds faces and embeds them."""

    @property
    def pack(self) -> PackInfo:
        """Which models answer."""
        ...

    def detect(self, image: Image) -> list[Face]:
        """Faces in ``image`` (H, W, 3) uint8 RGB, largest first, without embeddings."""
        ...

    def embed(self, image: Image, face: Face) -> Embedding:
        """The unit-length embedding (D,) of ``face``, which ``detect`` found in ``image``."""
        ...

    def attributes(self, image: Image, face: Face) -> Attributes | None:
        """Age and gender of ``face``; None when these models do not tell."""
        ...


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """The checkpoint a host works with; ``assumed`` says what had to be guessed of it, in a sentence."""

    name: str
    """File stem."""
    sha256: str
    family: Family
    prediction: Prediction
    resolution: int
    """Native px."""
    assumed: str = ""

    @property
    def short_hash(self) -> str:
        """First 10 hex digits, as the WebUI shows them."""
        return self.sha256[:10]


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """Encoded prompts."""

    context: torch.Tensor
    """(B, 77k, C)."""
    pooled: torch.Tensor | None = None
    """(B, P)."""
    size_ids: torch.Tensor | None = None
    """(B, 6)."""


@dataclass(frozen=True, slots=True)
class LoraWeight:
    """A LoRA file and how strongly it acts on the UNet and the text encoder."""

    file: Path
    unet: float = 1.0
    text: float = 1.0
    blocks: tuple[float, ...] = ()
    """Multipliers of ``unet`` for each of the UNet's blocks (25 or 19); empty: 1 everywhere."""
    schedule: Schedule | None = None
    """Multiplier of ``unet`` over the steps."""
    region: Region | None = None
    """Where in the picture it acts; None: everywhere."""
    guided: float = 1.0
    """How many times ``unet`` acts by guidance (see ``blend.negative_share``)."""

    @classmethod
    def of(cls, file: Path, part: Part) -> LoraWeight:
        """``file`` as ``part`` of a blend says."""
        return cls(file, part.unet, part.text_weight, part.blocks, part.schedule, part.region, part.guided)

    def part(self, role: str) -> Part:
        """What it does, as the part ``role`` of a blend."""
        return Part(role, self.unet, self.text, self.blocks, self.schedule, self.region, self.guided)

    @property
    def live(self) -> bool:
        """True when it changes over steps, picture or prompts, which merged weights cannot do."""
        return acts_live(self.schedule, self.region, self.guided)


@dataclass(frozen=True, slots=True)
class RegionPrompt:
    """Other words for a region of the picture; everywhere else the request's own prompt counts."""

    prompt: str
    region: Region


@dataclass(frozen=True, slots=True)
class MadeWith:
    """Settings of the WebUI that change a picture, as its infotext tells them."""

    clip_skip: int = 1
    """2 takes the text encoder's last layer but one, and so on."""
    seed_delta: int = 0
    """Added to the seed for all noise but the first ("Eta noise seed delta")."""


@dataclass(frozen=True, slots=True)
class SamplingRequest:
    """One batch of pictures to sample; image ``i`` uses ``seeds[i]``."""

    prompt: str
    negative: str
    seeds: tuple[int, ...]
    width: int
    height: int
    steps: int
    cfg: float
    sampler: str
    loras: tuple[LoraWeight, ...] = field(default=())
    regions: tuple[RegionPrompt, ...] = field(default=())
    """A LoRA whose ``region`` is the same acts on that region's words; the negative prompt is shared."""
    apart: bool = False
    """Each region is predicted by itself, in a window of the checkpoint's native size: nothing of one reaches another."""
    region_seeds: tuple[tuple[int, ...], ...] = field(default=())
    """For each picture the seed of each region's part of the noise, the first one's as in ``seeds``; empty: that seed everywhere."""
    start: tuple[Image, ...] = field(default=(), compare=False)
    """Pictures (height, width, 3) to start from, one for each seed; empty starts from noise alone."""
    strength: float = 1.0
    """How much of a picture to start from is noised away and sampled anew, above 0 to 1; also the share of the steps that is run."""
    made: MadeWith | None = None
    """None: as the host is set."""

    def window(self, resolution: int) -> int | None:
        """Side of the windows in latent pixels, for a checkpoint of native ``resolution`` px; None when regions are not apart."""
        return resolution // 8 if self.apart and self.regions else None

    def check_start(self) -> None:
        """Refuse what no host can start from.

        Raises:
            UserInputError: see ``ImageGenerator.generate``.
        """
        if not self.start:
            return
        if len(self.start) != len(self.seeds) or any(image.shape != (self.height, self.width, 3) for image in self.start):
            raise UserInputError(f"To start from pictures, {len(self.seeds)} of {self.width}x{self.height} px are needed, one for each seed.")
        if not 0 < self.strength <= 1:
            raise UserInputError(f"The strength must be above 0 and at most 1, not {self.strength:g}.")


@dataclass(frozen=True, slots=True, eq=False)
class Footprint:
    """What decides how much memory and time a training on a checkpoint takes."""

    shapes: Mapping[str, Sequence[int]]
    """Of the UNet's weights, by LDM's names from ``input_blocks`` on."""
    resolution: int
    """Native px."""
    checkpoint: str
    """What tells it from others: name and size of its file."""
    device: str
    """``cpu``, or the name of the GPU."""
    bytes_each: float
    """Of one activation."""
    free: int | None
    """Bytes free where the training will run, None when that cannot be told."""
    heads: int | None = None
    """Attention heads of each block; None: one for every 64 channels."""
    fused_attention: bool = True
    """False when attention keeps its whole matrices for the backward pass."""
    resting: int = 0
    """Bytes of weights that leave the device while the UNet learns."""
    offloads: bool = False
    """True where the UNet's weights can wait in main memory."""
    unloaded: int = 0
    """Bytes of weights that are still to be loaded."""
    peak: float | None = None
    """Operations per second of large matrix products, None when unknown."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a training will take beyond what is loaded already."""

    memory: int
    """Bytes at the peak."""
    free: int | None
    """Bytes free now where the training will run, None when that cannot be told."""
    seconds: float | None
    """None when the machine's speed is not known yet."""
    measured: bool
    """True when the speed comes from an earlier training on this machine with this checkpoint."""

    @property
    def fits(self) -> bool:
        """False when more is needed than is free."""
        return self.free is None or self.memory <= self.free


@dataclass(frozen=True, slots=True, eq=False)
class TextEncoder:
    """A text encoder of the checkpoint."""

    module: torch.nn.Module
    targets: Mapping[str, str]
    """Submodule path -> kohya's name (``lora_te_…``, SDXL ``lora_te1_…`` and ``lora_te2_…``)."""


class TrainSession(Protocol):
    """A checkpoint opened for training. Everything it changed is put back when its context ends."""

    checkpoint: CheckpointInfo
    alphas_cumprod: torch.Tensor
    """(T,) float32, falling."""
    device: torch.device
    dtype: torch.dtype

    @property
    def unet(self) -> torch.nn.Module:
        """The checkpoint's own UNet module; adapters are injected into it."""
        ...

    def lora_targets(self, reach: str = "linear") -> Mapping[str, str]:
        """UNet submodule path -> kohya's name (``lora_unet_…``) for every module a face LoRA adapts.

        ``reach``: "attention", "linear" (every linear or 1x1 layer of the transformers) or "conv" (those of the residual blocks too).
        """
        ...

    def text_encoders(self) -> Sequence[TextEncoder]:
        """The text encoders and what a LoRA can adapt in them.

        Raises:
            HostError: where gradients cannot reach them.
        """
        ...

    def encode_images(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation, each (B, 4, h, w), of the scaled latents of ``images`` (B, 3, H, W) in [-1, 1]."""
        ...

    def encode_prompts(self, prompts: Sequence[str], sizes: Sequence[tuple[int, int]], *, gradient: bool = False) -> Conditioning:
        """Encode ``prompts`` with the checkpoint's text encoder(s), with ``gradient`` only when one is asked for.

        SDXL is told the ``sizes`` (width, height) px of the pictures, one for each prompt.
        """
        ...

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """The UNet's output (B, 4, h, w) for latents ``noisy`` at ``timesteps`` (B,), with gradient."""
        ...

    def checkpoint_blocks(self) -> bool:
        """From now on forget activations inside blocks and compute them again; False when that is so already."""
        ...

    def offload_blocks(self) -> bool:
        """From now on keep the UNet's weights in main memory and bring each to the device when it is needed; call it with adapters in place.

        False when that is so already, or would free nothing here.
        """
        ...

    def elsewhere(self, processes: int) -> Callable[[int], AbstractContextManager[TrainSession]]:
        """What opens the same checkpoint in another process (its number from 1, below ``processes``), on a device of its own; can be pickled.

        Raises:
            HostError: where a training cannot have as many processes.
        """
        ...

    def preview(self, request: SamplingRequest, cancel: CancelToken) -> Generator[Image, None, None]:
        """Sample with the model as it is now, adapters included; restores train flags and RNG."""
        ...

    def report(self, event: Progress, cancel: CancelToken) -> None:
        """Show ``event`` where the host shows progress, and pass a stop that was asked for there on to ``cancel``."""
        ...


class TrainHost(Protocol):
    """A host that can open its checkpoint for training."""

    def footprint(self) -> Footprint:
        """What decides how much memory and time a training takes; loads nothing.

        Raises:
            HostError: when the host has no checkpoint.
        """
        ...

    def open_session(
        self,
        *,
        gradient_checkpointing: bool = False,
        precision: str = "auto",
        on_progress: ProgressSink = silent,
        cancel: CancelToken | None = None,
    ) -> AbstractContextManager[TrainSession]:
        """Open the loaded checkpoint; on exit modules, weights, flags and RNG are what they were.

        ``precision`` is that of ``TrainConfig``.

        A host that is busy is waited for: ``on_progress`` is told so, and ``cancel`` ends the wait.

        Raises:
            HostError: when the host cannot train now; the message says why.
            Cancelled: during the wait.
        """
        ...


class ImageGenerator(Protocol):
    """A host that can sample pictures."""

    @property
    def checkpoint(self) -> CheckpointInfo:
        """The checkpoint that samples."""
        ...

    @property
    def made(self) -> MadeWith:
        """How the host itself is set."""
        ...

    def generate(self, request: SamplingRequest, on_progress: ProgressSink, cancel: CancelToken) -> Generator[Image, None, None]:
        """Yield one image (H, W, 3) uint8 RGB per seed, with the request's LoRAs applied for this call only.

        Raises:
            UserInputError: when there are pictures to start from, but not one of the right size for each seed.
        """
        ...


class Captioner(Protocol):
    """A host's own model that says what a picture shows."""

    @property
    def name(self) -> str:
        """What people know it by."""
        ...

    def tags(self, images: Sequence[Image], cancel: CancelToken) -> list[list[str]]:
        """Tags of each of ``images`` (H, W, 3); the host is afterwards as it was.

        Raises:
            HostError: when it cannot be used now.
            Cancelled: while waiting for the host.
        """
        ...


class LoraShelf(Protocol):
    """Where finished LoRAs go so that the host's own loader and cards find them."""

    def put(self, lora: Path, activation: str, family: Family, preview: Path | None) -> Sequence[Path]:
        """Copy the LoRA to the shelf, with a card that names the ``activation`` words; return every file written."""
        ...
