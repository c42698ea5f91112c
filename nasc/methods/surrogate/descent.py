"""The paper's dynamics: fixed lambda, gradient step, clip at zero (arXiv 2306.05785, section 3).

    a <- max(0, a - eta * d(loss + lambda * cost(R(a))) / da)

The options of :class:`SurrogateConfig` are departures, all off by default.
"""

from typing import Any

import torch
from torch import Tensor

from nasc.graph.masking import masked_state
from nasc.methods._blocks import WeightForms
from nasc.methods._masks import Masks, keep_one
from nasc.methods._price import Price
from nasc.methods.surrogate.block_steering import true_sizes
from nasc.methods.surrogate.config import SurrogateConfig
from nasc.methods.surrogate.norms import renormalise
from nasc.methods.surrogate.relaxed import RelaxedPrice, as_loss_term, relax, relax_blocks

_ADAM_BETAS = (0.9, 0.999)
_ADAM_EPS = 1e-8


class Descent:
    """Masks under projected gradient descent on loss + lambda * price.

    Args:
        masks: Moved in place.
        price: Eq. 5 or eq. 6.
        limit: In the price's unit; only looked at with ``freeze_at_target``. None for no limit.
        config: The options.
        forms: What vectors beside the dims' masks mean, where layers have a choice of form.
    """

    def __init__(
        self,
        masks: Masks,
        price: Price,
        limit: float | None,
        config: SurrogateConfig,
        forms: WeightForms | None = None,
    ) -> None:
        self.forms = forms
        self.masks, self.price, self.limit, self.config = masks, price, limit, config
        self.frozen = False
        self.strength = config.strength if config.warm_up == 0 else 0.0
        self._first = torch.zeros_like(masks.flat.detach())  # momentum, or Adam's first moment
        self._second = torch.zeros_like(self._first)
        self._updates = 0

    def penalty(self) -> Tensor:
        """``lambda * price``, with the closed-form gradient to the masks; an exact zero where lambda is zero."""
        if self.frozen or self.strength == 0:
            return torch.zeros((), device=self.masks.flat.device)
        unit = self.price.dense if self.config.normalised else 1.0
        return as_loss_term(self.masks.flat, self._relaxed(), self.strength / unit)

    def relaxed_price(self) -> float:
        """The price at the surrogate sizes of the masks as they stand."""
        return self._relaxed().value

    def step(self, fraction: float, learning_rate: float) -> None:
        """One step of the masks.

        Args:
            fraction: Of the run that is done.
            learning_rate: Of the model's optimiser; used where the config names none.
        """
        gradient = self.masks.take_gradient()
        # With lambda = 0 masks stay at one for the whole run: strength 0 is plain training, bit for bit.
        if self.frozen or self.config.strength == 0:
            return
        rate = learning_rate if self.config.learning_rate is None else self.config.learning_rate
        old = self.masks.flat.detach()
        new = old - rate * self._direction(gradient)
        if self.config.project:
            gates = () if self.forms is None else tuple(self.forms.quantised)
            new = keep_one(self.masks.layout, self._projected(old, new), new, but=gates)
        if self.config.renormalise:
            new = self._renormalised(new)
        self.masks.assign(new)
        warm = self.config.warm_up
        self.strength = self.config.strength * (min(1.0, fraction / warm) if warm else 1.0)
        if self.config.freeze_at_target and self.limit is not None:
            self.frozen = self.price.total(self.sizes()) <= self.limit  # type: ignore[arg-type]

    def sizes(self) -> dict[str, int] | dict[str, float]:
        """What the masks stand for, by count."""
        return self.masks.sizes() if self.forms is None else true_sizes(self.masks, self.forms)

    def _relaxed(self) -> RelaxedPrice:
        flat = self.masks.flat.detach()
        if self.config.project:
            return self._relax(flat)
        relaxed = self._relax(flat.abs())
        return RelaxedPrice(relaxed.value, relaxed.gradient * flat.sign())

    def _relax(self, flat: Tensor) -> RelaxedPrice:
        if self.forms is None:
            return relax(self.price, self.masks.layout, flat, self.config.form)
        return relax_blocks(self.price, self.masks.layout, flat, self.forms, self.config.form)

    def _direction(self, gradient: Tensor) -> Tensor:
        self._updates += 1
        self._first, self._second = self._first.to(gradient), self._second.to(gradient)
        if self.config.optimizer == "sgd":
            self._first = self.config.momentum * self._first + gradient
            return self._first
        first, second = _ADAM_BETAS
        self._first = first * self._first + (1 - first) * gradient
        self._second = second * self._second + (1 - second) * gradient.square()
        mean = self._first / (1 - first**self._updates)
        return mean / ((self._second / (1 - second**self._updates)).sqrt() + _ADAM_EPS)

    def _projected(self, old: Tensor, new: Tensor) -> Tensor:
        clipped = new.clamp_min(0)
        if self.forms is not None and self.forms.quantised:
            # Gates scale whole residuals and multiply one another: above one they would only drive each other up.
            vectors = self.masks.layout.split(clipped)
            gates = {name: vectors[name].clamp_max(1) for name in self.forms.quantised}
            clipped = self.masks.layout.join({**vectors, **gates})
        if self.config.absorbing:
            clipped = torch.where(old > 0, clipped, torch.zeros_like(clipped))
        return clipped

    def _renormalised(self, flat: Tensor) -> Tensor:
        """Masks of norm sqrt(d), and the readers' weights times the factor: the function is unchanged."""
        layout, network = self.masks.layout, self.price.network
        scaled, factor = renormalise(layout, flat)
        parameters = dict(network.model.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, weight in masked_state(network, layout.split(layout.spread(factor))).items():
                parameters[name].copy_(weight)
        return scaled

    def scores(self) -> Tensor:
        """The masks, shape (entries,)."""
        return self.masks.flat.detach().abs()

    def state_dict(self) -> dict[str, Any]:
        """Lambda, the moments of the mask optimiser, and whether the masks are fixed."""
        return {
            "strength": self.strength,
            "first": self._first.clone(),
            "second": self._second.clone(),
            "updates": self._updates,
            "frozen": self.frozen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`."""
        self.strength, self.frozen, self._updates = (
            float(state["strength"]),
            bool(state["frozen"]),
            int(state["updates"]),
        )
        self._first, self._second = state["first"].clone(), state["second"].clone()
