"""The diffusion process and the loss against their formulas."""

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.ports import Prediction
from facechain_ext.training.noise import add_noise, signal_to_noise, training_target
from facechain_ext.training.objective import debiased_weight, face_map, snr_weight, weighted_loss

ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, 0)


def test_noisy_latents_keep_unit_variance():
    draw = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(4, 4, 32, 32, generator=draw) for _ in range(2))
    noisy = add_noise(x, noise, torch.tensor([0, 300, 700, 999]), ALPHAS)
    assert torch.allclose(noisy.flatten(1).std(1), torch.ones(4), atol=0.05)
    assert torch.nn.functional.cosine_similarity(noisy[0].flatten(), x[0].flatten(), 0) > 0.99
    assert torch.nn.functional.cosine_similarity(noisy[3].flatten(), noise[3].flatten(), 0) > 0.99


@pytest.mark.parametrize("prediction", list(Prediction))
def test_the_target_gives_the_picture_back(prediction):
    x, noise, t = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([5, 400, 950])
    noisy = add_noise(x, noise, t, ALPHAS)
    target = training_target(x, noise, t, ALPHAS, prediction)
    a = ALPHAS[t].view(-1, 1, 1, 1)
    found = (noisy - (1 - a).sqrt() * target) / a.sqrt() if prediction is Prediction.EPS else a.sqrt() * noisy - (1 - a).sqrt() * target
    assert torch.allclose(found, x, atol=1e-3)


def test_min_snr_weights_as_in_the_paper():
    snr = torch.tensor([0.01, 1.0, 5.0, 100.0])
    assert torch.allclose(snr_weight(snr, 5.0, Prediction.EPS), torch.tensor([1.0, 1.0, 1.0, 0.05]))
    assert torch.allclose(snr_weight(snr, 5.0, Prediction.V), torch.tensor([0.01 / 1.01, 0.5, 5 / 6, 5 / 101]))
    assert torch.equal(snr_weight(snr, 0.0, Prediction.EPS), torch.ones(4))


@pytest.mark.parametrize("last", [0.0, 4.8973451890853435e-08], ids=["zero", "as the WebUI says zero"])
@pytest.mark.parametrize("gamma", [0.0, 5.0])
def test_at_a_zero_terminal_snr_velocity_is_learned_and_noise_is_not(last, gamma):
    snr = signal_to_noise(torch.cat([ALPHAS[:-1], torch.tensor([last])]))
    for weights in (snr_weight(snr, gamma, Prediction.EPS), debiased_weight(snr, Prediction.EPS)):
        assert torch.isfinite(weights).all()
        assert float(weights[-1]) == 0
        assert float(weights[:-1].min()) > 0
    for weights in (snr_weight(snr, gamma, Prediction.V), debiased_weight(snr, Prediction.V)):
        assert torch.isfinite(weights).all()
        assert float(weights[-1]) == pytest.approx(1)
        assert float(weights[:-1].min()) > 0


def test_a_uniform_mask_changes_nothing():
    a, b, w = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.tensor([1.0, 0.5])
    plain = ((a - b).square().mean((1, 2, 3)) * w).mean()
    for mask in (torch.ones(2, 1, 8, 8), torch.full((2, 1, 8, 8), 0.3), torch.zeros(2, 1, 8, 8)):
        assert torch.allclose(weighted_loss(a, b, face_map(mask, 1.0), w), plain)
    half = torch.zeros(2, 1, 8, 8)
    half[..., :4] = 1
    assert torch.allclose(weighted_loss(a, b, face_map(half, 0.0), w), plain)
    only = ((a - b)[..., :4].square().mean((1, 2, 3)) * w).mean()
    assert torch.allclose(weighted_loss(a, b, face_map(half, 1.0), w), only)


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**31), st.floats(0, 1))
def test_pixel_weights_have_mean_one(face_weight, seed, share):
    mask = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) < share).float()
    weights = face_map(mask, face_weight)
    assert torch.allclose(weights.mean((1, 2, 3)), torch.ones(2), atol=1e-4)
    assert (weights >= 0).all()


def test_half_precision_outputs_are_measured_in_float32():
    a = torch.full((1, 4, 8, 8), 300.0, dtype=torch.float16)
    loss = weighted_loss(a, -a, torch.ones(1, 1, 8, 8), torch.ones(1))
    assert loss.dtype is torch.float32
    assert float(loss) == 360000


def test_debiased_weights():
    snr = torch.tensor([0.0, 0.25, 4.0, 1e6])
    assert debiased_weight(snr, Prediction.EPS).tolist() == pytest.approx([0, 2, 0.5, 1000**-0.5])
    assert debiased_weight(snr, Prediction.V).tolist() == pytest.approx([1, 0.8, 0.2, 1 / 1001])
