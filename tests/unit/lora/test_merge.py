"""Merged LoRAs act as their formula says, and leave every bit as it was."""

import pytest

torch = pytest.importorskip("torch")

from facechain_ext.errors import FileFormatError
from facechain_ext.lora.files import LoraFile
from facechain_ext.lora.kinds import LoraModule
from facechain_ext.lora.merge import merged
from facechain_ext.ports import Family


def lora(**modules):
    return LoraFile("x", Family.SD1, modules, {})


def module(*shapes, alpha=3.0, seed=0):
    draw = torch.Generator().manual_seed(seed)
    down, up = (torch.randn(s, generator=draw) for s in shapes)
    return LoraModule(down, up, alpha)


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16])
def layers(request):
    torch.manual_seed(0)
    return {"a": torch.nn.Linear(8, 6).to(request.param), "b": torch.nn.Conv2d(8, 6, 3).to(request.param)}


def test_adds_the_weighted_sum_and_takes_every_bit_back(layers):
    first = lora(a=module((2, 8), (6, 2)), b=module((2, 8, 3, 3), (6, 2, 1, 1)))
    second = lora(a=module((4, 8), (6, 4), seed=5))
    before = {k: v.weight.detach().clone() for k, v in layers.items()}
    with merged(layers, [(first, 0.7), (second, -0.4)]) as missing:
        assert missing == []
        m, n = first.modules["a"], second.modules["a"]
        wanted = before["a"].float() + 0.7 * 1.5 * m.up @ m.down - 0.4 * 0.75 * n.up @ n.down
        assert torch.allclose(layers["a"].weight.float(), wanted.to(before["a"].dtype).float(), atol=1e-6)
        assert not torch.equal(layers["b"].weight, before["b"])
    assert all(torch.equal(layers[k].weight, before[k]) for k in layers)


def test_a_convolutions_update_is_a_convolution():
    update = module((2, 8, 3, 3), (6, 2, 1, 1))
    x = torch.randn(1, 8, 5, 5)
    together = torch.nn.functional.conv2d(x, update.delta(torch.empty(6, 8, 3, 3)))
    apart = torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, update.down), update.up) * update.scale
    assert torch.allclose(together, apart, atol=1e-4)


def test_every_bit_is_back_after_an_error(layers):
    before = {k: v.weight.detach().clone() for k, v in layers.items()}
    broken = lora(a=module((2, 8), (6, 2)), b=module((2, 9, 3, 3), (6, 2, 1, 1)))
    with pytest.raises(FileFormatError, match="layers of other sizes"), merged(layers, [(broken, 1.0)]):
        pass
    with pytest.raises(ZeroDivisionError), merged(layers, [(lora(a=broken.modules["a"]), 1.0)]):
        1 / 0  # noqa: B018
    assert all(torch.equal(layers[k].weight, before[k]) for k in layers)


def test_names_the_checkpoint_lacks_are_told(layers):
    with merged(layers, [(lora(z=module((2, 8), (6, 2))), 1.0)]) as missing:
        assert missing == ["z"]


def test_weight_zero_changes_nothing(layers):
    weight = layers["a"].weight
    version = weight._version
    with merged(layers, [(lora(a=module((2, 8), (6, 2))), 0.0)]):
        assert weight._version == version
