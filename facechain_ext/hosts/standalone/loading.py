"""Loads a single-file checkpoint with diffusers, fully offline: configuration and tokenizer are shipped as data."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from facechain_ext.errors import HostError
from facechain_ext.hosts.standalone.anatomy import Shapes
from facechain_ext.hosts.standalone.inspection import inspect
from facechain_ext.hosts.standalone.prediction import USUAL, Parameterisation, parameterisation
from facechain_ext.hosts.standalone.schedule import schedule_of, tried
from facechain_ext.hosts.standalone.sidecar import Sidecar, native
from facechain_ext.ports import Family, Prediction
from facechain_ext.workspace import storage_errors

DATA = Path(__file__).parents[2] / "data"
LAYERS: dict[Family, tuple[tuple[str, str], ...]] = {
    Family.SD1: (("sd15", ""),),
    Family.SD2: (("sd15", ""), ("sd2", "")),
    Family.SDXL: (("sd15", ""), ("sd15/tokenizer", "tokenizer_2"), ("sdxl", "")),
}
"""Folders of configuration for each family and where they go, what comes later in place of what came before."""


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A loaded checkpoint."""

    unet: Any
    """diffusers' UNet2DConditionModel; ``Any``, because its call returns one of two types by a flag."""
    vae: Any
    """AutoencoderKL."""
    text_encoder: Any
    """transformers' CLIPTextModel."""
    tokenizer: Any
    """CLIPTokenizer; SDXL's second encoder has the same vocabulary."""
    scheduler_config: dict[str, Any]
    device: torch.device
    dtype: torch.dtype
    """Of UNet and text encoder; the VAE stays float32, its range overflows float16."""
    family: Family = Family.SD1
    text_encoder_2: Any = None
    """SDXL's CLIPTextModelWithProjection."""
    parameterisation: Parameterisation = USUAL
    """What the UNet predicts, and who says so."""

    @property
    def text_encoders(self) -> tuple[Any, ...]:
        """All of them, in the order of their parts of the conditioning."""
        return (self.text_encoder,) if self.text_encoder_2 is None else (self.text_encoder, self.text_encoder_2)

    @property
    def prediction(self) -> Prediction:
        """What the UNet predicts."""
        return self.parameterisation.prediction or Prediction.EPS


def pick_device() -> tuple[torch.device, torch.dtype]:
    """CUDA in the best half precision it has, else Apple's GPU or the CPU in float32 (half is 8 to 100 times slower there)."""
    if torch.cuda.is_available():
        return torch.device("cuda"), torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if torch.backends.mps.is_available():
        return torch.device("mps"), torch.float32
    return torch.device("cpu"), torch.float32


def load(file: Path, sidecar: Sidecar, precision: torch.dtype | None = None) -> Parts:
    """Load ``file`` on the best device, in ``precision`` or the best one there.

    Raises:
        FileFormatError: when it is not a checkpoint we can use.
        HostError: when diffusers cannot load it.
    """
    family, shapes = inspect(file)
    import diffusers
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()
    device, dtype = pick_device()
    dtype = precision or dtype
    nothing: dict[str, Any] = {"feature_extractor": None, "image_encoder": None}
    if family is not Family.SDXL:
        nothing["safety_checker"] = None
    pipeline = diffusers.StableDiffusionXLPipeline if family is Family.SDXL else diffusers.StableDiffusionPipeline
    with (
        storage_errors("the checkpoint's settings in the folder for temporary files"),
        tempfile.TemporaryDirectory(prefix="facechain-config-") as folder,
    ):
        write_config(Path(folder), family, shapes, sidecar)
        try:
            pipe: Any = pipeline.from_single_file(str(file), config=folder, local_files_only=True, torch_dtype=dtype, **nothing)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise HostError(
                f"{file.name} could not be loaded ({type(error).__name__}). Check it with another program, or use another checkpoint."
            ) from error
    second = getattr(pipe, "text_encoder_2", None)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder, *([] if second is None else [second])):
        part.requires_grad_(False).eval().to(device)
    pipe.vae.to(torch.float32)
    known = parameterisation(file, family, sidecar)
    if known.prediction is None:
        known = tried(pipe.unet, shapes.context)
    schedule = schedule_of(pipe.scheduler.config, known)
    return Parts(pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer, schedule, device, dtype, family, second, known)


def write_config(folder: Path, family: Family, shapes: Shapes, sidecar: Sidecar) -> None:
    """Copy the configuration and tokenizer of ``family`` to ``folder``, its widths replaced by the file's own."""
    for name, place in LAYERS[family]:
        # One by one: copytree collects errors and loses which of them say that the disk is full.
        for source in (p for p in (DATA / name).rglob("*") if p.is_file()):
            target = folder / place / source.relative_to(DATA / name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def change(part: str, **values: Any) -> None:
        target = folder / part / "config.json"
        target.write_text(json.dumps(json.loads(target.read_text()) | values))

    side = sidecar.resolution or native(family, None)
    heads = sidecar.unet_heads if family is Family.SD1 else tuple(max(1, c // sidecar.head_width) for c in shapes.unet_channels)
    change(
        "unet",
        block_out_channels=shapes.unet_channels,
        cross_attention_dim=shapes.context,
        # diffusers' SD configurations call the number of heads "attention_head_dim" (its issue #2011).
        attention_head_dim=heads,
        sample_size=side // 8,
    )
    if family is Family.SDXL:
        # A level without transformers has none however deep; diffusers wants a number.
        depths = tuple(max(1, depth) for depth in shapes.depths)
        change("unet", transformer_layers_per_block=depths, projection_class_embeddings_input_dim=shapes.vector)
    change("vae", block_out_channels=shapes.vae_channels, sample_size=side)
    for part, text in zip(("text_encoder", "text_encoder_2"), shapes.texts, strict=False):
        change(
            part,
            hidden_size=text.width,
            projection_dim=text.projection or text.width,
            intermediate_size=text.inner,
            num_hidden_layers=text.layers,
            num_attention_heads=sidecar.text_heads or max(1, text.width // 64),
            vocab_size=text.vocabulary,
        )
