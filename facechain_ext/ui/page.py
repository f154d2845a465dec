"""The whole page: four tabs. ``build_page`` makes the standalone app, ``build_tabs`` fills the Blocks of a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from facechain_ext.services.studio import Studio
from facechain_ext.ui.compat import bind, known, make
from facechain_ext.ui.loading import Loads
from facechain_ext.ui.people_tab import PeopleTab
from facechain_ext.ui.portrait_tab import PortraitTab
from facechain_ext.ui.presets import DEFAULT
from facechain_ext.ui.styles_tab import StylesTab
from facechain_ext.ui.train_tab import TrainTab

STYLESHEET = Path(__file__).parents[2] / "style.css"
"""At the top of the repository, where the WebUI looks for an extension's style sheet."""
TITLE = (
    '<header class="fc-title"><h1>FaceChain</h1>'
    "<p>A few photos in, a face LoRA and ranked portraits out. Everything stays on this machine.</p></header>"
)
SANS = ("Segoe UI", "Helvetica Neue", "Noto Sans", "Arial", "sans-serif")
MONO = ("Consolas", "Menlo", "DejaVu Sans Mono", "monospace")
COLOURS = {
    "body_background_fill": "#faf9f6",
    "body_background_fill_dark": "#161513",
    "body_text_color": "#1f2328",
    "body_text_color_dark": "#eceae5",
    "block_label_text_color": "#57564f",
    "block_title_text_color": "#33322e",
    "block_title_text_color_dark": "#d8d5ce",
    "block_info_text_color": "#6b6a66",
    "block_info_text_color_dark": "#a3a19b",
    "input_background_fill": "#f6f5f2",
    "input_background_fill_dark": "#1a1917",
    "input_border_width": "1px",
    "input_border_color": "#e4e2dd",
    "input_border_color_dark": "#3b3936",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover_dark": "*primary_600",
    "button_primary_text_color": "white",
    "slider_color": "*primary_700",
    "slider_color_dark": "*primary_500",
    "checkbox_background_color_selected": "*primary_700",
}
"""Of the standalone page; in the WebUI its own theme rules."""
UNUSED_UPLOADS_S = 3600
"""Seconds after which uploads that nobody checked are deleted (gradio 4 and 5; older ones cannot)."""


def build_page(studio: Studio) -> gr.Blocks:
    """The standalone app, ready for ``queue().launch(allowed_paths=[workspace])``; builds no model and starts no job."""
    page = make(
        gr.Blocks,
        title="FaceChain",
        css=stylesheet(),
        theme=_theme(),
        analytics_enabled=False,
        delete_cache=(UNUSED_UPLOADS_S, UNUSED_UPLOADS_S),
        fill_width=True,
    )
    with page:
        gr.HTML(TITLE, elem_id="facechain_title")
        for handler, outputs in build_tabs(studio):
            bind(page.load, handler, [], outputs)
    return page


def build_tabs(studio: Studio, send_to: Mapping[str, str] | None = None, preset: Callable[[], str] = lambda: DEFAULT) -> Loads:
    """Build Train, Portraits, Styles and People into the Blocks around; what is returned must run whenever the page loads.

    ``send_to`` names the host's pages that take a portrait: page -> what its button says. ``preset`` names the one
    that is chosen when the page loads.

    The host passes each pair to ``bind(blocks.load, handler, [], outputs)`` or what stands for it there.
    """
    train, portraits, people = TrainTab(studio, preset), PortraitTab(studio, send_to or {}), PeopleTab(studio)
    styles = StylesTab(studio)
    loads: Loads = []
    with gr.Column(elem_id="facechain_root"), make(gr.Tabs, elem_id="facechain_tabs"):
        with _tab("Train", "train"):
            loads += train.build()
        with _tab("Portraits", "portraits") as tab:
            loads += portraits.build()
            portraits.on_show(tab)
        with _tab("Styles", "styles") as tab:
            loads += styles.build()
            styles.on_show(tab)
        with _tab("People", "people") as tab:
            loads += people.build()
            people.on_show(tab)
    return loads


def _tab(label: str, name: str) -> Any:
    return make(gr.Tab, label, id=name, elem_id=f"facechain_tab_{name}")


def stylesheet() -> str:
    """Our CSS, empty when only the package was installed and not the extension around it."""
    return STYLESHEET.read_text(encoding="utf-8") if STYLESHEET.is_file() else ""


def _theme() -> Any:
    """System fonts only: a page that shows personal photos asks no font server for anything."""
    from gradio.themes.utils.fonts import Font

    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        font=[Font(name) for name in SANS],
        font_mono=[Font(name) for name in MONO],
    )
    return theme.set(**known(theme.set, COLOURS))
