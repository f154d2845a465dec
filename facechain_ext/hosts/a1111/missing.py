"""What is missing in the WebUI's environment, in words; and the tab when FaceChain itself could not be imported for it."""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
from modules import script_callbacks

from facechain_ext.ui.words import problem_box

REPORT = Path(__file__).parents[3] / "install-report.json"
"""Written by install.py at the WebUI's last start."""
REASONS = {
    "networks": "The WebUI's built-in extension Lora is switched off. Switch it on under Extensions, Installed, then press Apply and restart UI.",
}


def sentence(error: ImportError) -> str:
    """Why ``error`` happened and what to do, in the words of the installer where it left some."""
    name = (error.name or "").split(".")[0]
    if name in REASONS:
        return REASONS[name]
    said = f"The Python package {name or error} is missing in the WebUI's environment."
    try:
        report = json.loads(REPORT.read_text(encoding="utf-8"))
        problems, repair = [str(one) for one in report["problems"]], str(report["repair"])
    except (OSError, ValueError, KeyError, TypeError):
        problems, repair = [], ""
    if not repair:
        return f"{said} Start the WebUI once without --skip-install, or look at its start-up log."
    return " ".join([said, *problems, f"To repair it, stop the WebUI, run this in a terminal, and start it again: {repair}"])


def register(error: ImportError) -> None:
    """Show a tab that names what is missing and what to do."""
    reason = sentence(error)

    def make_tab() -> list[tuple[gr.Blocks, str, str]]:
        with gr.Blocks(analytics_enabled=False) as tab:
            gr.HTML(problem_box(reason, "FaceChain could not start"), elem_id="facechain_missing")
        return [(tab, "FaceChain", "facechain")]

    script_callbacks.on_ui_tabs(make_tab)
