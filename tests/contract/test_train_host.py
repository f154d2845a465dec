"""What every TrainHost and its TrainSession must keep to; hosts under test are those of ``hosts``."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.ports import SamplingRequest
from facechain_ext.progress import CancelToken
from tests.contract.hosts import HOSTS


@pytest.fixture(scope="module", params=list(HOSTS))
def train_host(request):
    return HOSTS[request.param]()


@pytest.fixture
def session(train_host):
    with train_host.open_session() as opened:
        yield opened


def test_noise_schedule_falls_from_one_to_zero(session):
    alphas = session.alphas_cumprod
    assert alphas.ndim == 1
    assert alphas.dtype is torch.float32
    assert bool((alphas.diff() < 0).all())
    assert 0.99 < float(alphas[0]) <= 1
    assert 0 <= float(alphas[-1]) < 0.01


def test_targets_are_modules_of_the_unet_with_unique_names(session):
    targets = session.lora_targets()
    assert len(targets) >= 100
    assert len(set(targets.values())) == len(targets)
    assert all(session.unet.get_submodule(path) is not None for path in targets)
    assert all(name.startswith("lora_unet_") and "." not in name for name in targets.values())


def test_images_become_latents_an_eighth_as_wide(session):
    with torch.no_grad():
        mean, std = session.encode_images(torch.rand(2, 3, 64, 96) * 2 - 1)
    assert mean.shape == std.shape == (2, 4, 8, 12)
    assert bool((std > 0).all())
    assert 0.1 < float(mean.std()) < 5
    assert not mean.requires_grad


def test_prompts_become_chunks_of_77(session):
    found = session.encode_prompts(["a face", ", ".join(["a face"] * 40)], [(64, 64)] * 2)
    assert found.context.shape[0] == 2
    assert found.context.shape[1] % 77 == 0
    assert found.context.shape[1] > 77
    assert not found.context.requires_grad


def test_the_prediction_has_a_gradient_to_the_latents(session):
    noisy = torch.randn(1, 4, 8, 8, device=session.device, dtype=session.dtype, requires_grad=True)
    output = session.predict(noisy, torch.tensor([500], device=session.device), session.encode_prompts(["a face"], [(64, 64)]))
    assert output.shape == noisy.shape
    output.float().square().mean().backward()
    assert noisy.grad is not None
    assert float(noisy.grad.abs().sum()) > 0


def test_previews_repeat_and_leave_flags_and_rng(session):
    wanted = SamplingRequest("a face", "", (1, 2), 64, 64, 2, 3.0, "DDIM")
    flags, random = [m.training for m in session.unet.modules()], torch.get_rng_state()
    first, again = (list(session.preview(wanted, CancelToken())) for _ in range(2))
    assert [p.shape for p in first] == [(64, 64, 3)] * 2
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert [m.training for m in session.unet.modules()] == flags
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_closing_restores_flags_and_rng(train_host, checkpointing):
    with train_host.open_session() as opened:
        unet = opened.unet
    before = [(id(m), m.training) for m in unet.modules()], [p.requires_grad for p in unet.parameters()], torch.get_rng_state()

    def disturb(opened):
        torch.randn(3)
        opened.unet.train()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), train_host.open_session(gradient_checkpointing=checkpointing) as opened:
        disturb(opened)
    after = [(id(m), m.training) for m in unet.modules()], [p.requires_grad for p in unet.parameters()], torch.get_rng_state()
    assert after[:2] == before[:2]
    assert torch.equal(after[2], before[2])
