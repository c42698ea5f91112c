"""A module that computes with weights on their grids while its own stay real: training at few bits."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from nasc.blocks.quantisation import quantise_living, straight_through


class GridModel(nn.Module):
    """Any module with some weights rounded to a grid in every forward pass; gradients pass straight through.

    Args:
        inner: The module; its parameters are the real-valued ones and keep their names under ``inner.``.
        bits: Width of the grid by parameter name of ``inner``.
    """

    def __init__(self, inner: nn.Module, bits: Mapping[str, int]) -> None:
        super().__init__()
        self.inner = inner
        self.bits = dict(bits)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module returns with weights on their grids."""
        parameters = dict(self.inner.named_parameters())
        state = {name: straight_through(parameters[name], bits) for name, bits in self.bits.items()}
        return functional_call(self.inner, state, args, kwargs)

    @torch.no_grad()
    def bake(self) -> nn.Module:
        """Round the weights themselves for good, and give the inner module back."""
        parameters = dict(self.inner.named_parameters())
        for name, bits in self.bits.items():
            parameters[name].copy_(quantise_living(parameters[name], bits))
        return self.inner
