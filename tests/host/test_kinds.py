"""Every kind of LoRA that is trained, through the WebUI's own loader: it finds a layer for each module, and draws what the training drew."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from facechain_ext.training.plan import PREVIEW_STEPS
from facechain_ext.training.previews import PREVIEW_CFG

from .conftest import PERSON
from .webui import WebUi

pytestmark = pytest.mark.slow
STEPS, SEED = 12, 5
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"kind": "lora"},
    "lora, attention": {"kind": "lora", "targets": "attention"},
    "lora, convolutions": {"kind": "lora", "targets": "conv"},
    "rslora": {"kind": "rslora", "rank": 8},
    "dora": {"kind": "dora"},
    "loha": {"kind": "loha"},
    "loha, convolutions": {"kind": "loha", "targets": "conv"},
    "lokr": {"kind": "lokr"},
    "lokr, convolutions": {"kind": "lokr", "targets": "conv"},
    "text encoder too": {"kind": "lora", "text_encoder_rate": 2e-3},
}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(PilImage.open(io.BytesIO(data)).convert("RGB")).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_the_webui_draws_what_the_training_drew(kind: str, probed: WebUi, person: str) -> None:
    settings = {"steps": STEPS, "preview_every": STEPS, "previews": 1, "keep": "last", "learning_rate": 5e-3, "seed": SEED, **KINDS[kind]}
    before = probed.state()
    job = probed.finish(probed.train(person, **settings))
    assert job["state"] == "done", job
    after = probed.state()
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value and key != "merged layers"} == {}
    name = str(job["result"]["lora"]).removesuffix(".safetensors")
    fit = probed.get("/facechain-probe/fit", name=name)
    assert fit["matched"] == fit["in the file"] > 0
    drawn = probed.http.get(f"/facechain/v1/jobs/{job['id']}/images/0")
    assert drawn.is_success
    wanted = {"seed": SEED, "steps": PREVIEW_STEPS, "cfg_scale": PREVIEW_CFG, "sampler_name": "DPM++ 2M", "scheduler": "Karras"}
    mine = probed.draw(prompt=f"photo of fchost man <lora:{name}:1>", **wanted).pictures[0]
    plain = probed.draw(prompt="photo of fchost man", **wanted).pictures[0]
    off = float(np.abs(pixels(mine) - pixels(drawn.content)).mean())
    effect = float(np.abs(pixels(plain) - pixels(mine)).mean())
    assert effect > 2, (off, effect)
    # The file is rounded to half precision.
    assert off < max(1.0, effect / 8), (off, effect)


@pytest.fixture(scope="module", autouse=True)
def nobody_left(webui: WebUi):
    """Twelve LoRAs of one person are of no use to the tests after these."""
    yield
    webui.delete(PERSON)
