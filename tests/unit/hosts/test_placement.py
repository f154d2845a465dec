"""What only encodes is nowhere on the device while a step is computed, and pictures are the same as ever."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.hosts.placement import Resting
from facechain_ext.hosts.standalone.host import StandaloneSession
from facechain_ext.ports import SamplingRequest
from facechain_ext.progress import CancelToken, silent
from facechain_ext.training.loop import Watch, train
from tests.unit.training.host_state import snapshot

CONFIG = TrainConfig(steps=3, rank=2, alpha=2, batch=1, resolution=64, previews=1, preview_every=2, save_every=9, keep="last")


def where(module):
    return {t.device.type for t in (*module.parameters(), *module.buffers())}


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "text"), [(0.0, {"meta"}), (1e-4, {"cpu"})], ids=["frozen", "text learns"])
def test_while_a_step_is_computed_only_what_learns_has_memory(host, dataset, tmp_path, monkeypatch, rate, text):
    before, seen, encoding = snapshot(host), [], []
    parts = host.parts()
    forward, encode = parts.unet.forward, parts.vae.encode

    def watched(*args, **kwargs):
        seen.append((torch.is_grad_enabled(), where(parts.vae), where(parts.text_encoder), where(parts.unet)))
        return forward(*args, **kwargs)

    monkeypatch.setattr(parts.unet, "forward", watched)
    monkeypatch.setattr(parts.vae, "encode", lambda *args: encoding.append(where(parts.vae)) or encode(*args))
    config = CONFIG.from_dict({**CONFIG.to_dict(), "text_encoder_rate": rate})
    with host.open_session() as session:
        train(session, dataset, config, tmp_path, Watch(silent, CancelToken(), lambda _: 0.5))
    monkeypatch.undo()
    steps, pictures = [s[1:] for s in seen if s[0]], [s[1:] for s in seen if not s[0]]
    assert steps == [({"meta"}, text, {"cpu"})] * 3
    assert pictures == [({"cpu"}, {"cpu"}, {"cpu"})] * len(pictures) != []
    assert encoding == [{"cpu"}] * 3
    assert snapshot(host) == before


def test_pictures_are_the_same_to_the_last_bit(host, monkeypatch):
    request = SamplingRequest("photo of sks person", "", (5, 6), 64, 64, 3, 4.0, "DPM++ 2M Karras")

    def pictures():
        with host.open_session() as session:
            words = session.encode_prompts(["a face"], [(64, 64)])
            noisy = torch.ones(1, 4, 8, 8)
            predicted = session.predict(noisy, torch.tensor([500]), words)
            first = list(session.preview(request, CancelToken()))
            again = session.predict(noisy, torch.tensor([500]), words)
            assert isinstance(session, StandaloneSession)
            return [*first, *session.preview(request, CancelToken()), predicted.numpy(), again.numpy()]

    with torch.no_grad():
        moved = pictures()
        monkeypatch.setattr(Resting, "leave", lambda self: None)
        stayed = pictures()
    assert all(np.array_equal(a, b) for a, b in zip(moved, stayed, strict=True))


def test_the_very_same_objects_come_back():
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    before = [(id(t), t.clone(), t.requires_grad) for t in (*module.parameters(), *module.buffers())]
    resting = Resting(module, torch.device("cpu"))
    resting.leave()
    resting.leave()
    assert resting.away
    with pytest.raises(RuntimeError):
        module(torch.ones(4, 3))
    resting.back()
    resting.back()
    after = [(id(t), t.clone(), t.requires_grad) for t in (*module.parameters(), *module.buffers())]
    assert not resting.away
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) and a[2] == b[2] for a, b in zip(before, after, strict=True))
