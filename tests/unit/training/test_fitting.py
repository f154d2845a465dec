"""Settings that fit a memory: the fastest first, the same samples a step, resolution last; and the CPU's estimate against measured peaks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from facechain_ext.config import TrainConfig
from facechain_ext.ports import Family, Footprint
from facechain_ext.training.fitting import fitted
from facechain_ext.training.plan import GPU_WORKSPACE, estimate
from tests.unit.training.test_plan import TOPOLOGIES, footprint

WIDE = {
    Family.SD1: {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768},
    Family.SDXL: {
        "block_out_channels": (320, 640, 1280),
        "cross_attention_dim": 2048,
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "projection_class_embeddings_input_dim": 2816,
        "addition_time_embed_dim": 256,
    },
}
CONFIG = TrainConfig(resolution=512, batch=4, rank=32)


@pytest.fixture(scope="module")
def sizes() -> dict[Family, Footprint]:
    """Footprints at full size on a GPU in half precision; no weight is made."""
    found = {}
    for family, wide in WIDE.items():
        with torch.device("meta"):
            module = UNet2DConditionModel(sample_size=64, **{**TOPOLOGIES[family], **wide})
        found[family] = replace(footprint(family, module), device="a GPU", bytes_each=2.2, resolution=512 if family is Family.SD1 else 1024)
    return found


def needed(of: Footprint, config: TrainConfig) -> int:
    return estimate(of, config, None).memory


def test_as_set_changes_nothing(sizes):
    made = fitted(replace(sizes[Family.SD1], free=1), CONFIG)
    assert (made.config, made.reason, made.fits) == (CONFIG, "", True)


def test_what_fits_stays_as_it_is(sizes):
    made = fitted(replace(sizes[Family.SD1], free=100 * 2**30), replace(CONFIG, memory="auto"))
    assert (made.config, made.fits) == (CONFIG, True)
    assert "as they are" in made.reason


def test_ways_are_taken_in_their_order_and_a_step_keeps_its_samples(sizes):
    """Less and less is free: passes first, then checkpointing with as many photos at once as fit, resolution last, and always fitting."""
    of, seen = sizes[Family.SD1], []
    most = needed(of, CONFIG)
    for tenths in range(10, 0, -1):
        free = GPU_WORKSPACE + (most - GPU_WORKSPACE) * tenths // 10
        made = fitted(replace(of, free=free), replace(CONFIG, memory="auto"))
        way = made.config
        assert way.batch * way.accumulation == 4
        assert way.memory == "as set"
        if made.fits:
            assert needed(of, way) <= free
        seen.append((-(way.resolution or 0), way.gradient_checkpointing, -way.batch))
    assert seen == sorted(seen)
    assert len(set(seen)) >= 5
    assert (-512, False, -2) in seen
    assert any(saving and side == -512 for side, saving, _ in seen)


@pytest.mark.parametrize(("family", "native"), [(Family.SD1, 512), (Family.SDXL, 1024)])
def test_cards_of_each_size(sizes, family, native):
    """A larger card never has smaller settings, and 24 GB train each family at its own size; SD1.5 does in 6 GB too."""
    config = replace(CONFIG, resolution=native)
    made = [fitted(sizes[family], replace(config, memory=f"{gb} GB")) for gb in (6, 8, 12, 24)]
    sides = [m.config.resolution for m in made if m.fits]
    assert made[-1].fits
    assert sides == sorted(sides)
    assert sides[-1] == native
    if family is Family.SD1:
        assert [m.config.resolution for m in made] == [512] * 4
    assert all("GB" in m.reason for m in made)


def test_saved_memory_is_given_back_where_there_is_room(sizes):
    lean = replace(CONFIG, batch=1, accumulation=4, gradient_checkpointing=True, memory="24 GB")
    made = fitted(sizes[Family.SD1], lean)
    assert (made.config.batch, made.config.accumulation, made.config.gradient_checkpointing) == (4, 1, False)


def test_too_little_for_anything_is_said(sizes):
    made = fitted(replace(sizes[Family.SDXL], free=2**20), replace(CONFIG, memory="auto"))
    assert not made.fits
    assert (made.config.batch, made.config.resolution, made.config.gradient_checkpointing) == (1, 256, True)
    assert "Even the leanest settings" in made.reason


MEASURED = [
    (256, 1, 16, False, 1.31),
    (256, 1, 16, True, 0.60),
    (256, 2, 16, False, 2.02),
    (256, 2, 16, True, 0.74),
    (384, 1, 16, False, 2.14),
    (384, 1, 16, True, 1.02),
    (384, 2, 16, True, 1.41),
    (512, 1, 16, False, 3.71),
    (512, 1, 16, True, 1.52),
    (256, 1, 64, False, 1.64),
]
"""GiB beyond the loaded SD1.5-size checkpoint on a CPU (benchmarks/memory.py, 2026-11-25): side, batch, rank, checkpointing, peak."""


@pytest.mark.parametrize(("side", "batch", "rank", "saving", "peak"), MEASURED)
def test_the_cpus_estimate_is_within_a_tenth_of_what_was_measured(sizes, side, batch, rank, saving, peak):
    of = replace(sizes[Family.SD1], device="cpu", bytes_each=4)
    config = TrainConfig(resolution=side, batch=batch, rank=rank, gradient_checkpointing=saving)
    assert needed(of, config) / 2**30 == pytest.approx(peak, rel=0.1)


def test_weights_go_to_main_memory_before_the_resolution_falls(sizes):
    """What is free is too little for activations beside the weights, and the same samples are learned at the same resolution."""
    of, config = replace(sizes[Family.SDXL], offloads=True, free=2 * 2**30), replace(CONFIG, resolution=1024, memory="auto")
    without = fitted(replace(of, offloads=False), config)
    assert (without.config.resolution or 0) < 1024
    tight = fitted(of, config)
    assert (tight.config.offload, tight.config.resolution, tight.config.batch * tight.config.accumulation) == (True, 1024, 4)
    assert "weights in main memory" in tight.reason
    # Encoders that leave the card make room too.
    roomy = fitted(replace(of, resting=2 * 2**30), config)
    assert (roomy.config.offload, roomy.config.resolution) == (False, 1024)


@pytest.mark.parametrize(("precision", "bytes_each"), [("auto", 2.2), ("fp32", 4), ("bf16", 2.2), ("fp16", 2.2)])
def test_activations_take_as_much_as_the_precision_asked_for(sizes, precision, bytes_each):
    of = sizes[Family.SD1]
    assert needed(of, replace(CONFIG, precision=precision)) == needed(replace(of, bytes_each=bytes_each), CONFIG)
