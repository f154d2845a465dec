"""What a training will take, told before it starts: memory from the checkpoint's own shapes, time from its arithmetic and this machine's speed.

The counts of saved activations were read off autograd's saved tensors, module by module (tests/unit/training/test_plan.py does it again).
No torch, so that a page can ask without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod

from facechain_ext.config import TrainConfig
from facechain_ext.ports import Estimate, Footprint
from facechain_ext.training.layers import TEXT_TOKENS, Layer, chosen, kept, layers, parameters
from facechain_ext.training.ways import kernel_bytes, way

LORA_BYTES = 16
"""Per LoRA parameter: weight, gradient and two moments in float32."""
RESBLOCK, TRANSFORMER, BLOCK, FEED_FORWARD = 3.0, 3.0, 28.3, 5.0
"""Elements saved for the backward pass: per channel in and out of a residual block, per channel and token of a spatial transformer
and of each transformer block in it; of the latter those that only an adapter on the feed-forward layers needs."""
UPSAMPLE, DOWNSAMPLE = 4.0, 1.0
MIXED = 2.2
"""Bytes of an activation in half precision, since norms keep theirs in float32; not measured on a GPU yet."""
SAFETY = 1.15
"""Allocators round up and fragment; mixed precision keeps some activations in float32."""
GPU_WORKSPACE = 300 * 2**20
"""Bytes that cuDNN and cuBLAS keep for themselves."""
CPU_WORKSPACE, HEAP = 50 * 2**20, 1.28
"""Of a training on a CPU: resident bytes whatever the settings, and for each byte that is kept for the backward pass. glibc's heap (2.36)
does not put aligned blocks where others of that size have gone. Fitted to what benchmarks/memory.py measured at three resolutions, two
batches and two ranks."""
LEAN_WORKSPACE, LEAN_HEAP, LEAN_PIXEL = 195 * 2**20, 0.37, 2400
"""The same with gradient checkpointing, for each byte that would be kept without it; and for each pixel, which the autoencoder and the
layers that are computed again take for a moment."""
OFFLOAD_WINDOW = 256 * 2**20
"""Bytes of weights on the graphics card at a time where the others wait in main memory: two of the largest there are, in float32."""
PREVIEW_STEPS = 20
CONTENDERS = 3
"""LoRAs compared at the end: the last step's, the best preview's and the mean of the best."""
SMALLEST = 256
"""px; faces are lost below."""
UPSAMPLED = re.compile(r"output_blocks\.\d+\.\d\.conv\.")
"""Convolutions that run after the picture has grown."""
BLOCK_NAME = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class _Block:
    """One residual block, spatial transformer or resampling, at ``scale`` latents a side per token."""

    scale: int
    saved: float
    """Elements per token kept for the backward pass."""
    kept: float
    """Elements per token kept when activations inside are computed again."""
    layers: tuple[Layer, ...]
    """What an adapter may be on."""
    text: float = 0.0
    """Elements per sample, of the text's tokens."""
    heads: int = 0
    """Attention heads whose matrices are kept too where attention is not fused; times its depth."""
    feed_forward: float = 0.0
    """Elements per token, of ``saved``, that are not kept where the feed-forward layers do not learn."""


