"""The whole job in the WebUI's own page: photos in, LoRA trained, portraits, panel, paste, 'Reload UI', person deleted."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import PERSON, ready
from .webui import WebUi, values

pytestmark = pytest.mark.browser

NAME = "Host Page"
STEPS = 60
SCREENSHOTS = os.environ.get("FACECHAIN_SCREENSHOTS")
"""A folder; when given, each state is photographed."""


@pytest.fixture(scope="module", autouse=True)
def nobody_left(webui: WebUi):
    """Nobody is there before, so that nobody is chosen; the person of this file is not there after."""
    webui.delete(PERSON)
    webui.delete(NAME)
    yield
    webui.delete(NAME)


def show(page: Any, name: str) -> None:
    """Our tab, and in it the page of that name."""
    page.locator("#tabs > .tab-nav button", has_text="FaceChain").click()
    page.locator("#facechain_tabs > .tab-nav button", has_text=name).click()
    page.wait_for_timeout(800)


def fill(page: Any, field: str, value: object) -> None:
    box = page.locator(f"#{field} input, #{field} textarea").first
    box.fill(str(value))
    box.press("Tab")


def choose(page: Any, field: str, value: str) -> None:
    page.locator(f"#{field} input").first.click()
    page.locator(f"#{field} ul.options li", has_text=value).first.click()


def seen(page: Any, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(800)
        # Where it ran is nobody's business.
        hide = "f => document.querySelectorAll('#facechain_root code').forEach(e => e.innerText = e.innerText.replace(f, 'stable-diffusion-webui'))"
        page.evaluate(hide, os.environ["FACECHAIN_WEBUI_DIR"])
        page.screenshot(path=str(Path(SCREENSHOTS) / f"webui-{name}.png"), full_page=True)


def holds(page: Any, selector: str, text: str, timeout: float = 120_000) -> None:
    """Wait until the element says ``text``."""
    page.wait_for_function(
        "([where, what]) => { const e = document.querySelector(where); return e && e.innerText.includes(what) }",
        arg=[selector, text],
        timeout=timeout,
    )


def generated(page: Any) -> str:
    """Press Generate; return the infotext of the first picture; a grid shows before it and has no likeness."""
    page.locator("#txt2img_generate").click()
    holds(page, "#html_info_txt2img", "FaceChain person", 300_000)
    thumbnails = page.locator("#txt2img_gallery .thumbnails button")
    if thumbnails.count() > 1:
        thumbnails.nth(1).click()
    holds(page, "#html_info_txt2img", "FaceChain likeness")
    return str(page.locator("#html_info_txt2img").first.inner_text()).strip()


def test_1_photos_are_checked(page: Any, webui: WebUi, photos: list[Path]) -> None:
    show(page, "Train")
    assert page.locator("#facechain_start").is_disabled()
    # gradio 3 takes a new name on keyup.
    name = page.locator("#facechain_person input").first
    # The page shows whom an earlier test checked last.
    name.fill("")
    name.press_sequentially(NAME)
    # gradio 4 when the field is left.
    name.blur()
    # What gradio 3 draws anew while an upload is on its way makes it upload again.
    holds(page, "#facechain_person_note", "new person")
    page.wait_for_timeout(1500)
    page.locator("#facechain_tab_train input[type=file]").first.set_input_files([str(p) for p in photos])
    page.wait_for_function("document.querySelector('#facechain_photos').innerText.includes('photo-5')")
    fill(page, "facechain_prepare_trigger", "fchost")
    page.locator("#facechain_check").click()
    holds(page, "#facechain_verdicts", "5 of 5 photos can be used")
    stored = webui.person(NAME)
    assert stored is not None
    assert (stored["photos"], stored["trigger"]) == (5, "fchost")


def test_2_training_survives_a_page_reload(page: Any, webui: WebUi) -> None:
    show(page, "Train")
    choose(page, "facechain_person", NAME)
    holds(page, "#facechain_person_note", "5 photos prepared")
    page.locator("#facechain_advanced > .label-wrap").click()
    page.locator("#facechain_train_steps").wait_for()
    for field, value in (("steps", STEPS), ("batch", 2), ("preview_every", 30), ("previews", 2), ("warmup", 4)):
        fill(page, f"facechain_train_{field}", value)
    page.locator("#facechain_start:enabled").click()
    page.wait_for_selector("#facechain_chart svg", timeout=300_000)
    page.reload(wait_until="domcontentloaded")
    ready(page)
    show(page, "Train")
    page.wait_for_selector("#facechain_chart svg")
    assert NAME in page.inner_text("#facechain_live")
    assert page.locator("#facechain_live .fc-progress").count() == 1
    assert page.locator("#facechain_stop").is_enabled()
    page.wait_for_selector("#facechain_previews img", timeout=300_000)
    seen(page, "train-running")
    page.wait_for_selector("#facechain_live .fc-done", timeout=600_000)
    assert "Host_Page.safetensors" in page.inner_text("#facechain_live")
    holds(page, "#facechain_person_note", "1 LoRA trained")
    assert "Host_Page" in webui.lora_names()
    assert {f.name for f in webui.loras.glob("Host_Page.*")} == {"Host_Page.safetensors", "Host_Page.json", "Host_Page.png"}
    seen(page, "train")


def test_2_two_browser_tabs_show_and_steer_the_same_training(page: Any, webui: WebUi) -> None:
    job = webui.train(NAME, steps=2000, preview_every=0, save_every=1000)
    webui.at_step(job, 3)
    other = page.context.new_page()
    other.set_default_timeout(120_000)
    other.goto(webui.url, wait_until="domcontentloaded")
    ready(other)
    for tab in (page, other):
        tab.bring_to_front()
        if tab is page:
            # It was open before the training began elsewhere; a look at it is enough.
            tab.reload(wait_until="domcontentloaded")
            ready(tab)
        show(tab, "Train")
        tab.wait_for_selector("#facechain_chart svg")
        assert NAME in tab.inner_text("#facechain_live")
    other.bring_to_front()
    other.locator("#facechain_stop:enabled").click()
    stopped = webui.finish(job)
    assert stopped["state"] == "done"
    assert 3 <= stopped["result"]["steps"] < 2000
    page.bring_to_front()
    page.wait_for_selector("#facechain_live .fc-done")
    assert page.inner_text("#facechain_live .fc-done") == other.inner_text("#facechain_live .fc-done")
    other.close()


def test_3_portraits(page: Any) -> None:
    show(page, "Portraits")
    choose(page, "facechain_portrait_person", NAME)
    fill(page, "facechain_portrait_count", 3)
    fill(page, "facechain_portrait_steps", 8)
    page.locator("#facechain_own textarea").fill("smiling")
    holds(page, "#facechain_composed", "fchost person, smiling")
    page.locator("#facechain_generate").click()
    page.wait_for_selector("#facechain_gallery .fc-portraits .fc-card", timeout=300_000)
    cards = page.locator("#facechain_gallery .fc-portraits .fc-card")
    assert cards.count() == 3
    assert all(re.search(r"likeness -?\d\.\d\d|no face found", cards.nth(i).inner_text()) for i in range(3))
    # Shown, not only there: the WebUI serves them from a folder it was told of.
    assert page.evaluate("[...document.querySelectorAll('#facechain_gallery img')].every(i => i.complete && i.naturalWidth > 0)")
    seen(page, "portraits")


@pytest.mark.parametrize("target", ["img2img", "inpaint", "extras", "txt2img"])
def test_3_portraits_can_be_sent_on(page: Any, target: str) -> None:
    show(page, "Portraits")
    card = page.locator("#facechain_gallery .fc-portraits .fc-card").first
    card.wait_for()
    seed = re.search(r"seed (\d+)", card.inner_text())
    assert seed is not None
    card.locator(f"[data-send={target}]").click()
    place = {"img2img": "#img2img_image", "inpaint": "#img2maskimg", "extras": "#extras_image"}.get(target)
    if place:
        page.locator(f"{place} img").first.wait_for()
    if target == "txt2img":
        page.wait_for_function(f"document.querySelector('#txt2img_seed input').value === '{seed[1]}'")
        # The user's own words only; the panel, switched on, adds the rest again.
        page.wait_for_function("document.querySelector('#txt2img_prompt textarea').value === 'smiling'")
        page.locator("#facechain_txt2img_panel > .label-wrap").click()
        assert page.locator("#facechain_txt2img_enabled input").is_checked()
        assert page.locator("#facechain_txt2img_person input").input_value() == NAME
    seen(page, f"sent-{target}")


def test_4_the_panel_makes_pictures_and_a_paste_brings_it_back(page: Any, webui: WebUi) -> None:
    page.locator("#txt2img_prompt textarea").fill("by the sea, at night")
    for field, value in (("steps", 6), ("width", 128), ("height", 128), ("batch_count", 2), ("cfg_scale", 3)):
        fill(page, f"txt2img_{field}", value)
    fill(page, "txt2img_seed", 11)
    page.locator("#facechain_txt2img_panel > .label-wrap").click()
    page.locator("#facechain_txt2img_enabled input").check()
    choose(page, "facechain_txt2img_person", NAME)
    choose(page, "facechain_txt2img_style", "knight")
    fill(page, "facechain_txt2img_face_weight", 0.75)
    fill(page, "facechain_txt2img_style_weight", 0.6)
    text = generated(page)
    said = values(text)
    seen(page, "panel")
    assert said["FaceChain person"] == NAME
    assert said["FaceChain style"] == "knight"

    page.reload(wait_until="domcontentloaded")
    ready(page)
    assert not page.locator("#facechain_txt2img_enabled input").is_checked()
    page.locator("#txt2img_prompt textarea").fill(text)
    page.locator("#txt2img_tools #paste").click()
    page.wait_for_function("document.querySelector('#facechain_txt2img_enabled input').checked")
    page.wait_for_timeout(1000)
    assert page.locator("#facechain_txt2img_person input").input_value() == NAME
    assert page.locator("#facechain_txt2img_style input").input_value() == "knight"
    assert float(page.locator("#facechain_txt2img_face_weight input[type=number]").input_value()) == 0.75
    assert float(page.locator("#facechain_txt2img_style_weight input[type=number]").input_value()) == 0.6
    assert page.locator("#txt2img_prompt textarea").input_value() == "by the sea, at night"
    # The same picture comes again: nothing is in the prompt twice.
    assert values(generated(page)) == said
    # A picture of somebody else's switches the panel off.
    page.locator("#txt2img_prompt textarea").fill("a tree\nSteps: 5, Sampler: Euler a, CFG scale: 3, Seed: 4, Size: 128x128")
    page.locator("#txt2img_tools #paste").click()
    page.wait_for_function("!document.querySelector('#facechain_txt2img_enabled input').checked")


def test_5_the_page_says_why_there_is_no_picture(page: Any) -> None:
    for field, value in (("steps", 4), ("width", 128), ("height", 128)):
        fill(page, f"txt2img_{field}", value)
    page.locator("#facechain_txt2img_panel > .label-wrap").click()
    page.locator("#facechain_txt2img_enabled input").check()
    page.locator("#txt2img_generate").click()
    holds(page, "#html_log_txt2img", "Choose a person")


def test_6_deleting_takes_the_lora_out_of_the_webui(page: Any, webui: WebUi) -> None:
    show(page, "People")
    holds(page, "#facechain_people_cards", NAME)
    seen(page, "people")
    choose(page, "facechain_people_person", NAME)
    page.locator("#facechain_delete:enabled").click()
    holds(page, "#facechain_people_said", f"Delete {NAME}?")
    page.locator("#facechain_delete_confirm").click()
    holds(page, "#facechain_people_said", f"nothing of {NAME} is left")
    assert webui.person(NAME) is None
    assert list(webui.loras.glob("Host_Page*")) == []
    webui.post("/sdapi/v1/refresh-loras")
    assert "Host_Page" not in webui.lora_names()
