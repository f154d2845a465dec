"""Checkpoints are told by their header; whatever is none is refused with what it is instead."""

import json
import struct

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file

from facechain_ext.errors import FileFormatError
from facechain_ext.hosts.standalone.anatomy import UNET, TextShapes
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.hosts.standalone.inspection import CONTEXT_KEY, inspect, read_header
from facechain_ext.hosts.standalone.sidecar import Sidecar, native, read_sidecar
from facechain_ext.ports import Family, Prediction
from tests.contract.hosts import tiny

TINY = SHIPPED / "tiny-faces.safetensors"


def test_the_embedded_checkpoint_has_sd1s_keys_and_its_own_widths():
    family, shapes = inspect(TINY)
    assert family is Family.SD1
    assert (shapes.unet_channels, shapes.context, shapes.vae_channels) == ((32, 64, 128, 128), 64, (32, 64, 128, 128))
    assert (shapes.texts[0].layers, shapes.texts[0].vocabulary) == (12, 49408)
    header = read_header(TINY)
    assert len(header) == 1131
    assert TINY.stat().st_size <= 40 * 10**6


def test_sd2_has_one_open_clip_encoder_read_before_its_last_layer():
    family, shapes = inspect(tiny("sd2v"))
    assert family is Family.SD2
    assert (shapes.unet_channels, shapes.depths, shapes.context, shapes.vector) == ((32, 64, 128, 128), (1, 1, 1, 0), 64, None)
    assert shapes.texts == (TextShapes(64, 256, 2, 49408),)


def test_sdxl_has_two_encoders_and_three_levels():
    family, shapes = inspect(tiny("sdxl"))
    assert family is Family.SDXL
    assert (shapes.unet_channels, shapes.depths, shapes.context, shapes.vector) == ((32, 64, 128), (0, 1, 2), 192, 128 + 1536)
    assert shapes.texts == (TextShapes(64, 256, 3, 49408), TextShapes(128, 512, 3, 49408, 128))


def test_info_holds_the_hash_webuis_show():
    info = StandaloneHost(TINY).checkpoint
    assert (info.name, info.family, info.prediction, info.resolution) == ("tiny-faces", Family.SD1, Prediction.EPS, 128)
    assert info.short_hash == info.sha256[:10]
    assert len(info.sha256) == 64


@pytest.mark.parametrize(
    ("name", "tensors", "said"),
    [
        ("lora.safetensors", {"lora_unet_x.lora_down.weight": torch.zeros(2)}, "is a LoRA"),
        ("peft.safetensors", {"unet.to_q.lora_A.weight": torch.zeros(2)}, "is a LoRA"),
        ("xl.safetensors", {"conditioner.embedders.0.x": torch.zeros(2)}, "lacks parts of an SDXL"),
        (
            "sd2.safetensors",
            {CONTEXT_KEY: torch.zeros(2, 1024), "cond_stage_model.model.x": torch.zeros(2)},
            "lacks parts of a Stable Diffusion 2",
        ),
        ("refiner.safetensors", {"conditioner.embedders.0.model.ln_final.weight": torch.zeros(2)}, "SDXL refiner"),
        ("sd3.safetensors", {UNET + "joint_blocks.0.x": torch.zeros(2)}, "Stable Diffusion 3"),
        ("flux.safetensors", {"double_blocks.0.img_attn.qkv.weight": torch.zeros(2)}, "Flux"),
        ("depth.safetensors", {"depth_model.model.x": torch.zeros(2)}, "depth-guided"),
        ("unclip.safetensors", {"embedder.model.ln_final.weight": torch.zeros(2)}, "unCLIP"),
        ("playground.safetensors", {"edm_mean": torch.zeros(2), "conditioner.embedders.0.x": torch.zeros(2)}, "Playground"),
        ("lcm.safetensors", {UNET + "time_embed.cond_proj.weight": torch.zeros(2)}, "latent consistency"),
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
def test_what_cannot_be_trained_is_named(tmp_path, name, tensors, said):
    save_file(tensors, tmp_path / name)
    with pytest.raises(FileFormatError, match=said):
        inspect(tmp_path / name)


def test_a_distilled_sdxl_is_refused(tmp_path):
    lacking = UNET + "middle_block.1."
    weights = {k: v for k, v in load_file(tiny("sdxl")).items() if not k.startswith(lacking)}
    save_file(weights, tmp_path / "small.safetensors")
    with pytest.raises(FileFormatError, match="distilled"):
        inspect(tmp_path / "small.safetensors")


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
    assert Sidecar().resolution is None
    sizes = [native(f, p) for f, p in ((Family.SD1, None), (Family.SD2, Prediction.EPS), (Family.SD2, Prediction.V), (Family.SDXL, None))]
    assert sizes == [512, 512, 768, 1024]


def test_a_damaged_sidecar_is_named(tmp_path):
    (tmp_path / "x.facechain.json").write_text('{"schema": 1, "train": {"steps": -4}}')
    with pytest.raises(FileFormatError, match=r"x\.facechain\.json is damaged.*steps"):
        read_sidecar(tmp_path / "x.safetensors")
