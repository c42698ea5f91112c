"""Comparing methods: every trial is one compression; Ray Tune runs them, Optuna proposes, the ledger remembers."""

from nasc.comparison.compare import Comparison, compare, standing
from nasc.comparison.config import CompareConfig, Group, Trial, make_config, read_config
from nasc.comparison.ledger import Failure, Ledger

__all__ = [
    "CompareConfig",
    "Comparison",
    "Failure",
    "Group",
    "Ledger",
    "Trial",
    "compare",
    "make_config",
    "read_config",
    "standing",
]
