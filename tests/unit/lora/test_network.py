"""A LoRA goes into a live model and comes out again: the same objects, the same bits, the same flags."""

import hashlib

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.errors import HostError
from facechain_ext.lora.adapters import DOWN, UP
from facechain_ext.lora.network import inject

TARGETS = ["body.0.to_q", "body.1.to_q", "head"]


class Block(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.to_q = torch.nn.Linear(width, width)

    def forward(self, x):
        return self.to_q(x)


class Model(torch.nn.Module):
    """Two linear layers and a 1x1 convolution, as a UNet has them."""

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(Block(8), Block(8))
        self.head = torch.nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.head(self.body(x).T[None, :, :, None])


@pytest.fixture
def model():
    torch.manual_seed(3)
    made = Model()
    made.body[0].to_q.weight.requires_grad_(False)
    made.body[1].eval()
    return made


def picture_of(model):
    """Everything that must be as before: objects, bits, flags, modes, hooks and attributes."""
    bits = hashlib.sha256(b"".join(p.detach().view(torch.uint8).numpy().tobytes() for p in model.state_dict().values())).hexdigest()
    return (
        [(n, id(m), m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for n, m in model.named_modules()],
        [(n, id(p), p.requires_grad, p.dtype) for n, p in model.named_parameters()],
        bits,
        sorted(model.__dict__),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_leaves_the_model_as_it_was(model, dtype):
    model.to(dtype)
    before, random = picture_of(model), torch.get_rng_state()
    with inject(model, targets=TARGETS, rank=2, alpha=2, seed=1) as adapter:
        assert all(p.dtype is torch.float32 for p in adapter.parameters())
        torch.optim.SGD(adapter.parameters(), 1.0)
    assert picture_of(model) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_leaves_the_model_as_it_was_after_an_error(model):
    before = picture_of(model)
    with pytest.raises(ZeroDivisionError), inject(model, targets=TARGETS, rank=2, alpha=2, seed=1):
        1 / 0  # noqa: B018
    assert picture_of(model) == before


def test_starts_as_nothing_and_learns_only_itself(model):
    x = torch.randn(5, 8)
    plain = model(x)
    with inject(model, targets=TARGETS, rank=2, alpha=4, seed=1) as adapter:
        assert torch.equal(model(x), plain)
        optimizer = torch.optim.SGD(adapter.parameters(), 0.5)
        model(x).square().sum().backward()
        optimizer.step()
        changed = model(x)
        assert not torch.equal(changed, plain)
        assert [p.grad is not None for n, p in model.named_parameters() if "lora" not in n] == [False] * 6
    assert torch.equal(model(x), plain)


def test_the_seed_alone_decides_the_start(model):
    def start(seed, noise):
        torch.manual_seed(noise)
        with inject(model, targets=TARGETS, rank=4, alpha=4, seed=seed) as adapter:
            return [p.detach().clone() for p in adapter.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(start(7, 1), start(7, 2), strict=True))
    assert not torch.equal(start(7, 1)[0], start(8, 1)[0])


def test_state_round_trip_and_its_refusals(model):
    with inject(model, targets=TARGETS, rank=2, alpha=2, seed=1) as adapter:
        state = {name: {key: t.detach() + 1 for key, t in tensors.items()} for name, tensors in adapter.state().items()}
        adapter.load_state(state)
        assert all(torch.equal(t, state[name][key]) for name, tensors in adapter.state().items() for key, t in tensors.items())
        with pytest.raises(ValueError, match="other modules"):
            adapter.load_state({"head": state["head"]})
        with pytest.raises(ValueError, match="does not fit"):
            adapter.load_state(state | {"head": {DOWN: torch.zeros(3, 8, 1, 1), UP: torch.zeros(4, 3, 1, 1)}})
        with pytest.raises(ValueError, match="another kind"):
            adapter.load_state(state | {"head": {"lokr_w1": torch.zeros(3, 8), "lokr_w2": torch.zeros(4, 3)}})


def test_a_missing_layer_is_refused_and_nothing_happens(model):
    before = picture_of(model)
    with pytest.raises(HostError, match=r"no layer body\.7"), inject(model, targets=["body.7.to_q"], rank=2, alpha=2, seed=1):
        pass
    assert picture_of(model) == before


def test_a_second_adapter_is_refused(model):
    with inject(model, targets=TARGETS, rank=2, alpha=2, seed=1):
        with pytest.raises(HostError, match="still in the model"), inject(model, targets=TARGETS, rank=2, alpha=2, seed=1):
            pass
        assert hasattr(model.head, "lora_A")
    assert not hasattr(model.head, "lora_A")
