"""The price of a network whose layers have a choice of form: the cheaper of dense and factored, shares and bits.

Per layer (latency_surrogate 2.2), with k = kernel taps and positions folded in:

* dense ``in x out``; factors ``r (in + out)``; the true price is the cheaper of the two;
* unstructured: times the share of weights that stay (multiply-adds, parameters, bytes);
* few bits: times bits / 32 (bytes of what is stored as float32 otherwise), times bits (bit-operations).

Seconds know neither share nor bits: the table's kernels are dense float ones, and a weight that is zero takes its time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import nasc.cost
from nasc.graph.network import Network
from nasc.methods._blocks.layers import BlockNetwork, Layer, bits_name, density_name, kernel_of, rename
from nasc.methods._price import Price, Unit

FLOAT_BITS = 32
FULL_BITS = 16
"""The finest grid; whatever has no grid counts as 16-bit in bit-operations, as the paper's baseline does."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One weight and what is paid for it.

    Args:
        network: Its kernel (multiply-adds, seconds) or its parameter (counts), and nothing else.
        density: The size that scales it, or None.
        bits: The same for bits.
        around: The dims it depends on.
    """

    network: Network
    density: str | None
    bits: str | None
    around: frozenset[str]


@dataclass(frozen=True)
class _Term:
    """A layer: the cheapest alternative counts; the first one is what gradients are taken of."""

    alternatives: tuple[tuple[_Part, ...], ...]
    around: frozenset[str]


class BlockPrice(Price):
    """What sizes, ranks, shares and bits cost, in one unit, on one table.

    Args:
        blocks: The rewritten network and its layers.
        unit: As of :class:`Price`.
        table: As of :class:`Price`.
        given: Shares and bits that are settled, by name; sizes may still override them.
        choose: Whether a factored layer may also be counted as the dense one it stands for.
    """

    def __init__(
        self,
        blocks: BlockNetwork,
        unit: Unit,
        table: Any = None,
        given: Mapping[str, float] | None = None,
        choose: bool = True,
    ) -> None:
        self.blocks, self.given = blocks, dict(given or {})
        self.network, self.unit, self.table = blocks.network, unit, table
        self._counts = unit in ("params", "bytes")
        self._memory: dict[tuple[Any, ...], float] = {}
        self._rest = Price(self._without(), unit, table)
        empty = replace(blocks.source, kernels=(), parameters={})
        self._call = float(nasc.cost.cost(empty, {}, unit, table))  # an empty call, which every part would count again
        self._terms = tuple(self._term(layer, choose) for layer in blocks.layers)
        self._of = {
            name: tuple(term for term in self._terms if name in term.around)
            for name in set().union(*(term.around for term in self._terms))
        }
        self.dense = self.total({})

    def total(self, sizes: Mapping[str, float]) -> float:
        """The true price: the cheapest form of every layer at these sizes, shares and bits."""
        rest = self._rest.total(self._dims(sizes))
        return rest + sum(self._price(term, sizes) for term in self._terms)

    def change(self, sizes: Mapping[str, float], name: str, size: float) -> float:
        """How the true price changes when one dim, share or width of the grid changes."""
        after = {**sizes, name: size}
        terms = self._of.get(name, ())
        difference = sum(self._price(term, after) - self._price(term, sizes) for term in terms)
        if name in self.network.dims:
            difference += self._rest.change(self._dims(sizes), name, int(size))
        return difference

    def neighbours(self, name: str) -> tuple[str, ...]:
        """The dims, shares and widths whose savings depend on this one."""
        around = {name, *(other for term in self._of.get(name, ()) for other in term.around)}
        if name in self.network.dims:
            around |= set(self._rest.neighbours(name))
        return tuple(sorted(around))

    def slopes(self, sizes: Mapping[str, float]) -> tuple[float, dict[str, float]]:
        """The price of the first form of every layer at real-valued sizes, and its derivatives.

        A factored layer is priced as factors here, R(b) (R(a) + R(a')), also where the dense form is cheaper: the cheaper
        form does not depend on the rank, and a rank that feels nothing would never fall.
        """
        dims = {name: size for name, size in sizes.items() if name in self.network.dims}  # real-valued
        value, slopes = self._rest.slopes(dims)
        for term in self._terms:
            for part in term.alternatives[0]:
                amount, gradient = nasc.cost.price_and_slopes(part.network, dims, self.unit, self.table)
                amount, factor = amount - self._call, self._factor(part, sizes)
                value += amount * factor
                for name, slope in gradient.items():
                    if name in self.network.dims and slope:
                        slopes[name] = slopes.get(name, 0.0) + slope * factor
                for scale in (part.density, part.bits):
                    if scale is not None and (size := self._size(scale, sizes)) and self._matters(scale):
                        slopes[scale] = slopes.get(scale, 0.0) + amount * factor / size
        return value, slopes

    def cheapest(self, layer: Layer, sizes: Mapping[str, float]) -> int:
        """Which form of a layer costs least at these sizes: 0 for the first (factors, where there are), 1 for dense."""
        term = self._terms[self.blocks.layers.index(layer)]
        prices = [self._alternative(parts, sizes) for parts in term.alternatives]
        return prices.index(min(prices))

    def _dims(self, sizes: Mapping[str, float]) -> dict[str, int]:
        """The whole sizes of dims alone."""
        return {name: int(size) for name, size in sizes.items() if name in self.network.dims}

    def _without(self) -> Network:
        """The network without the layers that have a choice."""
        weights = {weight for layer in self.blocks.layers for weight in layer.weights}
        network = self.blocks.network
        if self._counts:
            left = {name: axes for name, axes in network.parameters.items() if name not in weights}
            return replace(network, kernels=(), parameters=left)
        # The user's model, not the rewritten one, says how much memory a table takes the weights to need.
        kernels = tuple(kernel for kernel in network.kernels if kernel.weights.weight not in weights)
        return replace(network, model=self.blocks.source.model, kernels=kernels, parameters={})

    def _term(self, layer: Layer, choose: bool) -> _Term:
        bits = bits_name(layer.path) if layer.quantised else None
        parts = tuple(
            self._make_part(self.blocks.network, weight, density_name(weight) if weight == layer.sparse else None, bits)
            for weight in layer.weights
        )
        alternatives = [parts]
        if choose and layer.rank is not None and layer.sparse is None:
            alternatives.append((self._make_part(self.blocks.source, layer.dense, None, bits),))
        return _Term(tuple(alternatives), frozenset().union(*(part.around for one in alternatives for part in one)))

    def _make_part(self, network: Network, weight: str, density: str | None, bits: str | None) -> _Part:
        names = self.blocks.names if network is self.blocks.source else {}
        axes = tuple(rename(axis, names) for axis in network.parameters[weight])
        if self._counts:
            part = replace(network, kernels=(), parameters={weight: axes})
            dims = {dim.name for axis in axes for dim in axis.dims()}
            dims |= {gate for gate, branch in network.branches.items() if weight in branch.parameters}
        else:
            kernel = kernel_of(network, weight)
            kernel = replace(kernel, sizes={name: rename(axis, names) for name, axis in kernel.sizes.items()})
            part = replace(network, model=self.blocks.source.model, kernels=(kernel,), parameters={})
            dims = {dim.name for axis in kernel.axes for dim in axis.dims()}
        part = replace(part, dims=self.blocks.network.dims)
        around = (dims & set(self.blocks.network.dims)) | {name for name in (density, bits) if name is not None}
        return _Part(part, density, bits, frozenset(around))

    def _price(self, term: _Term, sizes: Mapping[str, float]) -> float:
        return min(self._alternative(parts, sizes) for parts in term.alternatives)

    def _alternative(self, parts: tuple[_Part, ...], sizes: Mapping[str, float]) -> float:
        return sum(self._amount(part, sizes) * self._factor(part, sizes) for part in parts)

    def _amount(self, part: _Part, sizes: Mapping[str, float]) -> float:
        """The part's own price, dense and in float, remembered by sizes."""
        dims = self.network.dims
        chosen = {name: int(sizes.get(name, dims[name].size)) for name in sorted(part.around) if name in dims}
        key = id(part), tuple(chosen.values())
        if key not in self._memory:
            self._memory[key] = float(nasc.cost.cost(part.network, chosen, self.unit, self.table)) - self._call
        return self._memory[key]

    def _matters(self, name: str) -> bool:
        """Shares count for all but seconds, bits for bytes (and bit-operations) alone."""
        if self.unit == "seconds":
            return False
        return self.unit in ("bytes", "bitops") if name.startswith(bits_name("")) else True

    def _factor(self, part: _Part, sizes: Mapping[str, float]) -> float:
        factor = 1.0
        if part.density is not None and self._matters(part.density):
            factor *= self._size(part.density, sizes)
        if part.bits is not None and self._matters(part.bits):
            factor *= self._size(part.bits, sizes) / (FLOAT_BITS if self.unit == "bytes" else FULL_BITS)
        return factor

    def _size(self, name: str, sizes: Mapping[str, float]) -> float:
        """A share or a width: as asked, else as settled, else full."""
        full = float(FULL_BITS) if name.startswith(bits_name("")) else 1.0
        return float(sizes.get(name, self.given.get(name, full)))
