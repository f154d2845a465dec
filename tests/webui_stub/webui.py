"""The WebUI's start, its page and its API, as far as a test needs them (webui.py, modules/initialize_util.py, ui.py, api/api.py)."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import networks
from fastapi import FastAPI
from modules import call_queue, infotext_utils, paths_internal, processing, script_callbacks, scripts, sd_models, shared
from PIL import Image

HERE = Path(__file__).parent


@dataclass
class Page:
    demo: Any
    app: FastAPI
    tabs: list[tuple[Any, str, str]]


@dataclass
class Answer:
    """What a request for pictures gives back."""

    images: list[Image.Image]
    infotexts: list[str]
    info: dict[str, Any]
    processed: Any
    p: Any = field(repr=False)

    @property
    def pixels(self) -> list[bytes]:
        return [image.convert("RGB").tobytes() for image in self.images]


def start(extension: Path) -> Page:
    """Everything from the loading of scripts on; again for 'Reload UI', which keeps model, options and imported packages."""
    networks.list_available_networks()
    if not sd_models.checkpoints_list:
        sd_models.list_models()
    scripts.load_scripts([(HERE, HERE / "scripts" / "xyz_grid.py"), (extension, extension / "scripts" / "facechain.py")])
    shared.sd_model  # noqa: B018 - looking loads it
    script_callbacks.called("before_ui")
    script_callbacks.called("ui_settings")
    demo, tabs = create_ui()
    # gradio's own application, as ``demo.launch`` makes it; routes of extensions come after (webui.py:119).
    app = gr.routes.App.create_app(demo)
    script_callbacks.called("app_started", demo, app)
    return Page(demo, app, tabs)


def create_ui() -> tuple[Any, list[Any]]:
    infotext_utils.reset()
    with gr.Blocks(analytics_enabled=False) as demo:
        for tab, runner, is_img2img in (("txt2img", scripts.scripts_txt2img, False), ("img2img", scripts.scripts_img2img, True)):
            with gr.TabItem(tab):
                prompt = gr.Textbox(label="Prompt", value="")
                negative = gr.Textbox(label="Negative prompt", value="")
                image = gr.Image(type="pil")
                runner.initialize_scripts(is_img2img)
                runner.setup_ui()
                fields = [(prompt, "Prompt"), (negative, "Negative prompt"), *runner.infotext_fields]
                infotext_utils.add_paste_fields(tab, image if is_img2img else None, fields)
        for tab in ("inpaint", "extras"):
            infotext_utils.add_paste_fields(
                tab, gr.Image(type="pil"), infotext_utils.paste_fields["img2img"]["fields"] if tab == "inpaint" else None
            )
        tabs = script_callbacks.called("ui_tabs")
        for interface, label, ident in tabs:
            with gr.TabItem(label, id=ident, elem_id=f"tab_{ident}"):
                interface.render()
        infotext_utils.connect_paste_params_buttons()
    return demo, tabs


def draw(kind: str = "txt2img", alwayson_scripts: dict[str, Any] | None = None, script: Any = None, **wanted: Any) -> Answer:
    """A POST to /sdapi/v1/txt2img or img2img; ``script`` stands between the object and its picture, as a plot does."""
    runner = scripts.scripts_txt2img if kind == "txt2img" else scripts.scripts_img2img
    args = [None if i is None else getattr(i, "value", None) for i in runner.inputs]
    for title, given in (alwayson_scripts or {}).items():
        found = runner.script(title)
        # By position; what is too much is dropped (api/api.py:359).
        for i, value in zip(range(found.args_from, found.args_to), given.get("args", []), strict=False):
            args[i] = value
    wanted = {
        "prompt": "photo of a person",
        "seed": 7,
        "steps": 3,
        "cfg_scale": 3.0,
        "width": 64,
        "height": 64,
        "sampler_name": "DDIM",
        **wanted,
    }
    made = {"txt2img": processing.StableDiffusionProcessingTxt2Img, "img2img": processing.StableDiffusionProcessingImg2Img}[kind]
    saves = wanted.pop("save_images", False)
    with (
        call_queue.queue_lock,
        closing(made(sd_model=shared.sd_model, do_not_save_samples=not saves, do_not_save_grid=not saves, **wanted)) as p,
    ):
        p.is_api, p.scripts = True, runner
        p.outpath_samples = p.outpath_grids = str(Path(paths_internal.data_path) / "outputs")
        shared.state.begin(job=f"scripts_{kind}")
        try:
            p.script_args = tuple(args)
            if script is not None:
                script(p)
            processed = processing.process_images(p)
        finally:
            shared.state.end()
    return Answer(processed.images, processed.infotexts, json.loads(processed.js()), processed, p)


def pasted(tab: str, infotext: str) -> dict[str, Any]:
    """What the controls of a page become by their labels, when ``infotext`` is pasted there."""
    fields = infotext_utils.paste_fields[tab]["fields"]
    updates = infotext_utils.paste(infotext, fields)
    return {output.label: update["value"] for (output, _), update in zip(fields, updates, strict=False) if "value" in update}
