"""What is known of a device before it is reached: ``profilers/<device>/device.yaml``."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import yaml

from nasc.errors import DeviceError
from nasc.paths import data_folder


@dataclass(frozen=True)
class Descriptor:
    """What ``device.yaml`` says of a device; its keys are described in ``profilers/README.md``."""

    name: str
    title: str
    kind: str
    runtimes: tuple[str, ...]
    threads: int
    dtypes: tuple[str, ...]
    codenames: tuple[str, ...] = ()
    hardware: str | None = None
    figures: Mapping[str, Any] | None = None


def load_descriptors(kinds: Collection[str]) -> dict[str, Descriptor]:
    """Every shipped descriptor by device name.

    Args:
        kinds: The kinds of devices there are.

    Raises:
        DeviceError: A descriptor is broken.
    """
    paths = sorted(data_folder("profilers").glob("*/device.yaml"))
    descriptors = [read_descriptor(path.read_text(), str(path), kinds) for path in paths]
    return {descriptor.name: descriptor for descriptor in descriptors}


def read_descriptor(text: str, origin: str, kinds: Collection[str]) -> Descriptor:
    """The descriptor in a text.

    Raises:
        DeviceError: A key is missing or unknown, or the kind is.
    """
    values: Any = yaml.safe_load(text)
    known = {field.name: field.default is MISSING for field in fields(Descriptor)}
    needed = {name for name, required in known.items() if required}
    if not isinstance(values, dict) or not needed <= set(values) <= set(known):
        got = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise DeviceError(f"{origin}: expected the keys {', '.join(sorted(needed))}; got {got}")
    if values["kind"] not in kinds:
        raise DeviceError(f"{origin}: expected a kind of {', '.join(kinds)}; got {values['kind']!r}")
    lists = {name: tuple(values[name]) for name in ("runtimes", "dtypes", "codenames") if name in values}
    return Descriptor(**{**values, **lists})
