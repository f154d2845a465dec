"""Our settings, as the page obeys them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import ready
from .test_tab import holds, seen, show
from .webui import WebUi

pytestmark = pytest.mark.browser


@pytest.fixture
def options(webui: WebUi) -> Iterator[Any]:
    """Sets options, which are what they were afterwards."""
    before = {key: value for key, value in webui.get("/sdapi/v1/options").items() if key.startswith("facechain_")}
    yield lambda **wanted: webui.post("/sdapi/v1/options", wanted)
    webui.post("/sdapi/v1/options", before)


def opened(page: Any, webui: WebUi) -> None:
    page.goto(webui.url, wait_until="domcontentloaded")
    ready(page)


def test_our_pages_speak_their_own_language_and_the_rest_keeps_its_own(webui: WebUi, page: Any, options: Any) -> None:
    options(facechain_language="zh_CN")
    opened(page, webui)
    outside = page.locator("#txt2img_generate").inner_text()
    show(page, "训练")
    holds(page, "#facechain_check", "检查照片")
    holds(page, "#facechain_train", "触发词")
    seen(page, "zh")
    show(page, "人物")
    holds(page, "#facechain_tab_people", "人物")
    page.locator("#tabs > .tab-nav button", has_text="txt2img").click()
    page.locator("#facechain_txt2img_panel > .label-wrap").click()
    holds(page, "#facechain_txt2img_panel", "人物")
    assert page.locator("#txt2img_generate").inner_text() == outside == "Generate"
    options(facechain_language="As the WebUI")
    opened(page, webui)
    show(page, "Train")
    holds(page, "#facechain_check", "Check photos")


def test_the_preset_of_the_settings_is_chosen_when_the_page_loads(webui: WebUi, page: Any, options: Any) -> None:
    def steps(preset: str) -> int:
        options(facechain_preset=preset)
        opened(page, webui)
        show(page, "Train")
        page.wait_for_function(f"document.querySelector('#facechain_preset input:checked').value === '{preset}'")
        page.wait_for_timeout(2500)
        return int(page.locator("#facechain_train_steps input").first.input_value())

    own = webui.get("/facechain/v1/checkpoints")[0]["train"]["steps"]
    assert steps("Balanced") == own
    assert steps("Fast") == round(own / 3)
    assert steps("Best") == 2 * own
