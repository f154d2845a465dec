"""The styles as cards to click: the person's own best portrait in a style where there is one, else the style's drawn picture."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from facechain_ext.styles.catalog import Style
from facechain_ext.ui.pictures import inline

SIDE = 160
"""px."""
PICK = "facechain_style_pick"
# A number behind the id: the same card clicked twice is news too, when another style was chosen in between.
CLICK = (
    f"const box=document.querySelector('#{PICK} textarea, #{PICK} input');"
    "if(box){box.value=this.dataset.style+' '+Date.now();box.dispatchEvent(new Event('input',{bubbles:true}));}"
)
HUES = 12
MOST_BYTES = 40_000
"""Of a style's own picture."""


def style_cards(styles: Sequence[Style], pictures: Mapping[str, Path], chosen: str | None) -> str:
    """One button per style; ``chosen`` is the id of the one in use, ``pictures`` has a portrait by style id."""
    hues = {category: i * 360 // HUES for i, category in enumerate(dict.fromkeys(s.category for s in styles))}
    cards = "".join(_card(s, pictures.get(s.id), hues[s.category], s.id == chosen) for s in styles)
    return f'<div class="fc-styles">{cards}</div>' if cards else ""



@functools.lru_cache(maxsize=512)
def _read(file: Path, _changed: int) -> str | None:
    data = file.read_bytes()
    if not (data[:4] == b"RIFF" and data[8:12] == b"WEBP") or len(data) > MOST_BYTES:
        return None
    return f"data:image/webp;base64,{base64.b64encode(data).decode()}"


def drawn(file: Path) -> str | None:
    """A style's own picture as it is: a hundred of them are drawn anew with every choice."""
    try:
        return _read(file, file.stat().st_mtime_ns)
    except OSError:
        return None


def picked(value: str) -> str:
    """The id in what a click wrote."""
    return value.split(" ")[0]


def _card(style: Style, portrait: Path | None, hue: int, chosen: bool) -> str:
    picture = (inline(portrait, SIDE) if portrait else None) or (drawn(style.thumbnail) if style.thumbnail else None)
    face = f'<img src="{picture}" alt="">' if picture else f'<span class="fc-swatch" style="--fc-hue:{hue}"><i>{escape(style.category)}</i></span>'
    return (
        f'<button type="button" class="fc-style" data-style="{escape(style.id)}" aria-pressed="{str(chosen).lower()}" '
        f'title="{escape(style.prompt)}" onclick="{CLICK}">{face}<b>{escape(style.name)}</b></button>'
    )
