"""Whatever is wrong with a LoRA file, reading it says so in a sentence; no other exception reaches the user."""

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import read_lora

NAME = "lora_unet_mid_block_attentions_0_proj_in"
WHOLE = save(
    {
        f"{NAME}.lora_down.weight": torch.arange(32, dtype=torch.float16).view(4, 8),
        f"{NAME}.lora_up.weight": torch.arange(24, dtype=torch.float16).view(6, 4),
        f"{NAME}.alpha": torch.tensor(4.0, dtype=torch.float16),
    },
    {"ss_base_model_version": "sd_v1", "ss_network_dim": "4"},
)


def halves(down, up, alpha=None):
    found = {f"{NAME}.lora_down.weight": down, f"{NAME}.lora_up.weight": up}
    return found if alpha is None else found | {f"{NAME}.alpha": alpha}


@pytest.mark.parametrize(
    "tensors",
    [
        halves(torch.zeros(4, 8), torch.zeros(6)),
        halves(torch.zeros(()), torch.zeros(6, 1)),
        halves(torch.zeros(4), torch.zeros(6, 4)),
        halves(torch.zeros(0, 8), torch.zeros(6, 0)),
        halves(torch.zeros(4, 8), torch.zeros(6, 4), torch.zeros(3)),
        halves(torch.zeros(4, 8), torch.zeros(6, 4), torch.tensor(float("nan"))),
        halves(torch.zeros(4, 8), torch.zeros(6, 4), torch.tensor(float("inf"))),
        {f"{NAME}.lora_down.weight": torch.zeros(4, 8)},
    ],
    ids=["flat up", "scalar down", "flat down", "rank 0", "three alphas", "alpha not a number", "endless alpha", "no up"],
)
def test_misshapen_halves_are_damage(tensors, tmp_path):
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(FileFormatError, match=rf"x\.safetensors is damaged.*{NAME}"):
        read_lora(tmp_path / "x.safetensors")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_are_read_or_refused(tmp_path_factory, changes):
    data = bytearray(WHOLE)
    for place, value in changes:
        data[place] = value
    file = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    file.write_bytes(data)
    try:
        lora = read_lora(file)
    except FileFormatError:
        return
    assert all(m.up.shape[1] == m.down.shape[0] == m.rank > 0 for m in lora.modules.values())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_every_cut_is_noticed(tmp_path_factory, length):
    file = tmp_path_factory.getbasetemp() / "cut.safetensors"
    file.write_bytes(WHOLE[:length])
    with pytest.raises(FileFormatError, match="cut off"):
        read_lora(file)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin", ".pkl", ".PT"])
def test_pickles_are_refused_unread(suffix, tmp_path):
    with pytest.raises(FileFormatError, match="pickle"):
        read_lora(tmp_path / f"never-there{suffix}")


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "x.safetensors").mkdir()
    with pytest.raises(FileFormatError, match=r"x\.safetensors"):
        read_lora(tmp_path / "x.safetensors")
