"""The hashes in our header are what kohya's ``precalculate_safetensors_hashes`` (library/train_util.py) gives for the same LoRA."""

import hashlib
import json
import re
import struct

import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save

from facechain_ext.lora.files import LoraOrigin, content_hashes, read_lora, write
from facechain_ext.ports import Family, Prediction

ORIGIN = LoraOrigin("Zoë", Family.SD1, Prediction.EPS, "tiny", "ab" * 32, 8.0, 64, 30, 128, "sks", ["photo of sks person"], 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Larger than 1 MiB, since the legacy hash looks at the bytes behind the first one."""
    draw = torch.Generator().manual_seed(2)
    state = {
        f"lora_unet_{side}_blocks_1_attentions_0_proj_in": (torch.randn(64, 2048, generator=draw), torch.randn(4096, 64, generator=draw))
        for side in ("down", "up")
    }
    target = tmp_path_factory.mktemp("hashes") / "Zoë.safetensors"
    write(target, state, ORIGIN)
    return target


def test_both_hashes_are_kohyas(file):
    meta = dict(read_lora(file).metadata)
    training = {k: v for k, v in meta.items() if k.startswith("ss_")}
    data = save(load_file(file), training)
    assert len(data) > 0x110000
    (length,) = struct.unpack("<Q", data[:8])
    assert meta["sshs_model_hash"] == hashlib.sha256(data[8 + length :]).hexdigest()
    assert meta["sshs_legacy_hash"] == hashlib.sha256(data[0x100000 : 0x100000 + 0x10000]).hexdigest()[:8]


def test_the_model_hash_survives_other_metadata(file):
    meta = read_lora(file).metadata
    assert content_hashes(save(load_file(file), {"title": "another", "note": "longer header"}))[0] == meta["sshs_model_hash"]


def test_the_header_is_sorted_aligned_and_safetensors_own(file):
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert list(header) == sorted(header)
    assert header["__metadata__"]["ss_output_name"] == "Zoë"
    assert set(header["__metadata__"]) == set(read_lora(file).metadata)


def test_no_path_and_no_file_name_of_a_photo_gets_in(file):
    meta = read_lora(file).metadata
    text = json.dumps(dict(meta))
    assert str(file.parent) not in text
    assert not re.search(r"\.(jpe?g|png|webp|heic)\b", text, re.IGNORECASE)
    assert not {"ss_dataset_dirs", "ss_train_data_dir", "ss_reg_dataset_dirs", "ss_datasets"} & set(meta)
