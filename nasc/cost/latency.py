"""The latency of a network kernel by kernel, and how much of it no table row covers."""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from nasc.cost.expression import Table, call_seconds, kernel_seconds, kernel_sizes, table_for
from nasc.graph.dims import Axis, Sizes
from nasc.graph.network import Kernel, Network


class KernelPrice(NamedTuple):
    """Predicted time of one kernel."""

    name: str
    kind: str
    seconds: float


@dataclass(frozen=True)
class LatencyPrice:
    """Predicted latency of a network at whole sizes.

    Args:
        total_s: An empty call and the sum over the covered kernels, in seconds.
        kernels: One entry a covered kernel, in execution order; what is free is left out.
        uncovered: Names of the kernels without a price.
        uncovered_share: Their share of the network's work, 0 to 1. Work is counted as multiply-adds plus entries
            written, since the time of what was never measured is not known.
    """

    total_s: float
    kernels: tuple[KernelPrice, ...]
    uncovered: tuple[str, ...]
    uncovered_share: float


def price_latency(network: Network, sizes: Sizes, table: Table) -> LatencyPrice:
    """Predict the latency of a network, kernel by kernel.

    Args:
        network: The traced model.
        sizes: Whole size by dim name; a dim that is not named keeps its dense size.
        table: The device's latency table; read as this model sees it (:func:`nasc.cost.table_for`).

    Returns:
        The price. Nothing is raised for kernels the table does not know: they are listed.
    """
    table = table_for(network, table)
    priced: list[KernelPrice] = []
    uncovered: list[str] = []
    work = missing = 0.0
    for kernel in network.kernels:
        if kernel.kind == "free" or not kernel.share(sizes):
            continue
        load = _work(network, kernel, sizes)
        work += load
        if kernel.kind != "unsupported" and table.covers(kernel.signature, kernel_sizes(kernel, sizes)):
            priced.append(KernelPrice(kernel.name, kernel.kind, float(kernel_seconds(kernel, sizes, table))))
        else:
            uncovered.append(kernel.name)
            missing += load
    total = sum((price.seconds for price in priced), start=call_seconds(table))
    return LatencyPrice(total, tuple(priced), tuple(uncovered), missing / work if work else 0.0)


def _work(network: Network, kernel: Kernel, sizes: Sizes) -> float:
    """Multiply-adds plus entries written."""
    axes = network.tensors.get(kernel.output, ())
    written = prod(float(axis.size(sizes)) for axis in axes if isinstance(axis, Axis))
    return float(kernel.macs(sizes)) + written
