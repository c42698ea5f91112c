"""Nested grids, gates and their surrogate: sections 2.2 and 5 (17, 18, 19) of the method sheet."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from nasc.blocks import (
    BITS,
    GridModel,
    bits_of_gates,
    gated_weight,
    gates_of_bits,
    grid_step,
    quantise,
    relative_error,
    straight_through,
    surrogate_bits,
    weight_codes,
)
from nasc.blocks.quantisation import largest, residuals
from nasc.methods.surrogate.norms import surrogate_size


def weight() -> torch.Tensor:
    return torch.randn(40, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("bits", BITS)
def test_a_grid_has_at_most_two_to_the_bits_points_and_rounds_to_the_nearest(bits: int) -> None:
    w = weight()
    q = quantise(w, bits)
    assert q.unique().numel() <= 2**bits
    assert float((q - w).abs().max()) <= float(grid_step(largest(w), bits)) / 2 * (1 + 1e-9)
    assert float(q.max()) <= float(w.abs().max()) * (1 + 1e-12)


def test_the_coarser_grid_is_part_of_the_finer_one() -> None:
    c = torch.tensor(1.7, dtype=torch.float64)
    for coarse, fine in pairwise(BITS):
        points = torch.arange(2**coarse, dtype=torch.float64) * grid_step(c, coarse) - c
        torch.testing.assert_close(quantise(points, fine, c), points)


def test_residuals_add_up_to_the_direct_rounding_and_are_numbers_of_half_the_bits() -> None:
    w = weight()
    total = torch.zeros_like(w)
    for bits, residual in zip(BITS, residuals(w), strict=True):
        total = total + residual
        torch.testing.assert_close(total, quantise(w, bits))
        if bits > 2:
            assert (residual / grid_step(largest(w), bits)).round().unique().numel() <= 2 ** (bits // 2) + 1


def test_rounding_the_residual_equals_rounding_directly() -> None:
    w, c = weight(), largest(weight())
    q = quantise(w, 2)
    for bits in (4, 8, 16):
        step = grid_step(c, bits)
        q = q + torch.round((w - q) / step) * step
        torch.testing.assert_close(q, quantise(w, bits))


def test_the_gradient_passes_straight_through() -> None:
    w = weight().requires_grad_()
    (straight_through(w, 2) * 3).sum().backward()
    assert w.grad is not None
    assert torch.equal(w.grad, torch.full_like(w, 3))


@pytest.mark.parametrize(
    ("gates", "bits"), [((0, 1, 1), 2), ((0, 0, 0), 2), ((1, 0, 1), 4), ((1, 1, 0), 8), ((0.3, 0.2, 1e-9), 16)]
)
def test_bits_follow_the_chain_of_gates(gates: tuple[float, ...], bits: int) -> None:
    assert bits_of_gates(torch.tensor(gates)) == bits


@pytest.mark.parametrize("bits", BITS)
def test_a_chain_of_ones_and_zeros_gives_the_weight_on_that_grid_and_the_surrogate_of_the_sheet(bits: int) -> None:
    w, gates = weight(), gates_of_bits(bits)
    torch.testing.assert_close(gated_weight(w, gates), quantise(w, bits))
    assert bits_of_gates(gates) == bits
    assert float(surrogate_bits(gates)) == pytest.approx((16 * bits) ** 0.5, rel=1e-6)


def test_gates_have_a_gradient_under_the_surrogate_where_a_single_scalar_has_none() -> None:
    gates = torch.tensor([1.0, 1.0, 0.6], requires_grad=True)
    surrogate_bits(gates).backward()
    assert gates.grad is not None
    assert float(gates.grad.abs().min()) > 1e-3
    scalar = torch.tensor([0.6], requires_grad=True)
    surrogate_size(scalar).backward()
    assert float(scalar.grad) == pytest.approx(0, abs=1e-7)  # type: ignore[arg-type]


def test_gates_get_the_gradient_of_the_finite_difference() -> None:
    w = weight()
    gates = torch.tensor([0.9, 0.7, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda g: (gated_weight(w, g) * w).sum(), gates)


def test_codes_and_scale_give_the_weight_back() -> None:
    w = weight()
    codes, scale = weight_codes(w, 4)
    assert int(codes.min()) >= 0
    assert int(codes.max()) <= 15
    torch.testing.assert_close(codes * grid_step(torch.tensor(scale, dtype=w.dtype), 4) - scale, quantise(w, 4))


def test_the_error_falls_with_every_doubling_of_the_bits() -> None:
    errors = relative_error(weight())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 1
    assert errors[-1] < 1e-8


def test_a_grid_model_trains_its_real_weights_and_computes_with_rounded_ones_zeros_staying_zero() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    mask = torch.rand(4, 6) > 0.5
    with torch.no_grad():
        layer.weight.mul_(mask)
    model = GridModel(layer, {"weight": 2})
    x = torch.randn(3, 6)
    expected = nn.functional.linear(x, quantise(layer.weight, 2) * mask, layer.bias)
    torch.testing.assert_close(model(x), expected)
    before = layer.weight.detach().clone()
    model(x).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    assert not torch.equal(before[mask], layer.weight[mask])
    out = model(x)
    torch.testing.assert_close(model.bake()(x), out)
    assert layer.weight.unique().numel() <= 5
