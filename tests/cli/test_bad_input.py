"""What a mistake gets: exit code 2, one or two sentences, and a workspace as it was."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

ROOM_TO_LOAD = 900_000
"""Bytes; enough for the temporary files a checkpoint is loaded with."""
SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


def refused(ran, *words: str) -> None:
    """Exit code 2 and a message of one or two sentences that holds ``words``."""
    assert ran.code == 2, (ran.code, ran.err)
    assert "Traceback" not in ran.err
    assert "unexpected" not in ran.err
    assert 1 <= len(SENTENCE_END.findall(ran.sentence)) <= 2, ran.sentence
    for word in words:
        assert word.lower() in ran.sentence.lower(), ran.sentence


def files_only(found: dict[str, str]) -> dict[str, str]:
    """Without the folders."""
    return {k: v for k, v in found.items() if v != "folder"}


def noise(folder: Path) -> Path:
    """A picture without a face."""
    pixels = np.random.default_rng(1).integers(0, 255, (240, 240, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "noise.png")
    return folder


def truncated(folder: Path, photo: Path) -> Path:
    """A JPEG cut off in its first third."""
    whole = folder / "whole.jpg"
    Image.open(photo).convert("RGB").resize((400, 480)).save(whole)
    data = whole.read_bytes()
    whole.unlink()
    (folder / "cut.jpg").write_bytes(data[: len(data) // 3])
    return folder


def text_as_jpeg(folder: Path) -> Path:
    """Text under a picture's name."""
    (folder / "letter.jpg").write_text("Dear Charles, the engine weaves algebraical patterns.\n" * 20)
    return folder


def sdxl_lora(file: Path) -> Path:
    """A LoRA with SDXL's keys, in kohya's format."""
    tensors = {}
    for name, width in (
        ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", 768),
        ("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", 1280),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", 640),
    ):
        tensors[f"{name}.lora_down.weight"] = torch.zeros(4, width)
        tensors[f"{name}.lora_up.weight"] = torch.zeros(width, 4)
        tensors[f"{name}.alpha"] = torch.tensor(4.0)
    save_file(tensors, file, {"ss_base_model_version": "sdxl_base_v1-0"})
    return file


@pytest.fixture
def untouched(made, snapshot) -> Callable[..., object]:
    """Run on the shared workspace and see that it stayed as it was."""

    def run(*words: object) -> object:
        before = snapshot(made.root)
        ran = made.cli(*words)
        assert snapshot(made.root) == before
        return ran

    return run


@pytest.mark.parametrize(
    ("kind", "words"),
    [("empty", ("no photos",)), ("noise", ("no face",)), ("cut", ("cut.jpg",)), ("text", ("letter.jpg",)), ("missing", ("nowhere",))],
)
def test_photos_that_cannot_be_used(kind: str, words: tuple[str, ...], untouched, person: str, tmp_path: Path, photos) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    given = {
        "empty": lambda: folder,
        "noise": lambda: noise(folder),
        "cut": lambda: truncated(folder, photos[0]),
        "text": lambda: text_as_jpeg(folder),
        "missing": lambda: tmp_path / "nowhere",
    }[kind]()
    refused(untouched("prepare", given, "--person", person), *words)


def test_a_new_person_without_usable_photos_is_not_stored(empty, tmp_path: Path, snapshot) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    ran = empty("prepare", noise(folder), "--person", "Nobody", "--json")
    refused(ran, "face")
    assert ran.json["accepted"] == 0
    assert ran.json["photos"][0]["reasons"]
    assert snapshot(empty.root) == {}


