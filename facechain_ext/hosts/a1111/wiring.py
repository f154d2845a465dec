"""The composition root inside the WebUI: one studio for tab, panel and API, made at first use."""

# pyright: reportMissingImports=false
from __future__ import annotations

import functools
from pathlib import Path

from modules import paths_internal, shared

from facechain_ext.errors import HostError
from facechain_ext.hosts.a1111.captioner import captioner
from facechain_ext.hosts.a1111.shelf import WebuiShelf
from facechain_ext.hosts.detect import WebUi, detect
from facechain_ext.ports import FaceAnalyzer
from facechain_ext.services.studio import Checkpoints, Studio
from facechain_ext.workspace import Workspace


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
