"""Winograd's tiles: the convolution and its gradient, both exact to rounding, and in exact arithmetic the same."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch.nn.functional import conv2d

from facechain_ext.training.winograd import POINTS, Minimal, kernels_transform, transformed, transforms, turned_transforms

SIZES = [(1, 5, 3, 8, 8), (2, 3, 5, 4, 12), (3, 4, 4, 5, 7), (1, 2, 2, 1, 1), (2, 1, 3, 9, 2)]


@pytest.mark.parametrize("m", list(POINTS))
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_output_and_gradient_are_those_of_the_convolution(size, m):
    batch, few, many, height, width = size
    torch.manual_seed(7)
    weight, bias = torch.randn(many, few, 3, 3), torch.randn(many)
    x, toward = torch.randn(batch, few, height, width, requires_grad=True), torch.randn(batch, many, height, width)
    ours = Minimal.apply(x, transformed(weight, m), bias, m)
    usual = conv2d(x.double(), weight.double(), bias.double(), padding=1)
    assert ours.is_contiguous()
    gradients = [torch.autograd.grad((out * toward.to(out.dtype)).sum(), x)[0] for out in (ours, usual)]
    for mine, exact in ((ours, usual), gradients):
        assert (mine - exact).abs().max() <= {2: 2e-6, 4: 2e-5}[m] * exact.abs().max()
    without = Minimal.apply(x, transformed(weight, m), None, m)
    torch.testing.assert_close(without + bias[:, None, None], ours)


@pytest.mark.parametrize("m", list(POINTS))
def test_the_matrices_are_exact_and_one_kernel_serves_both_directions(m):
    torch.manual_seed(3)
    size = m + 2
    tile, kernel = torch.randn(size, size, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    stored = kernels_transform(m).double() @ kernel.flatten()
    for by, turned in ((transforms(m), kernel), (turned_transforms(m), kernel.flip(0, 1))):
        found = by.outputs.double() @ (stored * (by.tiles.double() @ tile.flatten()))
        wanted = conv2d(tile[None, None], turned[None, None])[0, 0]
        # The matrices are kept in float32: sixths and the like are rounded.
        torch.testing.assert_close(found.view(m, m), wanted, rtol=1e-5, atol=1e-5)


def test_kernels_lie_so_that_the_products_read_them_as_they_are():
    made = transformed(torch.randn(6, 4, 3, 3), 4)
    assert made.shape == (36, 4, 6)
    assert made.is_contiguous()
