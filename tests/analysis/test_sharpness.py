"""Top eigenvalues of operators whose spectrum is known."""

import pytest
import torch
from torch import Tensor, nn

from nasc.analysis import hessian_product, sharpness, top_eigenvalue
from nasc.analysis.sharpness import Vector


def operator(eigenvalues: list[float]) -> tuple[object, Vector, Tensor]:
    torch.manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), dtype=torch.float64))
    matrix = basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T
    return (lambda vector: (matrix @ vector[0],)), (torch.zeros(len(eigenvalues), dtype=torch.float64),), matrix


@pytest.mark.parametrize("spectrum", [[5.0, 3.0, 1.0, -2.0], [2.0, 0.5, -7.0], [-1.0, -4.0, -6.0]])
def test_the_largest_eigenvalue_is_found_also_where_a_negative_one_dominates(spectrum: list[float]) -> None:
    product, like, _ = operator(spectrum)
    found = top_eigenvalue(product, like, iterations=500, tolerance=1e-9)
    assert found.value == pytest.approx(max(spectrum), abs=1e-4)
    assert found.converged


def test_too_few_iterations_are_said_to_be_too_few() -> None:
    product, like, _ = operator([1.0, 0.99, 0.98, 0.97])
    assert not top_eigenvalue(product, like, iterations=2, tolerance=1e-12).converged


def small_net() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    return model, torch.randn(20, 3, dtype=torch.float64), torch.arange(20) % 3


def dense_hessian(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    parameters = dict(model.named_parameters())
    sizes = [parameter.numel() for parameter in parameters.values()]

    def loss(flat: Tensor) -> Tensor:
        parts = torch.split(flat, sizes)
        state = {n: part.view_as(p) for (n, p), part in zip(parameters.items(), parts, strict=True)}
        return nn.functional.cross_entropy(torch.func.functional_call(model, state, (x,)), y)

    start = torch.cat([parameter.detach().flatten() for parameter in parameters.values()])
    return torch.autograd.functional.hessian(loss, start)


def test_products_and_the_top_eigenvalue_are_those_of_the_whole_hessian() -> None:
    model, x, y = small_net()
    hessian = dense_hessian(model, x, y)
    product, like = hessian_product(model, x, y, batch_size=7)
    generator = torch.Generator().manual_seed(1)
    vector = tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in like)
    expected = hessian @ torch.cat([part.flatten() for part in vector])
    torch.testing.assert_close(torch.cat([part.flatten() for part in product(vector)]), expected)
    largest = float(torch.linalg.eigvalsh(hessian)[-1])
    assert sharpness(model, x, y, iterations=300).value == pytest.approx(largest, rel=3e-2)


def test_a_product_is_the_difference_of_gradients() -> None:
    model, x, y = small_net()
    product, like = hessian_product(model, x, y)
    direction = tuple(torch.ones_like(t) for t in like)

    def gradient(step: float) -> Tensor:
        state = {n: (p.detach() + step).requires_grad_() for n, p in model.named_parameters()}
        loss = nn.functional.cross_entropy(torch.func.functional_call(model, state, (x,)), y)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(state.values()))])

    expected = (gradient(1e-5) - gradient(-1e-5)) / 2e-5
    torch.testing.assert_close(torch.cat([p.flatten() for p in product(direction)]), expected, rtol=1e-5, atol=1e-8)


def test_restricted_to_a_mask_it_is_the_eigenvalue_of_the_part() -> None:
    model, x, y = small_net()
    generator = torch.Generator().manual_seed(0)
    masks = {name: torch.rand(p.shape, generator=generator) < 0.4 for name, p in model.named_parameters()}
    flat = torch.cat([mask.flatten() for mask in masks.values()])
    part = dense_hessian(model, x, y)[flat][:, flat]
    found = sharpness(model, x, y, masks=masks, iterations=300).value
    assert found == pytest.approx(float(torch.linalg.eigvalsh(part)[-1]), rel=3e-2)


def test_measuring_sharpness_leaves_the_model_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sharpness(model, torch.randn(20, 3), torch.arange(20) % 3, iterations=5)
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
