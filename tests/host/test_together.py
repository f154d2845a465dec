"""Two people in one picture, made with the WebUI's own model; afterwards it is what it was."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as PilImage

from .webui import WebUi

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
