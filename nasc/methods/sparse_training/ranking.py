"""From scores to masks with exact counts: the groups of every pool in order, of which a prefix stays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasc.methods.sparse_training.budgets import Pool
from nasc.methods.sparse_training.patterns import Unit

Kept = tuple[Tensor, ...]
"""Which groups stay, bool (groups,), unit by unit."""


@dataclass(frozen=True)
class Rule:
    """What is pruned together and how a sparsity is shared: all that masks depend on beside scores.

    Args:
        units: From :func:`nasc.methods.sparse_training.patterns.make_units`.
        pools: From :func:`nasc.methods.sparse_training.budgets.make_pools`.
    """

    units: tuple[Unit, ...]
    pools: tuple[Pool, ...]

    @property
    def per_unit(self) -> bool:
        """Every unit has a sparsity of its own: what RigL, SET and static masks need."""
        return all(len(pool.units) == 1 for pool in self.pools)

    def scores(self, values: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Score of every group, unit by unit, of weights or gradients by parameter name."""
        return tuple(unit.scores(values) for unit in self.units)

    def dropped(self, pool: Pool, sparsity: float) -> int:
        """How many groups of a pool go: ``round(s * groups)``, exactly."""
        share = pool.sparsity(sparsity)
        fixed = self.units[pool.units[0]].fixed
        if fixed is not None:
            return fixed if share > 0 else 0
        return round(share * sum(self.units[index].groups for index in pool.units))

    def all_kept(self) -> Kept:
        """The dense network."""
        return tuple(torch.ones(unit.groups, dtype=torch.bool) for unit in self.units)

    def masks(self, kept: Kept) -> dict[str, Tensor]:
        """Masks over single weights by parameter name (bool, the parameter's shape)."""
        masks: dict[str, Tensor] = {}
        for unit, groups in zip(self.units, kept, strict=True):
            for name, mask in unit.expand(groups).items():
                masks[name] = masks[name] & mask if name in masks else mask
        return masks

    def rank(self, scores: Sequence[Tensor], alive: Kept | None = None) -> "Ranking":
        """Order the groups; ties go to the lower index, groups that are not alive come last."""
        ordered = [self._order(pool, scores, alive) for pool in self.pools]
        return Ranking(self, tuple(order for order, _ in ordered), tuple(safe for _, safe in ordered))

    def _order(self, pool: Pool, scores: Sequence[Tensor], alive: Kept | None) -> tuple[Tensor, int]:
        """A pool's groups, strongest first, and how many at the head are protected."""
        keys = []
        for index in pool.units:
            unit, score = self.units[index], scores[index].clone()
            protected = unit.protected(score)
            if alive is not None:
                score[~alive[index]] = -torch.inf
                protected &= alive[index]
            keys.append(torch.where(protected, torch.inf, score))
        key = torch.cat(keys)
        return torch.sort(key, descending=True, stable=True).indices, int((key == torch.inf).sum())


@dataclass(frozen=True, eq=False)
class Ranking:
    """The groups of every pool, strongest first: masks of all sparsities are prefixes, so they are nested.

    Args:
        rule: What was ranked.
        orders: Indices into the pool's groups, int64, pool by pool.
        protected: How many groups at the head of each order always stay.
    """

    rule: Rule
    orders: tuple[Tensor, ...]
    protected: tuple[int, ...]

    def kept(self, sparsity: float) -> Kept:
        """Which groups stay at a sparsity; the protected ones always do."""
        result: list[Tensor] = [torch.empty(0)] * len(self.rule.units)
        for pool, order, least in zip(self.rule.pools, self.orders, self.protected, strict=True):
            flags = torch.zeros(order.numel(), dtype=torch.bool)
            flags[order[: max(least, order.numel() - self.rule.dropped(pool, sparsity))]] = True
            parts = torch.split(flags, [self.rule.units[index].groups for index in pool.units])
            for index, part in zip(pool.units, parts, strict=True):
                result[index] = part
        return tuple(result)

    def masks(self, sparsity: float) -> dict[str, Tensor]:
        """Masks over single weights at a sparsity."""
        return self.rule.masks(self.kept(sparsity))
