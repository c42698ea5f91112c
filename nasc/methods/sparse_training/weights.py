"""The weights under masks: held at zero, their gradients too, and what the optimiser remembers of them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasc.errors import UsageError


class MaskedWeights:
    """The parameters of a module that masks act on.

    A masked weight is zero before every forward pass and after every step of the optimiser (whose momentum and decay would
    bring it back), and its gradient is zero unless the dense gradient is asked for.

    Args:
        model: The user's module; its parameters are changed in place.
        names: The parameters that may be masked.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        parameters = dict(model.named_parameters(remove_duplicate=False))
        self.parameters = {name: parameters[name] for name in names}
        self.masks: dict[str, Tensor] = {}
        self.dense_gradient = False
        self._factors: dict[str, Tensor] = {}
        self._optimizer: Optimizer | None = None
        self._saved: list[tuple[nn.Parameter, Tensor, dict[str, Any]]] | None = None
        for name, parameter in self.parameters.items():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(self._gradient_hook(name))  # type: ignore[no-untyped-call]

    def assign(self, masks: Mapping[str, Tensor]) -> None:
        """New masks (bool, by parameter name; none: dense), applied at once."""
        self.masks = {name: mask.cpu() for name, mask in masks.items() if not bool(mask.all())}
        self._factors = {}
        self.hold()

    @torch.no_grad()
    def hold(self) -> None:
        """Put masked weights to zero."""
        for name in self.masks:
            self.parameters[name].mul_(self._factor(name))

    def values(self) -> dict[str, Tensor]:
        """The weights by name, as they stand."""
        return {name: parameter.detach() for name, parameter in self.parameters.items()}

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last backward pass by name; zeros where there was none."""
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach()
            for name, parameter in self.parameters.items()
        }

    def zeros(self) -> int:
        """How many of the weights are exactly zero."""
        return sum(parameter.numel() - int(torch.count_nonzero(parameter)) for parameter in self.parameters.values())

    def count(self) -> int:
        """How many weights there are."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    # -- the optimiser --------------------------------------------------------------------------------

    def follow(self, optimizer: Optimizer) -> None:
        """Know the optimiser, to clear its momentum and to undo a step."""
        self._optimizer = optimizer
        optimizer.register_step_pre_hook(self._before_step)

    @property
    def optimizer(self) -> Optimizer:
        """The optimiser that was followed.

        Raises:
            UsageError: None was.
        """
        if self._optimizer is None:
            raise UsageError(
                "sparse training needs the optimiser: masks move what it remembers",
                "call method.follow(optimizer) before the first step",
            )
        return self._optimizer

    @torch.no_grad()
    def reset_momentum(self, masks: Mapping[str, Tensor] | None = None) -> None:
        """Zero everything the optimiser remembers, or only where masks are true (by parameter name)."""
        state = self.optimizer.state
        if masks is None:
            for remembered in state.values():
                for value in remembered.values():
                    if isinstance(value, Tensor):
                        value.zero_()
            return
        for name, mask in masks.items():
            parameter = self.parameters[name]
            for value in state.get(parameter, {}).values():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    value.masked_fill_(mask.to(value.device), 0.0)

    @torch.no_grad()
    def undo_step(self) -> None:
        """Take the optimiser's last step back: all parameters and all it remembers are as before it.

        Only a step that was taken while :attr:`dense_gradient` was set can be undone.
        """
        if self._saved is None:
            return
        for parameter, value, remembered in self._saved:
            parameter.copy_(value)
            if remembered:
                self.optimizer.state[parameter] = remembered
            else:
                self.optimizer.state.pop(parameter, None)
        self._saved = None

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        if not self.dense_gradient:
            return
        self._saved = [
            (
                parameter,
                parameter.detach().clone(),
                {key: _copy(value) for key, value in optimizer.state[parameter].items()},
            )
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]

    def _gradient_hook(self, name: str) -> Callable[[Tensor], None]:
        def mask_gradient(parameter: Tensor) -> None:
            if name in self.masks and not self.dense_gradient and parameter.grad is not None:
                parameter.grad.mul_(self._factor(name))  # in place: a copy would cost more than the product

        return mask_gradient

    def _factor(self, name: str) -> Tensor:
        """The mask as numbers, where and in the type the parameter is."""
        parameter = self.parameters[name]
        factor = self._factors.get(name)
        if factor is None or factor.device != parameter.device or factor.dtype != parameter.dtype:
            factor = self.masks[name].to(device=parameter.device, dtype=parameter.dtype)
            self._factors[name] = factor
        return factor


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value
