"""Compression by the l1/l2 surrogate (arXiv 2306.05785): masks on dims, priced by the device's own table.

    loss + lambda * cost(R(a_1), R(a_2), ...),    a <- max(0, a - eta * gradient)

Masks sit on the readers of a dim (after norm and activation), where a zero equals removal; they are applied to weights,
not to activations. Without a controller this is the paper's method (:mod:`nasc.methods.surrogate.descent`); with it one
run ends at the target (:mod:`nasc.methods.surrogate.steering`, which lists the departures).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from nasc.errors import UsageError
from nasc.graph.network import Network
from nasc.graph.selection import Selection
from nasc.methods._blocks import BlockPrice, Folded, WeightForms, build_blocks, fold
from nasc.methods._constraints import Constrained
from nasc.methods._masks import MaskedModel, Masks, select_positive
from nasc.methods._price import Price, price_for_target
from nasc.methods.surrogate.block_steering import BlockSteering, true_sizes
from nasc.methods.surrogate.config import SurrogateConfig
from nasc.methods.surrogate.descent import Descent
from nasc.methods.surrogate.steering import Steering
from nasc.units import Target

_DEFAULT_RATE = 0.05


class Surrogate:
    """The l1/l2 surrogate on a traced network, for anyone's training loop.

    Train ``search.model`` with an optimiser over its parameters, add :meth:`penalty` to the loss and call :meth:`step`
    after the optimiser's own step::

        search = Surrogate(network, table=table, target="8ms", total_steps=len(loader) * epochs)
        loss = criterion(search.model(x), y) + search.penalty()
        loss.backward(); optimizer.step(); search.step()

    The masks are the method's, never the optimiser's.

    Args:
        network: From :func:`nasc.graph.trace`.
        table: A latency table, for a target in seconds.
        target: ``"8ms"``, ``"-40%"``, ``"300MMAC"``, ``"2Mparam"``, ``"4MB"``. May be left out without a controller:
            the price is then eq. 6 (seconds) where there is a table and eq. 5 (MACs) where there is none.
        total_steps: Optimiser steps of the whole run, fine-tuning included.
        price: The price, ready made, with ``limit`` in its unit: in place of ``table`` and ``target``.
        limit: See ``price``.
        config: All options as one value.
        **options: Single fields of :class:`SurrogateConfig`, over ``config``.

    Raises:
        UsageError: Options that exclude each other, or no target for the controller.
        TargetError: A target that no allowed model meets.
        TraceError: No dim of the network can be pruned.
    """

    def __init__(
        self,
        network: Network,
        *,
        table: Any = None,
        target: str | Target | None = None,
        total_steps: int,
        price: Price | None = None,
        limit: float | None = None,
        config: SurrogateConfig | None = None,
        **options: Any,
    ) -> None:
        if total_steps < 1:
            raise UsageError(f"total_steps must be at least 1; got {total_steps}")
        self.config = replace(config or SurrogateConfig(), **options)
        self.network, self.total_steps, self.step_count = network, total_steps, 0
        self.price, self.limit = _resolve_price(network, table, target, price, limit)
        self._forms = self._rewrite()
        if self._forms is None:
            self.masks = Masks(network, trainable=True)
            self.model: nn.Module = MaskedModel(network, self.masks.vectors)
        else:
            masked, entries = self._forms.blocks.masked, self._forms.entries()
            self.masks = Masks(self.network, trainable=True, names=masked, further=entries)
            self.model = MaskedModel(self.network, self.masks.vectors, self._forms.apply)
        self._searched = self.price
        self._folded: tuple[int, Folded] | None = None
        self._optimizer: Optimizer | None = None
        self._dynamics = self._make_dynamics()

    def _rewrite(self) -> WeightForms | None:
        """Give layers the forms asked for, where pruning is not the only one: network and price become the rewritten."""
        if self.config.forms == {"prune"}:
            return None
        blocks = build_blocks(self.network, self.config.forms, self.config.layers)
        self.network = blocks.network
        self.price = _over(self.price, lambda price: BlockPrice(blocks, price.unit, price.table))
        return WeightForms(blocks, relaxed=self.config.controller is None)

    def _make_dynamics(self) -> Descent | Steering | BlockSteering:
        if self.config.freeze_at_target and self.limit is None:
            raise UsageError("freeze_at_target needs a target; got none", 'give one, e.g. target="-40%"')
        if self.config.controller is None:
            return Descent(self.masks, self.price, self.limit, self.config, self._forms)
        if self.limit is None:
            raise UsageError("a controller needs a target; got none", 'give one, e.g. target="8ms" or target="-40%"')
        if self._forms is not None:
            return BlockSteering(self.masks, self._forms, self.price, self.limit, self.total_steps, self.config)
        return Steering(self.masks, self.price, self.limit, self.total_steps, self.config)

    def follow(self, optimizer: Optimizer) -> None:
        """Give the masks the learning rate of the model's optimiser, as it changes (the paper's "same step size")."""
        self._optimizer = optimizer

    def penalty(self) -> Tensor:
        """``lambda * cost(R(a))``: a scalar to add to the loss."""
        return self._dynamics.penalty()

    def step(self) -> None:
        """Move and project the masks; call it after every step of the model's optimiser."""
        self.step_count += 1
        rate = self._optimizer.param_groups[0]["lr"] if self._optimizer is not None else _DEFAULT_RATE
        self._dynamics.step(self.step_count / self.total_steps, float(rate))
        self._fold()

    @property
    def frozen(self) -> bool:
        """The selection is final: what follows is fine-tuning."""
        return self._dynamics.frozen

    @property
    def strength(self) -> float:
        """Lambda, as it stands."""
        return self._dynamics.strength

    def select(self) -> Selection:
        """What to keep, as it stands: entries above the threshold, their masks as gains."""
        if self._forms is None:
            return select_positive(self.masks.layout, self.masks.flat, self.config.threshold)
        self._fold(anew=True)
        return self._selected() if self._folded is None else self._folded[1].selection

    @property
    def forms(self) -> dict[str, str]:
        """``"dense"`` or ``"factored"`` by layer, of those that had the choice, once the selection is final."""
        return {} if self._folded is None else dict(self._folded[1].forms)

    def _selected(self) -> Selection:
        assert self._forms is not None
        return self._forms.select(self.masks.layout, self.masks.flat, self.config.threshold)

    def _fold(self, anew: bool = False) -> None:
        """Once frozen, or at the end: the network of the final forms takes the place of the rewritten one.

        Its weights are those of now; ``anew`` makes it again where training went on.
        """
        if self._forms is None or not (self.frozen or self.step_count >= self.total_steps):
            return
        if self._folded is not None and (not anew or self._folded[0] == self.step_count):
            return
        searched = self._searched.first if isinstance(self._searched, Constrained) else self._searched
        assert isinstance(searched, BlockPrice)
        scores = self.masks.layout.split(self._dynamics.scores().cpu())
        scores = {name: scores[name] for name in self._forms.blocks.masked}
        folded = fold(searched, self._selected(), scores, true_sizes(self.masks, self._forms))
        self._folded = self.step_count, folded
        final = folded.price
        self.network = final.network
        self.price = _over(
            self._searched,
            lambda price: BlockPrice(final.blocks, price.unit, price.table, given=final.given, choose=False),
        )

    def scores(self) -> dict[str, Tensor]:
        """Importance of every entry: the controller's measure, or the masks themselves where there is none."""
        if self._folded is not None:
            return dict(self._folded[1].scores)
        return self.masks.layout.split(self._dynamics.scores().cpu())

    def metrics(self) -> dict[str, float]:
        """Lambda, the true and the relaxed price (in the price's unit), and the number of survivors."""
        if self._forms is None:
            sizes: Mapping[str, float] = self.select().sizes
            survivors = float(sum(sizes.values()))
        else:
            sizes = true_sizes(self.masks, self._forms)
            survivors = float(sum(sizes[name] for name in self._forms.blocks.masked))
        return {
            "strength": self.strength,
            "price": self._searched.total(sizes),  # type: ignore[arg-type]
            "relaxed_price": self._dynamics.relaxed_price(),
            "survivors": survivors,
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything beside the model's and optimiser's own state: numbers and tensors only."""
        return {
            "step": self.step_count,
            "masks": self.masks.flat.detach().clone(),
            "dynamics": self._dynamics.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from :meth:`state_dict`, bitwise."""
        self.step_count = int(state["step"])
        self.masks.assign(state["masks"])
        self._dynamics.load_state_dict(state["dynamics"])
        self._fold()


def _over(price: Price, change: Callable[[Price], Price]) -> Price:
    """Another price in the place of this one, or of each of several."""
    return price.over(change) if isinstance(price, Constrained) else change(price)


def surrogate_networks(network: Network, **options: Any) -> tuple[Network, ...]:
    """The rewritten network, where the blocks asked for bring kernels that the user's network has not."""
    config = SurrogateConfig(**options)
    return (build_blocks(network, config.forms, config.layers).network,) if "lowrank" in config.forms else ()


def _resolve_price(
    network: Network, table: Any, target: str | Target | None, price: Price | None, limit: float | None
) -> tuple[Price, float | None]:
    """The price and the limit from whichever way they were given."""
    if price is not None:
        if target is not None or table is not None:
            raise UsageError("price with limit, or table with target: expected one of the two, got both")
        return price, limit
    if target is not None:
        return price_for_target(network, target, table)
    return Price(network, "macs" if table is None else "seconds", table), None
