"""The WebUI's own controls work on a training: progress, Interrupt, the queue, the list of LoRAs."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from PIL import Image as PilImage

from .webui import WebUi


@pytest.fixture
def running(webui: WebUi, person: str):
    """A training under way, cancelled at the end if it still is."""
    job = webui.train(person, steps=400, preview_every=0)
    webui.at_step(job, 3)
    yield job
    webui.cancel(job)
    webui.finish(job)


def test_progress_shows_the_training(webui: WebUi, running: str) -> None:
    now = webui.get("/sdapi/v1/progress", skip_current_image=True)
    assert now["state"]["job"] == "FaceChain training"
    assert now["state"]["job_count"] == 1
    assert now["state"]["sampling_steps"] == 400
    assert 0 < now["progress"] < 1
    assert now["textinfo"].startswith("FaceChain: step ")


def test_interrupt_stops_and_keeps(webui: WebUi, running: str) -> None:
    webui.post("/sdapi/v1/interrupt")
    done = webui.finish(running)
    assert done["state"] == "done", done
    assert done["result"]["stopped_early"]
    assert done["result"]["lora"].removesuffix(".safetensors") in webui.lora_names()
    idle = webui.get("/sdapi/v1/progress", skip_current_image=True)["state"]
    assert (idle["job"], idle["interrupted"], idle["job_count"]) == ("", False, 0)


def test_a_pause_lets_others_in_and_the_training_goes_on(webui: WebUi, person: str, running: str) -> None:
    webui.post(f"/facechain/v1/jobs/{running}/pause")
    paused = webui.finish(running)
    assert paused["state"] == "paused"
    assert len(webui.draw().pictures) == 1
    stored = webui.person(person)
    assert stored is not None
    assert stored["resumable"]
    job = webui.post("/facechain/v1/train", {"person": person, "resume": True})["job_id"]
    on = webui.at_step(job, 1)
    assert on["step"] > paused["step"] > 0
    assert on["total"] == paused["total"]
    webui.cancel(job)
    assert webui.finish(job)["state"] == "cancelled"


def test_skip_is_for_pictures_only(webui: WebUi, running: str) -> None:
    webui.post("/sdapi/v1/skip")
    webui.at_step(running, webui.job(running)["step"] + 2)
    assert webui.job(running)["state"] == "running"


def test_a_picture_waits_for_the_training(webui: WebUi, running: str) -> None:
    drawn: list[Any] = []
    waiting = threading.Thread(target=lambda: drawn.append(webui.draw(seed=3)))
    waiting.start()
    step = webui.job(running)["step"]
    webui.at_step(running, step + 5)
    assert drawn == []
    webui.cancel(running, keep=True)
    assert webui.finish(running)["state"] == "done"
    waiting.join(120)
    assert len(drawn) == 1
    assert drawn[0].pixels == webui.draw(seed=3).pixels


def test_a_training_waits_for_a_picture(webui: WebUi, person: str) -> None:
    # Another thread than the queue's: the picture holds the WebUI while the training asks for it; for seconds, whatever the checkpoint.
    began = time.monotonic()
    webui.draw(steps=4)
    steps = max(4, min(150, int(20 / (time.monotonic() - began))))
    drawing = threading.Thread(target=lambda: webui.draw(steps=steps))
    drawing.start()
    job = webui.train(person)
    done = webui.finish(job)
    drawing.join()
    assert done["state"] == "done", done


def test_a_training_that_waits_for_a_picture_says_so_and_can_be_cancelled(webui: WebUi, person: str) -> None:
    drawn: list[Any] = []
    drawing = threading.Thread(target=lambda: drawn.append(webui.draw(steps=150, batch_size=4, seed=3)))
    drawing.start()
    webui.until_busy()
    job = webui.train(person)
    assert webui.until(job, lambda j: j["stage"] == "waiting" and j["message"])["message"].startswith("until the WebUI")
    webui.cancel(job)
    assert webui.finish(job)["state"] == "cancelled"
    assert drawn == []
    drawing.join()
    assert len(drawn[0].pixels) == 4
    # The queue is nobody's: both can go on.
    assert webui.draw(seed=3).pixels
    assert webui.finish(webui.train(person))["state"] == "done"


def test_lora_is_usable_at_once(webui: WebUi, trained: str) -> None:
    assert trained in webui.lora_names()
    file = webui.loras / f"{trained}.safetensors"
    card = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    assert card["activation text"] == "fchost man"
    assert card["sd version"] == "SD1"
    picture = PilImage.open(file.with_suffix(".png"))
    assert picture.size[0] >= 64
    assert picture.info == {}
    plain, with_lora = (webui.draw(prompt=f"photo of fchost man{tag}") for tag in ("", f" <lora:{trained}:1>"))
    assert plain.pixels != with_lora.pixels
    assert "Lora hashes" in with_lora.infotexts[0]
    assert webui.draw(prompt=f"photo of fchost man <lora:{trained}:0>").pixels == plain.pixels


def test_another_checkpoint_chosen_during_a_training_comes_after_it(webui: WebUi, running: str, person: str) -> None:
    before = webui.get("/sdapi/v1/options")["sd_model_checkpoint"]
    other = next((c for c in webui.get("/sdapi/v1/sd-models") if c["title"] != before), None)
    if other is None:
        pytest.skip("the WebUI has one checkpoint only")
    trained_on = webui.get("/facechain/v1/checkpoints")[0]["name"]
    switching = threading.Thread(target=lambda: webui.post("/sdapi/v1/options", {"sd_model_checkpoint": other["title"]}))
    switching.start()
    try:
        webui.at_step(running, webui.job(running)["step"] + 5)
        # Previews at the end are drawn by the one trained on, though the dropdown names the other by now.
        webui.cancel(running, keep=True)
        done = webui.finish(running)
        switching.join(120)
        assert done["state"] == "done", done
        stored = webui.person(person)
        assert stored is not None
        lora = next(x for x in stored["loras"] if f"{x['name']}.safetensors" == done["result"]["lora"])
        assert lora["checkpoint"] == trained_on
        assert webui.get("/sdapi/v1/options")["sd_model_checkpoint"] == other["title"]
        assert webui.get("/facechain/v1/checkpoints")[0]["name"] == other["model_name"]
    finally:
        switching.join(120)
        webui.post("/sdapi/v1/options", {"sd_model_checkpoint": before})


def test_settings_changed_during_a_training_stay(webui: WebUi, running: str) -> None:
    before = webui.get("/sdapi/v1/options")["jpeg_quality"]
    try:
        webui.post("/sdapi/v1/options", {"jpeg_quality": 71})
        webui.cancel(running, keep=True)
        assert webui.finish(running)["state"] == "done"
        assert webui.get("/sdapi/v1/options")["jpeg_quality"] == 71
    finally:
        webui.post("/sdapi/v1/options", {"jpeg_quality": before})
