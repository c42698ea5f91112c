"""Frontiers of accuracy against latency: pure functions on records, without torch."""

from nasc.frontier.hypervolume import hypervolume, hypervolume_interval
from nasc.frontier.pareto import Point, dominates, pareto
from nasc.frontier.runs import Conditions, Frontier, build_frontiers, conditions_of
from nasc.frontier.summary import Area, Pair, Spread, SummaryRow, areas, compare_pairs, summarise

__all__ = [
    "Area",
    "Conditions",
    "Frontier",
    "Pair",
    "Point",
    "Spread",
    "SummaryRow",
    "areas",
    "build_frontiers",
    "compare_pairs",
    "conditions_of",
    "dominates",
    "hypervolume",
    "hypervolume_interval",
    "pareto",
    "summarise",
]
