"""What lies in the stand-in's folder of checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

SHIPPED = Path(__file__).parents[2] / "facechain_ext" / "data" / "checkpoints"


def lay_checkpoints(data: Path) -> None:
    """The shipped checkpoint, and another one that draws otherwise."""
    folder = data / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    for name in ("tiny-faces.safetensors", "tiny-faces.facechain.json"):
        shutil.copyfile(SHIPPED / name, folder / name)
    weights = load_file(folder / "tiny-faces.safetensors")
    weights["model.diffusion_model.out.2.weight"] *= 0.9
    save_file(weights, folder / "another.safetensors")
    shutil.copyfile(folder / "tiny-faces.facechain.json", folder / "another.facechain.json")
