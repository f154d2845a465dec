"""Prior preservation: class pictures made once by the session itself, learned beside the photos, stopped and resumed like everything else."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.config import TrainConfig
from facechain_ext.errors import Cancelled, TrainingError
from facechain_ext.lora.adapters import flat
from facechain_ext.lora.network import inject
from facechain_ext.progress import CancelToken, Stage, silent
from facechain_ext.training import prior
from facechain_ext.training.cache import pixels
from facechain_ext.training.loop import Sources, Watch, train
from facechain_ext.training.noise import add_noise
from tests.conftest import make_dataset
from tests.unit.training.small_session import SmallSession, untouched

CONFIG = TrainConfig(
    steps=8, rank=4, alpha=4, batch=2, learning_rate=2e-2, warmup=0, resolution=64, previews=0, save_every=3, prior_weight=1.0, class_images=6
)


def run(folder, config=CONFIG, *, session=None, sink=silent, token=None, resume=False):
    session = session or SmallSession()
    watch = Watch(sink, token or CancelToken(), lambda _: None)
    with untouched(session):
        return train(session, make_dataset(), config, folder, watch, resume=resume, sources=Sources(class_images=folder / "classes"))


def pictures(folder):
    return sorted((folder / "classes").glob("*/*.png"))


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flat(a.adapter).values(), flat(b.adapter).values(), strict=True))


class Counting(SmallSession):
    """Notes what it was asked to sample."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def preview(self, request, cancel):
        self.asked.append((request.prompt, len(request.seeds)))
        yield from super().preview(request, cancel)


def test_off_by_default_nothing_is_made(tmp_path):
    session = Counting()
    run(tmp_path, replace(CONFIG, prior_weight=0.0), session=session)
    assert session.asked == []
    assert not (tmp_path / "classes").exists()
    assert TrainConfig().prior_weight == 0


def test_class_pictures_are_shown_as_they_come_and_made_once(tmp_path):
    session, seen = Counting(), []
    run(tmp_path, session=session, sink=seen.append)
    assert session.asked == [("photo of person", 4), ("photo of person", 2)]
    assert [(e.step, e.total) for e in seen if e.stage is Stage.PRIOR] == [(i, 6) for i in range(1, 7)]
    assert len(pictures(tmp_path)) == 6
    assert session.prompts.count("photo of person") == 6
    again = Counting()
    run(tmp_path, replace(CONFIG, seed=5), session=again)
    assert again.asked == []
    run(tmp_path, replace(CONFIG, class_images=9), session=again)
    assert again.asked == [("photo of person", 3)]


def test_a_damaged_picture_is_made_again_and_another_word_or_size_has_its_own(tmp_path):
    run(tmp_path)
    pictures(tmp_path)[2].write_bytes(b"no picture")
    session = Counting()
    run(tmp_path, session=session)
    assert session.asked == [("photo of person", 1)]
    run(tmp_path, replace(CONFIG, resolution=72), session=session)
    assert session.asked[1:] == [("photo of person", 4), ("photo of person", 2)]
    assert len(pictures(tmp_path)) == 12
    for side in (80, 88, 96):
        run(tmp_path, replace(CONFIG, resolution=side))
    assert len({p.parent for p in pictures(tmp_path)}) == prior.SETS


def test_the_class_is_learned_beside_the_person(tmp_path):
    """The error on the class pictures after a training, which photos of one person alone make worse."""

    def error(outcome) -> float:
        session = SmallSession()
        [picture, *_] = session.preview(prior.SamplingRequest("photo of person", "", (prior.FIRST_SEED,), 64, 64, 20, 4.0, prior.SAMPLER), CancelToken())
        mean, _ = session.encode_images(pixels(picture))
        noise, when = torch.randn(64, 4, 8, 8, generator=torch.Generator().manual_seed(3)), torch.arange(64)
        noisy = add_noise(mean.expand(64, -1, -1, -1), noise, when, session.alphas_cumprod)
        words = session.encode_prompts(["photo of person"] * 64, [(64, 64)] * 64).context
        with inject(session.unet, targets=session.lora_targets(), rank=4, alpha=4, seed=1) as adapter, torch.no_grad():
            adapter.load_state(outcome.adapter)
            return float((session.unet(noisy, when, words) - noise).square().mean())

    longer = replace(CONFIG, steps=40)
    without = error(run(tmp_path / "without", replace(longer, prior_weight=0.0)))
    half = error(run(tmp_path / "half", replace(longer, prior_weight=0.5)))
    whole = error(run(tmp_path / "whole", replace(longer, prior_weight=2.0)))
    assert whole < half < without
    assert whole < 0.9 * without


def test_interrupted_anywhere_it_comes_to_the_same_lora(tmp_path):
    whole = run(tmp_path / "whole")
    token = CancelToken()
    with pytest.raises(Cancelled, match="at your request"):
        run(tmp_path / "part", sink=lambda e: token.cancel() if e.stage is Stage.PRIOR and e.step == 4 else None, token=token)
    assert len(pictures(tmp_path / "part")) == 4
    token = CancelToken()
    part = run(tmp_path / "part", sink=lambda e: token.stop() if e.stage is Stage.TRAIN and e.step == 4 else None, token=token)
    assert part.steps == 4
    rest = run(tmp_path / "part", resume=True)
    assert same(rest, whole)
    assert [p.loss for p in rest.curve] == [p.loss for p in whole.curve]


def test_memory_that_runs_out_makes_fewer_at_once_and_then_says_so(tmp_path, monkeypatch):
    class Scarce(Counting):
        most = 1

        def preview(self, request, cancel):
            if len(request.seeds) > self.most:
                raise MemoryError
            yield from super().preview(request, cancel)

    session = Scarce()
    run(tmp_path, session=session)
    assert session.asked == [("photo of person", 1)] * 6
    session.most = 0
    with pytest.raises(TrainingError, match="switch prior preservation off"):
        run(tmp_path / "none", session=session)
