"""Styles of FaceChain and EasyPhoto are read as what they are; what could do harm is refused."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facechain_ext.errors import FileFormatError, UserInputError
from facechain_ext.services.styles import delete_style, export_style, import_styles, lora_files, save_style
from facechain_ext.styles.catalog import load_styles
from facechain_ext.styles.header import read_header, texts_in
from facechain_ext.styles.packing import LORA, MANIFEST
from facechain_ext.workspace import Workspace

SUIT: dict[str, Any] = {
    "name": "西装(Suit)", "img": "./style_image/suit.jpg", "model_id": "someone/suits", "revision": "v1", "bin_file": "Suit v2.1.safetensors",
    "multiplier_style": 0.35, "multiplier_human": 0.95, "add_prompt_style": "(tailored suit:1.3), man, ((city)), <lora:other:0.7>, tie",
}  # fmt: skip
"""Made up by us in FaceChain's format."""
KEYS = {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": torch.ones(2, 768)}


def lora(file: Path, **metadata: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({**KEYS, next(iter(KEYS)).replace("down", "up"): torch.ones(4, 2)}, file, metadata)
    return file


def style_file(root: Path, name: str = "Men_Suit", **changes: Any) -> Path:
    file = root / "styles" / "leosamsMoonfilm_filmGrain20" / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(SUIT | changes, ensure_ascii=False), encoding="utf-8")
    return file


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "workspace")


def test_a_facechain_style_comes_with_its_local_lora_and_says_what_changed(workspace, tmp_path):
    style_file(tmp_path / "fc", unknown=1)
    (tmp_path / "fc" / "style_image").mkdir()
    Image.new("RGB", (300, 400), "red").save(tmp_path / "fc" / "style_image" / "suit.jpg")
    host = lora(tmp_path / "Lora" / "sub" / "Suit v2.1.safetensors").parent
    [style] = import_styles(workspace, tmp_path / "fc", lora_files([host])).styles
    assert (style.id, style.name, style.weight, style.family) == ("men-suit", "西装(Suit)", 0.35, "sd1")
    assert style.prompt == "photo of {person}, tailored suit, man, city, tie"
    assert style.lora == "Suit v2.1"
    for said in ("flattened", "other LoRAs", "name man", "starting points", "0.95"):
        assert said in style.note
    assert "someone/suits" in style.source
    assert style.licence == "not stated"
    with Image.open(style.thumbnail) as picture:
        assert picture.convert("RGB").getpixel((90, 70))[0] > 200, "its own picture"
    again = next(s for s in load_styles(workspace.styles, loras=lambda: lora_files([host])) if s.id == style.id)
    assert again.lora_file == host / "Suit v2.1.safetensors", "used where it lies, not copied"


def test_without_its_lora_a_style_works_by_words_and_says_which_is_missing(workspace, tmp_path):
    done = import_styles(workspace, style_file(tmp_path), {}, keep_weights=True)
    [style] = done.styles
    assert style.lora is None
    assert "(tailored suit:1.3)" in style.prompt
    assert "Suit v2.1.safetensors is not in your LoRA folder" in " ".join(done.notes["men-suit"])
    [plain] = import_styles(workspace, style_file(tmp_path, "Plain", model_id=None, revision=None, bin_file=None), {}).styles
    assert plain.lora is None
    assert "LoRA folder" not in plain.note
    lora(tmp_path / "Lora" / "Suit v2.1.safetensors")
    assert import_styles(workspace, style_file(tmp_path), lora_files([tmp_path / "Lora"])).styles[0].lora == "Suit v2.1", "imported again, in its place"
    assert len([s for s in load_styles(workspace.styles) if s.own]) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bin_file": "../../x.safetensors"}, "'bin_file'"),
        ({"bin_file": "C:\\x.safetensors"}, "'bin_file'"),
        ({"img": "../../etc/passwd"}, "'img'"),
        ({"img": "/etc/passwd"}, "'img'"),
        ({"multiplier_style": 3}, "'multiplier_style'"),
        ({"multiplier_human": "1"}, "'multiplier_human'"),
        ({"add_prompt_style": 5}, "must be text"),
    ],
)
def test_what_leads_elsewhere_or_is_wrong_is_refused(workspace, tmp_path, changes, said):
    done = import_styles(workspace, style_file(tmp_path, **changes), {})
    assert done.styles == ()
    assert said in done.refused[0]
    assert not workspace.styles.exists()


