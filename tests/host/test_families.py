"""SD2 with velocity prediction and SDXL, on checkpoints that ``narrow_checkpoints.py`` writes into the WebUI's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from facechain_ext.training.plan import PREVIEW_STEPS
from facechain_ext.training.previews import PREVIEW_CFG

from .conftest import PERSON
from .test_kinds import pixels
from .test_proof import check_ending, end_training
from .webui import WebUi

pytestmark = pytest.mark.slow
CHECKPOINTS = {"sd2": "narrow-sd2v", "sdxl": "narrow-sdxl"}
PREDICTIONS = {"sd2": "v", "sdxl": "eps"}
TARGETS = {"sd2": 192, "sdxl": 722}
"""Modules of a face LoRA: 12 in each of SD2's 16 transformers; SDXL has 11 with 70 blocks."""
WORDS = {"sd2": 2 * 23, "sdxl": 6 * 11 + 2 * 32}
"""Modules in the text encoders: OpenCLIP's feed-forward layers only, and none in a layer that nobody reads."""


@pytest.fixture(scope="module", params=list(CHECKPOINTS))
def family(request: pytest.FixtureRequest, webui: WebUi) -> Iterator[str]:
    """The WebUI has this family's checkpoint loaded; afterwards the one it had."""
    name = CHECKPOINTS[request.param]
    folder = Path(os.environ["FACECHAIN_WEBUI_DIR"]) / "models" / "Stable-diffusion"
    if not (folder / f"{name}.safetensors").exists():
        pytest.skip(f"there is no {name}: run tests/host/narrow_checkpoints.py")
    options = webui.get("/sdapi/v1/options")
    before = {key: options[key] for key in ("show_progress_type", "sd_model_checkpoint")}
    # For its own live preview of SDXL the WebUI would download a small decoder.
    webui.post("/sdapi/v1/options", {"show_progress_type": "Approx cheap"})
    webui.post("/sdapi/v1/refresh-checkpoints")
    webui.post("/sdapi/v1/options", {"sd_model_checkpoint": name})
    yield request.param
    webui.delete(PERSON)
    webui.post("/sdapi/v1/options", before)


@pytest.fixture(scope="module")
def learned(family: str, webui: WebUi, photos: list[Path]) -> dict[str, Any]:
    """A training that went to its end, with previews; its result, and the file's name under ``name``."""
    webui.delete(PERSON)
    assert webui.prepare(PERSON, photos)["state"] == "done"
    job = webui.finish(webui.train(PERSON, steps=6, learning_rate=5e-3, preview_every=3))
    assert job["state"] == "done", job
    return {**job["result"], "images": job["images"], "name": str(job["result"]["lora"]).removesuffix(".safetensors")}


def test_it_learns_and_shows_previews(family: str, webui: WebUi, learned: dict[str, Any]) -> None:
    assert learned["steps"] == 6
    assert learned["images"]
    checkpoints = webui.get("/facechain/v1/checkpoints")
    assert [c["name"] for c in checkpoints] == [CHECKPOINTS[family]]


def test_the_webui_finds_a_layer_for_every_module(family: str, probed: WebUi, learned: dict[str, Any]) -> None:
    fit = probed.get("/facechain-probe/fit", name=learned["name"])
    assert (fit["in the file"], fit["matched"]) == (TARGETS[family], TARGETS[family])
    assert all(layer.startswith("diffusion_model_") for layer in fit["layers"])


def test_the_lora_changes_the_picture(family: str, webui: WebUi, learned: dict[str, Any]) -> None:
    plain = webui.draw(prompt="photo of fchost man").pixels
    tag = f"<lora:{learned['name']}:1>"
    drawn = webui.draw(prompt=f"photo of fchost man {tag}")
    assert drawn.pixels != plain
    assert learned["name"] in drawn.infotexts[0].split("Lora hashes")[1]
    panel = {"FaceChain": {"args": [True, {"person": PERSON}]}}
    assert tag.replace(":1>", ":0.9>") in webui.draw(alwayson_scripts=panel).infotexts[0]
    assert webui.draw(prompt="photo of fchost man").pixels == plain


@pytest.mark.parametrize("side", [128, 192])
def test_it_is_the_model_the_webui_samples_with(family: str, probed: WebUi, side: int) -> None:
    probed.post("/sdapi/v1/refresh-loras")
    found = probed.get("/facechain-probe/agreement", prompt="photo of fchost man", side=side)
    assert (found["family"], found["prediction"]) == (family, PREDICTIONS[family])
    assert [step["timestep"] for step in found["steps"]] == [999, 666, 333, 0]
    for step in found["steps"]:
        assert step["words"] < 1e-4, step
        assert step["vector"] is None or step["vector"] < 1e-4, step
        assert step["clean"] < 1e-2, step
    assert (found["steps"][0]["vector"] is None) is (family != "sdxl")


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "after a LoRA picture"])
@pytest.mark.parametrize("how", ["success", "checkpointed", "error", "cancel"])
def test_model_and_webui_are_what_they_were(family: str, probed: WebUi, learned: dict[str, Any], how: str, lora: bool) -> None:
    prompt = "photo of fchost man" + (f" <lora:{learned['name']}:1>" if lora else "")
    drawn = probed.draw(prompt=prompt).pixels
    before = probed.state()
    assert (before["merged layers"] > 0) is lora
    job = end_training(probed, PERSON, how)
    after = probed.state()
    check_ending(job, how)
    assert after.pop("merged layers") == 0
    before.pop("merged layers")
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value} == {}
    assert probed.draw(prompt=prompt).pixels == drawn


def test_latents_are_computed_not_drawn(family: str, probed: WebUi) -> None:
    assert probed.get("/facechain-probe/latents") == {"again": 0.0, "deviation": True, "finite": True}


def test_text_encoders_learn_and_the_webui_draws_what_the_training_drew(family: str, probed: WebUi, learned: dict[str, Any]) -> None:
    before = probed.state()
    seed, steps = 5, 6
    settings = {"steps": steps, "preview_every": steps, "previews": 1, "keep": "last", "learning_rate": 5e-3, "seed": seed}
    job = probed.finish(probed.train(PERSON, text_encoder_rate=5e-3, **settings))
    assert job["state"] == "done", job
    after = probed.state()
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value and key != "merged layers"} == {}
    name = str(job["result"]["lora"]).removesuffix(".safetensors")
    fit = probed.get("/facechain-probe/fit", name=name)
    assert (fit["in the file"], fit["matched"]) == (TARGETS[family] + WORDS[family],) * 2
    drawn = probed.http.get(f"/facechain/v1/jobs/{job['id']}/images/0")
    assert drawn.is_success
    wanted = {"seed": seed, "steps": PREVIEW_STEPS, "cfg_scale": PREVIEW_CFG, "sampler_name": "DPM++ 2M", "scheduler": "Karras"}
    mine, silent, plain = (
        pixels(probed.draw(prompt=f"photo of fchost man{tag}", **wanted).pictures[0])
        for tag in (f" <lora:{name}:1>", f" <lora:{name}:te=0:unet=1>", "")
    )
    off, effect, of_words = (
        float(abs(pixels(drawn.content) - mine).mean()),
        float(abs(plain - mine).mean()),
        float(abs(silent - mine).mean()),
    )
    assert effect > 2, (off, effect, of_words)
    assert of_words > 0.5, (off, effect, of_words)
    # The file is rounded to half precision.
    assert off < max(1.0, effect / 8), (off, effect, of_words)
