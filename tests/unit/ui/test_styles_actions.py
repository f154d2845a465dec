"""The styles page: saving, changing, exporting, importing and deleting a style of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from facechain_ext.services.studio import Studio
from facechain_ext.ui.styles_actions import NEW, NO_LORA, StylesActions
from facechain_ext.workspace import Workspace

NAME, WORDS, NEGATIVE, LORA, WEIGHT = range(5)


@pytest.fixture
def page(tmp_path, monkeypatch) -> StylesActions:
    lora = tmp_path / "Lora" / "rose.safetensors"
    lora.parent.mkdir()
    save_file({"lora_unet_x.lora_down.weight": torch.ones(2, 768), "lora_unet_x.lora_up.weight": torch.ones(4, 2)}, lora)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    return StylesActions(Studio(Workspace(tmp_path / "ws"), lambda: None, None, lora_folders=lambda: [lora.parent]))


def test_a_style_from_made_to_gone(page, tmp_path):
    choices, cards, said = page.save(NEW, "My garden", "roses", "", "rose", 0.6, "own", "CC0")
    assert "Saved" in said
    assert choices["value"] == "my-garden"
    assert "LoRA rose, weight 0.6" in cards
    form = page.chosen("my-garden")
    assert [form[i]["value"] for i in range(5)] == ["My garden", "photo of {person}, roses", "", "rose", 0.6]
    assert form[LORA]["choices"] == [NO_LORA, "rose"]
    page.save("my-garden", "My garden", "{person} in roses", "", "rose", 0.5, "own", "CC0")
    assert page.chosen("my-garden")[WORDS]["value"] == "{person} in roses"
    assert len(page.own()) == 1, "changed, not doubled"
    link = page.export("my-garden", True)
    assert "Licence: CC0" in link
    packed = tmp_path / "uploads" / "x" / "my-garden.facechain-style"
    packed.parent.mkdir(parents=True)
    shutil.copyfile(tmp_path / "ws" / "styles" / "exports" / packed.name, packed)
    assert "cannot be undone" in page.ask("my-garden")[0]
    assert "is gone" in page.delete("my-garden")[2]
    assert [p for p in (tmp_path / "ws").rglob("*") if p.is_file()] == [], "its picture and export too"
    assert (tmp_path / "Lora" / "rose.safetensors").is_file(), "the host's LoRA stays"
    imported = page.import_([str(packed)], False)
    assert "1 style imported" in imported[3]
    assert not packed.exists(), "uploads are not kept"


def test_mistakes_are_told(page, tmp_path):
    assert "needs words" in page.save(NEW, "Empty", "", "", NO_LORA, 0.5, "own", "")[2]
    assert "no LoRA &#x27;gone&#x27;" in page.save(NEW, "X", "x", "", "gone", 0.5, "own", "")[2]
    assert "FaceChain&#x27;s own" in page.delete("knight")[2]
    assert "Add style files first" in page.import_(None, False)[3]
    assert "Add style files first" in page.import_([str(Path(tmp_path / "Lora" / "rose.safetensors"))], False)[3], "only uploads"
    bad = tmp_path / "uploads" / "y" / "bad.json"
    bad.parent.mkdir(parents=True)
    bad.write_text(json.dumps({"name": "x", "add_prompt_style": "x", "bin_file": "../x"}))
    assert "1 file refused" in page.import_([str(bad)], False)[3]
