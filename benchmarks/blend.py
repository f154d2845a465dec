"""What blending costs: two LoRAs merged, taken out, and acting through hooks, on a UNet with SD1.5's topology and random weights.

``python benchmarks/blend.py`` (SD1.5's widths, 4 GB of memory); ``--width 128`` for a smaller one. Times are paired: in each round every
way computes one UNet call, so that a busy machine hits all of them alike; the medians of the ratios count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from facechain_ext.blend import Region, Schedule
from facechain_ext.lora.files import LoraFile
from facechain_ext.lora.kinds import LoraModule
from facechain_ext.lora.live import LiveBlend
from facechain_ext.lora.merge import merged
from facechain_ext.lora.naming import unet_targets
from facechain_ext.ports import Family, LoraWeight

FILE = Path("random.safetensors")


def made(modules: dict[str, Any], rank: int, seed: int) -> LoraFile:
    """A random LoRA of ``rank`` on all 192 layers a face LoRA adapts."""
    draw = torch.Generator().manual_seed(seed)
    updates = {}
    for name, module in modules.items():
        shape = module.weight.shape
        down = torch.randn(rank, *shape[1:], generator=draw) * shape[1] ** -0.5
        updates[name] = LoraModule(down, torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=draw) * 0.01, float(rank))
    return LoraFile(f"random-{seed}", Family.SD1, updates, {})


def timed(act: Callable[[], object]) -> float:
    """Seconds of the processor that ``act`` takes; with one thread (``OMP_NUM_THREADS=1``) other programs hardly change them."""
    begun = time.process_time()
    act()
    return time.process_time() - begun


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=320, help="Channels of the outermost blocks; 320 is SD1.5.")
    parser.add_argument("--side", type=int, default=256, help="px of the picture.")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    widths = tuple(args.width * k for k in (1, 2, 4, 4))
    unet = UNet2DConditionModel(block_out_channels=widths, cross_attention_dim=768, attention_head_dim=8, sample_size=args.side // 8).eval()
    modules = {name: unet.get_submodule(path) for path, name in unet_targets([p for p, _ in unet.named_modules()], Family.SD1).items()}
    loras = [made(modules, args.rank, seed) for seed in (1, 2)]
    before = {key: value.clone() for key, value in unet.state_dict().items()}
    latent, words = torch.randn(2, 4, args.side // 8, args.side // 8), torch.randn(2, 77, 768)

    def call() -> None:
        unet(latent, torch.tensor(500), encoder_hidden_states=words)

    schedule, half = Schedule(0, 1), Region((0, 0, 0.5, 1))
    ways = {
        "hooks, one": [LoraWeight(FILE)],
        "hooks, two": [LoraWeight(FILE), LoraWeight(FILE, 0.5)],
        "hooks, two, one changing each step": [LoraWeight(FILE), LoraWeight(FILE, schedule=schedule)],
        "one merged, one changing each step": [LoraWeight(FILE, schedule=schedule)],
        "hooks, two in regions": [LoraWeight(FILE, region=half), LoraWeight(FILE, region=Region((0.5, 0, 1, 1)))],
    }
    blends = {name: LiveBlend(modules, list(zip(loras, weights, strict=False)), Family.SD1) for name, weights in ways.items()}
    call()
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    plain = []
    for number in range(args.rounds):
        plain.append(timed(call))
        for name, blend in blends.items():
            # As the standalone host does: what stays the same is merged, once for a picture.
            still = merged(modules, [(loras[1], 0.5)]) if name.startswith("one merged") else nullcontext()
            with still, blend.attached(unet):
                blend.at(number, args.rounds)
                taken = timed(call)
            ratios[name].append(taken / plain[-1])
    begun = time.perf_counter()
    with merged(modules, [(loras[0], 1.0), (loras[1], 0.5)]):
        merging = time.perf_counter() - begun
        begun = time.perf_counter()
    taking_out = time.perf_counter() - begun
    print(
        json.dumps(
            {
                "parameters": sum(p.numel() for p in unet.parameters()),
                "call_s": round(statistics.median(plain), 3),
                **{f"{name}, ratio": round(statistics.median(found), 3) for name, found in ratios.items()},
                "merge_two_s": round(merging, 3),
                "take_out_s": round(taking_out, 3),
                "same_bits": all(torch.equal(value, before[key]) for key, value in unet.state_dict().items()),
                "hooks_left": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules()),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
