"""Infotext: quoting, reading, pasting (modules/infotext_utils.py)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from modules import errors, script_callbacks

RE_PARAM = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
RE_SIZE = re.compile(r"^(\d+)x(\d+)$")
paste_fields: dict[str, dict[str, Any]] = {}
registered_param_bindings: list[ParamBinding] = []


@dataclass
class ParamBinding:
    paste_button: Any
    tabname: str
    source_text_component: Any = None
    source_image_component: Any = None
    source_tabname: str | None = None
    override_settings_component: Any = None
    paste_field_names: list[str] = field(default_factory=list)


def reset() -> None:
    paste_fields.clear()
    registered_param_bindings.clear()


def quote(text: Any) -> Any:
    return json.dumps(text, ensure_ascii=False) if re.search("[,:\n]", str(text)) else text


def parse_generation_parameters(text: str) -> dict[str, Any]:
    *lines, last = text.strip().split("\n")
    if len(RE_PARAM.findall(last)) < 3:
        lines, last = [*lines, last], ""
    prompt, negative, into_negative = "", "", False
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            into_negative, line = True, line[16:].strip()
        if into_negative:
            negative += ("\n" if negative else "") + line
        else:
            prompt += ("\n" if prompt else "") + line
    found: dict[str, Any] = {}
    for key, value in RE_PARAM.findall(last):
        if value[:1] == '"' and value[-1:] == '"':
            value = json.loads(value)
        if size := RE_SIZE.match(value):
            found[f"{key}-1"], found[f"{key}-2"] = size.groups()
        else:
            found[key] = value
    # What is missing comes as its default, the second pass's prompts as empty (:325).
    return {"Hires prompt": "", "Hires negative prompt": "", **found, "Prompt": prompt, "Negative prompt": negative}


def add_paste_fields(tab: str, init_img: Any, fields: list[tuple[Any, Any]] | None) -> None:
    paste_fields[tab] = {"init_img": init_img, "fields": fields}


def register_paste_params_button(binding: ParamBinding) -> None:
    registered_param_bindings.append(binding)


def connect_paste_params_buttons() -> None:
    for binding in registered_param_bindings:
        into = paste_fields[binding.tabname]
        if binding.source_image_component and into["init_img"]:
            binding.paste_button.click(lambda x: x, [binding.source_image_component], [into["init_img"]], show_progress=False)
        if binding.source_text_component is not None and into["fields"] is not None:
            fields = into["fields"]
            binding.paste_button.click(lambda text, of=fields: paste(text, of), [binding.source_text_component], [f[0] for f in fields])
        binding.paste_button.click(None, _js=f"switch_to_{binding.tabname}")


def paste(text: str, fields: list[tuple[Any, Any]]) -> list[Any]:
    """What each control becomes (:476)."""
    import gradio as gr

    params = parse_generation_parameters(text)
    script_callbacks.called("infotext_pasted", text, params)
    results = []
    for output, key in fields:
        value = params.get(key) if not callable(key) else None
        if callable(key):
            try:
                value = key(params)
            except Exception:
                errors.report(f"Error executing {key}", exc_info=True)
        if value is None or isinstance(value, dict):
            results.append(value or gr.update())
            continue
        try:
            # The type of the control's first value is applied to what is pasted; what does not fit is left out silently (:506).
            kind = type(output.value)
            made = False if kind is bool and value == "False" else float(value) if kind is int else kind(value)
            results.append(gr.update(value=made))
        except Exception:
            results.append(gr.update())
    return results
