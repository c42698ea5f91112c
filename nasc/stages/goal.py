"""The goal of a run: the target as a limit on the price, corrected by what the dense model really takes on the device."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from nasc.artifact import Artifact
from nasc.cost import cost, price_latency
from nasc.devices import Device
from nasc.errors import TargetError, UsageError
from nasc.exporters import export
from nasc.graph import Network
from nasc.measurement import Measurement, measure_anchored
from nasc.methods import Constrained, Price, smallest_sizes
from nasc.table import LatencyTable
from nasc.units import Target, format_bytes, format_count, format_percent, format_seconds

_log = logging.getLogger(__name__)

SUFFIX = {"litert": ".tflite", "onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True)
class Dense:
    """The model as it came: its file, its latency, its cost.

    Args:
        artifact: Its exported file.
        measured: That file, timed on the device.
        predicted_s: Its latency by the table.
        macs: Multiply-adds for a batch of one.
        params: Parameters.
    """

    artifact: Artifact
    measured: Measurement
    predicted_s: float
    macs: int
    params: int


@dataclass(frozen=True)
class Goal:
    """What a method aims at.

    Args:
        target: As asked.
        limit: The target as a number of its unit: seconds on the device, or a count.
        price: What sizes cost, in the same unit.
        correction: Measured over predicted latency: a price of ``limit / correction`` is expected to measure ``limit``.
            One where the target is no time.
    """

    target: Target
    limit: float
    price: Price
    correction: float = 1.0

    @property
    def price_limit(self) -> float:
        """What the price may be at most."""
        return self.limit / self.correction

    @property
    def seconds(self) -> float | None:
        """The target in seconds, None where it is no time."""
        return self.limit if self.price.unit == "seconds" else None

    def corrected(self, correction: float) -> "Goal":
        """The same goal with a correction learned from a further measurement."""
        return replace(self, correction=correction)


def measure_dense(network: Network, device: Device, table: LatencyTable, folder: Path) -> Dense:
    """Export the dense model and time it on the device.

    Args:
        network: The traced model.
        device: Where it will run.
        table: Its latency table, whose scale the time is on.
        folder: Where the file goes.

    Raises:
        ExportError: The runtime's format cannot express the model.
        DeviceError: It could not be run.
    """
    artifact = export(network.model, network.example_inputs, folder / f"dense{SUFFIX[device.format]}")
    (measured,) = measure_anchored([artifact], device, anchor_reference_s=table.anchor_s)
    price = price_latency(network, {}, table)
    _log.info("dense model: measured %s, predicted %s", format_seconds(measured.seconds), format_seconds(price.total_s))
    return Dense(artifact, measured, price.total_s, int(cost(network, {}, "macs")), int(cost(network, {}, "params")))


def set_goal(
    network: Network, table: LatencyTable, dense: Dense, target: Target, further: tuple[Target, ...] = ()
) -> Goal:
    """Turn the target into a limit on the price, and say what is reachable before anything is trained.

    Args:
        network: The traced model.
        table: The device's latency table.
        dense: The dense model, timed.
        target: What the model must not exceed.
        further: What it must not exceed either; no times, since one device is measured.

    Raises:
        TargetError: The target is below the smallest allowed model or not below the dense one.
    """
    price = Price(network, target.unit, table if target.unit == "seconds" else None)
    timed = price.unit == "seconds"
    correction = dense.measured.seconds / dense.predicted_s if timed else 1.0
    largest = price.dense * correction
    smallest = price.total(smallest_sizes(price)) * correction
    goal = Goal(target, target.limit(largest), price, correction)
    _log.info("reachable: %s to %s; asked: %s", *(show(value, price.unit) for value in (smallest, largest, goal.limit)))
    if goal.limit >= largest:
        raise TargetError(
            f"the target {show(goal.limit, price.unit)} is not below the dense model's {show(largest, price.unit)}: "
            "there is nothing to compress",
            f"ask for less than {show(largest, price.unit)}, e.g. --target-latency -40%",
        )
    if goal.limit < smallest:
        raise TargetError(
            f"the target {show(goal.limit, price.unit)} is out of reach: the smallest allowed model takes "
            f"{show(smallest, price.unit)} ({format_percent(smallest / largest - 1)} of the dense model's "
            f"{show(largest, price.unit)})",
            f"ask for at least {show(smallest, price.unit)}, or start from another model",
        )
    return replace(goal, price=_constrained(goal, table, further)) if further else goal


def _constrained(goal: Goal, table: LatencyTable, further: tuple[Target, ...]) -> Price:
    """The price of a goal with further limits."""
    limits = []
    for target in further:
        if target.kind in ("seconds", "relative"):
            raise UsageError(
                f"expected a further limit in MAC, param or bytes; got {target}", "such as --target-size 4MB"
            )
        price = Price(goal.price.network, target.unit)
        limits.append((price, target.limit(price.dense)))
    return Constrained(goal.price, goal.price_limit, tuple(limits))


def show(value: float, unit: str) -> str:
    """A price for people."""
    if unit == "seconds":
        return format_seconds(value)
    if unit == "bytes":
        return format_bytes(value)
    return format_count(value, {"macs": "MAC", "bitops": "BOP"}.get(unit, "param"))
