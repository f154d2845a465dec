"""The whole main job on the standalone page: photos in, LoRA trained, ranked portraits out, person deleted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PERSON = "Anna"
STEPS = 12
SCREENSHOTS = os.environ.get("FACECHAIN_SCREENSHOTS")
"""A folder; when given, each state is photographed."""


@pytest.fixture(scope="module")
def page(browser: Any, app: Any) -> Iterator[Any]:
    """One tab, kept open over the steps of the job."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    tab.set_default_timeout(30_000)
    tab.goto(app.url)
    tab.wait_for_selector("#facechain_verdicts .fc-empty")
    yield tab
    tab.close()


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def seen(page: Any, name: str) -> None:
    if SCREENSHOTS:
        page.wait_for_timeout(600)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"), full_page=True)


def fill_number(page: Any, field: str, value: int) -> None:
    box = page.locator(f"#{field} input, #{field} textarea").first
    box.fill(str(value))
    box.press("Tab")


def kept(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and p.stat().st_size] if folder.exists() else []


def test_1_an_empty_page_says_what_to_do(page):
    assert page.locator("#facechain_start").is_disabled()
    assert page.locator("#facechain_stop").is_disabled()
    assert "Add 5 to 20 photos" in page.inner_text("#facechain_verdicts")
    page.click("#facechain_check")
    page.wait_for_selector("#facechain_verdicts [role=alert]")
    assert "Add some photos first" in page.inner_text("#facechain_verdicts")


def test_2_each_photo_gets_a_verdict(page, app, photos):
    box = page.locator("#facechain_person input")
    box.fill(PERSON)
    box.press("Enter")
    page.locator("#facechain_photos input[type=file]").set_input_files([str(p) for p in photos])
    page.wait_for_function("document.querySelector('#facechain_photos').innerText.includes('holiday')")
    page.click("#facechain_check")
    page.wait_for_selector("#facechain_verdicts .fc-summary", timeout=120_000)
    assert "5 of 6 photos can be used" in page.inner_text("#facechain_verdicts")
    assert page.locator("#facechain_verdicts .fc-card.fc-good").count() == 5
    rejected = page.locator("#facechain_verdicts .fc-card.fc-bad")
    assert rejected.get_attribute("data-reasons") == "unreadable"
    assert "holiday.jpg" in rejected.inner_text()
    page.wait_for_selector("#facechain_start:enabled")
    assert kept(app.uploads) == []
    seen(page, "verdicts")


def test_3_training_shows_its_progress_and_survives_a_reload(page):
    page.get_by_text("Advanced", exact=True).first.click()
    fill_number(page, "facechain_train_steps", STEPS)
    fill_number(page, "facechain_train_batch", 1)
    fill_number(page, "facechain_train_previews", 1)
    fill_number(page, "facechain_train_preview_every", 0)
    page.click("#facechain_start")
    page.wait_for_selector("#facechain_live .fc-progress", timeout=60_000)
    page.wait_for_selector("#facechain_chart svg", timeout=300_000)
    page.reload()
    page.wait_for_selector("#facechain_chart svg")
    assert PERSON in page.inner_text("#facechain_live")
    assert page.locator("#facechain_live .fc-progress").count() + page.locator("#facechain_live .fc-done").count() == 1
    assert "5 of 6 photos can be used" in page.inner_text("#facechain_verdicts")


def test_4_the_summary_names_the_lora(page, app):
    page.wait_for_selector("#facechain_live .fc-done", timeout=400_000)
    said = page.inner_text("#facechain_live")
    assert f"{PERSON}.safetensors" in said
    assert re.search(rf"Steps\s+{STEPS}\b", said)
    assert page.locator("#facechain_previews img").count() >= 1
    page.wait_for_selector("#facechain_start:enabled")
    assert "1 LoRA trained" in page.inner_text("#facechain_person_note")
    assert (app.workspace / "people" / PERSON / "loras" / f"{PERSON}.safetensors").is_file()
    seen(page, "trained")


def test_5_portraits_come_ranked_with_their_likeness(page, app):
    open_tab(page, "Portraits")
    page.wait_for_function(f"document.querySelector('#facechain_portrait_person input').value == '{PERSON}'")
    page.locator("#facechain_own textarea").fill("smiling")
    page.wait_for_function("document.querySelector('#facechain_composed').innerText.includes('sks person, smiling')")
    fill_number(page, "facechain_portrait_count", 2)
    fill_number(page, "facechain_portrait_steps", 4)
    page.click("#facechain_generate")
    page.wait_for_selector("#facechain_gallery .fc-portraits .fc-card", timeout=300_000)
    cards = page.locator("#facechain_gallery .fc-portraits .fc-card")
    assert cards.count() == 2
    assert [cards.nth(i).locator(".fc-badge").inner_text() for i in range(2)] == ["1", "2"]
    assert all(re.search(r"likeness -?\d\.\d\d|no face found", cards.nth(i).inner_text()) for i in range(2))
    cards.first.locator("summary").click()
    assert "Steps: 4" in cards.first.inner_text()
    sheet = page.get_by_role("link", name="Contact sheet").get_attribute("href")
    assert page.request.get(app.url + sheet).headers["content-type"] == "image/png"
    seen(page, "portraits")


def test_6_a_setting_out_of_range_is_refused_in_the_words_of_the_page(page):
    fill_number(page, "facechain_portrait_count", 0)
    page.click("#facechain_generate")
    page.wait_for_selector("#facechain_portraits_live [role=alert]")
    assert "'Candidates' must lie between 1 and 100" in page.inner_text("#facechain_portraits_live")


def test_7_a_deleted_person_is_gone_from_page_and_disk(page, app):
    open_tab(page, "People")
    page.wait_for_selector("#facechain_people_cards .fc-who")
    assert PERSON in page.inner_text("#facechain_people_cards")
    seen(page, "people")
    page.click("#facechain_people_person input")
    page.get_by_role("option", name=PERSON).click()
    page.click("#facechain_delete:enabled")
    page.wait_for_selector("#facechain_people_said [role=alert]")
    assert "5 prepared photos, 1 LoRA, 2 portraits" in page.inner_text("#facechain_people_said")
    page.click("#facechain_delete_confirm")
    page.wait_for_selector("#facechain_people_cards .fc-empty")
    assert "nothing of Anna is left" in page.inner_text("#facechain_people_said")
    assert kept(app.workspace / "people") == []
    assert kept(app.uploads) == []
    open_tab(page, "Portraits")
    page.wait_for_selector("#facechain_gallery .fc-empty")
