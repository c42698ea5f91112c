"""Sharpness: the top eigenvalue of the training loss's Hessian, by power iteration on Hessian-vector products."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nasc.errors import UsageError
from nasc.models.modes import evaluation_mode

Vector = tuple[Tensor, ...]


@dataclass(frozen=True)
class TopEigenvalue:
    """The largest eigenvalue found.

    Args:
        value: The largest, with its sign (not the largest in magnitude).
        iterations: Products that were taken.
        converged: The last two estimates differ by less than the tolerance.
    """

    value: float
    iterations: int
    converged: bool


def top_eigenvalue(
    product: Callable[[Vector], Vector], like: Vector, *, iterations: int = 50, tolerance: float = 1e-3, seed: int = 0
) -> TopEigenvalue:
    """The largest eigenvalue of a symmetric operator.

    Power iteration finds the eigenvalue of the largest magnitude; where that one is negative the operator is shifted by it
    and the iteration repeated, so that the largest with its sign remains.

    Args:
        product: Applies the operator.
        like: Tensors of the shapes and dtypes it takes.
        iterations: Products at most, in each of the two runs.
        tolerance: Relative change at which it stops.
        seed: Of the first vector.
    """
    first = _power_iteration(product, like, iterations, tolerance, seed)
    if first.value >= 0:
        return first
    shift = -first.value
    shifted = _power_iteration(
        lambda vector: tuple(h + shift * v for h, v in zip(product(vector), vector, strict=True)),
        like,
        iterations,
        tolerance,
        seed,
    )
    return TopEigenvalue(shifted.value - shift, first.iterations + shifted.iterations, shifted.converged)


def _power_iteration(
    product: Callable[[Vector], Vector], like: Vector, iterations: int, tolerance: float, seed: int
) -> TopEigenvalue:
    generator = torch.Generator().manual_seed(seed)
    vector = _unit(tuple(torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device) for t in like))
    value, converged = 0.0, False
    for step in range(1, iterations + 1):
        image = product(vector)
        before, value = value, _dot(image, vector)
        if _dot(image, image) == 0:
            return TopEigenvalue(0.0, step, True)
        vector = _unit(image)
        converged = step > 1 and abs(value - before) <= tolerance * max(abs(value), 1e-12)
        if converged:
            return TopEigenvalue(value, step, True)
    return TopEigenvalue(value, iterations, converged)


def hessian_product(
    model: nn.Module, x: Tensor, y: Tensor, *, masks: Mapping[str, Tensor] | None = None, batch_size: int = 500
) -> tuple[Callable[[Vector], Vector], Vector]:
    """The Hessian of the mean cross entropy on fixed pictures, as a function of a vector.

    Evaluation mode (batch norms use their running statistics), no augmentation, no smoothing. The model, its gradients and
    its mode are left as they were.

    Args:
        model: Gives class scores.
        x: Pictures.
        y: Labels, int64.
        masks: Where given, vectors are restricted to these weights (bool by parameter name): the Hessian of the sparse
            network's own parameters.
        batch_size: Pictures at once.

    Returns:
        The product, and tensors of the shapes it takes.
    """
    parameters = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}
    if not parameters:
        raise UsageError("expected a model with trainable parameters, got none")
    names = tuple(parameters)
    supports = [masks[name].to(parameters[name]) if masks and name in masks else None for name in names]

    def restrict(vector: Vector) -> Vector:
        return tuple(v if s is None else v * s for v, s in zip(vector, supports, strict=True))

    def product(vector: Vector) -> Vector:
        direction, total = restrict(vector), [torch.zeros_like(parameters[name]) for name in names]
        with evaluation_mode(model), torch.enable_grad():
            for pictures, labels in zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True):
                leaves = tuple(parameters[name].clone().requires_grad_() for name in names)
                scores = functional_call(model, dict(zip(names, leaves, strict=True)), (pictures,))
                loss = nn.functional.cross_entropy(scores, labels, reduction="sum") / len(y)
                gradients = torch.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
                slope = sum(
                    ((g * d).sum() for g, d in zip(gradients, direction, strict=True)), start=loss.new_zeros(())
                )
                seconds = torch.autograd.grad(slope, leaves, materialize_grads=True)
                total = [t + s for t, s in zip(total, seconds, strict=True)]
        return restrict(tuple(total))

    return product, tuple(parameters[name] for name in names)


def sharpness(
    model: nn.Module, x: Tensor, y: Tensor, *, masks: Mapping[str, Tensor] | None = None, iterations: int = 50
) -> TopEigenvalue:
    """The top Hessian eigenvalue of a model's loss on fixed pictures; see :func:`hessian_product`."""
    product, like = hessian_product(model, x, y, masks=masks)
    return top_eigenvalue(product, like, iterations=iterations)


def _dot(left: Vector, right: Vector) -> float:
    return float(sum(float((a.double() * b.double()).sum()) for a, b in zip(left, right, strict=True)))


def _unit(vector: Vector) -> Vector:
    norm = _dot(vector, vector) ** 0.5
    return tuple(part / max(norm, 1e-30) for part in vector)
