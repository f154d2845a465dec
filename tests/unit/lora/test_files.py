"""LoRA files: kohya's format, the same bytes for the same LoRA, hashes other programs agree with, refusals with reasons."""

import hashlib
import json
import struct

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file

from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import LoraOrigin, check_family, read_lora, write
from facechain_ext.ports import Family, Prediction


def origin(**changes):
    values = {
        "name": "Anna",
        "family": Family.SD1,
        "prediction": Prediction.EPS,
        "checkpoint": "tiny",
        "checkpoint_sha256": "ab" * 32,
        "alpha": 8.0,
        "rank": 4,
        "steps": 30,
        "resolution": 128,
        "trigger": "sks",
        "captions": ["photo of sks person, smiling", "photo of sks person"],
        "seed": 1,
    }
    return LoraOrigin(**(values | changes))


@pytest.fixture
def state():
    draw = torch.Generator().manual_seed(1)
    linear = (torch.randn(4, 16, generator=draw), torch.randn(32, 4, generator=draw))
    conv = (torch.randn(4, 16, 3, 3, generator=draw), torch.randn(8, 4, 1, 1, generator=draw))
    return {"lora_unet_mid_block_attentions_0_proj_in": linear, "lora_unet_conv_in": conv}


@pytest.fixture
def file(state, tmp_path):
    write(tmp_path / "Anna.safetensors", state, origin())
    return tmp_path / "Anna.safetensors"


def header_of(file):
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def test_round_trip(file, state):
    lora = read_lora(file)
    assert (lora.name, lora.family, set(lora.modules)) == ("Anna", Family.SD1, set(state))
    for name, (down, up) in state.items():
        module = lora.modules[name]
        assert torch.equal(module.down, down.half())
        assert torch.equal(module.up, up.half())
        assert (module.rank, module.alpha, module.scale) == (4, 8.0, 2.0)


def test_keys_are_kohyas(file, state):
    assert set(load_file(file)) == {name + end for name in state for end in (".lora_down.weight", ".lora_up.weight", ".alpha")}


def test_the_same_lora_gives_the_same_bytes(file, state, tmp_path):
    other = tmp_path / "again.safetensors"
    write(other, dict(reversed(state.items())), origin())
    assert other.read_bytes() == file.read_bytes()


def test_hashes_are_those_other_programs_compute(file):
    header, body = header_of(file)
    meta = header["__metadata__"]
    # A1111 reads sshs_model_hash as the SHA-256 of all behind the header (kohya's addnet_hash_safetensors).
    assert meta["sshs_model_hash"] == hashlib.sha256(body).hexdigest()
    assert len(meta["sshs_legacy_hash"]) == 8


def test_metadata_says_what_cards_show_and_nothing_personal(file, tmp_path):
    meta = header_of(file)[0]["__metadata__"]
    assert meta["ss_base_model_version"] == "sd_v1"
    assert meta["ss_output_name"] == "Anna"
    assert meta["modelspec.trigger_phrase"] == "sks"
    assert json.loads(meta["ss_tag_frequency"]) == {"1_sks": {"photo of sks person": 2, "smiling": 1}}
    assert (meta["ss_network_dim"], meta["ss_network_alpha"], meta["ss_v2"]) == ("4", "8", "False")
    assert all(isinstance(v, str) for v in meta.values())
    text = json.dumps(meta)
    assert str(tmp_path) not in text
    assert "/" not in text.replace(".safetensors", "").replace("stable-diffusion-v1/lora", "")


@pytest.mark.parametrize(
    ("family", "extra"),
    [(Family.SD2, {}), (Family.SDXL, {})],
)
def test_family_is_known_again(state, tmp_path, family, extra):
    write(tmp_path / "x.safetensors", state, origin(family=family, **extra))
    lora = read_lora(tmp_path / "x.safetensors")
    assert lora.family is family
    check_family(lora, family)
    with pytest.raises(FileFormatError, match="same family"):
        check_family(lora, Family.SD1)


def test_family_without_metadata(tmp_path):
    def bare(name, tensors):
        save_file(tensors, tmp_path / name)
        return read_lora(tmp_path / name).family

    down, up = torch.zeros(4, 1024), torch.zeros(320, 4)
    key = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    assert bare("a.safetensors", {key + ".lora_down.weight": down, key + ".lora_up.weight": up}) is Family.SD2
    xl = "lora_unet_input_blocks_4_1_proj_in"
    assert bare("b.safetensors", {xl + ".lora_down.weight": down, xl + ".lora_up.weight": up}) is Family.SDXL


def test_without_alpha_the_scale_is_one(tmp_path):
    save_file(
        {"lora_unet_x.lora_down.weight": torch.zeros(4, 8), "lora_unet_x.lora_up.weight": torch.zeros(8, 4)}, tmp_path / "x.safetensors"
    )
    assert read_lora(tmp_path / "x.safetensors").modules["lora_unet_x"].scale == 1


def test_refusals_say_why(file, tmp_path):
    def refused(name, data, said):
        bad = tmp_path / name
        if isinstance(data, bytes):
            bad.write_bytes(data)
        else:
            save_file(data, bad)
        with pytest.raises(FileFormatError, match=said):
            read_lora(bad)

    refused("x.ckpt", b"\x80\x04", "pickle")
    refused("x.pt", b"\x80\x04", "pickle")
    refused("text.safetensors", b"hello there", "not a safetensors")
    refused("cut.safetensors", file.read_bytes()[:-100], "cut off")
    refused("checkpoint.safetensors", {"model.diffusion_model.x": torch.zeros(2)}, "looks like a checkpoint")
    refused("nothing.safetensors", {"y": torch.zeros(2)}, "holds no LoRA")
    refused("loha.safetensors", {"lora_unet_x.hada_w1_a": torch.zeros(2)}, "LoHa")
    refused("dora.safetensors", {"lora_unet_x.dora_scale": torch.zeros(2)}, "DoRA")
    halves = {"lora_unet_x.lora_down.weight": torch.zeros(4, 8), "lora_unet_x.lora_up.weight": torch.zeros(8, 3)}
    refused("halves.safetensors", halves, "do not fit")
    with pytest.raises(FileFormatError, match="no LoRA file"):
        read_lora(tmp_path / "missing.safetensors")


def test_a_failed_write_leaves_the_older_file(file, state, monkeypatch):
    import facechain_ext.lora.files as module

    before = file.read_bytes()
    monkeypatch.setattr(module, "save", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        write(file, state, origin(steps=99))
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["Anna.safetensors"]
