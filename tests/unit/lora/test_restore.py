"""What a training learned comes back from its file as it was, whatever the kind."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from facechain_ext.errors import UserInputError
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin, read_lora, write_tensors
from facechain_ext.lora.network import inject
from facechain_ext.lora.restore import learned_in
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Family, Prediction

LAYERS = {"0": "lora_unet_down_blocks_0_attentions_0_proj_in", "1": "lora_unet_down_blocks_0_attentions_0_proj_out"}
ORIGIN = LoraOrigin("test", Family.SD1, Prediction.EPS, "tiny", "0" * 64, 3.0, 4, 1, 64, "sks", ["sks"], 1)


def learned(kind: Kind, rank: int, alpha: float):
    """A state of ``kind`` with random values, on a linear layer and a convolution."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(48, 64), torch.nn.Conv2d(16, 32, 3))
    with inject(model, targets=LAYERS, rank=rank, alpha=alpha, seed=2, kind=kind) as adapter:
        state = adapter.copied()
    draw = torch.Generator().manual_seed(3)
    return {name: {key: torch.randn(t.shape, generator=draw) * 0.1 for key, t in tensors.items()} for name, tensors in state.items()}


@pytest.mark.parametrize(("rank", "alpha"), [(4, 3.0), (4, 4.0), (64, 16.0)])
@pytest.mark.parametrize("kind", Kind)
def test_a_file_gives_back_what_was_learned(kind, rank, alpha, tmp_path):
    state = learned(kind, rank, alpha)
    file = tmp_path / "test.safetensors"
    write_adapter(file, state, dataclasses.replace(ORIGIN, rank=rank, alpha=alpha), kind, "conv")
    found = learned_in(read_lora(file))
    assert found.kind is kind
    assert found.text_rank is None
    wholes = kind is Kind.LOKR and not any("lokr_w2_b" in tensors for tensors in state.values())
    # Of whole factors alone a file shows the product with the scale: with a scale of 1 it is the same update.
    assert (found.rank, found.alpha) == (rank, rank if wholes else alpha)
    for name, tensors in state.items():
        assert found.state[name].keys() == tensors.keys()
        for key, tensor in tensors.items():
            expected = tensor * alpha / rank if wholes and key == "lokr_w1" else tensor
            assert torch.allclose(found.state[name][key], expected, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"a.diff": torch.ones(4, 4)}, "whole differences"),
        ({"a.lora_down.weight": torch.ones(2, 4), "a.lora_up.weight": torch.ones(4, 2), "b.diff": torch.ones(4, 4)}, "whole differences"),
        ({f"{n}.lora_{side}.weight": torch.ones(*((r, 4) if side == "down" else (4, r))) for n, r in (("a", 2), ("b", 3)) for side in ("down", "up")}, "ranks"),
        ({"a.lora_down.weight": torch.ones(2, 4), "a.lora_up.weight": torch.ones(4, 2), "a.dora_scale": torch.ones(4, 1)}, "for each output"),
    ],
)
def test_what_no_training_here_has_is_refused(tensors, said, tmp_path):
    file = tmp_path / "other.safetensors"
    name = {"a": LAYERS["0"], "b": LAYERS["1"]}
    write_tensors(file, {f"{name[key[0]]}{key[1:]}": tensor for key, tensor in tensors.items()}, ORIGIN)
    with pytest.raises(UserInputError, match=said):
        learned_in(read_lora(file))
