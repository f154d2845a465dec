"""Another face model pack: chosen by its name, named in the dataset, and never mixed with the shipped one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from facechain_ext.vision.packs import PACKS, SHIPPED


def test_a_pack_of_the_users_own(empty, photos) -> None:
    mine = empty.root / "models" / "packs" / "mine"
    mine.mkdir(parents=True)
    for number, file in enumerate(sorted((PACKS / SHIPPED).glob("*.onnx"))):
        shutil.copy(file, mine / f"{number}.onnx")
    assert empty.good("models", "list", "--json").json["packs"] == [SHIPPED, "mine"]
    empty.good("--pack", "mine", "prepare", photos[0], "--person", "Ada", "--resolution", "64", "--json")
    manifest = json.loads((Path(empty.root) / "people" / "Ada" / "dataset" / "manifest.json").read_text())
    assert manifest["pack"] == "mine"
    refused = empty("train", "--person", "Ada", "--steps", "1")
    assert refused.code == 2
    assert f"prepared with the face models 'mine', not '{SHIPPED}'. Prepare them again." in refused.sentence
    missing = empty("--pack", "buffalo_l", "prepare", photos[0], "--person", "Bob")
    assert missing.code == 2
    assert "'buffalo_l' is not installed" in missing.sentence
