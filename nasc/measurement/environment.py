"""The conditions under which times were taken, kept with every number."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nasc import __version__
from nasc.devices import Device, Facts, Origin, Session
from nasc.measurement.stopwatch import now

_BUSY_LOAD = 0.5  # load per core above which a machine is not quiet
_TAKEN = 0.05  # share of a session's time that others may take before it is worth a word


@dataclass(frozen=True)
class Environment:
    """The conditions of a measurement.

    Args:
        device: Device name; with runtime, threads and dtype what a time belongs to.
        hardware: Which hardware it was, see :class:`nasc.devices.Device`.
        runtime_version: Version of the runtime that ran the models.
        origin: ``"measured"``, ``"simulated"`` or ``"emulated"``.
        date: Start of the measurement, ISO 8601 in UTC.
        nasc: Version of nasc.
        facts: What the device said of itself: processor, cores, clock, load.
    """

    device: str
    hardware: str
    runtime: str
    runtime_version: str
    threads: int
    dtype: str
    origin: Origin
    date: str
    nasc: str = __version__
    facts: Facts = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Environment":
        """The inverse of :meth:`to_dict`; unknown keys are an error.

        Raises:
            ValueError: A key is missing or unknown.
        """
        known = {entry.name for entry in fields(cls)}
        if set(values) != known:
            raise ValueError(f"expected the keys {', '.join(sorted(known))}; got {', '.join(sorted(values))}")
        return cls(**values)


def record_environment(device: Device) -> Environment:
    """The conditions on a device now."""
    facts = device.describe()
    there = facts.get("runtime_version")  # a remote device's runtime is not this machine's
    return Environment(
        device=device.name,
        hardware=device.hardware,
        runtime=device.runtime,
        runtime_version=_runtime_version(device.runtime) if there is None else str(there),
        threads=device.threads,
        dtype=device.dtype,
        origin=device.origin,
        date=now(),
        facts=facts,
    )


def _runtime_version(runtime: str) -> str:
    package = {"litert": "ai-edge-litert", "onnx": "onnxruntime"}.get(runtime, runtime)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def find_warnings(environment: Environment, sessions: Sequence[Session]) -> tuple[str, ...]:
    """What a reader of the times should know: a busy machine, time lost to other programs, no pinned core."""
    warnings = []
    load, cores = environment.facts.get("load_1m"), environment.facts.get("cores")
    if isinstance(load, float) and isinstance(cores, int) and load > _BUSY_LOAD * cores:
        warnings.append(f"the machine was busy: load {load:.1f} on {cores} cores")
    taken = time_taken(sessions)
    if taken is not None and taken > _TAKEN:
        warnings.append(f"other programs took {taken:.0%} of the time; minima are kept, spreads are wider")
    if environment.origin == "measured" and environment.threads == 1:
        cores_used = [session.facts.get("core") for session in sessions]
        if cores_used and None in cores_used:
            warnings.append("the system did not allow pinning to one core")
    if environment.origin != "measured":
        warnings.append(f"these times are {environment.origin}, not measured")
    return tuple(warnings)


def time_taken(sessions: Sequence[Session]) -> float | None:
    """Share of the sessions' wall time in which the runner did not have the processor; None where unknown."""
    visits = [visit for session in sessions for visit in session.visits if visit.cpu_s is not None]
    wall = sum(visit.wall_s for visit in visits)
    if not visits or wall <= 0:
        return None
    return max(0.0, 1.0 - sum(visit.cpu_s or 0.0 for visit in visits) / wall)
