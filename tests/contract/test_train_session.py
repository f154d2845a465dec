"""What the training loop relies on in every TrainSession beyond its shapes; hosts are those of ``hosts``."""

from __future__ import annotations

import threading

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.errors import Cancelled, HostError
from facechain_ext.lora.adapters import UP
from facechain_ext.lora.network import inject
from facechain_ext.ports import Conditioning, SamplingRequest
from facechain_ext.progress import CancelToken, Progress, Stage
from tests.contract.hosts import HOSTS


@pytest.fixture(scope="module", params=list(HOSTS))
def train_host(request):
    return HOSTS[request.param]()


@pytest.fixture
def session(train_host):
    with train_host.open_session() as opened:
        yield opened


@pytest.fixture
def batch(session):
    """Latents, timesteps and conditioning of two samples."""
    draw = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, 4, 8, 8, generator=draw).to(session.device, session.dtype)
    return noisy, torch.tensor([30, 800], device=session.device), session.encode_prompts(["a face", "photo of sks person"], [(64, 64)] * 2)


def flipped(conditioning: Conditioning) -> Conditioning:
    """The other way round."""
    parts = (conditioning.context, conditioning.pooled, conditioning.size_ids)
    return Conditioning(*(None if part is None else part.flip(0) for part in parts))  # type: ignore[arg-type]


def test_a_photos_latents_do_not_depend_on_its_batch(session):
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    together = session.encode_images(images)
    alone = session.encode_images(images[1:])
    assert all(torch.allclose(a[1:], b, atol=1e-3) for a, b in zip(together, alone, strict=True))
    again = session.encode_images(images)
    assert torch.equal(together[0], again[0]), "the mean is drawn, not computed"


def test_a_prompts_conditioning_does_not_depend_on_its_batch(session):
    prompts = ["a face", "photo of sks person, smiling"]
    together = session.encode_prompts(prompts, [(64, 64)] * 2).context
    assert torch.allclose(together[1:], session.encode_prompts(prompts[1:], [(64, 64)]).context, atol=1e-3)
    assert float((together[0] - together[1]).abs().mean()) > 1e-3


def test_the_empty_prompt_is_a_prompt(session):
    empty = session.encode_prompts([""], [(64, 64)]).context
    assert empty.shape[:2] == (1, 77)
    assert torch.isfinite(empty).all()


def test_samples_of_a_batch_do_not_see_each_other(session, batch):
    noisy, timesteps, conditioning = batch
    with torch.no_grad():
        together = session.predict(noisy, timesteps, conditioning)
        swapped = session.predict(noisy.flip(0), timesteps.flip(0), flipped(conditioning))
    assert torch.allclose(together.float(), swapped.flip(0).float(), atol=2e-3 if session.dtype is torch.float32 else 2e-2)
    assert torch.isfinite(together).all()


def test_timestep_and_prompt_reach_the_prediction(session, batch):
    noisy, timesteps, conditioning = batch
    with torch.no_grad():
        plain = session.predict(noisy, timesteps, conditioning)
        other_time = session.predict(noisy, timesteps.flip(0), conditioning)
        other_words = session.predict(noisy, timesteps, flipped(conditioning))
    assert float((plain - other_time).abs().mean()) > 1e-3
    assert float((plain - other_words).abs().mean()) > 1e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_target_gets_a_gradient_and_nothing_else_does(train_host, checkpointing):
    with train_host.open_session(gradient_checkpointing=checkpointing) as session:
        targets = list(session.lora_targets())
        with inject(session.unet, targets=targets, rank=2, alpha=2.0, seed=1, device=session.device) as adapter:
            # Large enough for several tokens everywhere: attention to a single one has nothing to learn.
            noisy = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2)).to(session.device, session.dtype)
            output = session.predict(noisy, torch.tensor([500], device=session.device), session.encode_prompts(["a face"], [(64, 64)]))
            output.float().square().mean().backward()
            # Up matrices start at zero, so at first only they are told anything.
            silent = [name for name, t in adapter.state().items() if t[UP].grad is None or not float(t[UP].grad.abs().max()) > 0]
            assert silent == []
            trained = {id(p) for p in adapter.parameters()}
            assert all(p.grad is None for p in session.unet.parameters() if id(p) not in trained)
        assert not any("lora" in name for name, _ in session.unet.named_modules())


def test_previews_see_the_adapter(session):
    wanted = SamplingRequest("a face", "", (1,), 64, 64, 2, 3.0, "DDIM")
    plain = next(iter(session.preview(wanted, CancelToken())))
    with inject(session.unet, targets=list(session.lora_targets()), rank=2, alpha=2.0, seed=1, device=session.device) as adapter:
        untrained = next(iter(session.preview(wanted, CancelToken())))
        with torch.no_grad():
            for tensors in adapter.state().values():
                tensors[UP].fill_(0.05)
        trained = next(iter(session.preview(wanted, CancelToken())))
    after = next(iter(session.preview(wanted, CancelToken())))
    assert abs(untrained.astype(int) - plain).max() <= 1
    assert abs(trained.astype(int) - plain).mean() > 1
    assert abs(after.astype(int) - plain).max() <= 1


def test_previews_can_be_cancelled(session):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        list(session.preview(SamplingRequest("a face", "", (1,), 64, 64, 2, 3.0, "DDIM"), token))


def test_reports_ask_for_nothing_by_themselves(session):
    token = CancelToken()
    session.report(Progress(Stage.TRAIN, 1, 10, "Training", 0.5), token)
    assert not token.stopping
    assert not token.cancelled


def test_two_sessions_are_never_open_at_once(train_host):
    opened, closed = threading.Event(), threading.Event()
    found = []

    def second():
        opened.wait(60)
        try:
            with train_host.open_session():
                found.append("after" if closed.is_set() else "meanwhile")
        except HostError:
            found.append("refused")

    thread = threading.Thread(target=second)
    with train_host.open_session():
        thread.start()
        opened.set()
        thread.join(0.5)
        closed.set()
    thread.join(60)
    assert found in (["after"], ["refused"])
