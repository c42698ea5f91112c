"""Measuring time: the only package of nasc that reads a clock (a device's runner reads the device's)."""

from nasc.measurement.anchored import measure_anchored, write_anchor
from nasc.measurement.clock import MAX_GAP, RUNS, SESSIONS, Measurement, measure
from nasc.measurement.environment import Environment, record_environment

__all__ = [
    "MAX_GAP",
    "RUNS",
    "SESSIONS",
    "Environment",
    "Measurement",
    "measure",
    "measure_anchored",
    "record_environment",
    "write_anchor",
]
