"""Frontiers of accuracy against latency: pure functions on records, without torch."""

from nasc.frontier.hypervolume import hypervolume, hypervolume_interval
from nasc.frontier.pareto import Point, dominates, pareto
from nasc.frontier.runs import Conditions, Frontier, build_frontiers

__all__ = [
    "Conditions",
    "Frontier",
    "Point",
    "build_frontiers",
    "dominates",
    "hypervolume",
    "hypervolume_interval",
    "pareto",
]
