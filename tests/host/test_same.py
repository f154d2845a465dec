"""One infotext, one picture: what the panel drew in the WebUI, ``facechain generate --from-infotext`` draws without it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PilImage

from facechain_ext.cli.context import analyzer_of
from facechain_ext.cli.generate import again
from facechain_ext.cli.output import Output
from facechain_ext.hosts.standalone.checkpoints import StandaloneCheckpoints
from facechain_ext.services.studio import Studio
from facechain_ext.workspace import Workspace

from .test_panel import draw
from .webui import WebUi, values

pytestmark = pytest.mark.slow
MEAN, MOST = 0.5, 8
"""Steps of 255 between the two pictures, on the average and at most: both compute in single precision, by other code."""
LONG = "in the rain, " * 30 + "by the sea"
KARRAS = {"sampler_name": "DPM++ 2M", "scheduler": "Karras"}
CASES: dict[str, dict[str, Any]] = {
    "plain": {**KARRAS},
    "euler": {"sampler_name": "Euler"},
    "euler a": {"sampler_name": "Euler a", "batch_size": 2},
    "ddim": {"sampler_name": "DDIM"},
    "unipc": {"sampler_name": "UniPC"},
    "weights": {**KARRAS, "prompt": "(night:1.4), [rain], ((smiling)), \\(old\\)", "negative_prompt": "(hat:1.3), blur"},
    "chunks": {**KARRAS, "prompt": f"{LONG} BREAK {LONG}", "negative_prompt": "blur, " * 60},
    "words that change": {**KARRAS, "prompt": "[by day:(at night:1.3):0.5], [with|without] glasses", "negative_prompt": "[hat::3]"},
    "joined by AND": {**KARRAS, "prompt": "smiling AND a photo of a woman :0.4"},
    "clip skip": {**KARRAS, "override_settings": {"CLIP_stop_at_last_layers": 2}},
    "seed delta": {"sampler_name": "Euler a", "override_settings": {"eta_noise_seed_delta": 31337}},
    "style": {**KARRAS, "style": "charcoal"},
    "style, more me": {**KARRAS, "style": "charcoal", "balance": 0.8},
    "style of words": {**KARRAS, "style": "knight", "face_weight": 0.7, "prompt": "by the sea"},
    "own tag": {**KARRAS, "prompt": "photo of fchost man in the rain <lora:TRAINED:0.6>"},
}


@pytest.fixture(scope="module")
def alone(webui: WebUi) -> Studio:
    """The program without a WebUI, with the people stored in it."""
    workspace = Workspace(webui.folder / "models" / "FaceChain")
    return Studio(workspace, analyzer_of(workspace), StandaloneCheckpoints(workspace), lora_folders=lambda: [webui.loras.parent])


@pytest.fixture(autouse=True)
def as_it_was(webui: WebUi) -> Iterator[None]:
    """Options of a case do not stay."""
    yield
    webui.post("/sdapi/v1/options", {"CLIP_stop_at_last_layers": 1, "eta_noise_seed_delta": 0})


def pixels(picture: bytes | Path) -> np.ndarray:
    return np.asarray(PilImage.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture).convert("RGB")).astype(int)


@pytest.mark.parametrize("case", CASES)
def test_the_same_picture_comes_without_the_webui(
    case: str, webui: WebUi, person: str, trained: str, alone: Studio, tmp_path: Path
) -> None:
    given = dict(CASES[case])
    config = {"person": person, "face_weight": 1.0, "rank": False}
    config |= {key: given.pop(key) for key in ("style", "balance", "face_weight") if key in given}
    given["prompt"] = given.get("prompt", "").replace("TRAINED", trained)
    drawn = draw(webui, config, **{"negative_prompt": "", "steps": 10, "cfg_scale": 5, **given})
    for picture, text in zip(drawn.pictures, drawn.infotexts, strict=True):
        file = tmp_path / "infotext.txt"
        file.write_text(text, encoding="utf-8")
        request = again(Output(as_json=True), alone, file, [])
        [made] = alone.portraits(request).portraits
        off = np.abs(pixels(made.file) - pixels(picture))
        assert off.mean() <= MEAN, (off.mean(), off.max(), text)
        assert off.max() <= MOST, (off.mean(), off.max(), text)
        # What it says of itself makes it a third time, and the WebUI's panel takes it back.
        assert values(made.infotext)["Seed"] == values(text)["Seed"]
