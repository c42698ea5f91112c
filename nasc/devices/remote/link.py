"""A link to another machine that survives what happens to links.

A :class:`Transport` does one thing once, within a bounded time, and says when the link broke. A :class:`Link` tries again
until its patience ends: cables are pulled and phones restart. So everything that is sent through a link must be safe to
send twice.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from nasc.errors import DeviceError

PATIENCE_S = 180.0
"""How long a link that worked before is waited for: longer than a phone takes to restart."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_STATUS = re.compile(r"nasc-status=(\d+)\s*\Z")

T = TypeVar("T")


class LinkLost(DeviceError):  # noqa: N818 - reads as the condition it names
    """The link broke or did not answer in time; the same request may succeed on a new connection."""


class DiskFull(DeviceError):  # noqa: N818
    """The device's disk has no room for a file."""


class Transport(Protocol):
    """One way to reach a machine. Every method connects by itself where there is no connection.

    All raise :class:`LinkLost` where a new connection may help, and another :class:`nasc.errors.DeviceError` where not.
    """

    @property
    def address(self) -> str:
        """What is reached, for people and for ``--device NAME@ADDRESS``."""
        ...

    def shell(self, command: str, timeout_s: float) -> str:
        """What a shell command prints; its exit status is not known to every transport."""
        ...

    def push(self, files: Sequence[tuple[Path, str]], timeout_s: float) -> None:
        """Copy files to paths on the device, whose folders exist."""
        ...

    def pull(self, path: str, timeout_s: float) -> bytes:
        """The content of a file on the device."""
        ...

    def close(self) -> None:
        """Drop the connection; the next call makes a new one. Never fails."""
        ...


@dataclass(frozen=True)
class Reply:
    """What a shell command answered: its exit status, and its output and errors as one text."""

    status: int
    output: str


class Link:
    """A transport that is tried again.

    Args:
        transport: How to reach the machine.
        patience_s: How long a link that worked once is waited for. The first contact is tried only once.
    """

    def __init__(self, transport: Transport, patience_s: float = PATIENCE_S) -> None:
        self.transport = transport
        self.patience_s = patience_s
        self.breaks = 0  # how often the link was lost and found again
        self._worked = False

    @property
    def address(self) -> str:
        """What is reached."""
        return self.transport.address

    def run(self, command: str, timeout_s: float = 30.0) -> Reply:
        """Run a shell command; it may run twice if the link breaks while it runs.

        Args:
            command: For ``sh``.
            timeout_s: The link counts as lost when no answer came by then.

        Raises:
            DeviceError: The machine could not be reached.
        """
        return self._persist(lambda: self._run_once(command, timeout_s))

    def check(self, command: str, what: str, timeout_s: float = 30.0) -> str:
        """Run a shell command that must succeed; its output.

        Raises:
            DeviceError: It failed; the message begins with ``what`` and carries its words.
        """
        reply = self.run(command, timeout_s)
        if reply.status != 0:
            words = reply.output.strip().splitlines()[-1:] or ["no message"]
            kind = DiskFull if "No space left" in reply.output else DeviceError
            raise kind(
                f"{self.address}: {what} failed with status {reply.status}: {words[0]}",
                "free space on the device"
                if kind is DiskFull
                else "look at the device, then run the same command again",
            )
        return reply.output

    def push(self, files: Sequence[tuple[Path, str]], timeout_s: float = 120.0) -> None:
        """Copy files; see :class:`Transport`. What arrives after a break may be torn: check it, then rename it."""
        self._persist(lambda: self.transport.push(files, timeout_s))

    def pull(self, path: str, timeout_s: float = 120.0) -> bytes:
        """The content of a file, whole: its size is compared with the device's own word."""
        return self._persist(lambda: self._pull_once(path, timeout_s))

    def close(self) -> None:
        """Drop the connection."""
        self.transport.close()

    def _run_once(self, command: str, timeout_s: float) -> Reply:
        output = self.transport.shell(f"( {command}\n) 2>&1; echo nasc-status=$?", timeout_s)
        found = _STATUS.search(output.replace("\r", ""))
        if found is None:  # some programs report success when the link dies: only this line is believed
            raise LinkLost(f"{self.address}: the answer ended early", "check the cable or the network")
        return Reply(int(found[1]), output.replace("\r", "")[: found.start()])

    def _pull_once(self, path: str, timeout_s: float) -> bytes:
        size = self._run_once(f"wc -c < {path}", timeout_s)
        if size.status != 0:
            raise DeviceError(f"{self.address}: expected a file {path}; {size.output.strip()}", "run it again")
        content = self.transport.pull(path, timeout_s)
        if len(content) != int(size.output):
            raise LinkLost(f"{self.address}: {len(content)} of {size.output.strip()} bytes of {path} came", "try again")
        return content

    def _persist(self, action: Callable[[], T]) -> T:
        end, wait_s = time.monotonic() + self.patience_s, _FIRST_WAIT_S
        while True:
            try:
                result = action()
                self._worked = True
                return result
            except LinkLost as lost:
                self.transport.close()
                if not self._worked or time.monotonic() > end:
                    raise self._given_up(lost) from lost
                self.breaks += 1
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _given_up(self, lost: LinkLost) -> DeviceError:
        if not self._worked:
            return lost
        return DeviceError(
            f"{lost.message}; waited {self.patience_s:.0f} s for it to come back",
            "reconnect the device and run the same command again: what was measured so far is kept",
        )
