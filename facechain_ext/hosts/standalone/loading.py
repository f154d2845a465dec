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
from facechain_ext.hosts.standalone.inspection import Shapes, inspect
from facechain_ext.hosts.standalone.sidecar import Sidecar
from facechain_ext.workspace import storage_errors

CONFIG = Path(__file__).parents[2] / "data" / "sd15"


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
    """CLIPTokenizer."""
    scheduler_config: dict[str, Any]
    device: torch.device
    dtype: torch.dtype
    """Of UNet and text encoder; the VAE stays float32, its range overflows float16."""


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
    _, shapes = inspect(file)
    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging as diffusers_logging

    diffusers_logging.disable_progress_bar()
    device, dtype = pick_device()
    dtype = precision or dtype
    with (
        storage_errors("the checkpoint's settings in the folder for temporary files"),
        tempfile.TemporaryDirectory(prefix="facechain-config-") as folder,
    ):
        write_config(Path(folder), shapes, sidecar)
        try:
            pipe = StableDiffusionPipeline.from_single_file(
                str(file), config=folder, local_files_only=True, torch_dtype=dtype, safety_checker=None, feature_extractor=None
            )
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise HostError(
                f"{file.name} could not be loaded ({type(error).__name__}). Check it with another program, or use another checkpoint."
            ) from error
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.requires_grad_(False).eval().to(device)
    pipe.vae.to(torch.float32)
    return Parts(pipe.unet, pipe.vae, pipe.text_encoder, pipe.tokenizer, dict(pipe.scheduler.config), device, dtype)


def write_config(folder: Path, shapes: Shapes, sidecar: Sidecar) -> None:
    """Copy the SD1.5 configuration and tokenizer to ``folder``, its widths replaced by the file's own."""
    # One by one: copytree collects errors and loses which of them say that the disk is full.
    for source in (p for p in CONFIG.rglob("*") if p.is_file()):
        target = folder / source.relative_to(CONFIG)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

    def change(part: str, **values: Any) -> None:
        target = folder / part / "config.json"
        target.write_text(json.dumps(json.loads(target.read_text()) | values))

    side = sidecar.resolution
    change(
        "unet",
        block_out_channels=shapes.unet_channels,
        cross_attention_dim=shapes.context,
        # diffusers' SD1 configuration calls the number of heads "attention_head_dim" (its issue #2011).
        attention_head_dim=sidecar.unet_heads,
        sample_size=side // 8,
    )
    change("vae", block_out_channels=shapes.vae_channels, sample_size=side)
    change(
        "text_encoder",
        hidden_size=shapes.text_width,
        projection_dim=shapes.text_width,
        intermediate_size=shapes.text_inner,
        num_hidden_layers=shapes.text_layers,
        num_attention_heads=sidecar.text_heads or max(1, shapes.text_width // 64),
        vocab_size=shapes.vocabulary,
    )
