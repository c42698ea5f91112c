"""What members of a family cost: seconds on any table, multiply-adds, parameters; the expression of :mod:`nasc.cost`."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Protocol

from nasc.errors import OutsideTable, UsageError
from nasc.family.record import Family, MemberLine, Way
from nasc.kernels import KINDS, Signature

UNPRICED = ("free", "unsupported")
"""Kinds that no table has rows for."""

BYTES_PER_PARAMETER = 4


class Table(Protocol):
    """What pricing asks of a latency table."""

    def seconds(self, signature: Signature, sizes: Mapping[str, Any]) -> Any:
        """Time of a kernel; raises OutsideTable where it was never measured."""
        ...


def price_members(
    family: Family, unit: str, table: Table | None = None, members: Sequence[MemberLine] | None = None
) -> list[float]:
    """The price of every member, in order.

    Args:
        family: The family.
        unit: ``"seconds"`` (needs a table), ``"macs"``, ``"params"`` or ``"bytes"``.
        table: A latency table of any device.
        members: Other members than the pool's, e.g. of sizes that were never drawn.

    Raises:
        OutsideTable: The table never measured a kernel; names it.
        UsageError: Seconds without a table.
    """
    if unit == "seconds" and table is None:
        raise UsageError("a price in seconds needs a latency table; got none", "nasc profile --device cpu makes one")
    ways = {way.blocks: way for way in family.ways}
    lines = family.members if members is None else members
    if unit == "seconds":
        assert table is not None
        pricer = _Pricer(family, table)
        return [pricer.seconds(ways[line.blocks], line.sizes) for line in lines]
    count = {"macs": _macs, "params": _params, "bytes": _bytes}[unit]
    return [float(count(ways[line.blocks], {**family.dims, **line.sizes})) for line in lines]


def evaluate_axis(axis: Sequence[object], sizes: Mapping[str, int]) -> int:
    """The size of an axis expression.

    >>> evaluate_axis(["heads", 8], {"heads": 3}), evaluate_axis([[["a"], [2, "b"]]], {"a": 1, "b": 5})
    (24, 11)
    """
    result = 1
    for term in axis:
        if isinstance(term, int):
            result *= term
        elif isinstance(term, str):
            result *= sizes[term]
        else:
            assert isinstance(term, list)
            result *= sum(evaluate_axis(part, sizes) for part in term)
    return result


class _Pricer:
    """Prices kernels on one table, each shape once."""

    def __init__(self, family: Family, table: Table) -> None:
        self.dims = family.dims
        view = getattr(table, "for_weights", None)
        self.table: Table = table if view is None else view(family.weight_bytes)
        self.call_s = float(getattr(self.table, "floor_s", 0.0))
        self._memo: dict[tuple[Signature, tuple[int, ...]], float] = {}
        self._signatures = {
            id(kernel): Signature(kernel.kind, tuple(kernel.attributes.items()))
            for way in family.ways
            for kernel in way.kernels
        }

    def seconds(self, way: Way, sizes: Mapping[str, int]) -> float:
        full, total = {**self.dims, **sizes}, self.call_s
        for kernel in way.kernels:
            if kernel.kind in UNPRICED:
                continue
            signature = self._signatures[id(kernel)]
            shape = {name: evaluate_axis(kernel.sizes[name], full) for name in KINDS[kernel.kind].sizes}
            key = signature, tuple(shape.values())
            if key not in self._memo:
                try:
                    self._memo[key] = float(self.table.seconds(signature, shape))
                except OutsideTable as outside:
                    raise OutsideTable(f"{kernel.name}: {outside.message}", outside.hint) from outside
            total += self._memo[key]
        return total


def _macs(way: Way, sizes: Mapping[str, int]) -> int:
    return sum(
        kernel.macs_per * prod(evaluate_axis(axis, sizes) for axis in kernel.sizes.values())
        for kernel in way.kernels
        if kernel.macs_per
    )


def _params(way: Way, sizes: Mapping[str, int]) -> int:
    return sum(prod(evaluate_axis(axis, sizes) for axis in axes) for axes in way.parameters)


def _bytes(way: Way, sizes: Mapping[str, int]) -> int:
    return BYTES_PER_PARAMETER * _params(way, sizes)
