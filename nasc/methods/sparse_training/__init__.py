"""Accurate sparse training: AC/DC, AC/DC++ and their rivals (arXiv 2308.02060), each a schedule over the same masks.

Further options of all of them: ``sparsity``, ``budget``, ``pattern``, ``depthwise``, ``keep_rows``, ``seed``; see
:class:`SparseTraining`.
"""

from typing import Any

from nasc.graph.network import Network
from nasc.methods._price import Price
from nasc.methods._schedules import Ramp
from nasc.methods.sparse_training.acdc import AcDc, twin_model
from nasc.methods.sparse_training.budgets import BUDGETS
from nasc.methods.sparse_training.gmp import GradualPruning
from nasc.methods.sparse_training.layers import Layer, prunable_layers
from nasc.methods.sparse_training.method import SparseTraining
from nasc.methods.sparse_training.phases import Phase, PhasePlan
from nasc.methods.sparse_training.rigl import DropAndGrow, Growth
from nasc.methods.sparse_training.state import intersection_over_union
from nasc.methods.sparse_training.unfreezing import GradualUnfreezing, find_blocks

RIGL_INTERVAL = 100
"""Steps between updates of RigL in long runs."""

LEAST_UPDATES = 50
"""A shorter run moves its masks more often, so that there are about so many updates ..."""

LEAST_INTERVAL = 10
"""... but not more often than this: a step that moves masks moves no weight."""


def acdc(
    network: Network,
    price: Price,
    limit: float,
    total_steps: int,
    *,
    warmup: float = 0.10,
    phase: float = 0.05,
    last_dense: float = 0.10,
    last_sparse: float = 0.15,
    stretch: float = 1.0,
    rising: bool = False,
    first_sparsity: float | None = None,
    open_sparsity: float = 0.0,
    reset_momentum: bool = True,
    keep_twin: bool = False,
    **shared: Any,
) -> SparseTraining:
    """AC/DC; with a stretch above one AC/DC++: a longer run with more phases, not longer ones.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Of the whole run.
        warmup: First dense phase, as a fraction of the run; likewise the next three.
        phase: Each phase in the middle.
        last_dense: The last dense phase.
        last_sparse: The last sparse phase.
        stretch: How many times longer than the schedule's base length the run is.
        rising: Let the sparsity of the sparse phases rise to the target.
        first_sparsity: Where it starts to rise; 0.9 by default, less where the target is not above it.
        open_sparsity: Sparsity of the dense phases.
        reset_momentum: Clear the optimiser's memory at each decompression.
        keep_twin: Keep the model of the end of the last dense phase.
        **shared: See :class:`SparseTraining`.
    """
    plan = PhasePlan(warmup, phase, last_dense, last_sparse).stretched(stretch)
    schedule = AcDc(
        plan,
        total_steps,
        network.model,
        rising=rising,
        open_sparsity=open_sparsity,
        reset_momentum=reset_momentum,
        keep_twin=keep_twin,
    )
    first = _first_of_rise(first_sparsity, shared.get("sparsity")) if rising else 0.0
    return SparseTraining(network, price, limit, total_steps, schedule, first_sparsity=first, **shared)


def acdc_plus(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> SparseTraining:
    """AC/DC++: AC/DC stretched, by default five times; see :func:`acdc`."""
    return acdc(network, price, limit, total_steps, **{"stretch": 5.0, **options})


def gmp(
    network: Network,
    price: Price,
    limit: float,
    total_steps: int,
    *,
    start: float = 0.10,
    end: float = 0.81,
    interval: float = 0.05,
    first_sparsity: float = 0.05,
    **shared: Any,
) -> SparseTraining:
    """Gradual magnitude pruning.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Of the whole run.
        start: Fraction of the run at the first pruning.
        end: At the last one.
        interval: Between two.
        first_sparsity: At the first one; only where the target is a sparsity.
        **shared: See :class:`SparseTraining`.
    """
    schedule = GradualPruning(Ramp(start, end), total_steps, round(interval * total_steps))
    first = min(first_sparsity, shared.get("sparsity") or 0.0)
    return SparseTraining(network, price, limit, total_steps, schedule, first_sparsity=first, **shared)


def one_shot(
    network: Network, price: Price, limit: float, total_steps: int, *, start: float = 0.4, **shared: Any
) -> SparseTraining:
    """Magnitude pruning of weights all at once; the rest of the run trains under the masks."""
    schedule = GradualPruning(Ramp(start, start), total_steps, 1)
    return SparseTraining(network, price, limit, total_steps, schedule, **shared)


def powerpropagation(
    network: Network, price: Price, limit: float, total_steps: int, *, power: float = 2.0, **options: Any
) -> SparseTraining:
    """Gradual pruning of weights trained as powers; when the masks are final, training goes on in plain weights."""
    return gmp(network, price, limit, total_steps, power=power, **options)


def rigl(
    network: Network,
    price: Price,
    limit: float,
    total_steps: int,
    *,
    growth: Growth = "gradient",
    interval: int | None = None,
    end: float = 0.75,
    alpha: float = 0.3,
    budget: str = "erk",
    **shared: Any,
) -> SparseTraining:
    """RigL: sparse throughout, masks move by magnitude and gradient.

    Args:
        network: The traced model.
        price: What sizes cost.
        limit: In the price's unit.
        total_steps: Of the whole run.
        growth: ``"gradient"``, ``"random"`` (SET) or ``"none"`` (static).
        interval: Steps between updates; 100 in long runs, at least 10.
        end: Fraction of the run after which masks stay.
        alpha: Fraction of a layer that moves at first.
        budget: One that gives every layer its own density: ``"erk"``, ``"uniform"``; for channels uniform.
        **shared: See :class:`SparseTraining`.
    """
    every = interval or max(LEAST_INTERVAL, min(RIGL_INTERVAL, total_steps // LEAST_UPDATES))
    schedule = DropAndGrow(total_steps, growth, interval=every, end=end, alpha=alpha)
    channels = shared.get("pattern") == "channels" or (not shared.get("pattern") and price.unit in ("seconds", "bytes"))
    chosen = "uniform" if channels and budget == "erk" else budget
    return SparseTraining(network, price, limit, total_steps, schedule, budget=chosen, **shared)


def set_(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> SparseTraining:
    """SET: RigL with random growth."""
    return rigl(network, price, limit, total_steps, growth="random", **options)


def static(network: Network, price: Price, limit: float, total_steps: int, **options: Any) -> SparseTraining:
    """Random masks that never move."""
    return rigl(network, price, limit, total_steps, growth="none", **options)


def _first_of_rise(first: float | None, target: float | None) -> float:
    if first is not None:
        return first
    return min(0.9, target) if target is not None else 0.0


__all__ = [
    "BUDGETS",
    "AcDc",
    "DropAndGrow",
    "GradualPruning",
    "GradualUnfreezing",
    "Layer",
    "Phase",
    "PhasePlan",
    "SparseTraining",
    "acdc",
    "acdc_plus",
    "find_blocks",
    "gmp",
    "intersection_over_union",
    "one_shot",
    "powerpropagation",
    "prunable_layers",
    "rigl",
    "set_",
    "static",
    "twin_model",
]
