"""The low-rank path as one step of autograd gives what PEFT's own forward gives, and leaves to PEFT what it cannot do."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.utils.checkpoint import checkpoint

from facechain_ext.lora.adapters import ADAPTER
from facechain_ext.lora.fused import AddLowRank
from facechain_ext.lora.network import inject
from facechain_ext.lora.sizes import Kind

LAYERS = {
    "linear": (lambda: torch.nn.Linear(10, 14), (2, 5, 10)),
    "no bias": (lambda: torch.nn.Linear(10, 6, bias=False), (7, 10)),
    "1x1": (lambda: torch.nn.Conv2d(10, 14, 1), (2, 10, 3, 4)),
    "1x1, one picture": (lambda: torch.nn.Conv2d(10, 6, 1, bias=False), (1, 10, 3, 3)),
}


class Holder(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer


@pytest.fixture(params=list(LAYERS))
def holder(request):
    torch.manual_seed(2)
    make, shape = LAYERS[request.param]
    made = Holder(make())
    made.shape = shape
    return made


def learned(adapter):
    with torch.no_grad():
        for p in adapter.parameters():
            p.copy_(torch.randn(p.shape) * 0.3)
    return adapter.parameters()


def results(forward, x, parameters):
    """Output and gradients of x and the adapter."""
    x = x.clone().requires_grad_()
    out = forward(x)
    return [out.detach(), *torch.autograd.grad((out * torch.arange(out.numel()).view(out.shape).cos()).sum(), [x, *parameters])], out


def fused(out):
    return type(out.grad_fn).__name__.startswith("AddLowRank")


@pytest.mark.parametrize("kind", [Kind.LORA, Kind.RSLORA])
def test_the_same_as_peft(holder, kind):
    with inject(holder, targets=["layer"], rank=3, alpha=5, seed=1, kind=kind) as adapter:
        parameters, x = learned(adapter), torch.randn(holder.shape)
        ours, out = results(holder.layer, x, parameters)
        theirs, other = results(holder.layer.forward._usual, x, parameters)
        again, _ = results(lambda x: checkpoint(holder.layer, x, use_reentrant=False), x, parameters)
    assert fused(out)
    assert not fused(other)
    for mine, peft, forgotten in zip(ours, theirs, again, strict=True):
        torch.testing.assert_close(mine, peft, rtol=1e-5, atol=1e-5)
        assert torch.equal(mine, forgotten)
    assert all(p.grad_fn is None for p in parameters)


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_its_gradients_are_those_of_its_output(holder, scale):
    base = holder.layer.double().requires_grad_(False)
    ends = [1] * (base.weight.ndim - 2)
    down = torch.randn(3, base.weight.shape[1], *ends, dtype=torch.double, requires_grad=True)
    up = torch.randn(base.weight.shape[0], 3, *ends, dtype=torch.double, requires_grad=True)
    x = torch.randn(holder.shape, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, down, up: AddLowRank.apply(x, base.weight, down, up, base, scale), (x, down, up))
    # What comes first in a UNet, or is text, needs no gradient itself.
    assert torch.autograd.gradcheck(lambda down, up: AddLowRank.apply(x.detach(), base.weight, down, up, base, scale), (down, up))


def test_what_it_cannot_do_is_left_to_peft(holder):
    x, layer = torch.randn(holder.shape), holder.layer
    with inject(holder, targets=["layer"], rank=3, alpha=3, seed=1) as adapter:
        parameters, wrapped = learned(adapter), holder.layer
        plain = wrapped(x)
        assert fused(plain)
        with torch.no_grad():
            torch.testing.assert_close(wrapped(x), plain)
        with torch.autocast("cpu", torch.bfloat16):
            assert not fused(wrapped(x))
        wrapped.lora_dropout[ADAPTER] = torch.nn.Dropout(0.5)
        wrapped.train()
        assert not fused(wrapped(x))
        assert not torch.equal(wrapped(x), wrapped(x))
        # Dropout does nothing outside of training.
        assert fused(wrapped.eval()(x))
        hook = layer.register_forward_hook(lambda _module, _inputs, out: out * 2)
        doubled = results(wrapped, x, parameters)
        hook.remove()
        assert not fused(doubled[1])
        wrapped._disable_adapters = True
        assert torch.equal(wrapped(x), layer(x))


@pytest.mark.parametrize("kind", [Kind.DORA, Kind.LOHA, Kind.LOKR])
def test_other_kinds_compute_as_ever(holder, kind):
    with inject(holder, targets=["layer"], rank=3, alpha=3, seed=1, kind=kind):
        assert "forward" not in vars(holder.layer)


def test_half_precision_is_left_to_peft():
    holder = Holder(torch.nn.Linear(4, 4)).to(torch.bfloat16)
    with inject(holder, targets=["layer"], rank=2, alpha=2, seed=1):
        out = holder.layer(torch.randn(3, 4, dtype=torch.bfloat16))
    assert out.dtype is torch.bfloat16
    assert not fused(out)


def test_wide_kernels_are_left_to_peft():
    holder = Holder(torch.nn.Conv2d(4, 4, 3, padding=1))
    with inject(holder, targets=["layer"], rank=2, alpha=2, seed=1):
        assert "forward" not in vars(holder.layer)
