"""The empirical neural tangent kernel at initialisation: how alike two networks would train (paper, Section 5 and Fig. 4).

    K(x, x') = sum_c <grad f_c(x), grad f_c(x')>

over the parameters each network has. Parameter counts and the scale of the start differ between forms, so beside the
relative distance of the kernels that of the trace-normalised ones and the centred alignment are reported.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nasc.errors import ModelError


def tangent_kernel(model: nn.Module, x: Tensor) -> Tensor:
    """K on a batch, shape (n, n), symmetric and positive semidefinite.

    Args:
        model: Gives scores (n, classes); used in eval mode, samples must not see each other.
        x: Inputs, shape (n, ...).

    Raises:
        ModelError: The model does not give a score per sample and class.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = model.training
    model.eval()
    try:
        outputs = [model(one[None]) for one in x]
        if outputs[0].dim() != 2 or outputs[0].shape[0] != 1:
            raise ModelError(f"expected scores of shape (1, classes) for one sample; got {tuple(outputs[0].shape)}")
        kernel = torch.zeros(len(x), len(x), dtype=torch.float64)
        for c in range(outputs[0].shape[1]):
            rows = torch.stack([_gradient(one[0, c], parameters) for one in outputs])
            kernel += (rows @ rows.T).double().cpu()
    finally:
        model.train(training)
    return (kernel + kernel.T) / 2


def _gradient(score: Tensor, parameters: list[nn.Parameter]) -> Tensor:
    grads = torch.autograd.grad(score, parameters, retain_graph=True, allow_unused=True)
    flat = [torch.zeros_like(p) if g is None else g for g, p in zip(grads, parameters, strict=True)]
    return torch.cat([g.flatten() for g in flat])


@dataclass(frozen=True)
class KernelDistance:
    """How far a kernel is from the dense network's.

    Args:
        relative: |K_s - K_d|_F / |K_d|_F.
        normalised: The same of K / trace K.
        alignment: Centred alignment, one for equal shapes.
    """

    relative: float
    normalised: float
    alignment: float


def compare_kernels(kernel: Tensor, dense: Tensor) -> KernelDistance:
    """Distances of a kernel to the dense network's, both of shape (n, n)."""
    ours, theirs = kernel / kernel.trace(), dense / dense.trace()
    return KernelDistance(
        float((kernel - dense).norm() / dense.norm()),
        float((ours - theirs).norm() / theirs.norm()),
        float(_centred(kernel).mul(_centred(dense)).sum() / (_centred(kernel).norm() * _centred(dense).norm())),
    )


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0, keepdim=True) - kernel.mean(1, keepdim=True) + kernel.mean()
