"""Laws of R(a) = sqrt(d) |a|_1 / |a|_2 (the method's sheet, section 5: laws 1 to 4, 8, 9, 19)."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nasc.methods._masks import Layout
from nasc.methods.surrogate.norms import (
    effective_size,
    renormalise,
    sizes_and_gradient,
    surrogate_size,
    surrogate_size_absolute,
)

WIDTHS = (5, 3, 1, 8)


def layout_of(*sizes: int) -> Layout:
    names = tuple(f"d{index}" for index in range(len(sizes)))
    return Layout(names, sizes, torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)))


def masks(seed: int, *sizes: int) -> Tensor:
    return torch.rand(sum(sizes), generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.01


@pytest.mark.parametrize("width", [1, 2, 64, 100])
def test_size_of_ones_is_the_width(width: int) -> None:
    torch.testing.assert_close(surrogate_size(torch.ones(width, dtype=torch.float64)).item(), float(width))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 10, allow_subnormal=False), min_size=1, max_size=40), st.floats(0.01, 100))
def test_size_ignores_scale_and_order_and_stays_in_its_bounds(values: list[float], scale: float) -> None:
    mask = torch.tensor(values, dtype=torch.float64)
    mask = torch.where(mask < 1e-3, torch.zeros_like(mask), mask)
    if mask.max() == 0:
        return
    width, alive, size = mask.numel(), int((mask > 0).sum()), surrogate_size(mask).item()
    assert surrogate_size(scale * mask).item() == pytest.approx(size, rel=1e-12)
    assert surrogate_size(mask.flip(0)).item() == pytest.approx(size, rel=1e-12)
    tolerance = 1 + 1e-12
    assert math.sqrt(width) <= size * tolerance
    assert size <= math.sqrt(width * alive) * tolerance <= width * tolerance**2


@pytest.mark.parametrize(("width", "kept"), [(64, 16), (100, 25), (7, 7), (9, 1)])
def test_size_of_a_binary_mask_is_the_geometric_mean_and_the_exact_form_counts(width: int, kept: int) -> None:
    mask = torch.zeros(width, dtype=torch.float64)
    mask[torch.randperm(width, generator=torch.Generator().manual_seed(0))[:kept]] = 1
    assert surrogate_size(mask).item() == pytest.approx(math.sqrt(width * kept))
    assert effective_size(mask).item() == pytest.approx(kept)


@pytest.mark.parametrize("form", ["paper", "exact"])
def test_closed_form_gradient_equals_autograd(form: str) -> None:
    layout, flat = layout_of(*WIDTHS), masks(0, *WIDTHS).requires_grad_()
    sizes, gradient = sizes_and_gradient(layout, flat.detach(), form)  # type: ignore[arg-type]
    function = surrogate_size if form == "paper" else effective_size
    for index, (name, vector) in enumerate(layout.split(flat).items()):
        size = function(vector)
        (expected,) = torch.autograd.grad(size, vector, retain_graph=True)
        torch.testing.assert_close(sizes[index], size.detach())
        torch.testing.assert_close(layout.split(gradient)[name], expected)


def test_gradient_is_orthogonal_to_the_mask_and_changes_sign_at_tau() -> None:
    layout, flat = layout_of(20), masks(1, 20)
    _, gradient = sizes_and_gradient(layout, flat)
    assert float(gradient @ flat) == pytest.approx(0, abs=1e-12)
    tau = flat.square().sum() / flat.sum()
    assert bool(((gradient > 0) == (flat < tau)).all())


def test_gradient_vanishes_at_constant_masks() -> None:
    layout = layout_of(6, 4)
    flat = torch.cat([torch.full((6,), 0.3), torch.full((4,), 2.0)]).double()
    torch.testing.assert_close(sizes_and_gradient(layout, flat)[1], torch.zeros(10, dtype=torch.float64))


def test_hessian_at_ones_is_minus_one_on_the_complement_of_ones() -> None:
    width = 7
    hessian = torch.autograd.functional.hessian(surrogate_size, torch.ones(width, dtype=torch.float64))
    expected = torch.full((width, width), 1 / width, dtype=torch.float64) - torch.eye(width, dtype=torch.float64)
    torch.testing.assert_close(hessian, expected)


def test_projected_descent_on_the_size_alone_ends_at_one_survivor() -> None:
    layout, flat = layout_of(12), masks(3, 12)
    for _ in range(4000):
        flat = (flat - 0.02 * sizes_and_gradient(layout, flat)[1]).clamp_min(0)
        assert float(flat.min()) >= 0
    assert int((flat > 0).sum()) == 1
    assert surrogate_size(flat).item() == pytest.approx(math.sqrt(12))


def test_without_projection_the_signed_size_turns_negative_and_the_absolute_one_cannot() -> None:
    mask = -torch.ones(9, dtype=torch.float64)
    assert surrogate_size(mask).item() == pytest.approx(-9)
    assert surrogate_size_absolute(mask).item() == pytest.approx(9)


def test_a_mask_of_one_entry_has_no_gradient() -> None:
    _, gradient = sizes_and_gradient(layout_of(1), torch.tensor([0.37], dtype=torch.float64))
    assert float(gradient) == pytest.approx(0, abs=1e-12)


def test_renormalised_masks_have_norm_sqrt_d_and_the_same_size() -> None:
    layout, flat = layout_of(*WIDTHS), masks(4, *WIDTHS)
    scaled, factor = renormalise(layout, flat)
    norms = layout.total(scaled.square()).sqrt()
    torch.testing.assert_close(norms, torch.tensor(WIDTHS, dtype=torch.float64).sqrt())
    torch.testing.assert_close(scaled * layout.spread(factor), flat)
    torch.testing.assert_close(sizes_and_gradient(layout, scaled)[0], sizes_and_gradient(layout, flat)[0])
