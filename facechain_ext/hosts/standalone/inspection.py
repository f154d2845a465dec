"""Tells what a single-file checkpoint is from its header alone. Nothing is loaded."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

from facechain_ext.errors import FileFormatError
from facechain_ext.hosts.standalone.anatomy import UNET, Shapes, is_regular, shapes_of
from facechain_ext.ports import Family

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}
MAX_HEADER = 100 * 2**20
FIRST_KEY = UNET + "input_blocks.0.0.weight"
CONTEXT_KEY = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
SPECIAL_INPUTS = {9: "an inpainting", 8: "an instruct-pix2pix", 5: "a depth-guided", 7: "an upscaling"}
"""Channels of the first layer of checkpoints that are shown more than latents."""
OTHERS = {
    UNET + "joint_blocks.": "a Stable Diffusion 3 checkpoint",
    "joint_blocks.": "a Stable Diffusion 3 checkpoint",
    UNET + "double_blocks.": "a Flux checkpoint",
    "double_blocks.": "a Flux checkpoint",
    "conditioner.embedders.0.model.": "the SDXL refiner, which only finishes pictures",
    "depth_model.": "a depth-guided checkpoint",
    "embedder.model.": "an unCLIP checkpoint, which is shown pictures instead of words",
    "cond_stage_model.roberta.": "an AltDiffusion checkpoint",
    "edm_": "a checkpoint with the noise of Karras et al. (Playground 2.5, CosXL)",
    UNET + "time_embed.cond_proj.": "a latent consistency model, which is taught to need few steps",
}
"""Beginnings of names that tell what cannot be trained."""
SAID = {Family.SD1: "a Stable Diffusion 1", Family.SD2: "a Stable Diffusion 2", Family.SDXL: "an SDXL"}


@dataclass(frozen=True, slots=True)
class Header:
    """What a safetensors file says before its first tensor."""

    shapes: dict[str, tuple[int, ...]]
    """Of each tensor."""
    metadata: dict[str, str]


def read_header(file: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor in a safetensors file.

    Raises:
        FileFormatError: for pickles, other formats and truncated files.
    """
    return whole_header(file).shapes


def whole_header(file: Path) -> Header:
    """Shapes and metadata of a safetensors file.

    Raises:
        FileFormatError: see ``read_header``.
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
        metadata = {str(k): str(v) for k, v in (header.get("__metadata__") or {}).items()}
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
    return Header(shapes, metadata)


def inspect(file: Path) -> tuple[Family, Shapes]:
    """Family and sizes of the checkpoint ``file``.

    Raises:
        FileFormatError: with what it is instead, when it is not a checkpoint that can be trained.
    """
    shapes = read_header(file)
    family = _family(file, shapes)
    first_layer = shapes.get(FIRST_KEY, ())
    if len(first_layer) == 4 and first_layer[1] != 4:
        kind = SPECIAL_INPUTS.get(first_layer[1], "a special")
        raise FileFormatError(f"{file.name} is {kind} checkpoint ({first_layer[1]} input channels). Use a plain one.")
    try:
        found = shapes_of(shapes, family)
        regular = is_regular(shapes, found.depths, family)
    except (LookupError, ValueError, StopIteration):
        raise FileFormatError(
            f"{file.name} lacks parts of {SAID[family]} checkpoint (UNet, VAE or text encoder). Use a complete one."
        ) from None
    if not regular:
        raise FileFormatError(
            f"{file.name} is a distilled checkpoint, whose UNet lacks blocks that {SAID[family]} checkpoint has. Use a whole one."
        )
    return family, found


def _family(file: Path, shapes: dict[str, tuple[int, ...]]) -> Family:
    if any(k.startswith(("lora_unet_", "lora_te_", "lora_te1_")) or ".lora_" in k for k in shapes):
        raise FileFormatError(f"{file.name} is a LoRA, not a checkpoint. Give the checkpoint it was made for.")
    other = next((kind for start, kind in OTHERS.items() if any(k.startswith(start) for k in shapes)), None)
    if other is not None:
        raise FileFormatError(f"{file.name} is {other}. A LoRA can be trained on Stable Diffusion 1, 2 and SDXL base; use one of these.")
    if any(k.startswith("conditioner.embedders.") for k in shapes):
        return Family.SDXL
    if CONTEXT_KEY not in shapes:
        diffusers = any(k.startswith(("down_blocks.", "unet.")) for k in shapes)
        hint = "It holds one part in diffusers' layout; give the single-file checkpoint." if diffusers else "Its tensors have other names."
        raise FileFormatError(f"{file.name} is not a Stable Diffusion checkpoint. {hint}")
    return Family.SD2 if any(k.startswith("cond_stage_model.model.") for k in shapes) else Family.SD1


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
