"""The adapter that the settings ask for, in the UNet and, where they are trained too, the text encoders."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from facechain_ext.config import TrainConfig
from facechain_ext.lora.network import InjectedLora, inject
from facechain_ext.lora.sizes import Kind, scale_of
from facechain_ext.ports import TrainSession
from facechain_ext.training.frozen import frozen_convolutions


@contextlib.contextmanager
def adapted(session: TrainSession, config: TrainConfig) -> Iterator[InjectedLora]:
    """Put it in for as long as the block runs; the UNet's parameters come first, the text encoders' form a group of their own.

    Raises:
        HostError: when the checkpoint cannot take it, or the host cannot train text encoders.
    """
    kind = Kind(config.kind)
    with contextlib.ExitStack() as stack:
        unet = inject(
            session.unet,
            targets=session.lora_targets(config.targets),
            rank=config.rank,
            alpha=config.alpha,
            seed=config.seed,
            kind=kind,
            device=session.device,
        )
        adapter = stack.enter_context(unet)
        stack.enter_context(frozen_convolutions(session.unet, spacious=not config.gradient_checkpointing))
        rank = config.text_rank or config.rank
        for encoder in session.text_encoders() if config.text_encoder_rate else ():
            adapter = adapter.with_text(
                stack.enter_context(
                    inject(
                        encoder.module,
                        targets=encoder.targets,
                        rank=rank,
                        # Such that its scale is the UNet's.
                        alpha=config.alpha * scale_of(kind, config.rank, 1) / scale_of(kind, rank, 1),
                        seed=config.seed + 1,
                        kind=kind,
                        device=session.device,
                    )
                )
            )
        yield adapter
