"""A UNet whose weights are elsewhere until they are needed learns and draws the same, to the last bit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.hosts.offload import OffloadedWeights
from facechain_ext.hosts.standalone import host as standalone
from facechain_ext.hosts.standalone.host import StandaloneSession
from facechain_ext.lora.adapters import flat
from facechain_ext.progress import CancelToken, silent
from facechain_ext.training.loop import Watch, train
from tests.unit.training.host_state import snapshot

CONFIG = TrainConfig(steps=3, rank=2, alpha=2, batch=2, learning_rate=2e-3, resolution=64, previews=1, preview_every=9, save_every=2, keep="last")


def run(host, dataset, folder, config):
    with host.open_session(gradient_checkpointing=config.gradient_checkpointing) as session:
        return train(session, dataset, config, folder, Watch(silent, CancelToken(), lambda _: 0.5))


def same(a, b):
    ours, theirs = flat(a.adapter), flat(b.adapter)
    assert [p.loss for p in a.curve] == [p.loss for p in b.curve]
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert a.previews[0].read_bytes() == b.previews[0].read_bytes()


@pytest.fixture
def few(monkeypatch):
    """Weights are taken away on the CPU too, all of them, and come back one or two at a time."""
    monkeypatch.setattr(standalone, "OFFLOADING", {"cpu"})
    monkeypatch.setattr(standalone, "OffloadedWeights", partial(OffloadedWeights, window=1, least=0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [{}, {"gradient_checkpointing": True, "kind": "dora", "targets": "conv"}, {"kind": "lokr", "text_encoder_rate": 1e-4}],
    ids=["plain", "checkpointed dora", "lokr and text"],
)
def test_the_same_is_learned_and_drawn_with_a_layer_at_a_time(host, dataset, tmp_path, monkeypatch, few, more):
    before, config = snapshot(host), CONFIG.from_dict({**CONFIG.to_dict(), **more})
    whole = run(host, dataset, tmp_path / "whole", config)
    shares = []

    def look(*_):
        layers = [m for m in host.parts().unet.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d)) and not m.weight.requires_grad]
        shares.append(sum(m.weight.device.type != "meta" for m in layers) / len(layers))

    watching = host.parts().unet.mid_block.register_forward_hook(look)
    same(run(host, dataset, tmp_path / "few", replace(config, offload=True)), whole)
    watching.remove()
    assert len(shares) > 3
    assert max(shares) < 0.03
    assert snapshot(host) == before


@pytest.mark.slow
def test_it_is_the_last_way_out_before_a_lower_resolution(host, dataset, tmp_path, monkeypatch, few):
    whole = run(host, dataset, tmp_path / "whole", replace(CONFIG, batch=1, resolution=320, steps=1, previews=0))
    real = StandaloneSession.predict

    def scarce(self, *args):
        if self._offloaded is None:
            raise MemoryError
        return real(self, *args)

    monkeypatch.setattr(StandaloneSession, "predict", scarce)
    outcome = run(host, dataset, tmp_path / "scarce", replace(CONFIG, batch=1, resolution=320, steps=1, previews=0))
    assert [n.split(": ", 1)[1].split(" from here")[0] for n in outcome.notes] == ["gradient checkpointing is on", "the checkpoint's weights wait in main memory"]
    assert outcome.curve[0].loss == pytest.approx(whole.curve[0].loss, rel=1e-5)


def test_where_it_would_free_nothing_it_is_said(host, dataset, tmp_path):
    outcome = run(host, dataset, tmp_path, replace(CONFIG, steps=1, offload=True, previews=0))
    assert "stay where they are" in outcome.notes[0]
