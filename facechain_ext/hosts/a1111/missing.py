"""The tab when FaceChain itself could not be imported: it says why, instead of never appearing."""

# pyright: reportMissingImports=false
from __future__ import annotations

import gradio as gr
from modules import script_callbacks

from facechain_ext.ui.words import problem_box

REASONS = {
    "networks": "The WebUI's built-in extension Lora is switched off. Switch it on under Extensions, Installed, then press Apply and restart UI.",
}


def register(error: ImportError) -> None:
    """Show a tab that names what is missing and what to do."""
    name = (error.name or "").split(".")[0]
    reason = REASONS.get(name) or (
        f"The Python package {name or error} is missing in the WebUI's environment. "
        "Start the WebUI once without --skip-install, or look at its start-up log."
    )

    def make_tab() -> list[tuple[gr.Blocks, str, str]]:
        with gr.Blocks(analytics_enabled=False) as tab:
            gr.HTML(problem_box(reason, "FaceChain could not start"), elem_id="facechain_missing")
        return [(tab, "FaceChain", "facechain")]

    script_callbacks.on_ui_tabs(make_tab)
