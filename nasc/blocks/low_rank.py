"""A linear layer or convolution as two thinner ones, initialised by the singular value decomposition of its weight.

``W = U S V^T`` becomes ``second = U sqrt(S)`` after ``first = sqrt(S) V^T`` (latency_surrogate: W_i = U_i diag(b_i) V_i; the
diagonal is the mask on the dim between the two, so a rank is a width like any other). A k x k convolution becomes a k x k
convolution to r channels and a 1 x 1 convolution from them: r (k^2 c_in + c_out) multiply-adds a position.
"""

import copy
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn


class LowRankPlusSparse(nn.Module):
    """``second(first(x)) + rest(x)``: two factors and a full matrix that is meant to become sparse.

    Args:
        first: To the rank.
        second: From the rank; carries the bias.
        rest: From input to output, without bias.
    """

    def __init__(self, first: nn.Module, second: nn.Module, rest: nn.Module) -> None:
        super().__init__()
        self.first, self.second, self.rest = first, second, rest

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output."""
        out: Tensor = self.second(self.first(x)) + self.rest(x)
        return out


def is_factorisable(module: nn.Module) -> bool:
    """A plain linear layer or an ungrouped 2-d convolution whose matrix has more than one row and column.

    Depthwise and grouped convolutions have no matrix between their channels to factorise.
    """
    if type(module) is nn.Linear:
        return min(module.in_features, module.out_features) > 1
    return type(module) is nn.Conv2d and module.groups == 1 and min(module.out_channels, module.in_channels) > 1


def matrix_of(module: nn.Linear | nn.Conv2d) -> Tensor:
    """The weight as a matrix, shape (out, in * kernel taps)."""
    return module.weight.detach().flatten(1)


def full_rank(module: nn.Linear | nn.Conv2d) -> int:
    """The rank at which two factors can express every weight."""
    return min(matrix_of(module).shape)


def break_even_rank(module: nn.Linear | nn.Conv2d) -> float:
    """The rank at which the factors cost as many multiply-adds as the dense layer: ``m n / (m + n)``.

    >>> break_even_rank(nn.Linear(64, 64))
    32.0
    """
    rows, columns = matrix_of(module).shape
    return rows * columns / (rows + columns)


def factorise(module: nn.Linear | nn.Conv2d, rank: int | None = None) -> nn.Sequential:
    """Two layers whose product is the best approximation of rank ``rank`` of the given one.

    Args:
        module: See :func:`is_factorisable`; not changed.
        rank: At most the full rank, which is the default and reproduces the layer.

    Returns:
        A ``Sequential`` of ``first`` (no bias) and ``second`` (the module's bias); both in its dtype and on its device.
    """
    first, second = _factors(module, full_rank(module) if rank is None else rank)
    return nn.Sequential(OrderedDict(first=first, second=second))


def factorise_plus_sparse(module: nn.Linear | nn.Conv2d, rank: int) -> LowRankPlusSparse:
    """Factors of rank ``rank`` and a full matrix that holds what they leave over: together exactly the given layer."""
    first, second = _factors(module, rank)
    rest = copy.deepcopy(module)
    rest.bias = None
    with torch.no_grad():
        rest.weight.copy_((matrix_of(module) - product(first, second)).reshape(module.weight.shape))
    return LowRankPlusSparse(first, second, rest)


def merge(module: nn.Linear | nn.Conv2d, factored: nn.Sequential, mask: Tensor | None = None) -> nn.Linear | nn.Conv2d:
    """The dense layer that two factors stand for: the weight is ``second diag(mask) first``.

    Args:
        module: The layer the factors came from; gives everything but the weights.
        factored: From :func:`factorise`.
        mask: Over the rank, shape (rank,); ones when not given.
    """
    first, second = factored.first, factored.second
    assert isinstance(first, nn.Linear | nn.Conv2d)
    assert isinstance(second, nn.Linear | nn.Conv2d)
    dense = copy.deepcopy(module)
    with torch.no_grad():
        dense.weight.copy_(product(first, second, mask).reshape(dense.weight.shape))
        if dense.bias is not None and second.bias is not None:
            dense.bias.copy_(second.bias)
    return dense


def product(first: nn.Linear | nn.Conv2d, second: nn.Linear | nn.Conv2d, mask: Tensor | None = None) -> Tensor:
    """``second diag(mask) first`` as a matrix, shape (out, in * kernel taps)."""
    outer = matrix_of(second)
    return (outer if mask is None else outer * mask.to(outer)) @ matrix_of(first)


def _factors(module: nn.Linear | nn.Conv2d, rank: int) -> tuple[nn.Linear | nn.Conv2d, nn.Linear | nn.Conv2d]:
    first, second = _empty_pair(module, rank)
    left, values, right = torch.linalg.svd(matrix_of(module).double(), full_matrices=False)
    root = values[:rank].sqrt()
    with torch.no_grad():
        first.weight.copy_((root[:, None] * right[:rank]).reshape(first.weight.shape))
        second.weight.copy_((left[:, :rank] * root).reshape(second.weight.shape))
        if module.bias is not None and second.bias is not None:
            second.bias.copy_(module.bias)
    for part in (first, second):
        part.requires_grad_(module.weight.requires_grad)
        part.train(module.training)
    return first, second


def _empty_pair(module: nn.Linear | nn.Conv2d, rank: int) -> tuple[nn.Linear | nn.Conv2d, nn.Linear | nn.Conv2d]:
    """The two layers with weights that do not matter yet; no random number is drawn."""
    like: dict[str, Any] = {"device": module.weight.device, "dtype": module.weight.dtype}
    biased = module.bias is not None
    with torch.random.fork_rng(devices=[]):
        if isinstance(module, nn.Linear):
            return (
                nn.Linear(module.in_features, rank, bias=False, **like),
                nn.Linear(rank, module.out_features, bias=biased, **like),
            )
        first = nn.Conv2d(
            module.in_channels,
            rank,
            module.kernel_size,  # type: ignore[arg-type]
            module.stride,  # type: ignore[arg-type]
            module.padding,  # type: ignore[arg-type]
            module.dilation,  # type: ignore[arg-type]
            bias=False,
            padding_mode=module.padding_mode,
            **like,
        )
        return first, nn.Conv2d(rank, module.out_channels, 1, bias=biased, **like)
