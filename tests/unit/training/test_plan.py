"""The estimate of memory and work, against what autograd really keeps and torch really counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from facechain_ext.config import TrainConfig
from facechain_ext.lora.naming import FACE_TARGETS, ldm_path, unet_targets
from facechain_ext.lora.network import inject
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Family, Footprint
from facechain_ext.training.frozen import frozen_convolutions
from facechain_ext.training.plan import CONTENDERS, SAFETY, estimate, forward_operations, operations, peak_bytes, transformed_bytes

CROSS, PLAIN = "CrossAttn{}Block2D", "{}Block2D"
SD = {"down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3}
TOPOLOGIES = {
    Family.SD1: {**SD, "block_out_channels": (64, 128, 256, 256), "cross_attention_dim": 64, "attention_head_dim": 8},
    Family.SD2: {
        **SD,
        "block_out_channels": (64, 128, 256, 256),
        "cross_attention_dim": 64,
        "attention_head_dim": (1, 2, 4, 4),
        "use_linear_projection": True,
    },
    Family.SDXL: {
        "block_out_channels": (64, 128, 256),
        "cross_attention_dim": 64,
        "attention_head_dim": (1, 2, 4),
        "use_linear_projection": True,
        "transformer_layers_per_block": (1, 2, 4),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 32,
        "projection_class_embeddings_input_dim": 6 * 32 + 64,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    },
}


def unet(family: Family) -> UNet2DConditionModel:
    torch.manual_seed(0)
    made = UNet2DConditionModel(sample_size=32, **TOPOLOGIES[family])
    return made.requires_grad_(False)


def footprint(family: Family, module: torch.nn.Module) -> Footprint:
    shapes = {}
    for name, value in module.named_parameters():
        path, _, kind = name.rpartition(".")
        if kind == "weight" and value.ndim > 1:
            try:
                shapes[f"{ldm_path(path, family)}.weight"] = tuple(value.shape)
            except KeyError:
                continue
    heads = 8 if family is Family.SD1 else None
    return Footprint(shapes, 256, "checkpoint", "cpu", 4, None, heads)


def inputs(family: Family, batch: int, side: int) -> dict[str, object]:
    more = {"text_embeds": torch.zeros(batch, 64), "time_ids": torch.zeros(batch, 6)}
    return {
        "sample": torch.randn(batch, 4, side, side),
        "timestep": torch.zeros(batch, dtype=torch.long),
        "encoder_hidden_states": torch.randn(batch, 77, 64),
        "added_cond_kwargs": more if family is Family.SDXL else None,
    }


@contextmanager
def counted(module: torch.nn.Module) -> Iterator[dict[int, torch.Tensor]]:
    """Storages that autograd keeps, the module's own weights left out."""
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        place = value.untyped_storage().data_ptr()
        if place not in own and value.numel():
            kept[place] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        yield kept


@pytest.mark.parametrize("family", list(TOPOLOGIES))
@pytest.mark.parametrize(("batch", "side", "rank"), [(1, 32, 4), (2, 16, 16)])
def test_memory_is_what_autograd_keeps(family: Family, batch: int, side: int, rank: int):
    module = unet(family)
    paths = [name for name, _ in module.named_modules() if FACE_TARGETS.search(name)]
    config = TrainConfig(batch=batch, rank=rank)
    with inject(module, targets=paths, rank=rank, alpha=rank, seed=1, device=torch.device("cpu")) as adapter:
        parameters = sum(p.numel() for p in adapter.parameters())
        with counted(module) as kept:
            module(**inputs(family, batch, side))
    really = sum(v.untyped_storage().nbytes() for v in kept.values()) + 16 * parameters

    said = peak_bytes(footprint(family, module), config, side) / SAFETY

    assert said == pytest.approx(really, rel=0.06)


@pytest.mark.parametrize(("family", "kind", "reach"), [("sd2", "lora", "attention"), ("sd1", "dora", "conv"), ("sd1", "loha", "linear"), ("sd1", "lokr", "conv")])
def test_memory_follows_kind_and_layers(family: str, kind: str, reach: str):
    module = unet(Family(family))
    targets = unet_targets([name for name, _ in module.named_modules()], Family(family), reach=reach)
    config = TrainConfig(batch=2, rank=4, kind=kind, targets=reach)
    with inject(module, targets=targets, rank=4, alpha=4, seed=1, kind=Kind(kind)) as adapter:
        own = sum(p.numel() for p in adapter.parameters())
        with counted(module) as kept:
            module(**inputs(Family(family), 2, 16))
    really = sum(v.untyped_storage().nbytes() for v in kept.values()) + 16 * own

    assert peak_bytes(footprint(Family(family), module), config, 16) / SAFETY == pytest.approx(really, rel=0.06)


@pytest.mark.parametrize("family", list(TOPOLOGIES))
def test_work_is_what_torch_counts(family: Family):
    # On the meta device attention comes apart into products that are counted; the fused one of the CPU is not.
    with torch.device("meta"), torch.no_grad():
        module = unet(family)
        with FlopCounterMode(display=False) as counter:
            module(**inputs(family, 1, 32))

    assert forward_operations(footprint(family, module).shapes, 32) == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_what_settings_do():
    shapes = footprint(Family.SD1, unet(Family.SD1))
    config = TrainConfig(resolution=256, keep="last")

    def memory(**changed: object) -> int:
        return peak_bytes(shapes, replace(config, **changed), (changed.get("resolution") or 256) // 8)  # type: ignore[operator, arg-type]

    assert memory(gradient_checkpointing=True) < memory() / 2
    assert memory(batch=4) == pytest.approx(2 * memory(batch=2), rel=0.1)
    assert memory(resolution=128) < memory() / 2
    assert peak_bytes(replace(shapes, fused_attention=False), config, 32) > 1.5 * memory()
    work = operations(shapes, config, 32)
    assert operations(shapes, replace(config, previews=0), 32) < work
    assert operations(shapes, replace(config, steps=2 * config.steps), 32) == pytest.approx(2 * work, rel=0.01)
    assert operations(shapes, replace(config, accumulation=2), 32) == pytest.approx(operations(shapes, replace(config, batch=2 * config.batch), 32))
    previews = work - operations(shapes, replace(config, previews=0), 32)
    compared = operations(shapes, replace(config, keep="best"), 32) - work
    assert compared == pytest.approx(previews * CONTENDERS / (config.steps // config.preview_every))


def test_an_estimate_says_whether_it_fits():
    shapes = footprint(Family.SD1, unet(Family.SD1))
    config = TrainConfig(resolution=256)

    unknown = estimate(shapes, config, None)
    assert unknown.fits
    assert unknown.seconds is None
    tight = estimate(replace(shapes, free=2**20), config, 1e12, measured=True)
    assert not tight.fits
    assert tight.measured
    assert tight.seconds == pytest.approx(operations(shapes, config, 32) / 1e12)


@pytest.mark.parametrize("family", list(TOPOLOGIES))
def test_transformed_kernels_are_counted(family: Family):
    module = unet(family)
    with frozen_convolutions(module):
        module(**inputs(family, 2, 48))
        forwards = [vars(m)["forward"] for m in module.modules() if "forward" in vars(m)]
        made = sum(k.nbytes for forward in forwards for k in forward._kernels.values())

    assert made > 0
    shapes, config = footprint(family, module), TrainConfig(batch=2)
    assert transformed_bytes(shapes, config, 48) == made
    assert transformed_bytes(shapes, replace(config, gradient_checkpointing=True), 48) == 0
    assert transformed_bytes(replace(shapes, device="cuda"), config, 48) == 0
