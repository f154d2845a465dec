"""What is kept of a person goes with the person, in the WebUI's folders too."""

from __future__ import annotations

import base64
from pathlib import Path

from .webui import WebUi


def test_everything_goes_with_the_person(webui: WebUi, photos: list[Path]) -> None:
    name, stem = "Host Gone", "Host_Gone"
    webui.delete(name)
    webui.prepare(name, photos)
    # Two LoRAs: the second has a name of its own, because the WebUI keeps what it read under a name.
    for _ in range(2):
        assert webui.finish(webui.train(name, previews=1, preview_every=0))["state"] == "done"
    assert {f.name for f in webui.loras.glob(f"{stem}*")} == {
        f"{stem}{number}{end}" for number in ("", "-2") for end in (".safetensors", ".json", ".png")
    }
    assert {stem, f"{stem}-2"} <= set(webui.lora_names())
    panel = {"FaceChain": {"args": [True, {"person": name}]}}
    assert f"<lora:{stem}-2:0.9>" in webui.draw(alwayson_scripts=panel).infotexts[0]
    folder = webui.folder / "models" / "FaceChain" / "people" / name
    assert folder.is_dir()

    webui.delete(name)
    assert webui.person(name) is None
    assert not folder.exists()
    assert list(webui.loras.glob(f"{stem}*")) == []
    assert webui.draw(alwayson_scripts=panel).pictures == []
    webui.post("/sdapi/v1/refresh-loras")
    assert not {stem, f"{stem}-2"} & set(webui.lora_names())


def test_the_panel_puts_a_lora_back_on_its_shelf(webui: WebUi, person: str, trained: str) -> None:
    for file in webui.loras.glob(f"{trained}.*"):
        file.unlink()
    webui.post("/sdapi/v1/refresh-loras")
    assert trained not in webui.lora_names()
    drawn = webui.draw(alwayson_scripts={"FaceChain": {"args": [True, {"person": person}]}})
    assert len(drawn.pictures) == 1
    assert "Lora hashes" in drawn.infotexts[0]


def test_a_picture_that_is_none_leaves_no_trace(webui: WebUi) -> None:
    name = "Host Nothing"
    body = {"person": name, "photos": [{"name": "x.jpg", "data": base64.b64encode(b"not a picture").decode()}]}
    done = webui.finish(webui.post("/facechain/v1/prepare", body)["job_id"])
    assert done["state"] == "failed"
    assert not (webui.folder / "models" / "FaceChain" / "people" / name).exists()
