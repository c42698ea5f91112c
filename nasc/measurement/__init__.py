"""Measuring time: the only package of nasc that reads a clock (a device's runner reads the device's)."""

from nasc.measurement.anchor import ANCHOR_VERSION, fastest_anchor, write_anchor
from nasc.measurement.clock import (
    MAX_GAP,
    RUNS,
    SESSIONS,
    Measurement,
    measure,
    measure_anchored,
    needs_session,
    session_values,
    time_models,
)
from nasc.measurement.environment import Environment, find_warnings, record_environment
from nasc.measurement.statistics import Block, center_and_gap
from nasc.measurement.stopwatch import Stopwatch, now

__all__ = [
    "ANCHOR_VERSION",
    "MAX_GAP",
    "RUNS",
    "SESSIONS",
    "Block",
    "Environment",
    "Measurement",
    "Stopwatch",
    "center_and_gap",
    "fastest_anchor",
    "find_warnings",
    "measure",
    "measure_anchored",
    "needs_session",
    "now",
    "record_environment",
    "session_values",
    "time_models",
    "write_anchor",
]
