"""The resumable state of a training: adapter, optimizer, step and curve in one safetensors file, replaced atomically."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from facechain_ext.config import TrainConfig
from facechain_ext.errors import FileFormatError
from facechain_ext.faces.types import Dataset
from facechain_ext.lora.adapters import AdapterState, flat, nested
from facechain_ext.ports import CheckpointInfo
from facechain_ext.progress import LossPoint
from facechain_ext.training.choice import Look
from facechain_ext.training.optim import OptimizerState
from facechain_ext.workspace import write_bytes

SCHEMA = 2
"""1 knew plain LoRAs only, by the host's module paths."""
FREE_TO_CHANGE = {"save_every", "preview_every", "previews", "gradient_checkpointing", "offload", "memory", "keep", "patience"}
"""Settings a resumed run may have differently: they do not touch what is learned."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainState:
    """Everything step ``step`` (steps done) leaves behind. Randomness needs no state, see ``batches``."""

    step: int
    adapter: AdapterState
    """By kohya's names."""
    optimizer: OptimizerState
    curve: tuple[LossPoint, ...]
    seconds: float
    """Training time so far."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """State of the gradient scaler; empty but in float16. Scale and growth decide which later steps overflow and are skipped."""
    rate: float = 1.0
    """Share of the learning rate still used: halved whenever the loss ran away."""
    looks: tuple[Look, ...] = ()
    """What the previews so far came to."""
    grown_from: str = ""
    """Name and hash of the LoRA that the training began with."""
    average: AdapterState = field(default_factory=dict)
    """Moving average of the adapter, where there is one."""
    processes: int = 1
    """Of those that made the steps; others may go on."""
    lean: dict[str, int] = field(default_factory=dict)
    """What was given up when memory ran out (``recovery.given_up``): a resumed run does without it too, and so comes to the same."""


def fingerprint(dataset: Dataset, checkpoint: CheckpointInfo, config: TrainConfig) -> dict[str, str]:
    """Hashes of what a run depends on, by name; only runs of equal fingerprints continue each other."""
    photos = hashlib.sha256()
    for photo in dataset.photos:
        photos.update(photo.image.tobytes() + photo.mask.tobytes() + photo.caption.encode())
        other = {"head": photo.head, "figure": photo.figure}.get(config.mask)
        photos.update(b"" if other is None else other.tobytes())
    settings = {k: v for k, v in config.to_dict().items() if k not in FREE_TO_CHANGE}
    # Two processes with two samples each learn what one with four does.
    settings["batch"] *= settings.pop("processes")
    return {
        "photos": photos.hexdigest(),
        "checkpoint": checkpoint.sha256,
        "settings": json.dumps(settings, sort_keys=True),
    }


def save_state(file: Path, state: TrainState, marks: dict[str, str]) -> None:
    """Write ``state`` to ``file``, whole or not at all."""
    tensors = {f"adapter.{key}": tensor for key, tensor in flat(state.adapter).items()}
    tensors |= {f"average.{key}": tensor for key, tensor in flat(state.average).items()}
    for i, values in enumerate(state.optimizer.tensors):
        for name, value in values.items():
            tensors[f"moments.{i}.{name}"] = value
    tensors = {k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}
    header = {
        "schema": SCHEMA,
        "step": state.step,
        "seconds": state.seconds,
        "scaler": state.scaler,
        "rate": state.rate,
        "optimizer": {"numbers": state.optimizer.numbers, "groups": state.optimizer.groups},
        "looks": [asdict(v) for v in state.looks],
        "grown_from": state.grown_from,
        "lean": state.lean,
        "processes": state.processes,
        "marks": marks,
        "curve": [list(asdict(p).values()) for p in state.curve],
    }
    write_bytes(file, save(tensors, {"facechain_state": json.dumps(header)}), "the training state")


def load_state(file: Path) -> tuple[TrainState, dict[str, str]]:
    """Read what ``save_state`` wrote; return the state and its fingerprint.

    Raises:
        FileFormatError: when the file is damaged or of a newer version.
    """
    try:
        with safe_open(file, "pt") as source:
            header = json.loads((source.metadata() or {})["facechain_state"])
            tensors = {key: source.get_tensor(key) for key in source.keys()}  # noqa: SIM118 - safe_open is no mapping
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise FileFormatError("The saved training state is damaged. Start the training anew.") from error
    if header.get("schema") != SCHEMA:
        raise FileFormatError("The saved training state was written by another version of FaceChain. Start the training anew.")
    learned: dict[str, dict[str, torch.Tensor]] = {"adapter": {}, "average": {}}
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        kind, rest = key.split(".", 1)
        if kind in learned:
            learned[kind][rest] = tensor
        elif kind == "moments":
            index, name = rest.split(".", 1)
            moments.setdefault(int(index), {})[name] = tensor
    curve = tuple(LossPoint(*point) for point in header["curve"])
    known = header.get("optimizer", {})
    optimizer = OptimizerState([moments[i] for i in sorted(moments)], known.get("numbers", []), known.get("groups", []))
    looks = tuple(Look(**v) for v in header.get("looks", ()))
    adapter, average = nested(learned["adapter"]), nested(learned["average"])
    scaler, rate, grown = header.get("scaler", {}), header.get("rate", 1.0), header.get("grown_from", "")
    lean, processes = header.get("lean", {}), header.get("processes", 1)
    state = TrainState(header["step"], adapter, optimizer, curve, header["seconds"], scaler, rate, looks, grown, average, processes, lean)
    return state, header["marks"]


def saved_settings(file: Path) -> tuple[int, dict[str, Any]]:
    """Steps done and the settings of the training saved in ``file``, those that may change left out; tensors are not read.

    Raises:
        FileFormatError: when the file is damaged.
    """
    try:
        with safe_open(file, "pt") as source:
            header = json.loads((source.metadata() or {})["facechain_state"])
        settings = dict(json.loads(header["marks"]["settings"]))
        processes = int(header.get("processes", 1))
        batch = settings.get("batch", TrainConfig().batch) // processes
        return int(header["step"]), {**settings, "batch": batch, "processes": processes}
    except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
        raise FileFormatError("The saved training state is damaged. Start the training anew.") from error


def differences(ours: dict[str, str], saved: dict[str, str]) -> list[str]:
    """What differs between two fingerprints, in words."""
    words = []
    if ours["photos"] != saved["photos"]:
        words.append("the photos")
    if ours["checkpoint"] != saved["checkpoint"]:
        words.append("the checkpoint")
    if ours["settings"] != saved["settings"]:
        # A setting that an earlier version did not know was then what is now its default.
        a, b = json.loads(ours["settings"]), TrainConfig().to_dict() | json.loads(saved["settings"])
        words += [f"{key} ({b.get(key)} then, {a.get(key)} now)" for key in a if a.get(key) != b.get(key)]
    return words
