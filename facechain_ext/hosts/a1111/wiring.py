"""The composition root inside the WebUI: one studio for tab, panel and API, made at first use."""

# pyright: reportMissingImports=false
from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import paths_internal, shared

from facechain_ext.errors import HostError
from facechain_ext.hosts.a1111.captioner import captioner
from facechain_ext.hosts.a1111.shelf import WebuiShelf
from facechain_ext.hosts.detect import WebUi, detect
from facechain_ext.ports import FaceAnalyzer, ImageGenerator, LoraWeight
from facechain_ext.services.studio import Checkpoints, Studio
from facechain_ext.workspace import Workspace

if TYPE_CHECKING:
    import torch


@functools.cache
def studio() -> Studio:
    """The use cases on the WebUI's checkpoint; survives 'Reload UI', and running jobs with it."""
    workspace = Workspace(workspace_root())
    return Studio(workspace, lambda: analyzer(str(shared.opts.data.get("facechain_pack") or "")), checkpoints(), WebuiShelf(), captioner, lora_folders)


def lora_folders() -> list[Path]:
    """Where the WebUI looks for LoRAs."""
    return [Path(shared.cmd_opts.lora_dir)]


def checkpoints() -> Checkpoints:
    """What trains and samples in the WebUI we run in."""
    webui = detect()
    if webui is WebUi.A1111:
        from facechain_ext.hosts.a1111.host import WebuiCheckpoints

        return WebuiCheckpoints()
    from facechain_ext.hosts.forge.host import ForgeCheckpoints

    return ForgeCheckpoints(webui)


def host_in_turn() -> ImageGenerator:
    """What samples for a picture that is being made, when the WebUI's queue is held already."""
    webui = detect()
    if webui is WebUi.A1111:
        from facechain_ext.hosts.a1111.host import WebuiHost

        return WebuiHost(in_turn=True)
    from facechain_ext.hosts.forge.engine import engine_of
    from facechain_ext.hosts.forge.host import ForgeHost

    return ForgeHost(engine_of(webui), in_turn=True)


def encode_words(model: Any, loras: Sequence[LoraWeight], prompt: str, size: tuple[int, int]) -> torch.Tensor:
    """``prompt`` (1, L, C) with ``loras`` in the text encoder, for a picture of ``size`` (W, H)."""
    webui = detect()
    if webui is WebUi.A1111:
        from facechain_ext.hosts.a1111.sampling import encoded

        return encoded(model, loras, prompt, size)
    from facechain_ext.hosts.forge import state
    from facechain_ext.hosts.forge.engine import engine_of

    return state.encoded(engine_of(webui), model, loras, prompt, size)


def workspace_root() -> Path:
    """The folder from the settings, else ``models/FaceChain`` of the WebUI."""
    chosen = str(shared.opts.data.get("facechain_folder") or "").strip()
    return Path(chosen) if chosen else Path(paths_internal.models_path) / "FaceChain"


@functools.lru_cache(maxsize=1)
def analyzer(pack: str) -> FaceAnalyzer:
    """The face models of ``pack``, empty for the shipped ones.

    Raises:
        HostError: when what they run on is not installed.
        WeightsMissing: when there is no such pack.
    """
    try:
        from facechain_ext.vision.insight import InsightAnalyzer
        from facechain_ext.vision.packs import SHIPPED, pack_folder
    except ImportError as error:
        from facechain_ext.hosts.a1111.missing import sentence

        raise HostError(sentence(error)) from error
    return InsightAnalyzer(pack_folder(pack or SHIPPED, Workspace(workspace_root()).packs))
