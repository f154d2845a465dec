"""However a training ends, the model and the WebUI are what they were, and draw the same picture."""

from __future__ import annotations

from typing import Any

import pytest

from .webui import WebUi

ENDINGS = ("success", "checkpointed", "error", "scarce", "memory", "cancel", "keep", "interrupt", "pause")


def end_training(webui: WebUi, person: str, how: str) -> dict[str, Any]:
    """Train, and let it end that way; return the job as it is then."""
    if how in ("error", "scarce", "memory"):
        webui.fail_at(6, how)
        return webui.finish(webui.train(person))
    if how in ("success", "checkpointed"):
        return webui.finish(webui.train(person, gradient_checkpointing=how == "checkpointed"))
    job = webui.train(person, steps=400)
    webui.at_step(job, 5)
    if how == "pause":
        webui.post(f"/facechain/v1/jobs/{job}/pause")
    elif how == "interrupt":
        webui.post("/sdapi/v1/interrupt")
    else:
        webui.cancel(job, keep=how == "keep")
    return webui.finish(job)


def check_ending(job: dict[str, Any], how: str) -> None:
    """The job says how it ended."""
    if how in ("success", "checkpointed"):
        assert (job["state"], job["result"]["steps"], job["result"]["stopped_early"]) == ("done", 8, False), job
    elif how == "scarce":
        assert (job["state"], job["result"]["steps"]) == ("done", 8), job
        assert "gradient checkpointing is on from here" in job["result"]["notes"][0]
    elif how in ("keep", "interrupt"):
        assert job["state"] == "done", job
        assert 5 <= job["result"]["steps"] < 400
        assert job["result"]["stopped_early"]
    elif how in ("cancel", "pause"):
        assert (job["state"], job["result"]) == ({"cancel": "cancelled", "pause": "paused"}[how], None), job
    else:
        assert job["state"] == "failed", job
        assert "memory" in job["error"].lower() if how == "memory" else job["error"]


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "after a LoRA picture"])
@pytest.mark.parametrize("how", ENDINGS)
def test_model_and_webui_are_what_they_were(probed: WebUi, person: str, trained: str, how: str, lora: bool) -> None:
    tag = f" <lora:{trained}:1>" if lora else ""
    plain = probed.draw(prompt="photo of a person").pixels
    drawn = probed.draw(prompt=f"photo of fchost man{tag}").pixels
    before = probed.state()
    assert before["loaded networks"] == ([trained] if lora else [])
    assert (before["merged layers"] > 0) is lora

    job = end_training(probed, person, how)
    after = probed.state()
    check_ending(job, how)

    # The LoRA is out of the weights until the next picture needs it.
    assert after.pop("merged layers") == 0
    before.pop("merged layers")
    changed = {key: (value, after[key]) for key, value in before.items() if after[key] != value}
    assert changed == {}
    assert probed.draw(prompt=f"photo of fchost man{tag}").pixels == drawn
    assert probed.draw(prompt="photo of a person").pixels == plain


def test_nothing_is_held_in_memory_afterwards(probed: WebUi, person: str, trained: str) -> None:
    probed.finish(probed.train(person))
    before = probed.get("/facechain-probe/memory")
    for how in ("success", "error", "cancel"):
        end_training(probed, person, how)
    after = probed.get("/facechain-probe/memory")
    assert after["tensors MB"] <= before["tensors MB"] + 1, (before, after)
    assert after["threads"] == before["threads"]
