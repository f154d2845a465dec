"""Forge's weights are inference tensors: gradients flow through them, and nothing of that is left."""

from __future__ import annotations

import contextlib

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("peft")

from facechain_ext.hosts.checkpointing import checkpointed as forgetful_blocks
from facechain_ext.hosts.forge.blocks import trainable_blocks
from facechain_ext.hosts.forge.weights import BorrowedWeights, PlainLinear, ordinary
from facechain_ext.lora.network import inject

TARGETS = ["block.attn1.to_q", "block.attn2.to_k", "block.ff.0"]


def forgetful(net, wanted):
    return forgetful_blocks(net) if wanted else contextlib.nullcontext()


class Linear(torch.nn.Module):
    """Looks like ``nn.Linear`` and is none, as in Forge's backend/operations.py."""

    def __init__(self, inputs, outputs, bias=True):
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5)
        self.bias = torch.nn.Parameter(torch.randn(outputs)) if bias else None

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight, self.bias)


class CrossAttention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = 2
        self.to_q, self.to_k, self.to_v = (Linear(8, 8, bias=False) for _ in range(3))
        self.to_out = torch.nn.Sequential(Linear(8, 8), torch.nn.Dropout(0.0))

    def forward(self, x, context=None):
        context = x if context is None else context
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in (self.to_q(x), self.to_k(context), self.to_v(context)))
        weights = (q @ k.transpose(-1, -2) / 2).softmax(-1)
        return self.to_out((weights @ v).transpose(1, 2).flatten(2))


class BasicTransformerBlock(torch.nn.Module):
    """Adds in place, as Forge's does."""

    def __init__(self):
        super().__init__()
        self.disable_self_attn = False
        self.attn1, self.attn2 = CrossAttention(), CrossAttention()
        self.norm1, self.norm2, self.norm3 = (torch.nn.LayerNorm(8) for _ in range(3))
        self.ff = torch.nn.Sequential(Linear(8, 8), torch.nn.GELU())

    def forward(self, x, context=None, transformer_options=None):
        x += self.attn1(self.norm1(x))
        x += self.attn2(self.norm2(x), context)
        x_skip = x
        x = self.ff(self.norm3(x))
        x += x_skip
        return x


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv1d(8, 8, 1)
        self.block = BasicTransformerBlock()
        self.register_buffer("scale", torch.full((1,), 0.5))

    def forward(self, x, context):
        x = self.first(x.transpose(1, 2)).transpose(1, 2).contiguous()
        return self.block(x, context=context, transformer_options={}) * self.scale


@pytest.fixture
def net():
    torch.manual_seed(0)
    with torch.inference_mode():
        made = Net().eval()
    assert made.block.ff[0].weight.is_inference()
    return made


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, 5, 8, generator=draw), torch.randn(2, 3, 8, generator=draw)


def seen(net):
    """Identity and content of everything in the model."""
    with torch.inference_mode():
        tensors = [*net.named_parameters(), *net.named_buffers()]
        return (
            [(name, id(module), module.training, sorted(vars(module))) for name, module in net.named_modules()],
            [(name, id(t), t.data_ptr(), t.requires_grad, t.is_inference(), t.clone().tolist()) for name, t in tensors],
        )


def drawn(net, batch):
    with torch.inference_mode():
        return net(*batch).clone().tolist()


def step(net, batch, adapter, rate=0.5):
    loss = net(*batch).square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter -= rate * parameter.grad
            parameter.grad = None
    return float(loss.detach())


def test_as_it_is_nothing_can_be_trained(net, batch):
    with pytest.raises(RuntimeError, match=r"[Ii]nference tensor"):
        net(batch[0].clone().requires_grad_(), batch[1]).sum().backward()


