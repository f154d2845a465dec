"""The WebUI's 'Reload UI', on a server of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import ready
from .test_tab import choose, holds, show

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_tab_people_and_jobs_are_there_after_reload_ui(start: Callable[..., Any], browser: Any, photos: list[Path]) -> None:
    name = "Host Reload"
    with start() as webui:
        webui.prepare(name, photos)
        job = webui.train(name)
        webui.finish(job)
        context = browser.new_context(viewport={"width": 1440, "height": 1000})
        try:
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.goto(webui.url, wait_until="domcontentloaded")
            ready(page)
            # gradio waits for every open connection; a page in the middle of an event would hold the WebUI up.
            page.wait_for_timeout(5000)
            page.get_by_text("Reload UI", exact=True).last.click()
            page.wait_for_timeout(3000)
            webui.wait_ready()
            page.goto(webui.url, wait_until="domcontentloaded")
            ready(page)
            show(page, "People")
            holds(page, "#facechain_people_cards", name)
            show(page, "Train")
            holds(page, "#facechain_live", "Host_Reload.safetensors")
            assert webui.job(job)["state"] == "done"
            assert len([s for s in webui.get("/sdapi/v1/script-info") if s["name"] == "facechain"]) == 2
            page.locator("#tabs > .tab-nav button", has_text="img2img").click()
            page.locator("#facechain_img2img_panel > .label-wrap").click()
            choose(page, "facechain_img2img_person", name)
        finally:
            context.close()
            webui.delete(name)
