"""Which phones can be reached: those that the ``adb`` program lists, and those named by address."""

import os
import re
from dataclasses import dataclass

from nasc.devices.remote.adb_program import INSTALL, AdbProgram, list_phones
from nasc.devices.remote.adb_tcp import AdbTcp, unauthorised
from nasc.devices.remote.link import Transport
from nasc.errors import DeviceError, UsageError

VARIABLE = "NASC_PHONES"
"""Environment variable: addresses ``host:port`` of phones on the network, separated by commas."""

_HOST_PORT = re.compile(r"(?P<host>[^:\s]+):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Search:
    """What a search for phones found.

    Args:
        addresses: Of phones that answer to adb, or were named.
        problems: Errors of phones that are there but cannot be used.
        program: The ``adb`` program is installed.
    """

    addresses: tuple[str, ...]
    problems: tuple[DeviceError, ...]
    program: bool


def open_transport(address: str) -> Transport:
    """The way to a phone: TCP for ``host:port``, else the ``adb`` program for a serial number."""
    found = _HOST_PORT.fullmatch(address)
    if found is None:
        return AdbProgram(address)
    return AdbTcp(found["host"], int(found["port"]))


def find_phones() -> Search:
    """The phones that can be reached from here.

    Raises:
        DeviceError: The ``adb`` program is there and fails.
    """
    named = tuple(part.strip() for part in os.environ.get(VARIABLE, "").split(",") if part.strip())
    listed = list_phones()
    usable = [phone.serial for phone in listed or () if phone.state == "device"]
    problems = [_problem(phone.serial, phone.state) for phone in listed or () if phone.state != "device"]
    return Search(tuple(dict.fromkeys([*named, *usable])), tuple(problems), listed is not None)


def choose_phone(search: Search, device: str) -> str:
    """The address of the only phone there is.

    Args:
        search: What was found.
        device: The device's name, for the messages.

    Raises:
        DeviceError: There is none, or none that can be used.
        UsageError: There are several.
    """
    if len(search.addresses) == 1:
        return search.addresses[0]
    if search.addresses:
        raise UsageError(
            f"expected one phone for {device}, found {len(search.addresses)}: {', '.join(search.addresses)}",
            f"name the one you mean: --device {device}@{search.addresses[0]}",
        )
    if search.problems:
        raise search.problems[0]
    raise no_phone(search.program, device)


def no_phone(program: bool, device: str) -> DeviceError:
    """The error where no phone is in reach."""
    if not program:
        return DeviceError(
            f"no phone for {device}: the adb program is not installed",
            f"{INSTALL}, or use a phone on the network: --device {device}@HOST:PORT",
        )
    return DeviceError(
        f"no phone for {device}: adb lists none",
        "connect it by USB and allow USB debugging (Settings, Developer options), then: adb devices",
    )


def _problem(serial: str, state: str) -> DeviceError:
    if state == "unauthorized":
        return unauthorised(serial)
    if "permissions" in state:
        return DeviceError(
            f"{serial}: this user may not open USB devices", "apt install adb's udev rules, or plug in again"
        )
    return DeviceError(f"{serial}: the phone is {state}", "unplug it and plug it in again, then: adb reconnect")
