"""The loop's promises for any interruption at any step, on a denoiser that takes milliseconds."""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.config import TrainConfig
from facechain_ext.errors import Cancelled, TrainingError
from facechain_ext.lora.adapters import UP, flat
from facechain_ext.ports import Prediction
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training.checkpoints import load_state
from facechain_ext.training.loop import STATE_FILE, Watch, train
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession, untouched

CONFIG = TrainConfig(steps=12, rank=3, alpha=6, batch=2, learning_rate=1e-2, warmup=2, resolution=64, previews=0, save_every=4)
PHOTOS = make_dataset()


def run(session, folder, config=CONFIG, *, resume=False, sink=silent, token=None, dataset=PHOTOS, score=lambda _: 0.5):
    with untouched(session):
        return train(session, dataset, config, folder, Watch(sink, token or CancelToken(), score), resume=resume)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flat(a.adapter).values(), flat(b.adapter).values(), strict=True))


def at(step, act):
    def sink(event):
        if event.stage is Stage.TRAIN and event.step == step:
            act()

    return sink


@pytest.fixture(scope="module", params=list(Prediction), ids=lambda p: p.value)
def whole(request, tmp_path_factory):
    """The kind of prediction, and an uninterrupted run with it."""
    return request.param, run(SmallSession(request.param), tmp_path_factory.mktemp("whole"))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 11)), min_size=1, max_size=3))
def test_any_interruptions_end_in_the_same_lora(whole, interruptions):
    prediction, wanted = whole
    folder = Path(tempfile.mkdtemp())
    resume = False
    for cancels, step in interruptions:
        token = CancelToken()
        with contextlib.suppress(Cancelled):
            run(SmallSession(prediction), folder, resume=resume, token=token, sink=at(step, token.cancel if cancels else token.stop))
        resume = (folder / STATE_FILE).exists()
    final = run(SmallSession(prediction), folder, resume=resume)
    shutil.rmtree(folder)
    assert (final.steps, final.stopped_early) == (12, False)
    assert same(final, wanted)
    assert final.curve == wanted.curve


@pytest.mark.parametrize(("prediction", "share"), [(Prediction.EPS, 0.6), (Prediction.V, 0.9)])
def test_the_loss_falls(prediction, share, tmp_path):
    config = replace(CONFIG, steps=150, batch=8, rank=8, alpha=8, learning_rate=2e-2, save_every=1000)
    losses = [p.loss for p in run(SmallSession(prediction), tmp_path, config).curve]
    assert sum(losses[-25:]) < share * sum(losses[:25])


def test_each_setting_that_matters_changes_what_is_learned(whole, tmp_path):
    prediction, wanted = whole
    changes = {
        "learning_rate": 2e-2,
        "warmup": 1,
        "weight_decay": 0.5,
        "min_snr_gamma": 1.0,
        "face_weight": 0.0,
        "flip": True,
        "caption_dropout": 0.9,
        "batch": 3,
        "alpha": 3.0,
        "seed": 5,
        "kind": "rslora",
        "ema": 0.5,
        "text_encoder_rate": 1e-3,
    }
    for name, value in changes.items():
        assert not same(run(SmallSession(prediction), tmp_path / name, replace(CONFIG, **{name: value})), wanted), name
    for name, value in {"save_every": 5, "previews": 2, "preview_every": 3, "gradient_checkpointing": True}.items():
        assert same(run(SmallSession(prediction), tmp_path / name, replace(CONFIG, **{name: value})), wanted), name


