"""Latency tables: what kernels take on a device, measured once and asked many times."""

from nasc.table.analytic import AnalyticTable, analytic_table
from nasc.table.drift import Change, Drift, compare_tables, merge_tables
from nasc.table.latency_table import LatencyTable
from nasc.table.profiling import ProfileResult, profile
from nasc.table.store import TableFiles, find_table, list_tables, load_table, read_table, table_files, write_table

__all__ = [
    "AnalyticTable",
    "Change",
    "Drift",
    "LatencyTable",
    "ProfileResult",
    "TableFiles",
    "analytic_table",
    "compare_tables",
    "find_table",
    "list_tables",
    "load_table",
    "merge_tables",
    "profile",
    "read_table",
    "table_files",
    "write_table",
]
