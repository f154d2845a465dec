"""The precisions of ``TrainConfig.precision`` as torch knows them."""

from __future__ import annotations

import torch

from facechain_ext.errors import HostError

AUTO = "auto"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(precision: str, there: torch.dtype) -> None:
    """Refuse another precision than the one a WebUI has loaded its checkpoint in, which is not ours to change.

    Raises:
        HostError: with what to change.
    """
    if precision != AUTO and DTYPES[precision] is not there:
        name = next((known for known, dtype in DTYPES.items() if dtype is there), str(there).removeprefix("torch."))
        raise HostError(
            f"The WebUI has its checkpoint loaded in {name}, not {precision}, and a training takes it as it is. "
            "Set precision to auto, start the WebUI with other options (--no-half is fp32), or train in the standalone program."
        )
