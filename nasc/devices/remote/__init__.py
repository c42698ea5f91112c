"""Machines reached over a link that may break: by ADB over TCP, by the ``adb`` program, by ssh."""

from nasc.devices.remote.adb_program import AdbProgram
from nasc.devices.remote.adb_tcp import AdbTcp
from nasc.devices.remote.link import Link, LinkLost, Reply, Transport
from nasc.devices.remote.ssh import Ssh

__all__ = ["AdbProgram", "AdbTcp", "Link", "LinkLost", "Reply", "Ssh", "Transport"]
