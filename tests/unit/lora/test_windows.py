"""Each region in a window of its own: what one is told and given never reaches another."""

from __future__ import annotations

import functools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facechain_ext.blend import Region
from facechain_ext.lora.regions import Regions
from facechain_ext.lora.windows import STEP, WindowedPrediction, window_around


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 39), st.integers(1, 40), st.sampled_from([8, 16, 64]))
def test_a_window_covers_its_region_and_is_native_where_the_picture_is(height, width, left, wide, native):
    share = torch.zeros(height, width)
    share[:, min(left, width - 1) : left + wide] = 0.5
    found = window_around(share, native)
    inside = torch.zeros_like(share)
    found.of(inside).fill_(1)
    assert inside[share > 0].all()
    assert found.width >= min(native, width)
    assert found.height >= min(native, height)
    assert found.width % STEP == 0 or found.width == width


class Unet(torch.nn.Module):
    """Says what it sees: the mean of its latents everywhere, its words on top."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Size] = []

    def forward(self, sample, timestep, encoder_hidden_states=None):
        self.seen.append(sample.shape)
        return sample.mean(dim=(2, 3), keepdim=True).expand_as(sample) + encoder_hidden_states.mean()


def predicted(latents, told):
    unet, entered = Unet(), []
    regions = Regions([Region((i / 2, 0.0, (i + 1) / 2, 1.0), feather=0.14) for i in range(2)])
    contexts = {i + 1: functools.partial(torch.full_like, fill_value=value) for i, value in enumerate(told)}
    windows = WindowedPrediction(regions, contexts, 16, entered.append)
    handles = [
        unet.register_forward_pre_hook(windows.before, with_kwargs=True),
        unet.register_forward_hook(windows.after, with_kwargs=True),
    ]
    with torch.no_grad():
        found = unet(latents, torch.tensor(5), encoder_hidden_states=torch.zeros(2, 77, 8))
    for handle in handles:
        handle.remove()
    return found, unet.seen, entered


def test_each_region_hears_its_own_words_and_sees_its_own_window():
    torch.manual_seed(1)
    latents = torch.randn(2, 4, 16, 28)
    found, seen, entered = predicted(latents, (100.0, -100.0))
    assert found.shape == latents.shape
    assert seen == [torch.Size([2, 4, 16, 16])] * 2
    assert entered[-1] == 0, "afterwards nobody's LoRA is chosen"
    assert {1, 2} <= set(entered)
    left = latents[..., :16].mean(dim=(2, 3), keepdim=True) + 100
    right = latents[..., 12:].mean(dim=(2, 3), keepdim=True) - 100
    assert torch.allclose(found[..., :12], left.expand(-1, -1, -1, 12 + 4)[..., :12], atol=1e-4)
    assert torch.allclose(found[..., 16:], right.expand(-1, -1, -1, 12), atol=1e-4)
    # From one to the other without a step.
    middle = found[0, 0, 0, 11:17]
    assert (middle.diff() < 0).all()
    assert middle.diff().abs().max() < 60


@pytest.mark.parametrize("side", [0, 1])
def test_nothing_of_one_region_reaches_the_other(side):
    torch.manual_seed(2)
    latents = torch.randn(2, 4, 16, 28)
    here = slice(0, 12) if side == 0 else slice(16, 28)
    there = slice(16, 28) if side == 0 else slice(0, 12)
    before, _, _ = predicted(latents, (1.0, 2.0))
    changed = latents.clone()
    changed[..., there] += 3
    after, _, _ = predicted(changed, (1.0, 50.0) if side == 0 else (50.0, 2.0))
    assert torch.equal(before[..., here], after[..., here])
    assert not torch.allclose(before[..., there], after[..., there])
