"""kohya's train_network.py on a checkpoint of SD1's topology but other widths: ``kohya_narrow.py CHECKOUT SHAPES.json STEPS.jsonl ARGUMENTS…``.

The script runs unchanged; the widths, which it has as constants of its modules, are set to the checkpoint's before. CPU seconds since the model
was loaded are written for every step. Runs in the peer's own environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def narrow(shapes: dict[str, Any]) -> None:
    """Give kohya's modules the widths in ``shapes``."""
    from library import model_util, original_unet  # type: ignore[import-not-found]

    channels = tuple(shapes["unet_channels"])
    original_unet.BLOCK_OUT_CHANNELS = channels
    original_unet.TIMESTEP_INPUT_DIM, original_unet.TIME_EMBED_DIM = channels[0], 4 * channels[0]
    model_util.UNET_PARAMS_MODEL_CHANNELS = channels[0]
    model_util.UNET_PARAMS_CHANNEL_MULT = [c // channels[0] for c in channels]
    model_util.UNET_PARAMS_CONTEXT_DIM, model_util.UNET_PARAMS_NUM_HEADS = shapes["context"], shapes["unet_heads"]
    vae = shapes["vae_channels"]
    model_util.VAE_PARAMS_CH, model_util.VAE_PARAMS_CH_MULT = vae[0], [c // vae[0] for c in vae]
    configuration = model_util.CLIPTextConfig

    def narrower(**given: Any) -> Any:
        values = {"hidden_size": shapes["text_width"], "projection_dim": shapes["text_width"], "intermediate_size": shapes["text_inner"]}
        values |= {"num_hidden_layers": shapes["text_layers"], "num_attention_heads": shapes["text_heads"]}
        return configuration(**(given | values))

    model_util.CLIPTextConfig = narrower


def main() -> None:
    """Command line."""
    checkout, shapes, steps = (Path(word).resolve() for word in sys.argv[1:4])
    sys.path[0] = str(checkout)
    os.chdir(checkout)
    import accelerate
    from library import train_util  # type: ignore[import-not-found]

    narrow(json.loads(shapes.read_text()))
    accumulate, load = accelerate.Accelerator.accumulate, train_util.load_target_model
    began, count, log = 0.0, -1, steps.open("w", buffering=1)

    def loading(*args: Any, **kwargs: Any) -> Any:
        nonlocal began
        found = load(*args, **kwargs)
        began = time.process_time()
        return found

    def finished() -> None:
        nonlocal count
        count += 1
        log.write(json.dumps({"step": count, "cpu": time.process_time() - began}) + "\n")

    @contextlib.contextmanager
    def counted(self: Any, *models: Any) -> Iterator[None]:
        finished()
        with accumulate(self, *models):
            yield

    train_util.load_target_model = loading
    accelerate.Accelerator.accumulate = counted
    sys.argv = ["train_network.py", *sys.argv[4:]]
    runpy.run_path(str(checkout / "train_network.py"), run_name="__main__")
    finished()


if __name__ == "__main__":
    main()
