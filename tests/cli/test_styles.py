"""``facechain styles``: made, shown, shared, trained and deleted as people do it."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image


def test_a_style_is_made_shared_and_deleted(empty, tmp_path) -> None:
    made = empty.good("styles", "make", "My Garden", "--prompt", "roses, garden wall", "--licence", "CC0", "--json").json
    assert (made["id"], made["prompt"], made["own"]) == ("my-garden", "photo of {person}, roses, garden wall", True)
    assert "garden wall" in empty.good("styles", "show", "My Garden").out
    assert [s["id"] for s in empty.good("styles", "list", "--find", "garden", "--json").json["styles"]].count("my-garden") == 1
    assert "already" in empty("styles", "make", "My Garden", "--prompt", "x").sentence
    assert "no LoRA 'nothing'" in empty("styles", "make", "Other", "--lora", "nothing").sentence
    file = empty.good("styles", "export", "my-garden", "--out", tmp_path, "--json").json["file"]
    refused = empty("styles", "delete", "my-garden")
    assert refused.code == 2
    assert "--yes" in refused.sentence
    assert empty.good("styles", "delete", "my-garden", "--yes", "--json").json == {"deleted": "my-garden"}
    back = empty.good("styles", "import", file, "--json").json
    assert [s["licence"] for s in back["styles"]] == ["CC0"]
    (tmp_path / "bad.facechain-style").write_bytes(b"PK nothing")
    bad = empty("styles", "import", tmp_path / "bad.facechain-style", "--json")
    assert (bad.code, bad.json["styles"]) == (2, [])


def test_a_style_is_trained_from_pictures(empty, tmp_path, quick) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.full((96, 96, 3), 80 * i, np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "settings.json").write_text(json.dumps({**json.loads(quick.read_text()), "resolution": 64}))
    value = empty.good("styles", "train", folder, "--name", "Greys", "--steps", 1, "--config", tmp_path / "settings.json", "--json").json
    assert (value["steps"], value["prompt"]) == (1, "{person}, greysstyle")
    assert value["lora_file"].endswith("greys.safetensors")
