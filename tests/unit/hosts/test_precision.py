"""The frozen checkpoint in half precision: what is learned is close to float32's, in float32, and the host is what it was."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.lora.adapters import flat
from facechain_ext.ports import SamplingRequest
from facechain_ext.progress import CancelToken, silent
from facechain_ext.training.loop import Watch, train


def test_in_half_precision_much_the_same_is_learned(dataset, tmp_path):
    host = StandaloneHost(SHIPPED / "tiny-faces.safetensors")

    def picture():
        return next(host.generate(SamplingRequest("a face", "", (5,), 64, 64, 2, 4.0, "Euler"), silent, CancelToken()))

    def learned(precision):
        config = TrainConfig(steps=8, rank=2, alpha=2, learning_rate=2e-3, resolution=64, previews=0, precision=precision)
        with host.open_session(precision=precision) as session:
            outcome = train(session, dataset, config, tmp_path / precision, Watch(silent, CancelToken(), lambda _: 0.5))
            assert {t.dtype for t in flat(outcome.adapter).values()} == {torch.float32}
            return session.dtype, [p.loss for p in outcome.curve], outcome.notes

    before = picture()
    assert learned("auto")[:2] == (whole := learned("fp32"))[:2]
    assert whole[0] is torch.float32
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        found, losses, notes = learned(precision)
        assert (found, notes) == (dtype, ())
        assert losses != whole[1]
        assert losses == pytest.approx(whole[1], rel=0.02)
    assert np.array_equal(picture(), before)
