"""Devices: where models run. Nothing here imports torch.

A device is named by its descriptor ``profilers/<name>/device.yaml``; the class that drives it is listed in ``KINDS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import yaml

from nasc.devices._base import Device, Facts, Origin, Session, Visit, VisitResult
from nasc.devices.local import LocalCpu
from nasc.devices.simulated import SimulatedDevice
from nasc.errors import DeviceError, UsageError
from nasc.paths import data_folder

__all__ = [
    "Descriptor",
    "Device",
    "DeviceStatus",
    "Facts",
    "LocalCpu",
    "Origin",
    "Session",
    "SimulatedDevice",
    "Visit",
    "VisitResult",
    "get_device",
    "list_devices",
    "load_descriptors",
]

KINDS: Mapping[str, Callable[..., Device]] = MappingProxyType({"local": LocalCpu, "simulated": SimulatedDevice})
"""The classes of devices by the ``kind`` of a descriptor."""


@dataclass(frozen=True)
class Descriptor:
    """What ``device.yaml`` says of a device; its keys are described in ``profilers/README.md``."""

    name: str
    title: str
    kind: str
    runtimes: tuple[str, ...]
    threads: int
    dtypes: tuple[str, ...]


@dataclass(frozen=True)
class DeviceStatus:
    """Whether a device can be profiled from here.

    Args:
        name: What is typed after ``--device``.
        title: One line for people.
        runtime: The default runtime.
        ready: It can be profiled now.
        missing: What stands in the way, or None.
        fix: The command that removes it, or None.
        facts: What is known of it when it is ready.
    """

    name: str
    title: str
    runtime: str
    ready: bool
    missing: str | None
    fix: str | None
    facts: Facts


def load_descriptors() -> dict[str, Descriptor]:
    """Every shipped descriptor by device name.

    Raises:
        DeviceError: A descriptor is broken.
    """
    paths = sorted(data_folder("profilers").glob("*/device.yaml"))
    descriptors = [_read_descriptor(path.read_text(), str(path)) for path in paths]
    return {descriptor.name: descriptor for descriptor in descriptors}


def _read_descriptor(text: str, origin: str) -> Descriptor:
    fields: Any = yaml.safe_load(text)
    expected = set(Descriptor.__dataclass_fields__)
    if not isinstance(fields, dict) or set(fields) != expected:
        got = sorted(fields) if isinstance(fields, dict) else type(fields).__name__
        raise DeviceError(f"{origin}: expected the keys {', '.join(sorted(expected))}; got {got}")
    if fields["kind"] not in KINDS:
        raise DeviceError(f"{origin}: expected a kind of {', '.join(KINDS)}; got {fields['kind']!r}")
    return Descriptor(**{**fields, "runtimes": tuple(fields["runtimes"]), "dtypes": tuple(fields["dtypes"])})


def get_device(
    name: str, *, runtime: str | None = None, threads: int | None = None, dtype: str | None = None
) -> Device:
    """The device of a name.

    Args:
        name: A name that :func:`list_devices` lists.
        runtime: One of its runtimes; the default first.
        threads: Threads of the runtime.
        dtype: One of its number formats; the default first.

    Raises:
        UsageError: The name, runtime, threads or dtype is unknown; the message lists what is known.

    >>> get_device("cpu").runtime
    'litert'
    """
    descriptors = load_descriptors()
    if name not in descriptors:
        raise UsageError(f"unknown device {name!r}; known: {', '.join(descriptors)}", "nasc devices lists them")
    descriptor = descriptors[name]
    runtime = runtime or descriptor.runtimes[0]
    dtype = dtype or descriptor.dtypes[0]
    threads = descriptor.threads if threads is None else threads
    if runtime not in descriptor.runtimes:
        raise UsageError(f"{name} runs models with {', '.join(descriptor.runtimes)}; got runtime {runtime!r}")
    if dtype not in descriptor.dtypes:
        raise UsageError(f"{name} knows the number formats {', '.join(descriptor.dtypes)}; got {dtype!r}")
    if threads < 1:
        raise UsageError(f"threads must be 1 or more; got {threads}")
    return KINDS[descriptor.kind](runtime=runtime, threads=threads, dtype=dtype)


def list_devices() -> list[DeviceStatus]:
    """Every known device: ready or not, what is missing, and the command that fixes it."""
    return [_status(descriptor) for descriptor in load_descriptors().values()]


def _status(descriptor: Descriptor) -> DeviceStatus:
    missing = None if find_spec("ai_edge_litert") else "the LiteRT runtime (Python package ai-edge-litert)"
    return DeviceStatus(
        name=descriptor.name,
        title=descriptor.title,
        runtime=descriptor.runtimes[0],
        ready=missing is None,
        missing=missing,
        fix="pip install ai-edge-litert" if missing else None,
        facts={} if missing else get_device(descriptor.name).describe(),
    )