def estimate(footprint: Footprint, config: TrainConfig, speed: float | None, *, measured: bool = False) -> Estimate:
    """What training with ``config`` takes; ``speed`` in floating-point operations per second, None when unknown."""
    work = operations(footprint, config, (config.resolution or footprint.resolution) // 8)
    return Estimate(memory_bytes(footprint, config, Blocks(footprint)), footprint.free, work / speed if speed else None, measured and bool(speed))


class Blocks:
    """What a UNet is made of, read from its shapes once for many settings."""

    def __init__(self, footprint: Footprint) -> None:
        self._all = _blocks(footprint)

    def learning(self, config: TrainConfig) -> list[_Block]:
        """In the order of the forward pass, from the first adapter on: before it nothing needs a gradient."""
        first = next((i for i, b in enumerate(self._all) if chosen(b.layers, config)), 0)
        return self._all[first:]


def memory_bytes(footprint: Footprint, config: TrainConfig, blocks: Blocks) -> int:
    """Bytes at the peak of a training, what is loaded already left out."""
    side = (config.resolution or footprint.resolution) // 8
    if footprint.device == "cpu":
        return _resident_bytes(footprint, config, side, blocks) + footprint.unloaded
    away = footprint.resting
    if config.offload and footprint.offloads:
        away += max(0, weight_bytes(footprint, config) - OFFLOAD_WINDOW)
    # All of it is there at least while photos are encoded.
    return max(footprint.unloaded, peak_bytes(footprint, config, side, blocks) + GPU_WORKSPACE + footprint.unloaded - away)


def bytes_each(footprint: Footprint, config: TrainConfig) -> float:
    """Bytes of one activation in the precision that ``config`` asks for."""
    return {"fp32": 4.0, "bf16": MIXED, "fp16": MIXED}.get(config.precision, footprint.bytes_each)


def weight_bytes(footprint: Footprint, config: TrainConfig) -> int:
    """Of the UNet's weights in the precision that ``config`` asks for."""
    return (4 if bytes_each(footprint, config) >= 4 else 2) * sum(prod(shape) for shape in footprint.shapes.values())


def peak_bytes(footprint: Footprint, config: TrainConfig, side: int, known: Blocks | None = None) -> int:
    """Bytes at the peak of a step on latents of ``side``, weights that are loaded already left out."""
    blocks = (known or Blocks(footprint)).learning(config)
    saved = sum(_elements(b, side, config, footprint, whole=True) for b in blocks)
    if config.gradient_checkpointing:
        inside = max((_elements(b, side, config, footprint, whole=True) for b in blocks), default=0.0)
        saved = sum(_elements(b, side, config, footprint, whole=False) for b in blocks) + inside
    return ceil(SAFETY * (saved * config.batch * bytes_each(footprint, config) + LORA_BYTES * parameters(layers(footprint.shapes), config)))


def _resident_bytes(footprint: Footprint, config: TrainConfig, side: int, blocks: Blocks) -> int:
    """As ``peak_bytes``, but what the process holds on a CPU: the heap's holes counted too."""
    saved = sum(_elements(b, side, config, footprint, whole=True) for b in blocks.learning(config)) * config.batch * bytes_each(footprint, config)
    heap = CPU_WORKSPACE + HEAP * saved
    if config.gradient_checkpointing:
        heap = LEAN_WORKSPACE + LEAN_HEAP * saved + LEAN_PIXEL * (8 * side) ** 2
    learnt = LORA_BYTES * parameters(layers(footprint.shapes), config)
    return ceil(heap + learnt + transformed_bytes(footprint, config, side))


def transformed_bytes(footprint: Footprint, config: TrainConfig, side: int) -> int:
    """Bytes of the kernels that a training on a CPU keeps transformed (``winograd``), for latents of ``side``."""
    if footprint.device != "cpu" or bytes_each(footprint, config) < 4 or config.gradient_checkpointing:
        return 0
    scales, total = _scales(footprint.shapes), 0
    for name, shape in footprint.shapes.items():
        if len(shape) == 4 and tuple(shape[2:]) == (3, 3) and ".op." not in name:
            cells = ceil(side / scales.get(_place(name), 1)) * (2 if UPSAMPLED.search(name) else 1)
            many, few = shape[:2]
            total += kernel_bytes(way(config.batch, few, many, (cells, cells), tiles=True), few, many)
    return total


def operations(footprint: Footprint, config: TrainConfig, side: int) -> float:
    """Floating-point operations of the whole training, previews included."""
    forward = forward_operations(footprint.shapes, side)
    # The base is frozen: backward computes gradients of activations only, as much again as forward.
    step = forward * config.batch * config.accumulation * (3 if config.gradient_checkpointing else 2)
    looks = config.steps // config.preview_every + (config.steps % config.preview_every > 0) if config.preview_every else 1
    if config.keep == "best" and config.previews and looks > 1:
        looks += CONTENDERS
    # With and without the prompt.
    picture = forward * 2 * PREVIEW_STEPS
    made = looks * config.previews
    if config.prior_weight:
        # As many class images as photos in each step.
        step, made = 2 * step, made + config.class_images
    return config.steps * step + made * picture


def forward_operations(shapes: Mapping[str, Sequence[int]], side: int) -> float:
    """Floating-point operations of one forward pass for one sample on latents of ``side``."""
    scales = _scales(shapes)
    total = 0.0
    for name, shape in shapes.items():
        tokens = _tokens(side, scales.get(_place(name), 1))
        if len(shape) == 4:
            # A downsampling one gives a smaller picture.
            size = tokens * 4 if UPSAMPLED.search(name) else tokens
            total += 2 * prod(shape) * size
        elif len(shape) == 2 and "transformer_blocks" in name:
            of_text = name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
            total += 2 * prod(shape) * (TEXT_TOKENS if of_text else tokens)
            if name.endswith("to_q.weight"):
                total += 4 * shape[0] * tokens * (TEXT_TOKENS if "attn2" in name else tokens)
    return total


def _elements(block: _Block, side: int, config: TrainConfig, footprint: Footprint, *, whole: bool) -> float:
    tokens = _tokens(side, block.scale)
    if not whole:
        return block.kept * tokens
    found = block.saved * tokens + block.text + kept(block.layers, config, tokens)
    if config.targets == "attention":
        found -= block.feed_forward * tokens
    return found if footprint.fused_attention else found + block.heads * tokens * (tokens + TEXT_TOKENS)


def _blocks(footprint: Footprint) -> list[_Block]:
    """In the order of the forward pass."""
    shapes, scales = footprint.shapes, _scales(footprint.shapes)
    found: list[_Block] = []
    for place in sorted(scales, key=_order):
        scale = scales[place]
        for part in sorted({name[len(place) :].split(".")[0] for name in shapes if name.startswith(place)}):
            head = f"{place}{part}."
            if f"{head}in_layers.2.weight" in shapes:
                out, into = shapes[f"{head}in_layers.2.weight"][:2]
                found.append(_Block(scale, RESBLOCK * (into + out), into, layers(shapes, head)))
            elif f"{head}proj_in.weight" in shapes:
                found.append(_transformer(shapes, head, scale, footprint))
            elif f"{head}op.weight" in shapes:
                found.append(_Block(scale // 2, DOWNSAMPLE * shapes[f"{head}op.weight"][1], 0.0, layers(shapes, head)))
            elif f"{head}conv.weight" in shapes:
                found.append(_Block(scale, UPSAMPLE * shapes[f"{head}conv.weight"][1], 0.0, layers(shapes, head)))
    return found


def _transformer(shapes: Mapping[str, Sequence[int]], head: str, scale: int, footprint: Footprint) -> _Block:
    width = shapes[f"{head}proj_in.weight"][0]
    depth = len({m[1] for name in shapes if (m := re.match(re.escape(head) + r"transformer_blocks\.(\d+)\.", name))})
    heads = footprint.heads or max(1, width // 64)
    return _Block(
        scale,
        (TRANSFORMER + BLOCK * depth) * width,
        (1 + depth) * width,
        layers(shapes, head),
        TEXT_TOKENS * 2.0 * width * depth,
        heads * depth,
        FEED_FORWARD * depth * width,
    )


def _scales(shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Block of the UNet -> latents a side per token: 1, 2, 4 or 8."""
    places = sorted({_place(name) for name in shapes if _place(name)}, key=_order)
    found, scale = {}, 1
    for place in places:
        if f"{place}0.op.weight" in shapes:
            scale *= 2
        found[place] = scale
        if place.startswith("output_blocks") and any(f"{place}{i}.conv.weight" in shapes for i in range(4)):
            scale //= 2
    return found


def _place(name: str) -> str:
    found = BLOCK_NAME.match(name)
    if not found:
        return ""
    return "middle_block." if found[1] == "middle_block" else found[0]


def _order(place: str) -> tuple[int, int]:
    kind = ("input_blocks", "middle_block", "output_blocks").index(place.split(".")[0])
    return kind, int(place.split(".")[1] or 0) if kind != 1 else 0


def _tokens(side: int, scale: int) -> int:
    return ceil(side / scale) ** 2
