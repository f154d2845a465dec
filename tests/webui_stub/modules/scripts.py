"""Scripts of extensions (modules/scripts.py)."""

from __future__ import annotations

import inspect
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import gradio as gr
from modules import errors, script_callbacks, script_loading

AlwaysVisible = object()
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data: list[ScriptClassData] = []


class PostprocessImageArgs:
    def __init__(self, image: Any) -> None:
        self.image = image


class Script:
    name = filename = infotext_fields = paste_field_names = None
    args_from = args_to = 0
    alwayson = is_img2img = False

    def title(self) -> str:
        raise NotImplementedError

    def ui(self, is_img2img: bool) -> Any: ...

    def show(self, is_img2img: bool) -> Any:
        return True

    def run(self, p: Any, *args: Any) -> Any: ...


class ScriptRunner:
    def __init__(self) -> None:
        self.scripts: list[Any] = []
        self.alwayson_scripts: list[Any] = []
        self.inputs: list[Any] = [None]
        self.infotext_fields: list[Any] = []

    def initialize_scripts(self, is_img2img: bool) -> None:
        for data in scripts_data:
            script = data.script_class()
            script.filename, script.is_img2img = data.path, is_img2img
            visible = script.show(is_img2img)
            script.alwayson = visible is AlwaysVisible
            self.scripts += [script] if visible else []
            self.alwayson_scripts += [script] if script.alwayson else []

    def setup_ui(self) -> list[Any]:
        for script in self.alwayson_scripts:
            script.args_from = len(self.inputs)
            try:
                controls = script.ui(script.is_img2img)
                script.name = script.title().lower()
            except Exception:
                errors.report(f"Error creating UI for {script.filename}", exc_info=True)
                controls = []
            self.inputs += controls or []
            self.infotext_fields += script.infotext_fields or []
            script.args_to = len(self.inputs)
        self.inputs[0] = gr.Dropdown(label="Script", choices=["None"], value="None", type="index")
        return self.inputs

    def script(self, title: str) -> Any:
        return next((s for s in self.scripts if s.title().lower() == title.lower()), None)

    def run_hook(self, hook: str, p: Any, *given: Any, **named: Any) -> None:
        for script in self.alwayson_scripts:
            if (method := getattr(script, hook, None)) is None:
                continue
            try:
                method(p, *given, *p.script_args[script.args_from : script.args_to], **named)
            except Exception:
                # Logged, and the picture is drawn all the same (:834).
                errors.report(f"Error running {hook}: {script.filename}", exc_info=True)


scripts_txt2img = ScriptRunner()
scripts_img2img = ScriptRunner()


def load_scripts(files: list[tuple[Path, Path]]) -> None:
    """``files``: (root of the extension, its script). Callbacks are forgotten, imported packages are not (:491)."""
    global scripts_txt2img, scripts_img2img
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    before = sys.path
    for root, path in files:
        try:
            # On the path only while the file runs; what it appends there is lost (:513).
            sys.path = [str(root), *sys.path]
            module = script_loading.load_module(str(path))
            for found in list(vars(module).values()):
                # Every class one can see there, an imported base too (:502).
                if inspect.isclass(found) and issubclass(found, Script):
                    scripts_data.append(ScriptClassData(found, str(path), str(root), module))
        except Exception:
            errors.report(f"Error loading script: {path.name}", exc_info=True)
        finally:
            sys.path = before
    scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()
