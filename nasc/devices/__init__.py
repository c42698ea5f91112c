"""Devices: where models run. Nothing here imports torch.

A device is named by its descriptor ``profilers/<name>/device.yaml``; the class that drives it is listed in ``KINDS``.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from nasc.devices._base import Device, Facts, Origin, Session, Visit, VisitResult
from nasc.devices.android import AndroidPhone
from nasc.devices.descriptor import Descriptor
from nasc.devices.descriptor import load_descriptors as _load_descriptors
from nasc.devices.local import LocalCpu
from nasc.devices.simulated import SimulatedDevice
from nasc.devices.ssh_host import SshHost
from nasc.errors import UsageError

__all__ = [
    "AndroidPhone",
    "Descriptor",
    "Device",
    "Facts",
    "LocalCpu",
    "Origin",
    "Session",
    "SimulatedDevice",
    "SshHost",
    "Visit",
    "VisitResult",
    "get_device",
    "load_descriptors",
]

Maker = Callable[..., Device]


def _at_hand(kind: Maker) -> Maker:
    """The maker of a device that is here: there is no address to give."""

    def make(descriptor: Descriptor, address: str | None, **conditions: Any) -> Device:
        if address is not None:
            raise UsageError(
                f"{descriptor.name} is not reached by an address; got {address!r}", f"--device {descriptor.name}"
            )
        return kind(**conditions)

    return make


KINDS: Mapping[str, Maker] = MappingProxyType(
    {
        "local": _at_hand(LocalCpu),
        "simulated": _at_hand(SimulatedDevice),
        "android": AndroidPhone,
        "ssh": SshHost,
    }
)
"""What makes a device from its descriptor and address, by the ``kind`` of the descriptor."""


def load_descriptors() -> dict[str, Descriptor]:
    """Every shipped descriptor by device name.

    Raises:
        DeviceError: A descriptor is broken.
    """
    return _load_descriptors(KINDS)


def get_device(
    name: str, *, runtime: str | None = None, threads: int | None = None, dtype: str | None = None
) -> Device:
    """The device of a name. It is reached when it is first asked for something.

    Args:
        name: A name that ``nasc devices`` lists; for a phone or a remote machine also ``NAME@ADDRESS``, such as
            ``pixel6@192.168.1.7:5555``, ``android@SERIAL`` or ``ssh@user@host``.
        runtime: One of its runtimes; the default first.
        threads: Threads of the runtime.
        dtype: One of its number formats; the default first.

    Raises:
        UsageError: The name, runtime, threads or dtype is unknown; the message lists what is known.

    >>> get_device("cpu").runtime
    'litert'
    """
    descriptors = load_descriptors()
    name, _, address = name.partition("@")
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
    return KINDS[descriptor.kind](descriptor, address or None, runtime=runtime, threads=threads, dtype=dtype)
