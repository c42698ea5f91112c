"""The cost of a network as one expression over the sizes of its dims.

The same sum of products serves ints (a concrete network), floats and tensors (a relaxed one): relaxed and true cost
cannot drift apart, because there is only one.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Literal, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from nasc.errors import OutsideTable, UsageError
from nasc.graph.dims import Sizes
from nasc.graph.network import Kernel, Network
from nasc.graph.parameters import learned_parameters
from nasc.kernels import KINDS, Signature

Unit = Literal["macs", "params", "bytes", "bitops", "seconds"]
Number = int | float | Tensor

UNITS: tuple[Unit, ...] = ("macs", "params", "bytes", "bitops", "seconds")
BYTES_PER_PARAMETER = 4  # float32, as exported
BITS_PER_WEIGHT = 16
"""In bit-operations, of a weight that lies on no grid: the baseline of arXiv 2306.05785."""
UNPRICED_KINDS = ("free", "unsupported")
"""Kinds no table has rows for: free of cost, or (``unsupported``) of unknown cost, as :func:`price_latency` reports."""


class Table(Protocol):
    """What pricing asks of a latency table."""

    def seconds(self, signature: Signature, sizes: Mapping[str, int | float | Tensor]) -> float | Tensor:
        """Time of a kernel; raises OutsideTable where it was never measured."""
        ...

    def slope(self, signature: Signature, sizes: Mapping[str, float]) -> dict[str, float]:
        """Seconds per entry of each size, the gradient of :meth:`seconds`."""
        ...

    def covers(self, signature: Signature, sizes: Mapping[str, int | float | Tensor]) -> bool:
        """Whether :meth:`seconds` has an answer."""
        ...


@runtime_checkable
class CacheAware(Protocol):
    """A table that knows that kernels take longer inside a model whose weights do not fit into the inner cache."""

    def for_weights(self, weight_bytes: float) -> Table:
        """The table as a whole model with that many bytes of weights sees it."""
        ...


@runtime_checkable
class WithFloor(Protocol):
    """A table whose rows are without the time of an empty call, which a whole model costs once."""

    @property
    def floor_s(self) -> float:
        """Time of an empty call in seconds."""
        ...


def call_seconds(table: Table) -> float:
    """What a whole model costs beside its kernels: an empty call, where the table knows it."""
    return table.floor_s if isinstance(table, WithFloor) else 0.0


def table_for(network: Network, table: Table) -> Table:
    """A table as the whole model sees it, with the weights it has before anything is removed.

    The view is the same for every size of one network, so that prices of its parts add up and prices of two sizes compare;
    how far a smaller model profits from a cache it now fits into is learned when it is measured.

    Args:
        network: The traced model, or a part of it.
        table: A latency table; one without such knowledge is returned as it is.
    """
    return table.for_weights(_weight_bytes(network.model)) if isinstance(table, CacheAware) else table


def _weight_bytes(model: nn.Module) -> int:
    if model not in _bytes_of_models:
        entries = sum(parameter.numel() for parameter in model.parameters())
        _bytes_of_models[model] = BYTES_PER_PARAMETER * entries
    return _bytes_of_models[model]


_bytes_of_models: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def cost(network: Network, sizes: Sizes, unit: Unit = "macs", table: Table | None = None) -> Number:
    """The cost of a network at some sizes, for a batch of one.

    Args:
        network: The traced model.
        sizes: Int, float or tensor by dim name; a dim that is not named keeps its dense size.
        unit: ``"macs"`` (one multiply-add is 2 FLOP), ``"params"`` (those in use, tied ones once),
            ``"bitops"`` (multiply-adds times 16 bits), ``"bytes"`` (of float32 parameters) or ``"seconds"``.
        table: Needed for seconds; read as this model sees it (:func:`table_for`).

    Returns:
        An int for ints (a float for seconds), a float for floats, a differentiable 0-d tensor if a size is one.

    Raises:
        UsageError: The unit is unknown, or seconds were asked for without a table.
        OutsideTable: The table never measured a kernel or a size; names the kernel.
    """
    check_unit(unit, table)
    if unit in ("macs", "bitops"):
        bits = BITS_PER_WEIGHT if unit == "bitops" else 1
        return bits * sum((kernel.macs(sizes) for kernel in network.kernels if kernel.macs_per), start=0)
    if unit == "seconds":
        assert table is not None
        view = table_for(network, table)
        return sum((kernel_seconds(kernel, sizes, view) for kernel in timed_kernels(network)), start=call_seconds(view))
    factor = BYTES_PER_PARAMETER if unit == "bytes" else 1
    counts = (prod((axis.size(sizes) for axis in axes), start=1) for _, axes in learned_parameters(network))
    return sum(counts, start=0) * factor


def check_unit(unit: str, table: Table | None) -> None:
    """Refuse an unknown unit, and seconds without a table.

    Raises:
        UsageError: See above.
    """
    if unit not in UNITS:
        raise UsageError(f"expected a unit of {', '.join(UNITS)}; got {unit!r}")
    if unit == "seconds" and table is None:
        raise UsageError(
            "a cost in seconds needs a latency table; got none", "nasc profile --device cpu makes one for this machine."
        )


def timed_kernels(network: Network) -> Iterator[Kernel]:
    """The kernels that a table is asked about."""
    return (kernel for kernel in network.kernels if kernel.kind not in UNPRICED_KINDS)


def kernel_sizes(kernel: Kernel, sizes: Sizes) -> dict[str, Number]:
    """Size by size name of a kernel's kind."""
    return {name: kernel.sizes[name].size(sizes) for name in KINDS[kernel.kind].sizes}


def kernel_seconds(kernel: Kernel, sizes: Sizes, table: Table) -> float | Tensor:
    """The time of one kernel.

    Raises:
        OutsideTable: The table never measured it; names the kernel.
    """
    try:
        seconds = table.seconds(kernel.signature, kernel_sizes(kernel, sizes))
        return seconds * kernel.share(sizes) if kernel.gates else seconds
    except OutsideTable as outside:
        raise OutsideTable(f"{kernel.name}: {outside.message}", outside.hint) from outside
