"""Powerpropagation (Schwarz et al., arXiv 2110.00296): weights are trained as ``w = v |v|^(alpha - 1)``.

The gradient of ``v`` carries the factor ``alpha |v|^(alpha - 1)``, so small weights move little and large ones much:
magnitudes spread, and pruning by them costs less.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nasc.errors import UsageError


def power(values: Tensor, exponent: float) -> Tensor:
    """``v |v|^(exponent - 1)``; differentiable, zero with zero gradient at zero for exponents above one."""
    return values * values.abs().pow(exponent - 1)


class PowerModel(nn.Module):
    """The user's module with some weights computed as powers of its parameters.

    Args:
        inner: The user's module. Its named parameters become ``v`` at once, such that the function stays what it was.
        names: Those parameters.
        exponent: Alpha, at least one; one is plain training.
    """

    def __init__(self, inner: nn.Module, names: tuple[str, ...], exponent: float) -> None:
        super().__init__()
        if exponent < 1:
            raise UsageError(f"expected a power of at least 1, got {exponent}", "the paper uses 2 to 4")
        self.inner = inner
        self.names, self.exponent = names, exponent
        self._rewrite(1 / exponent)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the user's module returns with the powers in place of the parameters."""
        if self.exponent == 1:
            return self.inner(*args, **kwargs)
        parameters = dict(self.inner.named_parameters(remove_duplicate=False))
        state = {name: power(parameters[name], self.exponent) for name in self.names}
        return functional_call(self.inner, state, args, kwargs)

    def settle(self) -> None:
        """Make the parameters the weights themselves: from here on training is plain."""
        self._rewrite(self.exponent)
        self.exponent = 1.0

    @torch.no_grad()
    def _rewrite(self, exponent: float) -> None:
        if exponent == 1:
            return
        parameters = dict(self.inner.named_parameters(remove_duplicate=False))
        for name in self.names:
            parameters[name].copy_(power(parameters[name], exponent))