@pytest.mark.parametrize("name", ["../../x", "CON", "", "x" * 200])
def test_names_that_cannot_be_folders(name: str, untouched, photos) -> None:
    refused(untouched("prepare", photos[0], "--person", name), "name")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text.safetensors", ("text.safetensors",)),
        ("model.ckpt", ("pickle",)),
        ("model.pt", ("pickle",)),
        ("lora.safetensors", ("LoRA",)),
        ("missing.safetensors", ("missing.safetensors",)),
    ],
)
def test_bases_that_are_no_checkpoints(kind: str, words: tuple[str, ...], untouched, made, person: str, tmp_path: Path) -> None:
    base = tmp_path / kind
    if kind == "text.safetensors":
        base.write_text("this is not a checkpoint\n" * 100)
    elif kind.startswith("model"):
        torch.save({"state_dict": {"x": torch.zeros(2)}}, base)
    elif kind == "lora.safetensors":
        shutil.copy(made.trained.json["lora"], base)
    refused(untouched("train", "--person", person, "--base", base, "--steps", 2), *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prepare", "--person", "Ada Lovelace", "--framing", "cinema", "x.png"), ("framing", "Upper body")),
        (("train", "--person", "Grace Hopper", "--steps", "2"), ("Grace Hopper", "Ada Lovelace")),
        (("train", "--person", "Ada Lovelace", "--steps", "0"), ("steps",)),
        (("train", "--person", "Ada Lovelace", "--steps", "-1"), ("steps",)),
        (("train", "--person", "Ada Lovelace", "--learning-rate", "10"), ("learning_rate", "0.1")),
        (("train", "--person", "Ada Lovelace", "--rank", "0"), ("rank", "1 and 256")),
        (("train", "--person", "Ada Lovelace", "--continue-from", "nonsuch"), ("nonsuch", "Ada_Lovelace")),
        (("train", "--person", "Ada Lovelace", "--memory", "7"), ("memory", "8 GB")),
        (("train", "--person", "Ada Lovelace", "--resume"), ("resume",)),
        (("train", "--person", "Ada Lovelace", "--base", "nonsuch"), ("nonsuch", "tiny-faces")),
        (("generate", "--person", "Grace Hopper"), ("Grace Hopper",)),
        (("generate", "--person", "Ada Lovelace", "--style", "nonsuch"), ("nonsuch", "style")),
        (("generate", "--person", "Ada Lovelace", "--size", "10"), ("size", "512x768")),
        (("generate", "--person", "Ada Lovelace", "--size", "axb"), ("size", "512x768")),
        (("generate", "--person", "Ada Lovelace", "--size", "100x100"), ("width", "height")),
        (("generate", "--person", "Ada Lovelace", "--count", "0"), ("count",)),
        (("people", "show", "Grace Hopper"), ("Grace Hopper",)),
        (("people", "delete", "Grace Hopper", "--yes"), ("Grace Hopper",)),
        (("people", "export", "../../x"), ("name",)),
        (("bench", "blend", "--seed", "99999999999999999999"), ("seed", "4294967295")),
        (("bench", "people", "--seed", "4294967299"), ("seed", "4294967295")),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(words: tuple[str, ...], said: tuple[str, ...], untouched) -> None:
    refused(untouched(*words), *said)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"learning_rat": 0.001}', ("learning_rat", "did you mean 'learning_rate'")),
        ('{"steps": "many"}', ("steps", "whole number")),
        ("[1, 2]", ("object",)),
        ("steps = 3", ("JSON",)),
    ],
)
def test_settings_files(text: str, words: tuple[str, ...], untouched, person: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.json"
    file.write_text(text)
    refused(untouched("train", "--person", person, "--config", file), *words)


def test_a_lora_of_another_family_is_not_applied(copied, person: str, snapshot) -> None:
    [lora] = (copied.root / "people" / person / "loras").iterdir()
    sdxl_lora(lora)
    before = snapshot(copied.root)
    refused(copied("generate", "--person", person, "--count", 1, "--steps", 1), "SDXL", "Stable Diffusion 1")
    assert snapshot(copied.root) == before


@pytest.mark.parametrize("room", [2000, 18000], ids=["no crop fits", "the manifest does not fit"])
def test_full_disk_while_preparing(room: int, copied, person: str, photos, snapshot) -> None:
    before = snapshot(copied.root)
    refused(copied("prepare", *photos, "--person", person, "--trigger", "another", largest_file=room), "disk")
    assert snapshot(copied.root) == before


def test_full_disk_while_preparing_a_new_person(empty, photos) -> None:
    refused(empty("prepare", *photos[:2], "--person", "Somebody", largest_file=2000), "disk")
    assert empty.good("people", "list", "--json").json == {"people": []}
    assert not [p for p in empty.root.rglob("*") if p.is_file()]


@pytest.mark.parametrize(("room", "save_every", "said"), [(4000, 1, "temporary files"), (ROOM_TO_LOAD, 100, "the LoRA")])
def test_full_disk_while_training(
    room: int, save_every: int, said: str, copied, person: str, snapshot, tmp_path: Path, quick: Path
) -> None:
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({**json.loads(quick.read_text()), "rank": 64, "save_every": save_every}))
    before = files_only(snapshot(copied.root))
    refused(copied("train", "--person", person, "--steps", 2, "--config", file, largest_file=room), "disk", said)
    after = files_only(snapshot(copied.root))
    # Log and summary belong to the training that was begun last.
    told = {f"people/{person}/training/{name}": None for name in ("run.jsonl", "summary.png")}
    assert after | told == before | told


def test_full_disk_while_training_a_style(empty, photos) -> None:
    refused(empty("styles", "train", *photos[:2], "--name", "Greys", "--steps", 2, largest_file=2000), "disk", "the training's pictures")
    assert not list(empty.root.rglob("*.png"))
    refused(empty("styles", "train", "--name", "Greys", "--resume"), "no unfinished training")
    refused(empty("styles", "train", "--name", "Greys"), "--resume")


def test_full_disk_while_generating(copied, person: str, snapshot) -> None:
    """Every portrait has room, the contact sheet of all of them has not."""
    before = files_only(snapshot(copied.root))
    words = ("generate", "--person", person, "--count", 16, "--steps", 1, "--size", "256x256")
    refused(copied(*words, largest_file=ROOM_TO_LOAD), "disk", "the portraits")
    assert files_only(snapshot(copied.root)) == before
