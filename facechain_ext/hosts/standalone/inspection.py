"""Tells what a single-file checkpoint is from its header alone: family, widths, depth. Nothing is loaded."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from facechain_ext.errors import FileFormatError
from facechain_ext.ports import CheckpointInfo, Family, Prediction

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}
MAX_HEADER = 100 * 2**20
UNET, VAE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
FIRST_KEY = UNET + "input_blocks.0.0.weight"
CONTEXT_KEY = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
STANDARD_CONTEXT = {768: Family.SD1, 1024: Family.SD2, 2048: Family.SDXL}


@dataclass(frozen=True, slots=True)
class Shapes:
    """The sizes that distinguish one SD1 checkpoint from another."""

    unet_channels: tuple[int, ...]
    """Channels of the four levels."""
    context: int
    """Width of the text conditioning."""
    vae_channels: tuple[int, ...]
    text_width: int
    text_inner: int
    text_layers: int
    vocabulary: int
    prefix: str
    """``text_model.`` or empty, as the file names the text encoder's keys."""


def read_header(file: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in a safetensors file.

    Raises:
        FileFormatError: for pickles, other formats and truncated files.
    """
    if file.suffix.lower() in PICKLES:
        raise FileFormatError(
            f"{file.name} is a pickle, which can run any program when it is opened, so it is refused. Use the .safetensors version of it."
        )
    try:
        size = file.stat().st_size
        with file.open("rb") as source:
            start = source.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise ValueError("no header")
            header = json.loads(source.read(length))
        entries = {k: v for k, v in header.items() if k != "__metadata__"}
        end = max((int(v["data_offsets"][1]) for v in entries.values()), default=0)
        shapes = {k: tuple(v["shape"]) for k, v in entries.items()}
    except FileNotFoundError:
        raise FileFormatError(f"There is no file {file.name} at the place given. Check the path.") from None
    except IsADirectoryError:
        raise FileFormatError(f"{file.name} is a folder. Give a single .safetensors checkpoint file.") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise FileFormatError(
            f"{file.name} is not a safetensors file. Give a Stable Diffusion checkpoint ending in .safetensors."
        ) from None
    if 8 + length + end > size:
        raise FileFormatError(f"{file.name} is cut off ({size} of {8 + length + end} bytes). Copy or download it again.")
    return shapes


def inspect(file: Path) -> tuple[Family, Shapes]:
    """Family and sizes of the checkpoint ``file``.

    Raises:
        FileFormatError: with what it is instead, when it is not a Stable Diffusion 1 checkpoint.
    """
    shapes = read_header(file)
    if any(k.startswith(("lora_unet_", "lora_te_", "lora_te1_")) or ".lora_" in k for k in shapes):
        raise FileFormatError(f"{file.name} is a LoRA, not a checkpoint. Give the checkpoint it was made for.")
    if CONTEXT_KEY not in shapes and not any(k.startswith("conditioner.embedders") for k in shapes):
        diffusers = any(k.startswith(("down_blocks.", "unet.")) for k in shapes)
        hint = "It holds one part in diffusers' layout; give the single-file checkpoint." if diffusers else "Its tensors have other names."
        raise FileFormatError(f"{file.name} is not a Stable Diffusion checkpoint. {hint}")
    if any(k.startswith("conditioner.embedders") for k in shapes):
        raise FileFormatError(
            f"{file.name} is an SDXL checkpoint, which standalone FaceChain does not train yet. Use a Stable Diffusion 1.5 one."
        )
    if any(k.startswith("cond_stage_model.model.") for k in shapes):
        raise FileFormatError(
            f"{file.name} is an SD2 checkpoint, which standalone FaceChain does not train yet. Use a Stable Diffusion 1.5 one."
        )
    first_layer = shapes.get(FIRST_KEY, ())
    if len(first_layer) == 4 and first_layer[1] != 4:
        raise FileFormatError(
            f"{file.name} is an inpainting or other special checkpoint ({first_layer[1]} input channels). Use a plain one."
        )
    try:
        return Family.SD1, _sd1_shapes(shapes)
    except (LookupError, ValueError):
        raise FileFormatError(
            f"{file.name} lacks parts of a Stable Diffusion 1 checkpoint (UNet, VAE or text encoder). Use a complete one."
        ) from None


def _sd1_shapes(shapes: dict[str, tuple[int, ...]]) -> Shapes:
    if len(shapes[FIRST_KEY]) != 4:
        raise ValueError(FIRST_KEY)
    unet = tuple(shapes[f"{UNET}input_blocks.{n}.0.out_layers.3.weight"][0] for n in (1, 4, 7, 10))
    vae = tuple(shapes[f"{VAE}encoder.down.{level}.block.0.conv1.weight"][0] for level in range(4))
    prefix = "text_model." if f"{TEXT}text_model.embeddings.token_embedding.weight" in shapes else ""
    vocabulary, width = shapes[f"{TEXT}{prefix}embeddings.token_embedding.weight"]
    layers = {int(m[1]) for k in shapes if (m := re.match(re.escape(f"{TEXT}{prefix}encoder.layers.") + r"(\d+)\.", k))}
    inner = shapes[f"{TEXT}{prefix}encoder.layers.0.mlp.fc1.weight"][0]
    return Shapes(unet, shapes[CONTEXT_KEY][1], vae, width, inner, max(layers) + 1, vocabulary, prefix)


def file_sha256(file: Path) -> str:
    """SHA-256 of the file's bytes, hex; a checkpoint of gigabytes is read again only when it has changed."""
    seen = file.stat()
    return _sha256(file, seen.st_mtime_ns, seen.st_size)


@functools.lru_cache(maxsize=16)
def _sha256(file: Path, _changed: int, _size: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while block := source.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def checkpoint_info(file: Path, resolution: int | None) -> CheckpointInfo:
    """Everything the core wants to know about the checkpoint; reads the whole file once for its hash."""
    family, _ = inspect(file)
    return CheckpointInfo(file.stem, file_sha256(file), family, Prediction.EPS, resolution or 512)
