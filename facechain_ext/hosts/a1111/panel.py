"""The panel's controls in txt2img and img2img, and how they are set again from an infotext."""

# pyright: reportMissingImports=false
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from facechain_ext.config import PanelConfig
from facechain_ext.hosts.a1111.axes import people, styles
from facechain_ext.portraits import infotext as keys
from facechain_ext.portraits.face_pass import ALWAYS, OFF
from facechain_ext.styles.prompts import PLAIN
from facechain_ext.ui.compat import bind, make, update

Found = dict[str, Any]
"""An infotext's keys and values."""
Named = Callable[[str], str]
"""Part of the panel -> its element's id."""


@dataclass(frozen=True)
class Panel:
    """What the WebUI wants to know of a script's controls."""

    controls: list[Any]
    """In the order of ``PanelConfig``'s fields, behind the switch."""
    pasted: list[tuple[Any, str | Callable[[Found], Any]]]
    """Control -> key in the infotext, or how to read it."""
    names: list[str]


def build_panel(where: str) -> Panel:
    """Lay out the accordion; ``where`` is ``txt2img`` or ``img2img``."""

    def named(part: str) -> str:
        return f"facechain_{where}_{part}"

    made: dict[str, Any] = {}
    with gr.Accordion("FaceChain", open=False, elem_id=named("panel")):
        made["enabled"] = gr.Checkbox(False, label="Enable", elem_id=named("enabled"))
        with gr.Row(elem_classes=["fc-with-button"]):
            # gradio 4 takes the first choice where there is no value.
            made["person"] = gr.Dropdown(["", *people()], value="", label="Person", elem_id=named("person"))
            made["style"] = gr.Dropdown(styles(), value=PLAIN.id, label="Style", elem_id=named("style"))
            again = gr.Button("Refresh people and styles", size="sm", scale=0, min_width=190, elem_id=named("refresh"))
        made |= _weights(named) | _faces(named) | _several(named)
        made["blend"] = gr.Textbox("", label="Blend", lines=1, max_lines=1, placeholder="automatic", elem_id=named("blend"))
        # Filled by pasting only; see ``PanelConfig.own``.
        made["own"] = gr.Textbox("", label="Own words of a whole prompt", visible=False, elem_id=named("own"))
        bind(again.click, None, js=f"() => {{ facechain.heard.add('{named('refresh')}'); }}", queue=False)
        lists = [made["person"], made["style"], made["beside"]]
        again.click(lambda: [update(choices=["", *people()]), update(choices=styles()), update(choices=people())], [], lists)
        # A pasted plan would go on to count, whatever the slider says.
        bind(made["balance"].release, lambda: "", [], [made["blend"]], queue=False)
    order = ["enabled", *(f.name for f in dataclasses.fields(PanelConfig))]
    return Panel([made[name] for name in order], _pasted(made), list(PASTED))


def _slider(name: str, label: str, named: Named) -> Any:
    """For the setting ``name``, with its own limits and default."""
    limits = next(f.metadata for f in dataclasses.fields(PanelConfig) if f.name == name)
    return gr.Slider(limits["low"], limits["high"], getattr(PanelConfig(), name), step=0.05, label=label, elem_id=named(name))


def _weights(named: Named) -> dict[str, Any]:
    made = {"balance": _slider("balance", "More style … more me", named)}
    with gr.Row():
        made["face_weight"] = _slider("face_weight", "Face weight", named)
        made["style_weight"] = _slider("style_weight", "Style weight", named)
        made["min_likeness"] = _slider("min_likeness", "Flag below likeness", named)
    return made


def _faces(named: Named) -> dict[str, Any]:
    made: dict[str, Any] = {}
    # Ticks beside ticks, sliders beside sliders: gradio 3 wraps a row of both.
    with gr.Row():
        made["rank"] = gr.Checkbox(True, label="Most alike first", elem_id=named("rank"))
        made["face_pass"] = gr.Checkbox(False, label="Face pass", elem_id=named("face_pass"))
    with gr.Row():
        made["face_pass_strength"] = _slider("face_pass_strength", "Face pass strength", named)
        made["face_pass_below"] = _slider("face_pass_below", "Small faces", named)
    return made


def _several(named: Named) -> dict[str, Any]:
    with gr.Row():
        beside = make(
            gr.Dropdown,
            choices=people(),
            value=[],
            multiselect=True,
            max_choices=2,
            label="Also in the picture",
            info="Up to two more people, from left to right. Make the picture wider; words for each are divided by |.",
            elem_id=named("beside"),
        )
        by = gr.Dropdown(["regions", "faces"], value="regions", label="Several people by", elem_id=named("people_by"))
    return {"beside": beside, "people_by": by}


PASTED: dict[str, tuple[str, str | Callable[[Found], Any]]] = {
    # To what is pasted the WebUI applies the type of the control's first value (infotext_utils.py:505): none may be None.
    keys.PERSON: ("person", keys.PERSON),
    keys.STYLE: ("style", keys.STYLE),
    keys.FACE_WEIGHT: ("face_weight", keys.FACE_WEIGHT),
    keys.STYLE_WEIGHT: ("style_weight", keys.STYLE_WEIGHT),
    # A picture with only a face LoRA has no blend: then the box is emptied; so with others that can be missing.
    keys.BLEND: ("blend", lambda found: found.get(keys.BLEND, "")),
    keys.BESIDE: ("beside", lambda found: [name.strip() for name in str(found.get(keys.BESIDE, "")).split(";") if name.strip()]),
    keys.PEOPLE_BY: ("people_by", keys.PEOPLE_BY),
    keys.FACE_PASS: ("face_pass", lambda found: found.get(keys.FACE_PASS, OFF) != OFF),
    keys.FACE_PASS_STRENGTH: ("face_pass_strength", keys.FACE_PASS_STRENGTH),
    keys.FACE_PASS_BELOW: ("face_pass_below", lambda found: 1.0 if found.get(keys.FACE_PASS) == ALWAYS else found.get(keys.FACE_PASS_BELOW)),
    keys.OWN_PROMPT: ("own", lambda found: found.get(keys.OWN_PROMPT, "")),
}
"""Key in the infotext -> setting, and the key again or how to read it."""


def _pasted(made: dict[str, Any]) -> list[tuple[Any, str | Callable[[Found], Any]]]:
    fields: list[tuple[Any, str | Callable[[Found], Any]]] = [(made["enabled"], lambda found: keys.PERSON in found)]
    return fields + [(made[name], _ours(read) if callable(read) else read) for name, read in PASTED.values()]


def _ours(read: Callable[[Found], Any]) -> Callable[[Found], Any]:
    """``read`` where the infotext is of a picture of ours, else no change."""
    return lambda found: read(found) if keys.PERSON in found else None
