"""Frozen convolutions as matrix products and in tiles: the same output and gradient, only where asked for, and gone afterwards."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.utils.checkpoint import checkpoint

from facechain_ext.training.frozen import AsProduct, frozen_convolutions
from facechain_ext.training.ways import FEW, Way, kernel_bytes, way


def product(out):
    return type(out.grad_fn).__name__.startswith("AsProduct")


def made(*args, **kwargs):
    torch.manual_seed(4)
    return torch.nn.Sequential(torch.nn.Conv2d(*args, **kwargs)).requires_grad_(False)


SHAPES = [
    ((6, 10, 3), {"padding": 1}, (1, 6, 8, 8)),
    ((6, 4, 3), {"padding": 1, "bias": False}, (2, 6, 4, 7)),
    ((6, 4, 3), {"padding": 1, "stride": 2}, (2, 6, 8, 10)),
    ((6, 4, (1, 3)), {"padding": (0, 1), "stride": (1, 2)}, (3, 6, 5, 6)),
    ((6, 10, 1), {}, (1, 6, 4, 4)),
    ((6, 10, 1), {"stride": 2}, (2, 6, 5, 5)),
    ((6, 10, 1), {"padding": 1}, (2, 6, 3, 3)),
]


@pytest.mark.parametrize(("args", "kwargs", "shape"), SHAPES, ids=str)
def test_the_same_as_the_convolution(args, kwargs, shape):
    model, x = made(*args, **kwargs), torch.randn(shape, requires_grad=True)

    def results(run):
        out = run(x)
        return out, torch.autograd.grad((out * torch.arange(out.numel()).view(out.shape).cos()).sum(), x)[0]

    usual = results(model)
    with frozen_convolutions(model):
        ours, again = results(model), results(lambda x: checkpoint(model, x, use_reentrant=False))
    assert product(ours[0])
    assert not product(usual[0])
    assert ours[0].is_contiguous()
    for mine, theirs, forgotten in zip(ours, usual, again, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
        assert torch.equal(mine, forgotten)
    conv, size = model[0].double(), usual[0].shape[2:]
    wide = x.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: AsProduct.apply(x, conv.weight, conv.bias, conv.stride, conv.padding, size), wide)


def test_only_where_it_is_faster_and_right():
    def used(model, x):
        with frozen_convolutions(model):
            return product(model(x))

    small, x = made(4, 4, 3, padding=1), torch.randn(1, 4, 8, 8, requires_grad=True)
    assert FEW == 64
    assert used(small, x)
    assert not used(small, torch.randn(1, 4, 8, 9, requires_grad=True))
    assert not used(small, torch.randn(2, 4, 8, 8, requires_grad=True))
    with torch.autocast("cpu", torch.bfloat16):
        assert not used(small, x)
    with torch.no_grad():
        assert not used(small, x)
    for other in (
        made(4, 4, 3, padding="same"),
        made(4, 4, 3, padding=1, padding_mode="circular"),
        made(4, 4, 3, padding=1, groups=2),
        made(4, 4, 3, padding=2, dilation=2),
        made(4, 4, 3, padding=1).requires_grad_(),
    ):
        assert not used(other, x)
    assert not used(small.to(torch.bfloat16), x.to(torch.bfloat16))


def test_it_leaves_the_model_as_it_was():
    model = torch.nn.Sequential(made(4, 4, 3, padding=1), made(4, 4, 3, padding=1))
    other = model[1][0].forward = model[1][0].forward
    with frozen_convolutions(model):
        assert "forward" in vars(model[0][0])
    with pytest.raises(ZeroDivisionError), frozen_convolutions(model):
        1 / 0  # noqa: B018
    assert "forward" not in vars(model[0][0])
    assert vars(model[1][0])["forward"] == other


def used(model, x, **options):
    with frozen_convolutions(model, **options):
        return type(model(x).grad_fn).__name__.removesuffix("Backward")


def test_wide_layers_are_computed_in_tiles():
    wide, x = made(256, 256, 3, padding=1), torch.randn(1, 256, 9, 8, requires_grad=True)
    assert used(wide, x) == "Minimal"
    assert used(wide, x, spacious=False) != "Minimal"
    assert used(wide, x[:, :, :8]) == "AsProduct"
    for other in (made(256, 256, 3, padding=1, stride=2), made(256, 256, 5, padding=1), made(256, 256, 3)):
        assert used(other, torch.randn(1, 256, 20, 20, requires_grad=True)) not in ("Minimal", "AsProduct")
    narrow = made(255, 256, 3, padding=1)
    assert used(narrow, torch.randn(1, 255, 9, 8, requires_grad=True)) not in ("Minimal", "AsProduct")


def test_the_ways_of_the_widest_unet():
    """SD1.5 at 256 px; measured, see benchmarks/NOTES.md."""
    assert way(1, 320, 320, (32, 32), tiles=True) is Way.TILES_4
    assert way(1, 640, 640, (16, 16), tiles=True) is Way.TILES_2
    assert way(1, 640, 640, (32, 32), tiles=True) is Way.TILES_2
    assert way(4, 640, 320, (16, 16), tiles=True) is Way.TILES_4
    assert way(1, 1280, 1280, (16, 16), tiles=True) is Way.TILES_2
    assert way(1, 2560, 1280, (16, 16), tiles=True) is Way.USUAL
    assert way(2, 2560, 1280, (16, 16), tiles=True) is Way.TILES_2
    assert way(2, 1280, 1280, (8, 8), tiles=True) is Way.USUAL
    assert way(4, 1280, 1280, (8, 8), tiles=True) is Way.TILES_2
    assert way(1, 1280, 1280, (8, 8), tiles=True) is Way.PRODUCT
    assert [kernel_bytes(found, 10, 20) for found in Way] == [0, 0, 4 * 16 * 200, 4 * 36 * 200]


def test_a_weight_that_is_written_into_is_transformed_anew():
    model, x = made(256, 256, 3, padding=1), torch.randn(1, 256, 8, 9, requires_grad=True)
    with frozen_convolutions(model):
        first = model(x)
        again = model(x)
        with torch.no_grad():
            model[0].weight.mul_(2)
        doubled = model(x)
    assert torch.equal(first, again)
    bias = model[0].bias[:, None, None]
    torch.testing.assert_close(doubled - bias, 2 * (first - bias))
