"""The buttons below a portrait that send it to the WebUI's other pages, through the WebUI's own way of pasting."""

# pyright: reportMissingImports=false
from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
from modules import infotext_utils
from PIL import Image as PilImage

from facechain_ext.errors import UserInputError
from facechain_ext.portraits.infotext import read_infotext
from facechain_ext.services.studio import Studio
from facechain_ext.ui.compat import bind

TARGETS = {"txt2img": "txt2img", "img2img": "img2img", "inpaint": "inpaint", "extras": "Extras"}
"""Names in ``infotext_utils.paste_fields`` -> what the buttons say."""


def build_sending(studio: Studio) -> None:
    """Build what the page's "Send to" buttons press; nothing of it is seen.

    javascript/facechain.js writes the portrait's file and the page's name into the two text boxes and presses "load"; picture and infotext arrive
    here, and then the WebUI's own button for that page is pressed.
    """
    with gr.Column(elem_id="facechain_sending"):
        file = gr.Textbox(elem_id="facechain_send_file", show_label=False)
        target = gr.Textbox(elem_id="facechain_send_target", show_label=False)
        image = gr.Image(type="pil", elem_id="facechain_send_image", show_label=False)
        text = gr.Textbox(elem_id="facechain_send_text", show_label=False)
        load = gr.Button("Load", elem_id="facechain_send_load")
        for name in TARGETS:
            button = gr.Button(name, elem_id=f"facechain_send_{name}")
            binding = infotext_utils.ParamBinding(
                paste_button=button,
                tabname=name,
                source_text_component=None if name == "extras" else text,
                source_image_component=image,
            )
            infotext_utils.register_paste_params_button(binding)

    def read(name: str) -> list[Any]:
        found = portrait_file(studio, name)
        with PilImage.open(found) as opened:
            return [opened.convert("RGB"), read_infotext(found)]

    loaded = bind(load.click, read, [file], [image, text])
    bind(loaded.then, None, [target], [], js="(target) => { facechain.press('facechain_send_' + target); }")


def portrait_file(studio: Studio, name: str) -> Path:
    """The portrait ``name``, relative to the folder of all people; no other file can be asked for.

    Raises:
        UserInputError: when there is none.
    """
    root = studio.workspace.people_root.resolve()
    file = (root / name).resolve()
    if root not in file.parents or file.parent.parent.name != "portraits" or file.suffix != ".png" or not file.is_file():
        raise UserInputError("This portrait is gone; it was deleted or moved.")
    return file
