"""Latency tables: what kernels take on a device, measured once and asked many times."""

from nasc.table.latency_table import LatencyTable
from nasc.table.profiling import ProfileResult, profile
from nasc.table.store import TableFiles, find_table, list_tables, load_table, read_table, table_files

__all__ = [
    "LatencyTable",
    "ProfileResult",
    "TableFiles",
    "find_table",
    "list_tables",
    "load_table",
    "profile",
    "read_table",
    "table_files",
]
