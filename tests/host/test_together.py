"""Two people in one picture, made with the WebUI's own model; afterwards it is what it was."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as PilImage

from .webui import Drawn, WebUi, values

pytestmark = pytest.mark.slow
PAIR = ("Host Left", "Host Right")


@pytest.fixture
def pair(webui: WebUi, photos: list[Path]) -> Iterator[tuple[str, str]]:
    """Two trained people."""
    for name in PAIR:
        webui.delete(name)
        assert webui.prepare(name, photos)["state"] == "done"
        assert webui.finish(webui.train(name, preview_every=0, previews=0))["state"] == "done"
    yield PAIR
    for name in PAIR:
        webui.delete(name)


def test_two_people_share_a_picture_of_the_panel(probed: WebUi, pair: tuple[str, str]) -> None:
    """Regions through hooks around the WebUI's own sampling, each with its own LoRA and words."""
    size = {"width": 224, "height": 128}
    drawn, before = probed.draw(**size).pixels, probed.state()

    def made(prompt: str) -> Drawn:
        args = [True, {"person": pair[0], "beside": [pair[1]]}]
        return probed.draw(prompt=prompt, alwayson_scripts={"FaceChain": {"args": args}}, **size)

    first, turned = made("smiling | with glasses"), made("with glasses | smiling")
    assert first.pixels == made("smiling | with glasses").pixels
    assert first.pixels != turned.pixels
    assert "<lora:" not in first.infotexts[0]
    assert f"FaceChain beside: {pair[1]}" in first.infotexts[0]
    assert len(values(first.infotexts[0])["FaceChain likeness of each"].split()) == 2
    # The WebUI keeps the last prompt encoded: the first one's again.
    assert probed.draw(**size).pixels == drawn
    after = probed.state()
    assert {k: (v, after[k]) for k, v in before.items() if after[k] != v and k not in ("merged layers", "random")} == {}


def test_two_people_share_a_picture(probed: WebUi, pair: tuple[str, str]) -> None:
    drawn, before = probed.draw().pixels, probed.state()
    body = {"people": list(pair), "prompt": "smiling | with glasses", "settings": {"count": 2, "steps": 6, "width": 224, "height": 128}}
    job = probed.finish(probed.post("/facechain/v1/portraits", body)["job_id"])
    assert job["state"] == "done", job
    after = probed.state()
    assert {key: (value, after[key]) for key, value in before.items() if after[key] != value} == {}
    assert len(job["images"]) == 2
    picture = probed.http.get(f"/facechain/v1/jobs/{job['id']}/images/0")
    image = PilImage.open(io.BytesIO(picture.content))
    assert image.size == (224, 128)
    assert all(name in image.info["parameters"] for name in pair)
    assert probed.draw().pixels == drawn
