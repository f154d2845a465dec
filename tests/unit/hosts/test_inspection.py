"""Checkpoints are told by their header; whatever is none is refused with what it is instead."""

import json
import struct

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file

from facechain_ext.errors import FileFormatError
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.inspection import CONTEXT_KEY, UNET, checkpoint_info, inspect, read_header
from facechain_ext.hosts.standalone.sidecar import Sidecar, read_sidecar
from facechain_ext.ports import Family, Prediction

TINY = SHIPPED / "tiny-faces.safetensors"


def test_the_embedded_checkpoint_has_sd1s_keys_and_its_own_widths():
    family, shapes = inspect(TINY)
    assert family is Family.SD1
    assert (shapes.unet_channels, shapes.context, shapes.vae_channels) == ((32, 64, 128, 128), 64, (32, 64, 128, 128))
    assert (shapes.text_layers, shapes.vocabulary) == (12, 49408)
    header = read_header(TINY)
    assert len(header) == 1131
    assert TINY.stat().st_size <= 40 * 10**6


def test_info_holds_the_hash_webuis_show():
    info = checkpoint_info(TINY, 128)
    assert (info.name, info.family, info.prediction, info.resolution) == ("tiny-faces", Family.SD1, Prediction.EPS, 128)
    assert info.short_hash == info.sha256[:10]
    assert len(info.sha256) == 64


@pytest.mark.parametrize(
    ("name", "tensors", "said"),
    [
        ("lora.safetensors", {"lora_unet_x.lora_down.weight": torch.zeros(2)}, "is a LoRA"),
        ("peft.safetensors", {"unet.to_q.lora_A.weight": torch.zeros(2)}, "is a LoRA"),
        ("xl.safetensors", {"conditioner.embedders.0.x": torch.zeros(2)}, "SDXL"),
        ("sd2.safetensors", {CONTEXT_KEY: torch.zeros(2, 1024), "cond_stage_model.model.x": torch.zeros(2)}, "SD2"),
        ("unet.safetensors", {"down_blocks.0.x": torch.zeros(2)}, "diffusers' layout"),
        ("vae.safetensors", {"encoder.conv_in.weight": torch.zeros(2)}, "not a Stable Diffusion checkpoint"),
        (
            "inpaint.safetensors",
            {CONTEXT_KEY: torch.zeros(2, 768), UNET + "input_blocks.0.0.weight": torch.zeros(2, 9, 3, 3)},
            "inpainting",
        ),
        ("half.safetensors", {CONTEXT_KEY: torch.zeros(2, 768), UNET + "input_blocks.0.0.weight": torch.zeros(2, 4, 3, 3)}, "lacks parts"),
    ],
)
def test_what_is_no_sd1_checkpoint_is_named(tmp_path, name, tensors, said):
    save_file(tensors, tmp_path / name)
    with pytest.raises(FileFormatError, match=said):
        inspect(tmp_path / name)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
def test_pickles_are_refused_unread(tmp_path, suffix):
    with pytest.raises(FileFormatError, match="pickle"):
        inspect(tmp_path / f"never-there{suffix}")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a safetensors"),
        (b"hello", "not a safetensors"),
        (struct.pack("<Q", 2**60) + b"{}", "not a safetensors"),
        (struct.pack("<Q", 4) + b"[1] " + b"\0" * 9, "not a safetensors"),
        (struct.pack("<Q", 30) + json.dumps({"a": {"dtype": "F16"}}).ljust(30).encode(), "not a safetensors"),
    ],
)
def test_other_files_are_refused(tmp_path, data, said):
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(FileFormatError, match=said):
        inspect(tmp_path / "x.safetensors")


def test_a_cut_file_says_so(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(TINY.read_bytes()[:-1000])
    with pytest.raises(FileFormatError, match="cut off"):
        inspect(tmp_path / "x.safetensors")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileFormatError, match="no file"):
        inspect(tmp_path / "x.safetensors")
    (tmp_path / "y.safetensors").mkdir()
    with pytest.raises(FileFormatError, match="folder"):
        inspect(tmp_path / "y.safetensors")


def test_without_a_sidecar_the_defaults_are_full_sizes(tmp_path):
    assert read_sidecar(tmp_path / "x.safetensors") == Sidecar()
    assert Sidecar().resolution == 512


def test_a_damaged_sidecar_is_named(tmp_path):
    (tmp_path / "x.facechain.json").write_text('{"schema": 1, "train": {"steps": -4}}')
    with pytest.raises(FileFormatError, match=r"x\.facechain\.json is damaged.*steps"):
        read_sidecar(tmp_path / "x.safetensors")
