"""The price of a network as methods see it: sizes in, a number and its slopes out.

A method never meets a device or a table's rows; it asks :class:`Price`, which asks :mod:`nasc.cost`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import nasc.cost
from nasc.errors import TargetError
from nasc.graph.dims import Axis
from nasc.graph.network import Network
from nasc.units import Target, parse_target

Unit = Literal["seconds", "macs", "params", "bytes", "bitops"]


class Price:
    """What sizes cost, in one unit, on one table.

    Args:
        network: The traced model.
        unit: ``"seconds"`` needs a table; ``"macs"`` (1 MAC = 2 FLOP), ``"params"``, ``"bytes"`` and
            ``"bitops"`` (multiply-adds times bits of the weight) do not.
        table: A latency table, handed on to :mod:`nasc.cost` and never looked into here.
    """

    def __init__(self, network: Network, unit: Unit = "macs", table: Any = None) -> None:
        if unit == "seconds" and table is None:
            raise TargetError(
                "a price in seconds needs a latency table; got none",
                "make one with: nasc profile --device cpu; or give the target in MMAC, Mparam or MB",
            )
        self.network = network
        self.unit: Unit = unit
        self.table = table
        self._memo: dict[tuple[str, tuple[int, ...]], float] = {}
        self._parts = {name: self._part(name) for name in network.dims}
        self.dense = self.total({})

    def total(self, sizes: Mapping[str, int]) -> float:
        """The true price at whole sizes; a dim that is not named keeps its dense size."""
        return _number(nasc.cost.cost(self.network, sizes, self.unit, self.table))

    def slopes(self, sizes: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """The price at real-valued sizes, and its derivative by every dim's size."""
        return nasc.cost.price_and_slopes(self.network, sizes, self.unit, self.table)

    def change(self, sizes: Mapping[str, int], name: str, size: int) -> float:
        """How the true price changes when dim ``name`` gets ``size``: only what touches the dim is priced again.

        Returns:
            Price after minus price before; negative where the change saves.
        """
        before = self._part_price(sizes, name, int(sizes.get(name, self.network.dims[name].size)))
        return self._part_price(sizes, name, size) - before

    def neighbours(self, name: str) -> tuple[str, ...]:
        """The dims whose savings depend on the size of dim ``name``, itself included."""
        return self._parts[name].around

    def _part(self, name: str) -> "_Part":
        """The share of the network that dim ``name`` has a say in, with the dims that share those kernels."""
        kernels = tuple(kernel for kernel in self.network.kernels if name in _dims_of(kernel.axes))
        branches = self.network.branches
        own = branches[name].parameters if name in branches else frozenset[str]()
        parameters = {
            key: axes for key, axes in self.network.parameters.items() if key in own or name in _dims_of(axes)
        }
        gates = {gate for gate, branch in branches.items() if branch.parameters & set(parameters)}
        around = gates.union(
            *(_dims_of(kernel.axes) for kernel in kernels), *(_dims_of(axes) for axes in parameters.values())
        )
        # Constants of a kernel (three colours) are dims of their own that the network does not list.
        named = tuple(sorted(around & set(self.network.dims)))
        return _Part(replace(self.network, kernels=kernels, parameters=parameters), named)

    def _part_price(self, sizes: Mapping[str, int], name: str, size: int) -> float:
        part, dims = self._parts[name], self.network.dims
        chosen = {dim: int(sizes.get(dim, dims[dim].size)) for dim in part.around} | {name: size}
        key = name, tuple(chosen[dim] for dim in part.around)
        if key not in self._memo:
            self._memo[key] = _number(nasc.cost.cost(part.network, chosen, self.unit, self.table))
        return self._memo[key]


class _Part:
    """The kernels and parameters that one dim touches, and the dims their price depends on."""

    def __init__(self, network: Network, around: tuple[str, ...]) -> None:
        self.network = network
        self.around = around


def _dims_of(axes: Iterable[Axis]) -> set[str]:
    return {dim.name for axis in axes for dim in axis.dims()}


def _number(value: Any) -> float:
    return float(value)


def price_for_target(network: Network, target: str | Target, table: Any = None) -> tuple[Price, float]:
    """The price in the target's unit, and the target as a number of that unit.

    Args:
        network: The traced model.
        target: Text such as ``"8ms"``, ``"-40%"``, ``"300MMAC"``, or a parsed target.
            A relative target means seconds where there is a table and MACs where there is none.
        table: A latency table; only a target in seconds needs it.

    Returns:
        The price, and the limit in its unit.

    Raises:
        UsageError: The text is no target.
        TargetError: The target is in seconds and there is no table.
    """
    goal = parse_target(target) if isinstance(target, str) else target
    relative_without_table = goal.kind == "relative" and table is None
    price = Price(network, "macs" if relative_without_table else goal.unit, table)
    return price, goal.limit(price.dense)