def test_the_newest_style_folders_and_easyphotos_scenes(workspace, tmp_path):
    folder = tmp_path / "style_lora" / "Tea House"
    lora(folder / "lora_weights.safetensors")
    (folder / "add_prompt_style.txt").write_text("tea house, paper lamps")
    lora(tmp_path / "scenes" / "snowy.safetensors", ep_lora_version="scene_lora", ep_prompt="['snowy yard, red door', 'other']")
    lora(tmp_path / "scenes" / "person.safetensors", ep_lora_version="person")
    Image.new("RGB", (64, 64), "blue").save(tmp_path / "scenes" / "snowy.jpg")
    done = import_styles(workspace, tmp_path, {})
    by_id = {s.id: s for s in done.styles}
    assert set(by_id) == {"tea-house", "snowy"}
    assert (by_id["tea-house"].weight, by_id["tea-house"].prompt) == (0.8, "photo of {person}, tea house, paper lamps")
    assert by_id["tea-house"].lora_file == workspace.styles / "loras" / "tea-house.safetensors"
    assert by_id["snowy"].prompt == "photo of {person}, snowy yard, red door"
    assert by_id["snowy"].lora_file.exists()
    assert "2 prompts" in done.notes["snowy"][0]
    assert delete_style(workspace, "snowy").id == "snowy"
    assert [f.name for f in workspace.styles.rglob("*snowy*")] == []


def test_a_prompt_in_a_header_is_never_evaluated(tmp_path):
    assert texts_in("__import__('os').system('touch x')") == ["__import__('os').system('touch x')"]
    assert texts_in("[__import__('os')]") == ["[__import__('os')]"]
    assert texts_in("['a', 'b']") == ["a", "b"]
    assert texts_in("") == []
    bad = tmp_path / "x.safetensors"
    for content in (b"", b"\x00" * 7, struct.pack("<Q", 1 << 40) + b"{}", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{}more"):
        bad.write_bytes(content)
        with pytest.raises(FileFormatError):
            read_header(bad)


def test_a_style_travels_as_one_file(workspace, tmp_path):
    made = lora(tmp_path / "mine.safetensors")
    style = save_style(workspace, {"name": "My Garden", "prompt": "{person} in my garden", "licence": "CC0"}, lora=made)
    assert (style.id, style.lora, style.category) == ("my-garden", "my-garden", "own")
    packed = export_style(style, tmp_path, with_lora=True)
    assert packed == tmp_path / "my-garden.facechain-style"
    other = Workspace(tmp_path / "other")
    [back] = import_styles(other, packed, {}).styles
    assert (back.name, back.prompt, back.licence, back.lora) == ("My Garden", "{person} in my garden", "CC0", "my-garden")
    assert back.lora_file.read_bytes() == made.read_bytes()
    assert back.thumbnail.is_file()
    assert import_styles(other, packed, {}).styles[0].id == "my-garden", "the same style, in its place"
    save_style(other, {"id": "twin", "name": "Twin", "prompt": "{person}", "source": "elsewhere"})
    words = export_style(style, tmp_path / "words.facechain-style", with_lora=False)
    assert "did not come along" in next(iter(import_styles(Workspace(tmp_path / "third"), words, {}).notes.values()))[0]


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({MANIFEST: b"{}", "../evil.py": b"x"}, "not a style file"),
        ({"other.json": b"{}"}, "not a style file"),
        ({MANIFEST: b"{}"}, "holds no style"),
        ({MANIFEST: b" " * 60_000_000}, "far more"),
        ({MANIFEST: b"nonsense"}, "damaged"),
        ({MANIFEST: json.dumps({"schema": 1, "id": "x", "name": "X", "category": "x", "prompt": "{person}", "lora": "../x"}).encode()}, "'lora'"),
        ({MANIFEST: json.dumps({"schema": 1, "id": "x", "name": "X", "category": "x", "prompt": "{person}", "lora": "x"}).encode(), LORA: b"\x80\x04pickle"}, "not a safetensors"),
    ],
)
def test_a_bad_style_file_is_refused_and_leaves_nothing(workspace, tmp_path, members, said):
    file = tmp_path / "bad.facechain-style"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    done = import_styles(workspace, file, {})
    assert said in done.refused[0]
    assert done.styles == ()
    assert [p for p in workspace.root.rglob("*") if p.is_file()] == []
    assert not (tmp_path / "evil.py").exists()


def test_ours_stay_as_they_are(workspace):
    with pytest.raises(UserInputError, match="FaceChain's own"):
        delete_style(workspace, "knight")
    with pytest.raises(UserInputError, match="Choose another name"):
        save_style(workspace, {"id": "knight", "name": "Knight", "prompt": "{person}"})
    with pytest.raises(UserInputError, match="exactly once"):
        save_style(workspace, {"name": "Nobody", "prompt": "a house"})
    save_style(workspace, {"name": "House", "prompt": "{person} in a house"})
    with pytest.raises(UserInputError, match="already"):
        save_style(workspace, {"name": "House", "prompt": "{person} in a house"})
    assert save_style(workspace, {"name": "House", "prompt": "{person} at home"}, replace=True).prompt == "{person} at home"


def test_a_folder_without_styles_is_told(workspace, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserInputError, match="no style"):
        import_styles(workspace, tmp_path / "empty", {})
