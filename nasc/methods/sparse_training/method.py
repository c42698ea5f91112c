"""Sparse training as a method: masks over weights, a schedule that moves them, an aim that says how many stay."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nasc.cost import nonzero_macs
from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._price import Price
from nasc.methods._scores import writer_norms
from nasc.methods.sparse_training.budgets import make_pools
from nasc.methods.sparse_training.layers import prunable_layers
from nasc.methods.sparse_training.patterns import make_units
from nasc.methods.sparse_training.power import PowerModel
from nasc.methods.sparse_training.ranking import Rule
from nasc.methods.sparse_training.realise import Aim, PriceAim, SparsityAim, realise, selection_price
from nasc.methods.sparse_training.state import Schedule, Sparsity, pack, unpack
from nasc.methods.sparse_training.weights import MaskedWeights


class SparseTraining:
    """Train with masks over single weights (or groups of them, or whole channels).

    Args:
        network: The traced model; its weights are trained in place.
        price: What sizes cost.
        limit: In the price's unit. Multiply-adds and parameters are met by zeros, seconds and bytes by removed channels.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        schedule: When masks move.
        sparsity: The final share of prunable weights (groups, channels) that is zero; given, the limit is not looked at.
        first_sparsity: Where a gradual schedule starts; only with ``sparsity``.
        budget: One of :data:`nasc.methods.sparse_training.budgets.BUDGETS`.
        pattern: See :func:`nasc.methods.sparse_training.patterns.make_units`; by default single weights, and channels where
            the price is one that zeros do not lower.
        depthwise: Prune depthwise kernels too.
        keep_rows: Keep at least one group of every output row.
        power: Exponent of powerpropagation; one is plain training.
        seed: Of what is drawn at random.

    Raises:
        UsageError: An unknown budget or pattern, or a sparsity out of range.
        TargetError: The limit is out of reach.
    """

    def __init__(
        self,
        network: Network,
        price: Price,
        limit: float,
        total_steps: int,
        schedule: Schedule,
        *,
        sparsity: float | None = None,
        first_sparsity: float = 0.0,
        budget: str = "global",
        pattern: str | None = None,
        depthwise: bool = False,
        keep_rows: bool = False,
        power: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.network, self.price, self.limit, self.schedule = network, price, limit, schedule
        layers = prunable_layers(network, depthwise=depthwise)
        units = make_units(pattern or default_pattern(price), network, layers, keep_rows=keep_rows)
        rule = Rule(units, make_pools(budget, units))
        names = tuple(rule.masks(rule.all_kept()))
        self.model: nn.Module = network.model if power == 1 else PowerModel(network.model, names, power)
        self.weights = MaskedWeights(network.model, names)
        aim = make_aim(rule, price, limit, sparsity, first_sparsity)
        self.masks = Sparsity(rule, self.weights, aim, total_steps, seed)
        self.step_count = 0
        self._spent = 0.0
        self._kept = self.masks.kept
        self._share: float | None = None
        self._refuse_out_of_reach()
        schedule.begin(self.masks)
        self._prepare_next()

    def _refuse_out_of_reach(self) -> None:
        """Say before any training that a limit cannot be met."""
        ranking = self.masks.rank()
        self.masks.aim.sparsity(ranking, 0.0)

    def follow(self, optimizer: Optimizer) -> None:
        """Know the user's optimiser; call it before the first step."""
        self.weights.follow(optimizer)

    def penalty(self) -> Tensor:
        """Zero: nothing is added to the loss."""
        return torch.zeros((), device=next(iter(self.weights.parameters.values())).device)

    def step(self) -> None:
        """Hold masked weights at zero, and move masks where the schedule says so."""
        self.step_count += 1
        self._spent += self.step_cost()
        self.weights.hold()
        self.schedule.act(self.masks, self.step_count)
        self._prepare_next()

    def step_cost(self) -> float:
        """Multiply-adds of a training step as a share of a dense one's, zeros skipped (arXiv 1911.11134, appendix H).

        The backward pass takes twice the forward one: ``3 f_S`` of ``3 f_D``; where masks move, the gradient of all
        weights is needed, which makes ``2 f_S + f_D``.
        """
        if self._share is None:
            masked = Selection(masks=self.masks.rule.masks(self.masks.kept))
            self._share = nonzero_macs(self.network, masked) / nonzero_macs(self.network, Selection())
        return (2 * self._share + 1) / 3 if self.weights.dense_gradient else self._share

    def _prepare_next(self) -> None:
        if self.masks.kept is not self._kept:
            self._kept, self._share = self.masks.kept, None
        self.weights.dense_gradient = self.schedule.wants_dense_gradient(self.step_count)
        if self.frozen and isinstance(self.model, PowerModel) and self.model.exponent != 1:
            self.model.settle()
            self.weights.reset_momentum()

    @property
    def frozen(self) -> bool:
        """The masks are final: what follows is training under them."""
        return self.schedule.is_final(self.step_count)

    def select(self) -> Selection:
        """The masks as they stand, emptied channels removed."""
        return realise(self.network, self.masks.rule.masks(self.masks.kept))

    def scores(self) -> dict[str, Tensor]:
        """Norms of what writes each channel: zero for those that no weight writes."""
        return writer_norms(self.network)

    def metrics(self) -> dict[str, float]:
        """Density of the masks, share of weights that are zero, whether the phase is sparse, cost of training, overlap.

        ``training_cost`` is the mean multiply-adds of a step so far, as a share of a dense step's; ``collapsed`` the number
        of layers that lost all their weights.
        """
        return {
            "density": self.masks.density,
            "zeros": self.weights.zeros() / self.weights.count(),
            "sparse_phase": float(self.schedule.is_sparse(self.step_count)),
            "training_cost": self._spent / max(self.step_count, 1),
            "collapsed": float(sum(not bool(flags.any()) for flags in self.masks.kept)),
            **self.schedule.metrics(),
        }

    def price_now(self) -> float:
        """What the selection of the moment costs, in the price's unit."""
        return selection_price(self.price, self.select())

    def state_dict(self) -> dict[str, Any]:
        """Step, masks, and what the schedule remembers."""
        previous = self.masks.previous
        return {
            "step": self.step_count,
            "spent": self._spent,
            "kept": pack(self.masks.kept),
            "previous": None if previous is None else pack(previous),
            "schedule": self.schedule.state_dict(),
            "power": self.model.exponent if isinstance(self.model, PowerModel) else 1.0,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`; the weights come from the model's own state."""
        self.step_count, self._spent = int(state["step"]), float(state["spent"])
        self.masks.previous = None if state["previous"] is None else unpack(state["previous"])
        self.schedule.load_state_dict(state["schedule"])
        if isinstance(self.model, PowerModel):
            self.model.exponent = float(state["power"])
        self.masks.assign(unpack(state["kept"]))
        self._kept, self._share = self.masks.kept, None
        self.weights.dense_gradient = self.schedule.wants_dense_gradient(self.step_count)


ScheduleMaker = Callable[[Network, int], Schedule]


def default_pattern(price: Price) -> str:
    """Single weights where zeros lower the price, channels where only removed channels do."""
    return "unstructured" if price.unit in ("macs", "params") else "channels"


def make_aim(rule: Rule, price: Price, limit: float, sparsity: float | None, first: float) -> Aim:
    """The aim of a run: the sparsity that was asked for, the pattern's own, or the price.

    Raises:
        UsageError: The sparsity is out of range, or not the one the pattern fixes.
    """
    fixed = [unit.fixed for unit in rule.units if unit.fixed is not None]
    if fixed:
        share = sum(fixed) / sum(unit.groups for unit in rule.units)
        if sparsity is not None and abs(sparsity - share) > 0.05:
            raise UsageError(
                f"the pattern fixes the sparsity at {share:.2f}; got {sparsity}",
                "leave the sparsity out, or another pattern",
            )
        return SparsityAim(share)
    if sparsity is None:
        return PriceAim(price, limit)
    if not (0 <= sparsity < 1 and 0 <= first <= sparsity):
        raise UsageError(
            f"expected 0 <= first_sparsity <= sparsity < 1; got first_sparsity {first} and sparsity {sparsity}",
            "such as --option sparsity=0.9",
        )
    return SparsityAim(sparsity, first)
