"""Registers tab, settings and API with the WebUI. Called by ``scripts/facechain.py`` at every start and every 'Reload UI'."""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
from modules import script_callbacks, shared

from facechain_ext.api.later import install_at_first_request
from facechain_ext.hosts.a1111.axes import add_axes
from facechain_ext.hosts.a1111.script import own_words
from facechain_ext.hosts.a1111.sending import TARGETS, build_sending
from facechain_ext.hosts.a1111.wiring import studio, workspace_root
from facechain_ext.ui.compat import bind
from facechain_ext.ui.page import build_tabs
from facechain_ext.ui.presets import DEFAULT, Preset

log = logging.getLogger(__name__)
SECTION = ("facechain", "FaceChain")
AS_WEBUI = "As the WebUI"


def register() -> None:
    """Hand our callbacks to the WebUI, which forgets them at 'Reload UI'.

    On a thread of its own: for each callback the WebUI looks up the source file of every frame on the stack (script_callbacks.py,
    ``inspect.stack()``), and for the frozen frames of the import that runs its scripts goes through all loaded modules: 0.1 s and more each.
    """
    with ThreadPoolExecutor(1) as brief:
        brief.submit(_register).result()


def _register() -> None:
    script_callbacks.on_ui_settings(add_settings)
    script_callbacks.on_ui_tabs(make_tab)
    script_callbacks.on_app_started(add_api)
    script_callbacks.on_infotext_pasted(own_words)
    script_callbacks.on_before_ui(add_axes)


def add_settings() -> None:
    """Our section of the settings page."""
    options: dict[str, Any] = {
        "facechain_folder": shared.OptionInfo(
            "", "Folder for photos, face LoRAs and portraits", gr.Textbox, {"placeholder": "models/FaceChain"}, section=SECTION
        )
        .info("empty: models/FaceChain")
        .needs_restart(),
        "facechain_pack": shared.OptionInfo("yunet_sface", "Face models", gr.Dropdown, lambda: {"choices": _packs()}, section=SECTION).info(
            "embeddings of different models are never compared: prepare people again after a change"
        ),
        "facechain_preset": shared.OptionInfo(
            DEFAULT, "Preset chosen when the page loads", gr.Radio, {"choices": [p.value for p in Preset]}, section=SECTION
        ),
        "facechain_keep_photos": shared.OptionInfo(False, "Keep the photos people upload, not only the face crops", section=SECTION).info(
            "they can be checked again without an upload then; deleting a person deletes them too. The page and the API can say otherwise"
        ),
        "facechain_language": shared.OptionInfo(
            AS_WEBUI, "Language of FaceChain's pages", gr.Dropdown, {"choices": [AS_WEBUI, *languages()]}, section=SECTION
        )
        .info("whatever language the rest of the WebUI is in")
        .needs_reload_ui(),
    }
    for key, option in options.items():
        shared.opts.add_option(key, option)


def languages() -> list[str]:
    """Those we have translations for beside English."""
    return sorted(file.stem for file in (Path(__file__).parents[3] / "localizations").glob("*.json"))


def wanted_preset() -> str:
    """The preset of the settings."""
    chosen = shared.opts.data.get("facechain_preset")
    return chosen if chosen in {p.value for p in Preset} else DEFAULT


def _packs() -> list[str]:
    try:
        from facechain_ext.vision.packs import available_packs
        from facechain_ext.workspace import Workspace
    except ImportError:
        return ["yunet_sface"]
    return list(available_packs(Workspace(workspace_root()).packs))


def make_tab() -> list[tuple[gr.Blocks, str, str]]:
    """The FaceChain tab."""
    # The gallery shows files from the workspace, which gradio serves only from folders it was told of.
    told, root = shared.cmd_opts.gradio_allowed_path or [], str(studio().workspace.root)
    shared.cmd_opts.gradio_allowed_path = told if root in told else [*told, root]
    with gr.Blocks(analytics_enabled=False) as tab:
        loads = build_tabs(studio(), TARGETS, wanted_preset)
        build_sending(studio())
        # A load event of Blocks inside other Blocks never fires; javascript/facechain.js presses this one when the page is ready.
        ready = gr.Button("Refresh", visible=True, elem_id="facechain_refresh")
        bind(ready.click, None, js="() => { facechain.heard.add('facechain_refresh'); }", queue=False)
        for handler, outputs in loads:
            bind(ready.click, handler, [], outputs)
    for component in tab.blocks.values():
        # ui-config.json knows controls by tab and label only: it would give the training's "Face weight" and its limits to the portraits',
        # and bring the first checkpoint's settings back for every other one (modules/ui_loadsave.py).
        component.do_not_save_to_config = True  # type: ignore[attr-defined]
    return [(tab, "FaceChain", "facechain")]


def add_api(_demo: Any, app: Any) -> None:
    """The HTTP API, where the WebUI's own is switched on; behind the same password."""
    if not (shared.cmd_opts.api or shared.cmd_opts.nowebui):
        return

    def install() -> None:
        from facechain_ext.api.routes import install_routes
        from facechain_ext.hosts.a1111.guard import password

        install_routes(app, studio, guard=password())

    install_at_first_request(app, install)
