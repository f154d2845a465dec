"""LoRA files: read in every kind the field writes, written in kohya's format (``NAME.lora_down.weight``, ``NAME.lora_up.weight``, ``NAME.alpha``)."""

from __future__ import annotations

import collections
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from facechain_ext.errors import FileFormatError
from facechain_ext.lora.keys import grouped, unknown_kinds
from facechain_ext.lora.kinds import Update, update_from
from facechain_ext.ports import Family, Prediction
from facechain_ext.workspace import write_bytes

KohyaState = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""kohya's module name -> (down, up)."""

PICKLES = {".ckpt", ".pt", ".pth", ".bin", ".pkl"}
DOWN, UP, ALPHA = ".lora_down.weight", ".lora_up.weight", ".alpha"
BASE_VERSION = {Family.SD1: "sd_v1", Family.SD2: "sd_v2", Family.SDXL: "sdxl_base_v1-0"}
SAID = {Family.SD1: "Stable Diffusion 1", Family.SD2: "Stable Diffusion 2", Family.SDXL: "SDXL"}


@dataclass(frozen=True, slots=True, eq=False)
class LoraFile:
    """A LoRA in memory, on the CPU, in the file's precision."""

    name: str
    """File stem."""
    family: Family
    modules: Mapping[str, Update]
    """By kohya's name."""
    metadata: Mapping[str, str]
    unread: tuple[str, ...] = ()
    """Keys of the file that are no update we know."""


@dataclass(frozen=True, slots=True)
class LoraOrigin:
    """Where a LoRA comes from, in the words of its metadata; nothing personal beside its own name."""

    name: str
    """File stem, which is also its alias in the WebUI."""
    family: Family
    prediction: Prediction
    checkpoint: str
    """File stem of the checkpoint."""
    checkpoint_sha256: str
    alpha: float
    rank: int
    steps: int
    resolution: int
    """px."""
    trigger: str
    captions: Sequence[str]
    seed: int
    grown_from: str = ""
    """Name and content hash of the LoRA that this one continues."""
    module: str = "networks.lora"
    """The trainer's module that makes and reads such a network."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    """What it was told beside rank and alpha."""


def read_lora(file: Path) -> LoraFile:
    """Read a LoRA, LoCon, LoHa, LoKr or DoRA file with kohya's, LyCORIS's, PEFT's or diffusers' keys.

    Raises:
        FileFormatError: for pickles, damaged files, other formats and kinds, each with its reason.
    """
    if file.suffix.lower() in PICKLES:
        raise FileFormatError(
            f"{file.name} is a pickle, which can run any program when it is opened, so it is refused. Use its .safetensors version."
        )
    try:
        with safe_open(file, "pt") as source:
            metadata = source.metadata() or {}
            tensors = {key: source.get_tensor(key) for key in source.keys()}  # noqa: SIM118 - safe_open is no mapping
    except FileNotFoundError:
        raise FileFormatError(f"There is no LoRA file {file.name} at the place given.") from None
    except (OSError, SafetensorError):
        raise FileFormatError(f"{file.name} is not a safetensors file, or it is cut off. Copy or download it again.") from None
    modules, unread = _modules(file, tensors)
    return LoraFile(file.stem, _family(modules, metadata), modules, metadata, tuple(unread))


def _modules(file: Path, tensors: Mapping[str, torch.Tensor]) -> tuple[dict[str, Update], list[str]]:
    found, unread = grouped(tensors)
    modules: dict[str, Update] = {}
    for name, parts in found.items():
        alpha = parts.pop("alpha", None)
        if alpha is not None and (alpha.numel() != 1 or not math.isfinite(float(alpha))):
            raise FileFormatError(f"{file.name} is damaged: the alpha of {name} is not a number. Copy or download it again.")
        try:
            made = update_from(parts, None if alpha is None else float(alpha))
            inputs = made.shape[1] if made is not None else 0
        except (ValueError, KeyError, IndexError, RuntimeError):
            kinds = unknown_kinds([f".{part}" for part in parts])
            kind = f" ({kinds[0]})" if kinds else ""
            raise FileFormatError(
                f"{file.name} is damaged: the two halves of {name}{kind} do not fit. Copy or download it again."
            ) from None
        if made is None or inputs == 0:
            unread += [f"{name}.{part}" for part in parts]
        else:
            modules[name] = made
    if not modules:
        kinds = unknown_kinds(unread)
        if kinds:
            raise FileFormatError(f"{file.name} is of a kind FaceChain does not read ({kinds[0]}). Use a LoRA, LoCon, LoHa, LoKr or DoRA.")
        hint = " It looks like a checkpoint." if any(k.startswith("model.diffusion_model.") for k in tensors) else ""
        raise FileFormatError(f"{file.name} holds no LoRA in kohya's format.{hint} Use a LoRA as the WebUI takes it.")
    return modules, unread


def _family(modules: Mapping[str, Update], metadata: Mapping[str, str]) -> Family:
    version = metadata.get("ss_base_model_version", "")
    names = list(modules)
    if version.startswith("sdxl") or any(n.startswith(("lora_te1_", "lora_te2_", "lora_unet_input_blocks")) for n in names):
        return Family.SDXL
    contexts = {m.shape[1] for n, m in modules.items() if n.endswith("attn2_to_k")}
    if metadata.get("ss_v2") == "True" or version.startswith("sd_v2") or contexts == {1024}:
        return Family.SD2
    return Family.SD1


def check_family(lora: LoraFile, family: Family) -> None:
    """Refuse a LoRA of another model family.

    Raises:
        FileFormatError: naming both families.
    """
    if lora.family is not family:
        raise FileFormatError(
            f"The LoRA {lora.name} is for {SAID[lora.family]}, the checkpoint is {SAID[family]}. Use a LoRA and a checkpoint of the same family."
        )


def write(target: Path, state: KohyaState, origin: LoraOrigin, dtype: torch.dtype = torch.float16) -> None:
    """Write ``state`` as a plain LoRA file, whole or not at all; the same state gives the same bytes.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    tensors = {}
    for name, (down, up) in sorted(state.items()):
        tensors[name + DOWN] = down.detach().to("cpu", dtype).contiguous()
        tensors[name + UP] = up.detach().to("cpu", dtype).contiguous()
        tensors[name + ALPHA] = torch.tensor(origin.alpha, dtype=dtype)
    write_tensors(target, tensors, origin)


