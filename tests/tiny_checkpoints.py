"""Writes tiny SD2 and SDXL checkpoints with random weights for the standalone host: topology and names are those of the real files.

They share the recipes of ``tests/host/narrow_checkpoints.py``, whose text encoders have the real ones' sizes, as a WebUI wants them; here
these are narrow too. The VAE is the embedded checkpoint's, so that pictures become latents and back as they should.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from tests.host.narrow_checkpoints import CHANNELS, clip, filled, open_clip, unet

KINDS = ("sd2", "sd2v", "sdxl")
WIDTH, SECOND_WIDTH = 64, 128
"""Of the text encoders; they must differ, because diffusers tells SDXL's two by their widths."""
LAYERS = 3
SIZES = 6 * 256
"""Width of the six sizes SDXL is told."""


def write(kind: str, folder: Path, *, marks: Mapping[str, torch.Tensor] | None = None, **hints: object) -> Path:
    """``tiny-KIND.safetensors`` (14 to 40 MB) in ``folder`` with its sidecar, which also says the ``hints``; ``marks`` are further tensors."""
    draw = torch.Generator().manual_seed(KINDS.index(kind))
    if kind == "sdxl":
        weights = filled("conditioner.embedders.0.transformer.text_model.", clip(WIDTH, LAYERS), draw)
        weights |= filled("conditioner.embedders.1.model.", open_clip(SECOND_WIDTH, LAYERS), draw)
        shapes = unet((0, 1, 2), WIDTH + SECOND_WIDTH, SECOND_WIDTH + SIZES)
    else:
        weights = filled("cond_stage_model.model.", open_clip(WIDTH, LAYERS), draw)
        shapes = unet((1, 1, 1, 0), WIDTH, 0)
    weights |= filled("model.diffusion_model.", shapes, draw)
    file = folder / f"tiny-{kind}.safetensors"
    save_file(weights | _autoencoder() | dict(marks or {}), file)
    told = {"schema": 1, "resolution": 64, "head_width": CHANNELS, "prepare": {"resolution": 64}, "train": {"resolution": 64}}
    if kind != "sdxl":
        told["prediction"] = "v" if kind == "sd2v" else "eps"
    told = {key: value for key, value in (told | hints).items() if value is not None}
    (folder / f"tiny-{kind}.facechain.json").write_text(json.dumps(told), encoding="utf-8")
    return file


@cache
def _autoencoder() -> dict[str, torch.Tensor]:
    weights = load_file(SHIPPED / "tiny-faces.safetensors")
    return {key: value for key, value in weights.items() if key.startswith("first_stage_model.")}
