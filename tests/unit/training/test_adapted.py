"""Kinds, text encoders and the moving average in whole trainings: they learn, resume to the very same and leave the model as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.errors import ConfigError, Paused
from facechain_ext.hosts.standalone.checkpoints import SHIPPED
from facechain_ext.hosts.standalone.host import StandaloneHost
from facechain_ext.lora.adapters import UP, flat
from facechain_ext.lora.export import write_adapter
from facechain_ext.lora.files import LoraOrigin, read_lora
from facechain_ext.lora.network import inject
from facechain_ext.lora.sizes import Kind
from facechain_ext.ports import Family, LoraWeight, Prediction, SamplingRequest
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training.adapted import adapted
from facechain_ext.training.checkpoints import load_state
from facechain_ext.training.ema import MovingAverage
from facechain_ext.training.loop import STATE_FILE, Watch, train
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession, untouched

CONFIG = TrainConfig(
    steps=9, rank=3, alpha=6, batch=2, learning_rate=2e-2, warmup=2, resolution=64, previews=2, preview_every=4, save_every=4, patience=0
)
KINDS = [{"kind": kind.value} for kind in Kind]
WAYS = [*KINDS, {"ema": 0.8}, {"text_encoder_rate": 5e-3, "text_rank": 2}, {"kind": "dora", "text_encoder_rate": 5e-3, "ema": 0.5}]


def run(folder, config, *, token=None, sink=silent, resume=False, session=None):
    session = session or SmallSession()
    with untouched(session):
        return train(session, make_dataset(), config, folder, Watch(sink, token or CancelToken(), lambda _: 0.5), resume=resume)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_it_learns_and_paused_anywhere_it_comes_to_the_very_same(way, tmp_path):
    config = replace(CONFIG, **way)
    whole = run(tmp_path / "whole", config)
    assert whole.curve[0].loss == pytest.approx(run(tmp_path / "plain", replace(CONFIG, steps=1)).curve[0].loss), "no start from nothing"
    longer = run(tmp_path / "long", replace(config, steps=60, previews=0, schedule="constant"))
    assert sum(p.loss for p in longer.curve[-10:]) < 0.9 * sum(p.loss for p in longer.curve[:10])
    token = CancelToken()
    with pytest.raises(Paused):
        run(tmp_path / "part", config, token=token, sink=lambda e: token.pause() if e.stage is Stage.TRAIN and e.step == 5 else None)
    rest = run(tmp_path / "part", config, resume=True)
    assert [p.loss for p in rest.curve] == [p.loss for p in whole.curve]
    ours, theirs = flat(rest.adapter), flat(whole.adapter)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_kinds_without_a_mean_are_compared_step_by_step_and_say_why(tmp_path):
    config = replace(CONFIG, steps=12)
    names = {}
    for kind in ("lora", "lokr", "loha", "dora"):
        choice = run(tmp_path / kind, replace(config, kind=kind)).choice
        names[kind] = [c.name for c in choice.contenders]
        assert ("Single steps were compared: the mean of several" in choice.reason) == (kind in ("loha", "dora"))
    assert [any("mean" in n for n in names[k]) for k in ("lora", "lokr", "loha", "dora")] == [True, True, False, False]


def test_the_average_is_the_one_written_by_hand_and_looking_at_it_changes_nothing():
    session = SmallSession()
    with inject(session.unet, targets=session.lora_targets(), rank=2, alpha=2, seed=1) as adapter:
        average, wanted = MovingAverage(adapter, 0.9), [p.detach().clone() for p in adapter.parameters()]
        draw = torch.Generator().manual_seed(1)
        for step in range(1, 200):
            with torch.no_grad():
                for p in adapter.parameters():
                    p.copy_(torch.randn(p.shape, generator=draw))
            average.update(step)
            keep = min(0.9, step / (step + 9))
            wanted = [keep * w + (1 - keep) * p.detach() for w, p in zip(wanted, adapter.parameters(), strict=True)]
        learning = adapter.copied()
        with average.shown():
            assert all(torch.allclose(p, w, atol=1e-5) for p, w in zip(adapter.parameters(), wanted, strict=True))
        assert all(torch.equal(t, flat(adapter.state())[key]) for key, t in flat(learning).items())
        assert MovingAverage(adapter, 0.0).state() == {}


def test_the_result_is_the_average_and_learning_goes_on_from_the_steps(tmp_path):
    config = replace(CONFIG, steps=8, keep="last", previews=0, save_every=8)
    averaged, plain = run(tmp_path / "a", replace(config, ema=0.9)), run(tmp_path / "b", config)
    assert [p.loss for p in averaged.curve] == [p.loss for p in plain.curve], "the average reached into learning"
    state = load_state(tmp_path / "a" / STATE_FILE)[0]
    ours, last, mean = flat(averaged.adapter), flat(plain.adapter), flat(state.average)
    assert all(torch.equal(ours[key], mean[key]) for key in ours)
    assert all(torch.equal(flat(state.adapter)[key], last[key]) for key in last)
    assert not all(torch.equal(ours[key], last[key]) for key in ours)


def test_text_encoders_learn_at_their_own_rate_and_rank():
    session = SmallSession()
    config = replace(CONFIG, kind="rslora", rank=4, alpha=4, text_rank=1, text_encoder_rate=1e-2)
    with adapted(session, config) as adapter:
        unet, text = adapter.groups()
        assert adapter.adapts_text
        assert [p.shape[0] for p in text[:1]] == [1]
        assert len(unet) == 6
        # rsLoRA's scale is alpha / sqrt(rank): 2 in both.
        assert session.words.inner.scaling["facechain"] == pytest.approx(2.0)
        assert session.unet.first.scaling["facechain"] == pytest.approx(2.0)
    with adapted(session, CONFIG) as adapter:
        assert not adapter.adapts_text


def test_a_real_text_encoder_learns_and_its_file_makes_the_same_pictures(tmp_path):
    host = StandaloneHost(SHIPPED / "tiny-faces.safetensors")
    before = [p.detach().clone() for p in host.parts().text_encoder.parameters()]
    config = replace(CONFIG, steps=3, learning_rate=5e-3, text_encoder_rate=5e-3, previews=0)
    wanted = SamplingRequest("photo of sks person", "", (1,), 64, 64, 3, 3.0, "DDIM")
    with host.open_session() as session:
        outcome = train(session, make_dataset(), config, tmp_path / "t", Watch(silent, CancelToken(), lambda _: None))
        family, layers = session.checkpoint.family, sum(len(encoder.targets) for encoder in session.text_encoders())
        with adapted(session, config) as adapter:
            plain = next(iter(session.preview(wanted, CancelToken())))
            adapter.load_state(outcome.adapter)
            [live] = session.preview(wanted, CancelToken())
    words = {name for name in outcome.adapter if name.startswith("lora_te_text_model_encoder_layers_")}
    assert len(words) == layers > 0
    assert all(float(outcome.adapter[name][UP].abs().max()) > 0 for name in words)
    assert all(torch.equal(a, b) for a, b in zip(before, host.parts().text_encoder.parameters(), strict=True))
    origin = LoraOrigin("t", Family.SD1, Prediction.EPS, "c", "0" * 64, config.alpha, config.rank, 3, 64, "sks", ["sks"], 1)
    write_adapter(tmp_path / "t.safetensors", outcome.adapter, origin, Kind.LORA, dtype=torch.float32)
    assert read_lora(tmp_path / "t.safetensors").family is family
    [merged] = host.generate(replace(wanted, loras=(LoraWeight(tmp_path / "t.safetensors"),)), silent, CancelToken())
    [no_text] = host.generate(replace(wanted, loras=(LoraWeight(tmp_path / "t.safetensors", text=0.0),)), silent, CancelToken())
    assert abs(merged.astype(int) - live).max() <= 2
    assert abs(live.astype(int) - plain).max() > 2
    assert (no_text != merged).any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": 0}, "'rank' must lie between 1 and 256, not 0"),
        ({"kind": "oft"}, "'kind' must be one of lora, rslora, dora, loha, lokr, not 'oft'"),
        ({"targets": "all"}, "'targets' must be one of attention, linear, conv"),
        ({"ema": 1.0}, "'ema' must lie between 0 and 0.9999"),
        ({"ema": 0.9, "optimizer": "schedule-free"}, "'ema' must be 0 with the optimizer schedule-free"),
        ({"text_encoder_rate": 1e-5, "optimizer": "prodigy"}, "'text_encoder_rate' must be 0 with the optimizer prodigy"),
    ],
    ids=str,
)
def test_what_cannot_be_is_said(wrong, said):
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(wrong)
    assert any(said in problem for problem in caught.value.problems)