def by_hand(session, config):
    """The same training written down plainly: no PEFT, no torch.optim, no cache."""
    from facechain_ext.training.batches import photo_indices, step_stream, stratified_timesteps

    unet, alphas, scale = session.unet, session.alphas_cumprod, config.alpha / config.rank
    draw = torch.Generator().manual_seed(config.seed)
    sizes = {"first": ((3, 12), (32, 3)), "second": ((3, 32, 1, 1), (32, 3, 1, 1)), "third": ((3, 32), (4, 3))}
    pairs = {}
    for name, (down, up) in sizes.items():
        bound = 1 / math.sqrt(down[1])
        pairs[name] = [torch.empty(down).uniform_(-bound, bound, generator=draw).requires_grad_(), torch.zeros(up).requires_grad_()]
    flat = [p for pair in pairs.values() for p in pair]
    first, second = ([torch.zeros_like(p) for p in flat] for _ in range(2))
    images = torch.stack([torch.from_numpy(p.image.copy()).permute(2, 0, 1).float() / 127.5 - 1 for p in PHOTOS.photos])
    colours = torch.nn.functional.avg_pool2d(images, 8)
    latent_means = torch.cat([colours, colours.mean(1, keepdim=True)], 1)
    masks = torch.stack([torch.from_numpy(_shrunk(p.mask)).float()[None] / 255 for p in PHOTOS.photos])
    captions = session.encode_prompts([p.caption for p in PHOTOS.photos], [(64, 64)] * 3).context
    nothing = session.encode_prompts([""], [(64, 64)]).context
    for step in range(config.steps):
        source = step_stream(config.seed, step)
        which = photo_indices(config.seed, step, config.batch, 3)
        torch.randint(1, (config.batch,), generator=source)
        dropped = torch.rand(config.batch, generator=source) < config.caption_dropout
        t = stratified_timesteps(config.batch, 100, source)
        x = latent_means[which] + 0.1 * torch.randn(config.batch, 4, 8, 8, generator=source)
        noise = torch.randn(config.batch, 4, 8, 8, generator=source)
        a = alphas[t][:, None, None, None]
        context = torch.stack([nothing[0, :1] if d else captions[i, :1] for i, d in zip(which, dropped, strict=True)])
        weights = {
            n: getattr(unet, n).weight + scale * (pair[1].flatten(1) @ pair[0].flatten(1)).view_as(getattr(unet, n).weight)
            for n, pair in pairs.items()
        }
        changed = {f"{n}.weight": w for n, w in weights.items()}
        output = torch.func.functional_call(unet, changed, (a.sqrt() * x + (1 - a).sqrt() * noise, t, context))
        target = noise if session.checkpoint.prediction is Prediction.EPS else a.sqrt() * noise - (1 - a).sqrt() * x
        snr = alphas[t] / (1 - alphas[t])
        below = snr if session.checkpoint.prediction is Prediction.EPS else snr + 1
        pixels = 1 - config.face_weight + config.face_weight * masks[which]
        pixels = pixels / pixels.mean((1, 2, 3), keepdim=True)
        loss = (
            ((output - target) ** 2 * pixels).mean((1, 2, 3))
            @ (torch.minimum(snr, torch.tensor(config.min_snr_gamma)) / below)
            / config.batch
        )
        gradients = torch.autograd.grad(loss, flat)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        rise = (step + 1) / config.warmup
        along = (step - config.warmup) / (config.steps - config.warmup)
        rate = config.learning_rate * (rise if step < config.warmup else 0.1 + 0.45 * (1 + math.cos(math.pi * along)))
        with torch.no_grad():
            for p, g, m, v in zip(flat, gradients, first, second, strict=True):
                g = g * min(1.0, 1.0 / norm)
                p *= 1 - rate * config.weight_decay
                m += 0.1 * (g - m)
                v += 0.01 * (g**2 - v)
                p -= rate * (m / (1 - 0.9 ** (step + 1))) / ((v / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
    return {name: tuple(p.detach() for p in pair) for name, pair in pairs.items()}


def _shrunk(mask):
    return mask.reshape(8, 8, 8, 8).mean(axis=(1, 3)).round()


@pytest.mark.parametrize("prediction", list(Prediction))
def test_it_is_the_training_one_would_write_by_hand(prediction, tmp_path):
    config = replace(CONFIG, steps=10, caption_dropout=0.3)
    found = run(SmallSession(prediction), tmp_path, config).adapter
    wanted = by_hand(SmallSession(prediction), config)
    for name, tensors in found.items():
        for ours, theirs in zip(tensors.values(), wanted[name.removeprefix("lora_unet_")], strict=True):
            assert float(theirs.abs().max()) > 1e-2
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-5), (name, float((ours - theirs).abs().max()))


def test_memory_that_torch_cannot_get_is_said_on_the_cpu_too(tmp_path):
    class Greedy(SmallSession):
        def predict(self, noisy, timesteps, conditioning):
            if len(self.contexts) == 5:
                torch.empty(2**52, dtype=torch.uint8)
            return super().predict(noisy, timesteps, conditioning)

    with pytest.raises(TrainingError, match="Memory ran out"):
        run(Greedy(), tmp_path)
    assert load_state(tmp_path / STATE_FILE)[0].step == 4


def test_another_runtime_error_keeps_its_own_words(tmp_path):
    class Broken(SmallSession):
        def predict(self, noisy, timesteps, conditioning):
            return super().predict(noisy, timesteps, conditioning) @ torch.zeros(3, 3)

    with pytest.raises(RuntimeError, match=r"shape|size"):
        run(Broken(), tmp_path)


class LateStop(CancelToken):
    """A stop that arrives right after the loop looked whether to save."""

    def __init__(self, looks):
        super().__init__()
        self.left = looks

    @property
    def stopping(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("looks", range(1, 8))
def test_a_stop_at_any_moment_leaves_a_state_of_all_that_was_learned(looks, tmp_path):
    outcome = run(SmallSession(), tmp_path, token=LateStop(looks))
    assert 0 < outcome.steps < 12
    assert load_state(tmp_path / STATE_FILE)[0].step == outcome.steps


def test_stopped_before_the_first_step_nothing_is_drawn(tmp_path):
    token = CancelToken()
    token.stop()
    outcome = run(SmallSession(), tmp_path, replace(CONFIG, previews=2), token=token)
    assert (outcome.steps, outcome.stopped_early, outcome.curve, outcome.previews) == (0, True, (), ())
    assert not list(tmp_path.rglob("*.png"))


def test_cancelled_while_encoding_nothing_is_written(tmp_path):
    token = CancelToken()
    with pytest.raises(Cancelled, match="LoRAs are as before"):
        run(SmallSession(), tmp_path / "t", token=token, sink=lambda e: token.cancel() if e.stage is Stage.CACHE else None)
    assert not (tmp_path / "t").exists()


def test_cancelled_in_a_preview_keeps_the_state(tmp_path):
    token = CancelToken()
    config = replace(CONFIG, previews=3, preview_every=6)
    with pytest.raises(Cancelled, match="step 4 is kept"):
        run(SmallSession(), tmp_path, config, token=token, sink=lambda e: token.cancel() if e.stage is Stage.PREVIEW else None)
    assert [p.name for p in (tmp_path / "previews").iterdir()] == ["step-00006-1.png"]


class Loud(SmallSession):
    """Half precision whose first gradients overflow at the scaler's first scale, as those of big models do."""

    def __init__(self):
        super().__init__(dtype=torch.float16)

    def predict(self, noisy, timesteps, conditioning):
        return super().predict(noisy, timesteps, conditioning) * 200


def test_half_precision_learns_and_resumes_bit_for_bit(tmp_path):
    config = replace(CONFIG, steps=24, learning_rate=5e-3, save_every=7)
    whole = run(Loud(), tmp_path / "whole", config)
    assert all(p.dtype is torch.float32 for p in flat(whole.adapter).values())
    assert max(float(tensors[UP].abs().max()) for tensors in whole.adapter.values()) > 1e-3
    token = CancelToken()
    run(Loud(), tmp_path / "part", config, token=token, sink=at(17, token.stop))
    moments = load_state(tmp_path / "part" / STATE_FILE)[0].optimizer.tensors
    assert 0 < float(moments[0]["step"]) < 17, "no gradient overflowed, so this shows nothing"
    assert same(run(Loud(), tmp_path / "part", config, resume=True), whole)


def test_progress_is_in_order_and_complete(tmp_path):
    events = []
    outcome = run(SmallSession(), tmp_path, replace(CONFIG, previews=2, preview_every=6), sink=events.append)
    assert [e.step for e in events if e.stage is Stage.CACHE] == [1, 2, 3]
    trained = [e for e in events if e.stage is Stage.TRAIN and e.likeness is None]
    assert [e.step for e in trained] == list(range(1, 13))
    assert {e.total for e in trained} == {12}
    assert all(e.eta_s >= 0 for e in trained[1:] if e.eta_s is not None)
    assert [e.step_loss for e in trained] == [p.loss for p in outcome.curve]
    assert trained[-1].loss == pytest.approx(sum(p.loss for p in outcome.curve) / 12)
    assert [e.likeness for e in events if e.stage is Stage.TRAIN and e.likeness is not None] == [0.5, 0.5]


def test_previews_without_a_face_have_no_likeness(tmp_path):
    outcome = run(SmallSession(), tmp_path, replace(CONFIG, previews=1), score=lambda _: None)
    assert outcome.likeness is None
    assert len(outcome.previews) == 1
