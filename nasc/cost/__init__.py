"""What sizes cost: multiply-adds, parameters, bytes, or seconds by a table; for ints, floats and tensors alike."""

from nasc.cost.expression import Table, Unit, cost, table_for
from nasc.cost.latency import KernelPrice, LatencyPrice, price_latency
from nasc.cost.slopes import price_and_slopes
from nasc.cost.sparse import nonzero_macs, nonzero_params, nonzero_share

__all__ = [
    "KernelPrice",
    "LatencyPrice",
    "Table",
    "Unit",
    "cost",
    "nonzero_macs",
    "nonzero_params",
    "nonzero_share",
    "price_and_slopes",
    "price_latency",
    "table_for",
]
