"""The Styles page inside the real WebUI: browse, a style from a LoRA of the WebUI's folder, a preview, shared as one file, brought back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .test_tab import choose, fill, holds, seen, show
from .webui import WebUi

pytestmark = pytest.mark.browser

NAME, STYLE = "Host Garden", "host-garden"
LORA = "host-garden-look"
SHIPPED = Path(__file__).parents[2] / "facechain_ext" / "data" / "styles" / "loras" / "charcoal-drawing.safetensors"


@pytest.fixture(scope="module", autouse=True)
def tidy(webui: WebUi) -> Iterator[None]:
    """A style LoRA as a user puts it into the WebUI's folder; nothing of it stays."""
    file = webui.folder / "models" / "Lora" / f"{LORA}.safetensors"
    shutil.copyfile(SHIPPED, file)
    webui.http.delete(f"/facechain/v1/styles/{STYLE}")
    yield
    file.unlink(missing_ok=True)
    webui.http.delete(f"/facechain/v1/styles/{STYLE}")


def styles(webui: WebUi) -> dict[str, dict[str, Any]]:
    """All of them by id."""
    return {style["id"]: style for style in webui.get("/facechain/v1/styles")}


def chosen(page: Any) -> None:
    """The style of this file in the list."""
    show(page, "Styles")
    choose(page, "facechain_own_style", STYLE)
    page.wait_for_function(f"document.querySelector('#facechain_style_name textarea, #facechain_style_name input').value == '{NAME}'")


def test_1_styles_are_browsed_by_their_words(page: Any, webui: WebUi, trained: str) -> None:
    show(page, "Portraits")
    page.wait_for_selector("#facechain_style_cards .fc-style img")
    assert page.locator("#facechain_style_cards .fc-style").count() == len(styles(webui))
    fill(page, "facechain_find_style", "snow")
    page.wait_for_function("document.querySelectorAll('#facechain_style_cards .fc-style').length < 20")
    first = page.locator("#facechain_style_cards .fc-style").first
    name = first.inner_text().strip()
    first.click()
    page.wait_for_function(f"document.querySelector('#facechain_style input').value.endsWith({name!r})")
    seen(page, "styles-browse")


def test_2_a_style_is_made_of_a_lora_in_the_webuis_folder(page: Any, webui: WebUi, trained: str) -> None:
    show(page, "Styles")
    fill(page, "facechain_style_name", NAME)
    fill(page, "facechain_style_words", "charcoal drawing of {person} in a garden")
    fill(page, "facechain_style_licence", "CC0")
    choose(page, "facechain_style_lora", LORA)
    page.locator("#facechain_style_save").click()
    holds(page, "#facechain_styles_said", "Saved")
    holds(page, "#facechain_own_styles", f"LoRA {LORA}, weight 0.7")
    made = styles(webui)[STYLE]
    assert (made["lora"], made["weight"], made["licence"]) == (LORA, 0.7, "CC0")
    # It is there to choose on the Portraits page, and in the panel's list.
    show(page, "Portraits")
    fill(page, "facechain_find_style", "host garden")
    page.wait_for_selector(f"#facechain_style_cards [data-style={STYLE}]")
    page.locator(f"#facechain_style_cards [data-style={STYLE}]").click()
    page.wait_for_function(f"document.querySelector('#facechain_style input').value.endsWith('{NAME}')")
    holds(page, "#facechain_blend", LORA)


def test_3_it_is_tried_on_somebody(page: Any, webui: WebUi, trained: str, person: str) -> None:
    chosen(page)
    choose(page, "facechain_style_person", person)
    page.locator("#facechain_style_preview").click()
    page.wait_for_selector("#facechain_styles_gallery .fc-portraits .fc-card img", timeout=300_000)
    text = page.locator("#facechain_styles_gallery pre").first.text_content()
    assert f"FaceChain style: {STYLE}" in text
    assert LORA in text or "FaceChain blend" in text
    seen(page, "styles")


def test_4_it_is_shared_as_one_file_and_brought_back(page: Any, webui: WebUi, trained: str, tmp_path: Path) -> None:
    chosen(page)
    page.locator("#facechain_style_with_lora input").check()
    page.locator("#facechain_style_export:enabled").click()
    holds(page, "#facechain_styles_said", "Exported")
    link = page.locator("#facechain_styles_said a").first.get_attribute("href")
    answer = page.request.get(f"{webui.url}/{link.lstrip('/')}")
    assert answer.ok
    file = tmp_path / f"{STYLE}.facechain-style"
    file.write_bytes(answer.body())
    assert len(answer.body()) > SHIPPED.stat().st_size * 0.5
    page.locator("#facechain_style_delete:enabled").click()
    holds(page, "#facechain_styles_said", f"Delete {NAME}?")
    page.locator("#facechain_style_delete_confirm").click()
    holds(page, "#facechain_styles_said", "is gone")
    assert STYLE not in styles(webui)
    (webui.folder / "models" / "Lora" / f"{LORA}.safetensors").unlink()
    page.locator("#facechain_style_files input[type=file]").first.set_input_files(str(file))
    page.wait_for_function(f"document.querySelector('#facechain_style_files').innerText.includes('{STYLE}')")
    page.locator("#facechain_style_import").click()
    holds(page, "#facechain_styles_said", "1 style imported")
    back = styles(webui)[STYLE]
    assert re.search("garden", back["prompt"])
    holds(page, "#facechain_own_styles", f"LoRA {LORA}, weight 0.7")
    assert "not in the LoRA folder" not in page.inner_text("#facechain_own_styles")