def test_a_view_is_ordinary_and_costs_no_memory(net):
    weight = net.block.ff[0].weight
    view = ordinary(weight)
    assert not view.is_inference()
    assert view.data_ptr() == weight.data_ptr()
    assert isinstance(view, torch.nn.Parameter)
    assert not view.requires_grad
    strided = ordinary(weight.t()[1:])
    assert strided.tolist() == weight.t()[1:].tolist()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_training_lowers_the_loss_and_leaves_nothing(net, batch, checkpointed):
    before, picture = seen(net), drawn(net, batch)
    weights = BorrowedWeights(net)
    with trainable_blocks(net), forgetful(net, checkpointed), weights.lent(TARGETS):
        assert torch.allclose(net(*batch), torch.tensor(picture), atol=1e-6)
        with inject(net, targets=TARGETS, rank=2, alpha=2.0, seed=1) as adapter:
            losses = [step(net, batch, adapter) for _ in range(8)]
    assert losses[-1] < losses[0] * 0.9
    assert seen(net) == before
    assert drawn(net, batch) == picture


def test_checkpointing_gives_the_same_gradients(net, batch):
    found = []
    for checkpointed in (False, True):
        weights = BorrowedWeights(net)
        with (
            trainable_blocks(net),
            forgetful(net, checkpointed),
            weights.lent(TARGETS),
            inject(net, targets=TARGETS, rank=2, alpha=2.0, seed=1) as adapter,
        ):
            found.append([step(net, batch, adapter) for _ in range(3)])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_an_error_leaves_nothing(net, batch):
    before = seen(net)

    def fail():
        weights = BorrowedWeights(net)
        with (
            trainable_blocks(net),
            forgetful(net, True),
            weights.lent(TARGETS),
            inject(net, targets=TARGETS, rank=2, alpha=2.0, seed=1) as adapter,
        ):
            step(net, batch, adapter)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen(net) == before


def test_a_preview_moves_only_the_models_own_weights(net, batch):
    """Memory management moves whatever it finds in the model, under ``inference_mode``; the optimizer's parameters must not notice."""
    own = dict(net.named_parameters())
    before = seen(net)
    weights = BorrowedWeights(net)
    with (
        trainable_blocks(net),
        weights.lent(TARGETS),
        inject(net, targets=TARGETS, rank=2, alpha=2.0, seed=1) as adapter,
    ):
        losses = [step(net, batch, adapter)]
        trained = adapter.parameters()
        values = [p.tolist() for p in trained]
        with weights.suspended():
            assert {id(p) for p in own.values()} <= {id(p) for p in net.parameters()}
            assert not {id(p) for p in trained} & {id(p) for p in net.parameters()}
            with torch.inference_mode():
                drawing = net(*batch)
                net.to(torch.float64).to(torch.float32)
        assert torch.allclose(drawing, net(*batch), atol=1e-6)
        assert all(a is b for a, b in zip(trained, adapter.parameters(), strict=True))
        assert [p.tolist() for p in trained] == values
        losses += [step(net, batch, adapter) for _ in range(4)]
    assert losses[-1] < losses[0]
    after = seen(net)
    assert after[0] == before[0]
    # Moved there and back: other memory (and ``to`` makes new buffers), else the same parameters and numbers.
    parameters = len(own)
    assert [(t[0], t[1], t[3:]) for t in after[1][:parameters]] == [(t[0], t[1], t[3:]) for t in before[1][:parameters]]
    assert [t[-1] for t in after[1]] == [t[-1] for t in before[1]]


def test_a_host_may_put_new_weights_in_during_a_preview(net):
    fresh = torch.nn.Parameter(torch.zeros(8, 8), requires_grad=False)
    weights = BorrowedWeights(net)
    layer = net.block.ff[0]
    with weights.lent(TARGETS):
        with weights.suspended():
            # Forge in low memory (backend/memory_management.py, model_load).
            net.block.ff[0].weight = fresh
        assert net.block.ff[0].weight.data_ptr() == fresh.data_ptr()
    assert net.block.ff[0] is layer
    assert layer.weight is fresh


def test_stored_precision_may_be_another():
    with torch.inference_mode():
        layer = Linear(4, 3).half()
    plain = PlainLinear(layer)
    x = torch.randn(2, 4)
    assert torch.allclose(plain(x), torch.nn.functional.linear(x, layer.weight.float(), layer.bias.float()))
    assert PlainLinear(Linear(4, 3, bias=False)).bias is None
