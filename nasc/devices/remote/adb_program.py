"""ADB by the ``adb`` program and its server: phones on USB, and whatever ``adb connect`` reached."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nasc.devices.remote.adb_tcp import refused_file, unauthorised
from nasc.devices.remote.link import LinkLost
from nasc.errors import DeviceError

INSTALL = "apt install adb"
_GONE = ("not found", "offline", "no devices", "closed", "protocol fault", "cannot connect", "connection reset")
_LIST_S = 15.0  # the first call also starts the server


class AdbProgram:
    """A phone that the ``adb`` program knows.

    Args:
        serial: Its serial number, as ``adb devices`` lists it.
        program: The program.
    """

    def __init__(self, serial: str, program: str = "adb") -> None:
        self.serial, self.program = serial, program

    @property
    def address(self) -> str:
        """The serial number."""
        return self.serial

    def shell(self, command: str, timeout_s: float) -> str:
        """What a command prints; see :class:`nasc.devices.remote.Transport`."""
        return self._run(["exec-out", command], timeout_s).decode(errors="replace")

    def push(self, files: Sequence[tuple[Path, str]], timeout_s: float) -> None:
        """Copy files to the phone."""
        for local, remote in files:
            self._run(["push", str(local), remote], timeout_s)

    def pull(self, path: str, timeout_s: float) -> bytes:
        """The content of a file on the phone."""
        with TemporaryDirectory(prefix="nasc-pull-") as folder:
            local = Path(folder) / "content"
            self._run(["pull", path, str(local)], timeout_s)
            return local.read_bytes() if local.is_file() else b""

    def close(self) -> None:
        """Nothing is held open between calls."""

    def _run(self, arguments: Sequence[str], timeout_s: float) -> bytes:
        try:
            done = subprocess.run(
                [self.program, "-s", self.serial, *arguments],
                capture_output=True,
                timeout=timeout_s,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise DeviceError(f"expected the program {self.program}, found none", INSTALL) from error
        except subprocess.TimeoutExpired as error:
            raise LinkLost(
                f"{self.serial}: no answer to adb {arguments[0]} within {timeout_s:.0f} s", "reconnect the phone"
            ) from error
        if done.returncode != 0:
            raise self._failure(arguments[0], (done.stderr + done.stdout).decode(errors="replace").strip())
        return done.stdout

    def _failure(self, what: str, words: str) -> DeviceError:
        last = words.splitlines()[-1] if words else "no message"
        if "unauthorized" in words:
            return unauthorised(self.serial)
        if "No space left" in words:
            return refused_file(self.serial, what, last)
        if not words or any(sign in words.lower() for sign in _GONE):
            return LinkLost(f"{self.serial}: adb {what} failed: {last}", "reconnect the phone; adb devices lists it")
        return refused_file(self.serial, what, last)


@dataclass(frozen=True)
class Listed:
    """A line of ``adb devices``: serial number, and ``device``, ``unauthorized`` or ``offline``."""

    serial: str
    state: str


def list_phones(program: str = "adb", environment: Mapping[str, str] | None = None) -> list[Listed] | None:
    """The phones that the ``adb`` program knows; None where there is no such program.

    Raises:
        DeviceError: The program fails.
    """
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "devices"],
            capture_output=True,
            text=True,
            timeout=_LIST_S,
            check=False,
            env=dict(environment) if environment else None,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"expected adb devices to list the phones; {error}", "adb kill-server, then again") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or "no message").splitlines()[-1]
        raise DeviceError(f"expected adb devices to list the phones; got: {words}", "adb kill-server, then again")
    return parse_list(done.stdout)


def parse_list(text: str) -> list[Listed]:
    r"""The phones in what ``adb devices`` prints.

    >>> parse_list("List of devices attached\n1A2B\tdevice\n127.0.0.1:5600\toffline\n")
    [Listed(serial='1A2B', state='device'), Listed(serial='127.0.0.1:5600', state='offline')]
    """
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    return [Listed(row[0].strip(), row[1].strip()) for row in rows]
