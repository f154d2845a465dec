"""The optimizer, the learning rate, and how memory errors are told from others."""

import pytest

torch = pytest.importorskip("torch")
from hypothesis import given, settings
from hypothesis import strategies as st

from facechain_ext.config import TrainConfig
from facechain_ext.training.memory import allocator_errors
from facechain_ext.training.optim import gradient_scaler, learning_rate, make_optimizer, set_learning_rate


def test_the_rate_set_is_the_rate_used():
    config = TrainConfig(learning_rate=1e-2, weight_decay=0.0)
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = make_optimizer([weight], config)
    for rate in (1e-2, 1e-4):
        before = weight.detach().clone()
        set_learning_rate(optimizer, rate)
        weight.grad = torch.ones(3)
        optimizer.step()
        # With a constant gradient AdamW's step is the rate itself.
        assert torch.allclose(before - weight, torch.full((3,), rate), rtol=1e-3)


def test_weight_decay_is_decoupled_from_the_gradient():
    weight = torch.nn.Parameter(torch.full((1,), 2.0))
    optimizer = make_optimizer([weight], TrainConfig(learning_rate=0.1, weight_decay=0.5))
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 20000), st.integers(0, 2000), st.floats(1e-6, 0.1))
def test_the_rate_stays_between_a_share_and_the_peak(steps, warmup, peak):
    config = TrainConfig(steps=steps, warmup=warmup, learning_rate=peak)
    rates = [learning_rate(config, s) for s in sorted({0, 1, steps // 5, steps // 2, steps - 1})]
    assert all(0 < r <= peak * (1 + 1e-9) for r in rates)
    assert learning_rate(config, steps) == pytest.approx(0.1 * peak)


def test_without_warmup_the_first_step_has_the_peak():
    assert learning_rate(TrainConfig(steps=100, warmup=0, learning_rate=1e-3), 0) == pytest.approx(1e-3)


def test_the_scaler_scales_only_when_asked():
    assert float(gradient_scaler("cpu", enabled=False).scale(torch.ones(()))) == 1
    assert float(gradient_scaler("cpu", enabled=True).scale(torch.ones(()))) > 1000


def grab():
    with allocator_errors():
        return torch.empty(2**52, dtype=torch.uint8)


def test_memory_that_cannot_be_had_is_a_memory_error():
    with pytest.raises(MemoryError, match="allocate"):
        grab()


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), torch.OutOfMemoryError("CUDA out of memory"), KeyError("x")]
)
def test_other_errors_pass(error):
    def fail():
        with allocator_errors():
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error


def test_apples_gpu_is_understood():
    def fail():
        with allocator_errors():
            raise RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)")

    with pytest.raises(MemoryError):
        fail()


@pytest.mark.parametrize(("schedule", "middle", "end"), [("cosine", 0.55, 0.1), ("linear", 0.55, 0.1), ("constant", 1, 1)])
def test_schedules(schedule, middle, end):
    config = TrainConfig(steps=100, warmup=0, learning_rate=1e-3, schedule=schedule)
    assert learning_rate(config, 50) == pytest.approx(middle * 1e-3)
    assert learning_rate(config, 100) == pytest.approx(end * 1e-3)


def test_rates_that_are_not_the_users():
    assert learning_rate(TrainConfig(optimizer="prodigy", warmup=0), 0) == 1
    free = TrainConfig(optimizer="schedule-free", steps=100, warmup=0, learning_rate=1e-3)
    assert learning_rate(free, 99) == pytest.approx(1e-3)


def test_a_fused_step_that_torch_refuses_leaves_nothing_in_the_groups(monkeypatch):
    """torch 2.1 refuses it on a CPU when the groups are filled in already."""

    class Old(torch.optim.AdamW):
        def __init__(self, groups, *, fused=None, **shared):
            super().__init__(groups, fused=fused, **shared)
            if fused:
                raise RuntimeError("`fused=True` requires all the params to be CUDA, floating point Tensor")

    monkeypatch.setattr(torch.optim, "AdamW", Old)
    unet, text = ([torch.nn.Parameter(torch.ones(2))] for _ in range(2))
    optimizer = make_optimizer(unet, TrainConfig(text_encoder_rate=1e-4), text)
    assert isinstance(optimizer, Old)
    assert not any(group["fused"] for group in optimizer.param_groups)
