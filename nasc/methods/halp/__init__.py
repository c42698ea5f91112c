"""Latency-aware pruning as a knapsack of Taylor importance: a rival."""

from nasc.methods.halp.method import Halp

__all__ = ["Halp"]
