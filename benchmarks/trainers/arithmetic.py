"""Operations of one training step and the machine's speed, as JSON: ``arithmetic.py CHECKPOINT RESOLUTION RANK``. The floor of a step is one over the other."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]

from facechain_ext.hosts.standalone.host import StandaloneHost  # noqa: E402
from facechain_ext.lora.network import inject  # noqa: E402

WIDTH = 2048


def operations(checkpoint: Path, resolution: int, rank: int) -> int:
    """Floating-point operations of forward and backward of one sample, two for each multiplication with addition."""
    side = resolution // 8
    with StandaloneHost(checkpoint).open_session() as session:
        targets = list(session.lora_targets())
        with inject(session.unet, targets=targets, rank=rank, alpha=float(rank), seed=1, device=session.device):
            words = session.encode_prompts(["photo of sks person"], [(resolution, resolution)])
            with FlopCounterMode(display=False) as counter:
                noisy = torch.randn(1, 4, side, side, device=session.device, dtype=session.dtype)
                session.predict(noisy, torch.tensor([500], device=session.device), words).square().mean().backward()
    return counter.get_total_flops()


def speed() -> float:
    """Operations per second of a product of two large float32 matrices, the median of several."""
    torch.set_num_threads(1)
    a, b = torch.randn(WIDTH, WIDTH), torch.randn(WIDTH, WIDTH)
    seconds = []
    for _ in range(8):
        began = time.process_time()
        torch.mm(a, b)
        seconds.append(time.process_time() - began)
    return 2 * WIDTH**3 / statistics.median(seconds[1:])


if __name__ == "__main__":
    print(json.dumps({"operations": operations(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), "speed": speed()}))
