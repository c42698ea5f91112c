import subprocess
import sys
from inspect import getattr_static

import pytest

from nasc.devices import KINDS, Device, get_device, load_descriptors
from nasc.devices.status import list_devices
from nasc.errors import UsageError

MEMBERS = [name for name in vars(Device) if not name.startswith("_")]


@pytest.mark.parametrize("name", sorted(load_descriptors()))
def test_every_descriptor_gives_a_device_with_its_defaults(name: str) -> None:
    descriptor, device = load_descriptors()[name], get_device(name)
    for member in MEMBERS:
        getattr_static(device, member)  # looked at, not asked for: a phone would have to answer
    assert descriptor.kind in KINDS
    assert (device.name, device.runtime, device.threads, device.dtype) == (
        name,
        descriptor.runtimes[0],
        descriptor.threads,
        descriptor.dtypes[0],
    )


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown device 'pixel99'; known: .*cpu.*simulated"):
        get_device("pixel99")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runtime": "abacus"}, "cpu runs models with litert; got runtime 'abacus'"),
        ({"dtype": "float8"}, "cpu knows the number formats float32; got 'float8'"),
        ({"threads": 0}, "threads must be 1 or more; got 0"),
    ],
)
def test_unknown_conditions_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        get_device("cpu", **options)  # type: ignore[arg-type]


def test_the_list_says_what_is_ready_and_what_it_is() -> None:
    listed = {status.name: status for status in list_devices()}
    assert set(listed) == set(load_descriptors())
    assert listed["cpu"].ready
    assert listed["cpu"].facts["cpu_model"]


def test_devices_start_without_torch() -> None:
    code = "import nasc.devices, nasc.measurement, nasc.table, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