def write_tensors(target: Path, tensors: Mapping[str, torch.Tensor], origin: LoraOrigin) -> None:
    """Write ``tensors``, named as readers want them, with the metadata of ``origin``, whole or not at all.

    Raises:
        StorageError: when the disk is full or the folder cannot be written.
    """
    kept = dict(tensors)
    write_bytes(target, _in_order(save(kept, metadata(kept, origin))), "the LoRA")


def _in_order(data: bytes) -> bytes:
    """The safetensors file ``data`` with its header sorted: safetensors writes metadata in the order of a hash table, anew each time."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    # Padded as safetensors does, so that tensors stay aligned for mapping.
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def metadata(tensors: Mapping[str, torch.Tensor], origin: LoraOrigin) -> dict[str, str]:
    """The header A1111's LoRA cards and other tools read."""
    words = collections.Counter(w.strip() for caption in origin.captions for w in caption.split(",") if w.strip())
    header = {
        "ss_base_model_version": BASE_VERSION[origin.family],
        "ss_v2": str(origin.family is Family.SD2),
        "ss_output_name": origin.name,
        "ss_network_module": origin.module,
        "ss_network_dim": str(origin.rank),
        "ss_network_alpha": f"{origin.alpha:g}",
        "ss_sd_model_name": f"{origin.checkpoint}.safetensors",
        "ss_new_sd_model_hash": origin.checkpoint_sha256,
        "ss_sd_model_hash": origin.checkpoint_sha256[:8],
        "ss_steps": str(origin.steps),
        "ss_max_train_steps": str(origin.steps),
        "ss_seed": str(origin.seed),
        "ss_resolution": f"({origin.resolution}, {origin.resolution})",
        "ss_num_train_images": str(len(origin.captions)),
        "ss_training_comment": f"trigger word: {origin.trigger}",
        # The WebUI lists these words on the LoRA's card; the folder part is kohya's "repeats_name".
        "ss_tag_frequency": json.dumps({f"1_{origin.trigger}": dict(sorted(words.items()))}),
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": {
            Family.SD1: "stable-diffusion-v1",
            Family.SD2: "stable-diffusion-v2",
            Family.SDXL: "stable-diffusion-xl-v1-base",
        }[origin.family]
        + "/lora",
        "modelspec.title": origin.name,
        "modelspec.trigger_phrase": origin.trigger,
        "modelspec.prediction_type": "v" if origin.prediction is Prediction.V else "epsilon",
        "modelspec.resolution": f"{origin.resolution}x{origin.resolution}",
    }
    if origin.grown_from:
        header["facechain_grown_from"] = origin.grown_from
    if origin.arguments:
        header["ss_network_args"] = json.dumps(dict(origin.arguments))
    # kohya hashes the file with its training metadata only; the legacy hash starts at a fixed byte, so the header's length counts.
    model_hash, legacy = content_hashes(save(dict(tensors), {k: v for k, v in header.items() if k.startswith("ss_")}))
    return header | {"sshs_model_hash": model_hash, "sshs_legacy_hash": legacy}


def content_hashes(data: bytes) -> tuple[str, str]:
    """kohya's ``sshs_model_hash`` (SHA-256 of all behind the header) and ``sshs_legacy_hash`` of a safetensors file's bytes."""
    body = data[8 + int.from_bytes(data[:8], "little") :]
    window = io.BytesIO(data)
    window.seek(0x100000)
    return hashlib.sha256(body).hexdigest(), hashlib.sha256(window.read(0x10000)).hexdigest()[:8]
