"""Where face model packs lie: shipped with us, or put there by the user."""

from __future__ import annotations

from pathlib import Path

from facechain_ext.errors import WeightsMissing

SHIPPED = "yunet_sface"
PACKS = Path(__file__).resolve().parent.parent / "data" / "packs"


def pack_folder(name: str, installed: Path | None = None) -> Path:
    """The folder of the pack ``name``: shipped with us, or the user's in ``installed``.

    Raises:
        WeightsMissing: when there is no such pack; the message says where to put it.
    """
    own = PACKS / name
    plain = Path(name).name == name and name not in {"", ".", ".."}
    folders = [own, *([installed / name] if installed else [])] if plain else []
    for folder in folders:
        if folder.is_dir() and any(folder.glob("*.onnx")):
            return folder
    where = f"Put its .onnx files into {installed / Path(name).name}" if installed else "Install it"
    raise WeightsMissing(f"The face model pack '{name}' is not installed. {where}, or choose '{SHIPPED}', which is always there.")


def available_packs(installed: Path | None = None) -> list[str]:
    """Names of the packs there are: shipped ones, then the user's in ``installed``."""
    folders = [p for root in (PACKS, installed) if root and root.is_dir() for p in sorted(root.iterdir())]
    return list(dict.fromkeys(p.name for p in folders if p.is_dir() and any(p.glob("*.onnx"))))
